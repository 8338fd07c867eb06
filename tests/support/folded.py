"""Small shards of synthetic faces in folds."""

from pathlib import Path

import pytest

from job.shards.writing.write_shards import write_shards

FOLDS, SUBJECTS, PICTURES = 3, 6, 7


@pytest.fixture(scope="session")
def folded(tmp_path_factory) -> Path:
    """Six men and six women, 7 faces each, 48 px, in 3 folds of 4 shards a domain: not to be written to."""
    out = tmp_path_factory.mktemp("folded") / "shards"
    options = {"train": SUBJECTS * PICTURES, "per_subject": PICTURES, "folds": FOLDS}
    write_shards("faces", None, out, size=48, shards=8, workers=1, options=options, progress=False)
    return out
