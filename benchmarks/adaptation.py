"""Accuracy of a configuration: source_only, its own method and train_on_target over several seeds, run as a user does.

Finished runs under --output are reused, so that an interrupted measurement resumes; delete them to measure again.
Checkpoints are selected as configured, without target labels, except those of train_on_target.
"""

import subprocess
import sys
from pathlib import Path

from benchmarks.common import arguments, read_seeds, write_result
from job.commands.lists import join_lists
from job.config.load import load_config
from job.config.objectives import method_label
from job.evaluation.compare import LOWER, UPPER, compare
from job.evaluation.compare_text import table

KEPT = (
    "run",
    "objective",
    "seed",
    "selection/chosen_step",
    "selection/chosen_by",
    "train/domain_loss",
    "domain/a_distance",
)
PREFIXES = (
    "test/",
    "oracle/test_target_accuracy",
    "oracle/test_target_macro_f1",
    "selection/infomax",
    "val/source_acc",
)


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], "adaptation")
    parser.add_argument("config", type=Path)
    parser.add_argument("--seeds", help="how many (default: 3), or which: 0 1 2")
    parser.add_argument("--output", type=Path, default=Path("runs/adaptation"))
    parser.add_argument("--objectives", nargs="+", help="default: source_only, the configured method, train_on_target")
    parser.add_argument("overrides", nargs="*", help="key.sub=value")
    args = parser.parse_args(join_lists(sys.argv[1:], ["--seeds"]))
    stem = args.config.stem
    configured = method_label(load_config(args.config, args.overrides).model_dump()["objective"])
    objectives = args.objectives or [LOWER, configured, UPPER]
    folders = []
    for seed in read_seeds(args.seeds, 3):
        for objective in objectives:
            name = f"{stem}-{objective}-{seed}"
            folders.append(args.output / name)
            if (folders[-1] / "summary.json").exists():
                continue
            words = [f"objective.name={objective}", f"seed={seed}", f"name={name}", f"output={args.output}"]
            command = ["launch/local.sh", args.config, *args.overrides, *words]
            code = subprocess.run([str(word) for word in command]).returncode
            if code:
                sys.exit(f"{name} exited with {code}: run the same command again to resume")
    comparison = compare(folders)
    print(table(comparison))
    comparison["runs"] = [
        {key: value for key, value in run.items() if key in KEPT or key.startswith(PREFIXES)}
        for run in comparison["runs"]
    ]
    config = load_config(args.config, args.overrides).model_dump(mode="json")
    out = args.out if args.out.name != "adaptation.json" else args.out.with_name(f"adaptation_{stem}.json")
    write_result(out, "adaptation", comparison | {"configuration": config})


if __name__ == "__main__":
    main()
