"""What the numbers of a table or figure say, in a sentence or two that are made from them."""

from __future__ import annotations

import re
from math import comb
from statistics import fmean

import pandas as pd
from scipy.stats import spearmanr

from reprolib import statistics
from reprolib.report.words import DIGITS, listed, named
from reprolib.schema import SOURCES


def whose(source: object, sources: pd.Series) -> str:
    """Whose CGN in few words, such as ``(stable recipe)``, where there are several."""
    short = str(source).removeprefix("CGN ").removeprefix("trained here, ")
    return f" ({short})" if source and sources[sources != ""].nunique() > 1 else ""


def span(frame: pd.DataFrame, column: str) -> str:
    """The rows with the lowest and the highest value of a column; a row is called by its first two columns."""
    rows, digits = frame.dropna(subset=column).sort_values(column), DIGITS.get(column, 1)
    ends = [f"{row[column]:.{digits}f} ({row.iloc[0]}: {row.iloc[1]})" for _, row in rows.iloc[[0, -1]].iterrows()]
    return f"{named(column)}: lowest {ends[0]}, highest {ends[1]}."


def _cases(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each data set and source, by what a sentence calls them: the source where there are several."""
    groups = frame.groupby(["variant", "source"], sort=False)
    return [(f"{variant}{whose(source, frame['source'])}", part) for (variant, source), part in groups]


def quality(runs: pd.DataFrame) -> str:
    """runs: of ``tables.quality_runs``, titled."""
    told = [f"{part['good_digits'].mean():.{min(1, len(part) - 1)}f} on {case}" for case, part in _cases(runs)]
    return f"Good digits of ten, mean over CGNs: {listed(told)}."


def digits(runs: pd.DataFrame) -> str:
    """runs: the same. Which digit is recognised least."""
    told = []
    for case, part in _cases(runs):
        shares = {digit: 100 * part[f"digit_{digit}"].mean() for digit in range(10)}
        least = min(shares, key=lambda digit: shares[digit])
        told.append(f"{least} on {case} ({shares[least]:.1f} %)")
    return f"The digit whose masks are recognised least: {listed(told)}."


def over_training(snapshots: pd.DataFrame) -> str:
    """snapshots: of ``tables.training_quality``, titled. Good digits at the first and at the last of them."""
    told = []
    for case, part in _cases(snapshots):
        by_step = part.groupby("step")["good_digits"].mean()
        told.append(f"{by_step.iloc[0]:.1f} and {by_step.iloc[-1]:.1f} on {case}")
    first, last = snapshots["step"].min(), snapshots["step"].max()
    return f"Good digits after {first:,} steps and at the end, {last:,}: {listed(told)}."


def good_digit_runs(data: pd.DataFrame) -> str:
    """data: of ``comparison.good_digits``."""
    told = []
    for study, part in data.groupby("study", sort=False):
        many = part.loc[part["good_digits"] >= 9, "runs"].sum()
        told.append(f"{many:.0f} of {part['runs'].sum():.0f} ({re.sub(', [0-9]+ runs?', '', str(study))})")
    return f"Nine or ten good digits: {'; '.join(told)}."


def control(shares: pd.DataFrame, coincide: float = 0.0) -> str:
    """shares: of ``control_shares`` or ``natural.tables.control``; coincide: how often two labels are the same, so that
    a factor that follows its own is read as another's too."""
    keys = ["variant", "source", "factor"]
    own = shares[shares["factor"] == shares["label"]].set_index(keys)["share"].rename("own")
    rank = shares.join(own, on=keys)
    rank["case"] = rank["variant"] + rank["source"].map(lambda source: whose(source, rank["source"]))
    leaked = (rank["share"] - coincide * rank["own"]).clip(lower=0)
    rank["beyond"] = leaked.where(rank["factor"] != rank["label"], rank["share"])
    rank = rank.sort_values("beyond", kind="stable")
    read_as = rank.groupby(keys, sort=False).tail(1)
    lost = read_as[read_as["factor"] != read_as["label"]]
    another = f"Another label decides {listed(lost['factor'] + ' on ' + lost['case'])}" if len(lost) else ""
    low, leak = rank[rank["factor"] == rank["label"]].iloc[0], rank[rank["factor"] != rank["label"]].iloc[-1]
    besides = ", beside labels that coincide," if coincide else ""
    return (
        f"{another or 'Every factor follows its own label most'}: the weakest, {low['factor']} on {low['case']}, is "
        f"read as its own {low['share']:.1f} % of the time; the largest leak{besides} is {leak['beyond']:.1f} % "
        f"({leak['factor']} read as the label of {leak['label']}, {leak['case']})."
    )


def taught(accuracy: pd.DataFrame) -> str:
    """accuracy: of ``tables.counterfactual_accuracy_runs``, titled."""
    made = accuracy[accuracy["source"].str.startswith("CGN ") & accuracy["relative"].notna()]
    if made.empty:
        return "Counterfactuals of real digits taught too little here for a comparison."
    told = listed(f"{part['relative'].mean():.1f} % ({case})" for case, part in _cases(made))
    least = made.groupby(["variant", "source"])["relative"].mean().groupby("variant").min()
    must_fail = ~accuracy["source"].str.match("CGN |real digits$") & accuracy["variant"].isin(made["variant"])
    means = accuracy[must_fail].groupby(["source", "variant"])["relative"].mean().nlargest(1)
    for null, v, mean in means.reset_index().itertuples(index=False):
        told += f". The most of what must fail: {mean:.1f} % ({null} on {v}, where CGNs teach {least[v]:.1f} % or more)"
    return f"Above chance, counterfactuals of CGNs teach this much of what true ones teach: {told}."


def nulls(known: pd.DataFrame) -> str:
    """known: of ``tables.null_runs``, titled."""
    real, others = known[known["source"] == "real digits"], known[known["source"] != "real digits"]
    best = others.sort_values("good_digits", kind="stable").iloc[-1]
    most = f"the best of what must fail, {best['source']} on {best['variant']}, has {best['good_digits']}"
    least = f"Real digits in place of a CGN have at least {real['good_digits'].min()} good digits"
    return f"{least}; {most if best['good_digits'] else 'what must fail has none'}."


def norms(rows: pd.DataFrame) -> str:
    """rows: of ``tables.background_norms``, titled."""
    low = rows.sort_values("bias", kind="stable").iloc[0]
    enough = "enough" if low["reach"] >= -low["bias"] else "too little"
    where = f"on {low['variant']} ({low['source']}); from a start at 0 that training's reach of {low['reach']:.1f}"
    return f"The lowest bias is {low['bias']:.1f} {where} would be {enough}."


def recipes(rows: pd.DataFrame) -> str:
    """rows: of ``recipe.summary``."""
    told = []
    for source, part in rows.groupby("source", sort=False):
        counts = part[["nine_or_ten", "CGNs", "variant"]].itertuples(index=False)
        told.append(f"{listed(f'{good} of {all_} on {variant}' for good, all_, variant in counts)} ({source})")
    return f"CGNs with at least nine good digits: {'; '.join(told)}."


def ingredients(runs: pd.DataFrame) -> str:
    """runs: of ``recipe.ablation``. Without which ingredients every run is worse than every run with all, or better,
    and without which masks are more alike."""
    (_, whole), *others = runs.groupby("without", sort=False)

    def worse(column: str, sign: int = 1) -> str:
        """sign: 1 where more is better, -1 where less is."""
        least = (sign * whole[column]).min()
        lost = {str(name): part[column].mean() for name, part in others if (sign * part[column]).max() < least}
        order = sorted(lost, key=lambda name: sign * lost[name])
        return listed(f"{name} ({lost[name]:.{DIGITS.get(column, 1)}f})" for name in order) if lost else "none"

    chance = len(others) / comb(2 * len(whole), len(whole))
    accuracy, good = whole[["accuracy_10k", "good_digits"]].mean()
    return (
        f"These trainings with all ingredients: {accuracy:.1f} % and {good:.1f} good digits. Worse than each, as "
        f"{chance:.0f} of {len(others)} would be by chance: accuracy without {worse('accuracy_10k')}; good digits "
        f"without {worse('good_digits')}. Better in good digits: without {worse('good_digits', -1)}. Masks more alike: "
        f"without {worse('pairwise_iou', -1)}."
    )


def rates(rows: pd.DataFrame) -> str:
    """rows: of ``recipe.losses``."""
    by = rows.groupby("recipe")[["cgn_rate", "critic_rate"]].mean()
    faster = by.loc["stable"] / by.loc["published"]
    told = f"{faster['cgn_rate']:.1f} (CGN) and {faster['critic_rate']:.1f} (discriminator)"
    return f"The stable recipe's learning rates are {told} times the published ones."


def readers(rows: pd.DataFrame) -> str:
    """rows: variant, and the accuracy of each reader in percent."""
    long = rows.melt("variant", var_name="reader").dropna()
    low = long.sort_values("value").iloc[0]
    return f"The worst reader is that of {low['reader'].partition('_')[0]} on {low['variant']}, {low['value']:.1f} %."


def accuracy(runs: pd.DataFrame, value: str) -> str:
    """runs: of ``tables.accuracy_runs``, titled; value: the column of an accuracy in percent. What counterfactuals of
    the CGN that decides give on each data set, alone and with original data, beside original data alone and with
    samples of that CGN whose labels agree."""
    deciding = runs.loc[runs["training_set"] == "CGN", "source"].iloc[0]
    told = []
    for variant, part in runs[runs["source"].isin(["", deciding])].groupby("variant", sort=False):
        means = part.groupby("training_set")[value].mean().map("{:.1f} %".format)
        controls = f"original data {means['Original']}"
        if "Original+GAN" in means:
            controls += f", with as many samples whose labels agree {means['Original+GAN']}"
        told.append(f"{means['CGN']} alone, {means['Original+CGN']} with original data on {variant} ({controls})")
    return f"Counterfactuals of the {deciding}: {'; '.join(told)}."


def lost(runs: pd.DataFrame, value: str) -> str:
    """runs: the same. What counterfactuals cost, in points: the mean over repetitions, as the verdict has it."""
    told, original = [], runs[runs["training_set"] == "Original"].set_index(["variant", "seed"])[value]
    for case, part in _cases(runs[runs["training_set"].isin(["CGN", "Original+CGN"])]):
        costs = original.reindex(part.set_index(["variant", "seed"]).index).to_numpy() - part[value].to_numpy()
        both, alone = (fmean(costs[part["training_set"] == name]) for name in ("Original+CGN", "CGN"))
        told.append(f"{both:.1f} ({alone:.1f}) on {case}")
    return f"Points lost against original data, with originals and counterfactuals (with those alone): {listed(told)}."


def mislabelled(runs: pd.DataFrame, nulls: pd.DataFrame, value: str, bound: float) -> str:
    """runs: the same; nulls: those of training sets with wrong labels, on the first data set. What these cost beside
    original data, in points, and whether ``bound``, the most that a rule allows, tells them from good ones."""
    same = runs[(runs["training_set"] == "Original") & (runs["variant"] == nulls["variant"].iloc[0])]
    wrong = nulls[nulls["training_set"] == "Original+CGN, wrong labels"]
    cost = same[value].mean() - wrong[value].mean()
    told = "which the rule does not allow"
    if cost <= bound:
        told = "which the rule allows: it tells what counterfactuals cost there, not whether they are any good"
    lost = f"lose {cost:.1f} points on {wrong['variant'].iloc[0]}"
    return (
        f"Beside original data, counterfactuals with wrong labels {lost}, {told}. What must fail has no original data."
    )


def beside(points: pd.DataFrame, within: float = 2.0) -> str:
    """points: of ``comparison.points``. How many published values are near ours."""
    ours = points[points["study"] == "here"].groupby(["variant", "row"])["value"].mean().rename("ours")
    known = points[points["study"] != "here"].join(ours, on=["variant", "row"])
    if known.empty:
        return "Nothing comparable was published."
    off = (known["value"] - known["ours"]).abs()
    far, close, authors = known.iloc[int(off.argmax())], off <= within, known["source"] == SOURCES["authors"]
    counts = {"original data alone": known["source"] == ""}
    counts |= {
        f"the authors' CGN on {name}": authors & (known["variant"] == name) for name in known["variant"].unique()
    }
    counts["generators of their own"] = ~authors & (known["source"] != "")
    told = listed(f"{close[of].sum()} of {of.sum()} with {name}" for name, of in counts.items() if of.any())
    return (
        f"Published values within {within:.0f} points of the mean here: {told}; the farthest is {far['study']}, "
        f"{far['training_set']} on {far['variant']}: {far['value']:.1f} against {far['ours']:.1f} %."
    )


def near(rows: pd.DataFrame) -> str:
    """rows: of ``comparison.at_published_size``. How far accuracies are from the published ranges, in points."""
    off = (rows["published_low"] - rows["ours"]).clip(lower=0) + (rows["ours"] - rows["published_high"]).clip(lower=0)
    far = rows.iloc[int(off.argmax())]
    close = f"{(off <= 1).sum()} of {len(rows)} accuracies are within a point of the range of Bagad et al."
    return f"{close}; the farthest, {far['training_set']} on {far['variant']}, is {off.max():.1f} points away."


def by_quality(cgns: pd.DataFrame, fewest: int = 5) -> str:
    """cgns: of ``recipe.kept``, titled. Whether accuracy rises with the masks that are recognised."""
    told, few, risen = [], [], False
    for variant, part in cgns.groupby("variant", sort=False):
        source = part["source"].value_counts().index[0]
        same = part[part["source"] == source]
        if len(same) < fewest or same[["recognised", "accuracy_10k"]].nunique().min() == 1:
            few.append(variant)
        else:
            rank, chance = spearmanr(same["recognised"], same["accuracy_10k"])
            risen |= chance < 0.05
            told.append(f"{rank:.2f} on {variant} ({len(same)} of the {source}, p = {chance:.2f})")
    is_one = "a trend where p < 0.05" if risen else "too few CGNs to show a trend"
    trend = f"Rank correlation of masks and accuracy, {is_one}: {listed(told)}." if told else ""
    silent = f"Fewer than {fewest} different CGNs of one kind say nothing of a trend on {listed(few)}." if few else ""
    worst = cgns.sort_values("recognised", kind="stable").iloc[0]
    least = f"{worst['recognised']:.1f} % ({worst['source']}, {worst['variant']})"
    bad = f" Where masks are recognised least, {least}, accuracy is {worst['accuracy_10k']:.1f} %."
    return f"{trend} {silent}".strip() + bad


def ablation(data: pd.DataFrame) -> str:
    """data: of ``comparison.ablation``."""
    ours = data[data["study"] == "ours"]
    first, last = ours["size"].min(), ours["size"].max()
    told = []
    for case, part in _cases(ours):
        ends = [part.loc[part["size"] == end, "test"].mean() for end in (first, last)]
        by_ratio = part[part["size"] == last].groupby("ratio")["test"].mean()  # in order of the ratio
        told.append(f"{case} {ends[0]:.1f} to {ends[1]:.1f} % ({by_ratio.iloc[-1] - by_ratio.iloc[0]:+.1f})")
    return (
        f"From {first:,} to {last:,} counterfactuals, mean over the lines (at {last:,} the highest CF ratio minus the "
        f"lowest, in points): {'; '.join(told)}. The epochs are the same, so more images are more updates, too."
    )


def gradcam_variance(heat: pd.DataFrame) -> str:
    """heat: of ``tables.gradcam_runs``."""
    means = heat[heat["heatmap"] == "GradCAM"].groupby("training_set", sort=False).mean(numeric_only=True)
    ratios = means["along_themes"] / means["along_digits"].where(means["along_digits"] > 0)
    told = [
        f"{name} {ratio:.1f} ({100 * empty:.0f} % of maps empty)" if pd.notna(ratio) else f"{name} no map"
        for name, ratio, empty in zip(means.index, ratios, means["grid_empty"], strict=True)
    ]
    first = f"Maps vary with the digit more than with the theme in {listed([*ratios.index[ratios < 1]] or ['none'])}"
    return f"{first}. Variance by theme over variance by digit: {'; '.join(told)}."


def gradcam_measures(heat: pd.DataFrame) -> str:
    """heat: of ``tables.gradcam_runs``. Where GradCAM is above the maps of other images by its whole interval."""
    told = {}
    for name, part in heat.groupby("training_set", sort=False):
        own, other = (100 * part.loc[part["heatmap"] == kind, "mass_inside"] for kind in ("GradCAM", "shuffled"))
        told[name] = statistics.interval((own.to_numpy() - other.to_numpy()).tolist(), statistics.DIFFERENCE)
    points = "; ".join(f"{name} {found:.1f}" for name, found in told.items())
    if len(heat["seed"].unique()) < statistics.LEAST:
        return f"Heat inside the digit above that of another image's map, in points, too few for an interval: {points}."
    above = [name for name, found in told.items() if found.low > 0]
    return (
        f"{'For ' + listed(above) if above else 'For no training set'} clearly more of the heat lies inside the digit "
        f"than another image's map has there; in points: {points}."
    )
