"""A person is in one split, in every spelling of the name."""

import json
import unicodedata

import pytest

from job.datasets.subjects import same_person
from job.shards.inspection.inspect_shards import inspect_shards
from job.system.errors import JobError
from tests.support import trees
from tests.support.datasets import assert_disjoint, build, samples
from tests.support.manifests import accept_changes

NFC, NFD = (unicodedata.normalize(form, "René") for form in ("NFC", "NFD"))
SPELLINGS = [(NFC, NFD), ("Anna", "ANNA"), ("Straße", "STRASSE"), ("Maria  Luz", " maria luz"), ("Éva", "e\u0301va")]


@pytest.mark.parametrize(("one", "other"), SPELLINGS)
def test_spellings_of_one_name(one, other):
    assert one != other
    assert same_person(one) == same_person(other)


def test_other_people_stay_others():
    assert same_person(None) is None
    names = ["Anna", "Hanna", "Rene", NFC, "p1", "p01", "p 1"]
    assert len({same_person(name) for name in names}) == len(names)


def people():
    """Twelve people, each under two spellings."""
    return [(f"{one}{i}", f"{other}{i}") for i, (one, other) in enumerate([*SPELLINGS, *SPELLINGS, *SPELLINGS[:2]])]


def assert_one_split_each(out):
    read = samples(out)
    assert_disjoint([{**sample, "subject": same_person(sample["subject"])} for sample in read])
    assert len({sample["subject"] for sample in read}) > 12, "the names stay as the data set spells them"
    assert "subjects in two splits: 0" in inspect_shards(out, verify=True)


def test_in_a_table(tmp_path):
    rows = []
    for i, spellings in enumerate(people()):
        for j in range(8):
            path = trees.put(tmp_path / "set" / f"{i}-{j}.png", 10 * i + j)
            domain, subject = ("male", "female")[i % 2], spellings[j % 2]
            rows.append({"path": path.name, "domain": domain, "emotion": "joy", "subject": subject})
    trees.table(tmp_path / "set", rows)
    build("csv", tmp_path / "set", tmp_path / "out")
    assert_one_split_each(tmp_path / "out")
    for row in rows:
        row["split"] = (
            "train" if row["subject"] == people()[0][0] else "test" if row["subject"] == people()[0][1] else ""
        )
    trees.table(tmp_path / "set", rows)
    with pytest.raises(JobError, match=r"is in train and in test: splits must be disjoint by subject"):
        build("csv", tmp_path / "set", tmp_path / "more")


def test_in_folders_and_tars(tmp_path):
    for i, spellings in enumerate(people()):
        for j in range(8):
            place = ("Male", "Female")[i % 2], "Joy", spellings[j % 2].strip()
            trees.put(tmp_path.joinpath("set", *place, f"{j}.png"), 10 * i + j)
            about = {"domain": ("male", "female")[i % 2], "subject": spellings[j % 2]}
            about = json.dumps(about, ensure_ascii=bool(j % 3)).encode()
            trees.tars(tmp_path / f"tars/{i}-{j}", 1, 1, first=10 * i + j, cls=b"joy", json=about)
    build("folders", tmp_path / "set", tmp_path / "out", options={"subject": r"Joy/([^/]+)/"})
    assert_one_split_each(tmp_path / "out")
    build("webdataset", tmp_path / "tars", tmp_path / "of tars")
    assert_one_split_each(tmp_path / "of tars")


def test_inspect_sees_a_shared_subject_under_another_spelling(tmp_path):
    """Shards of an earlier version may have one."""
    rows = []
    for i in range(10, 34):
        path = trees.put(tmp_path / "set" / f"{i}.png", i)
        domain = ("male", "female")[i % 2]
        rows.append({"path": path.name, "domain": domain, "emotion": "joy", "subject": f"Person {i}"})
    trees.table(tmp_path / "set", rows)
    manifest = build("csv", tmp_path / "set", tmp_path / "out", shards=1)
    path = tmp_path / "out" / manifest.shards("source", "val")[0].path
    of = {s["split"]: s["subject"] for s in samples(tmp_path / "out") if s["domain"] == "source"}
    path.write_bytes(path.read_bytes().replace(of["val"].encode(), of["train"].upper().encode()))
    accept_changes(tmp_path / "out")
    assert "subjects in two splits: 1" in inspect_shards(tmp_path / "out")
