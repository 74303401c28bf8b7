"""Choose the CGN that is shipped per variant: the best of the runs in a store, with the numbers of all of them."""

from __future__ import annotations

import json
from typing import Any

from reprolib import rules, shipped
from reprolib.errors import ReproError
from reprolib.files import canonical
from reprolib.mnist.settings import VARIANTS
from reprolib.mnist.study import READER, READER_RECORD, Study
from reprolib.shipped import WEIGHTS

QUALITY = WEIGHTS / "quality.json"


def ship(study: Study) -> list[str]:
    """Write the best trained CGN of every variant to ``reprolib/weights``; return one line per variant.

    Best: most good digits, then the highest mean share of recognised masks, over these runs and all earlier ones that
    ``quality.json`` knows. The runs that were worse stay there: they are results. Raises ReproError when the
    parameters train no CGN.
    """
    if "trained" not in study.params.cgn.sources:
        raise ReproError("'cgn.sources' has no 'trained', so there is nothing to ship; add it to the profile")
    with shipped.alone(QUALITY.parent):
        return _ship(study)


def _ship(study: Study) -> list[str]:
    known = shipped.record(QUALITY) if QUALITY.exists() else {}
    lines = []
    for variant in study.params.variants:
        file = study.weights_file(variant)
        earlier = known.get(file.name, {}).get("runs", [])
        ours = [_run(study, variant, seed) for seed in rules.seeds(study.params.cgn.seeds)]
        runs = ours + [run for run in earlier if run["inputs"] not in [each["inputs"] for each in ours]]
        best = max(runs, key=lambda run: (run["good_digits"], sum(run["recognised"])))
        if best in ours:
            state = study.cgn(variant, "trained", best["seed"]).state_dict()
            shipped.write(file, state)
        known[file.name] = {"shipped": runs.index(best), "runs": runs}
        lines.append(
            f"{VARIANTS[variant].title}: seed {best['seed']} after {best['steps']:,} steps, {best['good_digits']} good "
            f"digits, is the best of {len(runs)} runs"
        )
    shipped.write_record(QUALITY, known)
    return lines


def ship_reader(study: Study) -> str:
    """Train the classifier that judges masks, write it to ``reprolib/weights``, and return a line about it."""
    with shipped.alone(WEIGHTS):
        result = study.trained_digit_reader()
        shipped.write(WEIGHTS / READER, result.tensors)
        shipped.write_record(WEIGHTS / READER_RECORD, result.numbers)
    last = result.numbers["history"][-1]
    return f"digit reader: {last['test']:.1f} % of held-out true masks, {last['no_digit']:.1f} % of what is no digit"


def _run(study: Study, variant: str, seed: int) -> dict[str, Any]:
    """What a training run had at its end, and what named it."""
    over_training = study.training_quality(variant, seed)
    step = max(over_training, key=int)
    named = {"seed": seed, "steps": int(step), "edge_weight": study.params.cgn.edge_weight}
    inputs = json.loads(canonical(study.cgn_inputs(variant, seed)))  # as it is read again
    return over_training[step] | named | {"inputs": inputs}
