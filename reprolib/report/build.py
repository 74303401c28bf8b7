"""The report: execute the notebooks, render the pages, promote, keep and fingerprint what came out.

A claim enters a report only through its manifest (``results.py``). Papermill's own "completed" is not trusted, because
it also stands in the notebook of a kernel that was killed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from reprolib.mnist import experiments as _mnist  # noqa: F401 - its steps say what is kept, as those of the next
from reprolib.natural import experiments as _natural  # noqa: F401
from reprolib.report import render as pages
from reprolib.report.notebook import execute
from reprolib.report.render import NOTEBOOKS
from reprolib.report.results import build_folder, read_manifest, run_name, use_store
from reprolib.run import ReproError, steps
from reprolib.run.files import ROOT, SUMS, canonical, digest, locked, remove, write_atomically, write_sums, writing
from reprolib.run.store import Result, Store, everything
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
    """Hold the lock of a run's folder. Raises ReproError if another run has it."""
    return locked(folder / ".lock", f"another run is writing to {folder}; wait until it has ended, or stop it")


def seal_notebooks(folder: Path) -> None:
    """Write down the SHA-256 of every executed notebook: a report embeds none that was changed afterwards."""
    write_sums(folder / SEAL, *(folder / "results" / "notebooks" / f"{name}.ipynb" for name in NOTEBOOKS.values()))


def render(folder: Path) -> Path:
    """Write the report of a folder again, see ``render.render``."""
    read_manifest(folder, "claim1")  # before a lock is left in a folder that holds no run
    with _only_run(folder):
        return pages.render(folder)


def promote(params: Params) -> Path:
    """Copy the results, figures and executed notebooks of a finished run to the top of the repository.

    The report goes first and comes back last, so a promotion that is killed leaves none; the same command goes on.
    """
    source = build_folder() / run_name(params)
    render(source)  # refuses an unfinished run before anything here is replaced
    with _only_run(source), _only_run(ROOT):
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


# ---------------------------------------------------------------- kept results


def keep(params: Params) -> int:
    """Copy of every finished job of a profile to ``runs/<profile>`` what its step keeps; return how many there are. A
    CGN of a profile that trains none is one that shows the loop."""
    kept = steps.kept()
    if not set(RECIPES) & set(params.cgn.sources):
        del kept["cgn"]
    return _copied(
        use_store(params), RUNS / params.profile, kept, f"`python -m reprolib report {params.profile}` makes them"
    )


def adopt(params: Params) -> int:
    """Start from the kept results of a profile instead of from nothing; return how many there are. Of a CGN the end is
    kept in half precision, so what is made anew from it may differ in its last digits."""
    kept, repair = Store(RUNS / params.profile), "restore what runs/ had, for example with `git checkout -- runs`"
    return _copied(kept, use_store(params).root, dict.fromkeys(steps.kept(), everything), repair)


def _copied(source: Store, target: Path, slimmed: Mapping[str, Callable[[Result], Result]], repair: str) -> int:
    if not (count := source.copy_results(target, slimmed)):
        raise ReproError(f"there are no whole results in {source.root} to copy; {repair}")
    return count


# ---------------------------------------------------------------- fingerprints

MEASURED = "results/bench/"
"""The folder of what tells how long something took."""
MEASURED_SECTION = {
    "report.md": (b"## What was run where", b"## Parameters"),
    "report.html": (b"<h2>What was run where", b"<h2>Parameters"),
}
"""The part of the report that tells when and where: from the first heading to the second."""


def fingerprint(folder: Path) -> dict[str, str]:
    """File (relative) -> SHA-256 of all that must be the same when the same profile runs again on a like machine: the
    report, results, figures and store of a run, and ``total``, one hash for all.

    Left out is when and how fast a run was. Weights count where the run's folder holds its store: not at the top of the
    repository, and not for changed parameters, whose runs share the store of their profile. Raises ReproError if the
    folder holds no finished report, or if something in it is damaged.
    """
    if not (folder / "report.md").is_file():
        raise ReproError(f"{folder} holds no finished report; make one with `python -m reprolib report PROFILE`")
    for claim in NOTEBOOKS:
        read_manifest(folder, claim)
    files = [*(folder / name for name in REPORT), *(folder / "results").rglob("*"), *(folder / "figures").rglob("*")]
    names = {file.relative_to(folder).as_posix(): file for file in files if file.is_file() and file.name != SUMS}
    kept = {name: file for name, file in sorted(names.items()) if not name.startswith(MEASURED)}
    found = {name: digest(_canonical(name, file)) for name, file in kept.items()}
    found |= fingerprint_of_store(folder / "store")
    return found | {"total": digest(canonical(found))}


def fingerprint_of_store(root: Path) -> dict[str, str]:
    """Result (``store/step/name``) -> SHA-256 of its numbers, its inputs and the hash of its tensors.

    Raises ReproError for a result whose numbers or tensors are damaged.
    """
    store, found = Store(root), {}
    for file in sorted(root.glob("*/*.json")):
        if store.read(file, aside=False) is None:
            raise ReproError(f"{file} or its tensors are damaged; remove them, or run the report that uses them again")
        found[f"store/{file.relative_to(root).as_posix()}"] = digest(_canonical(file.name, file))
    return found


def _canonical(name: str, file: Path) -> bytes:
    """What counts of a file. Of a manifest or a stored result all but what made it; it has the hash of its tensors."""
    if name in MEASURED_SECTION:
        first, second = MEASURED_SECTION[name]
        before, _, rest = file.read_bytes().partition(first)
        return before + rest.partition(second)[2]
    if file.suffix != ".json":
        return file.read_bytes()
    entry: dict[str, Any] = json.loads(file.read_bytes())
    left = {name: value for name, value in entry.items() if name not in ("made", "provenance", "sha256")}
    return canonical(left)
