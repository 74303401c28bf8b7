"""Networks from files: the authors' checkpoints, the weights that reprolib ships, and stored results."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
from torch import Tensor

from reprolib import assets, tensors
from reprolib.errors import AssetError
from reprolib.mnist.cgn import CGN
from reprolib.mnist.classifier import Classifier
from reprolib.store import write_atomically

WEIGHTS = Path(__file__).parent.parent / "weights"


def authors_asset(variant: str) -> str:
    """The name of the asset with the authors' CGN. Raises AssetError if they released none for a variant."""
    name = f"authors_cgn/{variant}.pth"
    if name not in assets.ASSETS:
        raise AssetError(f"the authors released no CGN for {variant}; take 'authors' out of 'cgn.sources'")
    return name


def authors_cgn(variant: str) -> CGN:
    """The CGN that Sauer & Geiger released for a variant, loaded strictly and without unpickling any code."""
    return cgn_from(tensors.read(assets.path(authors_asset(variant))))


def shipped_sha256(file: Path) -> str:
    """The hash of a shipped weights file. Raises AssetError if it is missing or damaged."""
    repair = f"restore it with `git checkout -- reprolib/weights/{file.name}`"
    if not file.is_file():
        raise AssetError(f"shipped weights {file.name} are missing; {repair}")
    known = dict(line.split()[::-1] for line in (file.parent / "SHA256SUMS").read_text().splitlines())
    if (found := assets.sha256_of(file)) != known.get(file.name):
        raise AssetError(f"shipped weights {file.name} are damaged (wrong SHA-256); {repair}")
    return found


def shipped_weights(file: Path) -> dict[str, Tensor]:
    """The tensors of a shipped weights file. Raises AssetError if it is missing or damaged."""
    shipped_sha256(file)
    found: dict[str, Tensor] = safetensors.torch.load_file(file)
    return found


def write_sums(folder: Path) -> None:
    """Bring SHA256SUMS of a folder up to date with its weights, after one was made."""
    sums = [f"{assets.sha256_of(file)}  {file.name}\n" for file in sorted(folder.glob("*.safetensors"))]
    write_atomically(folder / "SHA256SUMS", "".join(sums).encode())


def cgn_from(found: dict[str, Tensor], prefix: str = "") -> CGN:
    """A CGN in eval mode from the tensors whose names start with ``prefix``, loaded strictly."""
    model = CGN()
    state = {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}
    model.load_state_dict(state, strict=True)
    return model.eval()


def classifier_from(found: dict[str, Tensor]) -> Classifier:
    """A classifier in eval mode, loaded strictly; the number of channels follows from the tensors."""
    model = Classifier(found["model.0.weight"].numel())
    model.load_state_dict(found, strict=True)
    return model.eval()
