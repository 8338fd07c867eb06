"""`predict` on real-world photos: a bad photo is skipped and the others are predicted."""

import csv
import errno
import os

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from job import predict as module
from job.__main__ import main
from job.config.load import build_config
from job.methods.build import build_method
from job.prediction import prepare
from job.run_folder.checkpoint import save_checkpoint
from job.system.errors import JobError

NAMES = ("calm", "glad")


@pytest.fixture
def checkpoint(tmp_path):
    """The checkpoint of an untrained network for images of 32 px."""
    return checkpoint_of(tmp_path)


def checkpoint_of(tmp_path, names=NAMES, **more):
    config = build_config({"name": "made", "model": {"backbone": "compact"}}, "test")
    network = build_method(config, 32, len(names))
    meta = {"class_names": names, "size": 32, "quality": 95, "config": config.model_dump(mode="json"), "step": 1}
    (tmp_path / "checkpoints").mkdir()
    return save_checkpoint(tmp_path / "checkpoints", meta | more, network.state_dict(), {}).path


def picture(mode="RGB", size=(40, 30)):
    channels = len(mode) if mode in ("RGB", "RGBA", "CMYK") else 1
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], channels), np.uint8)
    return Image.fromarray(pixels if channels > 1 else pixels[:, :, 0], mode if channels > 1 else "L")


def good_photos(folder):
    """Write photos of unusual kinds that can be read."""
    picture().save(folder / "plain.jpg")
    picture("CMYK").save(folder / "cmyk.jpg")
    picture("RGBA").save(folder / "transparent.png")
    Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50).save(folder / "16bit.png")
    frames = [picture(), picture().rotate(90)]
    frames[0].save(folder / "animated.gif", save_all=True, append_images=frames[1:])
    picture(size=(900, 1)).save(folder / "one_line.png")
    picture().save(os.fsencode(folder / "not_utf8_") + b"\xff\xfe.jpg", "JPEG")
    picture().save(folder / "=formula.jpg")
    picture().save(folder / "line\nend.jpg")


def bad_photos(folder):
    """Write photos that cannot be read, and files that are not photos."""
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("no picture")
    whole = (folder / "plain.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    os.mkfifo(folder / "fifo.jpg")
    (folder / "link.jpg").symlink_to("nowhere.jpg")
    Image.new("1", (12_000, 12_000)).save(folder / "huge.png")
    Image.fromarray(np.ones((9, 9), np.float32)).save(folder / "float.tiff")


def run(*words):
    """Run a command; return the exit code or the error, stdout and stderr."""
    result = CliRunner().invoke(main, [str(word) for word in words], standalone_mode=False)
    return result.exception or result.return_value, result.stdout, result.stderr


@pytest.mark.parametrize("named", ["folder", "each file"])
def test_bad_photos_are_listed_and_all_others_are_predicted(tmp_path, checkpoint, named):
    folder = tmp_path / "photos"
    folder.mkdir()
    good_photos(folder)
    good = len(list(folder.iterdir()))
    bad_photos(folder)
    bad = len(list(folder.iterdir())) - good
    inputs = [folder] if named == "folder" else [*sorted(folder.iterdir()), tmp_path / "missing.jpg"]
    bad += named != "folder"
    out = tmp_path / "predictions.csv"
    code, output, errors = run("predict", "--checkpoint", checkpoint, *inputs, "--out", out)
    assert code == 0, errors
    assert f"{good} predicted, {bad} skipped" in output
    assert errors.count("skipped ") == bad
    for name in ("empty.jpg", "text.jpg", "truncated.jpg", "fifo.jpg", "link.jpg", "huge.png", "float.tiff"):
        assert name in errors
    content = out.read_text(encoding="utf-8")  # raises if it is not UTF-8
    with open(out, newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert len(table) == good
    assert all(row["path"].isprintable() for row in table)
    assert r"not_utf8_\udcff\udcfe.jpg" in content
    assert all(abs(float(row["calm"]) + float(row["glad"]) - 1) < 1e-3 for row in table)


@pytest.mark.parametrize(
    ("names", "crop", "size", "notices"),
    [
        (("joy", "fear"), "center", (200, 128), 1),
        (("joy", "fear"), "center", (200, 127), 0),
        (("joy", "fear"), "face", (200, 200), 0),
        (NAMES, "center", (200, 200), 0),
    ],
)
def test_photos_in_which_no_face_was_sought_are_named_in_one_line(tmp_path, names, crop, size, notices):
    checkpoint = checkpoint_of(tmp_path, names, crop=crop)
    for number in range(2):
        picture(size=size).save(tmp_path / f"{number}.jpg")
    picture(size=(32, 32)).save(tmp_path / "2.jpg")
    photos = [tmp_path / f"{number}.jpg" for number in range(3)]
    code, _, errors = run("predict", "--checkpoint", checkpoint, *photos, "--out", tmp_path / "out.csv")
    assert code == 0, errors
    assert errors.count("notice: no face was searched for") == errors.count("notice") == notices
    assert errors.count("2 of 3 images are 4 times as large as the network's 32 px or larger") == notices


def test_only_bad_photos_is_an_error_that_names_one(tmp_path, checkpoint):
    (tmp_path / "one.jpg").write_text("no picture")
    (tmp_path / "two.jpg").write_text("no picture")
    out = tmp_path / "predictions.csv"
    for inputs, message in (
        ([tmp_path / "one.jpg", tmp_path / "two.jpg"], r"none of 2 images could be predicted: .*one.jpg: .*and 1 more"),
        ([tmp_path / "missing.jpg"], "nothing to predict: no image or folder at .*missing.jpg"),
    ):
        error, _, _ = run("predict", "--checkpoint", checkpoint, *inputs, "--out", out)
        assert isinstance(error, JobError)
        with pytest.raises(JobError, match=message):
            raise error
        assert not out.exists()


def test_library_error_on_one_photo_does_not_stop_the_others(tmp_path, checkpoint, monkeypatch):
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        picture().save(tmp_path / name)
    fetch = prepare.fetch

    def broken(path):
        if path.endswith("b.jpg"):
            raise RuntimeError("OpenCV(4.14.0) error:\n  (-215) something")
        if path.endswith("c.jpg"):
            raise MemoryError
        return fetch(path)

    monkeypatch.setattr(prepare, "fetch", broken)
    photos = [tmp_path / name for name in ("a.jpg", "b.jpg", "c.jpg")]
    code, output, errors = run("predict", "--checkpoint", checkpoint, *photos, "--out", tmp_path / "out.csv")
    assert code == 0
    assert "1 predicted, 2 skipped" in output
    assert "b.jpg: OpenCV(4.14.0) error: (-215) something" in errors
    assert "c.jpg: not enough memory" in errors


def test_output_that_is_not_a_number_is_listed(tmp_path, checkpoint, monkeypatch):
    for name in ("a.jpg", "b.jpg"):
        picture().save(tmp_path / name)
    outputs = np.log(np.array([[np.nan, np.nan], [0.25, 0.75]], np.float32))
    monkeypatch.setattr(module, "log_probabilities", lambda *_: outputs)
    inputs = (tmp_path / "a.jpg", tmp_path / "b.jpg")
    code, output, errors = run("predict", "--checkpoint", checkpoint, *inputs, "--out", tmp_path / "out.csv")
    assert (code, "1 predicted, 1 skipped" in output) == (0, True)
    assert "a.jpg: the network's output is not a number" in errors
    assert "nan" not in (tmp_path / "out.csv").read_text()


def test_full_disk_is_one_line_and_leaves_no_partial_table(tmp_path, checkpoint, monkeypatch):
    picture().save(tmp_path / "a.jpg")
    replace = os.replace

    def full(source, target):
        if str(target).endswith(".csv"):
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    error, _, _ = run("predict", "--checkpoint", checkpoint, tmp_path / "a.jpg", "--out", tmp_path / "out.csv")
    assert str(error).startswith(f"cannot write {tmp_path / 'out.csv'} (No space left on device)")
    assert not list(tmp_path.glob("*.csv*"))


# Weights that must not be used --------------------------------------------------------------------------------------


def spoil(state, kind):
    name = next(key for key, value in state.items() if value.is_floating_point() and value.ndim > 1)
    value = state[name]
    if kind in ("nan", "inf"):
        value.flatten()[3] = float(kind)
    elif kind == "half":
        state[name] = value.half()
    elif kind == "integers":
        state[name] = value.int()
    elif kind == "shape":
        state[name] = value[:-1].contiguous()
    elif kind == "missing":
        del state[name]
    elif kind == "unknown":
        state["stranger"], name = torch.ones(2), "stranger"
    return name


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("nan", "contains NaN or infinite values"),
        ("inf", "contains NaN or infinite values"),
        ("half", "is float16 and the network's is float32"),
        ("integers", "is int32 and the network's is float32"),
        ("shape", "and the network's is"),
        ("missing", "is missing"),
        ("unknown", "belongs to no layer"),
    ],
)
@pytest.mark.parametrize("command", ["predict", "export", "evaluate"])
def test_unusable_weights_are_rejected_by_name(tmp_path, checkpoint, command, kind, message):
    from job.run_folder.checkpoint import read_checkpoint

    old = read_checkpoint(checkpoint)
    state = old.weights()
    name = spoil(state, kind)
    (tmp_path / "spoilt").mkdir()
    path = save_checkpoint(tmp_path / "spoilt", old.meta, state, {}).path
    picture().save(tmp_path / "a.jpg")
    words = {
        "predict": [tmp_path / "a.jpg", "--out", tmp_path / "out.csv"],
        "export": ["--out", tmp_path / "model.onnx"],
        "evaluate": ["--shards", tmp_path],
    }
    error, _, _ = run(command, "--checkpoint", path, *words[command])
    assert isinstance(error, JobError), error
    assert f"the weights in {path} cannot be used: {name} " in str(error)
    assert message in str(error)
    assert "use another checkpoint" in str(error)
    assert not list(tmp_path.glob("out.csv*")) + list(tmp_path.glob("model.onnx*"))
