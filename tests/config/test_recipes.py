"""Recipes for real faces, on small trees of generated images in the same layouts."""

from pathlib import Path

import pytest

from job.config.load import load_config
from job.shards.writing.write_shards import write_shards
from job.train import train
from tests.support import trees

CONFIGS = Path(__file__).parents[2] / "configs"
OVERRIDES = ("train.steps=2", "train.eval_every=2", "train.checkpoint_every=2", "wandb.mode=disabled")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_starts_without_a_network(path):
    assert load_config(path, []).model.weights == "none"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "make", "options"),
    [
        ("kdef", trees.kdef, {}),
        ("ferg", trees.ferg, {}),
        ("rafdb", lambda root: trees.rafdb(root, train=210, test=70), {}),
        ("fer2013", trees.fer2013, {"gender": "genders.csv"}),
    ],
)
def test_recipe_from_images_to_a_trained_model(tmp_path, name, make, options):
    write_shards(name, make(tmp_path / "set"), tmp_path / "shards", size=32, workers=1, options=options, progress=False)
    small = ["data.global_batch_size=16", "evaluation.probe_samples=20", "evaluation.figures=false"]
    places = [f"data.shards={tmp_path / 'shards'}", f"output={tmp_path / 'runs'}"]
    config = load_config(CONFIGS / f"{name}.yaml", [*OVERRIDES, *small, *places])
    assert train(config) == 0
    assert (config.run_folder / "summary.json").exists()
