"""Shipping: the best run wins, an earlier one too, and the worse ones stay in the record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reprolib import params, ship
from reprolib.errors import ReproError
from reprolib.files import sha256_of
from reprolib.mnist.study import Study
from reprolib.store import Store

VARIANT = "colored_MNIST"


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """Two seeds of a two-step CGN; their measured quality is replaced by what a test says."""
    monkeypatch.setattr(ship, "QUALITY", tmp_path / "weights" / "quality.json")
    monkeypatch.setattr(Study, "weights_file", lambda self, variant: tmp_path / "weights" / f"{variant}.safetensors")
    cgn = {"sources": ["trained"], "seeds": 2, "steps": 2}
    chosen = params.load({"profile": "smoke", "variants": [VARIANT], "digits": {"limit": 500}, "cgn": cgn})
    return Study(chosen, Store(tmp_path / "store"))


def _measured(monkeypatch: pytest.MonkeyPatch, good: list[int]) -> None:
    def quality(self: Study, variant: str, seed: int) -> dict[str, Any]:
        first = {"good_digits": 10, "recognised": [1.0] * 10}  # an earlier snapshot does not count
        return {"1": first, "2": {"good_digits": good[seed - 100], "recognised": [0.1 * (seed - 100)] * 10}}

    monkeypatch.setattr(Study, "training_quality", quality)


def _record(tmp_path: Path) -> dict[str, Any]:
    entry: dict[str, Any] = json.loads((tmp_path / "weights" / "quality.json").read_text())[f"{VARIANT}.safetensors"]
    return entry


def test_the_best_run_is_shipped_and_the_others_are_recorded(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _measured(monkeypatch, [3, 3])  # equal: the higher share of recognised masks decides
    assert ship.ship(study) == ["Colored MNIST: seed 101 after 2 steps, 3 good digits, is the best of 2 runs"]
    entry, file = _record(tmp_path), tmp_path / "weights" / f"{VARIANT}.safetensors"
    assert entry["runs"][entry["shipped"]]["seed"] == 101 and len(entry["runs"]) == 2
    folder = file.parent
    lines = [f"{sha256_of(each)}  {each.name}\n" for each in (file, folder / "quality.json")]
    assert (folder / "SHA256SUMS").read_text() == "".join(lines)


def test_shipping_again_counts_no_run_twice(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _measured(monkeypatch, [3, 3])
    assert ship.ship(study) == ship.ship(study)
    assert len(_record(tmp_path)["runs"]) == 2


def test_an_earlier_run_that_was_better_stays(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _measured(monkeypatch, [5, 4])
    ship.ship(study)
    file = tmp_path / "weights" / f"{VARIANT}.safetensors"
    before = file.read_bytes()
    steps = study.params.cgn.model_copy(update={"steps": 3})
    longer = Study(study.params.model_copy(update={"cgn": steps}), study.store)

    def worse(self: Study, variant: str, seed: int) -> dict[str, Any]:
        return {"3": {"good_digits": 1, "recognised": [0.0] * 10}}

    monkeypatch.setattr(Study, "training_quality", worse)
    assert ship.ship(longer) == ["Colored MNIST: seed 100 after 2 steps, 5 good digits, is the best of 4 runs"]
    assert file.read_bytes() == before and len(_record(tmp_path)["runs"]) == 4


def test_a_study_that_trains_nothing_has_nothing_to_ship(study: Study) -> None:
    shipped = Study(params.load("smoke"), study.store)
    with pytest.raises(ReproError, match="nothing to ship; add it to the profile"):
        ship.ship(shipped)
