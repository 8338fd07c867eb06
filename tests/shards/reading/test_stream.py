"""What a rank reads of global batch t, and what it does with images that cannot be decoded."""

import io
import shutil
import tarfile
import threading

import numpy as np
import pytest
import simplejpeg
import torch

from job.shards.manifest import Manifest, load_manifest
from job.shards.reading import domain_stream as module
from job.shards.reading.augment_draws import draw
from job.shards.reading.batch_loader import BatchLoader
from job.shards.reading.decode import decode_into
from job.shards.reading.domain_stream import DomainStream
from job.shards.reading.image_memory import DecodedImages
from job.shards.reading.shard_cache import ShardStore
from job.shards.reading.whole_split import read_split
from job.shards.writing.read_picture import UnreadableError, read_picture
from job.system.errors import JobError
from job.system.files import sha256_of
from tests.support import toy_layout
from tests.support.toy_shards import make

SETTINGS = {"seed": 0, "streams": 4, "global_batch_size": 8, "block_shards": 2}


def stream(folder, domain="source", **settings):
    settings = {**SETTINGS, "labelled": domain == "source", **settings}
    return DomainStream(load_manifest(folder), domain, ShardStore(folder), **settings)


def both(folder, **settings):
    return [stream(folder, "source", **settings), stream(folder, "target", **settings)]


def read(streams, start=0, stop=10, **settings):
    with BatchLoader(streams, seed=0, start_step=start, stop_step=stop, **settings) as loader:
        return [(b.step, b.images.clone(), b.labels.clone(), b.draws.clone()) for b in loader]


def filled(one, step):
    images = np.empty((one.local_batch_size, one.size, one.size, 3), np.uint8)
    labels = np.empty(one.local_batch_size, np.int64)
    skipped = one.fill(step, images, labels)
    return images, labels, skipped


def rewrite(folder, path, change):
    """Change the members of a shard, {name: bytes} -> {name: bytes}, and the manifest with it."""
    with tarfile.open(folder / path) as tar:
        members = {m.name: tar.extractfile(m).read() for m in tar}
    with tarfile.open(folder / path, "w") as tar:
        for name, content in change(members).items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    manifest = load_manifest(folder, check_files=False).model_dump()
    for splits in manifest["domains"].values():
        for shards in splits.values():
            for info in shards:
                if info["path"] == path:
                    info.update(bytes=(folder / path).stat().st_size, sha256=sha256_of(folder / path))
    (folder / "manifest.json").write_text(Manifest.model_validate(manifest).model_dump_json())


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_the_keys_of_a_step_do_not_depend_on_the_ranks(made, world_size):
    for domain in ("source", "target"):
        alone = stream(made, domain)
        ranks = [stream(made, domain, rank=rank, world_size=world_size) for rank in range(world_size)]
        for step in range(25):
            keys, slots = [], []
            for rank in ranks:
                keys += rank.keys(step)
                slots += rank.slots.tolist()
            assert keys == alone.keys(step)
            assert slots == alone.slots.tolist() == list(range(8))


def test_no_key_repeats_within_a_pass_and_none_is_missing(made):
    one = stream(made)
    # 12 equal shards over 4 streams: 15 samples a stream, two of each in a batch
    seen = [key for step in range(15) for key in one.keys(step)]
    assert len(seen) == 2 * 60
    per_stream = np.array(seen).reshape(15, 4, 2).transpose(1, 0, 2).reshape(4, 30)
    assert len(set(per_stream[:, :15].ravel())) == 60
    assert set(per_stream[:, 15:].ravel()) == set(per_stream[:, :15].ravel())
    assert per_stream[:, :15].tolist() != per_stream[:, 15:].tolist()


def test_pixels_and_labels_belong_together(made):
    images, labels, _ = filled(stream(made), 3)
    for picture, label in zip(images, labels):
        centre = picture[8, 8].astype(int)
        assert np.abs(centre - toy_layout.COLOURS[label]).max() < 12


def test_resuming_at_a_step_is_as_if_never_interrupted(made):
    whole = read(both(made), 0, 20)
    resumed = read(both(made), 13, 20, threads=3, prefetch=2)
    assert [batch[0] for batch in resumed] == list(range(13, 20))
    for left, right in zip(whole[13:], resumed):
        assert all(torch.equal(a, b) for a, b in zip(left[1:], right[1:]))


def test_a_batch_is_the_source_rows_then_the_target_rows(made):
    ((step, images, labels, draws),) = read(both(made), 4, 5)
    assert (step, images.shape, images.dtype) == (4, (16, 16, 16, 3), torch.uint8)
    assert labels.dtype == torch.int64
    assert draws.shape == (16, 16)
    assert images[:8, 2, 8].float().mean() < 60 < 170 < images[8:, 2, 8].float().mean()
    assert labels[:8].min() >= 0
    assert labels[8:].tolist() == [-1] * 8


def test_batches_of_two_ranks_are_those_of_one(made):
    alone = read(both(made), 0, 6)
    shared = [read(both(made, rank=rank, world_size=2), 0, 6) for rank in range(2)]
    for step in range(6):
        for part in (1, 2, 3):
            rows = [shared[rank][step][part] for rank in range(2)]
            joined = torch.cat([rows[0][:4], rows[1][:4], rows[0][4:], rows[1][4:]])
            assert torch.equal(joined, alone[step][part])


def test_target_labels_do_not_reach_training_even_where_there_are_some(made, made_with_target_labels):
    """Target labels leak (docs/pitfalls.md): same images, and no label but -1."""
    with_labels, without = stream(made_with_target_labels, "target"), stream(made, "target")
    for step in range(10):
        (images, labels, _), (same, none, _) = filled(with_labels, step), filled(without, step)
        assert labels.tolist() == none.tolist() == [-1] * 8
        assert np.array_equal(images, same)


def test_missing_labels_are_refused(made, made_with_target_labels):
    with pytest.raises(JobError, match=r"target/train carries no labels.*--keep-target-labels"):
        stream(made, "target", labelled=True)
    assert filled(stream(made_with_target_labels, "target", labelled=True), 0)[1].min() >= 0


def spoil(folder, content=b"not a jpeg"):
    """Spoil the first image of a shard; returns its key and the step at which it comes up first."""
    path = "source/train/source-train-000004.tar"
    rewrite(
        folder,
        path,
        lambda members: {
            name: content if name == sorted(n for n in members if n.endswith(".jpg"))[0] else held
            for name, held in members.items()
        },
    )
    key = "source-train-0000020"
    return key, next(step for step in range(100) if key in stream(folder).keys(step))


def test_an_image_that_cannot_be_decoded_is_named(shards):
    key, step = spoil(shards)
    with pytest.raises(JobError, match=rf"source-train-000004\.tar: {key} cannot be decoded.*on_bad_image=skip"):
        read(both(shards), 0, step + 1)
    with pytest.raises(JobError, match=rf"{key} cannot be decoded"):
        list(read_split(load_manifest(shards), ShardStore(shards), "source", "train", labelled=True))


def test_batches_before_the_bad_one_are_delivered(shards):
    _, step = spoil(shards)
    assert step > 0
    with BatchLoader(both(shards), seed=0, start_step=0) as loader:
        for expected in range(step):
            assert next(loader).step == expected
        with pytest.raises(JobError):
            next(loader)


def test_a_bad_image_is_skipped_alike_on_any_number_of_ranks(shards):
    _, step = spoil(shards)
    images, labels, skipped = filled(stream(shards, on_bad_image="skip"), step)
    assert skipped == 1
    ranks = [filled(stream(shards, on_bad_image="skip", rank=rank, world_size=4), step) for rank in range(4)]
    assert sum(part[2] for part in ranks) == 1
    assert np.array_equal(np.concatenate([part[0] for part in ranks]), images)
    assert np.array_equal(np.concatenate([part[1] for part in ranks]), labels)
    for picture, label in zip(images, labels):
        assert np.abs(picture[8, 8].astype(int) - toy_layout.COLOURS[label]).max() < 12
    with BatchLoader(both(shards, on_bad_image="skip"), seed=0, start_step=step, stop_step=step + 1) as loader:
        list(loader)
        assert loader.skipped == 1


def test_any_damage_of_an_image_raises_the_same_error(shards):
    """The binding of libjpeg raises a KeyError for an unknown subsampling in the header."""
    rng = np.random.default_rng(0)
    whole = simplejpeg.encode_jpeg(rng.integers(0, 256, (16, 16, 3), np.uint8), 90)
    reasons = []
    for _ in range(3000):
        damaged = np.frombuffer(whole, np.uint8).copy()
        damaged[rng.integers(0, len(damaged), 6)] = rng.integers(0, 256, 6)
        try:
            decode_into(memoryview(damaged.tobytes()), np.empty((16, 16, 3), np.uint8))
        except ValueError as error:
            reasons.append(str(error))
        try:
            read_picture(damaged.tobytes())
        except UnreadableError as error:
            reasons.append(str(error))
    assert len(reasons) > 1000
    assert all(len(reason) > 3 for reason in reasons), "a number is no reason"


def test_skipping_ends_at_its_limit(shards):
    _, step = spoil(shards)
    limited = stream(shards, on_bad_image="skip", max_skipped=1)
    filled(limited, step)
    with pytest.raises(JobError, match="1 have been skipped already"):
        filled(limited, step)


def test_an_image_of_another_size_says_so(shards, tmp_path):
    make(tmp_path / "large", size=32)
    with tarfile.open(tmp_path / "large/source/train/source-train-000000.tar") as tar:
        larger = tar.extractfile("source-train-0000000.jpg").read()
    key, step = spoil(shards, larger)
    with pytest.raises(JobError, match=rf"{key} cannot be decoded \(it is 32 x 32 pixels but the manifest says"):
        filled(stream(shards), step)
    make(tmp_path / "small", size=8)
    with tarfile.open(tmp_path / "small/source/train/source-train-000000.tar") as tar:
        smaller = tar.extractfile("source-train-0000000.jpg").read()
    key, step = spoil(shards, smaller)
    with pytest.raises(JobError, match=r"it is 8 x 8 pixels but the manifest says 16 x 16"):
        filled(stream(shards), step)


def test_a_shard_without_one_of_its_images_is_an_error(shards):
    rewrite(
        shards,
        "source/train/source-train-000004.tar",
        lambda members: {name: held for name, held in members.items() if "0000020" not in name},
    )
    with pytest.raises(JobError, match=r"source-train-000004\.tar holds 4 images but the manifest says 5"):
        read(both(shards), 0, 60)


@pytest.mark.parametrize("world_size", [1, 2, 3, 7, 20])
def test_a_split_is_read_once_over_all_ranks(made, world_size):
    seen = []
    for rank in range(world_size):
        share = {"rank": rank, "world_size": world_size, "batch_size": 3}
        for images, labels, keys in read_split(
            load_manifest(made), ShardStore(made), "source", "test", labelled=True, **share
        ):
            assert len(images) == len(labels) == len(keys) <= 3
            assert images.shape[1:] == (16, 16, 3)
            for picture, label in zip(images.numpy(), labels.tolist()):
                assert np.abs(picture[8, 8].astype(int) - toy_layout.COLOURS[label]).max() < 12
            seen += keys
    assert seen == [f"source-test-{i:07d}" for i in range(12)]


def test_draws_depend_on_seed_step_domain_and_slot_only():
    slots = np.arange(8)
    whole = draw(0, 5, "source", slots, 16)
    assert whole.shape == (8, 16)
    assert whole.dtype == np.float32
    assert np.array_equal(np.concatenate([draw(0, 5, "source", part, 16) for part in np.split(slots, 4)]), whole)
    assert np.array_equal(draw(0, 5, "source", slots, 4), whole[:, :4])
    for other in (draw(1, 5, "source", slots, 16), draw(0, 6, "source", slots, 16), draw(0, 5, "target", slots, 16)):
        assert not np.any(other == whole)
    assert (whole[0, :2] * 2**24).tolist() == [5218290.0, 13037401.0], "pinned: a resumed run must find the same"


def test_draws_are_uniform():
    numbers = np.concatenate([draw(3, step, "source", np.arange(64), 16) for step in range(200)])
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert np.abs(np.histogram(numbers, 10, (0, 1))[0] / numbers.size - 0.1).max() < 0.003
    assert np.abs(np.corrcoef(numbers.T) - np.eye(16)).max() < 0.04


def test_a_batch_stays_as_it_is_until_the_next_but_one(made):
    with BatchLoader(both(made), seed=0, start_step=0, stop_step=30, prefetch=1, threads=4) as loader:
        previous = next(loader)
        for batch in loader:
            kept = previous.images.clone(), previous.labels.clone(), previous.draws.clone()
            expected = filled(stream(made), previous.step)[0]
            assert np.array_equal(previous.images[:8].numpy(), expected)
            assert all(torch.equal(a, b) for a, b in zip(kept, (previous.images, previous.labels, previous.draws)))
            previous = batch


def test_closing_ends_the_threads_and_can_be_done_twice(made):
    before = {*threading.enumerate()}  # of other tests: they may end meanwhile
    loader = BatchLoader(both(made), seed=0, threads=3)
    next(loader)
    assert loader.wait_seconds >= 0
    loader.close()
    loader.close()
    assert not {*threading.enumerate()} - before
    with pytest.raises(StopIteration):
        next(loader)


def test_the_epoch_is_that_of_the_whole_domain(made):
    assert stream(made, rank=1, world_size=2).epoch(15) == 15 * 8 / 60


def test_many_shards_stay_within_the_limit_of_open_files(made, tmp_path):
    import resource

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    (tmp_path / "source").mkdir()
    info = load_manifest(made).shards("source", "train")[0]
    content = (made / info.path).read_bytes()
    infos = []
    for i in range(300):
        (tmp_path / f"source/{i}.tar").write_bytes(content)
        infos.append(info.model_copy(update={"path": f"source/{i}.tar"}))
    manifest = load_manifest(made).model_copy(update={"domains": {"source": {"train": tuple(infos)}}})
    many = DomainStream(
        manifest,
        "source",
        ShardStore(tmp_path),
        labelled=False,
        seed=0,
        streams=100,
        global_batch_size=300,
        block_shards=3,
    )
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, limits[1]))
    try:
        for step in range(5):
            filled(many, step)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_later_passes_reuse_decoded_images(made, monkeypatch):
    """The pixels are the same; a second pass decodes only images for which there was no room."""
    decoded = []
    monkeypatch.setattr(
        module, "decode_into", lambda jpeg, row, decode=module.decode_into: decoded.append(jpeg) or decode(jpeg, row)
    )
    bytes_of_a_shard = 5 * 16 * 16 * 3  # 12 shards of 5 pictures, all seen after 15 steps of 8 (twice 60)
    for room, later in ((0, 120), (12 * bytes_of_a_shard, 0), (7 * bytes_of_a_shard + 1, 50)):
        plain, keeping = stream(made), stream(made, decoded=DecodedImages(room))
        for step in range(30):
            if step == 15:
                assert len(decoded) >= 60
                decoded.clear()
            before = len(decoded)
            wanted, labels, _ = filled(plain, step)
            del decoded[before:]
            found, same, _ = filled(keeping, step)
            assert np.array_equal(found, wanted)
            assert np.array_equal(same, labels)
        assert len(decoded) == later
        decoded.clear()


def test_two_domains_share_the_room_for_decoded_images(made):
    room = DecodedImages(18 * 5 * 16 * 16 * 3)
    assert [one._decoded.room for one in both(made, decoded=room)] == [12 * 5, 6 * 5]


def test_an_image_that_was_skipped_is_skipped_in_every_pass(made, tmp_path):
    folder = shutil.copytree(made, tmp_path / "spoilt")
    spoil(folder)
    one = stream(folder, decoded=DecodedImages(2**30), on_bad_image="skip")
    plain = stream(folder, on_bad_image="skip")
    skips = 0
    for at in range(30):  # four passes
        (images, labels, skipped), (wanted, expected, as_often) = filled(one, at), filled(plain, at)
        assert np.array_equal(images, wanted)
        assert np.array_equal(labels, expected)
        assert skipped == as_often
        skips += skipped
    assert skips == 4
