"""The weights that reprolib ships, verified by the hashes beside them."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
from torch import Tensor

from reprolib import assets
from reprolib.errors import AssetError
from reprolib.store import write_atomically

WEIGHTS = Path(__file__).parent / "weights"


def sha256(file: Path) -> str:
    """The hash of a shipped weights file. Raises AssetError if it is missing or damaged."""
    repair = f"restore it with `git checkout -- reprolib/weights/{file.name}`"
    if not file.is_file():
        raise AssetError(f"shipped weights {file.name} are missing; {repair}")
    known = dict(line.split()[::-1] for line in (file.parent / "SHA256SUMS").read_text().splitlines())
    if (found := assets.sha256_of(file)) != known.get(file.name):
        raise AssetError(f"shipped weights {file.name} are damaged (wrong SHA-256); {repair}")
    return found


def read(file: Path) -> dict[str, Tensor]:
    """The tensors of a shipped weights file. Raises AssetError if it is missing or damaged."""
    sha256(file)
    found: dict[str, Tensor] = safetensors.torch.load_file(file)
    return found


def write(file: Path, state: dict[str, Tensor]) -> None:
    """Write a weights file and bring the SHA256SUMS of its folder up to date."""
    content = safetensors.torch.save({name: value.contiguous() for name, value in state.items()})
    write_atomically(file, content)
    sums = [f"{assets.sha256_of(each)}  {each.name}\n" for each in sorted(file.parent.glob("*.safetensors"))]
    write_atomically(file.parent / "SHA256SUMS", "".join(sums).encode())
