"""Networks of the MNIST half from their tensors: the authors' checkpoints, shipped weights, stored results."""

from __future__ import annotations

from torch import Tensor

from reprolib.mnist.cgn import CGN
from reprolib.mnist.classifier import Classifier
from reprolib.run import assets, tensors
from reprolib.run.errors import AssetError


def authors_asset(variant: str) -> str:
    """The name of the asset with the authors' CGN. Raises AssetError if they released none for a variant."""
    name = f"authors_cgn/{variant}.pth"
    if name not in assets.ASSETS:
        raise AssetError(f"the authors released no CGN for {variant}; take 'authors' out of 'cgn.sources'")
    return name


def authors_cgn(variant: str) -> CGN:
    """The CGN that Sauer & Geiger released for a variant, loaded strictly and without unpickling any code."""
    return cgn_from(tensors.read(assets.path(authors_asset(variant))))


def cgn_from(found: dict[str, Tensor], prefix: str = "") -> CGN:
    """A CGN in eval mode from the tensors whose names start with ``prefix``, loaded strictly."""
    model = CGN()
    state = {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}
    model.load_state_dict(state, strict=True)
    return model.eval()


def classifier_from(found: dict[str, Tensor]) -> Classifier:
    """A classifier in eval mode, loaded strictly; channels and classes follow from the tensors."""
    model = Classifier(found["model.0.weight"].numel(), found["cls.0.bias"].numel())
    model.load_state_dict(found, strict=True)
    return model.eval()
