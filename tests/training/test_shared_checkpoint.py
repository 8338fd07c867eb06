"""A run that resumes reads its checkpoint once on each node. Ranks are threads here, in two "hosts"."""

import threading
from types import SimpleNamespace

import pytest
import torch

from job.run_folder import checkpoint as checkpoints
from job.run_folder.checkpoint import save_checkpoint
from job.training import shared_checkpoint
from tests.support.rank_threads import HOSTS, WORLD, RankThreads


@pytest.fixture
def saved(tmp_path):
    """A checkpoint with 40 kB of weights."""
    weights = {"weight": torch.arange(10_000, dtype=torch.float32)}
    meta = {"step": 3, "class_names": ["a"], "size": 8, "quality": 95, "config": {}}
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    return save_checkpoint(folder, meta, weights, {"optimizer": {"lr": 0.5}})


@pytest.fixture
def ranks(tmp_path, monkeypatch):
    """`ranks(action)`: what `action(rank, accelerator)` returns or raises on each of four ranks of two hosts."""
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setattr(shared_checkpoint, "SHARED_MEMORY", str(shared))
    threads = RankThreads(monkeypatch, shared_checkpoint)

    def run(action):
        results = threads.run(lambda accelerator: action(accelerator.process_index, accelerator))
        assert not list(shared.iterdir()), "the copies are deleted"
        return results

    return run


def loading(saved, reads, monkeypatch):
    """Load on a rank; `reads` gets the rank for each read of a file of the checkpoint itself."""
    local = threading.local()
    own = {str(saved.path / name) for name in saved.meta["bytes"]}

    def watched(function):
        def call(path, *arguments, **settings):
            if str(path) in own:
                reads.append(local.rank)
            return function(path, *arguments, **settings)

        return call

    monkeypatch.setattr(checkpoints, "load_file", watched(checkpoints.load_file))
    monkeypatch.setattr(checkpoints, "sha256_of", watched(checkpoints.sha256_of))
    monkeypatch.setattr(checkpoints.torch, "load", watched(torch.load))
    monkeypatch.setattr(checkpoints, "open", watched(open), raising=False)

    def action(rank, accelerator):
        local.rank = rank
        with shared_checkpoint.shared_checkpoint(saved, accelerator, HOSTS) as opened:
            return opened.weights()["weight"].sum().item(), opened.trainer()["optimizer"], opened.step

    return action


def test_one_rank_of_each_host_reads_each_file_once(saved, ranks, monkeypatch):
    reads: list[int] = []
    results = ranks(loading(saved, reads, monkeypatch))
    assert results == [(sum(range(10_000)), {"lr": 0.5}, 3)] * WORLD
    assert sorted(reads) == [0, 0, 2, 2]


def test_without_room_every_rank_reads_for_itself(saved, ranks, monkeypatch):
    monkeypatch.setattr(shared_checkpoint.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    reads: list[int] = []
    results = ranks(loading(saved, reads, monkeypatch))
    assert results == [(sum(range(10_000)), {"lr": 0.5}, 3)] * WORLD
    assert sorted(set(reads)) == [0, 1, 2, 3]
    assert len(reads) == 4 * WORLD  # checked and loaded, two files


def test_a_damaged_checkpoint_is_an_error_on_every_rank(saved, ranks, monkeypatch):
    content = bytearray((saved.path / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (saved.path / "model.safetensors").write_bytes(content)
    results = ranks(loading(saved, [], monkeypatch))
    assert len(set(results)) == 1
    assert "is damaged: the content of model.safetensors does not match its checksum" in results[0]


def test_a_rank_alone_reads_the_checkpoint_itself(saved):
    alone = SimpleNamespace(num_processes=1)
    with shared_checkpoint.shared_checkpoint(saved, alone, ["here"]) as opened:
        assert opened is saved
    with shared_checkpoint.shared_checkpoint(None, alone, ["here"]) as opened:
        assert opened is None
