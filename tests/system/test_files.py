"""Only regular files are opened."""

import os
import socket

import pytest

from job.system.files import open_regular, read_regular, sha256_of


def test_a_regular_file_is_read(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        assert read_regular(tmp_path / name) == b"content"
        assert read_regular(tmp_path / name, most=7) == b"content"
        with open_regular(tmp_path / name) as file:
            assert os.get_inheritable(file.fileno()) is False
    with pytest.raises(OSError, match="larger than 6 bytes"):
        read_regular(tmp_path / "file", most=6)


@pytest.mark.parametrize("kind", ["FIFO", "folder", "socket", "device"])
def test_other_kinds_are_refused_at_once(tmp_path, kind):
    """Opening a FIFO waits for a writer; reading a device such as /dev/zero never ends."""
    path = tmp_path / "it"
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
    else:
        path.symlink_to("/dev/zero")
    for read in (open_regular, read_regular, sha256_of):
        with pytest.raises(OSError, match=f"it is a {kind}, not a file") as caught:
            read(path)
        assert caught.value.filename == str(path)


def test_a_missing_file_raises_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "gone")
