"""The published numbers on MNIST, as data frames.

``published/mnist.csv`` holds figures only, one a row, of Sauer & Geiger (2021, as quoted by Bagad et al.), of the
reproduction study and of Bagad et al. (2022); ``cgn`` says whose CGN was behind a number (``own``: trained by that
study, ``authors``: the released weights, ``dcgan``: a separate GAN)."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from reprolib.schema import RECIPES
from reprolib.vocabulary import VARIANTS

FILE = Path(__file__).parent / "published" / "mnist.csv"
SETTINGS = FILE.with_name("settings.csv")
STUDIES = {"sauer2021": "Sauer & Geiger", "reproduction": "reproduction study", "bagad2022": "Bagad et al."}


def settings(params: dict[str, Any]) -> pd.DataFrame:
    """The protocol of every study beside that of a run: one row per setting, the run's value last.

    params: nested parameters of a run.
    """
    table = pd.read_csv(SETTINGS, dtype=str)
    values = []
    for name in table.pop("parameter"):
        group, _, key = name.rpartition(".")
        values.append(
            _steps(params["cgn"]) if name == "cgn.steps" else _shown((params[group] if group else params)[key])
        )
    return table.assign(here=values)


def _steps(cgn: dict[str, Any]) -> str:
    """How long each recipe of a run trains; no steps of the published one are the paper's 15 epochs."""
    lengths = {"published": cgn["steps"], "stable": cgn["stable_steps"]}
    told = [f"{_shown(lengths[recipe])} ({recipe})" for recipe in RECIPES if recipe in cgn["sources"]]
    return "; ".join(told) or "none is trained"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{VARIANTS[name].title} {_shown(count)}" for name, count in value.items())
    return "15 epochs" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


@lru_cache(maxsize=1)
def numbers() -> pd.DataFrame:
    """Every published number: source, table, variant, trained_on, cgn, size, ratio, edge_loss, metric, value, unit."""
    return pd.read_csv(FILE, keep_default_na=False, dtype={"value": float})


def accuracy(metric: str = "test_accuracy_ood") -> pd.DataFrame:
    """Classification accuracies in percent: columns study, table, variant, trained_on, cgn, value.

    Single runs that were released beside a paper and the ablation are left out; they are not its tables.
    """
    rows = numbers()
    tables = {"Table 1", "Table 2", "Table 6", "Table 3", "MNIST classification"}
    rows = rows[(rows["metric"] == metric) & rows["table"].isin(tables)]
    rows = rows.assign(study=rows["source"].map(STUDIES))
    return rows[["study", "table", "variant", "trained_on", "cgn", "value"]].reset_index(drop=True)


def ablation() -> pd.DataFrame:
    """Accuracy against number and ratio of counterfactuals (Bagad et al., Fig 10): variant, size, ratio, value."""
    rows = numbers()
    rows = rows[rows["table"] == "Fig. 10"]
    return rows[["variant", "size", "ratio", "value"]].astype({"size": int, "ratio": int}).reset_index(drop=True)


def macro_iou(variant: str) -> dict[str, float]:
    """Mean macro IoU of GradCAM by training set (Bagad et al., Fig 4d); empty for a variant of one's own."""
    rows = numbers()
    rows = rows[(rows["metric"] == "gradcam_iou_macro") & rows["table"].str.startswith("Fig. 4d")]
    rows = rows[rows["variant"] == variant]
    return dict(zip(rows["trained_on"], rows["value"], strict=True))


def good_digit_runs() -> pd.DataFrame:
    """How many of 47 plain runs (20 with edge loss) had how many good masks (Bagad et al., Fig 7)."""
    rows = numbers()
    rows = rows[rows["table"] == "Fig. 7"]
    digits = rows["metric"].str.extract(r"cgn_runs_with_(\d+)_good_masks")[0].astype(int)
    return pd.DataFrame({"edge_loss": rows["edge_loss"], "good_digits": digits, "runs": rows["value"].astype(int)})
