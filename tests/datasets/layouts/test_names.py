"""Data sets whose file names say everything: RaFD, CREMA-D, RAVDESS, CK+48."""

from collections import Counter

import pytest

from job.datasets.classes import label_of
from job.datasets.image_search import Notes
from job.system.errors import JobError
from job.vocabulary import EMOTIONS
from tests.support import trees
from tests.support.datasets import assert_disjoint, build, found, samples, tally


def test_rafd(tmp_path):
    emotions = ("angry", "contemptuous", "disgusted", "fearful", "happy", "neutral", "sad", "surprised")
    number = 0
    for person in range(1, 9):
        group, gender = ("Caucasian", "Moroccan", "Kid")[person % 3], ("female", "male")[person % 2]
        for emotion in emotions:
            for angle, gaze in (("090", "frontal"), ("090", "left"), ("045", "frontal")):
                name = f"Rafd{angle}_{person:02d}_{group}_{gender}_{emotion}_{gaze}.jpg"
                trees.put(tmp_path / "RaFD" / name, number)
                number += 1
    manifest = build("rafd", tmp_path / "RaFD", tmp_path / "out", options={"gazes": "frontal"})
    read = samples(tmp_path / "out")
    assert_disjoint(read)
    assert len(read) == 8 * 7
    assert manifest.left_out == {
        "emotion contemptuous": 8,
        "photos from another angle": 64,
        "photos with another gaze": 64,
    }
    for sample in read:
        _, person, _, gender, emotion, _ = sample["source"].split("_")
        assert sample["subject"] == person
        assert sample["domain"] == {"male": "source", "female": "target"}[gender]
        assert sample["emotion"] == EMOTIONS[label_of(emotion)]
    assert len(found("rafd", tmp_path / "RaFD", angles="all")) == number
    with pytest.raises(JobError, match="expected some of 000,045,090,135,180, or all"):
        found("rafd", tmp_path / "RaFD", angles="30")


def test_cremad(tmp_path):
    root = tmp_path / "CREMA-D"
    codes = {"ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "joy", "NEU": "neutral", "SAD": "sadness"}
    actors = [{"ActorID": f"10{i:02d}", "Age": 30, "Sex": ("Female", "Male")[i % 2], "Race": "x"} for i in range(1, 9)]
    number = 0
    for actor in actors:
        for code in codes:
            clip = f"{actor['ActorID']}_DFA_{code}_XX"
            trees.put(root / "frames" / f"{clip}_frame_07.jpg", number)
            trees.put(root / "by clip" / clip / "0008.jpg", number + 1)
            number += 2
    trees.put(root / "poster.jpg", 999)
    trees.table(root, actors, "VideoDemographics.csv")
    manifest = build("cremad", root, tmp_path / "out")
    read = samples(tmp_path / "out")
    assert_disjoint(read)
    assert len(read) == number
    assert manifest.left_out == {"files that are not named as in 1001_DFA_ANG_XX.jpg": 1}
    for sample in read:
        clip = next(part for part in reversed(sample["source"].split("/")) if part.startswith("10"))
        assert sample["subject"] == clip[:4]
        assert sample["domain"] == ("target", "source")[int(clip[:4]) % 2]
        assert sample["emotion"] == codes[clip[9:12]]
    (root / "VideoDemographics.csv").unlink()
    with pytest.raises(JobError, match=r"layout cremad needs VideoDemographics\.csv"):
        found("cremad", root)


def test_ravdess(tmp_path):
    names = ("neutral", "neutral", "joy", "sadness", "anger", "fear", "disgust", "surprise")
    for actor in range(1, 9):
        for emotion in range(1, 9):
            video = f"02-01-{emotion:02d}-01-02-01-{actor:02d}"
            trees.put(tmp_path / f"Actor_{actor:02d}" / f"{video}_f007.jpg", actor * 10 + emotion)
            trees.put(tmp_path / f"Actor_{actor:02d}" / video / "1.jpg", 500 + actor * 10 + emotion)
    notes = Notes()
    entries = found("ravdess", tmp_path, notes)
    assert len(entries) == 128
    assert not notes.left_out
    for origin, entry in entries.items():
        video = origin.split("/")[1].partition("_")[0]
        assert EMOTIONS[label_of(entry.emotion)] == names[int(video[6:8]) - 1]
        assert entry.domain == ("female", "male")[int(video[-2:]) % 2]
        assert entry.subject == video[-2:]
    without = found("ravdess", tmp_path, notes, calm="none")
    assert (len(without), notes.left_out["calm faces"]) == (112, 16)
    with pytest.raises(JobError, match="expected neutral or none"):
        found("ravdess", tmp_path, calm="perhaps")


def test_ck48_alone_with_genders_by_subject(tmp_path):
    """The copy on Kaggle: class folders with the last three frames of each sequence, contempt among them."""
    root = tmp_path / "CK+48"
    folders = ("anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
    for person in range(8):
        for i, emotion in enumerate(folders):
            for frame in (15, 16, 17):
                name = f"S{person + 10:03d}_{i:03d}_{frame:08d}.png"
                trees.put(root / emotion / name, person * 100 + i * 10 + frame)
    rows = [{"image": f"S{person + 10:03d}", "gender": "mf"[person % 2]} for person in range(8)]
    table = trees.table(tmp_path, rows, "genders.csv")
    manifest = build("ckplus", root, tmp_path / "out", options={"gender": str(table)})
    read = samples(tmp_path / "out")
    assert_disjoint(read)
    assert manifest.left_out == {"emotion contempt": 24}
    assert tally(read, "domain") == Counter({("source",): 72, ("target",): 72})
    assert all(sample["domain"] == ("source", "target")[int(sample["subject"][1:]) % 2] for sample in read)
