"""The tables: which experiments they ask for, how repetitions are paired, and what stands beside what."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from reprolib import params
from reprolib.mnist import comparison, criteria, nulls, plan, tables
from reprolib.mnist.choices import Data, TrainingSet
from reprolib.run import ReproError, rules, store
from reprolib.run.steps import Handle
from reprolib.run.store import Result, Store
from reprolib.run.weights import Shipped
from reprolib.schema import Params
from reprolib.statistics import interval

CF = "counterfactual"
HASHES = {"claim1": "aaaa", "claim2": "bbbb", "claim3": "cccc"}
STAMP = rules.stamp({"rules": HASHES})


class Fake:
    """Steps whose results are functions of their arguments; ``calls`` says which handles were computed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.calls: list[Handle] = []
        store.use(Store(folder))
        monkeypatch.setattr(Handle, "result", lambda handle, with_tensors=False: self.result(handle))

    def result(self, handle: Handle) -> Result:
        self.calls.append(handle)
        made: Result = getattr(self, handle.step.name, lambda _: Result())(handle)
        made.made = {"rules": HASHES}
        return made

    def of(self, step: str) -> list[Handle]:
        return [handle for handle in self.calls if handle.step.name == step]

    def classifier(self, handle: Handle) -> Result:
        seed = handle["seed"]
        history = [
            {"train": 50.0, "test": 40.0 + seed % 100, "in_domain": 90.0},
            {"train": 60.0, "test": 30.0 + seed % 100, "in_domain": 95.0},
        ]
        final = {"visible": 44.0, "in_domain_as_published": 99.0}
        return Result({"history": history, "images": handle["training_set"].size, "final": final})

    def quality(self, handle: Handle) -> Result:
        seed, names = handle["cgn"]["seed"] if isinstance(handle["cgn"], Handle) else 200, ("shape", "foreground")
        control = {factor: {name: 90.0 + seed % 100 if name == factor else 1.0 for name in names} for factor in names}
        shares = [i / 10 for i in range(10)]
        numbers = {"good_digits": 8 + seed % 100, "good_digits_low": 7, "good_digits_high": 10, "mean_mask": 0.2}
        numbers |= {"recognised": shares, "pairwise_iou": [0.4] * 10, "good": [share >= 0.8 for share in shares]}
        numbers |= {"control": control, "control_images": 360}
        return Result(numbers | {"readers": {"digit": 98.0} | dict.fromkeys(names, 95.0)})

    def counterfactual_accuracy(self, handle: Handle) -> Result:
        known = {"real digits": 80.0 + handle["seed"] % 100, "untrained": 10.0, "masks of another digit": 0.0}
        source = "trained here" if isinstance(handle["cgn"], Handle) else handle["cgn"].source
        return Result({"test": known.get(source, 40.0), "test_images": 1000})

    def training_quality(self, handle: Handle) -> Result:
        return Result({str(step): {"good_digits": step, "mean_mask": 0.1} for step in (0, 10)})

    def gradcam(self, handle: Handle) -> Result:
        name, seed = handle["classifier"]["training_set"].name, handle["classifier"]["seed"]
        measures = {"empty": 0.1 * seed, "iou_macro": 0.4}
        numbers = {"measures": measures, "null": {"all zero": {"empty": 1.0, "iou_macro": 0.43}},
                   "variance": {"along_themes": 0.1, "along_digits": 0.2}, "grid_empty": 0.0}  # fmt: skip
        return Result(numbers, {"heatmaps": f"maps of {name}, seed {seed % 100}"})  # type: ignore[dict-item]


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fake:
    return Fake(monkeypatch, tmp_path)


def given(**changes: Any) -> Params:
    chosen = {"profile": "smoke", "seeds": 2, "n_jobs": 1, "variants": ["colored_MNIST"]} | changes
    chosen["cgn"] = {"seeds": chosen["seeds"]} | chosen.get("cgn", {})
    return params.load(chosen)


def _runs(*rows: tuple[str, str, int, float], variant: str = "colored_MNIST") -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["training_set", "source", "seed", "test"])
    return frame.assign(variant=variant, rules=STAMP)


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
    assert len(tables.training_quality(chosen)) == 2 * trained


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


def test_accuracy_of_counterfactuals_is_told_in_percent_of_that_of_real_digits() -> None:
    """Every CGN on both variants, one that is given once for each repetition, with a reference for each seed; nulls on
    the first."""
    cgn = {"sources": ["stable", "shipped"], "seeds": 3}
    chosen = given(variants=["colored_MNIST", "wildlife_MNIST"], seeds=2, cgn=cgn)
    runs = tables.counterfactual_accuracy_runs(chosen)
    counts = runs[runs["variant"] == "wildlife_MNIST"]["source"].value_counts().to_dict()
    assert counts == {"real digits": 3, "shipped": 2, "stable": 3}
    first = runs[runs["variant"] == "colored_MNIST"]["source"].value_counts().to_dict()
    assert first == counts | dict.fromkeys(rules.every()["claim1"]["criteria"]["counterfactual_accuracy"]["nulls"], 1)
    for row in runs.to_dict("records"):
        assert row["relative"] == pytest.approx(max(0, 100 * (row["accuracy"] - 10) / (70 + row["seed"] % 100)))
        assert row["low"] <= row["relative"] <= row["high"] < row["relative"] + 5


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


def test_published_iou_stands_beside_gradcam_and_not_beside_null_maps() -> None:
    rows = [("Original", "GradCAM"), ("Original", "all zero"), ("Original+CGN", "GradCAM")]
    measured = pd.DataFrame(rows, columns=["training_set", "heatmap"])
    chosen = given(variants=["double_colored_MNIST"])
    shown = comparison.macro_iou(chosen, measured)["published_iou_macro"]
    assert shown[0] == 36.5 and shown[1:].isna().all()


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


def test_gains_are_paired_by_seed_within_each_cgn() -> None:
    runs = _runs(
        ("Original", "", 0, 30.0), ("Original", "", 1, 50.0), ("CGN", "stable", 0, 41.0), ("CGN", "stable", 1, 63.0),
        ("CGN", "authors", 0, 99.0), ("CGN", "authors", 1, 99.0), ("GAN", "dcgan", 0, 10.0),
    ).sample(frac=1, random_state=0)  # fmt: skip
    found = criteria.of_gains(runs, "test", {"gain_cgn": (("CGN",), ("Original",))})
    assert found.to_dict("list") == {
        "source": ["CGN trained here, stable recipe"] * 2 + ["CGN of the authors"] * 2,  # the first decides
        "criterion": ["gain_cgn"] * 4,
        "case": ["Colored MNIST"] * 4,
        "value": [11.0, 13.0, 69.0, 49.0],
        "null": [""] * 4,
        "worse": [30.0, 50.0, 30.0, 50.0],
        "rules": [f"{STAMP} {STAMP}"] * 4,
    }


def test_a_loss_is_what_original_data_have_more() -> None:
    runs = _runs(
        ("Original", "", 0, 96.0), ("Original", "", 1, 90.0),
        ("Original+CGN", "stable", 0, 95.0), ("Original+CGN", "stable", 1, 94.0),
    )  # fmt: skip
    found = criteria.of_gains(runs, "test", criteria.LOSS)
    assert found["value"].tolist() == [1, -4] and found["worse"].tolist() == [95, 90]


def test_an_accuracy_is_relative_only_to_a_reference_that_learned() -> None:
    assert math.isnan(tables._above_chance(60, tables.TELLING - 0.1))
    assert [tables._above_chance(*pair) for pair in ((5, 50), (40, 50), (60, 50))] == [0, 75, 100]


def test_a_gain_counts_over_the_better_control_with_samples_of_the_same_cgn() -> None:
    runs = _runs(
        ("Original", "", 0, 30.0), ("Original", "", 1, 30.0),
        ("Original+GAN", "stable", 0, 45.0), ("Original+GAN", "stable", 1, 20.0),
        ("Original+GAN", "authors", 0, 99.0), ("Original+GAN", "dcgan", 1, 99.0),
        ("Original+CGN", "stable", 0, 60.0), ("Original+CGN", "stable", 1, 60.0),
    )  # fmt: skip
    found = criteria.of_gains(runs, "test", criteria.GAIN)
    assert found["criterion"].tolist() == ["gain_both"] * 2 and found["value"].tolist() == [15.0, 30.0]
    assert found["rules"].tolist() == [" ".join([STAMP] * 3)] * 2


def test_nulls_of_gains_stand_in_the_place_of_counterfactuals() -> None:
    """With the CGN that decides, in every variant and seed, by the same subtraction."""
    chosen = given(cgn={"sources": ["authors", "shipped"]}, gan={"kinds": []})
    runs, nulls = tables.accuracy_runs(chosen), tables.accuracy_runs(chosen, nulls=True)
    assert set(nulls["source"]) == {"shipped"}
    for wanted in (criteria.GAIN, criteria.LOSS):
        found = criteria.of_gains(runs, "test", wanted, nulls)
        assert set(found.loc[found["null"] == "", "source"]) == {tables.GENERATORS[s] for s in ("authors", "shipped")}
        pairs = found.groupby("criterion")["null"].agg(set).to_dict()
        assert pairs == {name: {"", *criteria.NULLS[name]} for name in wanted}
        assert found.groupby(["source", "criterion", "null"]).size().eq(2).all()
        assert set(found.loc[found["null"] != "", "source"]) == {tables.GENERATORS["shipped"]}  # once, not by source
        for name in wanted:
            assert set(criteria.NULLS[name]) == set(rules.every()["claim2" if name in criteria.GAIN else "claim3"]
                                                    ["criteria"][name]["nulls"])  # fmt: skip


def test_headline_has_a_row_per_variant_and_a_column_per_training_set_and_cgn() -> None:
    runs = _runs(
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


def _beside(*rows: tuple[str, str, int, float]) -> dict[str, str]:
    return comparison.accuracy(_runs(*rows)).iloc[0].to_dict()


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
    assert comparison.accuracy(_runs(*rows))["trained on"].tolist() == tables.ORDER


def test_the_evidence_for_claim_1_has_nulls_beside_the_cgn_that_decides() -> None:
    chosen = given(seeds=2, cgn={"sources": ["shipped", "stable"], "seeds": 2})
    runs = pd.concat([tables.quality_runs(chosen), tables.null_runs(chosen)])
    found = criteria.of_quality(runs, tables.counterfactual_accuracy_runs(chosen), "stable")
    ours, shipped = "CGN trained here, stable recipe", "CGN shipped with reprolib"
    assert list(dict.fromkeys(found["source"])) == [ours, shipped] and set(found["null"]) == {"", *nulls.NULLS}
    assert set(found.loc[found["null"] != "", "source"]) == {ours} and set(found["case"]) == {"Colored MNIST"}
    values = found.groupby(["source", "null", "criterion"])["value"].agg(list)
    control = [100 * 90 / 95, 100 * 91 / 95]
    assert values[ours, ""].to_dict() == {
        "good_digits": [8, 9],
        "shape_control": pytest.approx(control),
        "texture_control": pytest.approx(control),
        "counterfactual_accuracy": pytest.approx([100 * 30 / 70, 100 * 30 / 71]),
    }
    assert values[ours, "untrained", "counterfactual_accuracy"] == [0]
    assert found.loc[(found["source"] == ours) & (found["null"] == ""), ["low", "high"]].isna().all(axis=None)
    rows = found[found["source"] == shipped].set_index("criterion")
    repeated = rows.loc["counterfactual_accuracy"]  # by repetition, and not by the sampling error of images
    assert len(repeated) == 2 and repeated[["low", "high"]].isna().all(axis=None)
    rows = rows.drop(index="counterfactual_accuracy")
    assert rows.loc["good_digits", ["value", "low", "high"]].tolist() == [8, 7, 10]
    assert rows.loc["shape_control", "low"] < rows.loc["shape_control", "value"] < rows.loc["shape_control", "high"]
    assert (rows["high"] <= 100).all() and set(found["rules"]) == {STAMP, f"{STAMP} {STAMP}"}
    assert len(found) == 3 * 4 + 1 + 6 * 3 + len(
        rules.every()["claim1"]["criteria"]["counterfactual_accuracy"]["nulls"]
    )


def test_control_is_that_of_the_reader_at_most_and_a_mean_of_both_textures(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = fake.quality

    def quality(handle: Handle) -> Result:
        made = plain(handle)
        made.numbers["control"]["background"] = {"shape": 1.0, "foreground": 1.0, "background": 60.0}
        made.numbers["readers"] = {"digit": 98.0, "shape": 89.0, "foreground": 95.0, "background": 75.0}
        return made

    monkeypatch.setattr(fake, "quality", quality)
    chosen = given(seeds=2, cgn={"sources": ["stable"], "seeds": 2})
    found = criteria.of_quality(tables.quality_runs(chosen), tables.counterfactual_accuracy_runs(chosen), "stable")
    values = found.groupby("criterion")["value"].agg(list)
    assert values["shape_control"] == [100, 100]  # 90 and 91 % are read by a reader of 89 %
    assert values["texture_control"] == pytest.approx([(100 * read / 95 + 100 * 60 / 75) / 2 for read in (90, 91)])


def test_every_null_that_the_rule_of_claim_1_names_is_measured() -> None:
    chosen = given(cgn={"sources": ["shipped"]})
    runs = pd.concat([tables.quality_runs(chosen), tables.null_runs(chosen)])
    found = criteria.of_quality(runs, tables.counterfactual_accuracy_runs(chosen), "shipped")
    measured = found.groupby("criterion")["null"].agg(set)
    for name, criterion in rules.every()["claim1"]["criteria"].items():
        assert set(criterion["nulls"]) <= measured[name]


def test_control_shares_are_means_over_cgns_without_missing_factors() -> None:
    runs = tables.quality_runs(given(cgn={"sources": ["stable"], "seeds": 2}))
    runs["background<-shape"] = float("nan")  # Colored MNIST in a table with other variants
    shares = tables.control_shares(runs).set_index(["factor", "label"])["share"]
    assert shares["shape", "shape"] == 90.5 and shares["shape", "foreground"] == 1 and len(shares) == 4


def test_good_digit_counts_put_measured_runs_beside_the_published_ones() -> None:
    runs = pd.DataFrame({"recipe": ["stable", "stable", "authors", "published"], "good_digits": [7, 9, 10, 10]})
    runs["variant"] = "colored_MNIST"
    counts = comparison.good_digits(runs).groupby("study")["runs"].sum()
    assert sorted(counts) == [1, 2, 20, 47] and counts["here by measure, Colored MNIST, stable recipe, 2 runs"] == 2


def test_the_accuracies_at_the_published_size_are_those_of_the_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = comparison.at_published_size()
    told = pd.read_csv(comparison.ACCEPTANCE)
    assert rows["ours"].tolist() == told["here"].tolist() and len(rows) == 9
    assert rows["published_low"].le(rows["published_high"]).all()
    monkeypatch.setattr(comparison, "ACCEPTANCE", Path("nowhere.csv"))
    with pytest.raises(ReproError, match=r"nowhere\.csv is missing; restore it with git or run `make acceptance`"):
        comparison.at_published_size()


def test_ablation_points_average_seeds_and_add_the_published_line() -> None:
    runs = tables.ablation_runs(given(ablation={"sizes": [500], "ratios": [1], "mixes": ["cf"], "seeds": 2}))
    points = comparison.ablation(runs)
    assert points.loc[points["study"] == "ours", "test"].tolist() == [30.5]
    assert len(points[points["study"] == "Bagad et al."]) == 9 and set(points["variant"]) == {"Colored MNIST"}
