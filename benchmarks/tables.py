"""``python -m benchmarks``: time every step against the straightforward way and write ``results/bench``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmarks.seeds import seeds
from benchmarks.steps import STEPS, limits, scaling
from reprolib.report.words import markdown_table
from reprolib.run import provenance
from reprolib.run.files import write_atomically

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "results" / "bench"
CAPTIONS = {
    "steps": "Each step against the straightforward way (`benchmarks/plain.py`): median and range of n runs, in turn.",
    "limits": "How near training and generation are to the processor's rate of matrix products, median and range of n, "
    "and the time outside torch operators.",
    "scaling": "Cost of one image against the number of counterfactuals.",
    "seeds": "Training 50 CGN steps for several seeds.",
    "gpu": "One GPU (`make gpu-check`): what runs, whether numbers are those of the processor, and how fast.",
    "gpu_cgns": "CGNs of the published recipe that `make gpu-check` trained, in half precision; columns as in "
    "`results/recipe.csv`.",
    "acceptance": "Classifiers trained here on the authors' counterfactuals: out-of-domain accuracy in percent, last "
    "epoch, one repetition, convolutions in bfloat16 (`make acceptance`).",
}
MARKS = "<!-- bench: written by `make bench` -->", "<!-- /bench -->"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    known = f"a table to measure and put into the README, of {', '.join(TABLES)}; default all"
    parser.add_argument("names", nargs="*", metavar="NAME", help=known)
    parser.add_argument("-n", type=int, default=5, help="repetitions (default 5)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="torch threads (default all)")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(TABLES):
        parser.error(f"there is no table {', '.join(sorted(unknown))}")
    torch.set_num_threads(arguments.threads)
    os.environ["REPROLIB_PROGRESS"] = "off"
    for name, make in TABLES.items():
        if name in arguments.names or not arguments.names:
            write(name, make(arguments.n), provenance.current() | {"threads": arguments.threads})
    return 0


def measured(repetitions: int) -> pd.DataFrame:
    """The table of all steps; says how each did as soon as it is known."""
    rows = []
    for name, step in STEPS.items():
        start = time.monotonic()
        rows.append(step(repetitions))
        said = f"{name}: {rows[-1]['times faster']} times faster, at least {rows[-1]['at least']}"
        print(f"{said}; {time.monotonic() - start:.0f} s", file=sys.stderr)
    return pd.DataFrame(rows)


TABLES: dict[str, Callable[[int], pd.DataFrame]] = {
    "steps": measured,
    "limits": limits,
    "scaling": scaling,
    "seeds": seeds,
}
"""Those that are measured here, from the number of repetitions."""


def write(name: str, table: pd.DataFrame, made: dict[str, Any]) -> None:
    """Keep a table and what made it (see ``provenance.current``, and ``threads``) in ``results/bench``, and show it in
    the README."""
    write_atomically(FOLDER / f"{name}.csv", table.to_csv(index=False, lineterminator="\n").encode())
    known = json.loads((FOLDER / "made.json").read_text(encoding="utf-8")) if (FOLDER / "made.json").exists() else {}
    known[name] = made
    write_atomically(FOLDER / "made.json", (json.dumps(known, indent=1, sort_keys=True) + "\n").encode())
    write_atomically(ROOT / "README.md", shown((ROOT / "README.md").read_text(encoding="utf-8")).encode())


def shown(readme: str) -> str:
    """The README with the tables of ``results/bench`` between its marks, and with what measured each."""
    before, _, rest = readme.partition(MARKS[0])
    after = MARKS[1] + rest.partition(MARKS[1])[2]
    if not (FOLDER / "made.json").exists():
        return before + MARKS[0] + "\nNothing was measured yet.\n" + after
    known = json.loads((FOLDER / "made.json").read_text(encoding="utf-8"))
    parts = []
    for name, caption in CAPTIONS.items():
        if made := known.get(name):
            versions = f"torch {made['versions']['torch']}, commit {made['commit']}"
            where = f"({made['processor']}, {made['threads']} thread{'s' if made['threads'] > 1 else ''}, {versions})"
            table = markdown_table(pd.read_csv(FOLDER / f"{name}.csv", dtype=str, keep_default_na=False))
            parts.append(f"{caption} {where}\n\n{table}")
    return before + MARKS[0] + "\n" + "\n\n".join(parts) + "\n" + after
