"""A table of genders beside any layout."""

from collections import Counter

import pytest

from job.datasets import LAYOUTS, find_layout
from job.datasets.image_search import Notes
from job.system.errors import JobError
from job.vocabulary import EMOTIONS
from tests.support import trees
from tests.support.datasets import build, found, samples, tally


def test_class_folders_without_domains(tmp_path):
    rows = []
    for i, emotion in enumerate(EMOTIONS * 8):
        path = trees.put(tmp_path / "set" / emotion / f"{i}.jpg", i)
        names = (path.relative_to(tmp_path / "set"), path.name, path.stem)  # path below the root, file name, stem
        if i % 8 != 7:
            rows.append({"image": names[i % 3], "gender": ("man", "WOMAN")[i // 7 % 2]})
    table = trees.table(tmp_path, rows, "genders.csv")
    manifest = build("folders", tmp_path / "set", tmp_path / "out", options={"gender": str(table)})
    assert manifest.left_out == {"unknown domain": 7}
    read = samples(tmp_path / "out")
    expected = [(("source", "target")[i // 7 % 2],) for i in range(56) if i % 8 != 7]
    assert tally(read, "domain") == Counter(expected)
    for sample in read:
        assert sample["source"].split("/")[0] == sample["emotion"]


def test_every_layout_of_files_has_the_option():
    for name in LAYOUTS:
        layout = find_layout(name)
        if layout.find is not None:
            assert "gender" in layout.options, name


def test_the_domains_of_a_data_set_give_way_to_the_table(tmp_path):
    trees.kdef(tmp_path / "KDEF", people=1)
    table = trees.table(tmp_path, [{"image": "M01", "gender": "f"}, {"image": "F01", "gender": "m"}], "genders.csv")
    entries = found("kdef", tmp_path / "KDEF", gender=str(table))
    assert {(entry.subject, entry.domain) for entry in entries.values()} == {("M01", "f"), ("F01", "m")}


def test_a_name_that_two_images_have_is_refused(tmp_path):
    for emotion in ("joy", "anger"):
        trees.put(tmp_path / "set" / emotion / "1.jpg", 1)
    table = trees.table(tmp_path, [{"image": "1.jpg", "gender": "m"}], "genders.csv")
    with pytest.raises(JobError, match=r"1\.jpg means anger/1\.jpg and joy/1\.jpg: write the path below the root"):
        found("folders", tmp_path / "set", gender=str(table))


def test_a_table_that_names_no_image_says_so(tmp_path):
    trees.folders(tmp_path / "set", each=1)
    table = trees.table(tmp_path, [{"image": "x.jpg", "gender": "m"}], "genders.csv")
    with pytest.raises(JobError, match="14 images of unknown domain: the table of --option gender=FILE must name them"):
        build("folders", tmp_path / "set", tmp_path / "out", options={"gender": str(table)})


def test_manifests_without_a_table_are_as_before(tmp_path):
    """Shards that were written before the option existed stay complete."""
    manifest = build("folders", trees.folders(tmp_path / "set"), tmp_path / "out")
    assert "gender" not in manifest.options


def test_a_pair_has_no_use_for_the_table(tmp_path):
    sides = {role: f"folders:{trees.folders(tmp_path / role, each=1)}" for role in ("source", "target")}
    options = {**sides, "gender": "x.csv"}
    with pytest.raises(JobError, match="neither folders nor folders has an option gender"):
        build("pair", None, tmp_path / "out", options=options)


def test_notes_of_a_search_are_those_of_the_layout(tmp_path):
    notes = Notes()
    trees.put(tmp_path / "set" / "x.jpg", 1)
    table = trees.table(tmp_path, [{"image": "x", "gender": "m"}], "genders.csv")
    assert not found("kdef", tmp_path / "set", notes, gender=str(table))
    assert notes.left_out == Counter({"files that are not named as in AF01ANS.JPG": 1})
