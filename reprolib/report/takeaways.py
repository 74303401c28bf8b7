"""What the numbers of a table or figure say, in a sentence or two that are made from them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from statistics import fmean

import numpy as np
import pandas as pd

from reprolib import statistics
from reprolib.figures import Arrays
from reprolib.mnist.cgn import CLASSES
from reprolib.mnist.explorer import READERS, by_cgn
from reprolib.report.words import DIGITS, TITLES


def listed(names: Iterable[object]) -> str:
    """``a, b and c``."""
    *most, last = map(str, names)
    return f"{', '.join(most)} and {last}" if most else last


def _of(source: object, sources: pd.Series) -> str:
    """Whose CGN, where there are several."""
    return f" ({source})" if source and sources[sources != ""].nunique() > 1 else ""


def _name(column: str) -> str:
    """The title of a column as a sentence begins with it."""
    title = TITLES.get(column, column).rstrip(" ↑↓")
    return title[0].upper() + title[1:]


def span(frame: pd.DataFrame, column: str) -> str:
    """The rows with the lowest and the highest value of a column; a row is called by its first two columns."""
    rows, digits = frame.dropna(subset=column).sort_values(column), DIGITS.get(column, 1)
    ends = [f"{row[column]:.{digits}f} ({row.iloc[0]}: {row.iloc[1]})" for _, row in rows.iloc[[0, -1]].iterrows()]
    return f"{_name(column)}: lowest {ends[0]}, highest {ends[1]}."


def quality(runs: pd.DataFrame) -> str:
    """runs: of ``tables.quality_runs``, titled."""
    told = [
        f"{part['good_digits'].mean():.1f} on {variant}{_of(source, runs['source'])}"
        for (variant, source), part in runs.groupby(["variant", "source"], sort=False)
    ]
    return f"Of ten digits are good: {listed(told)}."


def digits(runs: pd.DataFrame) -> str:
    """runs: the same. Which digit is recognised least."""
    told = []
    for variant, part in runs.groupby("variant", sort=False):
        shares = {digit: 100 * part[f"digit_{digit}"].mean() for digit in range(10)}
        least = min(shares, key=lambda digit: shares[digit])
        told.append(f"{least} on {variant} ({shares[least]:.1f} %)")
    return f"The digit whose masks are recognised least: {listed(told)}."


def good_digit_runs(data: pd.DataFrame) -> str:
    """data: of ``comparison.good_digits``."""
    told = []
    for study, part in data.groupby("study", sort=False):
        many = part.loc[part["good_digits"] >= 9, "runs"].sum()
        told.append(f"{many:.0f} of {part['runs'].sum():.0f} ({re.sub(', [0-9]+ runs?', '', str(study))})")
    return f"Nine or ten good digits: {'; '.join(told)}."


def control(shares: pd.DataFrame) -> str:
    """shares: of ``control_shares`` or ``natural.tables.control``."""
    rank = shares.sort_values("share")
    read_as = rank.groupby(["variant", "source", "factor"], sort=False).tail(1)
    lost = read_as[read_as["factor"] != read_as["label"]]
    where = f"Another label decides {listed(lost['factor'] + ' on ' + lost['variant'])}" if len(lost) else ""
    low, leak = rank[rank["factor"] == rank["label"]].iloc[0], rank[rank["factor"] != rank["label"]].iloc[-1]
    return (
        f"{where or 'Every factor follows its own label most'}: the weakest, {low['factor']} on {low['variant']}, is "
        f"read as its own {low['share']:.1f} % of the time; the largest leak is {leak['share']:.1f} % "
        f"({leak['factor']} read as the label of {leak['label']}, {leak['variant']})."
    )


def taught(accuracy: pd.DataFrame) -> str:
    """accuracy: of ``tables.counterfactual_accuracy_runs``, titled."""
    made = accuracy[accuracy["source"].str.startswith("CGN ") & accuracy["relative"].notna()]
    if made.empty:
        return "Counterfactuals of real digits taught too little here for a comparison."
    means = made.groupby("variant", sort=False)["relative"].mean()
    told = listed(f"{value:.1f} % ({variant})" for variant, value in means.items())
    return f"Counterfactuals of CGNs teach {told} of what true ones teach; least on {means.idxmin()}."


def nulls(known: pd.DataFrame) -> str:
    """known: of ``tables.null_runs``, titled."""
    real, others = known[known["source"] == "real digits"], known[known["source"] != "real digits"]
    best = others.sort_values("good_digits", kind="stable").iloc[-1]
    return (
        f"Real digits in place of a CGN have at least {real['good_digits'].min()} good digits; the best of what must "
        f"fail, {best['source']} on {best['variant']}, has {best['good_digits']}."
    )


def norms(rows: pd.DataFrame) -> str:
    """rows: of ``tables.background_norms``, titled."""
    far = rows[rows["bias"].abs() > rows["reach"]]
    where = listed(dict.fromkeys(far["variant"])) if len(far) else "none of the data sets"
    return f"The bias lies beyond the reach of Adam on {where}; the lowest is {rows['bias'].min():.2f}."


def recipes(rows: pd.DataFrame) -> str:
    """rows: of ``recipe.summary``."""
    by = rows.groupby("source", sort=False)[["nine_or_ten", "CGNs"]].sum()
    told = "; ".join(f"{row['nine_or_ten']:.0f} of {row['CGNs']:.0f} ({source})" for source, row in by.iterrows())
    return f"CGNs with at least nine good digits: {told}."


def ingredients(runs: pd.DataFrame) -> str:
    """runs: of ``recipe.ablation``. Without which ingredients most is lost, and which ones are not missed."""
    columns, (whole, *others) = ["accuracy_10k", "good_digits"], runs.groupby("without", sort=False)
    means = pd.DataFrame({name: part[columns].mean() for name, part in others}).T
    lowest = [means[column].sort_values().head(3) for column in columns]
    told = [listed(f"{name} ({value:.1f})" for name, value in some.items()) for some in lowest]
    spare = means.index[(means >= whole[1][columns].min()).all(axis=1)]
    accuracy, good = whole[1][columns].mean()
    return (
        f"With all ingredients {accuracy:.1f} % out of domain and {good:.1f} good digits. Accuracy is lowest without "
        f"{told[0]}, good digits are fewest without {told[1]}. At least as good as the worst run with all, by both: "
        f"without {listed(spare) if len(spare) else 'none of them'}."
    )


def rates(rows: pd.DataFrame) -> str:
    """rows: of ``recipe.losses``."""
    by = rows.groupby("recipe")[["cgn_rate", "critic_rate"]].mean()
    faster = by.loc["stable"] / by.loc["published"]
    return (
        f"The stable recipe's learning rates are {faster['cgn_rate']:.1f} (CGN) and {faster['critic_rate']:.1f} "
        "(discriminator) times the published ones."
    )


def readers(rows: pd.DataFrame) -> str:
    """rows: variant, and the accuracy of each reader in percent."""
    long = rows.melt("variant", var_name="reader").dropna()
    low = long.sort_values("value").iloc[0]
    return f"The worst reader is that of {low['reader'].partition('_')[0]} on {low['variant']}, {low['value']:.1f} %."


def losses(rated: pd.DataFrame, column: str) -> str:
    """rated: of ``natural.tables.quality``. What leaving a loss out does to a measure."""
    name, digits = _name(column), DIGITS.get(column, 1)
    whole = rated.loc[rated["losses"] == "all", column].mean()
    told = [
        f"{row['losses'].removeprefix('all; ').replace('none', 'before training')} {row[column]:.{digits}f}"
        for _, row in rated[rated["losses"] != "all"].iterrows()
    ]
    return f"{name}: {whole:.{digits}f} with all losses; {'; '.join(told)}."


def accuracy(runs: pd.DataFrame, value: str) -> str:
    """runs: of ``tables.accuracy_runs``, titled; value: the column of an accuracy in percent."""
    told = []
    for variant, part in runs.groupby("variant", sort=False):
        means = part.groupby(["training_set", "source"], sort=False)[value].mean().reset_index()
        best, base = means.sort_values(value).iloc[-1], means.loc[means["training_set"] == "Original", value].iloc[0]
        name = f"{best['training_set']} on {variant}{_of(best['source'], runs['source'])}"
        told.append(f"{name}, {best[value]:.1f} % ({base:.1f} % with original data alone)")
    return f"Best by mean: {'; '.join(told)}."


def gained(runs: pd.DataFrame, value: str) -> str:
    """runs: the same. The best training set, and what as many samples whose labels agree give instead."""
    control = runs[runs["training_set"] == "Original+GAN"].groupby("variant", sort=False)[value].mean()
    told = listed(f"{mean:.1f} % ({variant})" for variant, mean in control.items()) if len(control) else ""
    instead = f" Original data with as many samples of the CGN whose labels agree: {told}." if told else ""
    return accuracy(runs, value) + instead


def lost(runs: pd.DataFrame, value: str) -> str:
    """runs: the same. What counterfactuals cost, in points: the mean over repetitions, as the verdict has it."""
    told = []
    for variant, part in runs.groupby("variant", sort=False):
        sets = part.pivot_table(index="seed", columns="training_set", values=value)
        both, alone = (fmean(sets["Original"] - sets[name]) for name in ("Original+CGN", "CGN"))
        told.append(f"{both:.1f} ({alone:.1f}) on {variant}")
    return f"Points lost beside original data, with counterfactuals (and with those alone): {listed(told)}."


def beside(points: pd.DataFrame, within: float = 2.0) -> str:
    """points: of ``comparison.points``. How many published values are near ours."""
    ours = points[points["study"] == "here"].groupby(["variant", "row"])["value"].mean().rename("ours")
    known = points[points["study"] != "here"].join(ours, on=["variant", "row"])
    if known.empty:
        return "Nothing comparable was published."
    off = (known["value"] - known["ours"]).abs()
    far = known.assign(off=off).sort_values("off").iloc[-1]
    return (
        f"{(off <= within).sum()} of {len(known)} published values are within {within:.0f} points of the mean here; "
        f"the farthest is {far['study']}, {far['training_set']} on {far['variant']}: {far['value']:.1f} against "
        f"{far['ours']:.1f} %."
    )


def near(rows: pd.DataFrame) -> str:
    """rows: of ``comparison.at_published_size``. How far accuracies are from the published ranges, in points."""
    off = (rows["published_low"] - rows["ours"]).clip(lower=0) + (rows["ours"] - rows["published_high"]).clip(lower=0)
    far = rows.iloc[int(off.argmax())]
    return (
        f"{(off <= 1).sum()} of {len(rows)} accuracies are within a point of the published ones; the farthest, "
        f"{far['training_set']} on {far['variant']}, is {off.max():.1f} points away."
    )


def by_quality(cgns: pd.DataFrame, fewest: int = 5) -> str:
    """cgns: of ``recipe.kept``, titled. Whether accuracy rises with the masks that are recognised."""
    told, few = [], []
    for variant, part in cgns.groupby("variant", sort=False):
        if len(part) < fewest:
            few.append(variant)
        else:
            rank = part["recognised"].corr(part["accuracy_10k"], method="spearman")
            told.append(f"{rank:.2f} on {variant} ({len(part)} CGNs)")
    trend = f"Rank correlation of masks and accuracy: {listed(told)}." if told else ""
    silent = f"Fewer than {fewest} CGNs say nothing of a trend on {listed(few)}." if few else ""
    return f"{trend} {silent}".strip()


def ablation(data: pd.DataFrame) -> str:
    """data: of ``comparison.ablation``."""
    told = []
    for variant, part in data[data["study"] == "ours"].groupby("variant", sort=False):
        ends = [part.loc[part["size"] == end, "test"].mean() for end in (part["size"].min(), part["size"].max())]
        told.append(f"{variant} {ends[0]:.1f} to {ends[1]:.1f} %")
    sizes = data.loc[data["study"] == "ours", "size"]
    return f"From {sizes.min():,} to {sizes.max():,} counterfactuals: {'; '.join(told)}."


def gradcam_variance(heat: pd.DataFrame) -> str:
    """heat: of ``tables.gradcam_runs``."""
    means = (
        heat[heat["heatmap"] == "GradCAM"].groupby("training_set", sort=False)[["along_themes", "along_digits"]].mean()
    )
    told = [
        f"{name} {'more by theme' if row['along_themes'] > row['along_digits'] else 'more by digit'} "
        f"({row['along_themes'] / row['along_digits']:.1f} to 1)"
        for name, row in means.iterrows()
    ]
    return f"Variance by theme against variance by digit: {'; '.join(told)}."


def gradcam_measures(heat: pd.DataFrame, measure: str = "mass_inside") -> str:
    """heat: of ``tables.gradcam_runs``. Where GradCAM is above the maps of other images by its whole interval."""
    told = []
    for name, part in heat.groupby("training_set", sort=False):
        own, other = (100 * part.loc[part["heatmap"] == kind, measure] for kind in ("GradCAM", "shuffled"))
        gained = (own.to_numpy() - other.to_numpy()).tolist()
        found = statistics.interval(gained, statistics.DIFFERENCE)
        told.append((name, found, found.low > 0))
    above = [name for name, _, is_above in told if is_above]
    points = "; ".join(f"{name} {found:.1f}" for name, found, _ in told)
    where = listed(above) if above else "no training set"
    return f"Maps beat the maps of other images for {where}; heat inside the digit above those, in points: {points}."


def best(frame: pd.DataFrame, column: str, what: str, lowest: bool = False) -> str:
    """The training set with the best mean of a column of ``natural.tables.classifiers``, beside real images alone."""
    means = frame.dropna(subset=column).groupby("trained_on", sort=False)[column].mean().to_dict()
    name = (min if lowest else max)(means, key=lambda name: means[name])
    others = "real images" in means and name != "real images"
    real = f"; real images alone {means['real images']:.1f}" if others else ""
    return f"{what}: {'lowest' if lowest else 'highest'} for {name}, {means[name]:.1f}{real}."


def explorer(data: Arrays) -> str:
    """data: of ``mnist.explorer.arrays``."""
    shape, texture, background = np.indices((CLASSES, CLASSES, CLASSES))
    apart = (shape != texture) & (shape != background) & (texture != background)
    cgns, told = by_cgn(data), []
    sources = pd.Series([source for _, source in cgns])
    for (title, source), found in cgns.items():
        shares = [100 * (each == shape)[:, apart].mean() for each in found["predicted"]]
        told.append(f"{shares[0]:.1f} and {shares[1]:.1f} % on {title}{_of(source, sources)}")
    first, second = READERS
    return (
        f"The label of the shape, where the three differ, is named by the classifier trained on {first} and by that "
        f"trained on {second} in {listed(told)}."
    )
