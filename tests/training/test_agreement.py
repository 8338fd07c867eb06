"""All ranks stop at one boundary, whoever asks and however far they are apart. Ranks are threads here."""

import random
import threading
import time
from datetime import timedelta

import pytest
from torch.distributed import HashStore

from job.training.agreement import Agreement

SOON = timedelta(seconds=120)


class Ranks:
    """Agreements of several ranks on one store."""

    def __init__(self, world: int, timeout: timedelta = SOON) -> None:
        self.store, self.reasons = HashStore(), [None] * world
        self.each = [Agreement(self.store, i, world, lambda i=i: self.reasons[i], timeout) for i in range(world)]

    def ask(self, rank: int) -> None:
        self.reasons[rank] = "SIGTERM"
        self.each[rank].hurry()

    def close(self) -> None:
        for agreement in self.each:
            agreement.close()


@pytest.fixture
def ranks():
    made = []

    def make(*arguments) -> Ranks:
        made.append(Ranks(*arguments))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize("together", [True, False], ids=["in lockstep", "at their own speed"])
def test_all_ranks_stop_at_the_same_boundary(ranks, together):
    """In lockstep no rank can finish a step without the others, as with gradients; an evaluation lets them drift."""
    world = 5
    group, step, stopped = ranks(world), threading.Barrier(world), [0] * world

    def run(rank: int) -> None:
        draws, boundary = random.Random(rank), 0
        while True:
            time.sleep(draws.uniform(0, 0.004))
            if together:
                step.wait(120)
            boundary += 1
            if boundary == 10 and rank == 3:
                group.ask(rank)
            if group.each[rank].reached():
                stopped[rank] = boundary
                return

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)
    assert len(set(stopped)) == 1
    assert stopped[0] >= 10
    assert group.each[0].reached()  # and so it is at every later boundary


def test_nobody_stops_unasked_and_a_boundary_asks_nothing(ranks):
    (alone,) = ranks(1).each
    alone.close()  # the thread, which asks by time
    alone._store = None  # a boundary that talked to the store would fail
    assert not any(alone.reached() for _ in range(100))


def test_a_rank_that_does_not_answer_is_named(ranks):
    group = ranks(2, timedelta(seconds=0.3))
    group.each[1].close()
    group.ask(0)
    group.each[0]._thread.join(120)
    with pytest.raises(RuntimeError, match="timed out waiting for the last boundary of rank 1"):
        group.each[0].reached()
