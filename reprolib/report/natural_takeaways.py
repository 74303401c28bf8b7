"""The same as ``takeaways.py`` for natural images."""

from __future__ import annotations

import pandas as pd

from reprolib import statistics
from reprolib.natural.classify import HEADS
from reprolib.natural.plan import REAL
from reprolib.natural.tables import with_counterfactuals
from reprolib.report.words import DIGITS, TITLES, listed, named
from reprolib.run import rules


def losses(rated: pd.DataFrame, column: str) -> str:
    """rated: of ``natural.tables.quality``. What leaving a loss out does to a measure; all losses: those of the first
    kind of CGN and the first texture target."""
    digits, first = DIGITS.get(column, 1), rated.iloc[0]
    same = (rated["cgn"] == first["cgn"]) & (rated["target"] == first["target"]) & (rated["losses"] == "all")
    told = [
        f"{row['losses'].removeprefix('all; ').replace('none', 'before training')} {row[column]:.{digits}f}"
        for _, row in rated[rated["losses"] != "all"].iterrows()
    ]
    return f"{named(column)}: {rated.loc[same, column].mean():.{digits}f} with all losses; {'; '.join(told)}."


def compared(frame: pd.DataFrame, column: str, what: str, chance: float | None = None) -> str:
    """The mean of a column of ``natural.tables.classifiers`` without counterfactuals, and with them, where the
    difference from the classifier without of the same seed is told with its interval.

    chance: an accuracy by guessing, in percent; named where a mean is not clearly above it.
    """
    ensembles = frame[frame["trained_on"].str.startswith(REAL)].dropna(subset=column)
    by_set = {name: part.set_index("seed")[column] for name, part in ensembles.groupby("trained_on", sort=False)}
    told = []
    for name, values in by_set.items():
        notes = [] if name == REAL else [_change((values - by_set[REAL]).dropna().tolist())]
        if chance is not None and (mean := statistics.interval(values.tolist())).low <= chance:
            notes.append(f"{'below' if mean.high < chance else 'not clearly above'} chance")
        title = f"{REAL} alone" if name == REAL else str(name).replace(f"{REAL} +", "with")
        told.append(f"{title} {values.mean():.1f}" + (f" ({'; '.join(notes)})" if notes else ""))
    return f"{what}{'' if chance is None else f' (chance {chance:.1f})'}: {listed(told)}."


def _change(differences: list[float]) -> str:
    """Such as ``+25.0, 4.0 to 45.9``: a mean difference with its interval, where there are enough for one."""
    found = statistics.interval(differences, statistics.DIFFERENCE)
    ends = f", {found.low:z.1f} to {found.high:z.1f}" if len(differences) >= statistics.LEAST else ", too few to tell"
    return f"{found.mean:+z.1f}{ends}"


def searched(cells: pd.DataFrame) -> str:
    """cells: of ``natural.tables.search``. The cell with the smallest gap, beside real images at the same rate."""
    means = cells.groupby(["trained_on", "rate", "ratio"], sort=False)["gap"].mean().reset_index()
    best = means.sort_values("gap", kind="stable").iloc[0]
    told = f"Background gap: lowest for {best['trained_on']} at rate {best['rate']:g} and CF ratio {best['ratio']:g}"
    real = means[(means["trained_on"] == REAL) & (means["rate"] == best["rate"])]["gap"].tolist()
    beside = f"; real images alone at that rate {real[0]:.1f}" if real and best["trained_on"] != REAL else ""
    return f"{told}, {best['gap']:.1f}{beside}."


def own_factors(frame: pd.DataFrame) -> str:
    """frame: of ``natural.tables.classifiers``. How often each head names its own factor, training set by training set,
    because each is tested on counterfactuals of its own kind."""
    told = [
        f"{name}: " + ", ".join(f"{TITLES[head]} {part[f'factor/{head}'].mean():.1f}" for head in HEADS)
        for name, part in frame[with_counterfactuals(frame)].groupby("trained_on", sort=False)
    ]
    return f"Each on counterfactuals of its own kind, in percent; {'; '.join(told)}."


def predictions(frame: pd.DataFrame, world: str = "scenes") -> str:
    """frame: the same. What the mean of the heads, which claim 3 judges, and the prediction without the background
    head, which claim 2 judges, lose on unchanged images and in the gap, and which of them has what both rules ask."""
    asked = rules.every()[f"claim2_{world}"]["criteria"]["gap"]["at_least"]
    allowed = rules.every()[f"claim3_{world}"]["criteria"]["original"]["at_most"]
    heads = {"the mean of the heads": "avg", "the prediction without the background head": "shape_texture"}
    means = frame[frame["trained_on"].str.startswith(REAL)].groupby("trained_on", sort=False).mean(numeric_only=True)
    changes, told, both = means - means.loc[REAL], [], []
    for name, row in changes.drop(index=REAL).iterrows():
        said = [
            f"{title} {row[f'original/{head}']:+.1f} points on unchanged images, {row[f'gap/{head}']:+.1f} of gap"
            for title, head in heads.items()
        ]
        images = str(name).removeprefix(f"{REAL} + ")
        told.append(f"with {images} {' and '.join(said)}")
        fit = [head for head in heads.values() if row[f"gap/{head}"] <= -asked and row[f"original/{head}"] >= -allowed]
        both += [f"{title} with {images}" for title, head in heads.items() if head in fit]
    which = listed(both or ["no prediction"])
    return (
        f"{which[0].upper()}{which[1:]} {'have' if len(both) > 1 else 'has'} on average a gap that is {asked} "
        f"points smaller and at most {allowed} points less on unchanged images. "
        f"Against real images alone: {'; '.join(told)}."
    )
