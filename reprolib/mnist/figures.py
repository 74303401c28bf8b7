"""The plots of the MNIST half: one function, one figure, drawn from its data file (see ``reprolib/figures.py``)."""

from __future__ import annotations

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from reprolib.figures import Arrays, color, dots, figure, marker, sheet, show, show_sheet
from reprolib.mnist import explorer as exploring


@figure("data")
def data_sheets(data: Arrays) -> Figure:
    """Training images above test images, a column per digit. Arrays: title of the variant -> (4, 10, 32, 32, 3)."""
    drawn, axes = plt.subplots(1, len(data), figsize=(3.7 * len(data), 1.9), squeeze=False)
    for ax, (title, images) in zip(axes[0], data.items(), strict=True):
        show_sheet(ax, images, [], title=title)
    axes[0, 0].set_yticks([33, 101], ["training", "test"])
    return drawn


@figure("counterfactuals")
def counterfactuals(data: Arrays) -> Figure:
    """Reproduction Figs 2 and 4: counterfactuals per variant, ten digits x six samples. Arrays: one sheet a variant."""
    drawn, axes = plt.subplots(1, len(data), figsize=(2.9 * len(data), 4.9), squeeze=False)
    for ax, (title, images) in zip(axes[0], data.items(), strict=True):
        show_sheet(ax, images, list("0123456789"), title=title)
    axes[0, 0].set_ylabel("label of the mask")
    return drawn


@figure("mechanisms")
def mechanisms(data: Arrays) -> Figure:
    """One sample per digit: mask, foreground, background, composition, counterfactual. Arrays: (5, 10, 32, 32, 3)."""
    drawn, axes = plt.subplots(1, len(data), figsize=(3.6 * len(data) + 0.8, 2.05), squeeze=False)
    rows = ["mask m", "foreground f", "background b", "m⊙f + (1-m)⊙b", "counterfactual"]
    for ax, (title, images) in zip(axes[0], data.items(), strict=True):
        show_sheet(ax, images, rows if ax is axes[0, 0] else [], title=title)
    return drawn


@figure("explorer")
def explorer(data: Arrays) -> Figure:
    """Three choices of labels for every CGN: mask, foreground, background, composition, and what classifiers say.

    Arrays: those of ``explorer.arrays``.
    """
    cgns, points = exploring.by_cgn(data), ((4, 4, 4), (3, 7, 2), (8, 2, 5))
    drawn, axes = plt.subplots(len(cgns), 3, figsize=(8.6, 1.35 * len(cgns) + 0.2), squeeze=False)
    for row, ((title, source), found) in zip(axes, cgns.items(), strict=True):
        for ax, labels in zip(row, points, strict=True):
            parts = [found[name][0, label] for name, label in zip(exploring.NAMES, labels, strict=False)]
            mask = parts[0][..., None].repeat(3, -1)
            show(ax, sheet(np.stack([mask, *parts[1:], exploring.composed(*parts)])[None]))
            ax.set_title("shape {}, texture {}, background {}".format(*labels), fontsize=8)
            told = [
                f"trained on {name}: {found['predicted'][at][0, *labels]} ({found['confidence'][at][0, *labels]} %)"
                for at, name in enumerate(exploring.READERS)
            ]
            ax.set_xlabel("\n".join(told), fontsize=7.5)
        told = [title, *(source.split(", ") if len(cgns) > 3 else [])]
        row[0].set_ylabel("\n".join(told), fontsize=7, rotation=0, ha="right", va="center")
    return drawn


@figure("training_sheets")
def training_sheets(data: Arrays) -> Figure:
    """Samples of one CGN per variant at each snapshot of its training. Arrays: ``<title>|<step>,...``."""
    drawn, axes = plt.subplots(len(data), 1, figsize=(6.4, 3.6 * len(data)), squeeze=False)
    for ax, (key, images) in zip(axes[:, 0], data.items(), strict=True):
        title, steps = key.split("|")
        show_sheet(ax, images, [f"step {int(step):,}" for step in steps.split(",")], title=title)
    return drawn


@figure("good_digits")
def good_digits(data: pd.DataFrame) -> Figure:
    """Masks recognised, digit by run, in percent; a cross marks a digit that is not good in all respects."""
    parts, shown = data.groupby("variant", sort=False), [""]
    size = (3.4 * len(parts) + 1.2, 0.32 * parts.size().max() + 1.1)
    drawn, axes = plt.subplots(1, len(parts), figsize=size, squeeze=False)
    for ax, (title, part) in zip(axes[0], parts, strict=True):
        shares = 100 * part[[f"digit_{digit}" for digit in range(10)]].to_numpy(float)
        good = part[[f"good_{digit}" for digit in range(10)]].astype(bool).to_numpy()
        told = np.where(good, np.char.mod("%.0f", shares), np.char.mod("%.0fx", shares))
        runs = part["source"].map(part["source"].value_counts())  # a CGN that is given has no seed to tell
        rows = zip(part["source"].str.removeprefix("CGN "), part["seed"], runs, strict=True)
        names = [f"{source}, seed {seed}" if count > 1 else source for source, seed, count in rows]
        sns.heatmap(
            shares, annot=told, fmt="", vmin=0, vmax=100, cmap="Blues", cbar=False, ax=ax, annot_kws={"fontsize": 6.5},
            yticklabels=False,
        )  # fmt: skip
        if names != shown:  # seaborn would first draw them upright, which the figure is too low for
            ax.set_yticks(np.arange(len(names)) + 0.5, names)
        shown = names
        ax.set(title=title, xlabel="digit")
        ax.tick_params(length=0, labelsize=7.5)
    return drawn


@figure("good_digit_runs")
def good_digit_runs(data: pd.DataFrame) -> Figure:
    """How many training runs end with how many good digits, a dot a run. Columns: good_digits, runs, study."""
    studies, floor, ticks = list(dict.fromkeys(data["study"])), 0.0, []
    drawn, ax = plt.subplots(figsize=(8.2, 1.0 * len(studies) + 0.7))
    for study, paint in zip(studies, sns.color_palette("colorblind", len(studies)), strict=True):
        counts = data[data["study"] == study].groupby("good_digits")["runs"].sum().astype(int)
        for digits, count in counts.items():
            ax.plot([digits] * count, floor + np.arange(count), "o", ms=4, color=paint)
        ax.axhline(floor - 1, color="0.85", lw=0.8)
        ticks.append(floor)
        floor += max(counts.max(), 5) + 2
    ax.set(xlabel="good digits of a trained CGN", xlim=(-0.5, 10.5), xticks=range(11), ylim=(-1.5, floor - 1))
    ax.set_yticks(ticks, [study.replace(", ", "\n") for study in studies], fontsize=7.5, va="bottom")
    return drawn


@figure("training_quality")
def training_quality(data: pd.DataFrame) -> Figure:
    """Good digits over training, one line a run, a column a variant. Runs are drawn a little above each other, because
    whole numbers coincide."""
    parts = data.groupby("variant", sort=False)
    drawn, axes = plt.subplots(1, len(parts), figsize=(3.4 * len(parts), 2.8), squeeze=False, sharey=True)
    for ax, (title, part) in zip(axes[0], parts, strict=True):
        runs = part.groupby(["source", "seed"], sort=False)
        for ((source, _), line), up in zip(runs, np.linspace(-0.3, 0.3, len(runs) + 2)[1:-1], strict=True):
            how = {"color": color("CGN"), "label": source, "lw": 0.8, "ms": 4}
            ax.plot(line["step"], line["good_digits"] + up, f"-{marker(str(source))}", **how)
        ax.set(title=title, xlabel="training step", ylim=(-0.4, 10.4))
    axes[0, 0].set_ylabel("good digits →")
    return _with_legend(drawn)


@figure("control", "scenes_control")
def control(data: pd.DataFrame) -> Figure:
    """Which label decides which factor, in percent of counterfactuals; perfect control is 100 on the diagonal. A data
    set without a factor has an empty row."""
    cases = data.groupby(["variant", "source"], sort=False)
    known = [name for name in ("shape", "foreground", "texture", "background") if name in set(data["label"])]
    size = (max(3.4, 2.5 * len(cases) + 0.6), 2.9)
    drawn, axes = plt.subplots(1, len(cases), figsize=size, sharey=True, squeeze=False)
    for ax, ((variant, source), part) in zip(axes[0], cases, strict=True):
        table = part.pivot(index="factor", columns="label", values="share").reindex(index=known, columns=known)
        sns.heatmap(table, annot=True, fmt=".0f", vmin=0, vmax=100, cbar=False, cmap="Blues", ax=ax, square=True)
        ax.set(title=f"{variant}\n{source}", xlabel="label given to", ylabel="factor read" if ax is axes[0, 0] else "")
        ax.tick_params(axis="x", rotation=35)
        ax.tick_params(axis="y", rotation=0)
    return drawn


@figure("accuracy")
def accuracy(data: pd.DataFrame) -> Figure:
    """Reproduction Tables 2 and 6: accuracy out of domain per training set, and what was published."""
    return dots(data.rename(columns={"variant": "panel"}), "accuracy out of domain (%) →; dashed: chance", chance=10)


@figure("in_domain")
def in_domain(data: pd.DataFrame) -> Figure:
    """Reproduction Table 1, drawn like ``accuracy``."""
    panels = data.rename(columns={"variant": "panel"})
    return dots(panels, "accuracy in domain (%) →; each panel has its own range", shared=False)


@figure("accuracy_by_quality")
def accuracy_by_quality(data: pd.DataFrame) -> Figure:
    """Out-of-domain accuracy of classifiers trained on counterfactuals, against the masks of their CGN that are
    recognised, in percent. Columns: those of ``recipe.kept``, titled."""
    parts = data.groupby("variant", sort=False)
    drawn, axes = plt.subplots(1, len(parts), figsize=(3.0 * len(parts), 2.8), squeeze=False)
    for ax, (title, part) in zip(axes[0], parts, strict=True):
        for source, points in part.groupby("source", sort=False):
            how = {"color": color("CGN"), "mec": "black", "mew": 0.6, "ms": 9, "label": source}
            front = 3 - len(points) / 1000  # the fewer, before the more
            ax.plot(points["recognised"], points["accuracy_10k"], marker(str(source)), zorder=front, **how)
        ax.set(title=title, xlabel="masks recognised (%) →")
        ax.margins(0.15)
    axes[0, 0].set_ylabel("accuracy out of domain (%) →")
    return _with_legend(drawn)


@figure("recipe_ablation")
def recipe_ablation(data: pd.DataFrame) -> Figure:
    """CGNs without each ingredient of the stable recipe, a dot a run, beside the mean of those with all (dashed).
    Columns: those of ``recipe.ablation``."""
    measures = {"accuracy_10k": "accuracy out of domain (%) →", "good_digits": "good digits of ten →",
                "pairwise_iou": "← likeness of masks (IoU)"}  # fmt: skip
    rows = list(dict.fromkeys(data["without"]))
    drawn, axes = plt.subplots(1, len(measures), figsize=(8.6, 0.27 * len(rows) + 0.9), sharey=True)
    for ax, (name, told) in zip(axes, measures.items(), strict=True):
        ax.axvline(data.loc[data["without"] == rows[0], name].mean(), color="0.4", ls="--", lw=1)
        for at, row in enumerate(rows):
            values = data.loc[data["without"] == row, name].tolist()
            ax.plot(values, [at] * len(values), "o", ms=5, alpha=0.8, color="0.35" if at else color("CGN"))
        ax.grid(axis="x", color="0.9")
        ax.set(xlabel=told, ylim=(len(rows) - 0.5, -0.5))
    axes[0].set_yticks(range(len(rows)), [row if row == rows[0] else f"without {row}" for row in rows])
    return drawn


@figure("ablation")
def ablation(data: pd.DataFrame) -> Figure:
    """Reproduction Figs 5 and 6: accuracy against number of counterfactuals, one line a CF ratio, a column a variant.

    Rows: mix of training data and whose CGN; dashed grey: Bagad et al., counterfactuals alone, all ratios.
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
            shown = (data["source"] == source) | (data["study"] != "ours")
            here = data[shown & (data["variant"] == variant) & (data["mix"] == mix)]
            for (study, made_by, ratio), line in here.groupby(["study", "source", "ratio"]):
                mean = line.groupby("size")["test"].mean()
                ours = study == "ours"
                style = {"color": palette[ratio], "ls": "-", "marker": "o"} if ours else {"color": "0.6", "ls": "--"}
                told = f"CF ratio {ratio}" if ours else f"{study}, {made_by}"
                ax.plot(mean.index, mean.values, ms=4, lw=1.3, label=told, **style)
            sizes = sorted(set(data["size"]))
            ax.set(xscale="log", ylim=(0, 100))
            ax.set_xticks(sizes, [f"{size:,}" for size in sizes], fontsize=7, rotation=45, ha="right")
            ax.minorticks_off()
            if i == 0:
                ax.set_title(variant)
            if i == len(rows) - 1:
                ax.set_xlabel("counterfactuals")
        told = {"cf": "counterfactuals alone", "original+cf": "with original data"}[mix]
        axes[i, 0].set_ylabel(f"{told}\n{source}\naccuracy out of domain (%) →", fontsize=7.5)
    return _with_legend(drawn)


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
        numbers = ["", *"0123456789"]
        show_sheet(ax, grid, numbers, numbers, f"trained on {name}")
        ax.set_xlabel("colour theme (of which digit in training)")
    axes[0, 0].set_ylabel("digit")
    return drawn


@figure("gradcam_measures")
def gradcam_measures(data: pd.DataFrame) -> Figure:
    """Measures of the heatmaps with their null baselines, each on its own axis. One row per repetition; columns:
    training_set, heatmap and one per measure."""
    names = {
        "mass_inside": "heat inside\nthe digit (%) →",
        "iou_area": "IoU at the digit's\narea (%) →",
        "iou_digit": "IoU at 0.5,\ndigit (%) →",
        "iou_macro": "IoU at 0.5, macro\n(%) →, as published",
    }
    kinds = {"all zero": "zeros", "random CAM": "random weights", "shuffled": "another image's map"}
    long = data.melt(["training_set", "heatmap"], list(names), "panel", "value")
    kind = long["heatmap"].replace(kinds)
    long = long.assign(
        value=100 * long["value"], panel=long["panel"].map(names), row=long["training_set"] + ": " + kind
    )
    macro, inside = long["panel"] == names["iou_macro"], long["panel"] == names["mass_inside"]
    empty = (long["heatmap"] == "all zero") & ~macro | (long["heatmap"] == "uniform") & ~inside
    long["value"] = long["value"].mask(empty)  # zeros and uniform maps tell something where they are no bound
    nulls = long["heatmap"] != "GradCAM"
    order = long["training_set"].map(list(dict.fromkeys(data["training_set"])).index)
    long = long.assign(training_set=long["training_set"].mask(nulls, "null"), source="")
    long = long.loc[order.sort_values(kind="stable").index]
    return dots(long, "small: a repetition; grey: null baselines", width=2.1, shared=False)


def _with_legend(drawn: Figure) -> Figure:
    """One legend for all panels, below them."""
    pairs = [zip(*ax.get_legend_handles_labels(), strict=True) for ax in drawn.axes]
    handles = {label: handle for pair in pairs for handle, label in pair}
    drawn.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles), fontsize=8)
    return drawn
