"""What the natural-image experiments need to know about their world; the two are in ``reprolib/worlds``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from reprolib.natural.cgn import CGN
from reprolib.natural.classify import Ensemble
from reprolib.natural.datasets import Images, Transform
from reprolib.natural.train import Patches


class World(Protocol):
    """Models, data and protocols of one world of images."""

    name: str
    title: str
    classes: int
    class_names: Sequence[str]
    patches: Patches
    shown: tuple[int, ...]
    """Classes of the sample sheets."""
    followed: tuple[int, ...]
    """Three of them, which the figure of training shows."""
    entangled: tuple[int, ...] = ()
    """Classes in which the reproduction study saw texture and background entangled; none where nobody looked."""
    truncations: tuple[float, ...] = (1.0,)
    """Truncations of the latent at which a CGN is rated; 1, that of training, is one of them."""
    walk_truncation: float = 1.0
    """Truncation of the latent of walks between classes."""
    plain_title: str
    """The plain classifier as a reader sees it."""

    def identity(self) -> dict[str, Any]:
        """What names the networks that a CGN of this world is made of, in the inputs of a result."""

    def given_identity(self) -> str:
        """The hash of the shipped or the authors' CGN."""

    def rater_identity(self) -> str:
        """The hash of the classifier behind the Inception Score."""

    def truth_identity(self) -> dict[str, Any]:
        """What names what ``against_truth`` compares with, in the inputs of a result."""
        return {}

    def data_identity(self) -> dict[str, Any]:
        """What names the data and the backbone of a classifier."""

    def new_cgn(self, true_mask: bool = False) -> CGN:
        """A CGN whose mechanisms all start from the pretrained generator. true_mask: with the true mask in place of its
        own; raises NotImplementedError where nobody knows it."""

    def given_cgn(self) -> CGN:
        """The shipped or the authors' CGN, in eval mode."""

    def rater(self) -> nn.Module:
        """The classifier behind the Inception Score."""

    def against_truth(self, model: CGN, count: int) -> dict[str, Any]:
        """What only a world with known masks, textures and backgrounds can tell of a CGN; else nothing."""
        return {}

    def entanglement(self, model: CGN, u: Tensor, classes: Tensor) -> Tensor:
        """How much of the background the texture maps of u and classes show, one value per image: against the truth, or
        where nobody knows it by the styles of patches."""

    def ensemble(self) -> Ensemble:
        """A new ensemble on a pretrained backbone."""

    def plain(self) -> nn.Module:
        """A pretrained classifier of real images without heads, images -> logits, to compare with: the backbone of the
        ensemble with its own last layer, or on Scenes the scene reader."""

    def real(self, split: str) -> Images:
        """Real images with their class; split: ``train`` or ``val``."""

    def transform(self, split: str) -> Transform:
        """Turns a written counterfactual into what the ensemble wants; split: ``train`` or ``val``."""

    def true_counterfactuals(self, count: int, split: str, seed: int) -> Images:
        """What a perfect CGN would give, with the classes of the three factors. Raises NotImplementedError where
        nobody knows it."""

    def challenge(self, name: str) -> Images:
        """A test set of the backgrounds challenge with its superclass; name: of robustness.CHALLENGE_SETS."""

    def superclasses(self) -> Tensor:
        """int64 (classes,): superclass of every class, by default itself."""
        return torch.arange(self.classes)

    def conflict(self) -> tuple[Images, list[list[int]]]:
        """Cue conflict: images with (category of shape, category of texture), and the classes of every category."""

    def out_of_distribution(self) -> dict[str, tuple[Images, Tensor]]:
        """Out-of-distribution sets of Bagad et al.: name -> (images with a label, class of every label)."""
