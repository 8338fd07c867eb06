"""Folders of finished runs that were never trained."""

import json

import yaml


def run_folder(folder, objective: str, seed: int, target: float | None, images: int = 0) -> None:
    """Write a finished run with `images` test images; those of the target have labels unless `target` is None."""
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump({"objective": {"name": objective}, "seed": seed}))
    summary = {"test/source_accuracy": 0.9}
    if target is not None:
        summary |= {"oracle/test_target_accuracy": target, "oracle/test_target_recall/joy": 0.5}
    if images:
        right = round(images * (target or 0))
        domain = {"samples": images, "predicted": [images - 3, 3], "mean_entropy": 0.1, "confusion": None}
        labelled = domain | {"confusion": [[right, images - right], [0, 0]]}
        content = {"step": 30, "class_names": ["joy", "fear"], "source": labelled}
        content["target"] = domain if target is None else labelled
        (folder / "evaluation").mkdir()
        (folder / "evaluation" / "test.json").write_text(json.dumps(content))
    (folder / "summary.json").write_text(json.dumps(summary))
    rows = [{"trainer/step": step, "val/source_accuracy": 0.5} for step in (10, 20, 30)]
    if target is not None:
        rows = [row | {"oracle/target_accuracy": target * row["trainer/step"] / 30} for row in rows]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
