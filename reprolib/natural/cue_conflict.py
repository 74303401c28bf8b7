"""Shape bias on images whose shape and texture disagree (Geirhos et al. 2019; docs/imagenet.md, section 10.3)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from reprolib.natural.backgrounds_challenge import indices
from reprolib.run.errors import AssetError

_CATEGORIES = {
    "airplane": "404",
    "bear": "294-297",
    "bicycle": "444 671",
    "bird": "8 10-16 18-20 22-24 80-83 87-96 98-100 127-133 135-145",
    "boat": "472 554 625 814 914",
    "bottle": "440 720 737 898-899 901 907",
    "car": "436 511 817",
    "cat": "281-286",
    "chair": "423 559 765 857",
    "clock": "409 530 892",
    "dog": "152-191 193-203 205-226 228-241 243-250 252-257 259 261-263 265-268",
    "elephant": "385 386",
    "keyboard": "508 878",
    "knife": "499",
    "oven": "766",
    "truck": "555 569 656 675 717 734 864 867",
}
CATEGORIES = tuple(_CATEGORIES)
"""Sixteen, in alphabetical order, which decides ties."""
_NAME = re.compile(r"([a-z]+)\d+-([a-z]+)\d+\.png")


def imagenet_groups() -> list[list[int]]:
    """The ImageNet classes of each category."""
    return [indices(text) for text in _CATEGORIES.values()]


def labels(file: Path) -> tuple[int, int]:
    """(shape, texture) of ``<shape><i>-<texture><j>.png`` as category numbers. Raises AssetError for another name."""
    found = _NAME.fullmatch(file.name)
    if found is None or not set(found.groups()) <= set(CATEGORIES):
        raise AssetError(f"{file} is not named <shape><number>-<texture><number>.png with the sixteen categories")
    return CATEGORIES.index(found[1]), CATEGORIES.index(found[2])


def decisions(logits: Tensor, groups: Sequence[Sequence[int]]) -> Tensor:
    """Category of every image: the one whose classes have the largest *mean* probability; int64 (N,)."""
    probability = logits.double().softmax(1)
    score = torch.stack([probability[:, list(group)].mean(1) for group in groups], dim=1)
    return score.argmax(1)


def shape_bias(decided: Tensor, shape: Tensor, texture: Tensor) -> dict[str, float]:
    """``shape_bias``: share of shape decisions among those for shape or texture; ``decided``: share of either.

    Percent; images whose shape and texture agree are left out. A bias of nothing decided is 0.
    """
    conflict = shape != texture
    by_shape = int((decided == shape)[conflict].sum())
    by_texture = int((decided == texture)[conflict].sum())
    both = by_shape + by_texture
    return {
        "shape_bias": 100 * by_shape / both if both else 0.0,
        "decided": 100 * both / max(1, int(conflict.sum())),
    }
