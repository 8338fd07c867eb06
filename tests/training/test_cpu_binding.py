"""Ranks are bound to CPUs of their own, those near their GPU; machines are trees of files here."""

import os
from types import SimpleNamespace

import pytest

from job.training import cpu_binding
from job.training.cpu_binding import Place, as_text, bind_cpus, cpus_of, parse_cpus

ALL = tuple(range(16))
GPUS = ("0000:17:00.0", "0000:31:00.0", "0000:b1:00.0", "0000:ca:00.0")


@pytest.fixture
def two_sockets(tmp_path):
    """Two sockets with two GPUs and four cores each; CPU n and n + 8 are threads of one core."""
    for node, cpus in enumerate(("0-3,8-11", "4-7,12-15")):
        folder = tmp_path / f"devices/system/node/node{node}"
        folder.mkdir(parents=True)
        (folder / "cpulist").write_text(cpus + "\n")
        for gpu in GPUS[2 * node : 2 * node + 2]:
            (tmp_path / "bus/pci/devices" / gpu).mkdir(parents=True)
            (tmp_path / "bus/pci/devices" / gpu / "numa_node").write_text(f"{node}\n")
    for cpu in ALL:
        folder = tmp_path / f"devices/system/cpu/cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{cpu % 8},{cpu % 8 + 8}\n")
    return tmp_path


def shares(places, sysfs):
    return [cpus_of(places, rank, sysfs) for rank in range(len(places))]


def test_ranks_share_the_cores_of_their_gpu_s_socket(two_sockets):
    places = [Place("a", ALL, gpu) for gpu in GPUS]
    assert shares(places, two_sockets) == [(0, 1, 8, 9), (2, 3, 10, 11), (4, 5, 12, 13), (6, 7, 14, 15)]
    both_nodes = [Place(host, ALL, gpu) for host in "ab" for gpu in (GPUS[3], GPUS[0])]
    assert shares(both_nodes, two_sockets)[:2] == [(4, 5, 6, 7, 12, 13, 14, 15), (0, 1, 2, 3, 8, 9, 10, 11)]
    assert shares(both_nodes, two_sockets)[2:] == shares(both_nodes, two_sockets)[:2]


def test_ranks_on_the_cpu_have_equal_shares_of_whole_cores(two_sockets):
    assert shares([Place("a", ALL, None)] * 3, two_sockets) == [
        (0, 1, 8, 9),
        (2, 3, 4, 10, 11, 12),
        (5, 6, 7, 13, 14, 15),
    ]


def test_what_slurm_allows_is_kept(two_sockets):
    part = (2, 3, 4, 5, 10, 11, 12, 13)  # of both sockets
    assert shares([Place("a", part, GPUS[0]), Place("a", part, GPUS[2])], two_sockets) == [
        (2, 3, 10, 11),
        (4, 5, 12, 13),
    ]
    own = [Place("a", (0, 1, 8, 9), GPUS[0]), Place("a", (2, 3, 4, 5), GPUS[1])]  # a task for each rank
    assert shares(own, two_sockets) == [None, (2, 3)]  # 4 and 5 are of the other socket
    far = [Place("a", (4, 5), GPUS[0]), Place("a", (6, 7), GPUS[1])]
    assert shares(far, two_sockets) == [None, None]


def test_nothing_is_bound_without_a_reason(two_sockets):
    assert shares([Place("a", ALL, GPUS[0]), Place("b", ALL, GPUS[0])], two_sockets) == [None, None]
    assert shares([Place("a", (0, 1), None)] * 2, two_sockets) == [None, None]  # one CPU each
    unknown = [Place("a", ALL, "0000:ff:00.0")] * 2
    assert shares(unknown, two_sockets) == [(0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15)]
    (two_sockets / "bus/pci/devices" / GPUS[0] / "numa_node").write_text("-1\n")  # what a virtual machine says
    assert shares([Place("a", ALL, GPUS[0])] * 2, two_sockets) == shares(unknown, two_sockets)


def test_the_process_is_bound_and_says_so(two_sockets, monkeypatch, caplog):
    bound = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {*ALL})
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cpus: bound.append((pid, cpus)))
    monkeypatch.setattr(cpu_binding.socket, "gethostname", lambda: "a")
    places = [("a", ALL, GPUS[2]), ("a", ALL, GPUS[3])]
    monkeypatch.setattr(cpu_binding, "gather_object", lambda own: places[:1] + own)
    monkeypatch.setattr(cpu_binding, "pci_address", lambda index: GPUS[2 + index])
    device = SimpleNamespace(type="cuda", index=1)
    rank = SimpleNamespace(num_processes=2, process_index=1, device=device)
    with caplog.at_level("INFO", "job"):
        assert bind_cpus(rank, two_sockets) == (6, 7, 14, 15)
    assert bound == [(0, (6, 7, 14, 15))]
    assert "rank 1 uses the CPUs 6-7,14-15" in caplog.text
    assert bind_cpus(SimpleNamespace(num_processes=1, process_index=0, device=device), two_sockets) is None
    assert len(bound) == 1


def test_lists_of_cpus_are_read_and_written():
    assert parse_cpus("0-2,5,8-9\n") == (0, 1, 2, 5, 8, 9)
    assert parse_cpus("\n") == ()
    assert as_text(parse_cpus("0-2,5,8-9")) == "0-2,5,8-9"
