"""Class shares of the target of the synthetic faces: --option target_shares=joy:3,fear:0."""

import json
from collections import Counter

import numpy as np
import pytest

from job.datasets import synthetic_faces as faces
from job.datasets.class_shares_option import read_shares, share_out
from job.datasets.options import complete_options
from job.shards.writing.write_shards import write_shards
from job.system.errors import JobError
from job.vocabulary import EMOTIONS, SPLITS

SMALL = {"train": 180, "val": 90, "test": 45}


def counts(domain: str, split: str, **options) -> list[int]:
    listed = faces.records(None, 3, **SMALL, **options)
    found = Counter(record.label for record in listed if (record.domain, record.split) == (domain, split))
    return [found[label] for label in range(len(EMOTIONS))]


def test_factors_are_relative_to_the_classes_that_are_not_listed():
    assert read_shares("x", "b:3, c:0", "abc").tolist() == [0.25, 0.75, 0.0]
    assert read_shares("x", "a:0.5", "abc").tolist() == [0.2, 0.4, 0.4]


def test_counts_are_the_shares_rounded_to_whole_images():
    shares = np.array([0.5, 0.25, 0.25, 0.0])
    assert np.bincount(share_out(7, shares), minlength=4).tolist() == [3, 2, 2, 0]
    assert np.bincount(share_out(8, shares), minlength=4).tolist() == [4, 2, 2, 0]


def test_every_split_of_the_target_has_the_shares_and_the_source_keeps_its_own():
    for split in SPLITS:
        joy, ninth = EMOTIONS.index("joy"), SMALL[split] // 9
        expected = [ninth] * len(EMOTIONS)
        expected[joy] *= 3
        assert counts("target", split, target_shares="joy:3") == expected
        assert counts("source", split, target_shares="joy:3") == counts("source", split)
        assert counts("target", split, target_shares="fear:0")[EMOTIONS.index("fear")] == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("joy", "not of the form CLASS:FACTOR"),
        ("joi:3", "did you mean joy"),
        ("joy:3,joy:2", "listed twice"),
        ("joy:-1", "expected a number from 0 to 1000"),
        ("joy:nan", "expected a number from 0 to 1000"),
        ("joy:many", "expected a number from 0 to 1000"),
        (",".join(f"{name}:0" for name in EMOTIONS), "every class has the factor 0"),
    ],
)
def test_a_description_that_cannot_be_read_is_refused_in_one_line(text, message):
    with pytest.raises(JobError, match=message) as error:
        faces.records(None, 0, **SMALL, target_shares=text)
    assert "\n" not in str(error.value)
    assert "target_shares" in str(error.value)


def test_without_the_option_manifests_and_images_are_as_before():
    assert complete_options(faces.LAYOUT, {}) == {"train": 6000, "val": 1000, "test": 1500}
    assert faces.records(None, 3, **SMALL) == faces.records(None, 3, **SMALL, target_shares=None)


def test_the_manifest_records_the_shares_and_other_shares_are_refused(tmp_path):
    def write(**options):
        options = {"train": 9, "val": 9, "test": 9, **options}
        write_shards("faces", None, tmp_path / "x", size=16, shards=1, workers=1, options=options, progress=False)

    write(target_shares="joy:3")
    assert json.loads((tmp_path / "x" / "manifest.json").read_text())["options"]["target_shares"] == "joy:3"
    write(target_shares="joy:3")  # complete already
    for others in ({"target_shares": "joy:2"}, {}):
        with pytest.raises(JobError, match="target_shares is 'joy:3' there"):
            write(**others)
