"""How well each recipe trains a CGN, and which ingredients the stable one needs: ``results/recipe.csv`` and more.

These runs take hours, so they have a command of their own (``make recipe``); every one of them is a stored result.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from reprolib.mnist import tables
from reprolib.mnist.study import Study
from reprolib.run import jobs, rules
from reprolib.schema import RECIPES
from reprolib.vocabulary import INGREDIENTS

ABLATED = "colored_MNIST"
WHOLE = "nothing left out"
REPETITIONS = 2
"""CGNs without each ingredient."""


def runs(study: Study) -> pd.DataFrame:
    """One row per CGN: recipe, variant, seed, steps, seconds, good_digits, pairwise_iou, recognised, accuracy_10k.

    recipe: stable, published, shipped or authors. seconds: of the training, by the clock of one thread. pairwise_iou
    and recognised (in percent): means over the digits. accuracy_10k: of a classifier that was trained on 10,000 of its
    counterfactuals, out of domain, in percent.
    """
    measured = tables.quality_runs(study)
    accuracy = tables.counterfactual_accuracy_runs(study).set_index(["variant", "source", "seed"])["accuracy"]
    rows = []
    for found in measured.to_dict("records"):
        variant, source, seed = found["variant"], found["source"], found["seed"]
        row = {"recipe": source, "variant": variant, "seed": seed, "steps": None, "seconds": None}
        if source in RECIPES:
            run = study.trained_cgn(variant, source, seed)
            row |= {"steps": run.numbers["snapshots"][-1], "seconds": run.made["seconds"]}
        row |= {"good_digits": found["good_digits"], "pairwise_iou": round(found["pairwise_iou"], 3)}
        row |= {"recognised": round(100 * found["recognised"], 1), "accuracy_10k": accuracy[variant, source, seed]}
        rows.append(row)
    return pd.DataFrame(rows)


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
