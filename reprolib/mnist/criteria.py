"""What the rules of the three claims are applied to, on the MNIST half."""

from __future__ import annotations

from math import nan

import numpy as np
import pandas as pd

from reprolib.mnist import nulls as known
from reprolib.mnist import quality
from reprolib.mnist.tables import titled
from reprolib.schema import RECIPES, SOURCES, CgnSource

Side = tuple[str, ...]
"""Training sets on one side of a difference; the best of them counts."""
CONTROLS: Side = ("Original", "Original+GAN")
"""What claim 2 compares with: original data alone, and with as many samples of the same CGN whose labels agree. The
latter has at least as many images and updates, and the same colours, so a gain over it comes of independent factors."""
GAIN: dict[str, tuple[Side, Side]] = {
    "gain_cgn": (("CGN",), CONTROLS),
    "gain_both": (("Original+CGN",), CONTROLS),
}
"""Criteria of claim 2: what is subtracted comes second."""
LOSS: dict[str, tuple[Side, Side]] = {"loss_both": (("Original",), ("Original+CGN",))}
"""Those of claim 3."""
NULLS = {
    "gain_cgn": {"labels agree": "GAN", "wrong labels": "CGN, wrong labels"},
    "gain_both": {"wrong labels": "Original+CGN, wrong labels"},
    "loss_both": {"wrong labels": "CGN, wrong labels"},
}
"""Nulls of these criteria: the training set that takes the place of the one with counterfactuals."""


def of_quality(runs: pd.DataFrame, accuracy: pd.DataFrame, deciding: CgnSource) -> pd.DataFrame:
    """Claim 1: one row per CGN, or null, and criterion; columns source, criterion, case, value, null, low, high, rules.

    runs: of ``quality_runs`` and ``null_runs``; accuracy: of ``counterfactual_accuracy_runs``. Control is told in
    percent of what the reader of a factor reaches on real images, because a perfect CGN would get no more; what is
    relative to real images may exceed 100 %, and counts as 100. low and high: the sampling interval of masks and
    images, for whatever is not trained here. A null stands beside the CGN that decides.
    """
    rows = []
    for run in runs.to_dict("records"):
        factors = [factor for factor in quality.FACTORS if run.get(f"{factor}_reader", nan) > 0]
        ends = {
            factor: [100 * run[f"{factor}{end}"] / run[f"{factor}_reader"] for end in (f"<-{factor}", "_low", "_high")]
            for factor in factors
        }
        textures = [ends[factor] for factor in factors if factor != "shape"]
        values = {
            "good_digits": [run["good_digits"], run["good_digits_low"], run["good_digits_high"]],
            "shape_control": ends["shape"],
            "texture_control": [sum(each) / len(textures) for each in zip(*textures, strict=True)],
        }
        keys = {name: run[name] for name in ("variant", "source", "seed", "rules")}
        rows += [
            keys | {"criterion": name} | dict(zip(("value", "low", "high"), found, strict=True))
            for name, found in values.items()
        ]
    relative = accuracy.rename(columns={"relative": "value"}).assign(criterion="counterfactual_accuracy")
    long = pd.concat([pd.DataFrame(rows), relative.drop(columns="accuracy")], ignore_index=True)
    long = long[long["source"] != "real digits"]
    long.loc[long["source"].isin(RECIPES), ["low", "high"]] = nan
    null = long["source"].isin(known.NULLS)
    long = long.assign(null=long["source"].where(null, ""), source=long["source"].mask(null, deciding))
    long = long.dropna(subset="value").assign(**long[["value", "low", "high"]].clip(upper=100))
    order = long["source"].map(list(SOURCES).index).sort_values(kind="stable").index
    return _by_source([long.loc[order]])


def of_gains(
    runs: pd.DataFrame, value: str, criteria: dict[str, tuple[Side, Side]], nulls: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Claims 2 and 3: differences of ``value`` between two training sets that share seed, variant and CGN.

    criteria: GAIN or LOSS. nulls: runs of the training sets of NULLS, made with the CGN that decides. Columns source,
    criterion, case, null, value, worse (the lower of the two values) and rules.
    """
    parts = []
    for source in [source for source in SOURCES if source in set(runs["source"])]:
        here = runs[runs["source"].isin([source, ""])]
        for name, (first, second) in criteria.items():
            one, other = _side(here, first, value), _side(here, second, value)
            parts.append(_difference(one, other, criterion=name, source=source, null=""))
            if nulls is None or source not in set(nulls["source"]):
                continue
            for null, instead in NULLS[name].items():
                made = _side(nulls, (instead,), value)
                sides = (made, other) if first[0] != "Original" else (one, made)
                parts.append(_difference(*sides, criterion=name, source=source, null=null))
    return _by_source(parts)


def _side(runs: pd.DataFrame, names: Side, value: str) -> pd.DataFrame:
    """The best value of the named training sets and all their rules, by variant and seed; only where all were run."""
    groups = runs[runs["training_set"].isin(names)].groupby(["variant", "seed"])
    found = groups.agg(value=(value, "max"), rules=("rules", " ".join), count=("seed", "size"))
    return found[found["count"] == len(names)]


def _difference(one: pd.DataFrame, other: pd.DataFrame, **names: str) -> pd.DataFrame:
    shared = one.index.intersection(other.index)
    one, other = one.loc[shared], other.loc[shared]
    found = {
        "value": one["value"] - other["value"],
        "worse": np.minimum(one["value"], other["value"]),
        "rules": one["rules"] + " " + other["rules"],
    }
    return pd.DataFrame(found).reset_index().assign(**names)


def _by_source(parts: list[pd.DataFrame]) -> pd.DataFrame:
    evidence = titled(pd.concat(parts, ignore_index=True)).rename(columns={"variant": "case"})
    first = ["source", "criterion", "case", "value"]
    return evidence[[*first, *(name for name in ("null", "low", "high", "worse", "rules") if name in evidence)]]
