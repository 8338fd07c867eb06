"""Reading from a server that is silent, slow, endless, broken or gone fails soon and says why."""

import contextlib
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import psutil
import pytest

from job.shards import manifest as manifests
from job.shards import remote
from job.shards.manifest import load_manifest
from job.shards.reading import shard_cache
from job.shards.reading.shard_cache import ShardStore
from job.shards.remote import read_remote, url_of
from job.system import transfer
from job.system.errors import JobError
from job.system.transfer import RemoteError
from tests.support.waiting import eventually


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Repeat what fails at once, and wait for what is only slow."""
    monkeypatch.setattr(remote, "PERIOD_SECONDS", 240)
    monkeypatch.setattr(transfer, "RETRY_SECONDS", 0.0)


@pytest.fixture
def impatient(patience, monkeypatch):
    monkeypatch.setattr(remote, "PERIOD_SECONDS", 0.5)


def send(handler, pieces):
    """Answer with pieces until all are sent or the client closes the connection."""
    handler.send_response(200)
    handler.end_headers()
    with contextlib.suppress(OSError):
        for piece in pieces:
            handler.wfile.write(piece)
            handler.wfile.flush()


def drip():
    while True:
        yield b"x"
        time.sleep(0.05)


def pour():
    while True:
        yield bytes(1 << 16)


@pytest.fixture
def server():
    """`server(answer)`: the URL of a server that answers every request by `answer(handler)`."""
    servers = []

    def start(answer):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                answer(self)

            def log_message(self, *_):
                pass

        one = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        one.daemon_threads = True
        threading.Thread(target=one.serve_forever, daemon=True).start()
        servers.append(one)
        return f"http://127.0.0.1:{one.server_port}"

    yield start
    for one in servers:
        one.shutdown()
        one.socket.close()


@pytest.fixture(autouse=True)
def _no_program_is_left():
    yield
    eventually(lambda: not programs())


def programs() -> list[list[str]]:
    """The command lines of programs that this process has started to read with."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if child.name() in ("curl", "sleep", "sh", "cat"):
                found.append(child.cmdline())
    return found


@pytest.fixture
def silent():
    """The URL of a server that accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.usefixtures("impatient")
def test_a_silent_server_is_an_error_in_time(silent):
    with pytest.raises(JobError, match=r"cannot read http://.*it stalled: 0 bytes came in \d+ s, at least 65536 are"):
        load_manifest(silent)


@pytest.mark.usefixtures("impatient")
def test_a_server_that_drips_is_given_up(server):
    with pytest.raises(JobError, match=r"it stalled: \d+ bytes came in \d+ s"):
        load_manifest(server(lambda handler: send(handler, drip())))


def test_an_endless_manifest_is_given_up(server, monkeypatch):
    monkeypatch.setattr(manifests, "MOST_BYTES", 1 << 20)
    with pytest.raises(JobError, match="it is larger than the 1048576 bytes that were expected"):
        load_manifest(server(lambda handler: send(handler, pour())))


@pytest.mark.parametrize("answer", [pour, drip])
def test_a_shard_that_arrives_too_slowly_is_an_error(made, server, tmp_path, answer, request):
    """A body of 262 MB for 0.1 MB; a byte now and then."""
    if answer is drip:
        request.getfixturevalue("impatient")
    info = load_manifest(made).shards("source", "val")[0]
    store = ShardStore(server(lambda handler: send(handler, answer())), tmp_path / "cache", attempts=2)
    says = rf"larger than the {info.bytes} bytes" if answer is pour else "it stalled"
    with pytest.raises(JobError, match=rf"cannot fetch .*{info.path} \(.*{says}.*; 2 attempts\)"):
        store.open(info)
    assert list((tmp_path / "cache").iterdir()) == []
    store.close()


def test_closing_does_not_wait_for_a_silent_server(made, silent, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "PERIOD_SECONDS", 1000)
    store = ShardStore(silent, tmp_path / "cache")
    store.prefetch([load_manifest(made).shards("source", "val")[0]])
    (future,) = store._fetching.values()
    eventually(programs)
    store.close()
    with pytest.raises(JobError, match="the reader was closed"):
        future.result(timeout=120)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("http://127.0.0.1:1", "no connection to the host"),
        ("pipe:exit 7 #", "the command ended with exit code 7"),
        ("nonsense://somewhere", "no gopen handler defined"),
    ],
)
def test_the_reason_is_reported_in_words(address, says, monkeypatch):
    monkeypatch.delenv("http_proxy", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(JobError, match=says) as caught:
        load_manifest(address, allow_pipe=True)
    assert "\n" not in str(caught.value)


def test_an_error_of_the_server_is_reported_in_words(server):
    with pytest.raises(JobError, match="the server answered with an error"):
        load_manifest(server(lambda handler: handler.send_error(404)))


def test_a_silent_command_is_killed_with_what_it_has_started(monkeypatch):
    """A shell waits for its own child, which would outlive it and hold the pipe open."""
    sleep = ["sleep", f"1000.{os.getpid()}"]
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(list, read_remote(f"pipe:{' '.join(sleep)}; true ", 100))
        eventually(lambda: sleep in programs())
        monkeypatch.setattr(remote, "PERIOD_SECONDS", 0.0)
        with pytest.raises(RemoteError, match="it stalled"):
            reading.result(timeout=120)
    eventually(lambda: sleep not in [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])])


def test_a_command_that_takes_its_time_is_waited_for():
    assert b"".join(read_remote("pipe:sleep 0.5; echo whole ", 100)) == b"whole\n"


def test_time_that_the_reader_takes_does_not_count(server, monkeypatch):
    """A slow disk below the cache is no slow server."""
    taken = [0.0]
    monkeypatch.setattr(remote, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + taken[0]))
    pieces = read_remote(server(lambda handler: send(handler, [bytes(1000)] * 40)), 1 << 20)
    total = 0
    for piece in pieces:
        total += len(piece)
        taken[0] += 1000
    assert total == 40_000


def test_a_fifo_behind_a_file_url_is_refused(tmp_path):
    os.mkfifo(tmp_path / "manifest.json")
    with pytest.raises(JobError, match="it is a FIFO, not a file"):
        load_manifest(tmp_path.as_uri())


def test_a_full_disk_is_not_called_a_wrong_address(shards, tmp_path, monkeypatch):
    info = load_manifest(shards).shards("source", "val")[0]
    store = ShardStore(shards.as_uri(), tmp_path / "cache")
    partial = tmp_path / "cache" / "partial-x"

    def full(**_):
        return os.open("/dev/full", os.O_WRONLY), str(partial)

    monkeypatch.setattr(shard_cache.tempfile, "mkstemp", full)
    with pytest.raises(JobError, match=r"cannot write to the cache .*cache \(No space left on device\): make room"):
        store.open(info)


def test_addresses_are_printed_without_their_secrets(monkeypatch, tmp_path, made):
    monkeypatch.setenv("STORE_TOKEN", "topsecretvalue123")
    base = "pipe:false topsecretvalue123 "
    with pytest.raises(JobError, match="cannot read pipe:false") as caught:
        load_manifest(base, allow_pipe=True)
    assert "topsecret" not in str(caught.value)
    with pytest.raises(JobError, match="would run a shell command") as caught:
        load_manifest(base)
    assert "topsecret" not in str(caught.value)
    store = ShardStore(base, tmp_path, allow_pipe=True, attempts=1)
    with pytest.raises(JobError, match="cannot fetch pipe:false") as caught:
        store.open(load_manifest(made).shards("source", "val")[0])
    assert "topsecret" not in str(caught.value)


def test_names_of_a_manifest_are_not_given_to_the_shell(shards, tmp_path):
    """Whoever may write the manifest may not run commands for that."""
    content = (shards / "manifest.json").read_text()
    path = load_manifest(shards).shards("source", "val")[0].path
    (shards / "manifest.json").write_text(content.replace(path, f"x.tar;touch {tmp_path}/ran;.tar".replace("/", "_")))
    for name in ("x.tar;touch ran", "$(touch ran)", "a b.tar", "`touch ran`", "a|b", "a\n"):
        with pytest.raises(JobError, match="not safe in a shell command"):
            url_of("pipe:cat /shards", name)
    with pytest.raises(JobError, match="not safe in a shell command"):
        load_manifest(f"pipe:cat {shards}", allow_pipe=True)
    assert url_of("pipe:cat /shards", "a-b/c_d=e.1.tar") == "pipe:cat /shards/a-b/c_d=e.1.tar"


def test_names_are_quoted_in_addresses(shards, tmp_path):
    odd = "a folder/100% #1?.tar"
    info = load_manifest(shards).shards("source", "val")[0]
    (shards / "a folder").mkdir()
    (shards / info.path).rename(shards / odd)
    store = ShardStore(shards.as_uri(), tmp_path / "cache")
    assert store.open(info.model_copy(update={"path": odd})).stat().st_size == info.bytes
