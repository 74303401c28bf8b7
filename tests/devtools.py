"""Chromium as a test drives it: keys, pixels, texts and the accessibility tree, by its DevTools protocol on a pipe."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-default-apps",
)  # fmt: skip
KEYS = {"Tab": 9, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowRight": 39, "ArrowDown": 40}


class Page:
    """One page of a running browser."""

    def __init__(self, write: int, read: int) -> None:
        self.write, self.read, self.session, self.count, self.rest = write, read, {}, 0, b""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Accessibility"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """What a method of the protocol returns; events that come before it go to ``events``."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": params, **self.session}
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.rest:
                self.rest += os.read(self.read, 1 << 20) or b'{"id": -1}\0'
            content, _, self.rest = self.rest.partition(b"\0")
            found = json.loads(content)
            if found.get("id") == self.count:
                assert "error" not in found, found
                return found["result"]
            assert found.get("id") != -1, "the browser has ended"
            self.events.append(found)

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript gives, as plain values; waited for if it is a promise."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def open(self, page: Path, ready: str) -> None:
        """Open a file, and wait until an expression is true."""
        self.call("Page.navigate", url=page.as_uri())
        until = time.monotonic() + 60
        while not self.value(f"document.readyState === 'complete' && {ready}"):
            assert time.monotonic() < until, f"never: {ready}"
            time.sleep(0.05)

    def press(self, key: str, times: int = 1) -> None:
        """Press and let go of a key."""
        named = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
        for _ in range(times):
            self.call("Input.dispatchKeyEvent", type="rawKeyDown", **named)
            self.call("Input.dispatchKeyEvent", type="keyUp", **named)

    def complaints(self) -> list[str]:
        """Errors that the page has logged, such as what its content policy refused."""
        logged = [each["params"].get("entry", {}) for each in self.events if each.get("method") == "Log.entryAdded"]
        thrown = [each["params"] for each in self.events if each.get("method") == "Runtime.exceptionThrown"]
        return [entry["text"] for entry in logged if entry["level"] == "error"] + list(map(str, thrown))


@contextmanager
def opened(folder: Path) -> Iterator[Page]:
    """A browser with a profile of its own in a folder; it ends with the block."""
    ours, theirs = os.pipe(), os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (ours[0], theirs[1])]  # out of the way of 3 and 4

    def as_three_and_four() -> None:
        os.dup2(high[0], 3)
        os.dup2(high[1], 4)

    command = [BROWSER, *QUIET, "--remote-debugging-pipe", f"--user-data-dir={folder / 'driven'}"]
    process = subprocess.Popen(
        command, preexec_fn=as_three_and_four, close_fds=False, env=os.environ | {"HOME": str(folder)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    for end in (*high, ours[0], theirs[1]):
        os.close(end)
    try:
        yield Page(ours[1], theirs[0])
    finally:
        process.terminate()
        process.wait()
        for end in (ours[1], theirs[0]):
            os.close(end)
