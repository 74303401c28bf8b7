"""The plots of the natural-image half, one name per world (see ``reprolib/figures.py``)."""

from __future__ import annotations

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from reprolib.figures import Arrays, figure, sheet, show


@figure("scenes_counterfactuals", "imagenet_counterfactuals")
def counterfactuals(data: Arrays) -> Figure:
    """Reproduction Fig 7: sixteen counterfactuals with the classes of shape, texture and background above each."""
    drawn, axes = plt.subplots(4, 4, figsize=(7.6, 8.6))
    for ax, image, label in zip(axes.flat, data["images"], data["labels"], strict=True):
        show(ax, image)
        ax.set_title(str(label).replace(" / ", "\n"), fontsize=7)
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
    rows = ["premask", "m", "f", "b", "x_gen"]
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
    drawn, axes = plt.subplots(1, 3, figsize=(10.5, 2.4))
    for ax, (kind, title) in zip(axes, titles.items(), strict=True):
        show(ax, sheet(data[kind].swapaxes(0, 1)))
        ax.set_title(title, fontsize=8.5)
    return drawn


@figure("scenes_ablation", "imagenet_ablation")
def ablation(data: pd.DataFrame) -> Figure:
    """Loss ablation and texture targets: one bar a CGN, one panel a measure that was taken."""
    measures = {
        "is_share": "Inception Score,\n% of the generator's",
        "mean_mask": "mean mask",
        "mask_iou": "mask IoU",
        "residue": "background residue",
        "entanglement": "entanglement",
        "own": "factors that follow\ntheir label (%)",
    }
    taken = {name: title for name, title in measures.items() if name in data and data[name].notna().any()}
    names = [
        f"{'all losses' if losses == 'all' else losses}{', random fill' if target == 'fill' else ''}\n{cgn}"
        for losses, target, cgn in zip(data["losses"], data["target"], data["cgn"], strict=True)
    ]
    drawn, axes = plt.subplots(
        1, len(taken), figsize=(2.0 * len(taken) + 1.6, 0.34 * len(set(names)) + 1.3), sharey=True
    )
    for ax, (name, title) in zip(np.atleast_1d(axes), taken.items(), strict=True):
        sns.barplot(x=data[name], y=names, hue=names, legend=False, palette="colorblind", errorbar=None, ax=ax)
        ax.set(xlabel=title, ylabel="")
        ax.tick_params(axis="y", labelsize=7)
    return drawn


@figure("scenes_gap", "imagenet_gap")
def gap(data: pd.DataFrame) -> Figure:
    """Reproduction Table 5 as a picture: accuracy on the three sets. Columns trained_on, seed, set, head, accuracy."""
    heads = list(dict.fromkeys(data["head"]))
    drawn, axes = plt.subplots(1, len(heads), figsize=(3.4 * len(heads), 3.2), sharey=True, squeeze=False)
    for ax, head in zip(axes[0], heads, strict=True):
        part = data[data["head"] == head]
        sns.barplot(part, x="set", y="accuracy", hue="trained_on", errorbar="sd", palette="colorblind", ax=ax)
        title = {"avg": "mean of all heads", "shape_texture": "without the background head"}[head]
        ax.set(title=title, xlabel="", ylabel="accuracy (%)", ylim=(0, 103))
        ax.get_legend().remove()
    handles, labels = axes[0, 0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=7.5)
    return drawn


@figure("scenes_bias", "imagenet_bias")
def bias(data: pd.DataFrame) -> Figure:
    """Reproduction Table 4 as a picture: shape bias of every head. Columns trained_on, seed, head, shape_bias."""
    drawn, ax = plt.subplots(figsize=(6.4, 3.2))
    sns.barplot(data, x="head", y="shape_bias", hue="trained_on", errorbar="sd", palette="colorblind", ax=ax)
    ax.axhline(50, color="0.4", ls="--", lw=1)
    ax.set(xlabel="head", ylabel="shape bias (%)", ylim=(0, 103))
    ax.legend(title=None, fontsize=7.5, loc="upper left", bbox_to_anchor=(1, 1))
    return drawn


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
