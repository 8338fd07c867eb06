"""Names of domains, emotions and genders keep the meaning of the data set; ambiguous ones are refused."""

import shutil

import pytest

from job.datasets.classes import label_of
from job.datasets.folders import read_folders
from job.system.errors import JobError
from job.vocabulary import EMOTIONS
from tests.support import trees
from tests.support.datasets import build, samples

# Domains ----------------------------------------------------------------------------------------------------------


def domains_of(out):
    """Return the (domain, folder in the data set) pairs of the samples."""
    return {(sample["domain"], sample["source"].split("/")[0]) for sample in samples(out)}


def test_domains_called_source_and_target_follow_the_options(tmp_path):
    root = trees.folders(tmp_path / "set", domains=("source", "target"))
    build("folders", root, tmp_path / "out", options={"source": "target", "target": "source"})
    assert domains_of(tmp_path / "out") == {("source", "target"), ("target", "source")}
    with pytest.raises(JobError, match=r"no image of the target, female, below .*--target NAME; it has source$"):
        build("folders", root, tmp_path / "half", options={"source": "target"})


def test_source_and_target_are_names_of_domains_only_if_no_other_name_fits(tmp_path):
    root = trees.folders(tmp_path / "set", domains=("source", "target"))
    build("folders", root, tmp_path / "ours")
    assert domains_of(tmp_path / "ours") == {("source", "source"), ("target", "target")}
    trees.folders(root, domains=("Male", "Female"))
    build("folders", root, tmp_path / "out")
    assert domains_of(tmp_path / "out") == {("source", "Male"), ("target", "Female")}


# Emotions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "emotion"),
    [
        ("Male/Ha/Sad", "sadness"),
        ("Male/Sad/Ha", "sadness"),
        ("Male/Di/AN", "anger"),
        ("Male/HA", "joy"),
        ("Male/neutral background/Fear", "fear"),
        ("Male/Happy/takes/Disgusted/1", "disgust"),
    ],
)
def test_the_folder_nearest_to_the_file_names_the_emotion(path, emotion):
    domain, said, _ = read_folders(path.split("/"), ("male", "female"))
    assert (domain, EMOTIONS[label_of(said)]) == ("Male", emotion)


def test_people_whose_names_are_abbreviations_of_emotions(tmp_path):
    number = 0
    for domain in ("Male", "Female"):
        for person in ("Ha", "An", "Tom", "Di"):
            for emotion in ("Sad", "Angry"):
                trees.put(tmp_path / "set" / domain / person / emotion / "1.jpg", number)
                number += 1
    build("folders", tmp_path / "set", tmp_path / "out", shards=1)
    read = samples(tmp_path / "out")
    assert len(read) == 16
    assert all(
        sample["emotion"] == {"Sad": "sadness", "Angry": "anger"}[sample["source"].split("/")[2]] for sample in read
    )


# Numbers of classes -----------------------------------------------------------------------------------------------


def test_numbers_in_foreign_tars_are_not_guessed(tmp_path):
    trees.tars(tmp_path / "tars")
    with pytest.raises(JobError, match=r"tars/0\.tar contains class 0, .*--option classes=NAME,NAME,") as caught:
        build("webdataset", tmp_path / "tars", tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_class_names_in_foreign_tars_are_used(tmp_path):
    for i, emotion in enumerate(EMOTIONS):
        trees.tars(tmp_path / "tars" / emotion, first=84 * i, cls=emotion.title().encode())
    build("webdataset", tmp_path / "tars", tmp_path / "out", options={"subjects": False})
    assert {(s["source"].split("/")[0], s["emotion"]) for s in samples(tmp_path / "out")} == set(
        zip(EMOTIONS, EMOTIONS)
    )


def test_each_side_of_a_pair_has_its_own_order_of_classes(tmp_path):
    trees.tars(tmp_path / "a")
    trees.tars(tmp_path / "b", first=84)
    options = {side: f"webdataset:{tmp_path / folder}" for side, folder in (("source", "a"), ("target", "b"))}
    with pytest.raises(JobError, match=r"in a pair source_classes or target_classes"):
        build("pair", None, tmp_path / "out", options=options)
    options |= {"source_classes": ",".join(EMOTIONS), "target_classes": ",".join(reversed(EMOTIONS))}
    build("pair", None, tmp_path / "out", options=options)
    for sample in samples(tmp_path / "out"):
        number = int(sample["source"].split("/")[-1]) % 7
        assert sample["emotion"] == EMOTIONS[number if sample["domain"] == "source" else 6 - number]
    options["source"] = f"jaffe:{trees.jaffe(tmp_path / 'jaffe')}"
    with pytest.raises(JobError, match=r"source_classes=neutral,.*: layout jaffe has no option classes"):
        build("pair", None, tmp_path / "more", options=options)


# Genders ----------------------------------------------------------------------------------------------------------


def genders(root, rows):
    return trees.table(root, [{"image": image, "gender": gender} for image, gender in rows], "genders.csv")


@pytest.mark.parametrize("aligned", [True, False])
def test_a_gender_table_may_name_images_as_the_list_of_rafdb_does(tmp_path, aligned):
    root = trees.rafdb(tmp_path / "set")
    genders(root, [(f"train_{i:05d}.jpg", ("woman", "man")[i % 2]) for i in range(1, 85)])
    with open(root / "genders.csv", "a") as file:
        file.writelines(f"test_{i:04d}.jpg,{i % 2}\n" for i in range(1, 29))
    shutil.rmtree(root / "basic/Annotation")
    if not aligned:  # class folders
        for path in sorted((root / "basic/Image/aligned").iterdir()):
            split, number, _ = path.stem.split("_")
            place = root / split / str(int(number) % 7 + 1)
            place.mkdir(parents=True, exist_ok=True)
            path.rename(place / path.name)
        shutil.rmtree(root / "basic")
    manifest = build("rafdb", root, tmp_path / "out", options={"gender": "genders.csv"})
    assert manifest.left_out == {}
    for sample in samples(tmp_path / "out"):
        split, number = sample["source"].split("/")[-1].split("_")[:2]
        woman = int(number) % 2 == (0 if split == "train" else 1)
        assert sample["domain"] == ("target" if woman else "source")


def test_rafdb_without_genders_asks_for_them(tmp_path):
    root = trees.rafdb(tmp_path / "set", train=14, test=7)
    shutil.rmtree(root / "basic/Annotation")
    with pytest.raises(JobError, match=r"needs the gender .*basic has no Annotation/manual: --option gender=FILE"):
        build("rafdb", root, tmp_path / "out")
    shutil.rmtree(root / "basic/EmoLabel")
    with pytest.raises(JobError, match=r"needs the gender .*class folders have no genders: --option gender=FILE"):
        build("rafdb", root, tmp_path / "out")
    with pytest.raises(JobError, match="found no images of male or female below"):
        build("rafdb", trees.table(tmp_path / "empty", [{"x": 1}]).parent, tmp_path / "out")


@pytest.mark.parametrize("word", ["0", "1", "1.0", "-1"])
def test_numbers_of_genders_are_not_guessed(tmp_path, word):
    root = trees.fer2013(tmp_path / "fer", rows=14)
    genders(root, [(0, "male"), (1, word)])
    with pytest.raises(
        JobError, match=rf"genders\.csv, row 3: gender {word} is neither man nor woman: write male or female$"
    ):
        build("fer2013", root, tmp_path / "out", options={"gender": "genders.csv"})
    root = trees.rafdb(tmp_path / "raf", train=14, test=7)
    genders(root, [("train_00001.jpg", "3")])
    with pytest.raises(JobError, match=r"write male or female, or one of 0 \(male\), 1 \(female\), 2 \(unsure\)$"):
        build("rafdb", root, tmp_path / "out", options={"gender": "genders.csv"})
