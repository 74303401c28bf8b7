"""The CGNs that reprolib ships: one run of the stable recipe per variant, its first, whatever came out."""

from __future__ import annotations

import json
from typing import Any

from reprolib import rules, shipped
from reprolib.errors import ReproError
from reprolib.files import canonical
from reprolib.mnist import quality
from reprolib.mnist.settings import VARIANTS
from reprolib.mnist.study import FACTORS_RECORD, READER, READER_RECORD, Study
from reprolib.shipped import WEIGHTS

QUALITY = WEIGHTS / "quality.json"


def ship(study: Study) -> list[str]:
    """Write the CGN of the first seed of every variant, and what was measured on it; return one line per variant.

    It is never the best of several: who opens the report sees what the recipe gives. Raises ReproError when the
    parameters train no CGN by the stable recipe.
    """
    if "stable" not in study.params.cgn.sources:
        raise ReproError("'cgn.sources' has no 'stable', so there is nothing to ship; add it to the profile")
    with shipped.alone(QUALITY.parent):
        return [_ship(study, variant) for variant in study.params.variants]


def _ship(study: Study, variant: str) -> str:
    seed, file = rules.FIRST_SEED, study.weights_file(variant)
    run, model = study.trained_cgn(variant, "stable", seed), study.cgn(variant, "stable", seed)
    judged_by = study.digit_reader()[0], study.bounds(variant), study.params.cgn.quality_masks
    found = quality.mask_quality(model, *judged_by)
    accuracy = study.counterfactual_accuracy(variant, "stable", seed)["test"]
    measured: dict[str, Any] = {"good_digits": found["good_digits"], "recognised": found["recognised"]}
    measured |= {"pairwise_iou": found["pairwise_iou"], "accuracy": accuracy, "seconds": run.made["seconds"]}
    shipped.write(file, model.state_dict())
    known = shipped.record(QUALITY) if QUALITY.exists() else {}
    inputs = json.loads(canonical(study.cgn_inputs(variant, "stable", seed)))  # as it is read again
    known[file.name] = {"seed": seed, "steps": inputs["steps"], "inputs": inputs, "measured": measured}
    shipped.write_record(QUALITY, known)
    return (
        f"{VARIANTS[variant].title}: seed {seed} after {inputs['steps']:,} steps and {run.made['seconds']:.0f} s, "
        f"{found['good_digits']} good digits, {accuracy:.1f} % out of domain after its counterfactuals"
    )


def ship_reader(study: Study) -> str:
    """Train the classifier that judges masks, write it to ``reprolib/weights``, and return a line about it."""
    with shipped.alone(WEIGHTS):
        result = study.trained_digit_reader()
        shipped.write(WEIGHTS / READER, result.tensors)
        shipped.write_record(WEIGHTS / READER_RECORD, result.numbers)
    last = result.numbers["history"][-1]
    return f"digit reader: {last['test']:.1f} % of held-out true masks, {last['no_digit']:.1f} % of what is no digit"


def ship_factor_readers(study: Study) -> list[str]:
    """Train the classifiers that read the factors of counterfactuals, write them to ``reprolib/weights``, and return a
    line about each."""
    record, lines = WEIGHTS / FACTORS_RECORD, []
    with shipped.alone(WEIGHTS):
        known = shipped.record(record) if record.exists() else {}
        for variant, factor in ((v, factor) for v in study.params.variants for factor in quality.factors(v)):
            result, file = study.trained_factor_reader(variant, factor), study.reader_file(variant, factor)
            known[file.name] = result.numbers["history"][-1]["test"]
            shipped.write(file, result.tensors)
            shipped.write_record(record, known)
            lines.append(f"reader of {factor}, {VARIANTS[variant].title}: {known[file.name]:.1f} % on held-out images")
    return lines
