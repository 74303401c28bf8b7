"""The published numbers on ImageNet, as data frames: they stand beside what is measured here, never among it.

``published/imagenet.csv`` holds figures of Sauer & Geiger (2021, as quoted by Bagad et al.), the reproduction study and
Bagad et al. (2022), one a row."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import pandas as pd

from reprolib.vocabulary import STUDIES

FILE = Path(__file__).parents[1] / "published" / "imagenet.csv"
_RELEASED = "released result files"
_CHALLENGE = {
    "in9_original_top1": "original",
    "in9_mixed_same_top1": "mixed_same",
    "in9_mixed_rand_top1": "mixed_rand",
    "bg_gap": "gap",
}


@lru_cache(maxsize=1)
def numbers() -> pd.DataFrame:
    """Every published number: study, model, source, table, dataset, metric, value, unit, settings.

    The files that Bagad et al. released say something else than their tables, so they are a study of their own.
    """
    rows = pd.read_csv(FILE, keep_default_na=False, dtype={"value": float}).rename(columns={"trained_on": "model"})
    files = rows["table"].eq(_RELEASED).map({True: ", released files", False: ""})
    return rows.assign(study=rows["source"].map(STUDIES) + files)


def quality() -> pd.DataFrame:
    """Inception Score and mean mask (reproduction Table 3, and the loss ablations): study, model, is_gen, mean_mask."""
    tables = ("Table 3", "Loss ablation", "Table 2", _RELEASED)
    return _wide(tables, {"inception_score": "is_gen", "mask_mean": "mean_mask"})


def evidence() -> pd.DataFrame:
    """What the first two criteria of claim 1 on ImageNet are applied to: one row per published CGN and criterion, with
    the columns of evidence. Ablations, and the images of the generator itself, are nulls. The published values come
    without an error, so the interval is the value.

    A study without a score of BigGAN is held against that of Sauer & Geiger, whose experiment it repeats.
    """
    rows = quality()
    generator = rows[rows["model"].str.startswith("BigGAN")].set_index("study")["is_gen"]
    best = rows["study"].map(generator).fillna(generator[STUDIES["sauer2021"]])
    rows = rows.assign(inception_score=100 * rows["is_gen"] / best, case="ImageNet, " + rows["study"])
    rows["null"] = rows["model"].str.extract(r"\((no .* loss)\)")[0].radd("published, ").fillna("")
    rows["null"] = rows["null"].mask(rows["model"].str.startswith("BigGAN"), "the generator's images")
    long = rows.melt(["case", "model", "null"], ["inception_score", "mean_mask"], "criterion", "value").dropna()
    return long.assign(source=long["model"], low=long["value"], high=long["value"])


def challenge() -> pd.DataFrame:
    """The backgrounds challenge (reproduction Table 5 and its likes): study, model, three accuracies and the gap."""
    return _wide(("Table 5", "Backgrounds challenge"), _CHALLENGE)


def bias() -> pd.DataFrame:
    """Shape bias and accuracy (reproduction Table 4 and its likes): study, model, shape_bias, top-1, top-5."""
    named = {"shape_bias": "shape_bias", "top1_accuracy": "top-1", "top5_accuracy": "top-5"}
    return _wide(("Table 4", "Shape vs. texture"), named)


def accuracy() -> pd.DataFrame:
    """Accuracy on real images (reproduction Table 4 and its likes): study, model, top-1, top-5. All are of ensembles;
    nobody printed that of a single head, though the reproduction study prints its own beside the texture head."""
    return bias().dropna(subset="top-1").drop(columns="shape_bias").reset_index(drop=True)


def factors() -> pd.DataFrame:
    """How often each head names its own factor of validation counterfactuals (files that Bagad et al. released): study,
    model, top-1, top-5."""
    return _wide((_RELEASED,), {"counterfactual_top1": "top-1", "counterfactual_top5": "top-5"})


def out_of_distribution() -> pd.DataFrame:
    """Out-of-distribution accuracy (Bagad et al.): study, model, one column a set. Their Stylized-ImageNet is the
    cue-conflict set."""
    rows = numbers().query("source == 'bagad2022' and table == 'Table 6' and metric == 'top1_accuracy'")
    return _pivoted(rows.assign(metric=rows["dataset"]), ["study", "model"])


def search() -> pd.DataFrame:
    """Reproduction Table 7: model, settings (learning rate and CF ratio), three accuracies and the gap."""
    rows = numbers().query("source == 'reproduction' and table == 'Table 7' and metric in @_CHALLENGE")
    return _pivoted(rows.assign(metric=rows["metric"].map(_CHALLENGE)), ["model", "settings"], _CHALLENGE.values())


def _wide(tables: tuple[str, ...], metrics: dict[str, str]) -> pd.DataFrame:
    rows = numbers().query("table in @tables and metric in @metrics")
    return _pivoted(rows.assign(metric=rows["metric"].map(metrics)), ["study", "model"], metrics.values())


def _pivoted(rows: pd.DataFrame, index: list[str], columns: Iterable[str] = ()) -> pd.DataFrame:
    """One row per case of ``index``, one column per metric; in this order, or that of the file."""
    wide = rows.pivot_table(index=index, columns="metric", values="value", sort=False).rename_axis(columns=None)
    return wide.reindex(columns=list(columns) or wide.columns).reset_index()
