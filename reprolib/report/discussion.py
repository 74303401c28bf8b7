"""The discussion: each conclusion of the reproduction study beside what this run says, and what would change a verdict.

What is said of this run is the takeaway of a table or figure, as its notebook made it from the numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import inf, sqrt
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from nbformat import NotebookNode
from scipy.stats import t as student

from reprolib import statistics
from reprolib.report.results import bounds
from reprolib.report.words import CRITERIA

FILE = Path(__file__).parent / "templates" / "discussion.yaml"
ABSENT = "Not part of this run."
MOST = 200
"""Repetitions; a verdict that needs more is too near to its bound to be decided by repeating."""
_TAKEAWAY = re.compile(r"\*\*Takeaway\.\*\* (.*) \(`((?:results|figures)/\S+)`\)\s*$", re.DOTALL)


def takeaways(notebooks: Sequence[NotebookNode]) -> dict[str, str]:
    """What executed notebooks say of their tables and figures: the file behind each -> its takeaway."""
    outputs = [output for notebook in notebooks for cell in notebook.cells for output in cell.get("outputs", [])]
    texts = ["".join(output.get("data", {}).get("text/markdown", "")) for output in outputs]
    found = [match for match in map(_TAKEAWAY.search, texts) if match]
    return {match[2]: match[1] for match in found}


def points(told: dict[str, str]) -> pd.DataFrame:
    """One row per conclusion of ``discussion.yaml``: topic, what the reproduction study concluded, the claim whose
    verdict answers it, if there is one, and what this run says: the takeaway of each of the files that it has."""
    rows = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    here = [[f"{told[file]} (`{file}`)" for file in row["here"] if file in told] or [ABSENT] for row in rows]
    return pd.DataFrame(rows).drop(columns="here").assign(here=pd.Series(here))


# ---------------------------------------------------------------- what decides a verdict, and what would change it


def decisive(rows: pd.DataFrame, criteria: dict[str, Any]) -> pd.Series:
    """The criterion that decides a verdict: one that fails, else one that is open, else the one whose interval is
    nearest to its bound. rows: those of a verdict table for one source and data set."""
    kinds = rows["outcome"].str.partition(":")[0]
    for kind in ("fails", "not counted", "not decided", "not testable"):
        if (kinds == kind).any():
            return rows[kinds == kind].iloc[0]
    margins = [_margin(row, criteria[row["criterion"]]) for _, row in rows.iterrows()]
    return rows.iloc[margins.index(min(margins))]


def reason(row: pd.Series, criteria: dict[str, Any]) -> str:
    """The number of a criterion beside what was asked."""
    why = row["outcome"].partition(": ")[2]
    told = f"{CRITERIA.get(row['criterion'], row['criterion'])}: {row['measured'] or 'not measured'}"
    return f"{told}, asked {bounds(criteria[row['criterion']])}" + (f" ({why})" if why else "")


def also_open(row: pd.Series, rows: pd.DataFrame) -> str:
    """The criteria of a verdict table that are not decided beside the one that decides, to be put behind ``reason``."""
    others = rows[rows["outcome"].str.startswith("not decided") & (rows["criterion"] != row["criterion"])]
    told = [f"{CRITERIA.get(name, name)}: {value}" for name, value in others[["criterion", "measured"]].to_numpy()]
    return f"; not decided: {'; '.join(told)}" if told else ""


def open_if_looked(row: pd.Series, wanted: dict[str, Any], looks: int) -> bool:
    """Whether a decided criterion would be open if it had been looked at so often while repetitions were added, and
    its interval were held to 95 % over all looks (Bonferroni)."""
    if looks < 2 or row["outcome"] not in ("holds", "fails"):
        return False
    outside = 0.05 if "sides" in wanted else 0.025
    wider = student.ppf(1 - outside / looks, row["n"] - 1) / student.ppf(1 - outside, row["n"] - 1)
    low, high = (row["mean"] + wider * (row[end] - row["mean"]) for end in ("low", "high"))
    least, most = wanted.get("at_least", -inf), wanted.get("at_most", inf)
    return low < least <= high or low <= most < high


def turning_point(row: pd.Series, wanted: dict[str, Any]) -> str:
    """What would change the outcome of a decisive criterion: by how much its interval would have to be elsewhere; for
    one that is not decided, how many repetitions of this spread would decide it."""
    name, _, unit = CRITERIA.get(row["criterion"], row["criterion"]).partition(", ")
    kind, least, most = row["outcome"].partition(":")[0], wanted.get("at_least", -inf), wanted.get("at_most", inf)
    above, below = row["low"] - least, most - row["high"]  # how far the interval is within each bound
    if kind == "holds":
        way = "lower" if above < below else "higher"
        left = min(above, below)
        return f"{name}: more than {_told(left, unit)} {way}" if left > 0 else f"{name}: anything {way}"
    if kind == "fails":
        low, high = least - row["high"], row["low"] - most
        return f"{name}: {_told(max(low, high), unit)} {'higher' if low > high else 'lower'}"
    if kind == "not testable":
        return f"{name}: a harder test"
    if kind != "not decided" or row["n"] < statistics.LEAST:
        return f"{name}: a measurement; this one is {row['outcome']}"
    away = min(abs(row["mean"] - bound) for bound in (least, most))
    half_width = max(row["high"] - row["mean"], row["mean"] - row["low"])
    needed = repetitions(int(row["n"]), half_width, away, "sides" in wanted)
    many = f"about {needed}" if needed <= MOST else f"more than {MOST}"
    then = "hold" if least <= row["mean"] <= most else "fail"
    return f"{name}: {many} repetitions, here {row['n']:.0f}; if mean and spread stay what they are, it would {then}"


def repetitions(n: int, half_width: float, distance: float, one_sided: bool) -> int:
    """How many repetitions make Student's interval narrower than the distance from mean to bound, when n have the given
    half width; MOST + 1 where MOST are too few."""
    share = 0.95 if one_sided else 0.975
    spread = half_width * sqrt(n) / student.ppf(share, n - 1)
    enough = (k for k in range(n, MOST + 1) if student.ppf(share, k - 1) * spread / sqrt(k) < distance)
    return next(enough, MOST + 1)


def _margin(row: pd.Series, wanted: dict[str, Any]) -> float:
    """How far an interval is within its bounds, as a share of the range of the measure."""
    least, most = wanted.get("range", statistics.SHARE)
    inside = min(row["low"] - wanted.get("at_least", -inf), wanted.get("at_most", inf) - row["high"])
    return float(inside / (most - least))


def _told(distance: float, unit: str) -> str:
    return f"{distance:.1f} {unit}".strip() if distance >= 1 else f"{distance:.2g} {unit}".strip()
