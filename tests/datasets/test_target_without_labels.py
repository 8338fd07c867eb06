"""Every layout takes, splits and counts a target without labels; the source needs labels."""

from collections import Counter

import numpy as np
import pytest

from job.shards.inspection.contact_sheet import write_sheet
from job.shards.inspection.inspect_shards import inspect_shards
from job.system.errors import JobError
from job.vocabulary import EMOTIONS, SPLITS
from tests.support import trees
from tests.support.datasets import assert_disjoint, build, samples, tally

WITHOUT = {"keep_target_labels": False}


def check(out, source=84, target=70):
    """Check that all images are present, the target's in all splits and unlabelled; return the samples."""
    read = samples(out)
    assert tally(read, "domain") == Counter({("source",): source, ("target",): target})
    women = [sample for sample in read if sample["domain"] == "target"]
    assert {sample["emotion"] for sample in women} == {None}
    assert all(sample["source"].startswith("sha256:") for sample in women), "paths may spell labels"
    held = Counter(sample["split"] for sample in women)
    assert held["val"] == pytest.approx(0.1 * target, abs=1)
    assert held["test"] == pytest.approx(0.15 * target, abs=1)
    assert all(sample["emotion"] in EMOTIONS for sample in read if sample["domain"] == "source")
    return read


def men(root):
    return trees.folders(root, domains=("Male",), each=12)


# Layouts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["Female", "Female/session 1", "Female/2024/day 3", "Female/unlabelled"])
def test_folders(tmp_path, place):
    root = men(tmp_path / "my set")
    trees.unlabelled(root / place, 70)
    manifest = build("folders", root, tmp_path / "my shards", **WITHOUT)
    check(tmp_path / "my shards")
    assert manifest.left_out == {}
    assert {domain: sum(splits.values()) for domain, splits in manifest.unlabelled.items()} == {"target": 70}
    assert manifest.labels("target", "test") == 0
    assert manifest.class_counts("target", "test") is None


def test_a_target_alone(tmp_path):
    root = trees.unlabelled(tmp_path / "set" / "cartoons", 70).parent
    options = {"source": "none", "target": "cartoons", "classes": "dog,cat"}
    manifest = build("folders", root, tmp_path / "out", options=options, **WITHOUT)
    assert {split: manifest.samples("target", split) for split in SPLITS} == {"train": 53, "val": 7, "test": 10}
    assert manifest.domains.keys() == {"target"}
    assert manifest.class_names == ("dog", "cat")
    with pytest.raises(JobError, match="list them, classes=NAME,NAME"):
        build("folders", root, tmp_path / "other", options=options | {"classes": "folders"}, **WITHOUT)
    with pytest.raises(JobError, match="found no images of cats below"):
        build("folders", root, tmp_path / "other", options=options | {"target": "cats"}, **WITHOUT)


def test_folders_of_several_people(tmp_path):
    root = men(tmp_path / "set")
    for person in range(14):
        trees.unlabelled(root / "Female" / f"woman{person}", 5, first=60_000 + 5 * person)
    options = {"subject": r"Female/(woman\d+)/"}
    read = samples_of(build("folders", root, tmp_path / "out", options=options, **WITHOUT), tmp_path / "out")
    assert_disjoint([sample for sample in read if sample["domain"] == "target"])
    assert {sample["split"] for sample in read if sample["domain"] == "target"} == set(SPLITS)


def samples_of(manifest, out):
    assert manifest.unlabelled
    return samples(out)


def test_folders_with_splits_of_their_own(tmp_path):
    root = trees.folders(tmp_path / "set", domains=("Male",), splits=SPLITS, each=3)
    for number, split in enumerate(SPLITS):
        trees.unlabelled(root / "Female" / split, 10, first=60_000 + 100 * number)
    manifest = build("folders", root, tmp_path / "out", **WITHOUT)
    assert manifest.unlabelled == {"target": dict.fromkeys(SPLITS, 10)}


@pytest.mark.parametrize("cell", ["", "unlabelled"])
def test_csv(tmp_path, cell):
    rows = []
    for i in range(154):
        path = trees.put(tmp_path / "set" / "images" / f"{i}.png", i)
        domain, emotion = ("day", EMOTIONS[i % 7]) if i < 84 else ("night", cell)
        rows.append({"path": path.relative_to(tmp_path / "set"), "domain": domain, "emotion": emotion})
    trees.table(tmp_path / "set", rows)
    build("csv", tmp_path / "set", tmp_path / "out", options={"source": "day", "target": "night"}, **WITHOUT)
    check(tmp_path / "out")


def test_csv_whose_rows_end_before_the_emotion(tmp_path):
    lines = ["path,domain,emotion"]
    for i in range(154):
        trees.put(tmp_path / "set" / f"{i}.png", i)
        lines.append(f"{i}.png,male,{EMOTIONS[i % 7]}" if i < 84 else f"{i}.png,female")
    (tmp_path / "set/labels.csv").write_text("\n".join(lines))
    build("csv", tmp_path / "set", tmp_path / "out", **WITHOUT)
    check(tmp_path / "out")


def test_csv_without_a_column_of_labels_names_it(tmp_path):
    path = trees.put(tmp_path / "set" / "0.png", 0)
    trees.table(path.parent, [{"path": "0.png", "domain": "male"}])
    with pytest.raises(JobError, match=r"labels\.csv has no column 'emotion' but path, domain: add it; the source"):
        build("csv", path.parent, tmp_path / "out")


@pytest.mark.parametrize("label", [None, b"", b"-1", b"unlabelled"])
def test_webdataset(tmp_path, label):
    trees.tars(tmp_path / "tars/men", json=b'{"domain": "male"}')
    trees.tars(tmp_path / "tars/women", shards=1, each=70, first=84, json=b'{"domain": "female"}', cls=label)
    build("webdataset", tmp_path / "tars", tmp_path / "out", options={"classes": ",".join(EMOTIONS)}, **WITHOUT)
    check(tmp_path / "out")


def test_a_pair_with_a_flat_folder(tmp_path):
    root = men(tmp_path / "men")
    trees.unlabelled(tmp_path / "women", 70)
    options = {"source": f"folders:{root}", "target": f"folders:{tmp_path / 'women'}"}
    build("pair", None, tmp_path / "out", options=options, **WITHOUT)
    check(tmp_path / "out")


def test_a_pair_with_a_table_of_paths_alone(tmp_path):
    root = men(tmp_path / "men")
    folder = trees.unlabelled(tmp_path / "women", 70)
    trees.table(folder, [{"path": path.name} for path in sorted(folder.iterdir())])
    options = {"source": f"folders:{root}", "target": f"csv:{folder}"}
    build("pair", None, tmp_path / "out", options=options, **WITHOUT)
    check(tmp_path / "out")


def test_a_pair_with_frames_of_no_known_emotion(tmp_path):
    """CK+ as distributed but without the folder of emotions: its folders are numbers of sequences."""
    trees.jaffe(tmp_path / "jaffe")
    for i in range(70):
        trees.put(tmp_path / "ck" / f"S{i // 7:03d}/{i % 7:03d}/S{i // 7:03d}_{i % 7:03d}_00000001.png", 9000 + i)
    options = {"source": f"jaffe:{tmp_path / 'jaffe'}", "target": f"ckplus:{tmp_path / 'ck'}", "subjects": False}
    build("pair", None, tmp_path / "out", options=options, **WITHOUT)
    check(tmp_path / "out", source=140)


def test_rafdb_in_class_folders_with_unlabelled_women(tmp_path):
    root, rows = tmp_path / "raf", []
    for i in range(154):
        place = f"train/{i % 7 + 1}" if i < 84 else "train"
        trees.put(root / place / f"train_{i:05d}.jpg", i)
        rows.append({"image": f"train_{i:05d}.jpg", "gender": "male" if i < 84 else "female"})
    trees.table(root, rows, "genders.csv")
    build("rafdb", root, tmp_path / "out", options={"gender": "genders.csv"}, **WITHOUT)
    check(tmp_path / "out")


def test_fer2013_with_empty_cells(tmp_path):
    root = trees.fer2013(tmp_path / "fer", rows=154)
    lines = (root / "fer2013.csv").read_text().splitlines()
    for row in range(84, 154):
        lines[row + 1] = lines[row + 1][lines[row + 1].index(",") :]
    for row in range(154):
        lines[row + 1] = lines[row + 1].rpartition(",")[0] + ","
    (root / "fer2013.csv").write_text("\n".join(lines))
    rows = [{"image": i, "gender": "male" if i < 84 else "female"} for i in range(154)]
    trees.table(root, rows, "genders.csv")
    build("fer2013", root, tmp_path / "out", options={"gender": "genders.csv"}, **WITHOUT)
    check(tmp_path / "out")


# The source -------------------------------------------------------------------------------------------------------


def test_a_source_without_labels_is_refused(tmp_path):
    root = trees.folders(tmp_path / "set", domains=("Female",))
    trees.unlabelled(root / "Male", 70)
    with pytest.raises(JobError, match=r"none of the 70 images of the source, male, has a label.*swap --source"):
        build("folders", root, tmp_path / "out")


def test_images_of_the_source_without_a_label_are_left_out_and_counted(tmp_path):
    root = men(tmp_path / "set")
    trees.unlabelled(root / "Male", 5, first=70_000)
    trees.unlabelled(root / "Female", 70)
    manifest = build("folders", root, tmp_path / "out", **WITHOUT)
    assert manifest.left_out == {"images of the source without a label": 5}
    check(tmp_path / "out")
    with pytest.raises(JobError, match=r"Male/0000\.jpg: images of the source without a label: .*--strict"):
        build("folders", root, tmp_path / "strict", strict=True)


# Some labels ------------------------------------------------------------------------------------------------------


def test_labels_of_a_test_split_beside_a_flat_folder(tmp_path):
    """A common data set: 35 images of women are labelled, 175 are not."""
    root = men(tmp_path / "set")
    trees.unlabelled(root / "Female", 175)
    for number, emotion in enumerate(EMOTIONS * 5):
        trees.put(root / "Female" / "test" / emotion / f"{number}.jpg", 80_000 + number)
    manifest = build("folders", root, tmp_path / "out", **WITHOUT)
    assert manifest.labels("target", "test") == manifest.samples("target", "test") == 35
    assert manifest.unlabelled == {"target": {"train": 157, "val": 18}}
    assert manifest.class_counts("target", "test") == (5,) * 7


def partly(tmp_path, labelled, each_subject=0):
    """70 + `labelled` women in one folder, some in folders of emotions."""
    root = men(tmp_path / "set")
    trees.unlabelled(root / "Female", 70)
    for number in range(labelled):
        trees.put(root / "Female" / EMOTIONS[number % 7] / f"{number}.jpg", 80_000 + number)
    return root


def test_labelled_images_go_to_test_first(tmp_path):
    manifest = build("folders", partly(tmp_path, 7), tmp_path / "out", **WITHOUT)
    assert manifest.samples("target", "test") == pytest.approx(0.15 * 77, abs=1)
    assert manifest.labels("target", "test") == 7, "all of them"
    assert manifest.class_counts("target", "test") == (1,) * 7
    assert not manifest.labelled("target", "test")
    assert manifest.labels("target", "train") == manifest.labels("target", "val") == 0
    read = [sample for sample in samples(tmp_path / "out") if sample["domain"] == "target"]
    assert tally(read, "split", "emotion") >= Counter({("test", emotion): 1 for emotion in EMOTIONS})
    assert sum(sample["emotion"] is not None for sample in read) == 7
    for sample in read:
        assert sample["source"].startswith("sha256:") == (sample["emotion"] is None)


def test_the_test_split_takes_labelled_images_up_to_its_size(tmp_path):
    manifest = build("folders", partly(tmp_path, 70), tmp_path / "out", **WITHOUT)
    assert manifest.labels("target", "test") == manifest.samples("target", "test") == 21
    assert manifest.class_counts("target", "test") == (3,) * 7
    assert manifest.samples("target", "val") == 14


def test_labels_are_kept_where_the_user_asks(tmp_path):
    manifest = build("folders", partly(tmp_path, 70), tmp_path / "out", keep_target_labels=True)
    assert sum(manifest.labels("target", split) for split in SPLITS) == 70
    assert not manifest.labelled("target", "train")
    assert manifest.labels("target", "train") > 0


def test_images_of_an_unknown_class_are_dropped_not_unlabelled(tmp_path):
    """Contempt is dropped among known emotions, or when the source has it too."""
    root = trees.folders(tmp_path / "set", each=6)
    trees.unlabelled(root / "Female" / "Contempt", 7)
    assert build("folders", root, tmp_path / "out").left_out == {"emotion Contempt": 7}
    root = men(tmp_path / "other")
    trees.unlabelled(root / "Male" / "Contempt", 3, first=70_000)
    trees.unlabelled(root / "Female" / "Contempt", 7, first=71_000)
    trees.unlabelled(root / "Female", 70)
    assert build("folders", root, tmp_path / "more").left_out == {"emotion Contempt": 10}


# What the user reads ----------------------------------------------------------------------------------------------


def test_the_command_reports_labels_and_splits(tmp_path, capsys):
    root = men(tmp_path / "set")
    trees.unlabelled(root / "Female" / "day 1", 70)
    build("folders", root, tmp_path / "out", progress=True, **WITHOUT)
    lines = capsys.readouterr().err.splitlines()
    assert "source, male: 84 images, all with a label; train 63, val 8, test 13" in lines
    assert "target, female: 70 images, none with a label; train 53, val 7, test 10" in lines
    assert "target: subjects unknown: split by image, so one person may be in train and in test" in lines
    assert any("70 images of the target have no label, because" in line and "day 1" in line for line in lines)
    text = inspect_shards(tmp_path / "out", verify=True)
    write_sheet(tmp_path / "out", tmp_path / "sheet.png")
    assert "target: 70 of 70 images have no label in the data set (train 53, val 7, test 10)" in text
    assert "target: 70 images of unknown subject are split by image" in text
    assert "subjects in two splits: unknown, since no image has a subject" in text


def test_inspect_of_a_partly_labelled_split(tmp_path):
    build("folders", partly(tmp_path, 7), tmp_path / "out", **WITHOUT)
    text = inspect_shards(tmp_path / "out", verify=True)
    write_sheet(tmp_path / "out", tmp_path / "sheet.png")
    row = next(line.split() for line in text.splitlines() if line.startswith("target  test"))
    assert row[3] == "12"
    assert row[5:] == ["7", *["1"] * 7]
    assert "verified" in text


def test_subjects_that_are_known_of_some_images(tmp_path):
    root = men(tmp_path / "set")
    trees.unlabelled(root / "Female", 70)
    options = {"subject": r"Male/\w+/\d"}
    manifest = build("folders", root, tmp_path / "out", options=options, **WITHOUT)
    assert manifest.subjects_unknown == {"target": 70}
    assert "subjects in two splits: 0 of the known ones; 70 images have no subject" in inspect_shards(tmp_path / "out")


def test_the_bytes_are_the_same_whatever_the_number_of_workers(tmp_path):
    root = partly(tmp_path, 7)
    for workers in (1, 2):
        build("folders", root, tmp_path / f"out{workers}", workers=workers, **WITHOUT)
    one, two = (np.frombuffer((tmp_path / f"out{n}/manifest.json").read_bytes(), np.uint8) for n in (1, 2))
    np.testing.assert_array_equal(one, two)
    build("folders", root, tmp_path / "out1", **WITHOUT)  # already complete, because the data set is the same
