"""How well each recipe trains a CGN, which ingredients the stable one needs (``results/recipe.csv`` and more), and the
CGNs that come with reprolib: of every variant the first run of the stable recipe, whatever came out.

These runs take hours, so they have a command of their own (``make recipe``); every one of them is a stored result.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd

from reprolib.figures import to_bytes
from reprolib.mnist import experiments, plan, quality, train
from reprolib.mnist.choices import DIGIT_READER
from reprolib.mnist.experiments import FACTORS_RECORD, READER_RECORD
from reprolib.mnist.stable import STABLE
from reprolib.mnist.tables import titled
from reprolib.run import ReproError, jobs, rules, weights
from reprolib.run.files import ROOT, write_atomically
from reprolib.run.steps import Handle
from reprolib.schema import SOURCES, Params
from reprolib.statistics import interval
from reprolib.vocabulary import INGREDIENTS, VARIANTS

ABLATED = "colored_MNIST"
WHOLE = "nothing left out"
REPETITIONS = 2
"""CGNs without each ingredient."""
QUALITY = weights.FOLDER / "quality.json"


def runs(params: Params) -> pd.DataFrame:
    """One row per CGN: recipe, variant, seed, steps, seconds, good_digits, pairwise_iou, recognised, accuracy_10k.

    recipe: stable, published, shipped or authors. seconds: of the training, by the clock of one thread. pairwise_iou
    and recognised (in percent): means over the digits. accuracy_10k: of a classifier that was trained on 10,000 of its
    counterfactuals, out of domain, in percent.
    """
    cases = [(variant, *each) for variant in params.variants for each in plan.cgns(params, variant)]
    chosen = {case: plan.cgn(params, *case) for case in cases}
    trained = {case: cgn for case, cgn in chosen.items() if isinstance(cgn, Handle)}
    made = dict(zip(trained, jobs.results(params, "CGNs", list(trained.values())), strict=True))
    measured = jobs.results(params, "quality of CGNs", [plan.quality(params, *case) for case in cases])
    scored = jobs.results(params, "accuracy of counterfactuals", [plan.accuracy(params, *case) for case in cases])
    rows = []
    for case, masks, accuracy in zip(cases, (each.numbers for each in measured), scored, strict=True):
        variant, source, seed = case
        row: dict[str, Any] = {"variant": variant, "recipe": source, "seed": seed, "steps": None, "seconds": None}
        if case in made:
            row |= {"steps": made[case].numbers["snapshots"][-1], "seconds": made[case].made["seconds"]}
        row |= {"good_digits": masks["good_digits"], "pairwise_iou": round(fmean(masks["pairwise_iou"]), 3)}
        row |= {"recognised": round(100 * fmean(masks["recognised"]), 1), "accuracy_10k": accuracy.numbers["test"]}
        rows.append(row)
    return pd.DataFrame(rows)


def write(params: Params) -> Iterator[Path]:
    """Write ``results/recipe.csv`` and ``results/recipe_ablation.csv``, see ``runs`` and ``ablation``, and yield their
    names. The rows of recipes and variants that these parameters have no CGN of stay as they are."""
    order = {name: rank for rank, name in enumerate([*VARIANTS, *SOURCES])}
    for name, make in TABLES.items():
        made, file = make(params), ROOT / "results" / f"{name}.csv"
        if file.exists():
            earlier, keys = kept(name), ["recipe", "variant"]
            others = ~pd.MultiIndex.from_frame(earlier[keys]).isin(pd.MultiIndex.from_frame(made[keys]))
            made = pd.concat([made, earlier[others]])
            made = made.sort_values(keys[::-1], key=lambda names: names.map(order), kind="stable")
        write_atomically(file, to_bytes(made))
        yield file


def kept(name: str = "recipe") -> pd.DataFrame:
    """What ``make recipe`` wrote into ``results/<name>.csv``. Raises ReproError if it is missing."""
    file = ROOT / "results" / f"{name}.csv"
    if not file.exists():
        raise ReproError(
            f"{file} is missing; restore it with `git checkout -- results/{name}.csv` or run `make recipe`"
        )
    return pd.read_csv(file)


def summary(runs: pd.DataFrame) -> pd.DataFrame:
    """How each recipe does on each variant: variant, source, CGNs, steps, minutes (median), good_digits (all counts),
    nine_or_ten (in how many of the CGNs), pairwise_iou (mean) and accuracy_10k with its interval."""
    groups = runs.rename(columns={"recipe": "source"}).groupby(["variant", "source"], sort=False)
    table = groups.agg(
        CGNs=("seed", "size"),
        steps=("steps", "max"),
        minutes=("seconds", lambda seconds: round(seconds.median() / 60, 1)),
        good_digits=("good_digits", lambda counts: " ".join(map(str, counts))),
        nine_or_ten=("good_digits", lambda counts: int((counts >= 9).sum())),
        pairwise_iou=("pairwise_iou", lambda iou: round(iou.mean(), 2)),
        accuracy_10k=("accuracy_10k", lambda values: f"{interval(values.tolist()):.1f}"),
    )
    return titled(table.reset_index()).sort_values("variant", kind="stable")


def losses(params: Params) -> pd.DataFrame:
    """The weights of the losses and the learning rates of each recipe: variant, recipe, mask (its entropy), edge,
    style (of the four taps, which enter squared), colours, cgn_rate, critic_rate, batch. The adversarial loss has 1."""
    rows, edge, batch = [], params.cgn.edge_weight, params.cgn.batch
    for variant in params.variants:
        mask = VARIANTS[variant].mask_weight
        style = " ".join(f"{weight:g}" for weight in VARIANTS[variant].style_weights)
        risen = f"{mask:g} to {STABLE.entropy_rise * mask:g}"
        rows.append((variant, "published", f"{mask:g}", edge, style, 0.0, *train.RATES, batch))
        rows.append((variant, "stable", risen, STABLE.edge_weight, style, 1.0, *STABLE.rates, 2 * STABLE.pairs))
    names = ["variant", "recipe", "mask", "edge", "style", "colours", "cgn_rate", "critic_rate", "batch"]
    return titled(pd.DataFrame(rows, columns=names))


def ablation(params: Params) -> pd.DataFrame:
    """The columns of ``runs`` and ``without``, on Colored MNIST: each ingredient of the stable recipe left out once, in
    trainings of half the length."""
    half = {"sources": ["stable"], "seeds": REPETITIONS, "stable_steps": -(-params.cgn.stable_steps // 2)}
    cases = {}
    for without in (WHOLE, *INGREDIENTS):
        left_out = [] if without == WHOLE else [without]
        cgn = params.cgn.model_copy(update=half | {"without": left_out})
        cases[without] = params.model_copy(update={"variants": [ABLATED], "cgn": cgn})
    calls = [plan.trained_cgn(each, *case) for each in cases.values() for case in plan.trainings(each)]
    jobs.results(params, "CGNs without an ingredient", calls)  # all side by side
    return pd.concat([runs(each).assign(without=without) for without, each in cases.items()], ignore_index=True)


TABLES = {"recipe": runs, "recipe_ablation": ablation}
"""Name of a file in ``results/`` -> its table."""


def keep_cgns(params: Params) -> list[str]:
    """Write the CGN of the first seed of every variant, and what was measured on it; return one line per variant.

    It is never the best of several: who opens the report sees what the recipe gives. Raises ReproError when the
    parameters train no CGN by the stable recipe.
    """
    if "stable" not in params.cgn.sources:
        raise ReproError("'cgn.sources' has no 'stable', so there is nothing to keep; add it to the profile")
    lines, seed = [], rules.FIRST_SEED
    for variant in params.variants:
        trained, file = plan.trained_cgn(params, variant, "stable", seed), plan.data(params, variant).shipped.file
        found = plan.quality(params, variant, "stable", seed).result().numbers
        accuracy = plan.accuracy(params, variant, "stable", seed).result().numbers["test"]
        seconds, steps = trained.result().made["seconds"], trained["settings"].steps
        measured = {name: found[name] for name in ("good_digits", "recognised", "pairwise_iou")}
        measured |= {"accuracy": accuracy, "seconds": seconds}
        made = {"seed": seed, "steps": steps, "inputs": trained.recipe["inputs"], "measured": measured}
        weights.keep(file, experiments.load(trained).state_dict(), QUALITY, {file.name: made})
        lines.append(
            f"{VARIANTS[variant].title}: seed {seed} after {steps:,} steps and {seconds:.0f} s, "
            f"{found['good_digits']} good digits, {accuracy:.1f} % out of domain after its counterfactuals"
        )
    return lines


def keep_reader(params: Params) -> str:
    """Train the classifier that judges masks, write it to ``reprolib/weights``, and return a line about it."""
    chosen = params.digits
    result = experiments.digit_reader(chosen.source, chosen.limit, params.machine).result(with_tensors=True)
    weights.keep(DIGIT_READER.file, result.tensors, weights.FOLDER / READER_RECORD, result.numbers)
    last = result.numbers["history"][-1]
    return f"digit reader: {last['test']:.1f} % of held-out true masks, {last['no_digit']:.1f} % of what is no digit"


def keep_factor_readers(params: Params) -> list[str]:
    """Train the classifiers that read factors, write them to ``reprolib/weights``, and return a line about each."""
    lines = []
    for variant, factor in ((v, factor) for v in params.variants for factor in quality.factors(v)):
        data = plan.data(params, variant)
        trained, file = experiments.factor_reader(data, factor, params.machine), data.shipped_reader(factor).file
        result = trained.result(with_tensors=True)
        accuracy = result.numbers["history"][-1]["test"]
        weights.keep(file, result.tensors, weights.FOLDER / FACTORS_RECORD, {file.name: accuracy})
        lines.append(f"reader of {factor}, {VARIANTS[variant].title}: {accuracy:.1f} % on held-out images")
    return lines
