"""The weights that reprolib ships and what was measured on them, verified by the hashes beside them."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from reprolib.run import files
from reprolib.run.errors import AssetError
from reprolib.run.files import SUMS

WEIGHTS = Path(__file__).parent.parent / "weights"


def sha256(file: Path) -> str:
    """The hash of a shipped file. Raises AssetError if it is missing or damaged."""
    sums, repair = file.parent / SUMS, "with `git checkout -- reprolib/weights`"
    for needed in (file, sums):
        if not needed.is_file():
            raise AssetError(f"shipped file {needed.name} is missing; restore it {repair}")
    found = files.sha256_of(file)
    if not files.agrees(sums, file.name, found):
        raise AssetError(f"shipped file {file.name} and {SUMS} beside it do not agree; restore both {repair}")
    return found


def read(file: Path) -> dict[str, Tensor]:
    """The tensors of a shipped weights file. Raises AssetError if it is missing or damaged."""
    sha256(file)
    found: dict[str, Tensor] = safetensors.torch.load_file(file)
    return found


def record(file: Path) -> dict[str, Any]:
    """What was measured on shipped weights, by name. Raises AssetError if the file is missing or damaged."""
    sha256(file)
    found: dict[str, Any] = json.loads(file.read_bytes())
    return found


def alone(folder: Path) -> AbstractContextManager[None]:
    """While this is held, nobody else ships into a folder."""
    return files.locked(folder / ".lock")


def write(file: Path, state: dict[str, Tensor]) -> None:
    """Write a weights file and its hash."""
    _write(file, safetensors.torch.save({name: value.contiguous() for name, value in state.items()}))


def write_record(file: Path, known: dict[str, Any]) -> None:
    """Write what was measured, and its hash."""
    _write(file, (json.dumps(known, indent=1, sort_keys=True) + "\n").encode())


def _write(file: Path, content: bytes) -> None:
    files.write_atomically(file, content)
    files.write_sums(file.parent / SUMS, file)
