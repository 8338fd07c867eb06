"""A hang is reported, with the stacks of all ranks and the one that is missing. Ranks are threads here."""

import sys
import threading
from types import SimpleNamespace

import pytest
from torch.distributed import HashStore

from job.training import watchdog
from job.training.watchdog import Watchdog, describe, location
from tests.support.waiting import eventually


class Clock:
    """The clock of the watchdogs, which goes on only where the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.looks = {}  # at the clock by each watchdog's thread, or a moment before

    def looked(self) -> None:
        thread = threading.current_thread()
        self.looks[thread] = self.looks.get(thread, 0) + 1

    def go_on(self, seconds: float, dogs: list[Watchdog]) -> None:
        """Let time pass, and each of the watchdogs look at the clock then."""
        self.now += seconds
        for dog in dogs:
            before = self.looks.get(dog._thread, 0)
            eventually(lambda dog=dog, before=before: self.looks.get(dog._thread, 0) >= before + 2, pause=0.002)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(watchdog.socket, "gethostname", lambda: "node7")
    # one for the whole process, pytest's own; called before each look at the clock
    monkeypatch.setattr(watchdog, "_arm", lambda seconds: clock.looked())
    monkeypatch.setattr(watchdog, "time", SimpleNamespace(monotonic=lambda: clock.now, time=lambda: clock.now))
    return clock


def wait_for(path, clock: Clock, seconds: float) -> str:
    clock.now += seconds
    eventually(lambda: path.exists() and path.read_text().endswith("\n"), pause=0.002)
    return path.read_text()


def test_the_rank_that_does_not_answer_is_named_and_the_others_leave_their_stacks(tmp_path, clock, monkeypatch):
    both, entries = threading.Barrier(2, timeout=120), Watchdog._entries

    def entries_of_both(dog, since):
        both.wait()  # the grace, on a machine as slow as may be
        return entries(dog, since)

    monkeypatch.setattr(Watchdog, "_entries", entries_of_both)
    store, folder = HashStore(), tmp_path / "hang"
    dogs = [Watchdog(folder, 0.1, store, rank, 3) for rank in range(3)]
    dogs[1].close()  # as if its process were stopped
    try:
        for _ in range(20):  # while there are steps, nothing happens
            for dog in dogs:
                dog.beat()
            clock.go_on(0.05, [dogs[0], dogs[2]])
        assert not folder.exists()
        reason = wait_for(folder / "reason.txt", clock, 7)
        assert reason.startswith("rank 1 on node7 does not answer; no step for 7 s; stacks of all threads are in ")
        for rank in (0, 2):
            stacks = (folder / f"rank_{rank:05d}.txt").read_text()
            assert stacks.startswith(f"rank {rank} on node7, after 20 boundaries")
            assert "wait_for" in stacks  # of the main thread
        assert not (folder / "rank_00001.txt").exists()
        dogs[0].beat()  # it was only slow
        eventually(lambda: not (folder / "reason.txt").exists(), pause=0.002)
    finally:
        for dog in dogs:
            dog.close()


def test_a_rank_that_is_elsewhere_than_the_others_is_named():
    entries = {0: {"where": "job/a.py:1 (f)"}, 1: {"where": "job/b.py:2 (g)"}, 2: {"where": "job/a.py:1 (f)"}}
    hosts = ["node1", "node2", "node3"]
    assert describe(hosts, entries) == "rank 1 on node2 is in job/b.py:2 (g), and 2 other rank(s) in job/a.py:1 (f)"
    assert describe(hosts, dict.fromkeys(range(3), entries[0])) == "all ranks wait in job/a.py:1 (f)"
    assert describe(hosts, {0: entries[0]}) == "rank 1 on node2, rank 2 on node3 does not answer"


def test_a_location_is_the_innermost_line_of_this_program():
    assert location(sys._getframe()) == "no code of this program"
    found = []
    dog = object.__new__(Watchdog)
    dog._boundaries = 0
    sys.setprofile(lambda frame, event, _: found.append(location(frame)))
    try:
        dog.beat()
    finally:
        sys.setprofile(None)
    assert any(place.startswith("job/training/watchdog.py:") and place.endswith("(beat)") for place in found)
