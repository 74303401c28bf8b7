"""Files of weights: those that come with reprolib, verified by the hashes beside them, and published ones, whose code
is never run. They are loaded into models whose names and shapes must all fit."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from reprolib.run import AssetError, files
from reprolib.run.files import SUMS

FOLDER = Path(__file__).parent.parent / "weights"


@dataclass(frozen=True)
class Shipped:
    """A weights file that comes with reprolib; in the recipe of a result it is its hash."""

    name: str

    @property
    def file(self) -> Path:
        return FOLDER / self.name

    def identity(self) -> str:
        return sha256(self.file)

    def read(self) -> dict[str, Tensor]:
        return read(self.file)


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
    """The tensors of a shipped weights file, verified."""
    sha256(file)
    return safetensors.torch.load_file(file)


def record(file: Path) -> dict[str, Any]:
    """What was measured on shipped weights, by name; verified."""
    sha256(file)
    return json.loads(file.read_bytes())


def write(file: Path, state: dict[str, Tensor]) -> None:
    """Write a weights file and its hash."""
    files.write_atomically(file, safetensors.torch.save({name: value.contiguous() for name, value in state.items()}))
    files.write_sums(file.parent / SUMS, file)


def keep(file: Path, state: dict[str, Tensor], record_file: Path, measured: dict[str, Any]) -> None:
    """Ship weights, and beside what was measured on others what was on these; nobody else writes there meanwhile."""
    with files.locked(file.parent / ".lock"):
        write(file, state)
        known = (record(record_file) if record_file.exists() else {}) | measured
        files.write_atomically(record_file, (json.dumps(known, indent=1, sort_keys=True) + "\n").encode())
        files.write_sums(record_file.parent / SUMS, record_file)


# ---------------------------------------------------------------- published files


def read_pth(file: Path) -> dict[str, Tensor]:
    """The tensors of a ``.pth`` file, on the CPU. Code that such a file may carry is never run.

    Raises AssetError if the file is missing, damaged, or holds anything but named tensors.
    """
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise AssetError(f"{file} is missing; fetch it, or name the right file") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise AssetError(
            f"{file} is damaged or carries code, which is never run; fetch it again from its source"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise AssetError(f"{file} holds more than named tensors; export the state dict of the model alone")
    return dict(state)


def load_strictly(model: nn.Module, state: dict[str, Tensor], what: str) -> None:
    """Load a state dict whose names and shapes must all fit. Raises AssetError with the first that does not.

    Only the step counters of batch norms may be missing, because early files do not have them; nothing reads them.
    """
    expected = model.state_dict()
    state = {name: value for name, value in expected.items() if name.endswith("num_batches_tracked")} | state
    missing, unknown = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    shapes = [name for name in expected.keys() & state.keys() if expected[name].shape != state[name].shape]
    for complaint, names in (("lacks", missing), ("has unknown", unknown), ("has another shape of", sorted(shapes))):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise AssetError(f"{what} {complaint} {names[0]}{more}; choose the file that fits, or fetch it again")
    model.load_state_dict(state)
