"""What only a rendered world can tell: how far the factors of a CGN are from the true ones.

The seed study names three kinds of failure (its Appendix F): texture-background entanglement, background residue and
reduced realism. The first two are numbers here, because the true mask, texture and background of (u, y) are known.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reprolib.worlds.scenes.render import Scene


def mask_iou(mask: Tensor, truth: Tensor) -> Tensor:
    """Intersection over union of masks (N, 1, H, W) at 0.5, one value per image; 1 for two empty masks."""
    found, true = mask > 0.5, truth > 0.5
    intersection = (found & true).sum(dim=(1, 2, 3)).double()
    union = (found | true).sum(dim=(1, 2, 3)).double()
    return torch.where(union > 0, intersection / union.clamp(min=1), 1.0)


def residue(background: Tensor, scene: Scene) -> Tensor:
    """How much of the object a background map shows where the object stands, one value per image.

    0: inside the true mask it is the true background; 1: it is the object; in between by the two mean absolute
    differences.
    """
    return _nearer(background, scene.background, scene.texture, scene.mask > 0.5)


def entanglement(texture: Tensor, scene: Scene) -> Tensor:
    """How much of the background a texture map shows around the object, one value per image.

    0: outside the true mask it is the true texture; 1: it is the background.
    """
    return _nearer(texture, scene.texture, scene.background, scene.mask < 0.5)


def _nearer(picture: Tensor, right: Tensor, wrong: Tensor, where: Tensor) -> Tensor:
    """0 where ``picture`` equals ``right``, 1 where it equals ``wrong``, over the pixels of a region of each image."""
    pixels = where.sum(dim=(1, 2, 3)).clamp(min=1)
    to_right, to_wrong = (
        ((picture - other).abs().mean(1, keepdim=True) * where).sum(dim=(1, 2, 3)) / pixels for other in (right, wrong)
    )
    return to_right / (to_right + to_wrong).clamp(min=1e-9)
