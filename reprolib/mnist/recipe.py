"""How well each recipe trains a CGN, which ingredients the stable one needs (``results/recipe.csv`` and more), and the
CGNs that come with reprolib: of every variant the first run of the stable recipe, whatever came out.

These runs take hours, so they have a command of their own (``make recipe``); every one of them is a stored result.
"""

from __future__ import annotations

import json
from statistics import fmean
from typing import Any

import pandas as pd

from reprolib.mnist import quality
from reprolib.mnist.study import FACTORS_RECORD, READER, READER_RECORD, Study
from reprolib.mnist.tables import titled
from reprolib.run import jobs, rules, weights
from reprolib.run.errors import ReproError
from reprolib.run.files import ROOT, canonical
from reprolib.schema import RECIPES
from reprolib.statistics import interval
from reprolib.vocabulary import INGREDIENTS, VARIANTS

ABLATED = "colored_MNIST"
WHOLE = "nothing left out"
REPETITIONS = 2
"""CGNs without each ingredient."""
QUALITY = weights.FOLDER / "quality.json"


def runs(study: Study) -> pd.DataFrame:
    """One row per CGN: recipe, variant, seed, steps, seconds, good_digits, pairwise_iou, recognised, accuracy_10k.

    recipe: stable, published (those that are trained already, because one takes an hour), shipped or authors. seconds:
    of the training, by the clock of one thread. pairwise_iou and recognised (in percent): means over the digits.
    accuracy_10k: of a classifier that was trained on 10,000 of its counterfactuals, out of domain, in percent.
    """
    cases = [
        (variant, source, seed)
        for source in study.params.cgn.sources
        for seed in rules.seeds(study.params.cgn.seeds_of(source))
        for variant in study.params.variants
        if source != "published" or study.has_cgn(variant, source, seed)
    ]
    trained = [case for case in cases if case[1] in RECIPES]
    jobs.run_methods(study.params, "CGNs", [(study.trained_cgn, *case) for case in trained])
    measured = jobs.run_methods(study.params, "quality of CGNs", [(study.quality, *case) for case in cases])
    accuracy = [(study.counterfactual_accuracy, *case) for case in cases]
    accuracies = jobs.run_methods(study.params, "accuracy of counterfactuals", accuracy)
    rows = []
    for case, masks, scored in zip(cases, measured, accuracies, strict=True):
        variant, source, seed = case
        row: dict[str, Any] = {"variant": variant, "recipe": source, "seed": seed, "steps": None, "seconds": None}
        if source in RECIPES:
            run = study.trained_cgn(variant, source, seed)
            row |= {"steps": run.numbers["snapshots"][-1], "seconds": run.made["seconds"]}
        row |= {"good_digits": masks["good_digits"], "pairwise_iou": round(fmean(masks["pairwise_iou"]), 3)}
        rows.append(row | {"recognised": round(100 * fmean(masks["recognised"]), 1), "accuracy_10k": scored["test"]})
    return pd.DataFrame(rows)


def kept() -> pd.DataFrame:
    """What ``make recipe`` wrote into ``results/recipe.csv``, see ``runs``. Raises ReproError if it is missing."""
    file = ROOT / "results" / "recipe.csv"
    if not file.exists():
        raise ReproError(
            f"{file} is missing; restore it with `git checkout -- results/recipe.csv` or run `make recipe`"
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


def ablation(study: Study) -> pd.DataFrame:
    """The columns of ``runs`` and ``without``, on Colored MNIST: each ingredient of the stable recipe left out once."""
    cases = [(without, _changed(study, without)) for without in (WHOLE, *INGREDIENTS)]
    calls = [(each.trained_cgn, ABLATED, "stable", seed) for _, each in cases for seed in rules.seeds(REPETITIONS)]
    jobs.run_methods(study.params, "CGNs without an ingredient", calls)
    return pd.concat([runs(each).assign(without=without) for without, each in cases], ignore_index=True)


def _changed(study: Study, without: str) -> Study:
    left_out: list[Any] = [] if without == WHOLE else [without]
    cgn = study.params.cgn.model_copy(update={"sources": ["stable"], "seeds": REPETITIONS, "without": left_out})
    return Study(study.params.model_copy(update={"variants": [ABLATED], "cgn": cgn}), study.store)


# ---------------------------------------------------------------- the weights of reprolib/weights


def keep_cgns(study: Study) -> list[str]:
    """Write the CGN of the first seed of every variant, and what was measured on it; return one line per variant.

    It is never the best of several: who opens the report sees what the recipe gives. Raises ReproError when the
    parameters train no CGN by the stable recipe.
    """
    if "stable" not in study.params.cgn.sources:
        raise ReproError("'cgn.sources' has no 'stable', so there is nothing to keep; add it to the profile")
    with weights.alone(QUALITY.parent):
        return [_keep(study, variant) for variant in study.params.variants]


def _keep(study: Study, variant: str) -> str:
    seed, file = rules.FIRST_SEED, study.weights_file(variant)
    run, model = study.trained_cgn(variant, "stable", seed), study.cgn(variant, "stable", seed)
    judged_by = study.digit_reader()[0], study.bounds(variant), study.params.cgn.quality_masks
    found = quality.mask_quality(model, *judged_by)
    accuracy = study.counterfactual_accuracy(variant, "stable", seed)["test"]
    measured: dict[str, Any] = {"good_digits": found["good_digits"], "recognised": found["recognised"]}
    measured |= {"pairwise_iou": found["pairwise_iou"], "accuracy": accuracy, "seconds": run.made["seconds"]}
    weights.write(file, model.state_dict())
    known = weights.record(QUALITY) if QUALITY.exists() else {}
    inputs = json.loads(canonical(study.cgn_inputs(variant, "stable", seed)))  # as it is read again
    known[file.name] = {"seed": seed, "steps": inputs["steps"], "inputs": inputs, "measured": measured}
    weights.write_record(QUALITY, known)
    return (
        f"{VARIANTS[variant].title}: seed {seed} after {inputs['steps']:,} steps and {run.made['seconds']:.0f} s, "
        f"{found['good_digits']} good digits, {accuracy:.1f} % out of domain after its counterfactuals"
    )


def keep_reader(study: Study) -> str:
    """Train the classifier that judges masks, write it to ``reprolib/weights``, and return a line about it."""
    with weights.alone(weights.FOLDER):
        result = study.trained_digit_reader()
        weights.write(weights.FOLDER / READER, result.tensors)
        weights.write_record(weights.FOLDER / READER_RECORD, result.numbers)
    last = result.numbers["history"][-1]
    return f"digit reader: {last['test']:.1f} % of held-out true masks, {last['no_digit']:.1f} % of what is no digit"


def keep_factor_readers(study: Study) -> list[str]:
    """Train the classifiers that read the factors of counterfactuals, write them to ``reprolib/weights``, and return a
    line about each."""
    record, lines = weights.FOLDER / FACTORS_RECORD, []
    with weights.alone(weights.FOLDER):
        known = weights.record(record) if record.exists() else {}
        for variant, factor in ((v, factor) for v in study.params.variants for factor in quality.factors(v)):
            result, file = study.trained_factor_reader(variant, factor), study.reader_file(variant, factor)
            known[file.name] = result.numbers["history"][-1]["test"]
            weights.write(file, result.tensors)
            weights.write_record(record, known)
            lines.append(f"reader of {factor}, {VARIANTS[variant].title}: {known[file.name]:.1f} % on held-out images")
    return lines
