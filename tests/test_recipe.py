"""The tables about the recipes: one row per CGN, and one set of CGNs per ingredient that is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from reprolib import params
from reprolib.mnist import recipe
from reprolib.run import ReproError, store
from reprolib.run.steps import Handle
from reprolib.run.store import Result, Store
from reprolib.schema import Params
from reprolib.vocabulary import INGREDIENTS

SMALL = {
    "profile": "smoke", "seeds": 2, "n_jobs": 1, "variants": ["colored_MNIST", "wildlife_MNIST"],
    "cgn": {"sources": ["stable", "published", "shipped"], "seeds": 2},
}  # fmt: skip


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """Parameters whose measures are made up: good digits count the ingredients, accuracy tells the seed."""

    def result(self: Handle, with_tensors: bool = False) -> Result:
        if self.step.name == "cgn":
            return Result({"snapshots": [1, self["settings"].steps]}, {}, {"seconds": 7.0 + self["seed"]})
        if self.step.name == "counterfactual_accuracy":
            return Result({"test": self["seed"] - 150.0})
        left_out = self["cgn"]["settings"].without if isinstance(self["cgn"], Handle) else ()
        good = len(INGREDIENTS) - len(left_out)
        return Result({"good_digits": good, "pairwise_iou": [0.2, 0.4912], "recognised": [0.9, 0.9246]})

    monkeypatch.setattr(Handle, "result", result)
    store.use(Store(tmp_path))
    return params.load(SMALL)


def test_a_row_says_what_was_trained_and_how_good_it_is(small: Params) -> None:
    rows = recipe.runs(small).set_index(["recipe", "variant", "seed"])
    assert rows.loc[("stable", "wildlife_MNIST", 201)].to_dict() == {
        "steps": 4000, "seconds": 208.0, "good_digits": 13, "pairwise_iou": 0.346, "recognised": 91.2,
        "accuracy_10k": 51.0,
    }  # fmt: skip
    assert rows.loc[("shipped", "colored_MNIST", 200), ["steps", "seconds"]].isna().all()


def test_every_cgn_of_every_source_has_a_row(small: Params) -> None:
    found = recipe.runs(small)
    assert found.groupby("recipe").size().to_dict() == {"stable": 4, "published": 4, "shipped": 2}


def test_each_ingredient_is_left_out_once_and_all_are_used_once(small: Params) -> None:
    rows = recipe.ablation(small)
    assert set(rows["recipe"]) == {"stable"} and set(rows["variant"]) == {"colored_MNIST"}
    assert rows.groupby("without").size().to_dict() == dict.fromkeys([recipe.WHOLE, *INGREDIENTS], 2)
    assert set(rows["steps"]) == {2000}, "half the length"
    whole = rows["without"] == recipe.WHOLE
    assert set(rows[whole]["good_digits"]) == {13} and set(rows[~whole]["good_digits"]) == {12}


def test_the_summary_tells_every_count_and_how_often_a_recipe_works(small: Params) -> None:
    runs = recipe.runs(small).assign(good_digits=[10, 8, 7, 7, 10, 9, 9, 7, 7, 10])
    row = (
        recipe.summary(runs).set_index(["variant", "source"]).loc[("Colored MNIST", "CGN trained here, stable recipe")]
    )
    assert row.to_dict() == {
        "CGNs": 2, "steps": 4000.0, "minutes": 3.5, "good_digits": "10 8", "nine_or_ten": 1, "pairwise_iou": 0.35,
        "accuracy_10k": "50.0, 51.0",
    }  # fmt: skip


def test_what_is_written_leaves_rows_of_other_recipes_and_variants_alone(
    small: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "ROOT", tmp_path)
    names = [file.name for file in recipe.write(small)]
    assert names == ["recipe.csv", "recipe_ablation.csv"]
    first = recipe.kept()
    again = params.load(SMALL | {"seeds": 1, "variants": ["colored_MNIST"], "cgn": {"sources": ["stable"], "seeds": 1}})
    list(recipe.write(again))
    counts = {("stable", "colored_MNIST"): 1, ("stable", "wildlife_MNIST"): 2, ("shipped", "wildlife_MNIST"): 1}
    told = recipe.kept().groupby(["recipe", "variant"]).size()
    assert {case: told[case] for case in counts} == counts and told.sum() == len(first) - 1
    assert recipe.kept().merge(first).shape[0] == len(first) - 1, "the others as they were"
    assert len(recipe.kept("recipe_ablation")) == 2 * (1 + len(INGREDIENTS))
    assert recipe.kept()[["variant", "recipe"]].drop_duplicates().to_numpy().tolist() == (
        first[["variant", "recipe"]].drop_duplicates().to_numpy().tolist()
    ), "in the order of data sets and sources"


def test_a_missing_table_of_recipes_says_how_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "ROOT", tmp_path)
    for name in ("recipe", "recipe_ablation"):
        with pytest.raises(ReproError, match=rf"{name}.csv is missing; restore it with .* or run `make recipe`"):
            recipe.kept(name)
