"""A refused command names what it expected, what is there and what helps, and leaves no files."""

import shutil

import pytest

from job.datasets.classes import label_of
from job.system.errors import JobError
from job.vocabulary import EMOTIONS
from tests.support import trees
from tests.support.datasets import build


def nothing(root):
    root.mkdir()
    return root


def files(root, ending):
    for i in range(5):
        trees.put(root / "Male" / "joy" / f"{i}.png", i).rename(root / "Male" / "joy" / f"{i}.{ending}")
    return root


def numbered(root):
    rows = [{"path": trees.put(root / f"{i}.png", i).name, "domain": i % 2, "emotion": "joy"} for i in range(20)]
    return trees.table(root, rows).parent


def without_people(root):
    trees.fer2013(root, rows=14)
    trees.table(root, [{"image": f"x{i}", "gender": "male"} for i in range(9)], "people.csv")
    return root


MISTAKES = {
    "empty": ("folders", nothing, {}, "it contains no file that could be an image: correct --root"),
    "other files": ("folders", lambda r: files(r, "heic"), {}, r"there are 5 files ending in \.heic: .* convert them"),
    "one level too deep": (
        "folders",
        lambda root: trees.folders(root, each=3) / "Male",
        {},
        r"Male: it has 21 images of unknown domain: .* --root the folder that contains both",
    ),
    "other domains": (
        "folders",
        lambda root: trees.folders(root, domains=("photos", "cartoons"), each=3),
        {},
        r"no images of male or female below .*: it has 21 images of cartoons, 21 images of photos: .* --source NAME",
    ),
    "one domain": (
        "folders",
        lambda r: trees.folders(r, domains=("Male",)),
        {},
        "no image of the target, female, below .*: use the name in the data set, --target NAME",
    ),
    "numbers as classes": (
        "folders",
        lambda root: trees.folders(root, names=("0", "1", "7")),
        {},
        r"the names in the data set are 0, 1, 7: .*--option classes=folders",
    ),
    "unclear classes": (
        "folders",
        lambda root: trees.folders(root, names=("not_happy", "very_sad")),
        {},
        r"the names in the data set are not_happy, very_sad: .*--option classes=folders",
    ),
    "another data set": (
        "kdef",
        lambda root: trees.folders(root, each=2),
        {},
        r"there are 28 files that are not named as in AF01ANS.JPG: .* choose another layout",
    ),
    "another angle": ("kdef", lambda r: trees.kdef(r, people=2), {"angles": "FL"}, r"--option angles=all"),
    "no field domain": (
        "webdataset",
        lambda root: trees.tars(root, json=b"{}", cls=b"joy"),
        {},
        r"it has 84 images of unknown domain: each \.json needs a field domain",
    ),
    "a table of others": (
        "fer2013",
        without_people,
        {"gender": "people.csv"},
        r"it has 14 images of unknown domain: the table of --option gender=FILE must name them in its column image",
    ),
    "numbers as domains": ("csv", numbered, {}, r"it has 10 images of 0, 10 images of 1: name two of them"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_message_names_what_is_there_and_what_helps(tmp_path, mistake):
    layout, make, options, says = MISTAKES[mistake]
    with pytest.raises(JobError, match=says) as caught:
        build(layout, make(tmp_path / "set"), tmp_path / "deep" / "out", options=options)
    assert "\n" not in str(caught.value)
    assert "None" not in str(caught.value)
    assert not (tmp_path / "deep").exists(), "the folders that the command has made are gone"


def test_a_pair_names_its_folders(tmp_path):
    (tmp_path / "empty").mkdir()
    trees.jaffe(tmp_path / "jaffe")
    for role, other in (("source", "target"), ("target", "source")):
        options = {role: f"folders:{tmp_path / 'empty'}", other: f"jaffe:{tmp_path / 'jaffe'}"}
        with pytest.raises(
            JobError, match=rf"no images below --{role} folders:{tmp_path}/empty: it is empty"
        ) as caught:
            build("pair", None, tmp_path / "out", options=options)
        assert "None" not in str(caught.value)
    (tmp_path / "other").mkdir()
    options = {"source": f"folders:{tmp_path / 'empty'}", "target": f"folders:{tmp_path / 'other'}"}
    with pytest.raises(JobError, match=rf"below {tmp_path}/empty or {tmp_path}/other: it is empty"):
        build("pair", None, tmp_path / "out", options=options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"shards": 5000},
        {"crop": "face", "no_face": "drop"},
        {"options": {"subject": "nobody(.*)"}},
        {"options": {"subject": "^(Male|Female)"}},
        {"strict": True},
    ],
    ids=str,
)
def test_refusals_after_the_search_leave_nothing_either(tmp_path, settings):
    root = trees.folders(tmp_path / "set", names=(*trees.EMOTIONS, "contempt"))
    (tmp_path / "out").mkdir()
    with pytest.raises(JobError):
        build("folders", root, tmp_path / "out", **settings)
    assert not list((tmp_path / "out").iterdir())
    (tmp_path / "out" / "mine.txt").write_text("of the user")
    with pytest.raises(JobError):
        build("folders", root, tmp_path / "out", **settings)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_a_refusal_keeps_what_an_interrupted_command_has_converted(tmp_path, monkeypatch):
    root = trees.folders(tmp_path / "set")

    def interrupt(*given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("job.shards.writing.write_shard.read_stored", interrupt)
        with pytest.raises(KeyboardInterrupt):
            build("folders", root, tmp_path / "out")
    converted = list((tmp_path / "out/.unfinished").glob("*.jpegs"))
    assert converted
    with pytest.raises(JobError):
        build("folders", root, tmp_path / "out", options={"target": "Womn"})
    assert list((tmp_path / "out/.unfinished").glob("*.jpegs")) == converted
    build("folders", root, tmp_path / "out")


def test_too_many_unreadable_images_keep_the_converted_ones_and_none_keeps_nothing(tmp_path):
    root = trees.folders(tmp_path / "set")
    (root / "Male/joy/0.jpg").write_bytes(b"")
    with pytest.raises(JobError, match="cannot be read, more than"):
        build("folders", root, tmp_path / "out")
    assert list((tmp_path / "out/.unfinished").glob("*.jpegs"))
    for path in root.rglob("*.jpg"):
        path.write_bytes(b"")
    with pytest.raises(JobError, match="cannot be read, more than"):
        build("folders", root, tmp_path / "none")
    assert [path.name for path in (tmp_path / "none").iterdir()] == ["skipped.csv"]
    shutil.rmtree(tmp_path / "none")


@pytest.mark.parametrize(
    ("name", "emotion"),
    [
        *(("0_angry", "anger"), ("Angry_faces", "anger"), ("AngryFaces", "anger"), ("happy (2)", "joy")),
        *(
            ("3-sad", "sadness"),
            ("neutral images", "neutral"),
            ("Smile_Happy", "joy"),
            ("01 Surprise Photos", "surprise"),
        ),
        *(
            (name, None)
            for name in ("not_happy", "very_sad", "happy_sad", "0", "faces", "0_an", "Ha 1", "contempt_1", "")
        ),
    ],
)
def test_numbers_and_the_word_faces_beside_an_emotion_change_nothing(name, emotion):
    label = label_of(name)
    assert (None if label is None else EMOTIONS[label]) == emotion


@pytest.mark.parametrize("name", ["size", "shards", "workers", "seed", "quality"])
@pytest.mark.parametrize("value", [10**10, 10**18, 10**300, -(10**30)])
def test_numbers_out_of_range(tmp_path, name, value):
    root = trees.folders(tmp_path / "set", each=2)
    with pytest.raises(JobError, match=rf"--{name} -?\d+ must be between"):
        build("folders", root, tmp_path / "out", **{name: value})


@pytest.mark.parametrize("count", [0, 10**9, 10**18, 10**30])
def test_more_images_than_the_subjects_allow(tmp_path, count):
    with pytest.raises(JobError, match=r"train=\d+"):
        build("faces", None, tmp_path / "out", options={"train": count})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("pattern", ["(" * 3000, "(a{99999999})", "a{1,99999999999999999999}", "[[a]", "\0(", "(?P<x"])
def test_invalid_regular_expressions(tmp_path, pattern):
    root = trees.folders(tmp_path / "set", each=2)
    with pytest.raises(JobError) as caught:
        build("folders", root, tmp_path / "out", options={"subject": pattern})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["x" * 300, "x/" * 3000, "a\0b", "\0"])
def test_paths_that_no_file_system_accepts(tmp_path, name):
    root = trees.folders(tmp_path / "set", each=2)
    with pytest.raises(JobError, match=r"--out: cannot make"):
        build("folders", root, tmp_path / name)
    with pytest.raises(JobError, match="is not a folder"):
        build("folders", str(tmp_path / name), tmp_path / "out")
    with pytest.raises(JobError):
        build("pair", None, tmp_path / "out", options={"source": f"jaffe:{name}", "target": f"folders:{root}"})
    assert not (tmp_path / "out").exists()
