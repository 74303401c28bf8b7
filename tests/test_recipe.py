"""The tables about the recipes: one row per CGN, and one study per ingredient that is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reprolib import params
from reprolib.mnist import recipe
from reprolib.mnist.study import Study
from reprolib.run.errors import ReproError
from reprolib.run.store import Result, Store
from reprolib.vocabulary import INGREDIENTS

SMALL = {
    "profile": "smoke", "seeds": 2, "n_jobs": 1, "variants": ["colored_MNIST", "wildlife_MNIST"],
    "cgn": {"sources": ["stable", "published", "shipped"], "seeds": 2},
}  # fmt: skip


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A study whose measures are made up: good digits count the ingredients, accuracy tells the seed."""

    def trained(self: Study, variant: str, recipe: str, seed: int, steps: int | None = None) -> Result:
        return Result({"snapshots": [1, 3000]}, {}, {"seconds": 7.0 + seed})

    def quality(self: Study, variant: str, source: str, seed: int) -> dict[str, Any]:
        good = len(INGREDIENTS) - len(self.params.cgn.without)
        return {"good_digits": good, "pairwise_iou": [0.2, 0.4912], "recognised": [0.9, 0.9246]}

    monkeypatch.setattr(Study, "trained_cgn", trained)
    monkeypatch.setattr(Study, "quality", quality)
    monkeypatch.setattr(Study, "counterfactual_accuracy", lambda self, variant, source, seed: {"test": seed - 150.0})
    monkeypatch.setattr(Study, "has_cgn", lambda self, variant, recipe, seed: seed == 201)
    return Study(params.load(SMALL), Store(tmp_path))


def test_a_row_says_what_was_trained_and_how_good_it_is(study: Study) -> None:
    rows = recipe.runs(study).set_index(["recipe", "variant", "seed"])
    assert rows.loc[("stable", "wildlife_MNIST", 201)].to_dict() == {
        "steps": 3000, "seconds": 208.0, "good_digits": 13, "pairwise_iou": 0.346, "recognised": 91.2,
        "accuracy_10k": 51.0,
    }  # fmt: skip
    assert rows.loc[("shipped", "colored_MNIST", 200), ["steps", "seconds"]].isna().all()


def test_of_the_published_recipe_only_what_is_trained_already_has_a_row(study: Study) -> None:
    found = recipe.runs(study)
    assert found.groupby("recipe").size().to_dict() == {"stable": 4, "published": 2, "shipped": 2}
    assert set(found.loc[found["recipe"] == "published", "seed"]) == {201}


def test_each_ingredient_is_left_out_once_and_all_are_used_once(study: Study) -> None:
    rows = recipe.ablation(study)
    assert set(rows["recipe"]) == {"stable"} and set(rows["variant"]) == {"colored_MNIST"}
    assert rows.groupby("without").size().to_dict() == dict.fromkeys([recipe.WHOLE, *INGREDIENTS], 2)
    whole = rows["without"] == recipe.WHOLE
    assert set(rows[whole]["good_digits"]) == {13} and set(rows[~whole]["good_digits"]) == {12}


def test_the_summary_tells_every_count_and_how_often_a_recipe_works(study: Study) -> None:
    runs = recipe.runs(study).assign(good_digits=[10, 9, 8, 9, 10, 10, 7, 7])
    row = (
        recipe.summary(runs).set_index(["variant", "source"]).loc[("Colored MNIST", "CGN trained here, stable recipe")]
    )
    assert row.to_dict() == {
        "CGNs": 2, "steps": 3000.0, "minutes": 3.5, "good_digits": "10 8", "nine_or_ten": 1, "pairwise_iou": 0.35,
        "accuracy_10k": "50.0, 51.0",
    }  # fmt: skip


def test_a_missing_table_of_recipes_says_how_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "ROOT", tmp_path)
    with pytest.raises(ReproError, match=r"missing; restore it with .* or run `make recipe`"):
        recipe.kept()
