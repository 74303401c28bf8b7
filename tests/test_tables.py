"""The tables: which experiments they ask for, and what is made of them."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from fake_steps import CF, Fake, given, runs_of

from reprolib import params
from reprolib.mnist import nulls, plan, tables
from reprolib.mnist.choices import Data, TrainingSet
from reprolib.run import rules
from reprolib.run.weights import Shipped
from reprolib.statistics import interval

pytestmark = pytest.mark.usefixtures("fake")


# -------------------------------------------------------------------- which experiments


@pytest.mark.parametrize(
    ("sources", "kinds", "expected"),
    [
        (["shipped"], [], [(CF, "shipped")]),
        (["stable", "authors"], [], [(CF, "stable"), (CF, "authors")]),
        (["shipped"], ["cgn_noncf"], [("cgn_noncf", "shipped"), (CF, "shipped")]),
        (["authors"], ["dcgan"], [("dcgan", None), (CF, "authors")]),
        (["stable", "authors"], ["cgn_noncf", "dcgan"],
         [("dcgan", None), ("cgn_noncf", "stable"), (CF, "stable"), ("cgn_noncf", "authors"), (CF, "authors")]),
    ],
)  # fmt: skip
def test_training_sets_are_original_and_each_generator_alone_and_with_it_and_the_control_always(
    sources: list[str], kinds: list[str], expected: list[tuple[str, str | None]]
) -> None:
    chosen = given(cgn={"sources": sources}, gan={"kinds": kinds}, counterfactuals={"size": 700, "ratio": 2})
    sets = plan.training_sets(chosen, "colored_MNIST", 200)
    control = [("cgn_noncf", source) for source in sources]
    both = [case for case in expected if case[0] == "dcgan"]
    both += [case for pair in zip(control, [(CF, source) for source in sources], strict=True) for case in pair]
    made = [
        (o, g, s or "dcgan", 700, 2 if g == CF else 1) for o, cs in ((False, expected), (True, both)) for g, s in cs
    ]
    found = [(each.original, each.generated, each.source, each.size, each.ratio) for each in sets]
    assert sets[0] == TrainingSet(True) and found[1:] == made


def test_accuracy_asks_for_every_set_and_seed_and_reports_the_last_epoch(fake: Fake) -> None:
    chosen = given(seeds=2, gan={"kinds": ["dcgan"]}, classifier={"epochs": 7})
    runs = tables.accuracy_runs(chosen)
    asked = fake.of("classifier")
    assert len(asked) == len(runs) == 6 * 2 and {handle["epochs"] for handle in asked} == {7}
    assert [(each["data"].variant, each["seed"]) for each in fake.of("dcgan")] == [
        ("colored_MNIST", 200),
        ("colored_MNIST", 201),
    ]
    assert fake.calls.index(asked[0]) == 2  # shared networks are made before the jobs that share them
    names = ["Original", "GAN", "CGN", "Original+GAN", "Original+GAN", "Original+CGN"]
    assert list(runs["training_set"]) == [name for name in names for _ in range(2)]
    assert list(runs["source"][::2]) == ["", "dcgan", "shipped", "dcgan", "shipped", "shipped"]
    assert runs.loc[1, ["seed", "epoch", "train", "test", "in_domain", "visible"]].tolist() == [201, 2, 60, 31, 95, 44]


def test_the_best_test_epoch_is_reported_on_demand() -> None:
    runs = tables.accuracy_runs(given(seeds=1, classifier={"selection": "best_test"}))
    assert runs.loc[0, ["epoch", "train", "test", "in_domain"]].tolist() == [1, 50, 40, 95]


def test_ablation_leaves_out_what_cannot_be(fake: Fake) -> None:
    """Colored MNIST has ten colours, so no ratio 20; and 500 counterfactuals at ratio 10 would be no image."""
    chosen = given(
        variants=["colored_MNIST", "wildlife_MNIST"],
        ablation={"sizes": [500, 2000], "ratios": [1, 10, 20], "mixes": ["cf", "original+cf"], "epochs": 3},
    )
    runs = tables.ablation_runs(chosen)
    found = {name: sorted(set(zip(part["ratio"], part["size"], strict=True))) for name, part in runs.groupby("variant")}
    assert found["colored_MNIST"] == [(1, 500), (1, 2000), (10, 2000)]
    assert found["wildlife_MNIST"] == [(1, 500), (1, 2000), (10, 2000), (20, 2000)]
    assert set(runs["mix"]) == {"cf", "original+cf"} and len(runs) == 2 * 7
    originals = [handle["training_set"].original for handle in fake.calls]
    assert originals == [mix == "original+cf" for mix in runs["mix"]]


@pytest.mark.parametrize(("sources", "trained"), [(["shipped"], 0), (["stable", "shipped"], 3)])
def test_quality_has_a_row_per_cgn(sources: list[str], trained: int, fake: Fake) -> None:
    chosen = given(cgn={"sources": sources, "seeds": 3})
    runs = tables.quality_runs(chosen)
    assert runs.groupby("source").size().to_dict() == {"shipped": 1} | ({"stable": trained} if trained else {})
    assert [handle.step.name for handle in fake.calls] == ["cgn"] * trained + ["quality"] * (trained + 1)
    assert runs.loc[0, ["digit_3", "shape_control", "texture_control", "foreground<-shape"]].tolist() == [
        0.3,
        90,
        90,
        1,
    ]
    assert len(tables.training_quality(chosen)) == 3 * trained
    summary = tables.quality_summary(runs)
    assert summary["CGNs"].tolist() == [3, 1][-len(sources) :] and summary["recognised"].iloc[0] == pytest.approx(
        100 * runs["recognised"].mean()
    )
    assert summary["good_digits"].iloc[-1] == str(runs["good_digits"].iloc[-1])


def test_quality_has_means_over_digits_and_the_interval_of_a_control_share() -> None:
    (row,) = tables.quality_runs(given()).to_dict("records")
    assert (row["recognised"], row["pairwise_iou"]) == pytest.approx((0.45, 0.4))
    assert [row[f"good_{digit}"] for digit in range(10)] == [False] * 8 + [True] * 2
    assert (row["good_digits_low"], row["good_digits_high"]) == (7, 10)
    assert row["shape_low"] < row["shape<-shape"] == 90 < row["shape_high"] < 94


def test_nulls_are_measured_like_any_cgn_on_every_variant() -> None:
    chosen = given(variants=["colored_MNIST", "wildlife_MNIST"])
    runs = tables.null_runs(chosen)
    assert runs.columns.equals(tables.quality_runs(chosen).columns)
    assert runs.groupby("variant")["source"].apply(list).tolist() == [list(nulls.KNOWN)] * 2


@pytest.mark.parametrize(("seeds", "of_nulls"), [(2, True), (5, True), (2, False)])
def test_accuracy_of_counterfactuals_is_told_in_percent_of_that_of_real_digits(seeds: int, of_nulls: bool) -> None:
    """On every variant every CGN, one that is given once for each repetition, nulls, if these are asked for, as often
    as the rule asks, and a reference for each seed."""
    cgn = {"sources": ["stable", "shipped"], "seeds": 5, "accuracy_of_nulls": of_nulls}
    chosen = given(variants=["colored_MNIST", "wildlife_MNIST"], seeds=seeds, cgn=cgn)
    runs, rule = tables.counterfactual_accuracy_runs(chosen), rules.every()["claim1"]
    must_fail = rule["criteria"]["counterfactual_accuracy"]["nulls"] if of_nulls else []
    null = dict.fromkeys(must_fail, min(seeds, rule["repetitions"]))
    for _, part in runs.groupby("variant"):
        counts = {"real digits": 5, "shipped": seeds, "stable": 5} | null
        assert part["source"].value_counts().to_dict() == counts
    for row in runs.to_dict("records"):
        assert row["relative"] == pytest.approx(max(0, 100 * (row["accuracy"] - 10) / (70 + row["seed"] % 100)))


@pytest.mark.parametrize("known", [False, True])
def test_a_reader_that_is_not_shipped_is_trained_unless_the_quality_is_known(
    known: bool, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Data, "shipped_reader", lambda self, factor: Shipped(f"no {factor}"))
    if known:
        file = plan.quality(given(), "colored_MNIST", "shipped", 200).file
        file.parent.mkdir()
        file.touch()
    assert len(tables.quality_runs(given())) == 1
    trained = [handle["factor"] for handle in fake.of("factor_reader")]
    assert sorted(trained) == ([] if known else ["foreground", "shape"])


def test_gradcam_rows_stand_beside_their_null_baselines() -> None:
    heat, maps = tables.gradcam_runs(given(variants=["double_colored_MNIST"], seeds=2))
    assert list(maps) == ["Original", "CGN", "Original+CGN"] and maps["CGN"] == "maps of CGN, seed 0"
    assert len(heat) == 3 * 2 * 2 and heat.loc[0, "along_digits"] == 0.2
    assert heat.loc[heat["heatmap"] == "all zero", "iou_macro"].eq(0.43).all()


def test_gradcam_is_shown_with_the_spread_over_seeds() -> None:
    sets = ["Original", "CGN", "Original+CGN"]
    rows = [
        {"training_set": name, "heatmap": heatmap, "seed": seed, "along_themes": 0.01 * seed, "along_digits": 0.02,
         "grid_empty": 0.0, "mass_inside": 0.5 + 0.1 * seed, "iou_area": 0.3, "iou_digit": 0.2, "iou_macro": 0.4,
         "empty": 0.1}
        for name in sets for heatmap in ("GradCAM", "all zero") for seed in range(3)
    ]  # fmt: skip
    heat = pd.DataFrame(rows)
    variance = tables.gradcam_variance(heat)
    assert variance["training_set"].tolist() == sets
    assert variance["along_themes"].tolist() == [f"{interval([0.0, 1.0, 2.0]):.1f}"] * 3
    measures = tables.gradcam_measures(heat)
    assert measures["heatmap"].tolist() == ["GradCAM", "all zero"] * 3
    assert measures["mass_inside"].tolist() == [f"{interval([50, 60, 70]):.1f}"] * 6


@pytest.mark.parametrize(
    ("sources", "own"),
    [
        (["authors", "shipped", "published", "stable"], "stable"),
        (["authors", "published"], "published"),
        (["authors", "shipped"], "shipped"),
        (["authors"], "authors"),
    ],
)
def test_own_source_is_the_nearest_to_this_project(sources: list[str], own: str) -> None:
    assert params.load({"profile": "cpu", "cgn": {"sources": sources}}).cgn.sources[0] == own


# -------------------------------------------------------------------- what is made of them


def test_an_accuracy_is_relative_only_to_a_reference_that_learned() -> None:
    assert math.isnan(tables._above_chance(60, tables.TELLING - 0.1))
    assert [tables._above_chance(*pair) for pair in ((5, 50), (40, 50), (60, 50))] == [0, 75, 100]


def test_headline_has_a_row_per_variant_and_a_column_per_training_set_and_cgn() -> None:
    runs = runs_of(
        ("CGN", "authors", 0, 90.0), ("Original+CGN", "stable", 0, 70.0), ("CGN", "stable", 0, 40.0),
        ("CGN", "stable", 1, 44.0), ("GAN", "dcgan", 0, 10.0), ("Original", "", 0, 30.0),
    )  # fmt: skip
    assert tables.headline(runs, "test").to_dict("records") == [
        {
            "variant": "Colored MNIST",
            "Original": "30.0",
            "CGN (stable)": "40.0, 44.0",
            "Original+CGN (stable)": "70.0",
            "CGN (the authors')": "90.0",
        }
    ]


@pytest.mark.usefixtures("fake")
def test_snapshots_come_in_the_order_of_training_though_they_are_stored_in_that_of_text() -> None:
    snapshots = tables.training_quality(given(cgn={"sources": ["stable"], "seeds": 2}))
    assert snapshots[["seed", "step"]].to_numpy().tolist() == [[s, step] for s in (200, 201) for step in (0, 250, 1000)]


def test_control_shares_are_means_over_cgns_without_missing_factors() -> None:
    runs = tables.quality_runs(given(cgn={"sources": ["stable"], "seeds": 2}))
    runs["background<-shape"] = float("nan")  # Colored MNIST in a table with other variants
    shares = tables.control_shares(runs).set_index(["factor", "label"])["share"]
    assert shares["shape", "shape"] == 90.5 and shares["shape", "foreground"] == 1 and len(shares) == 4
