"""`benchmarks.method_cost`: the methods take turns on one batch; no time is asserted."""

import pytest

from benchmarks.method_cost import COMPARED, measure


@pytest.mark.slow
def test_each_method_is_measured_against_source_only_in_the_same_turns(tmp_path):
    found = measure("digits", ["source_only", "dann", "fixmatch"], 1, 2, tmp_path)
    assert list(found) == ["source_only", "dann", "fixmatch"]
    assert found["source_only"]["cost"] == 1
    assert all(row["ms"] > 0 and row["cost"] > 0 for row in found.values())
    assert {"mcd", "dann+mcc"} < set(COMPARED)
    assert not {"adabn", "train_on_target"} & set(COMPARED)
