"""The three MNIST variants, painted as whole tensors (docs/mnist.md, section 2).

In training, colour and texture are a function of the label; in the out-of-domain test set they are random; shape is
always the digit. A variant is a *rule*: grey digits, two attribute indices and one row of uniform numbers per image
go in, a normalised image and the true digit mask come out. Rows of numbers depend on (seed, split, epoch, index)
only, so neither order nor batch size nor workers change an image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from reprolib.mnist import textures as texture_files
from reprolib.mnist.digits import Digits
from reprolib.mnist.textures import Textures
from reprolib.run import rng

SIZE = 32
Attributes = Literal["label", "random"]

COLORS = torch.tensor(
    [
        [220, 20, 60], [0, 128, 128], [253, 233, 16], [0, 149, 182], [237, 145, 33],
        [145, 30, 188], [70, 240, 240], [250, 197, 187], [210, 245, 60], [128, 0, 0],
    ],
    dtype=torch.float64,
)  # fmt: skip
"""Mean colour of each digit in Colored MNIST, 0..255 RGB (Kim et al., CVPR 2019; docs/mnist.md, section 2.2)."""

BACKGROUND_COLORS = torch.tensor(
    [
        [0x00, 0x64, 0x00], [0x00, 0x00, 0x8B], [0xB0, 0x30, 0x60], [0xFF, 0x45, 0x00], [0xFF, 0xFF, 0x00],
        [0xDE, 0xB8, 0x87], [0x00, 0xFF, 0x00], [0x00, 0xFF, 0xFF], [0xFF, 0x00, 0xFF], [0x64, 0x95, 0xED],
    ],
    dtype=torch.float64,
)  # fmt: skip
"""Background of each digit in Double-colored MNIST, 0..255 RGB (docs/mnist.md, section 2.3)."""

OBJECT_COLORS = BACKGROUND_COLORS.roll(6, dims=0)
"""Digit colour: object[i] = background[i - 6]."""


@dataclass(frozen=True)
class Images:
    """Images, painted or generated, with what each factor shows or should show."""

    images: Tensor
    """float32, (N, 3, 32, 32), nominally in [-1, 1]."""
    labels: Tensor
    """int64, (N,): the digit, which is the shape."""
    foreground: Tensor
    """int64, (N,): index of the digit's colour or texture."""
    background: Tensor
    """int64, (N,): index of the ground's colour or texture; equal to ``foreground`` where a variant has no ground."""


@dataclass(frozen=True)
class Painted(Images):
    """Images of one variant with the truth about them."""

    masks: Tensor
    """bool, (N, 1, 32, 32): the digit's pixels."""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor | slice) -> Painted:
        return Painted(*(value[index] for value in vars(self).values()))


@dataclass(frozen=True)
class Canvas:
    """What a rule gets to paint with."""

    grey: Tensor
    """uint8, (N, 28, 28)."""
    foreground: Tensor
    """int64, (N,)."""
    background: Tensor
    """int64, (N,)."""
    numbers: Tensor
    """float64, (N, draws), uniform in (0, 1): this image's own randomness."""
    textures: Textures


Rule = Callable[[Canvas], tuple[Tensor, Tensor]]
"""A rule returns images, float32 (N, 3, 32, 32) in [-1, 1], and masks, bool (N, 1, 32, 32)."""

_RULES: dict[str, tuple[Rule, int, int]] = {}


def rule(name: str, draws: int, version: int = 1) -> Callable[[Rule], Rule]:
    """Decorator: paint the variant ``name`` with this function, which uses ``draws`` random numbers per image.

    Raise ``version`` when the function paints something else than before: older results are then no longer found.
    """

    def add(function: Rule) -> Rule:
        _RULES[name] = (function, draws, version)
        return function

    return add


def rule_of(name: str) -> tuple[Rule, int, int]:
    """(function, draws, version) of the rule that paints a variant. Raises ValueError if there is none."""
    if name not in _RULES:
        raise ValueError(f"no rule paints {name!r}; add one with @rule({name!r}, draws=...)")
    return _RULES[name]


def paint(
    name: str,
    digits: Digits,
    split: str,
    *,
    attributes: Attributes,
    seed: int = 0,
    epoch: int = 0,
    index: Tensor | None = None,
    textures: Textures = "dtd",
) -> Painted:
    """Paint digits as a variant.

    split: names the stream of random numbers (``train``, ``test``, ...). attributes: ``label`` ties colour and
    texture to the digit, ``random`` draws both independently and uniformly. epoch: redraws jitter and crops.
    index: which digits to paint (default all); row i of the result is what painting everything would give there.
    """
    function, draws, _ = rule_of(name)
    index = torch.arange(len(digits)) if index is None else index
    numbers = rng.uniform(("variant", name, split, seed, epoch), index, draws + 2)
    labels = digits.labels[index]
    if attributes == "label":
        foreground = background = labels
    else:
        foreground, background = (numbers[:, :2] * 10).long().unbind(1)
    canvas = Canvas(digits.images[index], foreground, background, numbers[:, 2:], textures)
    images, masks = function(canvas)
    return Painted(images, labels, foreground, background, masks)


def themes(name: str, digits: Digits, textures: Textures = "dtd") -> Painted:
    """Every digit in each of the ten attribute themes (foreground and background together), without jitter.

    Image 10 * i + j is digit i in theme j, the grid of reproduction Fig 3. Numbers of 0.5 are the middle of every
    random draw: no jitter of colours, and the central crop of a texture.
    """
    function, draws, _ = rule_of(name)
    index = torch.arange(len(digits)).repeat_interleave(10)
    theme = torch.arange(10).repeat(len(digits))
    middle = torch.full((len(index), draws), 0.5, dtype=torch.float64)
    images, masks = function(Canvas(digits.images[index], theme, theme, middle, textures))
    return Painted(images, digits.labels[index], theme, theme, masks)


def visible(name: str, painted: Painted) -> Tensor:
    """bool (N,): images whose digit can be seen at all.

    In Double-colored MNIST object colour a equals background colour a + 4 mod 10, so a tenth of the randomised test
    images shows next to nothing, and about 91 % is the most that accuracy can reach there (docs/mnist.md, 2.3).
    """
    if name != "double_colored_MNIST":
        return torch.ones(len(painted), dtype=torch.bool)
    return (painted.background - painted.foreground) % 10 != 4


def enlarge(grey: Tensor, offset: float) -> Tensor:
    """Nearest-neighbour resize 28 -> 32 with source index floor((i + offset) * 28 / 32).

    The published data use two kinds: PIL (offset 0.5, doubles rows 3, 10, 17, 24) for Colored MNIST and torch's
    ``interpolate`` (offset 0, doubles rows 0, 7, 14, 21) for the others (docs/mnist.md, 14, row 6).
    """
    source = ((torch.arange(SIZE) + offset) * (28 / SIZE)).long()
    return grey[:, source][:, :, source].unsqueeze(1)


def binarise(grey: Tensor, offset: float, above: float) -> Tensor:
    """The true mask of grey digits: enlarged, then thresholded; bool (N, 1, 32, 32). Kinds: COLORED, OTHERS."""
    return enlarge(grey, offset) > above


COLORED, OTHERS = (0.5, 128.0), (0.0, 25.5)
"""(offset, threshold) of the true masks: of Colored MNIST, whose strokes are thinner, and of the other two."""


@rule("colored_MNIST", draws=3)
def _colored(canvas: Canvas) -> tuple[Tensor, Tensor]:
    """One flat jittered colour per digit on black; variance 0.02, truncated to (0, 1), on the 1/255 grid."""
    mean, std = COLORS[canvas.foreground] / 255, 0.02**0.5
    jitter = rng.truncated_normal(canvas.numbers, -mean / std, (1 - mean) / std)
    color = (mean + std * jitter).clamp(0.0, 1.0)
    flat = (255 * color).floor().float()[:, :, None, None] / 255
    mask = binarise(canvas.grey, *COLORED)
    return (torch.where(mask, flat, 0.0) - 0.5) / 0.5, mask


@rule("double_colored_MNIST", draws=6)
def _double_colored(canvas: Canvas) -> tuple[Tensor, Tensor]:
    """Digit and ground each in one flat jittered colour; std 0.01, not clipped, so values reach about +-1.08."""
    jitter = 0.01 * torch.special.ndtri(canvas.numbers)
    digit = OBJECT_COLORS[canvas.foreground] / 255 + jitter[:, :3]
    ground = BACKGROUND_COLORS[canvas.background] / 255 + jitter[:, 3:]
    mask = binarise(canvas.grey, *OTHERS)
    images = torch.where(mask, digit.float()[:, :, None, None], ground.float()[:, :, None, None])
    return (images - 0.5) / 0.5, mask


@rule("wildlife_MNIST", draws=4)
def _wildlife(canvas: Canvas) -> tuple[Tensor, Tensor]:
    """Random crops of a striped texture for the digit and a veined one for the ground."""
    objects, grounds = texture_files.load(canvas.textures)
    corner = (canvas.numbers * 125).long()
    mask = binarise(canvas.grey, *OTHERS)
    pixels = torch.where(
        mask,
        _crops(objects, canvas.foreground, corner[:, 0], corner[:, 1]),
        _crops(grounds, canvas.background, corner[:, 2], corner[:, 3]),
    )
    return pixels.float().div_(255).sub_(0.5).div_(0.5), mask  # in place: new memory is dearer than the arithmetic


def _crops(pictures: Tensor, which: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """uint8 (N, 3, 32, 32): a 32x32 window of ``pictures[which]`` at (row, column), by indexing a strided view."""
    windows = pictures.unfold(2, SIZE, 1).unfold(3, SIZE, 1)  # (10, 3, 125, 125, 32, 32), no copy
    return windows[which, :, row, column]
