"""Shipping: the first run of the stable recipe, whatever came out, with what was measured on it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reprolib import params
from reprolib.mnist import experiments, plan, recipe
from reprolib.mnist.choices import Data
from reprolib.run import ReproError, rules, store, weights
from reprolib.run.store import Store
from reprolib.run.weights import Shipped
from reprolib.schema import Params

VARIANT = "colored_MNIST"


@pytest.fixture
def chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """Parameters whose CGNs train for two steps."""
    monkeypatch.setattr(recipe, "QUALITY", tmp_path / "weights" / "quality.json")
    monkeypatch.setattr(
        Data, "shipped", property(lambda self: Shipped(f"{tmp_path}/weights/{self.variant}.safetensors"))
    )
    store.use(Store(tmp_path / "store"))
    cgn = {"sources": ["stable"], "seeds": 2, "stable_steps": 2, "quality_masks": 10, "accuracy_images": 200}
    given = {"profile": "smoke", "seeds": 2, "variants": [VARIANT], "digits": {"limit": 500}, "cgn": cgn}
    return params.load(given)


def test_the_first_run_is_shipped_and_what_was_measured_on_it_is_recorded(chosen: Params, tmp_path: Path) -> None:
    (line,) = recipe.keep_cgns(chosen)
    assert line.startswith("Colored MNIST: seed 200 after 2 steps and ") and "0 good digits" in line
    file = tmp_path / "weights" / f"{VARIANT}.safetensors"
    state, first = weights.read(file), experiments.load(plan.deciding_cgn(chosen, VARIANT)).state_dict()
    assert all(value.equal(first[name]) for name, value in state.items())
    record = weights.record(tmp_path / "weights" / "quality.json")[file.name]
    assert (record["seed"], record["steps"], record["inputs"]["recipe"]) == (200, 2, "stable")
    masks = plan.quality(chosen, VARIANT, "stable", rules.FIRST_SEED).result().numbers
    assert record["measured"]["recognised"] == masks["recognised"]
    assert set(record["measured"]) == {"good_digits", "recognised", "pairwise_iou", "accuracy", "seconds"}


def test_shipping_again_changes_nothing(chosen: Params, tmp_path: Path) -> None:
    assert recipe.keep_cgns(chosen) == recipe.keep_cgns(chosen)
    assert list(json.loads((tmp_path / "weights" / "quality.json").read_text())) == [f"{VARIANT}.safetensors"]


def test_a_run_that_trains_nothing_has_nothing_to_ship() -> None:
    with pytest.raises(ReproError, match="nothing to keep; add it to the profile"):
        recipe.keep_cgns(params.load("smoke"))
