"""The page on a reader's machine: it opens from disk in Chromium, prints, and asks nobody for anything."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import claims
import devtools
import numpy as np
import pytest
from devtools import BROWSER, QUIET

from reprolib import params
from reprolib.mnist import explorer
from reprolib.report import build

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")


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
    claims.finish(folder, params.load("smoke"), explorer=EXPLORED)
    build.render(folder)
    pdf, asked = _opened(folder / "report.html", tmp_path)
    assert pdf.startswith(b"%PDF") and pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") > 2
    assert {address for address in asked if not address.startswith(("file:", "data:", "blob:"))} == set()


EXPLORED = claims.explored(sources=2)
CHOICES = ("cgn", "shape", "texture", "background", "latent")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[devtools.Page]:
    """A report with an explorer, open in a browser."""
    folder = tmp_path_factory.mktemp("explored")
    claims.finish(folder, params.load("smoke"), explorer=EXPLORED)
    build.render(folder)
    with devtools.opened(folder) as page:
        page.open(folder / "report.html", "!document.getElementById('explore').hidden")
        yield page


def _chosen(page: devtools.Page) -> list[int]:
    index = "document.getElementById('cgn').selectedIndex"
    values = [f"+document.getElementById('{name}').value" for name in CHOICES[1:]]
    found: list[int] = page.value(f"[{', '.join([index, *values])}]")
    return found


def _choose(page: devtools.Page, **wanted: int) -> None:
    """By keyboard: Tab to each control, then keys that move it."""
    page.value("document.activeElement.blur()")
    for name, value in wanted.items():
        for _ in range(100):
            if page.value("document.activeElement.id") == name:
                break
            page.press("Tab")
        assert page.value("getComputedStyle(document.activeElement).outlineStyle") == "solid", "the focus is visible"
        page.press("Home")
        page.press("ArrowDown" if name == "cgn" else "ArrowRight", value - (name == "latent"))
    found = dict(zip(CHOICES, _chosen(page), strict=True))
    assert wanted == {name: found[name] for name in wanted}


def _pixels(page: devtools.Page, canvas: str) -> np.ndarray:
    found = page.value(f"[...document.getElementById('{canvas}').getContext('2d').getImageData(0, 0, 32, 32).data]")
    pixels = np.array(found, np.uint8).reshape(32, 32, 4)
    assert (pixels[..., 3] == 255).all()
    return pixels[..., :3]


@pytest.mark.parametrize(
    "wanted",
    [{}, {"shape": 9, "texture": 0, "background": 9}, {"cgn": 1, "shape": 4, "latent": 2}, {"cgn": 0, "texture": 4},
     {"cgn": 1, "shape": 5, "texture": 5, "background": 5, "latent": 1}],
)  # fmt: skip
def test_what_is_chosen_by_keyboard_is_shown_and_said(page: devtools.Page, wanted: dict[str, int]) -> None:
    _choose(page, **wanted)
    cgn, *labels, latent = _chosen(page)
    found = list(explorer.by_cgn(EXPLORED).values())[cgn]
    parts = [found[name][latent - 1, label] for name, label in zip(explorer.NAMES[:3], labels, strict=True)]
    for canvas, part in zip("mfb", parts, strict=True):
        assert (_pixels(page, canvas) == (part if part.ndim == 3 else part[..., None])).all()
    m = parts[0][..., None] / 255
    assert np.abs(_pixels(page, "x") - (m * parts[1] + (1 - m) * parts[2])).max() <= 0.5 + 1e-6
    assert (_pixels(page, "x") == explorer.composed(*parts)).all(), "what the classifiers saw"
    seen, *said = page.value("document.getElementById('said').innerText").split("\n\n")
    assert seen == "The shape of a {}, the texture of a {}, the background of a {}.".format(*labels)
    for number, (name, told) in enumerate(zip(explorer.READERS, said, strict=True)):
        digit, confidence = (found[each][number, latent - 1, *labels] for each in explorer.NAMES[3:])
        own = " and the ".join(each for each, label in zip(CHOICES[1:4], labels, strict=True) if label == digit)
        whose = f"the label of the {own}" if own else "none of the three labels"
        assert told == f"The classifier trained on {name} says {digit} with {confidence} % confidence: {whose}."


def test_every_control_has_a_name_and_the_answer_is_a_live_region(page: devtools.Page) -> None:
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    named = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]
    assert [name for role, name in named if role in ("combobox", "slider")] == [
        "data set and CGN", "label of the shape", "label of the texture", "label of the background", "latent",
    ]  # fmt: skip
    (status,) = [node for node in nodes if node["role"]["value"] == "status"]
    assert {each["name"]: each["value"]["value"] for each in status["properties"]}["live"] == "polite"


def test_the_policy_of_the_page_lets_nothing_else_run(page: devtools.Page) -> None:
    assert page.complaints() == []
    page.value("document.body.append(Object.assign(document.createElement('script'), {text: 'window.ran = 1'}))")
    page.value("document.body.insertAdjacentHTML('beforeend', '<p id=odd style=\"color: red\" onclick=\"ran = 1\">')")
    page.value("document.getElementById('odd').click()")
    page.value("fetch('data:text/plain,x').then(() => { window.ran = 1 }, () => 0)")
    assert page.value(
        "window.ran === undefined && getComputedStyle(document.getElementById('odd')).color !== 'rgb(255, 0, 0)'"
    )
    assert sum("Content Security Policy" in each for each in page.complaints()) >= 4


SHOWN = "['explore', 'explorer'].map((id) => document.getElementById(id).getClientRects().length > 0)"


def test_paper_has_the_picture_in_place_of_the_explorer(page: devtools.Page) -> None:
    assert page.value(SHOWN) == [True, False]
    page.call("Emulation.setEmulatedMedia", media="print")
    assert page.value(SHOWN) == [False, True]
    page.call("Emulation.setEmulatedMedia", media="")


def test_without_scripts_the_picture_stays(page: devtools.Page) -> None:
    file = Path(page.value("decodeURI(location.pathname)"))
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    page.open(file, "true")
    assert page.value(SHOWN) == [False, True]
    page.call("Emulation.setScriptExecutionDisabled", value=False)
    page.open(file, "!document.getElementById('explore').hidden")


def test_the_explorer_fits_a_phone(page: devtools.Page) -> None:
    page.call("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=2, mobile=True)
    inside = "[...document.querySelectorAll('#explore *')].every((each) => each.getBoundingClientRect().right <= 390)"
    assert page.value(inside) and page.value("document.documentElement.scrollWidth") == 390
    page.call("Emulation.clearDeviceMetricsOverride")


def test_a_report_without_an_explorer_has_no_script(tmp_path: Path) -> None:
    claims.finish(tmp_path, params.load("smoke"))
    build.render(tmp_path)
    html = (tmp_path / "report.html").read_text()
    assert "script-src 'none'" in html and "<script" not in html and 'id="explore"' not in html
