"""Global batch t is a pure function of (seed, step): the same on any number of ranks, nothing twice in a pass."""

import numpy as np
import pytest

from job.shards.reading.order import DomainOrder, batch_per_stream, deal, largest_streams, rank_streams
from job.system.errors import JobError

COUNTS = [7, 5, 9, 5, 5, 6, 8, 5, 5, 5, 7, 5]
PINNED = [(2, 3), (7, 4), (6, 5), (6, 3), (1, 2), (1, 0), (0, 5), (0, 0)]  # batch 5


def order(**settings):
    return DomainOrder(
        COUNTS, **{"domain": "source", "seed": 0, "streams": 4, "global_batch_size": 8, "block_shards": 2, **settings}
    )


def samples(made, step, streams):
    shards, indices = made.batch(step, streams)
    return list(zip(shards.tolist(), indices.tolist()))


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_together_take_what_one_rank_takes(world_size):
    for step in (0, 1, 13, 1_000_003):
        alone = samples(order(), step, rank_streams(4, 0, 1))
        shared = [s for rank in range(world_size) for s in samples(order(), step, rank_streams(4, rank, world_size))]
        assert shared == alone


def test_a_pass_of_a_stream_has_every_sample_once():
    made = order()
    everything = set()
    for stream in range(4):
        length = sum(COUNTS[shard] for shard in deal(COUNTS, 4, made._key)[stream])
        for epoch in range(3):
            shards, indices = made.locate(stream, epoch * length, length)
            seen = list(zip(shards.tolist(), indices.tolist()))
            assert len(set(seen)) == length
            assert set(shards.tolist()) == set(made._shards[stream].tolist())
            everything |= set(seen)
    assert everything == {(shard, i) for shard, count in enumerate(COUNTS) for i in range(count)}


def test_passes_differ_from_one_another_and_by_seed_and_domain():
    def begin(made, position):
        return [part.tolist() for part in made.locate(0, position, 10)]

    length = order()._stream_samples[0]
    base = begin(order(), 0)
    assert base == begin(order(), 0)
    assert base != begin(order(), length)
    assert base != begin(order(seed=1), 0)
    assert base != begin(order(domain="target"), 0)


def test_any_position_is_computed_without_those_before_it():
    walked, jumped = order(), order()
    steps = [samples(walked, step, range(4)) for step in range(60)]
    assert samples(jumped, 59, range(4)) == steps[59]
    assert samples(jumped, 3, range(4)) == steps[3]


def test_samples_are_mixed_within_blocks_only():
    made = order(block_shards=1)
    length = made._stream_samples[0]
    shards, indices = made.locate(0, 0, length)
    assert np.count_nonzero(np.diff(shards)) == len(made._shards[0]) - 1
    assert indices.tolist() != sorted(indices.tolist())


def test_shards_are_dealt_evenly():
    loads = [sum(COUNTS[shard] for shard in hand) for hand in deal(COUNTS, 4, 3)]
    assert max(loads) - min(loads) <= 2
    assert sorted(s for hand in deal([5] * 64, 16, 1) for s in hand.tolist()) == list(range(64))
    assert {len(hand) for hand in deal([5] * 64, 16, 1)} == {4}


def test_the_order_never_changes_between_versions():
    """Resuming a run of an older version must find the same batch: change this only with a new manifest version."""
    assert samples(order(), 5, range(4)) == PINNED


def test_a_substitute_comes_from_the_same_block():
    made = order()
    (_, members, _), here = made.block_shards_at(1, 4), made.locate(1, 4)
    found = list(made.substitutes(1, 4))
    assert {shard for shard, _ in found} <= set(members)
    assert len(found) == sum(COUNTS[shard] for shard in members) - 1
    assert (int(here[0][0]), int(here[1][0])) not in found
    assert found[0] == tuple(int(part[0]) for part in made.locate(1, 5))


def test_the_epoch_counts_samples():
    assert order().epoch(0) == 0
    assert order().epoch(9) == 9 * 8 / sum(COUNTS)


@pytest.mark.parametrize(
    ("attempt", "says"),
    [
        (lambda: batch_per_stream(10, 4), ["global_batch_size is 10", "streams=4", "8 or 12"]),
        (lambda: rank_streams(4, 0, 3), ["streams is 4", "3 ranks", "1, 2, 4", "3 or 6"]),
        (lambda: rank_streams(4, 0, 8), ["streams is 4", "8 ranks", "start 4 ranks or fewer"]),
        (lambda: order(streams=16, global_batch_size=16), ["12 shards", "streams is 16", "--shards 16"]),
        (lambda: order(block_shards=0), ["block_shards is 0"]),
    ],
)
def test_numbers_that_cannot_work_are_answered_with_ones_that_do(attempt, says):
    with pytest.raises(JobError) as caught:
        attempt()
    for words in says:
        assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("shards", "batch", "unit", "streams"),
    [
        (64, 64, 1, 64),
        (64, 96, 1, 48),
        (1000, 4096, 1, 512),
        (10**5, 4096, 1, 4096),
        (1, 13, 1, 1),
        (64, 96, 32, 32),
        (64, 96, 5, None),
        (0, 64, 1, None),
    ],
)
def test_the_largest_number_of_streams_divides_the_batch_and_has_a_shard_for_each(shards, batch, unit, streams):
    assert largest_streams(shards, batch, unit) == streams
