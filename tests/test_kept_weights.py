"""Shipping: the first run of the stable recipe, whatever came out, with what was measured on it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reprolib import params
from reprolib.mnist import recipe
from reprolib.mnist.study import Study
from reprolib.run import rules, weights
from reprolib.run.errors import ReproError
from reprolib.run.store import Store

VARIANT = "colored_MNIST"


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A study whose CGNs train for two steps."""
    monkeypatch.setattr(recipe, "QUALITY", tmp_path / "weights" / "quality.json")
    monkeypatch.setattr(Study, "weights_file", lambda self, variant: tmp_path / "weights" / f"{variant}.safetensors")
    cgn = {"sources": ["stable"], "seeds": 2, "stable_steps": 2, "quality_masks": 10, "accuracy_images": 200}
    chosen = {"profile": "smoke", "seeds": 2, "variants": [VARIANT], "digits": {"limit": 500}, "cgn": cgn}
    return Study(params.load(chosen), Store(tmp_path / "store"))


def test_the_first_run_is_shipped_and_what_was_measured_on_it_is_recorded(study: Study, tmp_path: Path) -> None:
    (line,) = recipe.keep_cgns(study)
    assert line.startswith("Colored MNIST: seed 200 after 2 steps and ") and "0 good digits" in line
    file = tmp_path / "weights" / f"{VARIANT}.safetensors"
    state, first = weights.read(file), study.cgn(VARIANT, "stable", rules.FIRST_SEED).state_dict()
    assert all(value.equal(first[name]) for name, value in state.items())
    record = weights.record(tmp_path / "weights" / "quality.json")[file.name]
    assert (record["seed"], record["steps"], record["inputs"]["recipe"]) == (200, 2, "stable")
    masks = study.quality(VARIANT, "stable", rules.FIRST_SEED)
    assert record["measured"]["recognised"] == masks["recognised"]
    assert set(record["measured"]) == {"good_digits", "recognised", "pairwise_iou", "accuracy", "seconds"}


def test_shipping_again_changes_nothing(study: Study, tmp_path: Path) -> None:
    assert recipe.keep_cgns(study) == recipe.keep_cgns(study)
    assert list(json.loads((tmp_path / "weights" / "quality.json").read_text())) == [f"{VARIANT}.safetensors"]


def test_a_study_that_trains_nothing_has_nothing_to_ship(study: Study) -> None:
    with pytest.raises(ReproError, match="nothing to keep; add it to the profile"):
        recipe.keep_cgns(Study(params.load("smoke"), study.store))
