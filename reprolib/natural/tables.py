"""The tables of the natural-image half: run what a table needs, side by side, and return one row per result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from reprolib.figures import dots, figure
from reprolib.natural import experiments, plan
from reprolib.natural.classify import HEADS
from reprolib.natural.plan import REAL, CgnChoice, WorldRun
from reprolib.natural.robustness import CHALLENGE_SETS
from reprolib.run import jobs, rules
from reprolib.run.store import Result
from reprolib.schema import SOURCES
from reprolib.statistics import shown
from reprolib.vocabulary import FACTORS

GROUPS = {"shape": "shape", "text": "texture", "bg": "background", "rec": "reconstruction"}
"""The groups of losses as a reader sees them."""
CHANGED = {
    "untrained": "none",
    "exchanged": "all; texture and background exchanged",
    "true mask": "all; true mask",
}


def named(which: CgnChoice) -> dict[str, Any]:
    """What tells one CGN from the others in a table."""
    losses = f"without {GROUPS[which.without]} loss" if which.without else "all"
    if which.changed:
        losses = CHANGED[which.changed]
    cgn = "untrained CGN" if which.changed == "untrained" else SOURCES[which.source]
    seed = which.seed if which.source == "trained" else ""  # a given CGN had one of its own
    return {"cgn": cgn, "target": which.target, "losses": losses, "seed": seed}


def quality(run: WorldRun) -> pd.DataFrame:
    """One row per CGN: cgn, target, losses, seed; is_gen, is_gt, is_share (of is_gt, in percent), mean_mask,
    mean_mask_sd, and with ``_0.5`` all but the share for latents of that truncation; where the truth is known
    mask_iou, residue, entanglement, own and other (percent of factors that follow their own label, and another's); with
    standard errors."""
    plan.train_cgns(run)
    cases = plan.cgns(run)
    found = jobs.results(run.params, f"ratings of {run.world.title}", [plan.quality(run, which) for which in cases])
    rows = []
    for which, result in zip(cases, found, strict=True):
        row = named(which) | {name: value for name, value in result.numbers.items() if name != "control"}
        row |= {"rules": rules.stamp(result.made, run.world.name), "is_share": 100 * row["is_gen"] / row["is_gt"]}
        if control := result.numbers.get("control"):
            other = [control[factor][label] for factor in FACTORS for label in FACTORS if label != factor]
            row["other"] = sum(other) / len(other)
        rows.append(row)
    return pd.DataFrame(rows)


def control(run: WorldRun) -> pd.DataFrame:
    """How often each factor is read as each label, mean over the CGNs with all losses: variant, source, factor, label,
    share; empty where no reader knows."""
    target, keys = run.chosen.targets[0], ["variant", "source", "factor", "label"]
    rows = [
        (run.world.title, SOURCES[which.source], factor, label, share)
        for which in plan.cgns(run)
        if which == CgnChoice(which.source, which.seed, target)
        for factor, shares in plan.quality(run, which).result().numbers.get("control", {}).items()
        for label, share in shares.items()
    ]
    frame = pd.DataFrame(rows, columns=[*keys, "share"])
    return frame.groupby(keys, sort=False)["share"].mean().reset_index()


def conjectures(run: WorldRun) -> pd.DataFrame:
    """What the reproduction study supposes of its failures (its Appendix F), as numbers over the training of the first
    CGN and of one that has the true mask: mask, update, residue, entanglement and own; see ``World.against_truth``."""
    first = CgnChoice("trained", target=run.chosen.targets[0])
    rows = []
    for mask, which in (("own", first), ("true", replace(first, changed="true mask"))):
        found = plan.trained_cgn(run, which).result().numbers
        for update, numbers in zip(found["updates"], found["truth"], strict=True):
            measured = {name: numbers[name] for name in ("residue", "entanglement", "own")}
            rows.append({"mask": mask, "update": update} | measured)
    return pd.DataFrame(rows)


def told_conjectures(rows: pd.DataFrame) -> str:
    """What the rows of ``conjectures`` say, in two sentences."""
    own, true = (rows[rows["mask"] == mask].set_index("update") for mask in ("own", "true"))
    residue, last = own["residue"], max(own.index)
    lowest, least, at_last = residue.idxmin(), residue.min(), float(residue.iloc[-1])
    before, ends, perfect = (float(each["entanglement"].iloc[i]) for each, i in ((own, 0), (own, -1), (true, -1)))
    return (
        f"Residue was lowest, {least:.2f}, at update {lowest} and {at_last:.2f} at the last, {last}: "
        f"{'it grows' if at_last > 1.1 * least else 'it does not grow'} with training. "
        f"Entanglement went from {before:.2f} to {ends:.2f}, and with the true mask to {perfect:.2f}: a perfect mask "
        f"{'removes' if perfect < 0.1 * before else 'does not remove'} it."
    )


def classifiers(run: WorldRun) -> pd.DataFrame:
    """One row per classifier, at the epoch that the parameters select: trained_on, seed, epoch, rules (see
    ``rules.stamp``), everything that ``robustness.evaluate`` measures, and ``out_of_distribution/<set>``. The first
    row is the plain classifier of the world, which has no heads."""
    plan.train_cgns(run)
    cases = plan.classifiers(run)
    titles = [title for _, _, title in plan.training_sets(run) for _ in range(run.chosen.seeds)]
    write_counterfactuals(run, cases)
    looks = [plan.examined(run, *case) for case in cases]
    # first, because a look trains an ensemble again whose weights were not kept, and elsewhere numbers change
    closer = jobs.results(run.params, f"classifiers of {run.world.title}", looks)
    found = [plan.classifier(run, *case).result() for case in cases]
    plain = experiments.plain_classifier(run.world, run.machine).result().numbers
    rows = [{"trained_on": run.world.plain_title, "seed": 0, "epoch": 0} | plain["row"] | _out_of_distribution(plain)]
    for title, (_, _, seed), result, look in zip(titles, cases, found, closer, strict=True):
        row = {"trained_on": title, "seed": seed, "epoch": result.numbers["best"]}
        row["rules"] = f"{rules.stamp(result.made, run.world.name)} {rules.stamp(look.made, run.world.name)}"
        rows.append(row | result.numbers["scores"] | _out_of_distribution(look.numbers))
    return pd.DataFrame(rows)


def write_counterfactuals(run: WorldRun, cases: Sequence[tuple[Any, ...]]) -> None:
    """Write the counterfactuals of every CGN, one after the other, before the classifiers that share a set."""
    for kind, which in dict.fromkeys(case[:2] for case in cases):
        if kind == "cgn":
            plan.counterfactuals(run, which).folder(run.world)


def ensembles(run: WorldRun, title: str, cases: Sequence[tuple[Any, ...]]) -> list[Result]:
    """The classifiers of some cases."""
    write_counterfactuals(run, cases)
    return jobs.results(run.params, f"{title} of {run.world.title}", [plan.classifier(run, *case) for case in cases])


def _out_of_distribution(numbers: dict[str, Any]) -> dict[str, float]:
    return {f"out_of_distribution/{name}": value for name, value in numbers["out_of_distribution"].items()}


def search(run: WorldRun) -> pd.DataFrame:
    """Reproduction Table 7: the plain classifier, then one row per cell and seed: trained_on, rate, ratio, seed, epoch,
    accuracies without the background head, gap, and top-1 on real images."""
    plan.train_cgns(run)
    cases, plain = plan.search(run), experiments.plain_classifier(run.world, run.machine).result().numbers["row"]
    rows = [{"trained_on": run.world.plain_title, "rate": None, "ratio": 0.0, "seed": 0, "epoch": 0} | plain]
    for (kind, which, seed, rate, ratio), result in zip(cases, ensembles(run, "search", cases), strict=True):
        title = REAL if kind == "real" else f"{REAL} + {SOURCES[which.source]}"
        cell = {"trained_on": title, "rate": rate, "ratio": ratio, "seed": seed, "epoch": result.numbers["best"]}
        rows.append(cell | result.numbers["scores"])
    measured = {f"{name}/shape_texture": name for name in (*CHALLENGE_SETS, "gap")}
    columns = ["trained_on", "rate", "ratio", "seed", "epoch", *measured.values(), "top1"]
    return pd.DataFrame(rows).rename(columns=measured)[columns]


def search_shown(runs: pd.DataFrame) -> pd.DataFrame:
    """Reproduction Table 7 as it is printed: one row per cell, each with its repetitions."""
    cell = ["trained_on", "rate", "ratio"]
    table = shown(runs, cell, {name: name for name in (*CHALLENGE_SETS, "gap")} | {"top-1": "top1"})
    epochs = runs.groupby(cell, sort=False, dropna=False)["epoch"].agg(lambda found: ", ".join(map(str, found)))
    table.insert(len(cell), "epoch", epochs.tolist())
    return table


def challenge(runs: pd.DataFrame) -> pd.DataFrame:
    """Reproduction Table 5: accuracy on three sets and the gap, without the background head."""
    return _shown(runs, {name: f"{name}/shape_texture" for name in (*CHALLENGE_SETS, "gap")})


def gaps(runs: pd.DataFrame) -> pd.DataFrame:
    """The gap of every prediction."""
    return _shown(runs, {head: f"gap/{head}" for head in (*HEADS, "avg", "shape_texture")})


def bias(runs: pd.DataFrame) -> pd.DataFrame:
    """Reproduction Table 4: shape bias of every head and of their mean, the shares that the shape head and the mean
    decided, top-1 and top-5."""
    columns = {f"shape bias, {head}": f"shape_bias/{head}" for head in (*HEADS, "avg")}
    columns |= {f"decided, {head}": f"decided/{head}" for head in ("shape", "avg")}
    return _shown(runs, columns | {"top-1": "top1", "top-5": "top5"})


def accuracy(runs: pd.DataFrame) -> pd.DataFrame:
    """Claim 3: top-1 and top-5 on real images, of the mean of the heads and of each head, and accuracy on the unchanged
    test set; ensembles alone."""
    ensembles = runs[runs["trained_on"].str.startswith(REAL)]
    columns = {
        f"{title}{end}": f"{name}{of}"
        for title, name in (("top-1", "top1"), ("top-5", "top5"))
        for end, of in (("", ""), *((f", {head}", f"/{head}") for head in HEADS))
    }
    return _shown(ensembles, columns | {"unchanged test images": "original/avg"})


def challenge_points(runs: pd.DataFrame) -> pd.DataFrame:
    """Accuracy on every set for the mean of the heads and without the background head: trained_on, seed, set, head,
    accuracy."""
    columns = [f"{name}/{head}" for head in ("avg", "shape_texture") for name in CHALLENGE_SETS]
    long = runs.melt(["trained_on", "seed"], columns, "set", "accuracy")
    names = long["set"].str.split("/", expand=True)
    return long.assign(set=names[0], head=names[1])[["trained_on", "seed", "set", "head", "accuracy"]]


def bias_points(runs: pd.DataFrame) -> pd.DataFrame:
    """Shape bias of every head: trained_on, seed, head, shape_bias; empty for a head that there is not."""
    heads = {f"shape_bias/{head}": head for head in (*HEADS, "avg")}
    return runs.rename(columns=heads).melt(["trained_on", "seed"], list(heads.values()), "head", "shape_bias")


def factors(runs: pd.DataFrame) -> pd.DataFrame:
    """How often each head names its own factor on validation counterfactuals first, and among five, in percent."""
    columns = {
        f"{head}{title}": f"{name}/{head}" for name, title in (("factor", ""), ("factor5", ", top-5")) for head in HEADS
    }
    return _shown(runs[with_counterfactuals(runs)], columns)


def out_of_distribution(runs: pd.DataFrame) -> pd.DataFrame:
    """Top-1 on the out-of-distribution sets of Bagad et al."""
    prefix = "out_of_distribution/"
    sets = {name.removeprefix(prefix): name for name in map(str, runs) if name.startswith(prefix)}
    return _shown(runs, sets)


def with_counterfactuals(runs: pd.DataFrame) -> pd.Series:
    """Which rows are those of ensembles that saw counterfactuals."""
    return runs["trained_on"].str.startswith(f"{REAL} + ")


def _shown(runs: pd.DataFrame, columns: dict[str, str]) -> pd.DataFrame:
    """One row per training set: mean and 95 % interval as text, or few values, and nothing where a classifier has no
    such prediction."""
    return shown(runs, ["trained_on"], columns).rename(columns={"trained_on": "trained on"})


@figure("scenes_ablation", "imagenet_ablation")
def _draw_ablation(data: pd.DataFrame) -> Figure:
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
    long["panel"] = long["panel"].map(measures)
    return dots(long, "a point: a CGN, or the mean of several with its interval", width=1.8, shared=False)


@figure("scenes_gap", "imagenet_gap")
def _draw_gap(data: pd.DataFrame) -> Figure:
    """Reproduction Table 5 as a picture: accuracy on the three sets. Columns trained_on, seed, set, head, accuracy."""
    heads = {"avg": "mean of heads", "shape_texture": "no background\nhead"}
    sets = {
        "original": "unchanged",
        "mixed_same": "background\nof the class",
        "mixed_rand": "background of a\nrandom class",
    }
    panel = data["set"].map(sets) + "\n(" + data["head"].map(heads) + ")"
    return _by_training_set(data.rename(columns={"accuracy": "value"}).assign(panel=panel), "accuracy (%) →")


@figure("scenes_bias", "imagenet_bias")
def _draw_bias(data: pd.DataFrame) -> Figure:
    """Reproduction Table 4 as a picture: shape bias of every head. Columns trained_on, seed, head, shape_bias."""
    heads = {"shape": "shape head", "texture": "texture head", "bg": "background head", "avg": "mean of heads"}
    named = data.rename(columns={"shape_bias": "value"}).assign(panel=data["head"].map(heads))
    return _by_training_set(named, "shape bias (%) →")


def _by_training_set(data: pd.DataFrame, label: str) -> Figure:
    source = data["trained_on"].str.removeprefix("real images + ")
    return dots(data.assign(row=data["trained_on"], training_set=data["trained_on"], source=source), label, width=1.7)
