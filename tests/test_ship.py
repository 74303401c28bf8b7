"""Shipping: the first run of the stable recipe, whatever came out, with what was measured on it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reprolib import params, rules, ship, shipped
from reprolib.errors import ReproError
from reprolib.mnist.classifier import Classifier
from reprolib.mnist.study import Study
from reprolib.store import Result, Store

VARIANT = "colored_MNIST"


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A study whose CGNs train for two steps."""
    monkeypatch.setattr(ship, "QUALITY", tmp_path / "weights" / "quality.json")
    monkeypatch.setattr(Study, "weights_file", lambda self, variant: tmp_path / "weights" / f"{variant}.safetensors")
    cgn = {"sources": ["stable"], "seeds": 2, "stable_steps": 2, "quality_masks": 10, "accuracy_images": 200}
    chosen = {"profile": "smoke", "seeds": 2, "variants": [VARIANT], "digits": {"limit": 500}, "cgn": cgn}
    return Study(params.load(chosen), Store(tmp_path / "store"))


def test_the_first_run_is_shipped_and_what_was_measured_on_it_is_recorded(study: Study, tmp_path: Path) -> None:
    (line,) = ship.ship(study)
    assert line.startswith("Colored MNIST: seed 200 after 2 steps and ") and "0 good digits" in line
    file = tmp_path / "weights" / f"{VARIANT}.safetensors"
    state, first = shipped.read(file), study.cgn(VARIANT, "stable", rules.FIRST_SEED).state_dict()
    assert all(value.equal(first[name]) for name, value in state.items())
    record = shipped.record(tmp_path / "weights" / "quality.json")[file.name]
    assert (record["seed"], record["steps"], record["inputs"]["recipe"]) == (200, 2, "stable")
    masks = study.quality(VARIANT, "stable", rules.FIRST_SEED)
    assert record["measured"]["recognised"] == masks["recognised"]
    assert set(record["measured"]) == {"good_digits", "recognised", "pairwise_iou", "accuracy", "seconds"}


def test_shipping_again_changes_nothing(study: Study, tmp_path: Path) -> None:
    assert ship.ship(study) == ship.ship(study)
    assert list(json.loads((tmp_path / "weights" / "quality.json").read_text())) == [f"{VARIANT}.safetensors"]


def test_a_study_that_trains_nothing_has_nothing_to_ship(study: Study) -> None:
    with pytest.raises(ReproError, match="nothing to ship; add it to the profile"):
        ship.ship(Study(params.load("smoke"), study.store))


def test_readers_of_factors_are_shipped_with_their_accuracy_and_trained_where_they_are_not(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Classifier()
    trained: list[tuple[str, str]] = []

    def train(self: Study, variant: str, factor: str) -> Result:
        trained.append((variant, factor))
        return Result({"history": [{"test": 1.0}, {"test": 97.0}]}, dict(reader.state_dict()))

    monkeypatch.setattr(shipped, "WEIGHTS", tmp_path)
    monkeypatch.setattr(ship, "WEIGHTS", tmp_path)
    monkeypatch.setattr(Study, "trained_factor_reader", train)
    assert study.factor_reader(VARIANT, "shape")[1] == 97.0 and len(trained) == 1
    lines = ship.ship_factor_readers(study)
    assert lines[0] == "reader of shape, Colored MNIST: 97.0 % on held-out images" and len(lines) == 2
    read, accuracy = study.factor_reader(VARIANT, "shape")
    assert len(trained) == 3 and accuracy == 97.0
    assert all(value.equal(reader.state_dict()[name]) for name, value in read.state_dict().items())
