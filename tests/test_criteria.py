"""What the rules are applied to: how repetitions are paired, and where nulls stand."""

from __future__ import annotations

import pandas as pd
import pytest
from fake_steps import STAMP, Fake, given, runs_of

from reprolib.mnist import criteria, nulls, tables
from reprolib.run import rules
from reprolib.run.steps import Handle
from reprolib.run.store import Result

pytestmark = pytest.mark.usefixtures("fake")


def test_gains_are_paired_by_seed_within_each_cgn() -> None:
    runs = runs_of(
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
    runs = runs_of(
        ("Original", "", 0, 96.0), ("Original", "", 1, 90.0),
        ("Original+CGN", "stable", 0, 95.0), ("Original+CGN", "stable", 1, 94.0),
    )  # fmt: skip
    found = criteria.of_gains(runs, "test", criteria.LOSS)
    assert found["value"].tolist() == [1, -4] and found["worse"].tolist() == [95, 90]


def test_a_gain_counts_over_the_better_control_with_samples_of_the_same_cgn() -> None:
    runs = runs_of(
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
    assert values[ours, "untrained", "counterfactual_accuracy"] == [0, 0]
    assert found.loc[(found["source"] == ours) & (found["null"] == ""), ["low", "high"]].isna().all(axis=None)
    rows = found[found["source"] == shipped].set_index("criterion")
    repeated = rows.loc["counterfactual_accuracy"]  # by repetition, and not by the sampling error of images
    assert len(repeated) == 2 and repeated[["low", "high"]].isna().all(axis=None)
    rows = rows.drop(index="counterfactual_accuracy")
    assert rows.loc["good_digits", ["value", "low", "high"]].tolist() == [8, 7, 10]
    assert rows.loc["shape_control", "low"] < rows.loc["shape_control", "value"] < rows.loc["shape_control", "high"]
    assert (rows["high"] <= 100).all() and set(found["rules"]) == {STAMP, f"{STAMP} {STAMP}"}
    taught = rules.every()["claim1"]["criteria"]["counterfactual_accuracy"]["nulls"]
    assert len(found) == 3 * 4 + 1 + 6 * 3 + 2 * len(taught)


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
    chosen = given(variants=["colored_MNIST", "double_colored_MNIST"], cgn={"sources": ["shipped"]})
    runs = pd.concat([tables.quality_runs(chosen), tables.null_runs(chosen)])
    found = criteria.of_quality(runs, tables.counterfactual_accuracy_runs(chosen), "shipped")
    measured = found.groupby(["case", "criterion"])["null"].agg(set)
    for case in ("Colored MNIST", "Double-colored MNIST"):
        for name, criterion in rules.every()["claim1"]["criteria"].items():
            assert set(criterion["nulls"]) <= measured[case, name]
