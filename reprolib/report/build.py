"""The report: execute the notebooks, render the pages, promote and keep what came out.

A claim enters a report only through its manifest, which is written last and seals every file, so a failed or killed
notebook can leave no report that looks finished; papermill's own "completed" is not trusted, because it also stands in
the notebook of a kernel that was killed.
"""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager
from pathlib import Path

from reprolib.mnist import experiments as _mnist  # noqa: F401 - its steps say what is kept, as those of the next
from reprolib.natural import experiments as _natural  # noqa: F401
from reprolib.report import render as pages
from reprolib.report.execute import execute
from reprolib.report.render import NOTEBOOKS
from reprolib.report.results import build_folder, read_manifest, run_name, store_folder
from reprolib.run import steps
from reprolib.run.files import ROOT, SUMS, locked, remove, write_atomically, write_sums, writing
from reprolib.run.store import Store, everything
from reprolib.schema import RECIPES, Params

RUNS = ROOT / "runs"
APART = ("bench", "recipe.csv", "recipe_ablation.csv")
"""Of ``results/``, what belongs to no run: `make bench` and `make recipe` write it."""
SEAL = f"results/notebooks/{SUMS}"
REPORT = ("report.md", "report.html")


def make(params: Params) -> Path:
    """Execute every claim notebook with these parameters and render the report; return its path.

    Goes on where an interrupted run was, because results are found in the store. Raises ReproError if a notebook
    fails; then no report is left.
    """
    folder = build_folder() / run_name(params)
    with _only_run(folder):
        remove(*(folder / name for name in (*REPORT, SEAL, *(f"results/{claim}.json" for claim in NOTEBOOKS))))
        for claim, name in NOTEBOOKS.items():
            execute(name, params, folder / "results" / "notebooks" / f"{name}.ipynb")
            read_manifest(folder, claim)
        seal_notebooks(folder)
        return pages.render(folder)


def _only_run(folder: Path) -> AbstractContextManager[None]:
    """Hold the lock of a run's folder. Raises ReproError if another run has it; the lock of a killed run is free."""
    return locked(folder / ".lock", f"another run is writing to {folder}; wait until it has ended, or stop it")


def seal_notebooks(folder: Path) -> None:
    """Write down the SHA-256 of every executed notebook: a report embeds none that was changed afterwards."""
    write_sums(folder / SEAL, *(folder / "results" / "notebooks" / f"{name}.ipynb" for name in NOTEBOOKS.values()))


def render(folder: Path) -> Path:
    """Write the report of a folder again, see ``render.render``. Raises ReproError if a run is writing there."""
    read_manifest(folder, "claim1")  # before a lock is left in a folder that holds no run
    with _only_run(folder):
        return pages.render(folder)


def promote(params: Params) -> Path:
    """Copy the results, figures and executed notebooks of a finished run to the top of the repository.

    The report goes first and comes back last, so a promotion that is killed leaves none; the same command goes on.
    """
    source = build_folder() / run_name(params)
    read_manifest(source, "claim1")  # before a lock is left in a folder that holds no run
    with _only_run(source), _only_run(ROOT):
        pages.render(source)  # refuses an unfinished run before anything here is replaced
        remove(*(ROOT / name for name in REPORT))
        for name in ("results", "figures"):
            with writing(ROOT / name):
                for old in [each for each in (ROOT / name).glob("*") if each.name not in APART]:
                    shutil.rmtree(old) if old.is_dir() else old.unlink()
                shutil.copytree(source / name, ROOT / name, dirs_exist_ok=True, copy_function=_copy)
        return pages.render(ROOT)


def _copy(source: str, target: str) -> None:
    """For copytree, which makes a long list of plain errors: a refused write ends it."""
    write_atomically(Path(target), Path(source).read_bytes())


def keep(params: Params) -> int:
    """Copy of every finished job of a profile to ``runs/<profile>`` what its step keeps; return how many there are. A
    CGN of a profile that trains none is one that shows the loop."""
    kept = steps.kept()
    if not set(RECIPES) & set(params.cgn.sources):
        del kept["cgn"]
    return Store(store_folder(params)).copy_results(RUNS / params.profile, kept)


def adopt(params: Params) -> int:
    """Start from the kept results of a profile instead of from nothing; return how many there are."""
    return Store(RUNS / params.profile).copy_results(store_folder(params), dict.fromkeys(steps.kept(), everything))
