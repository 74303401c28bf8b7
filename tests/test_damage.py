"""Every kind of file that is read, damaged in eight ways: found each time, named, and mended by what the message says.

Two behaviours count. A file that only its owner can restore is *refused*: one sentence with the file and the repair,
exit code 2 on the command line. A file that reprolib made in passing (a checkpoint, a stored result) is *mended*: it
is set aside, named on stderr, and made again with the same content.
"""

from __future__ import annotations

import dataclasses
import functools
import gzip
import http.server
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import claims
import damage
import numpy as np
import pytest
import torch
from PIL import Image

from reprolib import __main__ as cli
from reprolib import params
from reprolib.mnist import cgn, digits, textures
from reprolib.mnist.cgn import CGN
from reprolib.report import build
from reprolib.run import assets, files, weights
from reprolib.run.store import Checkpoint, Result, Store
from reprolib.vocabulary import shipped_name


def _swap(file: Path, other: Path) -> None:
    mine, theirs = file.read_bytes(), other.read_bytes()
    assert mine != theirs
    file.write_bytes(theirs)
    other.write_bytes(mine)


def _flip(where: float, bit: int) -> Callable[[Path, Path], None]:
    return lambda file, other: damage.flip(file, where, bit)


DAMAGE: dict[str, Callable[[Path, Path], None]] = {
    "first byte": _flip(0.0, 0),
    "last byte": _flip(1.0, 7),
    "a third": _flip(1 / 3, 7),
    "half": _flip(0.5, 0),
    "somewhere": _flip(random.Random(0).random(), random.Random(1).randrange(8)),
    "cut short": lambda file, other: damage.cut(file),
    "emptied": lambda file, other: damage.empty(file),
    "swapped with its like": _swap,
}


@dataclass
class Kind:
    """A file, another of its kind, how the product reads it, and what its user does when told to."""

    file: Path
    other: Path
    read: Callable[[], Any]
    repair: str
    """What the sentence must tell, as a part of it."""
    mend: Callable[[], Any] | None = None
    """None: reprolib mends it by itself."""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder with small files of every published kind, and the address of a web server that offers it."""
    folder = tmp_path_factory.mktemp("origin")
    draw = np.random.default_rng(0)
    for asset in assets.ASSETS.values():
        file = folder / asset.name
        file.parent.mkdir(parents=True, exist_ok=True)
        if asset.group == "mnist":
            shape, header = ((20, 784), 16) if "images" in asset.name else ((20,), 8)
            content = bytes(header) + draw.integers(0, 10, shape, dtype=np.uint8).tobytes()
            file.write_bytes(gzip.compress(content))
        elif asset.group == "textures":
            Image.fromarray(draw.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(file)
        elif asset.group == "authors_cgn":
            torch.save(CGN().state_dict(), file)
    handler = functools.partial(_Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture
def published(origin: tuple[Path, str], cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that holds every file of the origin, under the hashes of the origin."""
    folder, address = origin
    table = [
        dataclasses.replace(
            asset, sha256=files.sha256_of(file), size=file.stat().st_size, url=address + asset.name, npm=None
        )
        for asset in assets.ASSETS.values()
        if (file := folder / asset.name).is_file()
    ]
    monkeypatch.setattr(assets, "ASSETS", {asset.name: asset for asset in table})
    shutil.copytree(folder, cache)
    textures.load.cache_clear()
    return cache


def _fetch(group: str) -> Callable[[], Any]:
    def run() -> None:
        textures.load.cache_clear()
        assets.fetch(group)

    return run


def _published(name: str, other: str, read: Callable[[], Any]) -> Callable[[pytest.FixtureRequest, Path], Kind]:
    def kind(request: pytest.FixtureRequest, folder: Path) -> Kind:
        cache = request.getfixturevalue("published")
        group = assets.ASSETS[name].group
        return Kind(cache / name, cache / other, read, f"reprolib fetch {group}", _fetch(group))

    return kind


WEIGHTS = [shipped_name(variant, "procedural") for variant in ("colored_MNIST", "double_colored_MNIST")]


def _shipped(*names: str) -> Callable[[pytest.FixtureRequest, Path], Kind]:
    def kind(request: pytest.FixtureRequest, folder: Path) -> Kind:
        copies = folder / "weights"
        shutil.copytree(weights.FOLDER, copies)
        file, other = [copies / name for name in names]

        def checkout() -> None:
            shutil.copytree(weights.FOLDER, copies, dirs_exist_ok=True)

        def read() -> Any:
            """All of them: a damaged hash is found by whoever reads its file."""
            tensors = [weights.read(each) for each in sorted(copies.glob("*.safetensors"))]
            return tensors, [weights.record(each) for each in sorted(copies.glob("*.json"))]

        return Kind(file, other, read, "git checkout -- reprolib/weights", checkout)

    return kind


def _checkpoint(request: pytest.FixtureRequest, folder: Path) -> Kind:
    runs = [Checkpoint(folder / f"{name}.checkpoint") for name in "ab"]
    for number, run in enumerate(runs):
        for done in (1, 2):  # the last two are kept
            run.save({"done": done, "run": number})

    def read() -> int:
        """Step 2 after whatever had to be made again."""
        state = runs[0].load() or {"done": 0, "run": 0}
        assert state["run"] == 0
        while state["done"] < 2:
            state["done"] += 1
            runs[0].save(state)
        return int(state["done"])

    return Kind(runs[0].file, runs[1].file, read, "made again")


def _stored(suffix: str) -> Callable[[pytest.FixtureRequest, Path], Kind]:
    def kind(request: pytest.FixtureRequest, folder: Path) -> Kind:
        store = Store(folder / "store")

        def get(seed: int) -> Any:
            make = lambda _: Result({"accuracy": 90.0 + seed}, {"weight": torch.full((9,), float(seed))})  # noqa: E731
            result = store.get("classifier", {"seed": seed}, make, with_tensors=True)
            return result.numbers, result.tensors["weight"].tolist()

        get(0), get(1)
        file, other = [store.file("classifier", {"seed": seed}).with_suffix(suffix) for seed in (0, 1)]
        return Kind(file, other, lambda: get(0), "made again")

    return kind


def _of_a_run(name: str, other: str) -> Callable[[pytest.FixtureRequest, Path], Kind]:
    def kind(request: pytest.FixtureRequest, folder: Path) -> Kind:
        run = folder / "run"
        claims.finish(run, params.load("smoke"))
        shutil.copytree(run, folder / "spare")

        def restore() -> None:
            shutil.copytree(folder / "spare", run, dirs_exist_ok=True)

        return Kind(run / name, run / other, lambda: build.render(run).read_text(), "again, or restore", restore)

    return kind


BOTH = "train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz"
KINDS: dict[str, Callable[[pytest.FixtureRequest, Path], Kind]] = {
    "MNIST file": _published(f"mnist/{BOTH[0]}", f"mnist/{BOTH[1]}", lambda: digits.load("mnist")),
    "texture": _published(
        "textures/object/0_striped_0001.jpg", "textures/object/1_striped_0091.jpg", lambda: textures.load("dtd")
    ),
    "published checkpoint": _published(
        "authors_cgn/colored_MNIST.pth",
        "authors_cgn/wildlife_MNIST.pth",
        lambda: cgn.authors_cgn("colored_MNIST"),
    ),
    "shipped weights": _shipped(*WEIGHTS),
    "record of shipped weights": _shipped("quality.json", "scenes.json"),
    "hashes of shipped weights": _shipped("SHA256SUMS", "quality.json"),
    "training checkpoint": _checkpoint,
    "stored numbers": _stored(".json"),
    "stored tensors": _stored(".safetensors"),
    "table of a report": _of_a_run("results/claim2_1.csv", "results/claim2_2.csv"),
    "data of a figure": _of_a_run("figures/training_quality.csv", "figures/good_digit_runs.csv"),
    "arrays of a figure": _of_a_run("figures/counterfactuals.npz", "figures/training_sheets.npz"),
    "figure": _of_a_run("figures/training_quality.png", "figures/counterfactuals.png"),
    "manifest of a claim": _of_a_run("results/claim1.json", "results/claim2.json"),
    "executed notebook": _of_a_run(
        "results/notebooks/claim1_quality.ipynb", "results/notebooks/claim2_robustness.ipynb"
    ),
    "hashes of the notebooks": _of_a_run("results/notebooks/SHA256SUMS", "results/claim1_1.csv"),
}


@pytest.mark.parametrize("harm", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_damage_is_found_named_and_mended(
    make: Callable[[pytest.FixtureRequest, Path], Kind],
    harm: Callable[[Path, Path], None],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kind = make(request, tmp_path)
    whole = kind.read()
    textures.load.cache_clear()
    harm(kind.file, kind.other)
    if kind.mend is None:
        assert kind.read() == whole
        said = capsys.readouterr().err.strip()
        assert kind.file.with_name(f"{kind.file.name}.corrupt").is_file()
    else:
        said = _refusal(kind.read, monkeypatch, capsys)
        kind.mend()
        assert _same(kind.read(), whole)
    assert "\n" not in said, "one sentence"
    assert kind.file.name in said or (harm is _swap and kind.other.name in said)
    assert kind.repair in said


def _refusal(read: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What the command line says when something that it runs reads the file."""
    monkeypatch.setattr(cli.render, "callback", lambda folder: read())
    monkeypatch.setattr("sys.argv", ["reprolib", "render", "."])
    assert cli.main() == 2
    return capsys.readouterr().err.strip()


def _same(one: Any, two: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, two)
    if isinstance(one, torch.nn.Module):
        return _same(one.state_dict(), two.state_dict())
    if isinstance(one, digits.Digits):
        return _same(one.images, two.images) and _same(one.labels, two.labels)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(_same(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return all(_same(*pair) for pair in zip(one, two, strict=True))
    return bool(one == two)
