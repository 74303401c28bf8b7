"""CGNs whose quality is known: one that is made of real digits, and nulls, which must not pass a criterion.

They stand where a trained CGN stands, so that all that measures a CGN measures them by the same code, everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from reprolib.mnist import variants
from reprolib.mnist.cgn import CGN, CLASSES, LATENT, build
from reprolib.mnist.digits import Digits
from reprolib.mnist.textures import Textures
from reprolib.run import rng
from reprolib.vocabulary import VARIANTS

Null = Literal[
    "untrained", "inverted masks", "one mask per digit", "blank masks", "masks of another digit", "shuffled labels"
]
NULLS: tuple[Null, ...] = get_args(Null)
Known = Literal[Null, "real digits"]
KNOWN: tuple[Known, ...] = ("real digits", *NULLS)
VERSION = 1
"""Raise it when a known CGN changes what it gives."""


class RealCGN(CGN):
    """A perfect CGN: its masks are those of real digits, its textures are those of the data set.

    digits: of every label at least one. shuffled: give any label's mask and textures, whatever is asked for.
    """

    def __init__(self, variant: str, digits: Digits, textures: Textures, shuffled: bool) -> None:
        super().__init__()
        self.label_emb.weight.data = torch.eye(CLASSES)  # a latent tells its label
        self.digits, self.shuffled = digits[digits.labels.argsort(stable=True)], shuffled
        self.variant, self.textures = variant, textures

    def mask(self, latent: Tensor) -> Tensor:
        """(B, 42) -> true masks of digits with the label of the latent, (B, 1, 32, 32), 0 or 1."""
        labels = self._labels(latent)
        count = self.digits.labels.bincount(minlength=CLASSES)
        chosen = (count.cumsum(0) - count)[labels] + (torch.rand(len(labels)) * count[labels]).long()
        return self._paint(self.digits[chosen]).masks.float()

    def foreground(self, latent: Tensor) -> Tensor:
        """(B, 42) -> what digits are painted with, (B, 3, 32, 32), nominally in [-1, 1]."""
        return self._texture(latent, pen=255)

    def background(self, latent: Tensor) -> Tensor:
        """(B, 42) -> what the ground is painted with, (B, 3, 32, 32), nominally in [-1, 1]."""
        return self._texture(latent, pen=0)

    def _labels(self, latent: Tensor) -> Tensor:
        labels = latent[:, LATENT:].argmax(1)
        return torch.randint_like(labels, CLASSES) if self.shuffled else labels

    def _texture(self, latent: Tensor, pen: int) -> Tensor:
        labels = self._labels(latent)
        return self._paint(Digits(torch.full((len(labels), 28, 28), pen, dtype=torch.uint8), labels)).images

    def _paint(self, digits: Digits) -> variants.Painted:
        seed = int(torch.randint(2**31, ()))
        return variants.paint(self.variant, digits, "known", attributes="label", seed=seed, textures=self.textures)


DIGITS: dict[Known, Callable[[Digits], Digits]] = {
    "real digits": lambda some: some,
    "inverted masks": lambda some: Digits(255 - some.images, some.labels),
    "one mask per digit": Digits.one_of_each,
    "blank masks": lambda some: Digits(torch.zeros_like(some.images), some.labels),
    "masks of another digit": lambda some: Digits(some.images, (some.labels + 1) % CLASSES),
    "shuffled labels": lambda some: some,
}
"""The digits that a known CGN is made of; all but the untrained one are a ``RealCGN``."""


def cgn(name: Known, variant: str, digits: Digits, textures: Textures, seed: int) -> CGN:
    """A CGN of known quality, in eval mode. digits: real ones; the first 10,000 are used."""
    if name == "untrained":
        with rng.seeded("untrained CGN", variant, seed):
            return build(VARIANTS[variant])[0].eval()
    return RealCGN(variant, DIGITS[name](digits[:10_000]), textures, name == "shuffled labels").eval()
