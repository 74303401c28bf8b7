"""The fingerprint of a run: hashes of all that must be the same when the same profile runs again on a like machine.

Left out is what two equal runs may differ in: when and how fast they ran, and the progress they printed. Weights count
where the run's folder holds its store: not at the top of the repository, and not for changed parameters, whose runs
share the store of the profile that they start from (``of_store``).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from reprolib.report.build import NOTEBOOKS
from reprolib.report.results import read_manifest
from reprolib.run.errors import ReproError
from reprolib.run.files import SUMS, canonical, digest
from reprolib.run.store import Store

MEASURED = ("results/compute.csv", "results/bench/")
"""Files and folders that tell how long something took."""
MEASURED_SECTION = {
    "report.md": (b"## What was run where", b"## Parameters"),
    "report.html": (b"<h2>What was run where", b"<h2>Parameters"),
}
"""The part of the report that tells when and where: from the first heading to the second."""


def of_folder(folder: Path) -> dict[str, str]:
    """File (relative) -> SHA-256 of its canonical content, for the report, results, figures and store of a run.

    Raises ReproError if the folder holds no finished report, or if something in it is damaged.
    """
    if not (folder / "report.md").is_file():
        raise ReproError(f"{folder} holds no finished report; make one with `python -m reprolib report PROFILE`")
    for claim in NOTEBOOKS:
        read_manifest(folder, claim)
    parts = [
        *(folder / name for name in MEASURED_SECTION),
        *(file for part in ("results", "figures") for file in (folder / part).rglob("*")),
    ]
    names = {file.relative_to(folder).as_posix(): file for file in parts if file.is_file()}
    kept = {name: file for name, file in names.items() if not name.startswith(MEASURED) and file.name != SUMS}
    return {name: digest(_canonical(name, file)) for name, file in sorted(kept.items())} | of_store(folder / "store")


def of_store(root: Path) -> dict[str, str]:
    """Result (``store/step/name``) -> SHA-256 of its numbers, its inputs and the hash of its tensors.

    Raises ReproError for a result whose numbers or tensors are damaged.
    """
    store, found = Store(root), {}
    for file in sorted(root.glob("*/*.json")):
        if store.read(file, aside=False) is None:
            raise ReproError(f"{file} or its tensors are damaged; remove them, or run the report that uses them again")
        found[f"store/{file.relative_to(root).as_posix()}"] = digest(_canonical(file.name, file))
    return found


def total(parts: dict[str, str]) -> str:
    """One hash for all of them."""
    return digest(canonical(parts))


def _canonical(name: str, file: Path) -> bytes:
    if name in MEASURED_SECTION:
        first, second = MEASURED_SECTION[name]
        before, _, rest = file.read_bytes().partition(first)
        return before + rest.partition(second)[2]
    if file.suffix == ".json":
        return canonical(_without_origin(json.loads(file.read_bytes())))
    return file.read_bytes()


def _without_origin(entry: dict[str, Any]) -> dict[str, Any]:
    """A manifest or a stored result without what made it; the hash of its tensors stays, so weights are covered."""
    left = {name: value for name, value in entry.items() if name not in ("made", "provenance", "sha256")}
    if "files" in left:
        left["files"] = {name: sha256 for name, sha256 in left["files"].items() if not name.startswith(MEASURED)}
    return left
