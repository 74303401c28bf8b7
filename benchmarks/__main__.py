"""``python -m benchmarks``: time every step against the straightforward way and write ``results/bench``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import pandas as pd
import torch

from benchmarks.end_to_end import runs, seeds
from benchmarks.steps import STEPS, limits, scaling
from reprolib import provenance
from reprolib.report import markdown_table
from reprolib.store import write_atomically

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "results" / "bench"
CAPTIONS = {
    "steps": "Each step against the straightforward way (`benchmarks/plain.py`): median and range of n runs, in turn.",
    "limits": "How near training is to the processor's rate of matrix products, and the time outside torch operators.",
    "scaling": "Cost against the number of counterfactuals.",
    "seeds": "Training 50 CGN steps for several seeds.",
    "runs": "Whole runs.",
}
MARKS = "<!-- bench: written by `make bench` -->", "<!-- /bench -->"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"of {', '.join(STEPS)}; default all, and the README")
    parser.add_argument("-n", type=int, default=5, help="repetitions (default 5)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="torch threads (default all)")
    arguments = parser.parse_args()
    if unknown := set(arguments.steps) - set(STEPS):
        parser.error(f"there is no step {', '.join(sorted(unknown))}")
    torch.set_num_threads(arguments.threads)
    os.environ["REPROLIB_PROGRESS"] = "off"
    rows = []
    for name in arguments.steps or STEPS:
        start = time.monotonic()
        rows.append(STEPS[name](arguments.n).cells())
        said = f"{name}: {rows[-1]['times faster']} times faster, at least {rows[-1]['at least']}"
        print(f"{said}; {time.monotonic() - start:.0f} s", file=sys.stderr)
    table = pd.DataFrame(rows)
    if arguments.steps:
        print(markdown_table(table))
        return 0
    tables = {"steps": table, "limits": limits(), "scaling": scaling(arguments.n), "seeds": seeds(arguments.n)}
    write(tables | {"runs": runs()}, arguments.threads)
    return 0


def write(tables: dict[str, pd.DataFrame], threads: int) -> None:
    """Keep the tables and what made them in ``results/bench``, and show them in the README."""
    for name, table in tables.items():
        write_atomically(FOLDER / f"{name}.csv", table.to_csv(index=False, lineterminator="\n").encode())
    made = provenance.current() | {"threads": threads}
    write_atomically(FOLDER / "made.json", (json.dumps(made, indent=1, sort_keys=True) + "\n").encode())
    write_atomically(ROOT / "README.md", shown((ROOT / "README.md").read_text(encoding="utf-8")).encode())


def shown(readme: str) -> str:
    """The README with the tables of ``results/bench`` between its marks."""
    before, _, rest = readme.partition(MARKS[0])
    after = MARKS[1] + rest.partition(MARKS[1])[2]
    if not (FOLDER / "made.json").exists():
        return before + MARKS[0] + "\nNothing was measured yet.\n" + after
    made = json.loads((FOLDER / "made.json").read_text(encoding="utf-8"))
    parts = [
        f"{caption}\n\n{markdown_table(pd.read_csv(FOLDER / f'{name}.csv', dtype=str, keep_default_na=False))}"
        for name, caption in CAPTIONS.items()
    ]
    versions = f"torch {made['versions']['torch']}, commit {made['commit']}"
    where = f"Measured on {made['processor']}, {made['threads']} threads, {versions}."
    return before + MARKS[0] + "\n" + "\n\n".join([where, *parts]) + "\n" + after


if __name__ == "__main__":
    sys.exit(main())
