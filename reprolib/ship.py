"""Choose the CGN that is shipped per variant: the best of the runs in a store, with the numbers of all of them."""

from __future__ import annotations

import json
from typing import Any

import safetensors.torch

from reprolib import assets
from reprolib.errors import ReproError
from reprolib.mnist.settings import VARIANTS
from reprolib.mnist.study import Study
from reprolib.mnist.weights import WEIGHTS
from reprolib.store import write_atomically

QUALITY = WEIGHTS / "quality.json"


def ship(study: Study) -> list[str]:
    """Write the best trained CGN of every variant to ``reprolib/weights``; return one line per variant.

    Best: most good digits, then the highest mean share of recognised masks. The runs that were worse stay in
    ``quality.json``: they are results. Raises ReproError when the parameters train no CGN.
    """
    if "trained" not in study.params.cgn.sources:
        raise ReproError("'cgn.sources' has no 'trained', so there is nothing to ship; add it to the profile")
    known: dict[str, Any] = json.loads(QUALITY.read_text()) if QUALITY.exists() else {}
    lines = []
    for variant in study.params.variants:
        file = study.weights_file(variant)
        runs = [_last(study.training_quality(variant, seed)) | {"seed": seed} for seed in range(study.params.cgn.seeds)]
        best = max(runs, key=lambda run: (run["good_digits"], sum(run["recognised"])))
        model = study.cgn(variant, "trained", best["seed"])
        write_atomically(file, safetensors.torch.save({k: v.contiguous() for k, v in model.state_dict().items()}))
        known[file.name] = {"shipped": best["seed"], "runs": runs, "recipe": study.cgn_recipe(variant, best["seed"])}
        title = VARIANTS[variant].title
        lines.append(f"{title}: seed {best['seed']}, {best['good_digits']} good digits, of {len(runs)} runs")
    write_atomically(QUALITY, (json.dumps(known, indent=1, sort_keys=True) + "\n").encode())
    sums = [f"{assets.sha256_of(file)}  {file.name}\n" for file in sorted(WEIGHTS.glob("*.safetensors"))]
    write_atomically(WEIGHTS / "SHA256SUMS", "".join(sums).encode())
    return lines


def _last(over_training: dict[str, Any]) -> dict[str, Any]:
    step = max(over_training, key=int)
    return over_training[step] | {"steps": int(step)}
