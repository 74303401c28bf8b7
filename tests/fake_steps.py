"""Steps of the MNIST half with made-up results, for tests of what is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from reprolib import params
from reprolib.run import rules, store
from reprolib.run.steps import Handle
from reprolib.run.store import Result, Store
from reprolib.schema import Params

CF = "counterfactual"
HASHES = {"claim1": "aaaa", "claim2": "bbbb", "claim3": "cccc"}
STAMP = rules.stamp({"rules": HASHES})


class Fake:
    """Steps whose results are functions of their arguments; ``calls`` says which handles were computed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.calls: list[Handle] = []
        store.use(Store(folder))
        monkeypatch.setattr(Handle, "result", lambda handle, with_tensors=False: self.result(handle))

    def result(self, handle: Handle) -> Result:
        self.calls.append(handle)
        made: Result = getattr(self, handle.step.name, lambda _: Result())(handle)
        made.made = {"rules": HASHES}
        return made

    def of(self, step: str) -> list[Handle]:
        return [handle for handle in self.calls if handle.step.name == step]

    def classifier(self, handle: Handle) -> Result:
        seed = handle["seed"]
        history = [
            {"train": 50.0, "test": 40.0 + seed % 100, "in_domain": 90.0},
            {"train": 60.0, "test": 30.0 + seed % 100, "in_domain": 95.0},
        ]
        final = {"visible": 44.0, "in_domain_as_published": 99.0}
        return Result({"history": history, "images": handle["training_set"].size, "final": final})

    def quality(self, handle: Handle) -> Result:
        seed, names = handle["cgn"]["seed"] if isinstance(handle["cgn"], Handle) else 200, ("shape", "foreground")
        control = {factor: {name: 90.0 + seed % 100 if name == factor else 1.0 for name in names} for factor in names}
        shares = [i / 10 for i in range(10)]
        numbers = {"good_digits": 8 + seed % 100, "good_digits_low": 7, "good_digits_high": 10, "mean_mask": 0.2}
        numbers |= {"recognised": shares, "pairwise_iou": [0.4] * 10, "good": [share >= 0.8 for share in shares]}
        numbers |= {"control": control, "control_images": 360}
        return Result(numbers | {"readers": {"digit": 98.0} | dict.fromkeys(names, 95.0)})

    def counterfactual_accuracy(self, handle: Handle) -> Result:
        known = {"real digits": 80.0 + handle["seed"] % 100, "untrained": 10.0, "masks of another digit": 0.0}
        source = "trained here" if isinstance(handle["cgn"], Handle) else handle["cgn"].source
        return Result({"test": known.get(source, 40.0), "test_images": 1000})

    def training_quality(self, handle: Handle) -> Result:
        return Result({str(step): {"good_digits": step, "mean_mask": 0.1} for step in (0, 1000, 250)})  # as text

    def gradcam(self, handle: Handle) -> Result:
        name, seed = handle["classifier"]["training_set"].name, handle["classifier"]["seed"]
        measures = {"empty": 0.1 * seed, "iou_macro": 0.4}
        numbers = {"measures": measures, "null": {"all zero": {"empty": 1.0, "iou_macro": 0.43}},
                   "variance": {"along_themes": 0.1, "along_digits": 0.2}, "grid_empty": 0.0}  # fmt: skip
        return Result(numbers, {"heatmaps": f"maps of {name}, seed {seed % 100}"})  # type: ignore[dict-item]


def given(**changes: Any) -> Params:
    chosen = {"profile": "smoke", "seeds": 2, "n_jobs": 1, "variants": ["colored_MNIST"]} | changes
    chosen["cgn"] = {"seeds": chosen["seeds"], "accuracy_of_nulls": True} | chosen.get("cgn", {})
    return params.load(chosen)


def runs_of(*rows: tuple[str, str, int, float], variant: str = "colored_MNIST") -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["training_set", "source", "seed", "test"])
    return frame.assign(variant=variant, rules=STAMP)
