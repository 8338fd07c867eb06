"""What the `shards` command says about images that are not in the shards."""

import pytest

from job.datasets.layout import Record
from job.shards.writing.left_out import Budget, report
from job.shards.writing.select_images import RecordSet


def said(tmp_path, capsys, **found) -> list[str]:
    records = [Record(f"{i}.jpg", "source", "train", 0, None, f"{i}.jpg", b"") for i in range(60)]
    report(tmp_path, RecordSet(records, **found), Budget("1%", tmp_path))
    return capsys.readouterr().err.splitlines()


def test_a_name_that_resembles_a_class_is_a_warning(tmp_path, capsys):
    left_out = {"emotion Hapy": 10, "emotion contempt": 20, "files ending in .txt": 1}
    assert said(tmp_path, capsys, left_out=left_out) == [
        "warning: left out: 10 emotion Hapy: did you mean happy? correct the misspelt one",
        "left out: 20 emotion contempt",
        "left out: 1 files ending in .txt",
    ]
    left_out = {"class Happy": 10, "class Fear": 20}
    assert said(tmp_path, capsys, left_out=left_out, class_names=("Angry", "Happpy", "Sad")) == [
        "warning: left out: 10 class Happy: did you mean Happpy? correct the misspelt one",
        "left out: 20 class Fear",
    ]
    left_out = {"class day 10": 10}
    assert said(tmp_path, capsys, left_out=left_out, class_names=("day 1", "day 2")) == ["left out: 10 class day 10"]


KEPT, DROPPED = "their central squares are kept", "they are left out"
ADVICE = "; look at some, or use --crop center"


@pytest.mark.parametrize(
    ("without", "left_out", "says"),
    [
        (60, {}, f"warning: no face found in 60 of 60 images, listed in PATH: {KEPT}{ADVICE}"),
        (29, {}, f"no face found in 29 images, listed in PATH: {KEPT}"),
        (
            70,
            {"images without a face": 70},
            f"warning: no face found in 70 of 130 images, listed in PATH: {DROPPED}{ADVICE}",
        ),
    ],
)
def test_images_without_a_face_are_a_warning_when_they_are_half_or_more(tmp_path, capsys, without, left_out, says):
    no_face = [(f"{i}.jpg", "no face") for i in range(without)]
    line = said(tmp_path, capsys, left_out=left_out, no_face=no_face)[-1]
    assert line == says.replace("PATH", str(tmp_path / "no_face.csv"))
