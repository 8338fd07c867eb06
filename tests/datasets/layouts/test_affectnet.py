"""AffectNet in each of its forms."""

import numpy as np
import pytest

from job.datasets.image_search import FaceBox, Notes
from job.system.errors import JobError
from tests.support import trees
from tests.support.datasets import build, found, samples

NAMES = ("neutral", "joy", "sadness", "surprise", "fear", "disgust", "anger", "contempt")


def lists(root, each=3):
    """Both lists, images two folders below `Manually_Annotated_Images`, and a table of genders."""
    genders = []
    for split, first in (("training", 0), ("validation", 100)):
        rows = []
        for i in range(11 * each):
            path = f"{i % 4}/{first + i:032x}.jpg"
            trees.put(root / "Manually_Annotated_Images" / path, first + i)
            box = {"face_x": 2, "face_y": 4, "face_width": 20, "face_height": 16, "facial_landmarks": "1.5;2.5"}
            rows.append({"subDirectory_filePath": path, **box, "expression": i % 11, "valence": -2, "arousal": -2})
            genders.append({"image": f"{first + i:032x}", "gender": ("male", "female")[i // 11 % 2]})
        trees.table(root / "Manually_Annotated_file_lists", rows, f"{split}.csv")
    return trees.table(root.parent, genders, "genders.csv")


def test_lists_with_a_table_of_genders(tmp_path):
    root = tmp_path / "AffectNet"
    table = lists(root)
    trees.put(root / "Manually_Annotated_Images/9/unlisted.jpg", 999)
    manifest = build("affectnet", root, tmp_path / "out", options={"gender": str(table)})
    read = samples(tmp_path / "out")
    assert len(read) == 2 * 3 * 7, "neither contempt nor 8 to 10"
    assert manifest.left_out["images that no list names"] == 1
    assert manifest.left_out["emotion contempt"] == manifest.left_out["emotion no face"] == 6
    for sample in read:
        number = int(sample["source"].split("/")[-1].removesuffix(".jpg"), 16)
        row = number % 100
        assert sample["emotion"] == NAMES[row % 11]
        assert sample["domain"] == ("source", "target")[row // 11 % 2]
        assert (sample["split"] == "val") == (number >= 100)


def test_the_box_of_the_list(tmp_path):
    lists(tmp_path / "set", each=1)
    entries = found("affectnet", tmp_path / "set", source=None, target=None, images="face")
    assert len(entries) == 22
    for origin, entry in entries.items():
        assert entry.location == FaceBox(str(tmp_path / "set" / origin), 2, 4, 22, 20)


def test_a_listed_image_that_is_missing_is_skipped(tmp_path):
    lists(tmp_path / "set", each=1)
    next((tmp_path / "set/Manually_Annotated_Images").rglob("*.jpg")).unlink()
    notes = Notes()
    assert len(found("affectnet", tmp_path / "set", notes, source=None, target=None)) == 21
    assert "but missing" in notes.skipped[0][1]


def test_annotations_in_numpy_files(tmp_path):
    for split in ("train_set", "val_set"):
        for i in range(8):
            trees.put(tmp_path / split / "images" / f"{i}.jpg", i)
            (tmp_path / split / "annotations").mkdir(exist_ok=True)
            np.save(tmp_path / split / "annotations" / f"{i}_exp.npy", np.array(str(i)))  # text, as distributed
    np.save(tmp_path / "val_set/annotations/7_exp.npy", np.array([{}], dtype=object))  # a pickle is not opened
    entries = found("affectnet", tmp_path, source=None, target=None)
    assert len(entries) == 16
    for origin, entry in entries.items():
        assert entry.split == origin.partition("_")[0]
        if origin != "val_set/images/7.jpg":
            assert entry.emotion == NAMES[int(origin[-5])]
    assert entries["val_set/images/7.jpg"].emotion == "of an unreadable annotation"


def test_yolo_and_class_folders(tmp_path):
    names = ["Anger", "Contempt", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise"]
    (tmp_path / "yolo/valid/labels").mkdir(parents=True)
    (tmp_path / "yolo/data.yaml").write_text(f"nc: 8\nnames: {names}\n")
    for i, _ in enumerate(names):
        trees.put(tmp_path / "yolo/valid/images" / f"ffhq_{i}.png", i)
        (tmp_path / "yolo/valid/labels" / f"ffhq_{i}.txt").write_text(f"{i} 0.5 0.5 0.9 0.9\n")
        trees.put(tmp_path / "numbers" / "train" / str(i) / f"{i}.jpg", i)
        trees.put(tmp_path / "names" / "test" / names[i].lower() / f"{i}.jpg", i)
    yolo = found("affectnet", tmp_path / "yolo", source=None, target=None)
    assert [(entry.emotion, entry.split) for entry in yolo.values()] == [(name, "val") for name in names]
    numbered = found("affectnet", tmp_path / "numbers", source=None, target=None)
    assert [(entry.emotion, entry.split) for entry in numbered.values()] == [(name, "train") for name in NAMES]
    named = found("affectnet", tmp_path / "names", source=None, target=None)
    assert [(entry.emotion, entry.split) for entry in named.values()] == [(name.lower(), "test") for name in names]


def test_it_has_no_genders(tmp_path):
    trees.put(tmp_path / "train/0/1.jpg", 1)
    with pytest.raises(JobError, match="layout affectnet needs the gender of each image: --option gender=FILE"):
        found("affectnet", tmp_path)
