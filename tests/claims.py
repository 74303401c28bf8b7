"""A finished run with made-up numbers, for tests of what happens to it afterwards."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import nbformat
import numpy as np
import pandas as pd
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from reprolib import params
from reprolib.report import build
from reprolib.report import explorer as explorer_of_page
from reprolib.report.results import Results, Shown
from reprolib.run import rules, store
from reprolib.run.files import write_atomically
from reprolib.schema import Params

CRITERIA = {
    "claim1": ("good_digits", "shape_control", "texture_control", "counterfactual_accuracy"),
    "claim2": ("gain_cgn", "gain_both"),
    "claim3": ("loss_both",),
}
SUMMARY = pd.DataFrame({"variant": ["Colored MNIST"], "good_digits": [7]})
CURVE = pd.DataFrame({"variant": "a", "source": "b", "seed": 0, "step": [0, 10], "good_digits": [0, 9]})


def evidence(name: str, values: dict[str, float], source: str = "CGN trained here", case: str = "Colored MNIST",
             null: str = "") -> pd.DataFrame:  # fmt: skip
    """Three repetitions a criterion, a tenth of a point apart, made under the rule that holds now."""
    rows = [(criterion, value + step) for criterion, value in values.items() for step in (-0.1, 0.0, 0.1)]
    stamp = f"{name}:{rules.hashes()[name]}"
    frame = pd.DataFrame(rows, columns=["criterion", "value"])
    return frame.assign(source=source, case=case, null=null, worse=50.0, rules=stamp)


def executed(folder: Path, claim: str, shown: list[Shown], code: str = "1", markdown: str = "# Title") -> None:
    """Write the executed notebook of a claim, which displays what its results returned."""
    cell = new_code_cell(code, id=claim)
    cell.outputs = [
        new_output("display_data", data, metadata=metadata) for each in shown for data, metadata in each.outputs
    ]
    notebook = new_notebook(cells=[new_markdown_cell(markdown, id="title"), cell])
    notebook.metadata["language_info"] = {"name": "python"}
    file = folder / "results" / "notebooks" / f"{build.NOTEBOOKS[claim]}.ipynb"
    write_atomically(file, nbformat.writes(notebook).encode())


def explored(sources: int = 1, latents: int = 2) -> dict[str, np.ndarray]:
    """What ``mnist.explorer.arrays`` returns, with made-up pictures and predictions that differ everywhere."""
    draw, arrays = np.random.default_rng(0), {}
    for source in range(sources):
        shapes = {"mask": (), "foreground": (3,), "background": (3,)}
        made = {name: draw.integers(0, 256, (latents, 10, 32, 32, *last), np.uint8) for name, last in shapes.items()}
        for name, most in (("predicted", 10), ("confidence", 101)):
            made[name] = draw.integers(0, most, (2, latents, 10, 10, 10), np.uint8)
        arrays |= {f"Colored MNIST|CGN number {source} with a long name|{name}": array for name, array in made.items()}
    return arrays


def _values(claim: str, level: float) -> dict[str, float]:
    return {name: level / 10 if name == "good_digits" else level for name in CRITERIA[claim]}


def finish_one(
    folder: Path, claim: str, level: float = 90.5, summary: pd.DataFrame = SUMMARY, leave: str = "", markdown: str = "",
    **changes: object,
) -> None:  # fmt: skip
    """Finish a claim with made-up numbers, one table, one figure, one verdict, and write its notebook.

    leave: a file that the notebook does not show.
    """
    some, shown = Results(claim, params.load({"profile": "smoke"} | changes), folder), []
    if claim == "claim1":
        shown.append(some.table("quality_summary", summary, "Good digits.", "Seven are good."))
        shown.append(some.figure("training_quality", CURVE, "Good digits over training.", "They rise."))
    null = dict.fromkeys(CRITERIA[claim], 95.0 if claim == "claim3" else 1.0)
    parts = [
        evidence(claim, _values(claim, level)),
        evidence(claim, dict.fromkeys(CRITERIA[claim], 4.0), "CGN of the authors"),
        evidence(claim, null, null="wrong labels" if claim != "claim1" else "untrained"),
    ]
    shown += [some.judge(pd.concat(parts)), some.finish()]
    shown = [each for each in shown if leave not in [metadata.get("shows") for _, metadata in each.outputs]]
    executed(folder, claim, shown, f"print('code of {claim}')", markdown or f"# {claim}\n\n## Part\n\nWords.")
    if all((folder / "results" / "notebooks" / f"{name}.ipynb").exists() for name in build.NOTEBOOKS.values()):
        build.seal_notebooks(folder)


def finish(
    folder: Path, chosen: Params, level: float = 90.0, explorer: dict[str, np.ndarray] | None = None, hours: float = 1.0
) -> None:
    """All three claims with two tables each, one figure, executed notebooks and seals; ``level`` is in every number.
    explorer: what the explorer of claim 2 shows, which has none otherwise. hours: what the run took."""
    for claim in build.NOTEBOOKS:
        run, shown = Results(claim, chosen, folder), []
        for number in (1, 2):
            shown.append(run.table(f"{claim}_{number}", pd.DataFrame({"accuracy": [level + number]}), "Table", "High."))
        if claim == "claim1":
            curve = CURVE.assign(good_digits=[level / 10, 9])
            shown.append(run.figure("training_quality", curve, "Curve."))
            dots = pd.DataFrame({"study": ["here"], "good_digits": [9], "runs": [int(level)]})
            shown.append(run.figure("good_digit_runs", dots, "Dots."))
            picture = np.full((2, 2, 32, 32, 3), int(level), np.uint8)
            shown.append(run.figure("counterfactuals", {"Colored MNIST": picture}, "Pictures."))
            shown.append(run.figure("training_sheets", {"Colored MNIST|0,1": picture}, "Pictures."))
        if claim == "claim2" and explorer is not None:
            shown.append(run.figure("explorer", explorer, "Explorer.", explorer_of_page.takeaway(explorer)))
        one = {"seconds": hours * 1800, "peak_memory_mb": 9, "commit": "abc"}
        took = {"classifier/1": one, "classifier/2": one}  # the same results in all claims
        with patch.object(store, "cost", return_value=took):
            shown += [run.judge(evidence(claim, _values(claim, level))), run.finish()]
        executed(folder, claim, shown, f"print('{claim}: {level}')")
    build.seal_notebooks(folder)
