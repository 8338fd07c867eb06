"""Official splits under any of their names are kept; an unclear name is refused, never taken as train."""

import json

import pytest

from job.datasets.split_names import looks_like_split, split_of
from job.system.errors import JobError
from tests.support import trees
from tests.support.datasets import build, samples


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *((name, "train") for name in ("train", "Training", "TRAIN_SET", "trainset", "FER2013Train", "train2017")),
        *((name, "val") for name in ("val_set", "Valid", "PublicTest", "publictest", "dev", "FER2013Valid")),
        *((name, "test") for name in ("test_set", "TestImages", "PrivateTest", "PRIVATETEST", "FER2013Test")),
        *((name, None) for name in ("testimony", "Valentina", "Dev Patel", "Male", "0_angry", "set", "")),
    ],
)
def test_one_table_has_the_names_of_the_splits(name, split):
    assert split_of(name) == split
    assert not looks_like_split(name)


@pytest.mark.parametrize(
    "name",
    ["testing_2", "holdout", "held_out", "train_val", "trainval", "test_a", "evaluation", "Male_test"],
)
def test_ambiguous_names_of_splits(name):
    assert split_of(name) is None
    assert looks_like_split(name)


def test_a_person_who_is_tested_is_not_a_split():
    assert not looks_like_split("test_subject_12")
    assert not looks_like_split("val_kilmer")


OFFICIAL = (("train_set", "train"), ("val_set", "val"), ("test_set", "test"))


def assert_kept(out, of_source):
    """Every sample is in the split that `of_source` reads from its path."""
    read = samples(out)
    assert read
    assert {(of_source(sample["source"]), sample["split"]) for sample in read} == {
        (s, s) for s in ("train", "val", "test")
    }


def test_folders_csv_and_tars_keep_splits_under_other_names(tmp_path):
    root = trees.folders(tmp_path / "set", splits=[name for name, _ in OFFICIAL], each=2)
    names = dict(OFFICIAL)
    build("folders", root, tmp_path / "of folders")
    assert_kept(tmp_path / "of folders", lambda source: names[source.split("/")[0]])

    pictures = sorted(path.relative_to(root) for path in root.rglob("*.jpg"))
    rows = [{"path": path, "domain": path.parts[1], "emotion": path.parts[2]} for path in pictures]
    trees.table(root, rows)
    build("csv", root, tmp_path / "of paths", options={"table": "labels.csv"})
    assert_kept(tmp_path / "of paths", lambda source: names[source.split("/")[0]])
    usages = {"train_set": "Training", "val_set": "publictest", "test_set": "PRIVATETEST"}
    for column in ("split", "Usage"):
        trees.table(root, [{**row, column: usages[row["path"].parts[0]]} for row in rows])
        build("csv", root, tmp_path / column, options={"table": "labels.csv"})
        assert_kept(tmp_path / column, lambda source: names[source.split("/")[0]])

    for number, (name, _) in enumerate(OFFICIAL):
        trees.tars(tmp_path / "tars" / name, shards=1, first=42 * number, cls=b"joy")
        trees.tars(tmp_path / "within", shards=1, first=42 * number, cls=b"joy", folder=f"{name}/")
        (tmp_path / "within/0.tar").rename(tmp_path / f"within/{number}-done.tar")
        trees.tars(tmp_path / "by name", shards=1, first=42 * number, cls=b"joy")
        (tmp_path / "by name/0.tar").rename(tmp_path / f"by name/faces-{name}-{number:06d}.tar")
    for kind in ("tars", "within", "by name"):
        build("webdataset", tmp_path / kind, tmp_path / f"of {kind}", options={"subjects": False})
        assert_kept(tmp_path / f"of {kind}", lambda source: next(s for name, s in OFFICIAL if name in source))


def test_the_field_of_a_tar_and_the_column_of_fer2013_know_other_names(tmp_path):
    for number, (name, _) in enumerate(OFFICIAL):
        for i in range(2):
            about = {"domain": ("male", "female")[i], "split": name.upper()}
            first = 84 * number + 42 * i
            trees.tars(tmp_path / f"tars/{name}{'ab'[i]}", 1, first=first, cls=b"joy", json=json.dumps(about).encode())
    for folder in list((tmp_path / "tars").iterdir()):
        folder.rename(folder.with_name(f"part{folder.name[-1]}{len(folder.name)}{folder.name[0:2]}"))
    build("webdataset", tmp_path / "tars", tmp_path / "out")
    assert {sample["split"] for sample in samples(tmp_path / "out")} == {"train", "val", "test"}
    root = trees.fer2013(tmp_path / "fer")
    text = (root / "fer2013.csv").read_text()
    (root / "fer2013.csv").write_text(text.replace("PublicTest", "val_set").replace("PrivateTest", "TEST"))
    build("fer2013", root, tmp_path / "fer out", options={"gender": "genders.csv"})
    for sample in samples(tmp_path / "fer out"):
        assert sample["split"] == (("train",) * 5 + ("val", "test"))[int(sample["source"][3:10]) // 14 % 7]


@pytest.mark.parametrize("name", ["testing_2", "holdout"])
def test_a_folder_that_only_looks_like_a_split_is_refused(tmp_path, name):
    root = trees.folders(tmp_path / "set", splits=("train", name), each=2)
    with pytest.raises(JobError, match=rf"folder {name}: '{name}' looks like a split.*rename it"):
        build("folders", root, tmp_path / "out")
    pictures = sorted(path.relative_to(root) for path in root.rglob("*.jpg"))
    trees.table(root, [{"path": path, "domain": path.parts[1], "emotion": path.parts[2]} for path in pictures])
    with pytest.raises(JobError, match=f"'{name}' looks like a split"):
        build("csv", root, tmp_path / "out")
    trees.tars(tmp_path / "tars" / name, cls=b"joy")
    with pytest.raises(JobError, match=f"'{name}' looks like a split"):
        build("webdataset", tmp_path / "tars", tmp_path / "out")


def test_an_unknown_split_in_a_column_or_field_is_refused_with_its_place(tmp_path):
    root = trees.folders(tmp_path / "set", each=2)
    pictures = sorted(path.relative_to(root) for path in root.rglob("*.jpg"))
    rows = [{"path": p, "domain": p.parts[0], "emotion": p.parts[1], "split": ""} for p in pictures]
    rows[4]["split"] = "holdout"
    trees.table(root, rows)
    with pytest.raises(JobError, match=r"labels\.csv, row 6: split 'holdout' is not train, val or test"):
        build("csv", root, tmp_path / "out")
    for value in ("fold 3", 1, ["test"], {"a": 1}):
        about = json.dumps({"domain": "male", "split": value}).encode()
        trees.tars(tmp_path / "tars", shards=1, cls=b"joy", json=about)
        with pytest.raises(JobError, match=r"0\.tar/00000, field split: split .* is not train, val or test"):
            build("webdataset", tmp_path / "tars", tmp_path / "out")
    fer = trees.fer2013(tmp_path / "fer", rows=14)
    text = (fer / "fer2013.csv").read_text().splitlines()
    text[9] = text[9].replace("Training", "Finals")
    (fer / "fer2013.csv").write_text("\n".join(text))
    with pytest.raises(JobError, match=r"fer2013\.csv, line 10: split 'Finals' is not train, val or test"):
        build("fer2013", fer, tmp_path / "out", options={"gender": "genders.csv"})
