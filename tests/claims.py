"""A finished run with made-up numbers, for tests of what happens to it afterwards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from nbformat.v4 import new_code_cell, new_notebook, writes

from reprolib.report import build
from reprolib.report.results import Results
from reprolib.run import rules
from reprolib.run.files import write_atomically
from reprolib.schema import Params

CRITERIA = {
    "claim1": ("good_digits", "shape_control", "texture_control", "counterfactual_accuracy"),
    "claim2": ("gain_cgn", "gain_both"),
    "claim3": ("loss_both",),
}


def evidence(name: str, values: dict[str, float], source: str = "CGN trained here", case: str = "Colored MNIST",
             null: str = "") -> pd.DataFrame:  # fmt: skip
    """Three repetitions a criterion, a tenth of a point apart, made under the rule that holds now."""
    rows = [(criterion, value + step) for criterion, value in values.items() for step in (-0.1, 0.0, 0.1)]
    stamp = f"{name}:{rules.hashes()[name]}"
    frame = pd.DataFrame(rows, columns=["criterion", "value"])
    return frame.assign(source=source, case=case, null=null, worse=50.0, rules=stamp)


def finish(folder: Path, chosen: Params, level: float = 90.0) -> None:
    """All three claims with two tables each, one figure, executed notebooks and seals; ``level`` is in every number."""
    for claim, name in build.NOTEBOOKS.items():
        run = Results(claim, chosen, folder)
        for number in (1, 2):
            run.table(f"{claim}_{number}", pd.DataFrame({"accuracy": [level + number]}))
        if claim == "claim1":
            curve = {
                "variant": ["a"] * 2,
                "source": ["b"] * 2,
                "seed": [0, 0],
                "step": [0, 10],
                "good_digits": [level / 10, 9],
            }
            run.figure("training_quality", pd.DataFrame(curve))
            run.figure("good_digit_runs", pd.DataFrame({"study": ["here"], "good_digits": [9], "runs": [level]}))
            picture = np.full((2, 2, 32, 32, 3), int(level), np.uint8)
            run.figure("counterfactuals", {"Colored MNIST": picture})
            run.figure("training_sheets", {"Colored MNIST|0,1": picture})
        values = {criterion: level / 10 if criterion == "good_digits" else level for criterion in CRITERIA[claim]}
        run.judge(evidence(claim, values))
        run.finish()
        cell = new_code_cell(f"print('{claim}: {level}')")
        cell["id"] = claim
        notebook = writes(new_notebook(cells=[cell])).encode()
        write_atomically(folder / "results" / "notebooks" / f"{name}.ipynb", notebook)
    build.seal_notebooks(folder)
