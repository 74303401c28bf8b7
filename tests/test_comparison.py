"""What stands beside what was published."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from fake_steps import given, runs_of

from reprolib.mnist import comparison, tables
from reprolib.run import ReproError

pytestmark = pytest.mark.usefixtures("fake")


def _beside(*rows: tuple[str, str, int, float]) -> dict[str, str]:
    return comparison.accuracy(runs_of(*rows)).iloc[0].to_dict()


def test_published_iou_stands_beside_gradcam_and_not_beside_null_maps() -> None:
    rows = [("Original", "GradCAM"), ("Original", "all zero"), ("Original+CGN", "GradCAM")]
    measured = pd.DataFrame(rows, columns=["training_set", "heatmap"])
    chosen = given(variants=["double_colored_MNIST"])
    shown = comparison.macro_iou(chosen, measured)["published_iou_macro"]
    assert shown[0] == 36.5 and shown[1:].isna().all()


@pytest.mark.parametrize(
    ("training_set", "source", "seed_study", "bagad", "sauer"),
    [
        ("CGN", "stable", "32.5", "", ""),
        ("CGN", "shipped", "32.5", "", ""),
        ("CGN", "authors", "92.8", "92.3", ""),
        ("GAN", "dcgan", "", "32.5", ""),
        ("Original+GAN", "dcgan", "", "41.5", "40.7"),
        ("Original+CGN", "authors", None, "95.9", "95.1"),
        ("Original", "", "39.0 / 38.9", "37.6", "35.9"),  # no generator: every study's row is comparable
    ],
)
def test_published_values_stand_beside_the_same_kind_of_generator(
    training_set: str, source: str, seed_study: str | None, bagad: str, sauer: str
) -> None:
    row = _beside((training_set, source, 0, 50.0), (training_set, source, 1, 52.0))
    assert (row["variant"], row["trained on"]) == ("Colored MNIST", training_set)
    assert row["ours"] == "50.0, 52.0"
    assert (row["Bagad et al."], row["Sauer & Geiger"]) == (bagad, sauer)
    assert seed_study is None or row["reproduction study"] == seed_study


def test_rows_come_in_the_order_of_the_published_tables() -> None:
    rows = [(name, "authors" if "CGN" in name else "", 0, 1.0) for name in reversed(tables.ORDER)]
    assert comparison.accuracy(runs_of(*rows))["trained on"].tolist() == tables.ORDER


def test_good_digit_counts_put_measured_runs_beside_the_published_ones() -> None:
    runs = pd.DataFrame({"recipe": ["stable", "stable", "authors", "published"], "good_digits": [7, 9, 10, 10]})
    runs["variant"] = "colored_MNIST"
    counts = comparison.good_digits(runs).groupby("study")["runs"].sum()
    assert sorted(counts) == [1, 2, 20, 47] and counts["here by measure, Colored MNIST, stable recipe, 2 runs"] == 2


def test_the_accuracies_at_the_published_size_are_those_of_the_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = comparison.at_published_size()
    told = pd.read_csv(comparison.ACCEPTANCE)
    assert rows["ours"].tolist() == told["here"].tolist() and len(rows) == 9
    assert rows["published_low"].lt(rows["published_high"]).all()
    assert rows.loc[7, ["variant", "published_low", "published_high"]].tolist() == ["Wildlife MNIST", 81.07, 81.4]
    monkeypatch.setattr(comparison, "ACCEPTANCE", Path("nowhere.csv"))
    with pytest.raises(ReproError, match=r"nowhere\.csv is missing; restore it with git or run `make acceptance`"):
        comparison.at_published_size()


def test_ablation_points_average_seeds_and_add_the_published_line() -> None:
    runs = tables.ablation_runs(given(ablation={"sizes": [500], "ratios": [1], "mixes": ["cf"], "seeds": 2}))
    points = comparison.ablation(runs)
    assert points.loc[points["study"] == "ours", "test"].tolist() == [30.5]
    assert len(points[points["study"] == "Bagad et al."]) == 9 and set(points["variant"]) == {"Colored MNIST"}
