"""From repetitions to intervals, and from intervals to the verdict of a claim."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from scipy import stats

RULES = Path(__file__).parent.parent / "params" / "claims.yaml"


@dataclass(frozen=True)
class Interval:
    """Mean of n repetitions with a 95 % confidence interval."""

    mean: float
    low: float
    high: float
    n: int

    def __format__(self, spec: str) -> str:
        """``f"{interval:.1f}"`` is ``93.1 ± 0.4``; one repetition has no interval."""
        if self.n < 2:
            return format(self.mean, spec)
        return f"{format(self.mean, spec)} ± {format((self.high - self.low) / 2, spec)}"


def interval(values: Sequence[float]) -> Interval:
    """Student's t interval. With two to ten repetitions a bootstrap would be too narrow; this is wide, and honest.

    One value has the interval (-inf, inf). Raises ValueError for no value or one that is not finite.
    """
    if not values or not all(math.isfinite(value) for value in values):
        raise ValueError(f"an interval needs at least one finite value, not {list(values)}")
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return Interval(mean, -math.inf, math.inf, 1)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = float(stats.t.ppf(0.975, n - 1)) * deviation / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


def rules(claim: str) -> dict[str, Any]:
    """The rule of one claim in ``params/claims.yaml``, written before the numbers."""
    claims: dict[str, dict[str, Any]] = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    return claims[claim]


def judge(claim: str, evidence: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Apply the rule of a claim.

    evidence: one row per repetition with the columns ``criterion``, ``case`` (such as the variant) and ``value``.
    Returns one row per criterion and case with the interval and whether it ``holds``, ``fails`` or is ``open``, and
    the verdict: supported, partly supported, not supported, or not decided (too few repetitions, too wide intervals).
    """
    rule = rules(claim)
    rows = []
    for name, criterion in rule["criteria"].items():
        part = evidence[evidence["criterion"] == name]
        if part.empty:
            outcome = "not decided: not measured"
            nothing = {"mean": None, "low": None, "high": None, "n": 0}
            rows.append({"criterion": name, "case": "", **nothing, "outcome": outcome})
        for case in dict.fromkeys(part["case"]):
            estimate = interval(part.loc[part["case"] == case, "value"].tolist())
            row = {"criterion": name, "case": case, **asdict(estimate)}
            rows.append(row | {"outcome": _outcome(estimate, criterion, rule["repetitions"])})
    table = pd.DataFrame(rows)
    return table, _verdict(table["outcome"].tolist())


def _outcome(estimate: Interval, criterion: dict[str, Any], repetitions: int) -> str:
    """``holds`` or ``fails`` once there are enough repetitions and the whole interval lies on one side of the bound."""
    if estimate.n < repetitions:
        return f"not decided: {estimate.n} of {repetitions} repetitions"
    bound = float(criterion["at_least"] if "at_least" in criterion else criterion["at_most"])
    if estimate.low < bound < estimate.high:
        return "not decided: the interval holds the bound"
    reached = estimate.mean >= bound if "at_least" in criterion else estimate.mean <= bound
    return "holds" if reached else "fails"


def _verdict(outcomes: list[str]) -> str:
    """Two sides seen make it partly supported; otherwise an open case leaves the claim open."""
    found = set(outcomes)
    if {"holds", "fails"} <= found:
        return "partly supported"
    if not found <= {"holds", "fails"} or not found:
        return "not decided"
    return "supported" if found == {"holds"} else "not supported"
