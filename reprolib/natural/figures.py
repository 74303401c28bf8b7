"""The plots of the natural-image half, one name per world (see ``reprolib/figures.py``)."""

from __future__ import annotations

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reprolib.figures import Arrays, dots, figure, sheet, show


@figure("scenes_data", "imagenet_data")
def data_sheets(data: Arrays) -> Figure:
    """Images of every set: ``images`` (R, N, H, W, 3) and ``rows`` (R,)."""
    images = data["images"]
    drawn, ax = plt.subplots(figsize=(8.6, 0.85 * len(images) + 0.2))
    show(ax, sheet(images))
    step = images.shape[2] + 2
    ax.set_yticks(step * np.arange(len(images)) + step / 2, list(data["rows"]))
    ax.tick_params(length=0)
    return drawn


@figure("scenes_counterfactuals", "imagenet_counterfactuals")
def counterfactuals(data: Arrays) -> Figure:
    """Reproduction Fig 7: sixteen counterfactuals with the classes of shape, texture and background above each."""
    drawn, axes = plt.subplots(2, 8, figsize=(10.8, 3.7))
    for ax, image, label in zip(axes.flat, data["images"], data["labels"], strict=True):
        show(ax, image)
        ax.set_title(str(label).replace(" / ", "\n"), fontsize=7)
    for ax in axes[:, 0]:
        ax.set_ylabel(
            "shape\ntexture\nbackground", rotation=0, ha="right", va="bottom", y=1.04, fontsize=7, style="italic"
        )
    return drawn


@figure("scenes_interpolation", "imagenet_interpolation")
def interpolation(data: Arrays) -> Figure:
    """A walk from one class (left) to another (right) by one label at a time, with the map that changes below each, and
    by all three."""
    walks, ends = data["images"], data["ends"]
    drawn, ax = plt.subplots(figsize=(7.6, 0.85 * len(walks) + 0.4))
    show(ax, sheet(walks))
    step = walks.shape[2] + 2
    ax.set_yticks(step * np.arange(len(walks)) + step / 2, list(data["walks"]))
    ax.set_xticks([step / 2, step * walks.shape[1] - step / 2], list(ends))
    ax.tick_params(length=0)
    ax.set_ylabel("label that changes")
    return drawn


@figure("scenes_training", "imagenet_training")
def training(data: Arrays) -> Figure:
    """Reproduction Figs 8 and 9: what the mechanisms give over training, for three classes. (T, C, 6, H, W, 3)."""
    sheets, rows = data["sheets"], ["m", "premask", "f", "b", "x_gen", "x_gt"]
    picked = np.linspace(0, sheets.shape[1] - 1, 3).round().astype(int)
    drawn, axes = plt.subplots(1, 3, figsize=(10.5, 3.6))
    for ax, number in zip(axes, picked, strict=True):
        show(ax, sheet(sheets[:, number].swapaxes(0, 1)), str(data["classes"][number]))
        step = sheets.shape[3] + 2
        ax.set_xticks(step * np.arange(len(sheets)) + step / 2, [str(update) for update in data["updates"]], fontsize=7)
        ax.set_yticks(step * np.arange(6) + step / 2, rows if number == picked[0] else [""] * 6)
        ax.tick_params(length=0)
        ax.set_xlabel("optimiser update")
    return drawn


@figure("scenes_samples", "imagenet_samples")
def samples(data: Arrays) -> Figure:
    """Reproduction Fig 8: what the mechanisms make of several latents, one panel a class. Sheets (C, 5, N, H, W, 3)."""
    rows = ["shape image", "mask m", "texture f", "background b", "m⊙f + (1-m)⊙b"]
    drawn, axes = plt.subplots(1, len(data["classes"]), figsize=(5.0 * len(data["classes"]), 4.2), squeeze=False)
    for ax, name, each in zip(axes[0], data["classes"], data["sheets"], strict=True):
        show(ax, sheet(each), str(name))
        step = each.shape[2] + 2
        ax.set_yticks(step * np.arange(len(rows)) + step / 2, rows if ax is axes[0, 0] else [""] * len(rows))
        ax.tick_params(length=0)
    return drawn


@figure("scenes_failures", "imagenet_failures")
def failures(data: Arrays) -> Figure:
    """Reproduction Figs 10 to 12: the worst images of three kinds by a number; above the map, below the image."""
    titles = {
        "entanglement": "texture-background entanglement:\ntexture maps with the most background",
        "residue": "background residue:\nbackgrounds with the most salient object",
        "realism": "reduced realism:\nimages that their class gives away least",
    }
    drawn, axes = plt.subplots(1, 3, figsize=(10.5, 1.9))
    for ax, (kind, title) in zip(axes, titles.items(), strict=True):
        show(ax, sheet(data[kind].swapaxes(0, 1)))
        ax.set_title(title, fontsize=8.5)
    step = data["entanglement"].shape[2] + 2
    axes[0].set_yticks([step / 2, 1.5 * step], ["map", "image"])
    axes[0].tick_params(length=0)
    return drawn


@figure("scenes_ablation", "imagenet_ablation")
def ablation(data: pd.DataFrame) -> Figure:
    """Loss ablation and texture targets: one row a kind of CGN, a point each, one panel a measure that was taken."""
    measures = {
        "own": "factors read as\ntheir label (%) →",
        "residue": "background\nresidue ←",
        "entanglement": "entanglement ←",
        "mask_iou": "mask IoU →",
        "mean_mask": "mean mask",
        "is_share": "Inception Score,\n% of the generator's →",
    }
    words = {"all": "all losses", "none": "before training"}
    kind = data["losses"].replace(words) + data["target"].map({"fill": ", random fill"}).fillna("")
    rows = kind + "\n" + data["cgn"]
    long = data.assign(row=rows, training_set=data["losses"].map({"all": "CGN"}).fillna("other"), source=data["cgn"])
    taken = [name for name in measures if name in data and data[name].notna().any()]
    long = long.melt(["row", "training_set", "source"], taken, "panel", "value")
    return dots(long.assign(panel=long["panel"].map(measures)), "small: a CGN", width=1.7, shared=False)


@figure("scenes_gap", "imagenet_gap")
def gap(data: pd.DataFrame) -> Figure:
    """Reproduction Table 5 as a picture: accuracy on the three sets. Columns trained_on, seed, set, head, accuracy."""
    heads = {"avg": "mean of heads", "shape_texture": "no background head"}
    sets = {
        "original": "unchanged",
        "mixed_same": "background\nof the class",
        "mixed_rand": "background of a\nrandom class",
    }
    panel = data["set"].map(sets) + "\n(" + data["head"].map(heads) + ")"
    return _by_training_set(data.rename(columns={"accuracy": "value"}).assign(panel=panel), "accuracy (%) →")


@figure("scenes_bias", "imagenet_bias")
def bias(data: pd.DataFrame) -> Figure:
    """Reproduction Table 4 as a picture: shape bias of every head. Columns trained_on, seed, head, shape_bias."""
    heads = {"shape": "shape head", "texture": "texture head", "bg": "background head", "avg": "mean of heads"}
    named = data.rename(columns={"shape_bias": "value"}).assign(panel=data["head"].map(heads))
    return _by_training_set(named, "shape bias (%) →")


def _by_training_set(data: pd.DataFrame, label: str) -> Figure:
    source = data["trained_on"].str.removeprefix("real images + ")
    return dots(data.assign(row=data["trained_on"], training_set=data["trained_on"], source=source), label, width=1.7)


@figure("scenes_heads", "imagenet_heads")
def heads(data: Arrays) -> Figure:
    """GradCAM of every head. ``images`` (N, H, W, 3), half of each of two ``kinds``; per training set (3, N, H, W)."""
    sets = [name for name in data if name not in ("images", "kinds")]
    half = len(data["images"]) // 2
    drawn, axes = plt.subplots(len(sets), 1, figsize=(7.2, 2.9 * len(sets)), squeeze=False)
    for ax, name in zip(axes[:, 0], sets, strict=True):
        heat = matplotlib.colormaps["turbo"](data[name])[..., :3] * 255
        over = (0.5 * heat + 0.5 * data["images"]).astype(np.uint8)
        show(ax, sheet(np.concatenate([data["images"][None], over])), f"trained on {name}")
        step = data["images"].shape[1] + 2
        ax.set_yticks(step * np.arange(4) + step / 2, ["image", "shape head", "texture head", "background head"])
        ax.set_xticks([step * half / 2, step * half * 1.5], list(data["kinds"]))
        ax.tick_params(length=0)
    return drawn
