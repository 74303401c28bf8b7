"""The plots of the MNIST half: one function, one figure, drawn from its data file (see ``reprolib/figures.py``)."""

from __future__ import annotations

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from reprolib.figures import Arrays, figure, sheet, show

COLORS = dict(
    zip(["Original", "GAN", "Original+GAN", "CGN", "Original+CGN"], sns.color_palette("colorblind"), strict=False)
)


@figure("counterfactuals")
def counterfactuals(data: Arrays) -> Figure:
    """Reproduction Figs 2 and 4: counterfactuals per variant, ten digits x six samples. Arrays: one sheet a variant."""
    drawn, axes = plt.subplots(1, len(data), figsize=(2.9 * len(data), 4.9), squeeze=False)
    for ax, (title, images) in zip(axes[0], data.items(), strict=True):
        show(ax, sheet(images), title)
        ax.set_yticks(34 * np.arange(10) + 16, [str(digit) for digit in range(10)])
        ax.tick_params(length=0)
    axes[0, 0].set_ylabel("label of the mask")
    return drawn


@figure("mechanisms")
def mechanisms(data: Arrays) -> Figure:
    """One sample per digit: mask, foreground, background, composition, counterfactual. Arrays: (5, 10, 32, 32, 3)."""
    drawn, axes = plt.subplots(len(data), 1, figsize=(7.2, 3.9 * len(data)), squeeze=False)
    rows = ["mask m", "foreground f", "background b", "m·f + (1-m)·b", "counterfactual"]
    for ax, (title, images) in zip(axes[:, 0], data.items(), strict=True):
        show(ax, sheet(images), title)
        ax.set_yticks(34 * np.arange(len(rows)) + 16, rows)
        ax.set_xticks(34 * np.arange(10) + 16, [str(digit) for digit in range(10)])
        ax.tick_params(length=0)
    axes[-1, 0].set_xlabel("label of the mask")
    return drawn


@figure("training_sheets")
def training_sheets(data: Arrays) -> Figure:
    """Samples of one CGN per variant at each snapshot of its training. Arrays: ``<title>|<step>,...``."""
    drawn, axes = plt.subplots(len(data), 1, figsize=(6.4, 3.6 * len(data)), squeeze=False)
    for ax, (key, images) in zip(axes[:, 0], data.items(), strict=True):
        title, steps = key.split("|")
        show(ax, sheet(images), title)
        ax.set_yticks(34 * np.arange(len(images)) + 16, [f"step {int(step):,}" for step in steps.split(",")])
        ax.tick_params(length=0)
    return drawn


@figure("good_digits")
def good_digits(data: pd.DataFrame) -> Figure:
    """Share of masks recognised per digit, one line a CGN, against the 80 % that a good digit needs; filled where a
    digit is good in all respects."""
    titles = list(dict.fromkeys(data["variant"]))
    drawn, axes = plt.subplots(1, len(titles), figsize=(3.1 * len(titles), 3.1), sharey=True, squeeze=False)
    digits = np.arange(10)
    palette = dict(zip(dict.fromkeys(data["source"]), sns.color_palette("colorblind"), strict=False))
    for ax, title in zip(axes[0], titles, strict=True):
        seen: set[str] = set()
        for row in data[data["variant"] == title].to_dict("records"):
            label = f"{row['source']}" if row["source"] not in seen else None
            seen.add(row["source"])
            shares = [100 * row[f"digit_{digit}"] for digit in digits]
            good = [digit for digit in digits if row[f"good_{digit}"]]
            style = {"ms": 4, "lw": 1, "alpha": 0.8, "color": palette[row["source"]]}
            ax.plot(digits, shares, "o-", mfc="white", label=label, **style)
            ax.plot(good, [shares[digit] for digit in good], "o", **style)
        ax.axhline(80, color="0.4", ls="--", lw=1)
        ax.set(title=title, xlabel="digit", xticks=digits, ylim=(-3, 103))
    axes[0, 0].set_ylabel("masks recognised (%)")
    drawn.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    return drawn


@figure("good_digit_runs")
def good_digit_runs(data: pd.DataFrame) -> Figure:
    """How many training runs end with how many good digits: published (by eye) and ours. Columns: runs, study."""
    drawn, ax = plt.subplots(figsize=(8.2, 3.0))
    sns.histplot(
        data, x="good_digits", hue="study", weights="runs", bins=list(np.arange(-0.5, 11)), stat="percent",
        common_norm=False, multiple="dodge", shrink=0.85, ax=ax, palette="colorblind",
    )  # fmt: skip
    ax.set(xlabel="good digits of a trained CGN", ylabel="share of runs (%)", xticks=range(11))
    sns.move_legend(ax, "upper left", bbox_to_anchor=(1, 1), title=None, fontsize=8)
    return drawn


@figure("training_quality")
def training_quality(data: pd.DataFrame) -> Figure:
    """Good digits over training, one line a run."""
    drawn, ax = plt.subplots(figsize=(5.4, 3.0))
    sns.lineplot(
        data,
        x="step",
        y="good_digits",
        hue="variant",
        style="source",
        units="seed",
        estimator=None,
        markers=True,
        ax=ax,
    )
    ax.set(xlabel="training step", ylabel="good digits", ylim=(-0.3, 10.3))
    ax.legend(title=None, fontsize=8)
    return drawn


@figure("control", "scenes_control")
def control(data: pd.DataFrame) -> Figure:
    """Which label decides which factor, in percent of counterfactuals; perfect control is 100 on the diagonal."""
    cases = list(dict.fromkeys(zip(data["variant"], data["source"], strict=True)))
    drawn, axes = plt.subplots(1, len(cases), figsize=(max(3.4, 2.6 * len(cases)), 2.9), squeeze=False)
    for ax, (variant, source) in zip(axes[0], cases, strict=True):
        part = data[(data["variant"] == variant) & (data["source"] == source)]
        table = part.pivot(index="factor", columns="label", values="share")
        factors = ("shape", "foreground", "texture", "background")
        names, labels = ([name for name in factors if name in axis] for axis in (table.index, table.columns))
        table = table.loc[names, labels]
        sns.heatmap(table, annot=True, fmt=".0f", vmin=0, vmax=100, cbar=False, cmap="Blues", ax=ax, square=True)
        ax.set(title=f"{variant}\n{source}", xlabel="label given to", ylabel="factor read" if ax is axes[0, 0] else "")
        ax.tick_params(axis="x", rotation=35)
        ax.tick_params(axis="y", rotation=0)
    return drawn


@figure("accuracy")
def accuracy(data: pd.DataFrame) -> Figure:
    """Accuracy per training set: bars with 95 % intervals where there are any, and a point a repetition."""
    return _bars(data, "test", "out-of-domain accuracy (%)", chance=10)


@figure("in_domain")
def in_domain(data: pd.DataFrame) -> Figure:
    """In-domain accuracy per training set, drawn like ``accuracy``."""
    drawn = _bars(data, "in_domain", "in-domain accuracy (%)")
    lowest = data["in_domain"].min()
    for ax in drawn.axes:
        ax.set_xlim(max(0, np.floor(lowest / 10) * 10 - 5), 100.5)
    return drawn


def _bars(data: pd.DataFrame, value: str, label: str, chance: float | None = None) -> Figure:
    variants = list(dict.fromkeys(data["variant"]))
    drawn, axes = plt.subplots(1, len(variants), figsize=(3.4 * len(variants), 3.6), sharey=True, squeeze=False)
    for ax, variant in zip(axes[0], variants, strict=True):
        part = data[data["variant"] == variant].reset_index(drop=True)
        ends = part[value] - part[f"{value}_low"], part[f"{value}_high"] - part[value]
        whiskers = [end.clip(lower=0) for end in ends]  # the digits of the file may turn a zero negative
        names = part["training_set"] + part["source"].map(lambda s: f"\n{s}" if isinstance(s, str) and s else "")
        colors = [COLORS[name] for name in part["training_set"]]
        ax.barh(names, part[value], xerr=whiskers, color=colors, error_kw={"lw": 1, "capsize": 2})
        for name, each in zip(names, part[f"{value}_each"], strict=True):
            points = [float(text) for text in str(each).split()]
            ax.plot(points, [name] * len(points), "o", ms=2.5, color="0.2")
        ax.invert_yaxis()
        ax.tick_params(axis="y", labelsize=7.5)
        ax.set(title=variant, xlabel=label)
        if chance is not None:
            ax.axvline(chance, color="0.4", ls="--", lw=1)
            ax.set_xlim(0, 100)
    return drawn


@figure("accuracy_by_quality")
def accuracy_by_quality(data: pd.DataFrame) -> Figure:
    """Out-of-domain accuracy of classifiers trained on counterfactuals, against the good digits of their CGN."""
    drawn, ax = plt.subplots(figsize=(5.2, 3.2))
    sns.scatterplot(data, x="good_digits", y="test", hue="variant", style="source", s=60, ax=ax)
    ax.set(xlabel="good digits of the CGN", ylabel="out-of-domain accuracy (%)", xlim=(-0.5, 10.5), ylim=(0, 100))
    ax.legend(fontsize=7.5, loc="center left", bbox_to_anchor=(1, 0.5))
    return drawn


@figure("ablation")
def ablation(data: pd.DataFrame) -> Figure:
    """Reproduction Figs 5 and 6: accuracy against number of counterfactuals, one line a CF ratio, a column a variant.

    Rows: mix of training data and whose CGN; dashed grey: Bagad et al. (counterfactuals only, authors' CGN).
    """
    variants = list(dict.fromkeys(data["variant"]))
    mine = data[data["study"] == "ours"]
    rows = list(dict.fromkeys(zip(mine["mix"], mine["source"], strict=True)))
    size = (3.1 * len(variants), 2.6 * len(rows))
    drawn, axes = plt.subplots(len(rows), len(variants), figsize=size, squeeze=False, sharey=True, sharex=True)
    ratios = sorted(set(data["ratio"]))
    palette = dict(zip(ratios, sns.color_palette("viridis", len(ratios)), strict=True))
    for i, (mix, source) in enumerate(rows):
        for ax, variant in zip(axes[i], variants, strict=True):
            here = data[(data["variant"] == variant) & (data["mix"] == mix) & (data["source"] == source)]
            for (study, ratio), line in here.groupby(["study", "ratio"]):
                mean = line.groupby("size")["test"].mean()
                ours = study == "ours"
                style = {"color": palette[ratio], "ls": "-", "marker": "o"} if ours else {"color": "0.6", "ls": "--"}
                ax.plot(mean.index, mean.values, ms=4, lw=1.3, label=f"CF ratio {ratio}" if ours else study, **style)
            ax.set(xscale="log", ylim=(0, 100))
            if i == 0:
                ax.set_title(variant)
            if i == len(rows) - 1:
                ax.set_xlabel("counterfactuals")
        axes[i, 0].set_ylabel(f"{mix}\n{source}\naccuracy (%)")
    handles = {label: handle for ax in axes.flat for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    drawn.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles), fontsize=8)
    return drawn


@figure("gradcam_grid")
def gradcam_grid(data: Arrays) -> Figure:
    """Reproduction Fig 3: heatmaps over digits (rows) and colour themes (columns) with the inputs along both edges.

    Arrays: ``images`` (100, 32, 32, 3) and per training set heatmaps uint8 (100, 32, 32).
    """
    images = data["images"].reshape(10, 10, 32, 32, 3)
    names = [name for name in data if name != "images"]
    drawn, axes = plt.subplots(1, len(names), figsize=(4.3 * len(names), 4.7), squeeze=False)
    for ax, name in zip(axes[0], names, strict=True):
        heat = matplotlib.colormaps["turbo"](data[name].reshape(10, 10, 32, 32))[..., :3]
        grid = np.full((11, 11, 32, 32, 3), 255, np.uint8)
        grid[1:, 1:] = (255 * heat).astype(np.uint8)
        grid[0, 1:] = images[np.arange(10), np.arange(10)]  # in-domain: the digit in its own theme
        grid[1:, 0] = images[np.arange(10), np.arange(10)]
        show(ax, sheet(grid), f"trained on {name}")
        ticks = 34 * np.arange(1, 11) + 16
        ax.set_xticks(ticks, [str(theme) for theme in range(10)])
        ax.set_yticks(ticks, [str(digit) for digit in range(10)])
        ax.tick_params(length=0)
        ax.set_xlabel("colour theme (of which digit in training)")
    axes[0, 0].set_ylabel("digit")
    return drawn


@figure("gradcam_measures")
def gradcam_measures(data: pd.DataFrame) -> Figure:
    """Measures of the heatmaps with their null baselines: bars are means, points the repetitions. One row per
    repetition; columns: training_set, heatmap and one per measure."""
    names = {
        "mass_inside": "heat inside the digit",
        "iou_area": "IoU, same area",
        "iou_digit": "IoU at 0.5, digit",
        "iou_macro": "IoU at 0.5, macro\n(as published)",
        "empty": "empty maps",
    }
    long = data.melt(["training_set", "heatmap"], list(names), "measure", "value")
    long["value"] *= 100
    long["measure"] = long["measure"].map(names)
    with matplotlib.rc_context({"figure.constrained_layout.use": False}):  # seaborn lays its grids out itself
        grid = sns.catplot(
            long, x="value", y="training_set", hue="heatmap", col="measure", kind="bar", errorbar=None,
            height=3.1, aspect=0.72, palette="colorblind", legend_out=True,
        )  # fmt: skip
        kinds = long["heatmap"].unique().tolist()
        grid.map_dataframe(
            sns.stripplot, x="value", y="training_set", hue="heatmap", hue_order=kinds, palette=["0.2"] * len(kinds),
            dodge=True, jitter=False, size=2.5,
        )  # fmt: skip
        grid.set_titles("{col_name}").set_axis_labels("%", "trained on")
    drawn: Figure = grid.figure
    return drawn
