"""The published numbers: how many there are, spot values as printed, and ranges."""

from __future__ import annotations

import pandas as pd
import pytest

from reprolib import params
from reprolib.mnist import comparison
from reprolib.report import render
from reprolib.vocabulary import STUDIES, VARIANTS


def _one(rows: pd.DataFrame, **where: str | int) -> float:
    for column, value in where.items():
        rows = rows[rows[column] == value]
    assert len(rows) == 1
    return float(rows["value"].iloc[0])


@pytest.mark.parametrize(
    ("table", "metric", "rows"),
    [
        ("Table 1", "test_accuracy_in_domain", 6),
        ("Table 2", "test_accuracy_ood", 15),
        ("Table 6", "test_accuracy_ood", 15),
        ("Table 3", "test_accuracy_ood", 15),
        ("MNIST classification", "test_accuracy_ood", 9),
        ("Table 3", "train_accuracy", 15),
        ("Fig. 10", "test_accuracy_ood", 33),
    ],
)
def test_every_table_is_there_in_full(table: str, metric: str, rows: int) -> None:
    everything = comparison.published()
    assert len(everything[(everything["table"] == table) & (everything["metric"] == metric)]) == rows


def test_accuracy_has_the_tables_alone() -> None:
    rows = comparison.published_accuracy()
    assert len(rows) == 15 + 15 + 15 + 9
    assert list(rows.columns) == ["study", "table", "variant", "trained_on", "cgn", "value"]
    assert set(rows["study"]) == set(STUDIES.values())
    assert len(comparison.published_accuracy("test_accuracy_in_domain")) == 6


@pytest.mark.parametrize(
    ("table", "variant", "trained_on", "value"),
    [
        ("Table 2", "double_colored_MNIST", "CGN", 87.3),
        ("Table 2", "colored_MNIST", "CGN", 32.5),
        ("Table 2", "wildlife_MNIST", "Original+CGN", 63.2),
        ("Table 3", "wildlife_MNIST", "Original+CGN", 62.8),
        ("Table 3", "colored_MNIST", "Original", 37.6),
        ("Table 6", "colored_MNIST", "GAN", 25.83),
        ("MNIST classification", "wildlife_MNIST", "Original+CGN", 85.7),
    ],
)
def test_spot_values_are_as_printed(table: str, variant: str, trained_on: str, value: float) -> None:
    assert _one(comparison.published_accuracy(), table=table, variant=variant, trained_on=trained_on) == value


def test_generators_are_told_apart() -> None:
    rows = comparison.published_accuracy()
    assert set(rows.loc[rows["table"] == "Table 2", "cgn"]) == {"own"}
    assert set(rows.loc[rows["table"] == "Table 6", "cgn"]) == {"authors"}
    gan = rows[(rows["table"] == "Table 3") & rows["trained_on"].isin(["GAN", "Original+GAN"])]
    assert set(gan["cgn"]) == {"dcgan"}


def test_values_are_in_range() -> None:
    rows = comparison.published()
    percent = rows.loc[rows["unit"] == "%", "value"]
    assert percent.between(0, 100).all() and len(percent) > 150
    assert rows["value"].notna().all() and (rows["value"] >= 0).all()
    assert set(rows["variant"]) <= {*VARIANTS, ""}


def _measured(table: str) -> pd.DataFrame:
    return comparison.published()[comparison.published()["table"] == table]


def test_ablation_has_every_size_and_ratio_once() -> None:
    rows = _measured("Fig. 10").astype({"size": int, "ratio": int})
    assert len(rows) == 33 and not rows.duplicated(["variant", "size", "ratio"]).any()
    assert set(rows["size"]) == {10_000, 100_000, 1_000_000}
    assert set(rows.loc[rows["variant"] == "colored_MNIST", "ratio"]) == {1, 5, 10}
    assert set(rows.loc[rows["variant"] == "wildlife_MNIST", "ratio"]) == {1, 5, 10, 20}
    assert _one(rows, variant="colored_MNIST", size=10_000, ratio=1) == 91.04


def test_47_plain_runs_and_20_with_edge_loss() -> None:
    none = pd.DataFrame({"recipe": [], "source": [], "variant": [], "good_digits": []}, dtype=str)
    rows = comparison.good_digits(none)
    assert sorted(rows.groupby("study")["runs"].sum()) == [20, 47]
    plain = rows[rows["study"].str.contains("47 runs")].set_index("good_digits")["runs"]
    assert sorted(plain.index) == list(range(11)) and plain[10] == 0 and plain[5] == 13


def test_settings_of_the_studies_stand_beside_those_of_a_run() -> None:
    gpu, cpu, smoke = (render._settings(params.load(name)) for name in ("gpu", "cpu", "smoke"))
    steps = f"{params.load('gpu').cgn.stable_steps:,} (stable); 15 epochs (published)"
    assert gpu["here"].iloc[0] == steps and smoke["here"].iloc[0] == "none is trained" and not gpu.isna().any().any()
    assert cpu.set_index("setting").loc["counterfactuals per training set"].tolist() == [
        "50,000", "100,000", "50,000", f"{params.load('cpu').counterfactuals.size:,}",
    ]  # fmt: skip


def test_macro_iou_is_that_of_figure_4d() -> None:
    measured = pd.DataFrame({"training_set": ["Original", "CGN"], "heatmap": "GradCAM"})
    smoke = params.load("smoke")
    assert comparison.macro_iou(smoke, measured)["published_iou_macro"].tolist() == [36.5, 43.2]
