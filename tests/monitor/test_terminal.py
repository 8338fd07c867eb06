"""The live line on a terminal, plain lines elsewhere, and all lines in log.txt."""

import io
import re
import sys

import pytest

from job.monitor.terminal import Progress
from job.system.log import close_log, log, set_up_log

ROW = {
    "train/class_loss": 0.51234,
    "train/domain_loss": 1.3612,
    "train/source_accuracy": 0.84375,
    "domain/confusion": 0.9812,
    "speed/images_per_second": 1214.4,
    "speed/data_wait_fraction": 0.0012,
}
EVALUATED = {**ROW, "val/source_accuracy": 0.81, "oracle/target_accuracy": 0.62}
METRICS = "class 0.5123  domain 1.361  source 0.8438  confusion 0.9812"


class Screen(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.fixture
def shown_on(monkeypatch, tmp_path):
    """Return a function that shows two log steps and returns the screen and log.txt."""

    def show(terminal: bool) -> tuple[str, str]:
        screen = Screen(terminal)
        monkeypatch.setattr(sys, "stderr", screen)
        monkeypatch.setenv("COLUMNS", "200")
        set_up_log(tmp_path, main=True)
        progress = Progress(steps=300, step=0)
        progress.show(100, ROW)
        progress.show(200, EVALUATED)
        progress.show(200, {"speed/checkpoint_seconds": 0.5})  # nothing to show
        log.warning("a warning")
        progress.close()
        close_log()
        return screen.getvalue(), (tmp_path / "log.txt").read_text()

    return show


def test_plain_lines_without_a_terminal(shown_on):
    screen, file = shown_on(terminal=False)
    assert "\r" not in screen
    lines = [line.split(" ", 1)[1] for line in screen.splitlines()]
    assert len(lines) == 3
    assert re.fullmatch(rf"step 100/300  eta \d\d:\d\d  {METRICS}  img/s 1,214  wait 0\.1%", lines[0])
    assert "val source 0.81  oracle target 0.62" in lines[1]
    assert file == screen


def test_live_line_on_a_terminal(shown_on):
    screen, file = shown_on(terminal=True)
    live = [part for part in re.split(r"[\r\n]", screen) if part.startswith("step ")]
    assert any(re.match(rf"step 100/300  eta \d\d:\d\d  {METRICS}", part) for part in live)
    plain = [part for part in re.split(r"[\r\n]", screen) if re.match(r"\d\d:\d\d:\d\d ", part)]
    assert len(plain) == 2  # the evaluation and the warning; the live line shows the rest
    assert "a warning" in plain[1]
    assert len(file.splitlines()) == 3


def test_closed_pipe_does_not_stop_training(monkeypatch, tmp_path):
    """`launch/local.sh ... | head` closes the pipe."""

    class Broken(Screen):
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(sys, "stderr", Screen(False))
    set_up_log(tmp_path, main=True)
    progress = Progress(10, 0)
    monkeypatch.setattr(sys, "stderr", Broken(False))
    progress.show(1, ROW)
    progress.close()
    close_log()
    assert METRICS in (tmp_path / "log.txt").read_text()
