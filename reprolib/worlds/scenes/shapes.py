"""The nine object shapes of Scenes as signed distances: negative inside, in units of the object's frame.

The frame is about [-1, 1], x to the right, y down. Every function takes points, two tensors of equal shape, and
returns distances of that shape; pixels of many images are points like any others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


def union(*parts: Tensor) -> Tensor:
    return torch.stack(parts).amin(0)


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
