"""The Counterfactual Generative Network for natural images (docs/imagenet.md, sections 1 to 4).

A frozen BigGAN gives the pseudo ground truth x_gt. Three trainable ones, started from the same weights, are the
independent mechanisms; a frozen U2-Net turns the pre-mask into the mask. Composition: x = m * f + (1 - m) * b. State
names are those of the released ``cgn.pth``, so it loads strictly.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from reprolib.natural import biggan
from reprolib.natural.u2net import U2Net
from reprolib.run import rng, weights
from reprolib.vocabulary import FACTORS

CLAMP = (0.0001, 0.9999)


class Maps(NamedTuple):
    """What one forward pass gives; all (B, 3, H, W) in (-1, 1), but mask and saliency (B, 1, H, W)."""

    truth: Tensor
    """x_gt of the frozen generator for the class of the shape, without gradient."""
    mask: Tensor
    """m in [0.0001, 0.9999]."""
    premask: Tensor
    """The picture of which U2-Net makes the mask, without gradient."""
    foreground: Tensor
    background: Tensor
    saliency: Tensor
    """What U2-Net finds in the background, in (0, 1): the background loss wants nothing there."""


class CGN(nn.Module):
    """Three mechanisms around one composition; ``train()`` puts only the mechanisms into training mode."""

    def __init__(self, architecture: str, u2net: U2Net) -> None:
        super().__init__()
        self.architecture = biggan.ARCHITECTURES[architecture]
        self.biggan_GT = biggan.build(architecture).requires_grad_(False)
        self.f_shape, self.f_text, self.f_bg = (biggan.build(architecture) for _ in FACTORS)
        self.u2net = u2net.requires_grad_(False).eval()

    def start_from(self, state: dict[str, Tensor], source: str) -> None:
        """Give the frozen generator and all mechanisms the weights of one trained generator."""
        for model in (self.biggan_GT, self.f_shape, self.f_text, self.f_bg):
            weights.load_strictly(model, state, source)

    def mechanisms(self) -> dict[str, Tensor]:
        """The state of what is trained, the three mechanisms."""
        trained = ("f_shape.", "f_text.", "f_bg.")
        return {name: value for name, value in self.state_dict().items() if name.startswith(trained)}

    def load_mechanisms(self, state: dict[str, Tensor]) -> None:
        """Put the mechanisms of a trained CGN in place; everything else stays."""
        weights.load_strictly(self, self.state_dict() | state, "the mechanisms of a CGN")

    def train(self, mode: bool = True) -> CGN:
        super().train(mode)
        self.biggan_GT.eval()
        self.u2net.eval()
        return self

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.parameters()).device

    def noise(self, index: Tensor | int, key: rng.Key, truncation: float = 1.0) -> Tensor:
        """u, float32 (samples, latent), for the samples of these numbers, where it computes; see ``biggan.noise``."""
        return biggan.noise(index, self.architecture.latent, truncation, key).to(self.device)

    def one_hot(self, classes: Tensor) -> Tensor:
        """Class ids (B,) -> y (B, classes), where it computes."""
        return biggan.one_hot(classes, self.architecture.classes).to(self.device)

    def mask(self, u: Tensor, shape: Tensor, truncation: float) -> tuple[Tensor, Tensor]:
        """(mask, pre-mask); u (B, latent) and y of the shape, (B, classes)."""
        premask = self.f_shape(u, shape, truncation)
        return self.u2net(premask).clamp(*CLAMP), premask

    def forward(self, u: Tensor, shape: Tensor, texture: Tensor, background: Tensor, truncation: float = 1.0) -> Maps:
        """u (B, latent); shape, texture, background: y of each mechanism, (B, classes). The three share u."""
        with torch.no_grad():
            truth = self.biggan_GT(u, shape, truncation)
        mask, premask = self.mask(u, shape, truncation)
        front, ground = self.f_text(u, texture, truncation), self.f_bg(u, background, truncation)
        return Maps(truth, mask, premask.detach(), front, ground, self.u2net(ground))

    @torch.inference_mode()
    def counterfactual(
        self, u: Tensor, shape: Tensor, texture: Tensor, background: Tensor, truncation: float = 1.0
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(images, mask, foreground, background) without what only losses need."""
        mask, _ = self.mask(u, shape, truncation)
        front, ground = self.f_text(u, texture, truncation), self.f_bg(u, background, truncation)
        return compose(mask, front, ground), mask, front, ground


def compose(mask: Tensor, foreground: Tensor, background: Tensor) -> Tensor:
    """x = m * f + (1 - m) * b."""
    return torch.lerp(background, foreground, mask)


def load(architecture: str, u2net: U2Net, file: Path) -> CGN:
    """A released or own CGN, in eval mode; one that was saved out of DataParallel has ``module.`` before every name."""
    model = CGN(architecture, u2net)
    state = {name.removeprefix("module."): value for name, value in weights.read_pth(file).items()}
    weights.load_strictly(model, state, str(file))
    return model.eval()
