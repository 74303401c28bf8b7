"""What a stranger reads in place of column names: titles with their unit and which way is better, and few digits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

TITLES = {
    "variant": "data set",
    "case": "data set",
    "source": "whose CGN",
    "cgn": "CGN",
    "training_set": "trained on",
    "measured": "measured, with its interval",
    "nulls": "what must fail",
    "null": "what must fail",
    "ours": "here, %",
    "good_digits": "good digits of ten ↑",
    "recognised": "masks recognised, % ↑",
    "pairwise_iou": "likeness of masks (IoU) ↓",
    "mean_mask": "mean mask",
    "mean_mask_sd": "standard deviation of the mask",
    "shape_control": "shape read as its label, % ↑",
    "texture_control": "textures read as their labels, % ↑",
    "digit_reader": "digit reader, %",
    "shape_reader": "shape reader, %",
    "foreground_reader": "foreground reader, %",
    "background_reader": "background reader, %",
    "steps": "training steps",
    "reach": "reach of Adam (rate x steps)",
    "bias": "bias of the last norm",
    "accuracy": "accuracy out of domain, % ↑",
    "relative": "of true counterfactuals, % ↑",
    "published_low": "lowest of Bagad et al., %",
    "published_high": "highest of Bagad et al., %",
    "nine_or_ten": "with nine or ten ↑",
    "minutes": "minutes each, median",
    "accuracy_10k": "accuracy of 10,000 counterfactuals, % ↑",
    "mask": "mask entropy, start to end",
    "style": "style, at four layers",
    "colours": "colours of ground and object",
    "cgn_rate": "learning rate of the CGN",
    "critic_rate": "learning rate of the discriminator",
    "target": "texture target",
    "is_gen": "Inception Score, composed ↑",
    "is_gt": "Inception Score, generator",
    "is_gen_0.5": "Inception Score, composed, truncation 0.5 ↑",
    "is_gt_0.5": "Inception Score, generator, truncation 0.5",
    "is_share": "Inception Score, % of the generator's ↑",
    "mask_iou": "mask IoU ↑",
    "residue": "background residue ↓",
    "entanglement": "entanglement ↓",
    "own": "factors read as their own label, % ↑",
    "other": "factors read as another's label, % (chance 11) ↓",
    "along_themes": "variance along themes, x 100 ↓",
    "along_digits": "variance along digits, x 100 ↑",
    "grid_empty": "empty maps, % ↓",
    "heatmap": "map",
    "mass_inside": "heat inside the digit, % ↑",
    "iou_area": "IoU at the digit's area, % ↑",
    "iou_digit": "IoU at 0.5, digit, % ↑",
    "iou_macro": "IoU at 0.5, macro, % ↑",
    "empty": "empty maps, % ↓",
    "published_iou_macro": "published macro IoU, %",
    "original": "unchanged images, % ↑",
    "mixed_same": "background of the class, % ↑",
    "mixed_rand": "background of a random class, % ↑",
    "gap": "background gap, points ↓",
    "shape": "shape head",
    "texture": "texture head",
    "bg": "background head",
    "shape, top-5": "shape head, top-5",
    "texture, top-5": "texture head, top-5",
    "bg, top-5": "background head, top-5",
    "avg": "mean of heads",
    "shape_texture": "without background head",
    "shape_bias": "shape bias, % ↑",
    "top-1": "top-1, % ↑",
    "top-5": "top-5, % ↑",
    "rate": "learning rate",
    "ratio": "CF ratio",
}
"""Column -> title; other names are shown with spaces for underscores."""
DIGITS = {
    "pairwise_iou": 2, "mean_mask": 2, "mean_mask_sd": 2, "reach": 2, "mask_iou": 2, "residue": 2, "entanglement": 2,
    "steps": 0, "rate": 4, "cgn_rate": 4, "critic_rate": 4,
}  # fmt: skip
"""Decimals of a column of numbers, one if it is not here."""
CRITERIA = {
    **{name: TITLES[name].rstrip(" ↑↓") for name in ("good_digits", "own", "residue", "entanglement", "mean_mask")},
    "shape_control": "shape control, % of the reader",
    "texture_control": "texture control, % of the readers",
    "counterfactual_accuracy": "what counterfactuals teach in a short training, % of what true ones teach",
    "gain_cgn": "gain of counterfactuals alone, points",
    "gain_both": "gain of originals and counterfactuals, points",
    "loss_both": "loss of accuracy, points",
    "gap": "background gap removed, points",
    "mixed_rand": "gain before a random background, points",
    "shape_bias": "gain in shape bias, points",
    "top1": "loss of top-1 accuracy, points",
    "original": "loss on unchanged images, points",
    "inception_score": "Inception Score, % of the generator's",
    "factors": "factors named by their heads, %",
}
"""Criterion of ``params/claims.yaml`` -> its short name."""


def listed(names: Iterable[object]) -> str:
    """``a, b and c``."""
    *most, last = map(str, names)
    return f"{', '.join(most)} and {last}" if most else last


def named(column: str) -> str:
    """The title of a column as a sentence begins with it."""
    title = TITLES.get(column, column).rstrip(" ↑↓")
    return title[0].upper() + title[1:]


def markdown_table(frame: pd.DataFrame) -> str:
    """A data frame as a Markdown table; text is printed as it stands, numbers with the digits of their column."""
    lines = ["| " + " | ".join(TITLES.get(str(name), str(name).replace("_", " ")) for name in frame) + " |"]
    lines.append("|" + "---|" * len(frame.columns))
    cells = [[_cell(value, DIGITS.get(str(name), 1)) for value in frame[name]] for name in frame]
    lines += ["| " + " | ".join(row) + " |" for row in zip(*cells, strict=True)]
    return "\n".join(lines)


def _cell(value: Any, digits: int) -> str:
    if isinstance(value, float):
        return "" if pd.isna(value) else f"{value:,.{digits}f}"
    text = "" if value is None else f"{value:,}" if type(value) is int and abs(value) >= 1_000 else str(value)
    return " ".join(text.replace("|", "\\|").split("\n"))
