"""Options of the layouts are parsed by their type, and invalid values are refused in one line."""

import subprocess
import sys
from pathlib import Path

import pytest

from job.datasets import LAYOUTS, find_layout
from job.datasets.options import complete_options, read_options
from job.system.errors import JobError
from tests.support import trees
from tests.support.datasets import build


def read(layout, *words):
    """Return the options that these words of the command line set."""
    layout = find_layout(layout)
    options = read_options(layout, words)
    return {name: complete_options(layout, options)[name] for name in options}


@pytest.mark.parametrize(
    ("layout", "word", "value"),
    [
        ("folders", r"subject=[A-Z]\d+", r"[A-Z]\d+"),
        ("folders", "subject=[A-Z]", "[A-Z]"),
        ("folders", "subject=1", "1"),
        ("folders", "subject=key: a=b", "key: a=b"),
        ("folders", "source=1", "1"),
        ("folders", "target=no", "no"),
        ("folders", "val=0.2", 0.2),
        ("folders", "val=2e-1", 0.2),
        ("folders", "subjects=False", False),
        ("folders", "subjects=true", True),
        ("csv", "table=1", "1"),
        ("webdataset", "classes=7", "7"),
        ("webdataset", "classes=neutral,joy", "neutral,joy"),
        ("rafdb", "gender=null", "null"),
        ("fer2013", "ferplus=2013-02-03", "2013-02-03"),
        ("mnist-m", "train=1000", 1000),
        ("mnist-m", "val=20", 20),
        ("faces", "test=5", 5),
    ],
)
def test_the_default_determines_the_type_of_an_option(layout, word, value):
    result = read(layout, word)[word.partition("=")[0]]
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("layout", "word", "expected"),
    [
        ("mnist-m", "train=1e3", "a whole number from 1 up"),
        ("mnist-m", "train=abc", "a whole number from 1 up"),
        ("mnist-m", "test=0", "a whole number from 1 up"),
        ("mnist-m", "val=", "a whole number from 1 up, such as 5000"),
        ("folders", "val=1.5", "a share between 0 and 1, such as 0.1"),
        ("folders", "val=nan", "a share between 0 and 1, such as 0.1"),
        ("folders", "subjects=0", "true or false"),
        ("folders", "subject=", "text"),
        ("csv", "table=", "text"),
        ("kdef", "angles=", "a name, such as S"),
        ("csv", "table=caf\udce9.csv", "text in UTF-8, for the manifest: rename the file or folder"),
    ],
)
def test_a_value_of_another_type_is_refused(layout, word, expected):
    with pytest.raises(JobError) as caught:
        read(layout, word)
    assert str(caught.value) == str(JobError(f"--option {word}: expected {expected}"))


def test_words_that_are_not_options_are_refused():
    with pytest.raises(JobError, match="--option 'subject' is not of the form KEY=VALUE"):
        read("folders", "subject")
    with pytest.raises(JobError, match="layout folders has no option 'subjekt': did you mean subject"):
        read("folders", "subjekt=x")
    for value in (1, ["joy"], True):
        with pytest.raises(JobError, match=r"--option gender=.*: expected text"):
            complete_options(find_layout("rafdb"), {"gender": value})


def test_values_of_python_are_used_unchanged():
    for name in LAYOUTS:
        layout = find_layout(name)
        assert complete_options(layout, dict(layout.options)) == complete_options(layout, {})
    options = {"train": 5, "test": None}
    assert complete_options(find_layout("mnist-m"), options) == {"val": 5000, "train": 5, "test": None}


@pytest.mark.parametrize(
    ("layout", "option", "says"),
    [
        ("folders", "subject=[A-Z", "is not a regular expression"),
        ("folders", "subject=1{9}", "matches no path"),
        ("csv", "table=1", "cannot read"),
        ("rafdb", "gender=1", "cannot read"),
        ("fer2013", "ferplus=1", "--option gender=FILE"),
    ],
)
def test_options_that_do_not_fit_the_data_set(tmp_path, layout, option, says):
    name, _, value = option.partition("=")
    with pytest.raises(JobError, match=says) as caught:
        build(layout, trees.folders(tmp_path / "set", each=1), tmp_path / "out", options={name: value})
    assert "\n" not in str(caught.value)


def test_a_regular_expression_on_the_command_line(tmp_path):
    for domain in ("Male", "Female"):
        for i in range(12):
            trees.put(tmp_path / "set" / domain / "Joy" / f"S{i // 2:02d}_{i}.png", i + 100 * (domain == "Male"))
    command = [sys.executable, "-m", "job", "shards", "folders", "--root", tmp_path / "set", "--out", tmp_path / "out"]
    command += ["--size", "16", "--workers", "1", "--option", r"subject=\w+/\w+/[A-Z]\d+"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
