"""From repetitions to intervals, from intervals to outcomes of criteria, and from those to verdicts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from reprolib.run import rules

LEAST = 3
"""Repetitions below which there is no interval."""
SHARE, DIFFERENCE = (0.0, 100.0), (-100.0, 100.0)
"""Ranges of shares in percent, and of differences between them."""
ROUNDING = 1e-9
"""What an end of an interval may be beside a bound and still be on it."""
JUDGED = ["criterion", "case", "null", "mean", "low", "high", "n", "measured", "outcome"]


@dataclass(frozen=True)
class Interval:
    """Some values with the 95 % confidence interval of their mean; ``low`` and ``high`` are NaN where there is none."""

    values: tuple[float, ...]
    low: float = math.nan
    high: float = math.nan

    @property
    def mean(self) -> float:
        return math.fsum(self.values) / len(self.values)

    def __format__(self, spec: str) -> str:
        """``f"{interval:.1f}"`` is ``93.1 (92.4 to 93.9)``, and without an interval the values: ``91.2, 93.0``."""
        if math.isnan(self.low):
            return ", ".join(format(value, spec) for value in self.values)
        return f"{format(self.mean, spec)} ({format(self.low, spec)} to {format(self.high, spec)})"


def interval(values: Sequence[float], bounds: tuple[float, float] = SHARE, level: float = 0.95) -> Interval:
    """The interval of the mean of bounded values: Student's t, and that on the arcsine scale; the wider end counts.

    t alone is too narrow beside a bound, where values are skewed; the arcsine of the root makes them less so, and stays
    within the bounds. Simulated coverage at 3, 5 and 10 values is at least 90 % for the beta distributions that a
    test has, with means of .5, .9 and .99; where most values sit at a bound and a few fail, no method for few values
    covers as much. There is no interval for fewer than three values.

    bounds: least and largest possible value. Raises ValueError for no value and for one outside of them.
    """
    least, most = bounds
    slack = 1e-9 * (most - least)
    if not values or not all(least - slack <= value <= most + slack for value in values):
        raise ValueError(f"an interval needs values between {least:g} and {most:g}, not {list(values)}")
    if len(values) < LEAST:
        return Interval(tuple(values))
    shares = (np.clip(values, least, most) - least) / (most - least)
    low, high = _student(shares, level)
    turned_low, turned_high = np.sin(np.clip(_student(np.arcsin(np.sqrt(shares)), level), 0, math.pi / 2)) ** 2
    ends = (max(0.0, min(low, turned_low)), min(1.0, max(high, turned_high)))
    return Interval(tuple(values), *(float(least + (most - least) * end) for end in ends))


def _student(values: np.ndarray, level: float) -> tuple[float, float]:
    half = stats.t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def shown(runs: pd.DataFrame, by: list[str], columns: dict[str, str]) -> pd.DataFrame:
    """Repetitions as text: one row per case of ``by``, one column per title of ``columns`` (title -> column of runs);
    empty where a case has no such number. What is called a gap is a difference; all else is a share in percent."""

    def text(values: pd.Series, name: str) -> str:
        known, bounds = values.dropna().tolist(), DIFFERENCE if name.startswith("gap") else SHARE
        return f"{interval(known, bounds):.1f}" if known else ""

    groups = runs.groupby(by, sort=False, dropna=False)
    return pd.DataFrame({title: groups[name].apply(text, name) for title, name in columns.items()}).reset_index()


def share_interval(successes: int, n: int) -> tuple[float, float]:
    """The 95 % sampling interval of a share of n images or masks, in percent (Wilson's score interval)."""
    ends = stats.binomtest(successes, n).proportion_ci(method="wilson")
    return 100 * float(ends.low), 100 * float(ends.high)


# ---------------------------------------------------------------- rules


def judge(name: str, evidence: pd.DataFrame) -> pd.DataFrame:
    """Apply the rule of this name (see ``params/claims.yaml``) to the evidence of one source.

    evidence: one row per repetition or checkpoint with the columns ``criterion``, ``case`` (a data set), ``value`` and
    ``rules`` (see ``rules.stamp``); where a single fixed checkpoint was measured ``low`` and ``high``, its 95 %
    sampling interval; for a difference ``worse``, the lower of the two scores; ``null``, empty but for what must not
    pass.
    Returns one row per null, case and criterion with the columns JUDGED. An outcome is ``holds``, ``fails``, or ``not
    decided``, ``not testable`` or ``not counted`` with a reason.
    """
    rule = rules.every()[name]
    missing = {column: "" for column in ("null", "rules") if column not in evidence}
    evidence = evidence.assign(**missing).fillna({"null": ""})
    judged = []
    for null, case in dict.fromkeys(zip(evidence["null"], evidence["case"], strict=True)):
        here = evidence[(evidence["null"] == null) & (evidence["case"] == case)]
        for criterion, wanted in rule["criteria"].items():
            rows = here[here["criterion"] == criterion]
            if len(rows) or not null:
                named = {"criterion": criterion, "case": case, "null": null}
                judged.append(named | _judged(rows, wanted, rule["repetitions"], "" if null else name))
    return pd.DataFrame(judged, columns=JUDGED)


def _judged(rows: pd.DataFrame, wanted: dict[str, Any], repetitions: int, name: str) -> dict[str, Any]:
    if rows.empty:
        nothing = {"mean": math.nan, "low": math.nan, "high": math.nan, "n": 0, "measured": ""}
        return nothing | {"outcome": "not decided: not measured"}
    values, bounds = rows["value"].tolist(), tuple(wanted.get("range", SHARE))
    if len(rows) == 1 and "low" in rows and rows["low"].notna().all():
        estimate, enough = Interval((values[0],), float(rows["low"].item()), float(rows["high"].item())), True
    else:
        estimate = interval(values, bounds, level=0.9 if wanted.get("sides") == "one" else 0.95)
        enough = len(values) >= repetitions
    told = f"{estimate:.{1 if bounds[1] - bounds[0] >= 10 else 3}f}"
    row = {"mean": estimate.mean, "low": estimate.low, "high": estimate.high, "n": len(values), "measured": told}
    if name and (others := sum(not rules.holds_still(name, text) for text in rows["rules"])):
        return row | {"outcome": f"not counted: {others} of {len(rows)} were made under another rule"}
    if not enough:
        return row | {"outcome": f"not decided: {len(values)} of {repetitions} repetitions"}
    if "ceiling" in wanted and (rows["worse"] >= wanted["ceiling"]).all():
        return row | {
            "outcome": f"not testable: both sides reach {wanted['ceiling']} %, the lower {rows['worse'].min():.2f}"
        }
    return row | {"outcome": _outcome(estimate, wanted)}


def _outcome(estimate: Interval, wanted: dict[str, Any]) -> str:
    """``holds`` or ``fails`` where the whole interval is on one side of every bound."""
    least, most = wanted.get("at_least", -math.inf), wanted.get("at_most", math.inf)
    low, high = estimate.low + ROUNDING, estimate.high - ROUNDING
    if least <= low and high <= most:
        return "holds"
    if estimate.high < least - ROUNDING or estimate.low > most + ROUNDING:
        return "fails"
    return "not decided: the interval contains the bound"


def verdict_of_case(outcomes: Iterable[str]) -> str:
    """The verdict of a claim on one data set: supported if every criterion holds and not supported if one fails;
    otherwise not decided while one is open, and not testable if no more than that is in the way."""
    kinds = {outcome.partition(":")[0] for outcome in outcomes}
    if "fails" in kinds:
        return "not supported"
    if kinds - {"holds", "not testable"} or not kinds:
        return "not decided"
    return "not testable" if "not testable" in kinds else "supported"


def verdict_of_claim(cases: Iterable[str]) -> str:
    """The verdict of a claim from those on its data sets: what the decided ones agree on, partly supported where they
    disagree; with none decided it is not testable where no data set could test it, and otherwise not decided."""
    verdicts = set(cases)
    decided = verdicts & {"supported", "not supported"}
    if decided:
        return decided.pop() if len(decided) == 1 else "partly supported"
    return "not testable" if verdicts == {"not testable"} else "not decided"
