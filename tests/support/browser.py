"""A headless Chromium that a test drives as a person would: it opens a page, chooses a file, clicks, reads.

It speaks the DevTools protocol over a pair of pipes (`--remote-debugging-pipe`), so that no port and no package is
needed. Every address that the page asks for is kept.
"""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe"),
    *("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"),  # a camera that shows a test picture
)


def chromium() -> str:
    """The path of a browser; the test is skipped where there is none."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no browser: install chromium to test pages in it")
    return path


class Browser:
    """One page of a browser of its own; use it as a context."""

    def __init__(self, profile: Path, width: int = 1280, height: int = 1600) -> None:
        self._profile, self._size = profile, (width, height)
        self._number, self._unread = 0, b""
        self.requests: list[str] = []
        self.errors: list[str] = []

    def __enter__(self) -> "Browser":
        child_reads, self._write = os.pipe()
        self._read, child_writes = os.pipe()
        shell = f'exec "$0" "$@" 3<&{child_reads} 4>&{child_writes}'
        flags = [*FLAGS, f"--user-data-dir={self._profile}", "--window-size={},{}".format(*self._size)]
        self._process = subprocess.Popen(
            ["bash", "-c", shell, chromium(), *flags],
            pass_fds=(child_reads, child_writes),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(child_reads)
        os.close(child_writes)
        self._session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "DOM", "Log"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *error: object) -> None:
        self._session = None
        with contextlib.suppress(OSError, EOFError, RuntimeError):
            self.call("Browser.close")
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        os.close(self._read)

    def call(self, method: str, timeout: float = 200, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result; events that come first are kept."""
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + timeout
        while True:
            answer = self._receive(end)
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def _receive(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._unread:
            if not select.select([self._read], [], [], max(end - time.monotonic(), 0))[0]:
                raise RuntimeError("the browser does not answer")
            part = os.read(self._read, 1 << 16)
            if not part:
                raise EOFError("the browser has ended")
            self._unread += part
        message, _, self._unread = self._unread.partition(b"\0")
        content = json.loads(message)
        about = content.get("params", {})
        if content.get("method") == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])
        elif content.get("method") == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(about["exceptionDetails"])[:500])
        return content

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression on the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        return result["result"].get("value")

    def text(self) -> str:
        return self.evaluate("document.body ? document.body.innerText : ''") or ""

    def wait_for(self, expression: str, seconds: float = 240) -> Any:
        """Wait until a JavaScript expression is true; return its value."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = self.evaluate(expression)
            if value:
                return value
            time.sleep(0.1)
        raise AssertionError(f"{expression} is still false; the page shows:\n{self.text()[:2000]}")

    def choose_file(self, selector: str, path: Path) -> None:
        """Choose a file in an <input type=file>, as a person does in the dialog."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        assert node, f"the page has no {selector}"
        self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def click(self, name: str) -> None:
        """Click the button of this name, in any case, as soon as the page has it."""
        button = (
            "[...document.querySelectorAll('button')]"
            f".find(b => (b.ariaLabel || b.innerText).trim().toLowerCase() === {json.dumps(name.lower())})"
        )
        self.wait_for(f"{button} !== undefined")
        self.evaluate(f"{button}.click()")

    def screenshot(self, path: Path) -> Path:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))
        return path
