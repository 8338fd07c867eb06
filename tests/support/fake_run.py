"""A run of a trial in a tenth of a second: `python fake_run.py train --config RUN/config.yaml`, as launch/node.sh.

Its score is highest for optimizer.lr = 0.01, and its class_ami for 0.1. It evaluates three times, obeys the file `stop`
as a real run does, and resumes. A file RUN/../NAME.then says how it ends otherwise: an exit code, or the words
`not finite`.
"""

import fcntl
import json
import math
import sys
import time
from pathlib import Path

import yaml

STEPS = (8, 16, 24)


def main() -> int:
    path = Path(sys.argv[sys.argv.index("--config") + 1])
    run, config = path.parent, yaml.safe_load(path.read_text())
    (run / "checkpoints").mkdir(exist_ok=True)
    with open(run / "starts", "a") as starts, open(run / "lock", "a") as lock:
        starts.write("x")
        starts.flush()
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            (run / "twice").touch()
            return 2
        return train(run, config)


def train(run: Path, config: dict) -> int:
    then = run.parent / f"{run.name}.then"
    if then.exists():
        return fail(run, then.read_text())
    metrics = run / "metrics.jsonl"
    done = len(metrics.read_text().splitlines()) if metrics.exists() else 0
    rate, name = config["optimizer"]["lr"], f"selection/{config['selection']['score']}"
    score, other = (-(math.log10(rate / best) ** 2) for best in (0.01, 0.1))
    for number, step in list(enumerate(STEPS, 1))[done:]:
        begun = time.monotonic()
        while time.monotonic() - begun < min(pause(run, number), 300):  # nobody may be left to end this process
            time.sleep(0.02)
            if (run / "stop").exists():
                (run / "stop").unlink()
                return 75
        row = {"trainer/step": step, name: score - 1 / number, "oracle/target_accuracy": -score}
        row.setdefault("selection/class_ami", other)
        row.setdefault("selection/transfer_score", score - 1 / number)
        with open(metrics, "a") as file:
            file.write(json.dumps(row) + "\n")
    (run / "summary.json").write_text(json.dumps({"selection/chosen_step": STEPS[-1], "test/source_accuracy": 0.5}))
    return 0


def pause(run: Path, number: int) -> float:
    """Return seconds before evaluation `number`: those in a file `pause` of run or study, or next to nothing.

    The file has a pause for each evaluation, separated by blanks; the last holds for all that follow, too. It is read
    again and again, so a test can end a pause that has begun.
    """
    path = next((parent / "pause" for parent in (run, *run.parents) if (parent / "pause").exists()), None)
    pauses = path.read_text().split() if path else ["0.02"]
    return float(pauses[min(number, len(pauses)) - 1])


def fail(run: Path, how: str) -> int:
    if how == "not finite":
        status = {"status": "failed", "exit_code": 2, "kind": "NotFinite", "message": "The loss is NaN at step 3"}
        (run / "status.json").write_text(json.dumps(status))
        return 2
    if how == "2":
        status = {"status": "failed", "exit_code": 2, "kind": "JobError", "message": "no space left: make room"}
        (run / "status.json").write_text(json.dumps(status))
    return int(how)


if __name__ == "__main__":
    sys.exit(main())
