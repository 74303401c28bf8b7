"""What the nine classes of Scenes look like: shapes, and textures and backgrounds, which are surfaces.

A shape is a signed distance: negative inside, in units of the object's frame, about [-1, 1], x to the right, y down. It
takes points, two tensors of equal shape, and returns distances of that shape; pixels of many images are points like any
others.

A surface is a function (x, y, phase) -> weights in [0, 1], and the two colours that they blend: x and y are coordinates
in the frame of the object (textures) or of the picture (backgrounds); phase, two numbers around 0 per image, shifts the
pattern.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import cos, pi, sin

import torch
from torch import Tensor

from reprolib.run import rng

Point = Sequence[float]


def circle(x: Tensor, y: Tensor, center: Point, radius: float) -> Tensor:
    return torch.hypot(x - center[0], y - center[1]) - radius


def ellipse(x: Tensor, y: Tensor, center: Point, radii: Point, angle: float = 0.0) -> Tensor:
    """A distance bound that is exact on the outline, which is all that a soft edge needs."""
    u, v = x - center[0], y - center[1]
    a, b = (cos(angle) * u + sin(angle) * v) / radii[0], (cos(angle) * v - sin(angle) * u) / radii[1]
    norm = torch.hypot(a, b)
    slope = torch.hypot(a / radii[0], b / radii[1])
    return norm * (norm - 1) / slope.clamp(min=1e-6)


def segment(x: Tensor, y: Tensor, start: Point, end: Point, radius: float) -> Tensor:
    """A line with round ends."""
    u, v = end[0] - start[0], end[1] - start[1]
    along = (((x - start[0]) * u + (y - start[1]) * v) / (u * u + v * v)).clamp(0, 1)
    return torch.hypot(x - start[0] - along * u, y - start[1] - along * v) - radius


def polygon(x: Tensor, y: Tensor, corners: Sequence[Point]) -> Tensor:
    """A closed polygon: distance to the nearest edge, with the sign of the crossing number."""
    nearest = torch.full_like(x, torch.inf)
    inside = torch.zeros_like(x, dtype=torch.bool)
    for start, end in zip(corners, [*corners[1:], corners[0]], strict=True):
        nearest = torch.minimum(nearest, segment(x, y, start, end, 0.0))
        if start[1] != end[1]:
            crosses = (y < start[1]) != (y < end[1])
            inside ^= crosses & (x < start[0] + (y - start[1]) * (end[0] - start[0]) / (end[1] - start[1]))
    return torch.where(inside, -nearest, nearest)


def union(*distances: Tensor) -> Tensor:
    return torch.stack(distances).amin(0)


def fish(x: Tensor, y: Tensor) -> Tensor:
    body = ellipse(x, y, (0.12, 0.0), (0.62, 0.36))
    tail = polygon(x, y, [(-0.35, 0.0), (-0.8, -0.38), (-0.66, 0.0), (-0.8, 0.38)])
    fin = polygon(x, y, [(-0.15, -0.25), (0.0, -0.58), (0.35, -0.25)])
    return union(body, tail, fin)


def mushroom(x: Tensor, y: Tensor) -> Tensor:
    cap = torch.maximum(ellipse(x, y, (0.0, 0.0), (0.72, 0.62)), y - 0.08)
    stem = polygon(x, y, [(-0.16, 0.0), (0.16, 0.0), (0.24, 0.66), (-0.24, 0.66)])
    return union(cap, stem)


def star(x: Tensor, y: Tensor) -> Tensor:
    corners = [((0.74 if i % 2 == 0 else 0.33) * sin(pi * i / 5), (-0.74 if i % 2 == 0 else -0.33) * cos(pi * i / 5))
               for i in range(10)]  # fmt: skip
    return polygon(x, y, corners) - 0.04


def leaf(x: Tensor, y: Tensor) -> Tensor:
    blade = torch.maximum(circle(x, y, (-0.38, -0.1), 0.74), circle(x, y, (0.38, -0.1), 0.74))
    return union(blade, segment(x, y, (0.0, 0.4), (0.0, 0.74), 0.05))


def butterfly(x: Tensor, y: Tensor) -> Tensor:
    wings = [
        ellipse(x.abs(), y, (0.38, -0.24), (0.4, 0.3), -0.6),
        ellipse(x.abs(), y, (0.3, 0.3), (0.3, 0.25), 0.6),
    ]
    return union(*wings, segment(x, y, (0.0, -0.4), (0.0, 0.45), 0.07))


def house(x: Tensor, y: Tensor) -> Tensor:
    walls = polygon(x, y, [(-0.46, -0.08), (0.46, -0.08), (0.46, 0.6), (-0.46, 0.6)])
    roof = polygon(x, y, [(-0.64, -0.06), (0.0, -0.68), (0.64, -0.06)])
    chimney = polygon(x, y, [(0.26, -0.66), (0.42, -0.66), (0.42, -0.2), (0.26, -0.2)])
    return union(walls, roof, chimney)


def cactus(x: Tensor, y: Tensor) -> Tensor:
    trunk = segment(x, y, (0.0, -0.52), (0.0, 0.62), 0.17)
    left = union(segment(x, y, (0.0, 0.2), (-0.44, 0.2), 0.1), segment(x, y, (-0.44, 0.2), (-0.44, -0.18), 0.1))
    right = union(segment(x, y, (0.0, 0.02), (0.44, 0.02), 0.1), segment(x, y, (0.44, 0.02), (0.44, -0.36), 0.1))
    return union(trunk, left, right)


def jug(x: Tensor, y: Tensor) -> Tensor:
    profile = [(-0.22, -0.62), (0.22, -0.62), (0.16, -0.36), (0.4, 0.02), (0.36, 0.42), (0.22, 0.64)]
    body = polygon(x, y, [*profile, *[(-a, b) for a, b in reversed(profile[2:])]])
    handle = (circle(x, y, (0.36, -0.2), 0.26)).abs() - 0.07
    return union(body, handle)


def moon(x: Tensor, y: Tensor) -> Tensor:
    return torch.maximum(circle(x, y, (0.0, 0.0), 0.68), -circle(x, y, (0.36, -0.1), 0.52))


SHAPES = (fish, mushroom, star, leaf, butterfly, house, cactus, jug, moon)


def _stranger(number: int) -> Callable[[Tensor, Tensor], Tensor]:
    """A shape of no class: a chain of four thick lines through random points."""
    index = torch.tensor([number])
    points = (rng.uniform(("stranger",), index, 10).view(5, 2) - 0.5).tolist()
    radii = (0.06 + 0.24 * rng.uniform(("stranger radii",), index, 4)[0]).tolist()

    def shape(x: Tensor, y: Tensor) -> Tensor:
        lines = zip(points[:-1], points[1:], radii, strict=True)
        return union(*(segment(x, y, start, end, radius) for start, end, radius in lines))

    return shape


STRANGERS = tuple(_stranger(number) for number in range(300))
"""Objects that no class has: clutter, and what the saliency net learns from."""


# ---------------------------------------------------------------- surfaces


def _wave(t: Tensor) -> Tensor:
    """A sine with values in [0, 1] and period 1."""
    return 0.5 + 0.5 * torch.sin(2 * pi * t)


def _soft(t: Tensor, sharpness: float) -> Tensor:
    """A smooth step from 0 to 1 at t = 0."""
    return torch.sigmoid(sharpness * t)


def _hash(column: Tensor, row: Tensor, number: float) -> Tensor:
    """Pseudo-random numbers in [0, 1) of grid cells."""
    return torch.frac(torch.frac(torch.sin(column * 12.9898 + row * 78.233 + number) * 43758.5453) + 1)


def _dots(x: Tensor, y: Tensor, phase: Tensor, cells: float, radius: float, jitter: float) -> Tensor:
    """Round dots, one per cell of a grid that is shifted by phase; 1 inside."""
    u, v = x * cells + phase[..., 0:1, None], y * cells + phase[..., 1:2, None]
    column, row = torch.floor(u), torch.floor(v)
    dx = u - column - 0.5 - jitter * (_hash(column, row, 1.0) - 0.5)
    dy = v - row - 0.5 - jitter * (_hash(column, row, 2.0) - 0.5)
    return _soft(radius - torch.hypot(dx, dy), 18)


spots = partial(_dots, cells=2.0, radius=0.3, jitter=0.2)
bumps = partial(_dots, cells=3.2, radius=0.3, jitter=0.3)
soil = partial(_dots, cells=2.4, radius=0.38, jitter=0.6)


def scales(x: Tensor, y: Tensor, phase: Tensor) -> Tensor:
    u, v = x * 2 + phase[..., 0:1, None], y * 2.6 + phase[..., 1:2, None]
    row = torch.floor(v)
    across = torch.frac(u + 0.5 * (row % 2) + 8) - 0.5
    rim = torch.hypot(across * 1.3, v - row - 0.1)
    return 1 - torch.exp(-(((rim - 0.62) / 0.13) ** 2))


def veins(x: Tensor, y: Tensor, phase: Tensor) -> Tensor:
    branch = torch.frac((y + 0.9 * x.abs()) * 2.2 + phase[..., 0:1, None] + 8)
    side = 1 - torch.exp(-(((branch - 0.5) / 0.1) ** 2))
    middle = 1 - torch.exp(-((x / 0.06) ** 2))
    return torch.minimum(side, middle)


def rings(x: Tensor, y: Tensor, phase: Tensor) -> Tensor:
    return _soft(_wave(torch.hypot(x.abs() - 0.35, y) * 2.6 + phase[..., 0:1, None]) - 0.5, 7)


def bricks(x: Tensor, y: Tensor, phase: Tensor) -> Tensor:
    u, v = x * 1.6 + phase[..., 0:1, None], y * 3.2 + phase[..., 1:2, None]
    row = torch.floor(v)
    across, up = torch.frac(u + 0.5 * (row % 2) + 8), v - row
    joint = torch.minimum(torch.minimum(across, 1 - across) * 2.1, torch.minimum(up, 1 - up))
    return _soft(joint - 0.12, 30)


def stripes(x: Tensor, y: Tensor, phase: Tensor) -> Tensor:
    return _soft(_wave(x * 2.6 + phase[..., 0:1, None]) - 0.5, 8)


def zigzag(x: Tensor, y: Tensor, phase: Tensor) -> Tensor:
    fold = (torch.frac(x * 1.5 + phase[..., 0:1, None] + 8) - 0.5).abs()
    return _soft(_wave(y * 2 + fold * 1.6 + phase[..., 1:2, None]) - 0.5, 9)


def craters(x: Tensor, y: Tensor, phase: Tensor) -> Tensor:
    large = _dots(x, y, phase, 1.6, 0.34, 0.4)
    return 1 - torch.maximum(large, _dots(x, y, phase, 3.0, 0.2, 0.6))


def water(x: Tensor, y: Tensor, phase: Tensor) -> Tensor:
    ripple = y * 2.5 + 0.18 * torch.sin(2 * pi * (x * 1.2 + phase[..., 0:1, None])) + phase[..., 1:2, None]
    return 0.25 * (1 - y) + 0.55 * _wave(ripple) ** 2


def forest(x: Tensor, y: Tensor, phase: Tensor) -> Tensor:
    u = x * 2.2 + phase[..., 0:1, None] + 0.06 * torch.sin(5 * y)
    trunk = torch.frac(u + 8) - 0.5
    return 1 - torch.exp(-((trunk / (0.13 + 0.07 * _hash(torch.floor(u), torch.zeros_like(u), 3.0))) ** 4))


def sand(x: Tensor, y: Tensor, phase: Tensor) -> Tensor:
    bend = 0.25 * torch.sin(2 * pi * (0.6 * x + phase[..., 0:1, None]))
    return 0.2 + 0.7 * _wave(2.2 * (y + 0.5 * x + bend * 0.4) + phase[..., 1:2, None])


def meadow(x: Tensor, y: Tensor, phase: Tensor) -> Tensor:
    blades = 0.35 * _wave(3 * x + 2 * torch.sin(3 * y) + phase[..., 1:2, None])
    return torch.maximum(blades, _dots(x, y, phase, 2.0, 0.22, 0.6))


def hills(x: Tensor, y: Tensor, phase: Tensor) -> Tensor:
    near = 0.28 + 0.16 * torch.sin(2 * pi * (0.5 * x + phase[..., 0:1, None]))
    far = -0.02 + 0.2 * torch.sin(2 * pi * (0.4 * x + phase[..., 1:2, None]) + 1)
    return 0.55 * _soft(y - far, 20) + 0.45 * _soft(y - near, 20)


def dunes(x: Tensor, y: Tensor, phase: Tensor) -> Tensor:
    total = torch.zeros_like(x)
    for number, level in enumerate((-0.35, 0.1, 0.55)):
        shift = phase[..., number % 2, None, None]
        crest = level + 0.14 * torch.sin(2 * pi * (0.45 * x + shift) + 2 * number)
        total = total + _soft(y - crest, 25) / 3
    return total


def tiles(x: Tensor, y: Tensor, phase: Tensor) -> Tensor:
    u, v = x * 1.2 + phase[..., 0:1, None], y * 1.2 + phase[..., 1:2, None]
    return _soft(torch.sin(2 * pi * u) * torch.sin(2 * pi * v), 9)


def night(x: Tensor, y: Tensor, phase: Tensor) -> Tensor:
    return torch.maximum(0.25 * (1 + y) / 2, _dots(x, y, phase, 2.4, 0.16, 0.7))


Colour = tuple[float, float, float]
Surface = tuple[Callable[[Tensor, Tensor, Tensor], Tensor], Colour, Colour]
TEXTURES: tuple[Surface, ...] = (
    (scales, (0.35, 0.12, 0.05), (1.0, 0.55, 0.15)),
    (spots, (0.80, 0.08, 0.10), (1.0, 0.96, 0.88)),
    (bumps, (0.95, 0.45, 0.35), (0.60, 0.15, 0.25)),
    (veins, (0.80, 0.95, 0.45), (0.15, 0.50, 0.15)),
    (rings, (0.15, 0.10, 0.35), (0.55, 0.65, 1.0)),
    (bricks, (0.88, 0.85, 0.80), (0.70, 0.25, 0.18)),
    (stripes, (0.05, 0.35, 0.18), (0.50, 0.80, 0.40)),
    (zigzag, (0.10, 0.20, 0.55), (0.97, 0.95, 0.90)),
    (craters, (0.52, 0.50, 0.45), (0.97, 0.93, 0.72)),
)
BACKGROUNDS: tuple[Surface, ...] = (
    (water, (0.02, 0.25, 0.50), (0.55, 0.85, 0.95)),
    (forest, (0.16, 0.10, 0.06), (0.45, 0.55, 0.30)),
    (sand, (0.78, 0.65, 0.42), (0.97, 0.90, 0.70)),
    (soil, (0.20, 0.12, 0.08), (0.50, 0.34, 0.22)),
    (meadow, (0.25, 0.60, 0.20), (1.0, 0.90, 0.55)),
    (hills, (0.62, 0.84, 0.98), (0.30, 0.52, 0.25)),
    (dunes, (0.99, 0.86, 0.66), (0.80, 0.45, 0.22)),
    (tiles, (0.72, 0.80, 0.82), (0.93, 0.92, 0.88)),
    (night, (0.03, 0.03, 0.15), (0.95, 0.95, 0.80)),
)
