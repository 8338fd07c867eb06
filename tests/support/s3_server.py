"""A real S3 server (moto's) in this process, which can be told to fail."""

import os
import threading
from collections.abc import Callable, Iterator

import pytest

from job.system import object_store
from job.system.object_store import ObjectStore

SECRET = "a-secret-of-the-object-store"
Fault = Callable[[dict], str | None]  # of a request's WSGI environment: "error", "held", "cut", "wrong" or None
HELD_SECONDS = 300  # at most: nobody may be left to release the answers


class S3Server:
    """A server of one bucket.

    Attributes:
        bucket: its address; the bucket is empty at first.
        requests: method and path of each request.
        fault: it is asked at every request.
        released: answers with the fault "held" wait for it.
    """

    def __init__(self) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Silent(WSGIRequestHandler):
            def log(self, *_) -> None:
                pass

        self._app = DomainDispatcherApplication(create_backend_app)
        self.fault: Fault = lambda environ: None
        self.requests: list[str] = []
        self.released = threading.Event()
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=Silent)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.bucket = f"s3://bucket-{self._server.server_port}"  # servers of one process share their content

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: dict, start_response: Callable) -> Iterator[bytes]:
        self.requests.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        fault = self.fault(environ)
        if fault == "error":
            start_response("500 Internal Server Error", [("Content-Type", "application/xml")])
            yield b"<Error><Code>InternalError</Code><Message>out of order</Message></Error>"
            return
        if fault == "held":
            self.released.wait(HELD_SECONDS)
        body = b"".join(self._app(environ, start_response))
        if fault == "wrong":
            body = bytes([body[0] ^ 1]) + body[1:]
        if fault == "cut":
            yield body[: len(body) // 2]
            environ["werkzeug.socket"].shutdown(2)
        yield body


@pytest.fixture(scope="module")
def s3_server():
    """The server, and its address and credentials in the environment, as users have them."""
    pytest.importorskip("s3fs")
    pytest.importorskip("moto")
    server = S3Server()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("AWS_", "FSSPEC_"))]:
            patch.delenv(name)
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIATESTTESTTESTTEST")
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_MAX_ATTEMPTS", "2")
        patch.setenv("AWS_ENDPOINT_URL", server.url)
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        patch.setenv("no_proxy", "*")
        object_store._open_library.cache_clear()
        object_store._open_library("s3", os.getpid()).mkdir(server.bucket.removeprefix("s3://"))
        yield server
        object_store._open_library.cache_clear()
    server.close()


@pytest.fixture
def s3(s3_server) -> Iterator[S3Server]:
    """The server, without faults and without a record of earlier requests."""
    s3_server.requests.clear()
    s3_server.released.clear()
    yield s3_server
    s3_server.fault = lambda environ: None
    s3_server.released.set()


def failing(method: str, end: str, fault: str, times: int = 10**9) -> Fault:
    """A fault of the first requests with this method and this end of the path."""
    left = [times]

    def answer(environ: dict) -> str | None:
        if left[0] and environ["REQUEST_METHOD"] == method and environ["PATH_INFO"].endswith(end):
            left[0] -= 1
            return fault
        return None

    return answer


def put_folder(folder, address: str) -> None:
    """Copy a folder to a store."""
    store = ObjectStore(address)
    for path in folder.rglob("*"):
        if path.is_file():
            store.upload(path, path.relative_to(folder).as_posix())
