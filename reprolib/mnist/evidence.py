"""What the rules of the three claims are applied to, on the MNIST half."""

from __future__ import annotations

import pandas as pd

from reprolib.mnist import quality
from reprolib.mnist.tables import titled
from reprolib.schema import SOURCES


def of_quality(runs: pd.DataFrame) -> pd.DataFrame:
    """Claim 1: one row per CGN and criterion; columns source, criterion, case, value.

    Control is told in percent of what the reader of a factor reaches on real images, because a perfect CGN would get
    no more.
    """
    share = {
        factor: 100 * runs[f"{factor}<-{factor}"] / runs[f"{factor}_reader"]
        for factor in quality.FACTORS
        if f"{factor}_reader" in runs
    }
    textures = pd.DataFrame({factor: share[factor] for factor in share if factor != "shape"}).mean(axis=1)
    relative = runs.assign(shape_control=share["shape"], texture_control=textures)
    criteria = ["good_digits", "shape_control", "texture_control"]
    long = relative.melt(["variant", "source"], criteria, "criterion", "value")
    return _by_source([long[long["source"] == source] for source in SOURCES])


def of_gains(runs: pd.DataFrame, value: str, criteria: dict[str, tuple[str, str]]) -> pd.DataFrame:
    """Claims 2 and 3: differences of ``value`` between two training sets that share seed, variant and CGN.

    criteria: name -> (training set, training set that is subtracted). Columns source, criterion, case, value.
    """
    parts = []
    for source in [source for source in SOURCES if source in set(runs["source"])]:
        usable = runs[runs["source"].isin([source, ""])]
        wide = usable.pivot_table(index=["variant", "seed"], columns="training_set", values=value)
        for name, (first, second) in criteria.items():
            gain = (wide[first] - wide[second]).rename("value").reset_index()
            parts.append(gain.assign(criterion=name, source=source))
    return _by_source(parts)


def _by_source(parts: list[pd.DataFrame]) -> pd.DataFrame:
    evidence = titled(pd.concat(parts, ignore_index=True)).rename(columns={"variant": "case"})
    return evidence[["source", "criterion", "case", "value"]]
