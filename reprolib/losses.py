"""The loss terms, each a short function of tensors (spec/mnist.md, section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

STYLE_FACTOR = 5000.0
"""A tap of weight w enters the style loss with STYLE_FACTOR * w**2."""


def lsgan(score: Tensor, target: float) -> Tensor:
    """Least-squares GAN loss: mean squared distance of discriminator scores, any shape, to 0 or 1."""
    return F.mse_loss(score, torch.full_like(score, target))


def binary_entropy(mask: Tensor) -> Tensor:
    """Mean entropy in bits of mask pixels, values in (0, 1): 0 for a binary mask, 1 for a mask of halves."""
    return -(mask * mask.log2() + (1 - mask) * (1 - mask).log2()).mean()


def gram(features: Tensor) -> Tensor:
    """Gram matrix per image: (B, C, H, W) -> (B, C, C), divided by C*H*W."""
    batch, channels, height, width = features.shape
    flat = features.reshape(batch, channels, height * width)
    return flat @ flat.transpose(1, 2) / (channels * height * width)


def style(generated: Sequence[Tensor | None], real: Sequence[Tensor | None], weights: Sequence[float]) -> Tensor:
    """Sum over the taps of 5000 w**2 L1(gram(generated), gram(real)); a tap of weight 0 may be None.

    Pairs are unpaired on purpose: image i of the real batch has its own label, so this is a prior on the style of
    the data set and not of a class. Raises ValueError when every weight is 0.
    """
    terms = [
        STYLE_FACTOR * weight**2 * F.l1_loss(gram(g), gram(r))
        for g, r, weight in zip(generated, real, weights, strict=True)
        if g is not None and r is not None and weight > 0
    ]
    if not terms:
        raise ValueError("all weights of the style loss are 0; give at least one tap a weight")
    return torch.stack(terms).sum()


EdgeForm = Literal["paper", "code"]


def edge(mask: Tensor, form: EdgeForm = "paper") -> Tensor:
    """Edge loss of Bagad et al. (2022), which punishes mask near the border (spec section 6).

    ``paper``: mean over all pixels of the mask inside a border of 3 pixels. ``code``: what their code does: border of
    6 (top, left) and 7 pixels minus the centre, summed over the mask repeated to three channels, over B*H*W, so that
    it also rewards mask in the centre. mask: (B, 1, H, W).
    """
    border = torch.ones_like(mask, dtype=torch.bool)
    if form == "paper":
        border[..., 3:-3, 3:-3] = False
        return (mask * border).mean()
    cut = mask.shape[-1] // 5
    border[..., cut : -cut - 1, cut : -cut - 1] = False
    return 3 * torch.where(border, mask, -mask).mean()
