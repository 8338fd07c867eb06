"""Lists on the command line, separated by commas or by blanks."""

import pytest
from click.testing import CliRunner

from benchmarks.common import read_seeds
from job.__main__ import main
from job.commands.lists import join_lists

RUN = {"search": "job.search.command.search", "crossval": "job.crossval.command.crossval"}


@pytest.mark.parametrize("spelling", [["--seeds", "0,1"], ["--seeds", "0", "1"], ["--seeds=0", "1"]])
@pytest.mark.parametrize("command", RUN)
def test_seeds_may_be_separated_by_commas_or_blanks(monkeypatch, command, spelling):
    calls = []
    monkeypatch.setattr(RUN[command], lambda *words, **options: calls.append((words, options)) or 0)
    space = ["--space", "s.yaml"] if command == "search" else ["--methods", "dann", "dann+mcc"]
    for words in (["c.yaml", *spelling, "train.steps=5", *space], [*space, *spelling, "c.yaml", "train.steps=5"]):
        result = CliRunner().invoke(main, [command, *words], standalone_mode=False)
        assert result.exception is None
        given, options = calls.pop()
        assert (str(given[0]), given[-1], options["seeds"]) == ("c.yaml", ("train.steps=5",), [0, 1])
        assert options.get("methods", ["dann", "dann+mcc"]) == ["dann", "dann+mcc"]


def test_a_list_ends_at_an_option_a_setting_and_a_file(tmp_path):
    config = tmp_path / "config"
    config.touch()
    for end in ("--jobs", "seed=1", "configs/faces", "faces.yaml", str(config)):
        assert join_lists(["--seeds", "0", "1", end, "2"]) == ["--seeds", "0,1", end, "2"]
    assert join_lists(["--seeds", "0,1", "--methods", "a", "b,c"]) == ["--seeds", "0,1", "--methods", "a,b,c"]
    assert join_lists(["--jobs", "1", "2"]) == ["--jobs", "1", "2"]
    assert join_lists(["a", "--seeds"]) == ["a", "--seeds"]


def test_seeds_of_a_benchmark_are_a_number_of_them_or_a_list():
    assert read_seeds(None, 3) == read_seeds("3", 5) == read_seeds("0,1,2", 5)
    assert read_seeds("0", 3) == [0]
    assert read_seeds("4,1", 3) == [4, 1]
