"""The renderer of Scenes: (u, labels of shape, texture and background) -> image, and the truth behind it; and the data
sets it gives, for training, and those of the real protocols (docs/imagenet.md, 10.2 and 10.3).

u is the latent of the generative models; its first PARAMETERS numbers, through the normal distribution function, are
pose, phases, colours and light. An image therefore is a function of (u, y), as it is for a GAN, and the same scene
can be rendered with another shape, texture or background.

Real scenes are wild ones whose texture and background are those of the shape's class only mostly, as in ImageNet; posed
scenes are what the generative models know. Scene i of a set is a function of (set, seed, i) alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reprolib.natural import biggan
from reprolib.run import rng
from reprolib.worlds.appearance import BACKGROUNDS, SHAPES, STRANGERS, TEXTURES, Surface

VERSION = 2
"""Raised when a posed scene of the same (u, y) looks different."""
WILD_VERSION = 1
"""Raised when a set of wild scenes looks different."""
CLASSES = ("fish", "mushroom", "starfish", "leaf", "butterfly", "house", "cactus", "jug", "moon")
SIZE = 64
PARAMETERS = 13
"""x, y, scale, rotation, 2 x texture phase, 2 x background phase, 2 colour shifts, light angle, light, spare."""
WILD = 15
"""Further numbers of u that only a scene in the wild uses: x, y, scale, darkness of the scene and of its object, and
for each of two pieces of clutter x, y, scale, shape, texture."""
_DEVIATION = 0.8796
"""Standard deviation of the normal numbers truncated to [-2, 2] that the generative models get."""
FURTHEST, SMALLEST, DARKEST = 0.4, 0.6, 0.35
"""In the wild: shift of an object from the middle, its scale and its brightness, relative to a posed one."""


class Scene(NamedTuple):
    """Everything in float32; colours in [-1, 1], mask in [0, 1] with edges a pixel wide."""

    image: Tensor
    """(B, 3, SIZE, SIZE): mask * texture + (1 - mask) * background."""
    mask: Tensor
    """(B, 1, SIZE, SIZE)."""
    texture: Tensor
    """The texture all over the picture."""
    background: Tensor


def render(u: Tensor, shape: Tensor, texture: Tensor, background: Tensor, *, wild: bool = False) -> Scene:
    """Render scenes.

    u: (B, at least PARAMETERS, or with ``wild`` WILD more), normal numbers. shape, texture, background: class ids,
    int64 (B,); equal for an ordinary scene, different for a counterfactual one; a shape may also be a stranger, from
    len(CLASSES) on. wild: as real scenes are, with objects that may be small, cut off or dark, and clutter in the
    background; else posed, as the generative models know them.
    """
    number = torch.special.ndtr(u[:, : PARAMETERS + WILD].double() / _DEVIATION).float().clamp(0.02, 0.98)
    axis = (torch.arange(SIZE) + 0.5) / SIZE * 2 - 1
    y, x = (grid.expand(len(u), -1, -1) for grid in torch.meshgrid(axis, axis, indexing="ij"))
    ox, oy, scale = _object_frame(x, y, number, wild)
    mask = _mask(shape, ox, oy, scale)
    # shifts of the patterns, at most a seventh of a period: what a small generator can still learn to draw sharply
    near, far = (0.28 * (number[:, 4:8] - 0.5)).split(2, dim=1)
    surface = _paint(TEXTURES, texture, ox, oy, near, number[:, 8])
    ground = _paint(BACKGROUNDS, background, x, y, far, number[:, 9])
    lit = (surface * _light(ox, oy, number)).clamp(0, 1)
    if wild:
        extra = number[:, PARAMETERS:]
        for piece in (extra[:, 5:10], extra[:, 10:]):
            ground = _cluttered(ground, x, y, piece)
        dark, darker = (DARKEST + (1 - DARKEST) * extra[:, 3:5]).sqrt()[..., None, None, None].unbind(1)
        lit, ground = lit * dark * darker, ground * dark
    lit, ground = lit * 2 - 1, ground * 2 - 1
    return Scene(mask * lit + (1 - mask) * ground, mask, lit, ground)


def _object_frame(x: Tensor, y: Tensor, number: Tensor, wild: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Coordinates of the pixels in the frame of each object, and its scale."""
    cx, cy = 0.26 * (number[:, :2] - 0.5).T
    scale = 0.88 + 0.27 * number[:, 2]
    if wild:
        away_x, away_y, small = number[:, PARAMETERS : PARAMETERS + 3].T
        cx, cy = cx + FURTHEST * (2 * away_x - 1), cy + FURTHEST * (2 * away_y - 1)
        scale = scale * (SMALLEST + (1 - SMALLEST) * small)
    angle = 0.7 * (number[:, 3] - 0.5)
    dx, dy = x - cx[:, None, None], y - cy[:, None, None]
    c, s = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
    size = scale[:, None, None]
    return (c * dx + s * dy) / size, (c * dy - s * dx) / size, scale


def _mask(shape: Tensor, x: Tensor, y: Tensor, scale: Tensor) -> Tensor:
    """(B, 1, H, W) in [0, 1]: 1 inside of a shape in its frame of that scale, with an edge a pixel wide."""
    distance = _by_class((*SHAPES, *STRANGERS), shape, x, y) * scale[:, None, None]
    return (0.5 - distance * x.shape[-1] / 2).clamp(0, 1)[:, None]


def _cluttered(ground: Tensor, x: Tensor, y: Tensor, number: Tensor) -> Tensor:
    """A ground (B, 3, H, W) in [0, 1] with a small stranger on it, which has the texture of a random class."""
    cx, cy, scale = 2 * number[:, 0] - 1, 2 * number[:, 1] - 1, 0.2 + 0.3 * number[:, 2]
    ox, oy = ((grid - centre[:, None, None]) / scale[:, None, None] for grid, centre in ((x, cx), (y, cy)))
    kind, texture = ((1.04 * number[:, column] - 0.02) for column in (3, 4))
    mask = _mask(len(CLASSES) + (kind * len(STRANGERS)).long(), ox, oy, scale)
    still = torch.zeros_like(number[:, :2])
    label = (texture * len(CLASSES)).long()
    surface = _paint(TEXTURES, label, ox, oy, still, still[:, 0] + 0.5)
    return torch.lerp(ground, surface, mask)


def _light(x: Tensor, y: Tensor, number: Tensor) -> Tensor:
    """Brightness over the object: a gentle slope in a random direction."""
    angle = 2 * torch.pi * number[:, 10]
    slope = torch.cos(angle)[:, None, None] * x + torch.sin(angle)[:, None, None] * y
    return (1 + (0.1 + 0.2 * number[:, 11])[:, None, None] * slope)[:, None]


def _by_class(functions: Sequence[Callable[..., Tensor]], label: Tensor, *arguments: Tensor) -> Tensor:
    """Evaluate for every image the function of its class; one call per class that occurs."""
    result = torch.empty_like(arguments[0])
    for number in label.unique().tolist():
        chosen = label == number
        result[chosen] = functions[number](*(argument[chosen] for argument in arguments))
    return result


def _paint(surfaces: tuple[Surface, ...], label: Tensor, x: Tensor, y: Tensor, phase: Tensor, shift: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 1]: a blend of the two colours of the class, which ``shift`` moves a little."""
    weight = _by_class([blend for blend, _, _ in surfaces], label, x, y, phase).clamp(0, 1)[:, None]
    low, high = torch.tensor([colours for _, *colours in surfaces])[label].unbind(1)
    turn = 0.16 * (shift[:, None] - 0.5) * torch.tensor([1.0, 0.3, -1.0])
    low, high = ((c + turn)[:, :, None, None] for c in (low, high))
    return (low + weight * (high - low)).clamp(0, 1)


# ---------------------------------------------------------------- data sets

LATENT = 64
BATCH = 500
AGREEMENT = 0.9
"""How often a factor of a real scene is drawn with the class of its shape; else it is that of any class."""
Attributes = Literal["mostly", "random"]
Labelled = tuple[Tensor, Tensor]
"""Images (N, 3, 64, 64) in [-1, 1], and their classes, int64."""


def classes(index: Tensor, key: rng.Key, attributes: Attributes) -> Tensor:
    """Classes of shape, texture and background, int64 (N, 3): in agreement ``mostly``, or independent."""
    drawn = rng.uniform(key, index, 5)
    labels = (drawn[:, :3] * len(CLASSES)).long()
    if attributes == "mostly":
        labels[:, 1:] = torch.where(drawn[:, 3:] < AGREEMENT, labels[:, :1], labels[:, 1:])
    return labels


def scenes(count: int, key: rng.Key, attributes: Attributes = "mostly", wild: bool = True) -> tuple[Scene, Tensor]:
    """(scenes with their truth, labels (N, 3)).

    attributes: ``mostly`` are real scenes; with ``random`` all three factors are independent: those are the true
    counterfactuals, and posed ones train and test the readers of single factors.
    """
    index = torch.arange(count)
    u, labels = biggan.noise(index, LATENT, 1.0, ("scene", *key)), classes(index, ("scene classes", *key), attributes)
    return _rendered(u, labels, wild), labels


@lru_cache(maxsize=4)
def labelled(count: int, key: rng.Key, attributes: Attributes = "mostly", wild: bool = True) -> Labelled:
    """Images of ``scenes`` and their labels (N, 3); the last few sets are kept, because every evaluation asks again."""
    scene, labels = scenes(count, key, attributes, wild)
    return scene.image, labels


_test_scenes = lru_cache(maxsize=1)(scenes)
"""The same for three test sets."""


@lru_cache(maxsize=3)
def challenge(name: str, count: int) -> Labelled:
    """A set of the backgrounds challenge, labels: classes of the shape (N,); the objects of all three are the same.

    ``original``: real scenes. ``mixed_same``: each object before the background of another scene of its class.
    ``mixed_rand``: before the background of a scene of a random class.
    """
    scene, labels = _test_scenes(count, ("test", 0))
    shape, index = labels[:, 0], torch.arange(count)
    if name == "original":
        return scene.image, shape
    other = biggan.noise(index, LATENT, 1.0, ("other background", "test", 0))
    ground = shape if name == "mixed_same" else rng.classes(("other class", "test", 0), index, len(CLASSES))
    backgrounds = _rendered(other, ground[:, None].expand(-1, 3), wild=True).background
    return scene.mask * scene.texture + (1 - scene.mask) * backgrounds, shape


@lru_cache(maxsize=1)
def cue_conflict(count: int) -> Labelled:
    """The shape of one class with the texture of another, labels (N, 2), posed, before plain grey, so that nothing else
    gives the class away."""
    index = torch.arange(count)
    u = biggan.noise(index, LATENT, 1.0, ("conflict", "test", 0))
    shape = rng.classes(("conflict shape", "test", 0), index, len(CLASSES))
    step = 1 + rng.classes(("conflict texture", "test", 0), index, len(CLASSES) - 1)
    texture = (shape + step) % len(CLASSES)  # any class but that of the shape
    scene = _rendered(u, torch.stack([shape, texture, shape], dim=1), wild=False)
    return scene.mask * scene.texture, torch.stack([shape, texture], dim=1)  # grey is 0


@torch.inference_mode()
def adversarial(count: int, classifier: nn.Module) -> Labelled:
    """Scenes with independent factors whose shape, the label (N,), a plain classifier gets wrong, as ImageNet-A was
    collected: the first ``count`` of twice as many, or fewer if it is too good."""
    images, labels = labelled(2 * count, ("adversarial",), "random")
    read = torch.cat([classifier(batch).argmax(1) for batch in images.split(BATCH)])
    wrong = (read != labels[:, 0]).nonzero()[:count, 0]
    return images[wrong], labels[wrong, 0]


def sketches(count: int) -> Labelled:
    """The dark outline of each object on white, as in ImageNet-Sketch; labels: classes of the shape (N,)."""
    scene, labels = scenes(count, ("sketch",))
    inside = -F.max_pool2d(-scene.mask, 3, stride=1, padding=1)
    outline = F.max_pool2d(scene.mask, 3, stride=1, padding=1) - inside
    return (1 - 2 * outline).expand(-1, 3, -1, -1).contiguous(), labels[:, 0]


def _rendered(u: Tensor, labels: Tensor, wild: bool) -> Scene:
    """Scenes of the labels (N, 3), in batches that fit into memory."""
    batches = zip(u.split(BATCH), labels.split(BATCH), strict=True)
    scenes = [render(latents, *classes.unbind(1), wild=wild) for latents, classes in batches]
    return Scene(*(torch.cat(each) for each in zip(*scenes, strict=True)))
