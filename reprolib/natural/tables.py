"""The tables of the natural-image half: run what a table needs, side by side, and return one row per result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from reprolib.natural.classify import HEADS
from reprolib.natural.robustness import VARIANTS
from reprolib.natural.study import CgnChoice, NaturalStudy, TrainedOn
from reprolib.run import jobs, rules
from reprolib.schema import SOURCES, NaturalSource, deciding
from reprolib.statistics import shown
from reprolib.vocabulary import FACTORS

GROUPS = {"shape": "shape", "text": "texture", "bg": "background", "rec": "reconstruction"}
"""The groups of losses as a reader sees them."""
CHANGED = {
    "untrained": "none",
    "exchanged": "all; texture and background exchanged",
    "true mask": "all; true mask",
}
TRUTH = "true counterfactuals"
REAL = "real images"


def _run(study: NaturalStudy, title: str, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    return jobs.run_methods(study.params, f"{title} of {study.world.title}", calls)


def cgns(study: NaturalStudy) -> list[CgnChoice]:
    """Every CGN of a run: all seeds with all losses, one with each other target, one without each group of losses; an
    untrained one, a null; and on Scenes one with the true mask, and the deciding one with two mechanisms exchanged."""
    chosen, found = study.chosen, []
    for source in chosen.sources:
        seeds = rules.seeds(chosen.cgns if source == "trained" else 1)
        found += [CgnChoice(source, seed, chosen.targets[0]) for seed in seeds]
        if source == "trained":
            found += [CgnChoice(source, target=target) for target in chosen.targets[1:]]
            found += [CgnChoice(source, target=chosen.targets[0], without=group) for group in chosen.ablations]
            if study.world.name == "scenes":
                found.append(CgnChoice(source, target=chosen.targets[0], changed="true mask"))
    found.append(CgnChoice(target=chosen.targets[0], changed="untrained"))
    return [*found, replace(study.deciding, changed="exchanged")] if study.world.name == "scenes" else found


def prepare(study: NaturalStudy) -> None:
    """Train what has to be trained, before the jobs that share it."""
    _run(study, "CGNs", [(study.trained_cgn, which) for which in cgns(study) if which.trained_here])


def named(which: CgnChoice) -> dict[str, Any]:
    """What tells one CGN from the others in a table."""
    losses = f"without {GROUPS[which.without]} loss" if which.without else "all"
    if which.changed:
        losses = CHANGED[which.changed]
    cgn = "untrained CGN" if which.changed == "untrained" else SOURCES[which.source]
    return {"cgn": cgn, "target": which.target, "losses": losses, "seed": which.seed}


def quality(study: NaturalStudy) -> pd.DataFrame:
    """One row per CGN: cgn, target, losses, seed; is_gen, is_gt, is_share (of is_gt, in percent), mean_mask,
    mean_mask_sd, and with ``_0.5`` the same for latents of that truncation; where the truth is known mask_iou, residue,
    entanglement, own and other (percent of factors that follow their own label, and another's); with standard
    errors."""
    prepare(study)
    cases = cgns(study)
    found = _run(study, "ratings", [(study.rate, which) for which in cases])
    rows = []
    for which, numbers in zip(cases, found, strict=True):
        row = named(which) | {name: value for name, value in numbers.items() if name != "control"}
        row["is_share"] = 100 * numbers["is_gen"] / numbers["is_gt"]
        if control := numbers.get("control"):
            other = [control[factor][label] for factor in FACTORS for label in FACTORS if label != factor]
            row["other"] = sum(other) / len(other)
        rows.append(row)
    return pd.DataFrame(rows)


def control(study: NaturalStudy) -> pd.DataFrame:
    """How often each factor is read as each label, mean over the CGNs with all losses: variant, source, factor, label,
    share; empty where no reader knows."""
    target = study.chosen.targets[0]
    whole = [which for which in cgns(study) if which == CgnChoice(which.source, which.seed, target)]
    rows = [
        {
            "variant": study.world.title,
            "source": SOURCES[which.source],
            "factor": factor,
            "label": label,
            "share": share,
        }
        for which in whole
        for factor, shares in study.rate(which).get("control", {}).items()
        for label, share in shares.items()
    ]
    frame = pd.DataFrame(rows, columns=["variant", "source", "factor", "label", "share"])
    return frame.groupby(["variant", "source", "factor", "label"], sort=False)["share"].mean().reset_index()


def conjectures(study: NaturalStudy) -> pd.DataFrame:
    """What the reproduction study supposes of its failures (its Appendix F), as numbers over the training of the first
    CGN and of one that has the true mask: mask, update, residue, entanglement and own; see ``World.against_truth``."""
    first = CgnChoice("trained", target=study.chosen.targets[0])
    rows = []
    for mask, which in (("own", first), ("true", replace(first, changed="true mask"))):
        found = study.trained_cgn(which).numbers
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
        f"Entanglement fell from {before:.2f} to {ends:.2f}, and with the true mask to {perfect:.2f}: a perfect mask "
        f"{'removes' if perfect < 0.1 * before else 'does not remove'} it."
    )


def training_sets(study: NaturalStudy) -> list[tuple[TrainedOn, CgnChoice, str]]:
    """(what a classifier is trained on, whose CGN, how a reader sees it)."""
    target = study.chosen.targets[0]
    found: list[tuple[TrainedOn, CgnChoice, str]] = [("real", CgnChoice(), REAL)]
    found += [
        ("cgn", CgnChoice(source, target=target), f"{REAL} + {SOURCES[source]}") for source in study.chosen.sources
    ]
    if study.world.name == "scenes":
        found.append(("truth", CgnChoice(), f"{REAL} + {TRUTH}"))
    return found


def classifier_cases(study: NaturalStudy) -> list[tuple[TrainedOn, CgnChoice, int]]:
    """(what it is trained on, whose CGN, seed) of every classifier; each seed has a CGN of its own if there is one."""
    return [
        (kind, _of_seed(study, which.source, seed), seed)
        for kind, which, _ in training_sets(study)
        for seed in rules.seeds(study.chosen.seeds)
    ]


def _of_seed(study: NaturalStudy, source: NaturalSource, seed: int) -> CgnChoice:
    """The CGN with all losses that a classifier of this seed gets its counterfactuals from."""
    cgns = study.chosen.cgns if source == "trained" else 1
    return CgnChoice(source, rules.one_of(cgns, seed), study.chosen.targets[0])


NULLS: dict[TrainedOn, str] = {"again": "real images twice", "wrong": "wrong labels"}


def null_cases(study: NaturalStudy) -> list[tuple[TrainedOn, CgnChoice, int]]:
    """The same for the nulls of claims 2 and 3; none on ImageNet, where they would take days."""
    kinds = NULLS if study.world.name == "scenes" else ()
    seeds, source = rules.seeds(study.chosen.seeds), study.deciding.source
    return [(kind, _of_seed(study, source, seed), seed) for kind in kinds for seed in seeds]


def classifiers(study: NaturalStudy) -> pd.DataFrame:
    """One row per classifier, at the epoch that the parameters select: trained_on, seed, epoch, rules (see
    ``rules.stamp``), everything that ``NaturalStudy.evaluate`` measures, and ``out_of_distribution/<set>``. The first
    row is the plain classifier of the world, which has no heads."""
    prepare(study)
    cases = classifier_cases(study)
    titles = [title for _, _, title in training_sets(study) for _ in range(study.chosen.seeds)]
    _write_sets(study, cases)
    found = _run(study, "classifiers", [(study.classifier, *case) for case in cases])
    closer = _run(study, "closer looks at classifiers", [(study.examined, *case) for case in cases])
    plain = study.plain()
    rows = [{"trained_on": study.world.plain_title, "seed": 0, "epoch": 0} | plain["row"] | _out_of_distribution(plain)]
    for title, (_, _, seed), result, look in zip(titles, cases, found, closer, strict=True):
        row = {"trained_on": title, "seed": seed, "epoch": result.numbers["best"]}
        row["rules"] = f"{rules.stamp(result.made, study.world.name)} {rules.stamp(look.made, study.world.name)}"
        rows.append(row | _best(result.numbers) | _out_of_distribution(look.numbers))
    return pd.DataFrame(rows)


def _write_sets(study: NaturalStudy, cases: Sequence[tuple[Any, ...]]) -> None:
    """The counterfactuals of every CGN, one after the other, before the classifiers that share a set."""
    for kind, which in dict.fromkeys(case[:2] for case in cases):
        if kind == "cgn":
            study.counterfactual_folder(which)


def _out_of_distribution(numbers: dict[str, Any]) -> dict[str, float]:
    return {f"out_of_distribution/{name}": value for name, value in numbers["out_of_distribution"].items()}


def _best(numbers: dict[str, Any]) -> dict[str, float]:
    best: dict[str, float] = numbers["history"][numbers["best"]]
    return best


def search_cases(study: NaturalStudy) -> list[tuple[TrainedOn, CgnChoice, int, float, float]]:
    """(what it is trained on, whose CGN, seed, learning rate, CF ratio) of every cell of reproduction Table 7 and seed.

    As there, one CGN goes through all learning rates, the authors' if it is at hand, and the others only through that
    of the parameters.
    """
    chosen = study.chosen
    if not chosen.search_rates:
        return []
    rates = sorted({chosen.classifier_rate, *chosen.search_rates})
    whole = "authors" if "authors" in chosen.sources else deciding(chosen.sources)
    cells: list[tuple[TrainedOn, NaturalSource, float, float]] = []
    if 0.0 in chosen.search_ratios:
        cells += [("real", whole, rate, 0.0) for rate in rates]
    for source in sorted(chosen.sources, key=lambda source: source != whole):
        wanted = rates if source == whole else [chosen.classifier_rate]
        cells += [("cgn", source, rate, ratio) for rate in wanted for ratio in chosen.search_ratios if ratio > 0]
    return [
        (kind, _of_seed(study, source, seed), seed, rate, ratio)
        for kind, source, rate, ratio in cells
        for seed in rules.seeds(chosen.search_seeds)
    ]


def search(study: NaturalStudy) -> pd.DataFrame:
    """Reproduction Table 7: the plain classifier, then one row per cell and seed: trained_on, rate, ratio, seed, epoch,
    accuracies without the background head, gap, and top-1 on real images."""
    prepare(study)
    cases, plain = search_cases(study), study.plain()["row"]
    _write_sets(study, cases)
    found = _run(study, "search", [(study.classifier, *case) for case in cases])
    rows = [_searched(study.world.plain_title, None, 0.0, 0, 0, plain)]
    for (kind, which, seed, rate, ratio), result in zip(cases, found, strict=True):
        title = REAL if kind == "real" else f"{REAL} + {SOURCES[which.source]}"
        rows.append(_searched(title, rate, ratio, seed, result.numbers["best"], _best(result.numbers)))
    return pd.DataFrame(rows)


def _searched(
    title: str, rate: float | None, ratio: float, seed: int, epoch: int, row: dict[str, float]
) -> dict[str, Any]:
    cell = {"trained_on": title, "rate": rate, "ratio": ratio, "seed": seed, "epoch": epoch}
    return cell | {name: row[f"{name}/shape_texture"] for name in (*VARIANTS, "gap")} | {"top1": row["top1"]}


def search_shown(runs: pd.DataFrame) -> pd.DataFrame:
    """Reproduction Table 7 as it is printed: one row per cell, each with its repetitions."""
    cell = ["trained_on", "rate", "ratio"]
    table = shown(runs, cell, {name: name for name in (*VARIANTS, "gap")} | {"top-1": "top1"})
    epochs = runs.groupby(cell, sort=False, dropna=False)["epoch"].agg(lambda found: ", ".join(map(str, found)))
    table.insert(len(cell), "epoch", epochs.tolist())
    return table


def challenge(runs: pd.DataFrame, head: str = "shape_texture") -> pd.DataFrame:
    """Reproduction Table 5: accuracy on three sets and the gap, means and 95 % intervals; a row per training set."""
    return _shown(runs, {name: f"{name}/{head}" for name in (*VARIANTS, "gap")})


def gaps(runs: pd.DataFrame) -> pd.DataFrame:
    """The gap of every prediction, one row per training set."""
    return _shown(runs, {head: f"gap/{head}" for head in (*HEADS, "avg", "shape_texture")})


def bias(runs: pd.DataFrame) -> pd.DataFrame:
    """Reproduction Table 4: shape bias of every head and of their mean, the share that was decided, top-1 and top-5."""
    columns = {f"shape bias, {head}": f"shape_bias/{head}" for head in (*HEADS, "avg")}
    return _shown(runs, columns | {"decided, avg": "decided/avg", "top-1": "top1", "top-5": "top5"})


def accuracy(runs: pd.DataFrame) -> pd.DataFrame:
    """Claim 3: top-1 and top-5 on real images, of the mean of the heads and of each head, and accuracy on the unchanged
    test set, means with 95 % intervals; ensembles alone."""
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
    frames = [
        runs[["trained_on", "seed"]].assign(set=name, head=head, accuracy=runs[f"{name}/{head}"])
        for head in ("avg", "shape_texture")
        for name in VARIANTS
    ]
    return pd.concat(frames, ignore_index=True)


def bias_points(runs: pd.DataFrame) -> pd.DataFrame:
    """Shape bias of every head: trained_on, seed, head, shape_bias; empty for a head that there is not."""
    frames = [
        runs[["trained_on", "seed"]].assign(head=head, shape_bias=runs[f"shape_bias/{head}"])
        for head in (*HEADS, "avg")
    ]
    return pd.concat(frames, ignore_index=True)


def factors(runs: pd.DataFrame) -> pd.DataFrame:
    """How often each head names its own factor on validation counterfactuals first, and among five, in percent."""
    columns = {
        f"{head}{title}": f"{name}/{head}" for name, title in (("factor", ""), ("factor5", ", top-5")) for head in HEADS
    }
    return _shown(runs[_with_counterfactuals(runs)], columns)


def out_of_distribution(runs: pd.DataFrame) -> pd.DataFrame:
    """Top-1 on the out-of-distribution sets of Bagad et al."""
    prefix = "out_of_distribution/"
    sets = {name.removeprefix(prefix): name for name in map(str, runs) if name.startswith(prefix)}
    return _shown(runs, sets)


def _with_counterfactuals(runs: pd.DataFrame) -> pd.Series:
    return runs["trained_on"].str.startswith(f"{REAL} + ")


def _shown(runs: pd.DataFrame, columns: dict[str, str]) -> pd.DataFrame:
    """Mean and 95 % interval as text, or few values, and nothing where a classifier has no such prediction."""
    return shown(runs, ["trained_on"], columns).rename(columns={"trained_on": "trained on"})


# ---------------------------------------------------------------- evidence


NORMAL = 1.96
"""Half a 95 % interval in standard errors."""
ROBUSTNESS = {
    "gap": ("gap/shape_texture", "gap/shape_texture", -1),
    "mixed_rand": ("mixed_rand/shape_texture", "mixed_rand/shape_texture", 1),
    "shape_bias": ("shape_bias/shape", "shape_bias/avg", 1),
}
"""Criteria of claim 2: measure with counterfactuals, measure of real images alone, sign of their difference."""
ACCURACY = {"top1": ("top1", "top1", -1), "original": ("original/avg", "original/avg", -1)}
"""The same for claim 3."""


QUALITY_NULLS = {"untrained": CHANGED["untrained"], "mechanisms exchanged": CHANGED["exchanged"]}
"""Nulls of claim 1, and the ``losses`` of their row in the table of quality."""


def quality_evidence(study: NaturalStudy, runs: pd.DataFrame) -> pd.DataFrame:
    """Claim 1: one row per CGN with all losses and criterion; columns source, criterion, case, value, null, rules, low,
    high.

    The last two, the sampling interval, are those of a CGN that is judged by itself: one that is given, or the only one
    that was trained; and of the nulls.
    """
    measured = runs.assign(
        inception_score=runs["is_share"],
        inception_score_error=100 * runs["is_gen_error"] / runs["is_gt"],
        mean_mask_error=runs["mean_mask_sd"] / study.chosen.rated**0.5,
    )
    names = {
        name: name for name in ("inception_score", "mean_mask", "own", "residue", "entanglement") if name in measured
    }
    frames = [
        _rated(study, measured, "all", names),
        *(_rated(study, measured, losses, names, null) for null, losses in QUALITY_NULLS.items()),
    ]
    if "own_shuffled" in measured:
        frames.append(_rated(study, measured, "all", {"own": "own_shuffled"}, "shuffled labels")[:1])
    return pd.concat(frames, ignore_index=True)


def _rated(
    study: NaturalStudy, measured: pd.DataFrame, losses: str, columns: dict[str, str], null: str = ""
) -> pd.DataFrame:
    """Evidence from the rows with these losses and the first target; columns: criterion -> what measures it."""
    rows = measured[(measured["losses"] == losses) & (measured["target"] == study.chosen.targets[0])]
    alone = (rows["cgn"] != SOURCES["trained"]) | (study.chosen.cgns == 1) | bool(null)
    source = SOURCES[study.deciding.source] if null else rows["cgn"]
    frames = []
    for criterion, column in columns.items():
        half = NORMAL * rows[f"{column}_error"].where(alone)
        part = pd.DataFrame({"value": rows[column], "low": rows[column] - half, "high": rows[column] + half})
        frames.append(part.assign(source=source, criterion=criterion, null=null, rules=rows["rules"]))
    return pd.concat(frames, ignore_index=True).assign(case=study.world.title)


def factor_evidence(study: NaturalStudy, runs: pd.DataFrame) -> pd.DataFrame:
    """Claim 1, where no reader knows the factors: how often each head names its own factor, the lowest of the three."""
    made = runs[runs["trained_on"].str.removeprefix(f"{REAL} + ").isin(SOURCES.values())]
    rows = {"source": made["trained_on"].str.removeprefix(f"{REAL} + "), "rules": made["rules"]}
    frames = [
        pd.DataFrame(rows | {"null": null, "value": made[[f"{name}/{head}" for head in HEADS]].min(axis=1)})
        for name, null in (("factor", ""), ("factor_shuffled", "shuffled labels"))
    ]
    return pd.concat(frames, ignore_index=True).assign(criterion="factors", case=study.world.title)


def robustness_evidence(study: NaturalStudy, runs: pd.DataFrame) -> pd.DataFrame:
    """Claim 2: how much smaller the gap is than with real images alone, and how much larger the shape head's bias.

    Nulls: classifiers of real images, each held against that of the next seed; on Scenes also with as many real images
    again in place of counterfactuals.
    """
    real = runs[runs["trained_on"] == REAL]
    again = real.assign(seed=np.roll(real["seed"], 1)) if len(real) > 1 else real[:0]
    return _against_real(study, runs, ROBUSTNESS, {"real images again": again} | _null_runs(study, "again"))


def accuracy_evidence(study: NaturalStudy, runs: pd.DataFrame) -> pd.DataFrame:
    """Claim 3: how much lower top-1 and the accuracy on unchanged test images are than with real images alone.

    Nulls: ensembles before training; on Scenes also with counterfactuals whose labels are wrong.
    """
    untrained = [
        {"seed": seed, "rules": ""} | study.classifier(kind, which, seed).numbers["history"][0]
        for kind, which, seed in classifier_cases(study)
        if kind == "real"
    ]
    nulls = {"untrained": pd.DataFrame(untrained)} | _null_runs(study, "wrong")
    return _against_real(study, runs, ACCURACY, nulls)


def _null_runs(study: NaturalStudy, kind: TrainedOn) -> dict[str, pd.DataFrame]:
    """Classifiers of a null, one for each repetition, by what it is called."""
    cases = [case for case in null_cases(study) if case[0] == kind]
    found = _run(study, f"classifiers with {NULLS[kind]}", [(study.classifier, *case) for case in cases])
    rows = [
        {"seed": seed, "rules": rules.stamp(result.made, study.world.name)} | _best(result.numbers)
        for (_, _, seed), result in zip(cases, found, strict=True)
    ]
    return {NULLS[kind]: pd.DataFrame(rows)} if rows else {}


def _against_real(
    study: NaturalStudy, runs: pd.DataFrame, measures: dict[str, tuple[str, str, int]], nulls: dict[str, pd.DataFrame]
) -> pd.DataFrame:
    """Differences of the classifiers with counterfactuals, and of nulls, from the one without of the same seed."""
    real = runs[runs["trained_on"] == REAL].set_index("seed")
    made = runs[_with_counterfactuals(runs)]
    sources = made["trained_on"].str.removeprefix(f"{REAL} + ")
    frames = []
    for null, others in {"": made.assign(source=sources), **nulls}.items():
        base = real.loc[others["seed"]]
        for name, (column, column_of_real, sign) in measures.items():
            first, second = others[column].to_numpy(), base[column_of_real].to_numpy()
            part = (
                others[["source"]] if "source" in others else pd.DataFrame({"source": [sources.iloc[0]] * len(others)})
            )
            compared = {"value": sign * (first - second), "worse": np.minimum(first, second)}
            stamps = [f"{a} {b}" for a, b in zip(others["rules"], base["rules"], strict=True)]
            frames.append(part.assign(criterion=name, null=null, rules=stamps, **compared))
    return pd.concat(frames, ignore_index=True).assign(case=study.world.title)
