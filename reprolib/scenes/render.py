"""The renderer of Scenes: (u, labels of shape, texture and background) -> image, and the truth behind it.

u is the latent of the generative models; its first PARAMETERS numbers, through the normal distribution function, are
pose, phases, colours and light. An image therefore is a function of (u, y), as it is for a GAN, and the same scene
can be rendered with another shape, texture or background.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from reprolib.scenes import shapes, surfaces

VERSION = 2
"""Raised when a scene of the same (u, y) looks different."""
CLASSES = ("fish", "mushroom", "starfish", "leaf", "butterfly", "house", "cactus", "jug", "moon")
SIZE = 64
PARAMETERS = 13
"""x, y, scale, rotation, 2 x texture phase, 2 x background phase, 2 colour shifts, light angle, light, spare."""
_DEVIATION = 0.8796
"""Standard deviation of the normal numbers truncated to [-2, 2] that the generative models get."""


class Scene(NamedTuple):
    """Everything in float32; colours in [-1, 1], mask in [0, 1] with edges a pixel wide."""

    image: Tensor
    """(B, 3, SIZE, SIZE): mask * texture + (1 - mask) * background."""
    mask: Tensor
    """(B, 1, SIZE, SIZE)."""
    texture: Tensor
    """The texture all over the picture."""
    background: Tensor


def render(u: Tensor, shape: Tensor, texture: Tensor, background: Tensor, size: int = SIZE) -> Scene:
    """Render scenes.

    u: (B, at least PARAMETERS), normal numbers. shape, texture, background: class ids, int64 (B,); equal for an
    ordinary scene, different for a counterfactual one.
    """
    number = torch.special.ndtr(u[:, :PARAMETERS].double() / _DEVIATION).float().clamp(0.02, 0.98)
    axis = (torch.arange(size) + 0.5) / size * 2 - 1
    y, x = (grid.expand(len(u), -1, -1) for grid in torch.meshgrid(axis, axis, indexing="ij"))
    ox, oy, scale = _object_frame(x, y, number)
    distance = _by_class(shapes.SHAPES, shape, ox, oy) * scale[:, None, None]
    mask = (0.5 - distance * size / 2).clamp(0, 1)[:, None]
    near, far = _phase(number[:, 4:6]), _phase(number[:, 6:8])
    surface = _paint(surfaces.TEXTURES, surfaces.TEXTURE_COLOURS, texture, ox, oy, near, number[:, 8])
    ground = _paint(surfaces.BACKGROUNDS, surfaces.BACKGROUND_COLOURS, background, x, y, far, number[:, 9])
    lit = (surface * _light(ox, oy, number)).clamp(0, 1) * 2 - 1
    ground = ground * 2 - 1
    return Scene(mask * lit + (1 - mask) * ground, mask, lit, ground)


def _object_frame(x: Tensor, y: Tensor, number: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Coordinates of the pixels in the frame of each object, and its scale."""
    cx, cy = 0.26 * (number[:, 0] - 0.5), 0.26 * (number[:, 1] - 0.5)
    scale = 0.88 + 0.27 * number[:, 2]
    angle = 0.7 * (number[:, 3] - 0.5)
    dx, dy = x - cx[:, None, None], y - cy[:, None, None]
    c, s = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
    size = scale[:, None, None]
    return (c * dx + s * dy) / size, (c * dy - s * dx) / size, scale


def _phase(number: Tensor) -> Tensor:
    """Shift of a pattern, at most a seventh of a period: what a small generator can still learn to draw sharply."""
    return 0.28 * (number - 0.5)


def _light(x: Tensor, y: Tensor, number: Tensor) -> Tensor:
    """Brightness over the object: a gentle slope in a random direction."""
    angle = 2 * torch.pi * number[:, 10]
    slope = torch.cos(angle)[:, None, None] * x + torch.sin(angle)[:, None, None] * y
    return (1 + (0.1 + 0.2 * number[:, 11])[:, None, None] * slope)[:, None]


def _by_class(functions: tuple, label: Tensor, *arguments: Tensor) -> Tensor:
    """Evaluate for every image the function of its class; one call per class that occurs."""
    result = torch.empty_like(arguments[0])
    for number in label.unique().tolist():
        chosen = label == number
        result[chosen] = functions[number](*(argument[chosen] for argument in arguments))
    return result


def _paint(
    functions: tuple, colours: tuple, label: Tensor, x: Tensor, y: Tensor, phase: Tensor, shift: Tensor
) -> Tensor:
    """(B, 3, H, W) in [0, 1]: a blend of the two colours of the class, which ``shift`` moves a little."""
    weight = _by_class(functions, label, x, y, phase).clamp(0, 1)[:, None]
    low, high = torch.tensor(colours)[label].unbind(1)
    turn = 0.16 * (shift[:, None] - 0.5) * torch.tensor([1.0, 0.3, -1.0])
    low, high = ((c + turn)[:, :, None, None] for c in (low, high))
    return (low + weight * (high - low)).clamp(0, 1)
