"""The commands as a user types them, on good and on bad input."""

import csv
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from job.train import train
from tests.support.manifests import accept_changes
from tests.support.running import REPO, finish, start


@pytest.fixture(scope="module")
def trained(tmp_path_factory, faces):
    from job.config.load import build_config
    from tests.support.running import SMALL, merge

    output = tmp_path_factory.mktemp("trained")
    content = {
        "name": "t",
        "output": str(output),
        "data": {"shards": str(faces)},
        "train": {"steps": 8, "log_every": 4},
    }
    config = build_config(merge(SMALL, content), "test")
    assert train(config) == 0
    return config


def fails(result, *says) -> None:
    code, _, errors = result
    lines = [line for line in errors.strip().splitlines() if line.startswith("error")]
    assert code == 2, errors
    assert "Traceback" not in errors
    assert len(lines) == 1, errors
    for words in says:
        assert words in lines[0]


def yaml_of(config, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml())
    return path


@pytest.mark.parametrize(
    "command", ["train", "shards", "inspect", "evaluate", "predict", "export", "push", "demo", "compare"]
)
def test_every_command_has_help_with_an_example(job, command):
    code, out, _ = job(command, "--help")
    assert code == 0
    assert "Example" in out
    assert f"job {command}" in out


def test_an_unknown_option_and_a_missing_one(job):
    code, _, errors = job("inspect", "--verfy", "x")
    assert code == 2
    assert "--verify" in errors
    assert job("evaluate")[0] == 2


# Bad input to train -----------------------------------------------------------------------------------------------


@pytest.fixture
def train_on(job, small, tmp_path):
    def call(*overrides, **changes):
        return job("train", "--config", yaml_of(small(name="bad", **changes), tmp_path), *overrides)

    return call


@pytest.fixture
def broken(faces, tmp_path):
    return shutil.copytree(faces, tmp_path / "broken")


def first_shard(folder, domain="source", split="train"):
    return sorted((folder / domain / split).glob("*.tar"))[0]


def test_more_streams_than_shards_are_reported_before_the_start(job, small, tmp_path):
    config = yaml_of(small(name="bad"), tmp_path)
    result = job("train", "--check", "--config", config, "data.streams=1000", "data.global_batch_size=1000")
    fails(result, "source has", "shards but data.streams is 1000", "--shards 1000")
    assert not (small(name="bad").run_folder).exists()


def test_missing_shards(train_on):
    fails(train_on("data.shards=/nowhere"), "no shards at /nowhere", "python -m job shards")


def test_half_written_shards(train_on, broken):
    (broken / "manifest.json").unlink()
    fails(train_on(f"data.shards={broken}"), "is unfinished", "run the shards command again")


def test_a_truncated_shard(train_on, broken):
    path = first_shard(broken)
    path.write_bytes(path.read_bytes()[:-2000])
    fails(train_on(f"data.shards={broken}"), str(path), "copy it again")


def test_a_shard_that_ends_too_early_though_its_size_is_right(train_on, broken):
    path = first_shard(broken)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    fails(train_on(f"data.shards={broken}"), str(path), "sha256")
    fails(train_on(f"data.shards={broken}", "data.verify=never"), str(path), "damaged")


def test_an_image_that_cannot_be_decoded(train_on, broken):
    path = first_shard(broken)
    content = bytearray(path.read_bytes())
    start_of_image = content.index(b"\xff\xd8\xff")
    content[start_of_image : start_of_image + 400] = bytes(400)
    path.write_bytes(content)
    accept_changes(broken)
    fails(train_on(f"data.shards={broken}"), str(path), "cannot be decoded", "data.on_bad_image=skip")
    code, _, errors = train_on(f"data.shards={broken}", "data.on_bad_image=skip", "name=skips")
    assert code == 0, errors


def test_a_label_outside_the_classes(train_on, broken):
    path = first_shard(broken)
    content = path.read_bytes()
    header = content.index(b".cls\0")
    block = header // 512 * 512 + 512
    path.write_bytes(content[:block] + b"9" + content[block + 1 :])
    fails(train_on(f"data.shards={broken}"), "its sha256 is not the manifest's", str(path))
    fails(train_on(f"data.shards={broken}", "data.verify=never"), str(path), "9")


def test_classes_that_do_not_fit(job, trained, broken):
    manifest = json.loads((broken / "manifest.json").read_text())
    manifest["class_names"][1] = "happiness"
    (broken / "manifest.json").write_text(json.dumps(manifest))
    result = job("evaluate", "--checkpoint", trained.run_folder / "checkpoints" / "best", "--shards", broken)
    fails(result, "does not match", "happiness")


def test_a_batch_that_cannot_be_shared(train_on):
    fails(train_on("data.global_batch_size=18"), "set data.global_batch_size to 16 or 20")
    fails(train_on("train.accumulate=3"), "choose a divisor of 16")


def test_more_ranks_than_streams(job, small, tmp_path):
    path = yaml_of(small(name="bad"), tmp_path)
    fails(job("train", "--config", path, "--check", "--ranks", 8), "data.streams is 4", "8 ranks")


def test_more_streams_than_shards(train_on):
    fails(train_on("data.streams=16"), "8 shards", "data.streams")


def test_a_domain_that_is_not_in_the_shards(train_on):
    fails(train_on("data.target=women"), "no women/train", "source/train")


def test_train_on_target_without_target_labels(job, small, tmp_path):
    blind = tmp_path / "blind"
    words = ["shards", "faces", "--out", blind, "--size", 48, "--shards", 4, "--workers", 1]
    code, _, errors = job(*words, *["--option", "train=16", "--option", "val=8", "--option", "test=8"])
    assert code == 0, errors
    path = yaml_of(small(name="bad", data={"shards": str(blind)}), tmp_path)
    fails(job("train", "--config", path, "objective.name=train_on_target"), "--keep-target-labels")
    code, _, errors = job("train", "--config", path, "train.steps=2")  # DANN does not need them
    assert code == 0, errors


def test_a_run_folder_that_cannot_be_written(train_on, tmp_path):
    (tmp_path / "file").write_text("")
    fails(train_on(f"output={tmp_path}/file"), "cannot write the run folder", "choose another")


@pytest.mark.parametrize("precision", ["fp16"])
def test_a_precision_that_the_machine_lacks(train_on, precision):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    fails(train_on(f"train.precision={precision}"), "needs a GPU")


def test_a_configuration_that_is_not_yaml(job, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("name: [")
    fails(job("train", "--config", path), "is not valid YAML")


# evaluate, predict, compare ----------------------------------------------------------------------------------------


def test_evaluate_agrees_with_the_end_of_training_and_counts_every_sample_once(job, trained, tmp_path):
    out = tmp_path / "figures.json"
    code, table, errors = job("evaluate", "--checkpoint", trained.run_folder / "checkpoints" / "best", "--out", out)
    assert code == 0, errors
    assert "source" in table
    assert "surprise" in table
    figures = json.loads(out.read_text())
    at_the_end = json.loads((trained.run_folder / "evaluation" / "test.json").read_text())
    for role in ("source", "target"):
        assert figures[role]["samples"] == 35
        assert np.sum(figures[role]["confusion"]) == 35
        assert figures[role]["confusion"] == at_the_end[role]["confusion"]
    card = (trained.run_folder / "evaluation" / "model_card.md").read_text()
    assert "## Errors on the test split" in card
    assert card.count("| disgust") == 3, "for each domain, and side by side"


@pytest.mark.slow
def test_evaluation_is_the_same_on_three_ranks_that_cannot_share_equally(job, trained, tmp_path):
    import os

    one, three = tmp_path / "one.json", tmp_path / "three.json"
    checkpoint = str(trained.run_folder / "checkpoints" / "best")
    assert job("evaluate", "--checkpoint", checkpoint, "--out", one)[0] == 0
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=3"]
    command = [
        *launcher,
        "--main_process_port=0",
        "-m",
        "job",
        "evaluate",
        "--checkpoint",
        checkpoint,
        "--out",
        str(three),
    ]
    done = subprocess.run(
        command, cwd=REPO, env=os.environ | {"ACCELERATE_USE_CPU": "true"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    one, three = (json.loads(path.read_text()) for path in (one, three))
    for role in ("source", "target"):
        assert one[role]["confusion"] == three[role]["confusion"]
        assert one[role]["mean_entropy"] == pytest.approx(three[role]["mean_entropy"], abs=1e-6)


@pytest.mark.slow
def test_ranks_evaluate_the_network_that_the_checkpoint_holds(job, small, tmp_path):
    """Each rank's BatchNorm has statistics of its own after a step; the checkpoint has the main rank's."""
    settings = {"model": {"batch_norm": "mixed"}, "optimizer": {"lr": 0.05}}
    config = small(name="two", train={"steps": 4, "eval_every": 4}, **settings)
    finish(start(config, tmp_path, ranks=2))
    out = tmp_path / "alone.json"
    checkpoint = config.run_folder / "checkpoints" / "step_00000004"
    code, _, errors = job("evaluate", "--checkpoint", checkpoint, "--split", "val", "--out", out)
    assert code == 0, errors
    during = json.loads((config.run_folder / "evaluation" / "step_00000004.json").read_text())
    alone = json.loads(out.read_text())
    for role in ("source", "target"):
        assert during[role]["mean_entropy"] == pytest.approx(alone[role]["mean_entropy"], abs=1e-6)
        assert during[role]["confusion"] == alone[role]["confusion"]


def test_predict_writes_a_row_per_readable_image(job, trained, tmp_path):
    photos = tmp_path / "photos"
    (photos / "deeper").mkdir(parents=True)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (90, 70, 3), np.uint8)).save(photos / "colour é.jpg")
    Image.fromarray(rng.integers(0, 255, (48, 48), np.uint8)).save(photos / "deeper" / "grey.PNG")
    (photos / "broken.jpg").write_text("no image")
    (photos / "link.jpg").symlink_to("nowhere.jpg")
    out = tmp_path / "predictions.csv"
    code, said, errors = job(
        "predict", "--checkpoint", trained.run_folder / "checkpoints" / "best", photos, "--out", out
    )
    assert code == 0, errors
    assert "2 predicted, 2 skipped" in said
    assert "broken.jpg" in errors
    assert "link.jpg: a broken link" in errors
    with open(out, newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [row["path"].rpartition("/")[2] for row in table] == ["colour é.jpg", "grey.PNG"]
    for row in table:
        probabilities = {
            name: float(row[name]) for name in ("neutral", "joy", "sadness", "surprise", "anger", "fear", "disgust")
        }
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-3)
        assert row["label"] == max(probabilities, key=probabilities.get)


@pytest.mark.parametrize("option", ["train=abc", "train=", "train=[1", "train=-5", "train=0", "train=1.5"])
def test_an_invalid_option_of_a_layout(job, tmp_path, option):
    fails(job("shards", "faces", "--out", tmp_path / "s", "--option", option), "train=")


def test_a_place_to_write_that_cannot_be_written(job, trained, faces, tmp_path):
    (tmp_path / "file").write_text("")
    best = trained.run_folder / "checkpoints" / "best"
    picture = REPO / "docs" / "faces.jpg"
    below = tmp_path / "file" / "below"
    for command in (
        ("predict", "--checkpoint", best, picture, "--out"),
        ("evaluate", "--checkpoint", best, "--out"),
        ("export", "--checkpoint", best, "--out"),
        ("inspect", faces, "--sheet"),
        ("compare", trained.run_folder, "--out"),
        ("shards", "faces", "--out"),
    ):
        name = {"export": "x.onnx", "inspect": "x.png"}.get(command[0], "x")
        fails(job(*command, below / name), f"{command[-1]}: cannot make {tmp_path / 'file'}", "choose another")
    for command in ("predict", "evaluate"):
        words = [picture] if command == "predict" else []
        fails(job(command, "--checkpoint", best, *words, "--out", tmp_path), f"--out {tmp_path} is a folder")
        fails(job(command, "--checkpoint", best, *words, "--out", "/dev/full"), "/dev/full is not a regular file")
    fails(job("inspect", faces, "--sheet", tmp_path / "sheet.txt"), "give the name of an image, such as sheet.png")
    fails(job("compare", trained.run_folder, "--out", tmp_path / "file"), "cannot make", "choose another")
    assert (tmp_path / "file").read_text() == ""
    out = tmp_path / "predictions.csv"
    out.write_text("of before")
    fails(job("predict", "--checkpoint", best, REPO / "README.md", "--out", out), "none of 1 images could be predicted")
    assert out.read_text() == "of before"
    assert [path.name for path in tmp_path.glob("*.partial")] == []


def test_predict_prepares_images_like_training(trained, faces, tmp_path):
    """A picture taken out of a shard and one read from the shard give the same probabilities."""
    import simplejpeg

    from job.evaluation.load import load_model
    from job.prediction.images import Picture
    from job.prediction.prepare import read, settings_of
    from job.shards.writing.encode import encode

    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 255, (60, 60, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "lossless.png")
    loaded = load_model(trained.run_folder / "checkpoints" / "best")
    (seen,) = read(Picture("lossless", tmp_path / "lossless.png"), loaded, settings_of(loaded))
    np.testing.assert_array_equal(seen.pixels, simplejpeg.decode_jpeg(encode(pixels, 48, loaded.quality), "RGB"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("train",), "Missing option '--config': see "),
        (("train", "--config", "x.yaml", "--ranks", "two"), "'two' is not a valid integer"),
        (("trian",), "No such command 'trian'"),
        (("inspect",), "Missing argument 'SHARDS': see "),
    ],
)
def test_an_invalid_command_line_is_reported_in_one_line(job, words, says):
    fails(job(*words), says)


def test_predict_and_evaluate_report_mistakes(job, trained, tmp_path):
    best = trained.run_folder / "checkpoints" / "best"
    fails(job("predict", "--checkpoint", tmp_path / "none", tmp_path), "no checkpoint at")
    fails(job("predict", "--checkpoint", best, tmp_path / "nothing.jpg"), "no image or folder at")
    (tmp_path / "latest").mkdir()
    fails(job("predict", "--checkpoint", tmp_path / "best", tmp_path), "has not been evaluated yet", "latest exists")
    fails(job("evaluate", "--checkpoint", trained.run_folder), "is a run folder", "checkpoints/best")
    fails(
        job("evaluate", "--checkpoint", trained.run_folder / "checkpoints"),
        "contains several checkpoints",
        "checkpoints/best",
    )
    damaged = shutil.copytree(best, tmp_path / "damaged")
    (damaged / "model.safetensors").write_bytes(b"short")
    fails(job("evaluate", "--checkpoint", damaged), "is damaged")


def test_compare_gives_means_and_the_share_of_the_gap(job, tmp_path):
    for objective, seed, accuracy in (
        *(("source_only", 0, 0.5), ("source_only", 1, 0.6)),
        *(("dann", 0, 0.8), ("dann", 1, 0.8), ("train_on_target", 0, 0.95)),
    ):
        folder = tmp_path / f"{objective}-{seed}"
        folder.mkdir()
        config = {"objective": {"name": objective}, "seed": seed, "data": {"shards": "s"}}
        (folder / "config.yaml").write_text(json.dumps(config))
        summary = {"test/source_accuracy": 0.9, "oracle/test_target_accuracy": accuracy}
        (folder / "summary.json").write_text(json.dumps(summary))
    runs = sorted(path for path in tmp_path.iterdir())
    code, table, _ = job("compare", *runs, "--out", tmp_path / "out")
    assert code == 0
    comparison = json.loads((tmp_path / "out" / "comparison.json").read_text())["objectives"]
    assert comparison["source_only"]["target"]["mean"] == pytest.approx(0.55)
    assert comparison["source_only"]["target"]["std"] == pytest.approx(0.0707, abs=1e-4)
    assert comparison["dann"]["gap_closed"] == pytest.approx(0.25 / 0.4)
    assert [line.split()[0] for line in table.splitlines()[1:4]] == ["source_only", "dann", "train_on_target"]
    fails(job("compare", *runs, runs[0]), "are both dann with seed 0")
    other = json.loads((runs[0] / "config.yaml").read_text())
    (runs[0] / "config.yaml").write_text(json.dumps(other | {"data": {"target": "cartoons"}}))
    fails(job("compare", runs[0], runs[-1]), "data.target=", "compare runs on the same domains")
    (runs[0] / "config.yaml").write_text(json.dumps(other))
    for folder, manifest in ((runs[0], "a"), (runs[-1], "b")):
        (folder / "facts.json").write_text(json.dumps({"manifest": manifest}))
    fails(job("compare", *runs), "were trained on different shards")
    (runs[0] / "summary.json").write_text('{"test/source_acc')
    fails(job("compare", *runs), f"{runs[0]} has a damaged summary.json")
    (runs[0] / "summary.json").unlink()
    fails(job("compare", *runs), "is not finished")


# W&B ---------------------------------------------------------------------------------------------------------------
