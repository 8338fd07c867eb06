import json
from pathlib import Path

import pytest
import yaml

from job.config.load import build_config, load_config
from job.config.objectives import SHOTSettings
from job.config.schema import Config
from job.system.errors import JobError


def write(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


def test_overrides_are_yaml_and_take_precedence(tmp_path):
    path = write(tmp_path, "optimizer: {lr: 0.1}\n")
    config = load_config(path, ["optimizer.lr=1e-3", "train.precision=no", "model.weights=none", "wandb.tags=[a, b]"])
    assert config.name == "mine"
    assert config.optimizer.lr == 1e-3
    assert config.train.precision == "no"
    assert config.model.weights == "none"
    assert config.wandb.tags == ("a", "b")


def test_the_resolved_configuration_loads_again(tmp_path):
    config = load_config(write(tmp_path, "data: {mean: imagenet, std: imagenet}\n"), ["seed=3"])
    assert config.data.std == (0.229, 0.224, 0.225)
    again = load_config(write(tmp_path, config.to_yaml()))
    assert again == config


@pytest.mark.parametrize(
    ("text", "overrides", "says"),
    [
        ("optimiser: {lr: 0.1}\n", [], "unknown key optimiser: did you mean optimizer?"),
        ("data: {stream: 4}\n", [], "unknown key data.stream: did you mean data.streams?"),
        ("{}\n", ["train.lr=0.1"], "did you mean optimizer.lr?"),
        ("{}\n", ["train.lambda_maks=1"], "did you mean objective.lambda_max?"),
        ("{}\n", ["optimizer.lr"], "not of the form key.sub=value"),
        ("{}\n", ["train.steps=0"], "train.steps = 0: input should be greater than 0"),
        ("{}\n", ["optimizer.lr=fast"], "optimizer.lr = 'fast'"),
        ("a: [1\n", [], "is not valid YAML"),
        ("name: {{ name }}\n", [], "mine.yaml, line 1 is not valid YAML: expected a name, not a list"),
        ("seed: 1\nseed: 2\n", [], "key 'seed' is repeated"),
        ("- a\n- b\n", [], "is not a configuration"),
        ("just words\n", [], "is not a configuration"),
        ("{}\n", ["selection.score=target_accuracy"], "target labels select the checkpoint of train_on_target"),
        ("{}\n", ["name=a/b"], "must have no slash"),
        ("{}\n", ["data.augment=3"], "data.augment is a section: set its keys, such as data.augment.flip"),
        ("seed: 1\n", ["optimizer.lr=0.1", "train.steps=0"], "override 'train.steps=0': train.steps = 0"),
        ("train: {steps: 0}\n", ["optimizer.lr=0.1"], "mine.yaml: train.steps = 0"),
        (
            "seed: 1\n",
            ["optimiser.lr=0.1", "seed=2"],
            "override 'optimiser.lr=0.1': unknown key optimiser: did you mean",
        ),
        ("optimiser: {lr: 1}\n", ["seed=2", "train.steps=9"], "mine.yaml: unknown key optimiser"),
        ("seed: 1\n", ["--train.steps=50"], "override '--train.steps=50': leave out the dashes, train.steps=50"),
        ("seed: 1\n", ["--name"], "override '--name': leave out the dashes, name=VALUE"),
        ("seed: 1\n", ["--trials=5"], "unknown option --trials=5: see --help"),
        ("seed: 1\n", ["seed=2", "objective.name=dann+mc"], "override 'objective.name=dann+mc': objective.also.0.name"),
        (
            "seed: 1\n",
            ["objective.name=dan_", "seed=2"],
            "override 'objective.name=dan_': objective.name = 'dan_' is not",
        ),
        ("objective: {name: dan_}\n", ["seed=2"], "mine.yaml: objective.name = 'dan_' is not a method"),
        ("seed: 1\n", ["selection.score=target_accuracy", "seed=3"], "override 'selection.score=target_accuracy': "),
    ],
)
def test_a_mistake_is_reported_in_one_line(tmp_path, text, overrides, says):
    with pytest.raises(JobError) as error:
        load_config(write(tmp_path, text), overrides)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_and_binary_files_raise_job_error(tmp_path):
    with pytest.raises(JobError, match="no configuration at"):
        load_config(tmp_path / "nothing.yaml")
    (tmp_path / "picture.yaml").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(JobError, match="cannot read the configuration"):
        load_config(tmp_path / "picture.yaml")


def test_the_fingerprint_covers_exactly_the_keys_that_decide_the_weights():
    def fingerprint(**content):
        return Config.model_validate(content).fingerprint()

    base = fingerprint()
    for harmless in (
        {"data": {"threads": 7, "decoded_gib": 0}},
        {"name": "b"},
        {"train": {"log_every": 3}},
        {"wandb": {"project": "p"}},
    ):
        assert fingerprint(**harmless) == base
    for harmful in ({"seed": 1}, {"data": {"streams": 8}}, {"optimizer": {"lr": 0.5}}, {"train": {"steps": 7}}):
        assert fingerprint(**harmful) != base


def test_cdan_has_new_keys_that_dann_had_before():
    """A run of cdan that began without them resumes; in dann they have been decisive since version 0.1."""
    keys = {"entropy_weight", "pseudo_label_weight", "pseudo_label_threshold"}
    dann, cdan = (build_config({"objective": {"name": name}}, "test").decisive() for name in ("dann", "cdan"))
    assert (dann["objective"].keys() & keys, cdan["objective"].keys() & keys) == (keys, set())
    changed = build_config({"objective": {"name": "cdan", "pseudo_label_weight": 1.0}}, "test").decisive()
    assert changed["objective"]["pseudo_label_weight"] == 1.0


def test_a_run_of_version_0_1_keeps_its_fingerprint():
    """Each key is marked if no weight depends on it; the fingerprints in old checkpoints must not change."""
    old = Path(__file__).parents[1] / "support" / "run_of_version_0_1"
    (meta,) = (json.loads(path.read_text()) for path in old.glob("old/checkpoints/step_*/meta.json"))
    assert build_config(meta["config"], "meta.json").fingerprint() == meta["fingerprint"]


def test_every_shipped_configuration_is_valid():
    from pathlib import Path

    paths = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
    assert paths
    for path in paths:
        assert yaml.safe_load(load_config(path).to_yaml())


RECIPES = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_loads_and_names_the_command_that_writes_its_shards(path):
    config = load_config(path)
    assert config.name == path.stem
    assert config.data.global_batch_size % (config.data.streams or 1) == 0
    commands = [line for line in path.read_text().splitlines() if line.startswith("#   python -m job shards ")]
    for line in commands:
        assert f"--out {config.data.shards}" in line
    assert commands or path.stem.endswith("_modern")


@pytest.mark.parametrize(
    ("name", "also"),
    [
        ("dann", []),
        ("dann+mcc", [("mcc", 0.25)]),
        ("dann+coral", [("coral", 1.0)]),
        ("cdan+mcc+entropy", [("mcc", 0.25), ("entropy", 1.0)]),
        ("mcc", []),
        ("source_only", []),
    ],
)
def test_a_method_on_the_command_line_replaces_the_terms_of_the_file(tmp_path, name, also):
    path = tmp_path / "x.yaml"
    path.write_text("objective: {name: dann, also: [{name: mcc, weight: 0.25}]}\n")
    objective = load_config(path, [f"objective.name={name}"]).objective
    assert objective.name == name.partition("+")[0]
    assert [(term.name, term.weight) for term in objective.terms] == also


def test_a_method_on_the_command_line_keeps_the_settings_that_both_methods_share(tmp_path):
    """The same name in another method can mean another quantity: `shot` has its own weight of pseudo-labels."""
    path = tmp_path / "x.yaml"
    path.write_text("objective: {name: dann, lambda_max: 0.3, pseudo_label_weight: 0.7, label_smoothing: 0.1}\n")
    cdan, shot = (load_config(path, [f"objective.name={name}"]).objective for name in ("cdan", "shot"))
    assert (cdan.lambda_max, cdan.pseudo_label_weight, cdan.label_smoothing) == (0.3, 0.7, 0.1)
    assert (shot.pseudo_label_weight, shot.label_smoothing) == (SHOTSettings().pseudo_label_weight, 0.1)
    path.write_text("objective: {name: mcc, weight: 0.2, rises: false}\n")
    fixmatch = load_config(path, ["objective.name=fixmatch"]).objective
    assert (fixmatch.weight, fixmatch.rises) == (1.0, True)


def test_terms_on_the_command_line_hold_wherever_they_stand(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("objective: {name: dann, also: [{name: mcc}]}\n")
    for words in (
        ["objective.also=[{name: coral}]", "objective.name=cdan"],
        ["objective.name=cdan", "objective.also=[{name: coral}]"],
    ):
        assert [term.name for term in load_config(path, words).objective.terms] == ["coral"]
