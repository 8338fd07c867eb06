"""What a process does not need, it does not import: a cluster reads every imported file once for each rank."""

import json
import subprocess
import sys

import pytest

from tests.support.running import REPO

TORCH = {"torch", "torchvision", "accelerate"}
RARE = {"torchvision", "torch._dynamo", "sklearn", "scipy", "matplotlib", "PIL", "optuna", "wandb", "ot", "s3fs"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("modules", "unneeded"),
    [
        (["job.monitor.figures.draw", "job.monitor.report.write"], TORCH | RARE - {"matplotlib", "PIL"}),  # drawing
        (["job.__main__", "job.system.launch", "job.training.inputs", "job.evaluation.compare"], TORCH | RARE),
        (["job.methods.build", "job.training.streams"], RARE | {"accelerate"}),  # train --check
        (["job.train", "job.export", "job.evaluation.command"], RARE),
    ],
)
def test_unneeded_libraries_are_not_imported(modules, unneeded):
    code = f"import json, sys, {', '.join(modules)}; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    assert not unneeded & set(json.loads(done.stdout))
