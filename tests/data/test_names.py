"""What a data set calls its domains, emotions and genders means what its owner meant, or is asked about."""

import pytest
import trees
from test_layouts import build, samples

from job.errors import JobError

# Domains ----------------------------------------------------------------------------------------------------------


def domains_of(out):
    """(our domain, the data set's folder) of the samples."""
    return {(sample["domain"], sample["source"].split("/")[0]) for sample in samples(out)}


def test_names_that_are_ours_mean_what_the_user_says(tmp_path):
    root = trees.folders(tmp_path / "set", domains=("source", "target"))
    build("folders", root, tmp_path / "out", options={"source": "target", "target": "source"})
    assert domains_of(tmp_path / "out") == {("source", "target"), ("target", "source")}
    with pytest.raises(JobError, match=r"no image of the target, female: .*--target NAME; it has source$"):
        build("folders", root, tmp_path / "half", options={"source": "target"})


def test_source_and_target_mean_themselves_only_where_no_other_name_fits(tmp_path):
    root = trees.folders(tmp_path / "set", domains=("source", "target"))
    build("folders", root, tmp_path / "ours")
    assert domains_of(tmp_path / "ours") == {("source", "source"), ("target", "target")}
    trees.folders(root, domains=("Male", "Female"))
    build("folders", root, tmp_path / "out")
    assert domains_of(tmp_path / "out") == {("source", "Male"), ("target", "Female")}
