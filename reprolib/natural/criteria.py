"""What the rules of the three claims are applied to, on a world of natural images."""

from __future__ import annotations

import numpy as np
import pandas as pd

from reprolib.natural import experiments, plan, tables
from reprolib.natural.classify import HEADS
from reprolib.natural.experiments import TrainedOn
from reprolib.natural.plan import REAL, WorldRun
from reprolib.natural.tables import CHANGED, with_counterfactuals
from reprolib.run import jobs, rules
from reprolib.schema import SOURCES

NULLS: dict[TrainedOn, str] = {"real": "real images again", "again": "real images twice", "wrong": "wrong labels"}
"""Nulls of claims 2 and 3."""
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


def quality_evidence(run: WorldRun, runs: pd.DataFrame) -> pd.DataFrame:
    """Claim 1: one row per CGN with all losses, or null, and criterion.

    low and high, the sampling interval, are those of a CGN that is judged by itself: one that is given, or the only one
    that was trained; and of the nulls.
    """
    measured = runs.assign(
        inception_score=runs["is_share"],
        inception_score_error=100 * runs["is_gen_error"] / runs["is_gt"],
        mean_mask_error=runs["mean_mask_sd"] / run.chosen.rated**0.5,
    )
    wanted = [name for name in ("inception_score", "mean_mask", "own", "residue", "entanglement") if name in measured]
    frames = [_rated(run, measured, "all", wanted)]
    frames += [_rated(run, measured, losses, wanted, null) for null, losses in QUALITY_NULLS.items()]
    if "own_shuffled" in measured:
        shuffled = measured.assign(own=measured["own_shuffled"], own_error=measured["own_shuffled_error"])
        frames.append(_rated(run, shuffled, "all", ["own"], "shuffled labels")[:1])
    return pd.concat(frames, ignore_index=True)


def _rated(run: WorldRun, measured: pd.DataFrame, losses: str, wanted: list[str], null: str = "") -> pd.DataFrame:
    """Evidence for the wanted criteria from the rows with these losses and the first target."""
    rows = measured[(measured["losses"] == losses) & (measured["target"] == run.chosen.targets[0])]
    alone = (rows["cgn"] != SOURCES["trained"]) | (run.chosen.cgns == 1) | bool(null)
    source = SOURCES[run.deciding.source] if null else rows["cgn"]
    frames = []
    for name in wanted:
        half = NORMAL * rows[f"{name}_error"].where(alone)
        part = pd.DataFrame({"value": rows[name], "low": rows[name] - half, "high": rows[name] + half})
        frames.append(part.assign(source=source, criterion=name, null=null, rules=rows["rules"]))
    return pd.concat(frames, ignore_index=True).assign(case=run.world.title)


def factor_evidence(run: WorldRun, runs: pd.DataFrame) -> pd.DataFrame:
    """Claim 1, where no reader knows the factors: how often each head names its own factor, the lowest of the three."""
    made = runs[runs["trained_on"].str.removeprefix(f"{REAL} + ").isin(SOURCES.values())]
    rows = {"source": made["trained_on"].str.removeprefix(f"{REAL} + "), "rules": made["rules"]}
    frames = [
        pd.DataFrame(rows | {"null": null, "value": made[[f"{name}/{head}" for head in HEADS]].min(axis=1)})
        for name, null in (("factor", ""), ("factor_shuffled", "shuffled labels"))
    ]
    return pd.concat(frames, ignore_index=True).assign(criterion="factors", case=run.world.title)


def robustness_evidence(run: WorldRun, runs: pd.DataFrame) -> pd.DataFrame:
    """Claim 2: how much smaller the gap is than with real images alone, and how much larger the shape head's bias.

    Nulls: other classifiers of real images, and on Scenes those that saw as many real images again in place of
    counterfactuals. On ImageNet the others are every second one, held against the one before it.
    """
    real = runs[runs["trained_on"] == REAL]
    first, second = real[0::2], real[1::2]
    again = {NULLS["real"]: second.assign(seed=first["seed"].to_numpy()[: len(second)])}
    return _against_real(run, runs, ROBUSTNESS, (_null_runs(run, "real") or again) | _null_runs(run, "again"))


def accuracy_evidence(run: WorldRun, runs: pd.DataFrame) -> pd.DataFrame:
    """Claim 3: how much lower top-1 and the accuracy on unchanged test images are than with real images alone.

    Nulls: ensembles before training; on Scenes also with counterfactuals whose labels are wrong.
    """
    seeds = rules.seeds(run.chosen.seeds)
    wanted = [experiments.untrained_ensemble(run.world, seed, run.machine) for seed in seeds]
    found = jobs.results(run.params, f"untrained on {run.world.title}", wanted)
    untrained = [
        {"seed": seed, "rules": ""} | result.numbers["scores"] for seed, result in zip(seeds, found, strict=True)
    ]
    nulls = {"untrained": pd.DataFrame(untrained)} | _null_runs(run, "wrong")
    return _against_real(run, runs, ACCURACY, nulls)


def _null_runs(run: WorldRun, kind: TrainedOn) -> dict[str, pd.DataFrame]:
    """Classifiers of a null, one for each repetition, by what it is called."""
    cases = plan.nulls(run, kind)
    found = tables.ensembles(run, f"classifiers with {NULLS[kind]}", cases)
    rows = [
        {"seed": seed, "rules": rules.stamp(result.made, run.world.name)} | result.numbers["scores"]
        for seed, result in zip(rules.seeds(len(found)), found, strict=True)
    ]
    return {NULLS[kind]: pd.DataFrame(rows)} if rows else {}


def _against_real(
    run: WorldRun, runs: pd.DataFrame, measures: dict[str, tuple[str, str, int]], nulls: dict[str, pd.DataFrame]
) -> pd.DataFrame:
    """Differences of the classifiers with counterfactuals, and of nulls, from the one without of the same seed."""
    real = runs[runs["trained_on"] == REAL].set_index("seed")
    made = runs[with_counterfactuals(runs)]
    sources = made["trained_on"].str.removeprefix(f"{REAL} + ")
    frames = []
    for null, others in {"": made.assign(source=sources), **nulls}.items():
        base = real.loc[others["seed"]]
        stamps = [f"{a} {b}" for a, b in zip(others["rules"], base["rules"], strict=True)]
        told = pd.DataFrame({"source": others.get("source", sources.iloc[0]), "null": null, "rules": stamps})
        for name, (column, column_of_real, sign) in measures.items():
            first, second = others[column].to_numpy(), base[column_of_real].to_numpy()
            compared = {"value": sign * (first - second), "worse": np.minimum(first, second)}
            frames.append(told.assign(criterion=name, **compared))
    return pd.concat(frames, ignore_index=True).assign(case=run.world.title)
