"""The textures of Wildlife MNIST: the authors' twenty DTD pictures, or procedural stripes and veins.

Both come as one uint8 tensor of ten classes, (10, 3, 156, 156): 150x150 pixels with 3 pixels of reflection on every
side, ready for random 32x32 crops (docs/mnist.md, section 2.4).
"""

from __future__ import annotations

from colorsys import hsv_to_rgb
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from PIL import Image
from torch import Tensor

from reprolib.run import assets, rng

Textures = Literal["dtd", "procedural"]
SIDE, BORDER = 150, 3


@lru_cache(maxsize=2)
def load(source: Textures) -> tuple[Tensor, Tensor]:
    """(object, background) textures, uint8, (10, 3, 156, 156) each. Raises AssetError if a DTD file is missing."""
    if source == "dtd":
        return _dtd("object"), _dtd("background")
    return _stack([_stripes(i) for i in range(10)]), _stack([_veins(i) for i in range(10)])


def _stack(pictures: list[np.ndarray]) -> Tensor:
    padded = [np.pad(picture, ((BORDER, BORDER), (BORDER, BORDER), (0, 0)), mode="reflect") for picture in pictures]
    return torch.from_numpy(np.stack(padded)).permute(0, 3, 1, 2).contiguous()


def _dtd(kind: str) -> Tensor:
    """File order is class order: the names start with the class."""
    names = sorted(asset.name for asset in assets.group("textures") if asset.name.startswith(f"textures/{kind}/"))
    pictures = []
    for name in names:
        with Image.open(assets.path(name)) as picture:
            resized = picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.NEAREST)
            pictures.append(np.asarray(resized))
    return _stack(pictures)


def _mix(weight: np.ndarray, low: ArrayLike, high: ArrayLike) -> np.ndarray:
    """uint8 picture that blends two colours, RGB in 0..1, by a weight in 0..1."""
    blended = np.asarray(low) + weight[..., None] * np.subtract(high, low)
    return (255 * blended + 0.5).astype(np.uint8)


def _waves(name: str, count: int, cycles: tuple[float, float]) -> np.ndarray:
    """A smooth random field on the SIDE x SIDE grid: a sum of ``count`` sine waves, zero mean, unit variance."""
    numbers = rng.uniform((name,), torch.arange(count), 2).numpy()
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    field = np.zeros((SIDE, SIDE))
    for angle, size in numbers:
        frequency = cycles[0] + (cycles[1] - cycles[0]) * size
        direction = 2 * np.pi * angle
        field += np.sin(2 * np.pi * frequency * (x * np.cos(direction) + y * np.sin(direction)) + 40 * (angle + size))
    return (field - field.mean()) / field.std()


def _stripes(index: int) -> np.ndarray:
    """Stripes in two tones of one hue; direction and width belong to the class."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    angle, cycles = np.pi * index / 10, 12 + 2 * (index % 4)
    bend = 0.06 * _waves(f"stripes {index}", 3, (1.0, 2.0))
    wave = np.sin(2 * np.pi * cycles * (x * np.cos(angle) + y * np.sin(angle) + bend / 6))
    weight = 1 / (1 + np.exp(-4 * wave))
    return _mix(weight, hsv_to_rgb(index / 10, 0.9, 0.25), hsv_to_rgb(index / 10 + 0.04, 0.55, 1.0))


def _veins(index: int) -> np.ndarray:
    """Bright veins where a smooth field crosses zero, on a dull leaf colour of the class."""
    field = _waves(f"veins {index}", 12, (3.0, 7.0))
    weight = np.exp(-((field / 0.18) ** 2))
    shade = 0.85 + 0.05 * _waves(f"shade {index}", 4, (1.0, 3.0)).clip(-3, 3)
    leaf = np.multiply(hsv_to_rgb((index + 5) / 10, 0.35, 0.45), shade[..., None].clip(0, 1))
    return _mix(weight * 0.9, leaf, hsv_to_rgb((index + 5) / 10 + 0.05, 0.2, 0.95))
