"""Some hundred faces, cross-validated: `configs/small_faces.yaml` beside a plain PyTorch script of the same network.

Both train on the same synthetic faces in the numbers of KDEF: 35 men and 35 women, 14 pictures each, 64 px, 5 folds
disjoint by subject. Ours are ordinary runs of `python -m job crossval`; the script, benchmarks/plain.py, imports
nothing of ours but the network. Finished parts are reused: delete --output to measure again.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import plain
from benchmarks.common import arguments, machine, print_table, write_result
from job.config.load import load_config
from job.evaluation.results.pair import paired_interval
from job.shards.folds import fold_names
from job.shards.writing.write_shards import write_shards
from job.system.errors import JobError
from job.vocabulary import EMOTIONS, SOURCE, TARGET

METHODS = ("source_only", "dann+mcc")
SUBJECTS, PICTURES, FOLDS, SIZE = 35, 14, 5, 64


def make_shards(folder: Path, light: str | None, seed: int, subjects: int = SUBJECTS) -> Path:
    """Write synthetic faces in the numbers of KDEF, in folds."""
    options: dict[str, Any] = {"train": subjects * PICTURES, "per_subject": PICTURES, "folds": FOLDS}
    if light is not None:
        options["light"] = light
    write_shards("faces", None, folder, size=SIZE, seed=seed, workers=1, options=options)
    return folder


def ours(
    config: Path, methods: list[str], shards: Path, output: Path, protocol: str, seeds: int, words: list[str]
) -> dict[str, Any]:
    """Run the cross-validation as a user does, and return crossval.json."""
    name = f"crossval-{protocol}"
    command = [sys.executable, "-m", "job", "crossval", config, "--methods", ",".join(methods), "--name", name]
    command += ["--seeds", ",".join(map(str, range(seeds))), "--folds", FOLDS]
    command += [f"data.shards={shards}", f"output={output}", f"protocol={protocol}", "wandb.mode=disabled", *words]
    if code := subprocess.run([str(word) for word in command]).returncode:
        sys.exit(f"the cross-validation ended with {code}: run the same command again to resume")
    return json.loads((output / name / "crossval.json").read_text())


def theirs(
    methods: list[str], shards: Path, output: Path, protocol: str, seeds: int, settings: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """Train the plain script on the same folds, and return the accuracy of each method on the target.

    The outcome of an image is the mean over the seeds. Finished folds are reused.
    """
    path, folds, found = output / f"plain-{protocol}.json", fold_names(FOLDS), {}
    finished: dict[str, list[float]] = json.loads(path.read_text()) if path.exists() else {}
    for name in methods:
        outcomes, subjects = [], []
        for number, fold in enumerate(folds):
            others = [other for other in folds if other != fold]
            tested = plain.read(shards, TARGET, folds if protocol == "transductive" else [fold])
            unlabelled = tested if protocol == "transductive" else plain.read(shards, TARGET, others)
            for seed in range(seeds):
                cell = f"{name}, fold {number}, seed {seed}"
                if cell not in finished:
                    began = time.perf_counter()
                    target = None if name == "source_only" else unlabelled
                    source = plain.read(shards, SOURCE, others)
                    model = plain.train(source, target, classes=len(EMOTIONS), seed=seed, **settings)
                    finished[cell] = plain.right(model, tested).astype(float).tolist()
                    path.write_text(json.dumps(finished) + "\n")
                    accuracy, seconds = np.mean(finished[cell]), time.perf_counter() - began
                    print(f"plain {cell}: {accuracy:.3f}, {seconds:.0f} s", flush=True)
            outcomes.append(np.array([finished[f"{name}, fold {number}, seed {seed}"] for seed in range(seeds)]))
            subjects += [json.loads(text)["subject"] for text in tested.subjects]
        joined = np.concatenate(outcomes, axis=1)
        found[name] = {
            "value": float(joined.mean()),
            "interval": paired_interval(joined.mean(axis=0), subjects),
            "by_fold": [float(each.mean()) for each in outcomes],
            "by_seed": joined.mean(axis=1).tolist(),
        }
    return found


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], "small_faces")
    parser.add_argument("--config", type=Path, default=Path("configs/small_faces.yaml"))
    parser.add_argument("--output", type=Path, default=Path("runs/small_faces"))
    parser.add_argument("--protocol", choices=("held_out", "transductive"), default="held_out")
    parser.add_argument("--light", choices=("own", "same"), default="own", help="of each domain, or of both alike")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seed", type=int, default=0, help="of the faces")
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds of the training")
    parser.add_argument("overrides", nargs="*", help="key.sub=value")
    args = parser.parse_args()
    torch.set_num_threads(1)
    where = machine()
    output = args.output / f"{args.light}-{args.seed}"
    shards = make_shards(output / "shards", None if args.light == "own" else "same", args.seed)
    config = load_config(args.config, args.overrides)
    settings = {
        "steps": config.train.steps,
        "batch": config.data.global_batch_size,
        "lr": config.optimizer.lr,
        "bottleneck": config.model.bottleneck,
    }
    results = ours(args.config, args.methods, shards, output, args.protocol, args.seeds, args.overrides)
    of_script = [name.partition("+")[0] for name in args.methods]  # it has no terms
    plain_results = theirs(of_script, shards, output, args.protocol, args.seeds, settings)
    rows: list[tuple[str, ...]] = [("target accuracy", "95 %, by subject", "folds")]
    table = {f"plain script, {name}": row for name, row in plain_results.items()}
    for name in args.methods:
        target = results["methods"][name]["target"]
        by_fold = [fold["accuracy"] for fold in target["by_fold"]]
        table[f"job crossval, {name}"] = target["accuracy"] | {"by_fold": by_fold}
    for name, row in table.items():
        low, high = row["interval"]
        by_fold = " ".join(f"{value:.2f}" for value in row["by_fold"])
        rows.append((name, f"{row['value']:.3f} ({low:.3f} to {high:.3f})", by_fold))
    print_table(rows)
    content = {"protocol": args.protocol, "light": args.light, "seeds": args.seeds, "table": table}
    if len(args.methods) > 1:
        content["gain"] = gain = results["differences"][METHODS[1]]
        low, high = gain["interval"]
        print(f"{METHODS[1]} minus {METHODS[0]}: {gain['value']:+.3f} ({low:+.3f} to {high:+.3f})")
    content |= {"classes": {name: results["methods"][name]["target"]["classes"] for name in args.methods}}
    content |= {"configuration": config.model_dump(mode="json"), "plain": settings}
    write_result(args.out, "small_faces", content, where)


if __name__ == "__main__":
    try:
        main()
    except JobError as error:
        sys.exit(f"error: {error}")
