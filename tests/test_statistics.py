"""Intervals against SciPy and by hand; verdicts of claims on small frames; the rules themselves."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

from reprolib import statistics
from reprolib.statistics import Interval, interval, judge

RULES = """
toy:
  title: A toy claim
  repetitions: 2
  criteria:
    gain: {text: how much is gained, at_least: 10}
    loss: {text: how much is lost, at_most: 1}
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "claims.yaml"
    file.write_text(RULES)
    monkeypatch.setattr(statistics, "RULES", file)


def _evidence(**values: list[float]) -> pd.DataFrame:
    """gain=[...], or gain_wild=[...] for the case ``wild``."""
    rows = [(*f"{key}_one".split("_")[:2], value) for key, some in values.items() for value in some]
    return pd.DataFrame(rows, columns=["criterion", "case", "value"])


@pytest.mark.parametrize("values", [[1.0, 2.0], [93.1, 92.4, 95.0], [5.0, 5.0, 5.0], list(np.geomspace(1, 9, 10))])
def test_interval_is_students_t(values: list[float]) -> None:
    found = interval(values)
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    assert (found.mean, found.n) == (pytest.approx(np.mean(values)), len(values))
    assert (found.low, found.high) == pytest.approx((np.mean(values) - half, np.mean(values) + half))


def test_interval_by_hand() -> None:
    """t(0.975, 2) is 4.3027; the deviation of 1, 2, 3 is 1."""
    found = interval([1.0, 2.0, 3.0])
    assert found.high - found.mean == pytest.approx(4.3027 / math.sqrt(3), abs=1e-4)
    assert f"{found:.2f}" == "2.00 ± 2.48"


def test_one_value_has_no_interval() -> None:
    found = interval([7.25])
    assert found == Interval(7.25, -math.inf, math.inf, 1)
    assert f"{found:.1f}" == "7.2"


@pytest.mark.parametrize("values", [[], [math.nan], [1.0, math.nan], [1.0, math.inf]])
def test_values_without_a_mean_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        interval(values)


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(
    ("gain", "outcome"),
    [
        ([20.0, 20.1], "holds"),
        ([10.0, 30.0], "not decided: the interval holds the bound"),
        ([10.0, 10.0], "holds"),
        ([2.0, 2.1], "fails"),
        ([2.0, 12.0], "not decided: the interval holds the bound"),
        ([20.0], "not decided: 1 of 2 repetitions"),
    ],
)
def test_the_mean_decides_and_the_interval_warns(gain: list[float], outcome: str) -> None:
    table, _ = judge("toy", _evidence(gain=gain, loss=[0.0, 0.0]))
    assert table["outcome"].tolist() == [outcome, "holds"]
    assert table.loc[0, "mean"] == pytest.approx(np.mean(gain)) and table.loc[0, "n"] == len(gain)


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(("loss", "outcome"), [([0.5, 0.5], "holds"), ([1.0, 1.0], "holds"), ([1.5, 1.5], "fails")])
def test_an_upper_bound_is_a_bound_from_above(loss: list[float], outcome: str) -> None:
    table, _ = judge("toy", _evidence(gain=[20.0, 20.0], loss=loss))
    assert table["outcome"].tolist() == ["holds", outcome]


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(
    ("gain", "loss", "verdict"),
    [
        ([20.0, 21.0], [0.0, 0.1], "supported"),
        ([20.0, 21.0], [5.0, 5.1], "partly supported"),
        ([2.0, 2.1], [0.0, 0.1], "partly supported"),
        ([2.0, 2.1], [5.0, 5.1], "not supported"),
        ([20.0, 21.0], [0.0], "not decided"),
    ],
)
def test_verdict(gain: list[float], loss: list[float], verdict: str) -> None:
    assert judge("toy", _evidence(gain=gain, loss=loss))[1] == verdict


@pytest.mark.usefixtures("toy")
def test_a_criterion_has_to_hold_in_every_case() -> None:
    evidence = _evidence(gain=[20.0, 20.1], gain_wild=[1.0, 1.1], loss=[0.0, 0.0])
    table, verdict = judge("toy", evidence)
    assert list(zip(table["criterion"], table["case"], table["outcome"], strict=True)) == [
        ("gain", "one", "holds"),
        ("gain", "wild", "fails"),
        ("loss", "one", "holds"),
    ]
    assert verdict == "partly supported"


@pytest.mark.usefixtures("toy")
def test_a_claim_with_a_criterion_that_was_never_measured_is_not_decided() -> None:
    assert judge("toy", _evidence(gain=[20.0, 20.1]))[1] == "not decided"


@pytest.mark.usefixtures("toy")
def test_a_claim_without_evidence_is_not_decided() -> None:
    assert judge("toy", _evidence(gain=[]))[1] == "not decided"


@pytest.mark.parametrize("claim", ["claim1", "claim2", "claim3"])
def test_every_rule_is_complete(claim: str) -> None:
    rule = statistics.rules(claim)
    assert set(rule) == {"title", "repetitions", "criteria"} and rule["title"] and rule["repetitions"] >= 2
    for criterion in rule["criteria"].values():
        assert criterion["text"].strip()
        assert len({"at_least", "at_most"} & set(criterion)) == 1 and len(criterion) == 2


def test_there_are_rules_for_the_three_claims_in_every_world_only() -> None:
    expected = [f"claim{number}{world}" for world in ("", "_scenes", "_imagenet") for number in (1, 2, 3)]
    assert sorted(yaml.safe_load(statistics.RULES.read_text())) == sorted(expected)
