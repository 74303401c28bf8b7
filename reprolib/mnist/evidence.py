"""What the rules of the three claims are applied to, on the MNIST half."""

from __future__ import annotations

import numpy as np
import pandas as pd

from reprolib.mnist import quality
from reprolib.mnist.tables import titled
from reprolib.schema import SOURCES

GAIN = {"gain_cgn": ("CGN", "Original"), "gain_both": ("Original+CGN", "Original")}
"""Criteria of claim 2: training set, training set that is subtracted."""
LOSS = {"loss_both": ("Original", "Original+CGN")}
"""Those of claim 3."""
NULLS = {
    "gain_cgn": {"labels agree": "GAN", "wrong labels": "CGN, wrong labels"},
    "gain_both": {"labels agree": "Original+GAN"},
    "loss_both": {"wrong labels": "CGN, wrong labels"},
}
"""Nulls of these criteria: the training set that takes the place of the one with counterfactuals."""


def of_quality(runs: pd.DataFrame) -> pd.DataFrame:
    """Claim 1: one row per CGN and criterion; columns source, criterion, case, value, rules, and null, low and high
    where the runs have them: for a CGN that is given, low and high are its sampling interval.

    Control is told in percent of what the reader of a factor reaches on real images, because a perfect CGN would get
    no more.
    """
    share = {
        factor: 100 * runs[f"{factor}<-{factor}"] / runs[f"{factor}_reader"]
        for factor in quality.FACTORS
        if f"{factor}_reader" in runs
    }
    textures = pd.DataFrame({factor: share[factor] for factor in share if factor != "shape"}).mean(axis=1)
    relative = runs.assign(shape_control=share["shape"].clip(upper=100), texture_control=textures.clip(upper=100))
    criteria = ["good_digits", "shape_control", "texture_control"]
    long = relative.melt(["variant", "source", "rules"], criteria, "criterion", "value")
    return _by_source([long[long["source"] == source] for source in SOURCES])


def of_gains(
    runs: pd.DataFrame, value: str, criteria: dict[str, tuple[str, str]], nulls: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Claims 2 and 3: differences of ``value`` between two training sets that share seed, variant and CGN.

    criteria: GAIN or LOSS. nulls: runs of the training sets of NULLS, made with the CGN that decides. Columns source,
    criterion, case, null, value, worse (the lower of the two values) and rules.
    """
    parts = []
    for source in [source for source in SOURCES if source in set(runs["source"])]:
        usable = runs[runs["source"].isin([source, ""])]
        parts += [_difference(usable, value, *pair, criterion=n, source=source) for n, pair in criteria.items()]
    if nulls is not None:
        usable, source = pd.concat([runs[runs["source"] == ""], nulls]), nulls["source"].iloc[0]
        for name, pair in criteria.items():
            for null, instead in NULLS[name].items():
                first, second = (side if side == "Original" else instead for side in pair)
                parts.append(_difference(usable, value, first, second, criterion=name, source=source, null=null))
    return _by_source(parts)


def _difference(runs: pd.DataFrame, value: str, first: str, second: str, **names: str) -> pd.DataFrame:
    both = [runs[runs["training_set"] == name].set_index(["variant", "seed"]).sort_index() for name in (first, second)]
    one, other = (each.loc[both[0].index.intersection(both[1].index)] for each in both)
    found = {
        "value": one[value] - other[value],
        "worse": np.minimum(one[value], other[value]),
        "rules": one["rules"] + " " + other["rules"],
    }
    return pd.DataFrame(found).reset_index().assign(**({"null": ""} | names))


def _by_source(parts: list[pd.DataFrame]) -> pd.DataFrame:
    evidence = titled(pd.concat(parts, ignore_index=True)).rename(columns={"variant": "case"})
    first = ["source", "criterion", "case", "value"]
    return evidence[[*first, *(name for name in ("null", "low", "high", "worse", "rules") if name in evidence)]]
