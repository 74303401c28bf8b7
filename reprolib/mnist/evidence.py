"""What the rules of the three claims are applied to, on the MNIST half."""

from __future__ import annotations

import numpy as np
import pandas as pd

from reprolib.mnist.tables import quality_evidence, titled
from reprolib.schema import SOURCES, CgnSource

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


def of_quality(runs: pd.DataFrame, accuracy: pd.DataFrame, deciding: CgnSource) -> pd.DataFrame:
    """Claim 1: one row per CGN, or null, and criterion; see ``tables.quality_evidence``. Columns source, criterion,
    case, value, null, low, high and rules. What is relative to real images may exceed 100 %, and counts as 100."""
    long = quality_evidence(runs, accuracy, deciding)
    ends = ["value", "low", "high"]
    return _by_source([long.assign(**long[ends].clip(upper=100)).sort_values("source", key=_rank, kind="stable")])


def _rank(sources: pd.Series) -> pd.Series:
    return sources.map(list(SOURCES).index)


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
