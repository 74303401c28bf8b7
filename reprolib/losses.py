"""The loss terms, each a short function of tensors (docs/mnist.md, section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

STYLE_FACTOR = 5000.0
"""A tap of weight w enters the style loss with STYLE_FACTOR * w**2."""


def exact(x: Tensor) -> Tensor:
    """The tensor in float32 if it has less: for sums, logarithms and clamps near 1, where 8 bits are too few."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def lsgan(score: Tensor, target: float) -> Tensor:
    """Least-squares GAN loss: mean squared distance of discriminator scores, any shape, to 0 or 1."""
    return F.mse_loss(score, torch.full_like(score, target))


def binary_entropy(mask: Tensor) -> Tensor:
    """Mean entropy in bits of mask pixels, values in (0, 1): 0 for a binary mask, 1 for a mask of halves."""
    return -(mask * mask.log2() + (1 - mask) * (1 - mask).log2()).mean()


def gram(features: Tensor) -> Tensor:
    """Gram matrix per image: (B, C, H, W) -> (B, C, C), divided by C*H*W."""
    batch, channels, height, width = features.shape
    flat = exact(features.reshape(batch, channels, height * width))
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
    """Edge loss of Bagad et al. (2022), which punishes mask near the border (docs/mnist.md, section 6).

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


# -------------------------------------------------------------------- ImageNet (docs/imagenet.md, section 5)


def mask_interval(mask: Tensor, low: float = 0.1, high: float = 0.9) -> Tensor:
    """How far the mean of a mask lies outside [low, high], mean over the batch; (B, 1, H, W) in (0, 1)."""
    mean = mask.mean(dim=(1, 2, 3))
    return (F.relu(low - mean) + F.relu(mean - high)).mean()


def patch_grid(
    images: Tensor, mask: Tensor, size: int = 128, window: int = 15, best: int = 100, side: int = 6
) -> Tensor:
    """The target of the texture mechanism: a grid of patches from where the mask is strongest (docs/imagenet.md, 5.1).

    images (B, C, H, W) and mask (B, 1, H, W), both without gradient, are resized to ``size``. Of all windows, the
    ``best`` with the largest mean mask are candidates; side x side of them, drawn with replacement, are tiled and
    resized to (B, C, H, W). Bicubic without clamping, so values may overshoot [-1, 1].
    """
    batch, channels, height, width = images.shape
    small, weight = (_bicubic(x, (size, size)) for x in (images, mask))
    means = F.avg_pool2d(weight, (window, 1), stride=1)  # down the columns, then along the rows: far fewer sums
    score = F.avg_pool2d(means, (1, window), stride=1).flatten(1)
    candidates = score.topk(best, dim=1).indices
    drawn = candidates.gather(1, torch.randint(best, (batch, side * side), device=images.device))
    per_row = size - window + 1
    windows = small.unfold(2, window, 1).unfold(3, window, 1)  # (B, C, rows, columns, window, window), no copy
    image = torch.arange(batch, device=images.device)[:, None]
    patches = windows[image, :, drawn // per_row, drawn % per_row]  # (B, side * side, C, window, window)
    tiled = patches.reshape(batch, side, side, channels, window, window).permute(0, 3, 1, 4, 2, 5)
    return _enlarged(tiled.reshape(batch, channels, side * window, side * window), (height, width))


def random_fill(images: Tensor, mask: Tensor, degree: float = 0.95, threshold: float = 0.5) -> Tensor:
    """The reproduction study's own target of the texture mechanism: the image filled with copies of its object
    (docs/imagenet.md, section 19).

    The object region (mask above ``threshold``) is shifted, with wrap-around, so that a random pixel of it lands on a
    random empty pixel, and its colours are pasted there; until more than ``degree`` of the image is filled. Pixels
    that stay empty keep the image's own colours, and an image without an object is returned as it is.
    images (B, C, H, W), mask (B, 1, H, W), both without gradient.
    """
    return torch.stack([_filled(image, m[0] > threshold, degree) for image, m in zip(images, mask, strict=True)])


MOST_PASTES = 1000
"""An object of 0.3 % of the image fills it in about so many; a single pixel would take tens of thousands."""


def _filled(image: Tensor, region: Tensor, degree: float) -> Tensor:
    canvas, filled = image.clone(), region.clone()
    if not region.any():
        return canvas
    inside = region.nonzero()
    for _ in range(MOST_PASTES):
        if filled.float().mean() > degree:
            break
        outside = (~filled).nonzero()
        target = outside[torch.randint(len(outside), (1,), device=image.device)]
        source = inside[torch.randint(len(inside), (1,), device=image.device)]
        shift = (target - source)[0].tolist()
        pasted = region.roll(shift, (0, 1))
        canvas = torch.where(pasted, image.roll(shift, (1, 2)), canvas)
        filled = filled | pasted
    return canvas


def _bicubic(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size=size, mode="bicubic", align_corners=False)


def _enlarged(x: Tensor, size: tuple[int, int]) -> Tensor:
    """:func:`_bicubic` up to rounding, as a matrix product per axis: to a large size that is four times as fast."""
    rows, columns = (_bicubic_matrix(*sides, x.dtype, x.device) for sides in zip(size, x.shape[2:], strict=True))
    return rows @ (x @ columns.T)


@lru_cache(maxsize=8)
def _bicubic_matrix(outputs: int, inputs: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(outputs, inputs): what bicubic interpolation does along one axis."""
    unit = torch.eye(inputs, dtype=torch.float64)[None, None]
    return _bicubic(unit, (outputs, inputs))[0, 0].to(device, dtype)
