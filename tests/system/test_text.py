"""Names from data and configurations cannot control a terminal, a log or a spreadsheet."""

import csv
import logging
import pickle
from pathlib import Path

import pytest

from job.system.echo import echo
from job.system.errors import JobError
from job.system.log import close_log, set_up_log
from job.system.text import csv_row, printable, shortened

HOSTILE = "a\x1b[2J\x1b]0;title\x07\r\x9b31m\u202eb\x7f\x00"


def harmless(text: str) -> bool:
    return not any(character in text for character in "\x1b\x07\r\x9b\u202e\x7f\x00")


def test_control_characters_become_escapes():
    assert printable("a\x1b[31mb\x07") == r"a\x1b[31mb\x07"
    assert printable("tabs\tand\nlines") == "tabs\tand\nlines"
    assert printable("one\nline", keep="") == r"one\nline"
    assert printable("René, 笑, 😀 - ok") == "René, 笑, 😀 - ok"
    assert printable("not UTF-8: \udcff") == r"not UTF-8: \udcff"
    assert harmless(printable(HOSTILE))


def test_the_terminal_the_log_and_errors_are_safe(tmp_path, capsys):
    echo(f"predicted {HOSTILE}")
    echo(f"skipped {HOSTILE} \udcff", err=True)
    set_up_log(tmp_path, main=True)
    logging.getLogger("job").info("starting %s", HOSTILE)
    close_log()
    shown = capsys.readouterr()
    for text in (shown.out, shown.err, (tmp_path / "log.txt").read_text(), str(JobError(f"no {HOSTILE}\nhere"))):
        assert text
        assert harmless(text.rstrip("\n"))


def test_an_error_is_one_line_and_can_be_pickled():
    error = JobError("first\n  second")
    assert str(error) == "first second"
    assert str(pickle.loads(pickle.dumps(error))) == "first second"


def test_long_text_is_cut_in_its_middle():
    assert shortened("short") == "short"
    assert len(shortened("x" * 5000)) < 250
    assert "5,000 characters" in shortened("x" * 5000)


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "＝1+1", "\t=1"])
def test_no_cell_of_a_table_is_a_formula(name):
    text, path, number = csv_row([name, Path(name), -0.5])
    assert text[0] == "'"
    assert path.startswith("./")
    assert number == -0.5


def test_ordinary_cells_do_not_change():
    assert csv_row(["joy", Path("a/b c.jpg"), "0.5000", 3, None]) == ["joy", "a/b c.jpg", "0.5000", 3, None]


def test_csv_files_beside_shards_have_no_formula(tmp_path):
    from job.shards.writing.left_out import write_csv

    write_csv(tmp_path / "skipped.csv", ("path", "reason"), [("=cmd|x.jpg", "\x1b[2J"), ("a.jpg", "b")])
    with open(tmp_path / "skipped.csv", newline="") as file:
        assert list(csv.reader(file)) == [["path", "reason"], ["'=cmd|x.jpg", r"\x1b[2J"], ["a.jpg", "b"]]


def test_predictions_have_no_formula(tmp_path, monkeypatch):
    """Hostile file names, one of them not UTF-8."""
    import numpy as np
    from PIL import Image

    from job.predict import predict
    from tests.support.running import REPO

    checkpoint = REPO / "tests" / "support" / "run_of_version_0_1" / "old" / "checkpoints" / "best"
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    names = [Path("=1+1.png"), Path("a\x1b[2J.png"), Path("b\udcff.png")]
    for name in names:
        with open(name, "wb") as file:
            Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(file, "PNG")
    done, unreadable, _ = predict(checkpoint, names, Path("out.csv"))
    assert (done, unreadable) == (3, [])
    with open("out.csv", newline="") as file:
        paths = [row[0] for row in csv.reader(file)][1:]
    assert paths == ["./=1+1.png", r"a\x1b[2J.png", r"b\udcff.png"]
