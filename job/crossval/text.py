"""The results of a cross-validation as tables, for the terminal and as Markdown."""

from typing import Any

from job.evaluation import markdown
from job.evaluation.metrics import UNMEASURED
from job.evaluation.protocol import described
from job.evaluation.results.tables import Table, markdown_table, number, with_interval


def tables(results: dict[str, Any]) -> dict[str, Table]:
    """Return heads and rows of each table by its title."""
    methods = results["methods"]
    heads = ["method", "target accuracy (95 %)", "std over seeds", "macro-F1 (95 %)", "source accuracy"]
    rows = []
    for name, row in methods.items():
        target, source = row["target"], row["source"]
        on_source = "-" if source is None else number(source["accuracy"]["value"])
        if target is None:
            rows.append([name, "not measured", "-", "-", on_source])
            continue
        both = [with_interval(target[key]["value"], target[key]["interval"]) for key in ("accuracy", "macro_f1")]
        rows.append([name, both[0], number(target["std"]), both[1], on_source])
    found = {"All folds": (heads, rows)}
    if results["differences"]:
        rows = [
            [f"{name} - {each['minus']}", with_interval(each["value"], each["interval"], "+")]
            for name, each in results["differences"].items()
        ]
        found["Differences on the target, paired by image"] = (["methods", "difference (95 %)"], rows)
    measured = {name: row["target"] for name, row in methods.items() if row["target"] is not None}
    if measured:
        rows = [
            [label, *(_class(row["classes"][label]) for row in measured.values())] for label in results["class_names"]
        ]
        found["Recall of each class on the target (95 %)"] = (["class", *measured], rows)
        rows = [_fold(fold, list(measured.values())) for fold in range(results["folds"])]
        found["Accuracy of each fold on the target"] = (["fold", "images", "subjects", *measured], rows)
    return found


def notes(results: dict[str, Any]) -> list[str]:
    """Return the protocol, the numbers of images and predictions, and the source of the intervals."""
    targets = [row["target"] for row in results["methods"].values()]
    seeds = ", ".join(map(str, results["seeds"]))
    lines = [f"protocol: {described(results['protocol'])}", f"{results['folds']} folds; seeds {seeds}"]
    if None in targets:
        return [*lines, UNMEASURED]
    subjects = targets[0]["clusters"]["subjects"]
    drawn = f"{subjects} subjects" if subjects else "images, since their subjects are unknown"
    times = targets[0]["predictions"] / targets[0]["images"]
    lines[1] += f"; {targets[0]['images']} target images, each predicted {times:.3g} times"
    return [*lines, f"intervals: bootstrap of {drawn}; the predictions for an image are averaged"]


def as_text(results: dict[str, Any]) -> str:
    """Return the tables for the terminal."""
    lines: list[str] = []
    for title, (heads, rows) in tables(results).items():
        widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
        lines += [f"{title}:"]
        lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in (heads, *rows)]
        lines += [""]
    return "\n".join([*lines, *notes(results)])


def as_markdown(results: dict[str, Any], name: str) -> str:
    """Return the tables as Markdown."""
    parts = [f"# Cross-validation: {markdown.plain(name)}"]
    for title, (heads, rows) in tables(results).items():
        parts += [f"## {title}", markdown_table(heads, rows)]
    return "\n\n".join([*parts, *notes(results)]) + "\n"


def _class(values: dict[str, Any]) -> str:
    return with_interval(values["recall"], values["recall_interval"])


def _fold(fold: int, measured: list[dict[str, Any]]) -> list[str]:
    first = measured[0]["by_fold"][fold]
    if first is None:
        return [str(fold), "-", "-", *("-" for _ in measured)]
    values = [number(row["by_fold"][fold]["accuracy"]) for row in measured]
    return [str(fold), str(first["images"]), str(first["subjects"] or "unknown"), *values]
