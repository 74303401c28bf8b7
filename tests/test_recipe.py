"""The tables about the recipes: one row per CGN, and one study per ingredient that is left out."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from reprolib import params
from reprolib.mnist import recipe, tables
from reprolib.mnist.study import Study
from reprolib.run.store import Result, Store
from reprolib.vocabulary import INGREDIENTS

SMALL = {
    "profile": "smoke", "seeds": 2, "n_jobs": 1,
    "variants": ["colored_MNIST", "wildlife_MNIST"], "cgn": {"sources": ["stable", "shipped"], "seeds": 2},
}  # fmt: skip


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A study whose measures are made up: good digits count the ingredients, accuracy tells the seed."""

    def trained(self: Study, variant: str, recipe: str, seed: int, steps: int | None = None) -> Result:
        return Result({"snapshots": [1, 3000]}, {}, {"seconds": 7.0 + seed})

    def quality(study: Study) -> pd.DataFrame:
        good = len(INGREDIENTS) - len(study.params.cgn.without)
        measured = {"good_digits": good, "pairwise_iou": 0.3456, "recognised": 0.9123}
        cgns = [(v, source, seed) for v in study.params.variants for source, seed in tables._cgns(study)]
        return pd.DataFrame([{"variant": v, "source": s, "seed": n} | measured for v, s, n in cgns])

    def accuracy(study: Study) -> pd.DataFrame:
        return quality(study).assign(accuracy=lambda rows: rows["seed"] - 50.0)

    monkeypatch.setattr(Study, "trained_cgn", trained)
    monkeypatch.setattr(tables, "quality_runs", quality)
    monkeypatch.setattr(tables, "counterfactual_accuracy_runs", accuracy)
    return Study(params.load(SMALL), Store(tmp_path))


def test_a_row_says_what_was_trained_and_how_good_it_is(study: Study) -> None:
    rows = recipe.runs(study).set_index(["recipe", "variant", "seed"])
    assert len(rows) == 6
    found = rows.loc[("stable", "wildlife_MNIST", 201)]
    assert found.to_dict() == {
        "steps": 3000, "seconds": 208.0, "good_digits": 13, "pairwise_iou": 0.346, "recognised": 91.2,
        "accuracy_10k": 151.0,
    }  # fmt: skip
    assert rows.loc[("shipped", "colored_MNIST", 200), ["steps", "seconds"]].isna().all()


def test_each_ingredient_is_left_out_once_and_all_are_used_once(study: Study) -> None:
    rows = recipe.ablation(study)
    assert set(rows["recipe"]) == {"stable"} and set(rows["variant"]) == {"colored_MNIST"}
    assert rows.groupby("without").size().to_dict() == dict.fromkeys([recipe.WHOLE, *INGREDIENTS], 2)
    whole = rows["without"] == recipe.WHOLE
    assert set(rows[whole]["good_digits"]) == {13} and set(rows[~whole]["good_digits"]) == {12}
