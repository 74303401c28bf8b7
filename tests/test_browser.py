"""The page on a reader's machine: it opens from disk in Chromium, prints, and asks nobody for anything."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import claims
import pytest

from reprolib import params
from reprolib.report import build

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-default-apps",
)  # fmt: skip


def _opened(page: Path, folder: Path) -> tuple[bytes, set[str]]:
    """(the page as PDF, the addresses that the page asked for, by the log of the browser).

    What the browser asks for on its own, such as its updates, has no page as its initiator.
    """
    log, pdf = folder / "net.json", folder / "page.pdf"
    said = (f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", f"--print-to-pdf={pdf}")
    subprocess.run(
        [BROWSER, *QUIET, *said, page.as_uri()], check=True, capture_output=True, timeout=120,
        env=os.environ | {"HOME": str(folder)},
    )  # fmt: skip
    params = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    return pdf.read_bytes(), {
        each["url"] for each in params if each.get("initiator", "not an origin") != "not an origin"
    }


def test_the_log_of_the_browser_shows_a_request(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text('<img src="http://127.0.0.1:9/picture.png"><script src="https://localhost:9/code.js"></script>')
    assert _opened(page, tmp_path)[1] == {"http://127.0.0.1:9/picture.png", "https://localhost:9/code.js"}


def test_the_page_opens_from_disk_prints_and_asks_nobody(tmp_path: Path) -> None:
    folder = tmp_path / "a report"
    claims.finish(folder, params.load("smoke"))
    build.render(folder)
    pdf, asked = _opened(folder / "report.html", tmp_path)
    assert pdf.startswith(b"%PDF") and pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") > 2
    assert {address for address in asked if not address.startswith(("file:", "data:", "blob:"))} == set()
