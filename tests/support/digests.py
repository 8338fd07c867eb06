"""Digests of small runs, to prove that a refactoring changes no weight and no logged number.

    python tests/support/digests.py record FILE     # before the change
    python tests/support/digests.py check FILE      # after it, on the same machine with the same number of threads

Each case trains on synthetic faces through the command line alone, so the same script runs on any revision. A digest
depends on the CPU and on the libraries: the file belongs to one machine and is not committed.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from safetensors.torch import load_file

REPO = Path(__file__).parents[2]
BASE = {
    "seed": 5,
    "data": {"global_batch_size": 16, "streams": 4},
    "model": {"backbone": "compact", "bottleneck": 32, "domain_hidden": [16]},
    "optimizer": {"lr": 0.005},
    "train": {"steps": 20, "log_every": 2, "eval_every": 5, "checkpoint_every": 10},
    "evaluation": {"batch_size": 32, "probe_samples": 40, "figures": False},
    "wandb": {"mode": "disabled"},
}
MODERN = ["objective.pseudo_label_weight=1.0", "objective.pseudo_label_threshold=0.3", "objective.entropy_weight=0.1"]
CASES = {
    "source_only": ["objective.name=source_only"],
    "dann": ["objective.name=dann"],
    "dann_modern": ["objective.name=dann", *MODERN],
    "dann_accumulate": ["objective.name=dann", "train.accumulate=2", "optimizer.clip_norm=1.0"],
    "train_on_target": ["objective.name=train_on_target"],
}


def digest(run: Path) -> dict:
    """The results of a finished run without times and names: hash of the weights, chosen step, logged numbers."""
    weights = load_file(run / "checkpoints" / "latest" / "model.safetensors")
    if not any("domain_loss" in line for line in (run / "metrics.jsonl").read_text().splitlines()):
        # up to version 0.1 every checkpoint held a domain classifier, trained or not
        weights = {name: value for name, value in weights.items() if "domain_classifier" not in name}
    tensors = sorted(hashlib.sha256(value.numpy().tobytes()).hexdigest() for value in weights.values())
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    timed = ("speed/", "_", "time")
    rows = [{key: value for key, value in sorted(row.items()) if not key.startswith(timed)} for row in rows]
    summary = json.loads((run / "summary.json").read_text())
    return {
        "weights": hashlib.sha256("".join(tensors).encode()).hexdigest(),
        "chosen_step": summary["selection/chosen_step"],
        "rows": rows,
        "test": {key: value for key, value in summary.items() if "test" in key},
    }


def run_case(name: str, ranks: int, folder: Path) -> dict:
    run = f"{name}-{ranks}"
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    launcher = [sys.executable]
    if ranks > 1:
        launcher += ["-m", "job.system.launch", "--preload", "job.commands.preload"]
        environment |= {"JOB_EXPECTED_RANKS": str(ranks), "WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    words = [f"name={run}", f"output={folder / 'runs'}", f"data.shards={folder / 'faces'}", *CASES[name]]
    command = [*launcher, "-m", "job", "train", "--config", str(folder / "base.yaml"), *words]
    subprocess.run(command, cwd=REPO, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return digest(folder / "runs" / run)


def record() -> dict:
    """The digests of all cases on one and on two ranks."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "base.yaml").write_text(json.dumps(BASE))
        make = [sys.executable, "-m", "job", "shards", "faces", "--out", str(folder / "faces"), "--size", "48"]
        make += ["--shards", "8", "--keep-target-labels", "--option", "train=96", "--option", "val=33"]
        subprocess.run([*make, "--option", "test=35"], cwd=REPO, check=True, stderr=subprocess.DEVNULL)
        return {f"{name}-{ranks}": run_case(name, ranks, folder) for name in CASES for ranks in (1, 2)}


def main() -> int:
    action, path = sys.argv[1], Path(sys.argv[2])
    found = record()
    if action == "record":
        path.write_text(json.dumps(found, indent=1))
        return 0
    before = json.loads(path.read_text())
    for case, was in before.items():
        different = [key for key in was if was[key] != found[case][key]]
        print(f"{case}: {'different ' + ', '.join(different) if different else 'equal'}")
    return int(before != found)


if __name__ == "__main__":
    sys.exit(main())
