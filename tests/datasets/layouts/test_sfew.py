"""SFEW 2.0: frames of films in folders of emotions, whole or cut to the face."""

from collections import Counter

from job.datasets.image_search import Notes
from tests.support import trees
from tests.support.datasets import found

NAMES = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")


def test_sets_kinds_and_films(tmp_path):
    for folder, film in (("Train", "AirHeads"), ("Train_Aligned_Faces", "AirHeads"), ("Val", "Hangover_2")):
        for i, name in enumerate(NAMES):
            trees.put(tmp_path / folder / name / f"{film}_001117240_{i:08d}.png", i)
    trees.put(tmp_path / "Val_Aligned_Faces_new" / "Happy" / "Hangover_2_001117240_00000003.png", 1)
    trees.put(tmp_path / "Test_Aligned_Faces" / "Serendipity_000100_00000001.png", 2)
    notes = Notes()
    faces = found("sfew", tmp_path, notes, source=None, target=None)
    assert notes.left_out == Counter({"images of the other kind, see --option images": 14})
    assert Counter((entry.split, entry.subject, entry.emotion) for entry in faces.values()) == Counter(
        [("train", "AirHeads", name) for name in NAMES]
        + [("val", "Hangover_2", "Happy"), ("test", "Serendipity", None)]
    )
    frames = found("sfew", tmp_path, source=None, target=None, images="original")
    assert {origin.partition("/")[0] for origin in frames} == {"Train", "Val"}


def test_whole_frames_alone_are_taken(tmp_path):
    trees.put(tmp_path / "Train" / "Sad" / "AirHeads_001117240_00000001.png", 1)
    (entry,) = found("sfew", tmp_path, source=None, target=None).values()
    assert entry[2:] == (None, "Sad", "AirHeads", "train")
