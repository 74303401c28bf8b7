"""Counterfactual data sets and sheets of the natural-image CGN (spec/imagenet.md, section 8).

One image has one latent u and three classes. Every image has a stream of its own, so a set can be made in pieces, by
several processes, in any order, and comes out the same; what is there already is not made again.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from PIL import Image
from torch import Tensor

from reprolib import rng
from reprolib.errors import ReproError
from reprolib.imagenet.cgn import CGN
from reprolib.progress import Progress
from reprolib.store import write_atomically

Mode = Literal["random", "random_same", "best_classes", "fixed_classes"]
FACTORS = ("shape", "texture", "bg")
COLUMNS = ("", "im_name", *(f"{factor}_cls" for factor in FACTORS))
QUALITY = 95


@dataclass(frozen=True)
class Recipe:
    """What a set is drawn from."""

    mode: Mode = "random"
    truncation: float = 1.0
    seed: int = 0
    classes: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] = ((), (), ())
    """For shape, texture and background: the lists of ``best_classes``, or one class each for ``fixed_classes``."""
    legacy_minmax: bool = False
    """Stretch every image to the full range and save it as JPEG 75, as the released code does."""


def draw_classes(recipe: Recipe, index: Tensor, count: int) -> Tensor:
    """int64 (len(index), 3): classes of shape, texture and background for images of these numbers.

    count: how many classes there are. Raises ReproError if the recipe lacks the lists that its mode needs.
    """
    uniform = rng.uniform(("counterfactual classes", recipe.seed), index, 3)
    if recipe.mode == "random":
        return (uniform * count).long()
    if recipe.mode == "random_same":
        return (uniform[:, :1] * count).long().expand(-1, 3)
    if not all(recipe.classes):
        raise ReproError(f"mode {recipe.mode!r} needs 'classes': a list for each of {', '.join(FACTORS)}")
    drawn = []
    for column, choices in enumerate(recipe.classes):
        first = torch.zeros_like(index)
        picked = (uniform[:, column] * len(choices)).long() if recipe.mode == "best_classes" else first
        drawn.append(torch.tensor(choices)[picked])
    return torch.stack(drawn, dim=1)


def generate(cgn: CGN, recipe: Recipe, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(images (N, 3, H, W) in (-1, 1), masks (N, 1, H, W), classes (N, 3)) of the images of these numbers."""
    classes = draw_classes(recipe, index, cgn.architecture.classes)
    u = cgn.noise(index, ("counterfactual noise", recipe.seed), recipe.truncation)
    device = next(cgn.parameters()).device
    shape, texture, ground = (cgn.one_hot(column).to(device) for column in classes.unbind(1))
    images, masks, _, _ = cgn.counterfactual(u.to(device), shape, texture, ground, recipe.truncation)
    return images.cpu(), masks.cpu(), classes


def write_set(cgn: CGN, recipe: Recipe, folder: Path, run: str, count: int, first: int = 0, batch: int = 1) -> Path:
    """Write ``count`` images as ``folder/ims/<run>_<7 digits>_x_gen.jpg`` and ``folder/labels.csv``; return the latter.

    first: number of the first image, for a part of a larger set; each part wants a ``run`` or a folder of its own.
    Images that are there already are kept, so an interrupted call goes on. The labels are written last.
    """
    ims = folder / "ims"
    ims.mkdir(parents=True, exist_ok=True)
    numbers = torch.arange(first, first + count)
    missing = torch.tensor([i for i in numbers.tolist() if not (ims / image_name(run, i)).exists()], dtype=torch.long)
    shown = Progress(f"counterfactuals in {folder}", count, "images", done=count - len(missing))
    for part in missing.split(batch):
        images, _, _ = generate(cgn, recipe, part)
        for number, image in zip(part.tolist(), images, strict=True):
            write_atomically(ims / image_name(run, number), encoded(image, recipe.legacy_minmax))
        shown.update(count - len(missing) + int((missing <= part[-1]).sum()))
    classes = draw_classes(recipe, numbers, cgn.architecture.classes)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for number, row in zip(numbers.tolist(), classes.tolist(), strict=True):
        writer.writerow(["", image_name(run, number).removesuffix("_x_gen.jpg"), *row])
    write_atomically(folder / "labels.csv", stream.getvalue().encode())
    return folder / "labels.csv"


def image_name(run: str, number: int) -> str:
    return f"{run}_{number:07d}_x_gen.jpg"


def encoded(image: Tensor, legacy_minmax: bool = False) -> bytes:
    """An image (3, H, W) in (-1, 1) as the bytes of a JPEG."""
    low, high = (image.min(), image.max()) if legacy_minmax else (-1.0, 1.0)
    scaled = ((image - low) / (high - low) * 255).round().clamp(0, 255).to(torch.uint8)
    stream = io.BytesIO()
    picture = Image.fromarray(scaled.permute(1, 2, 0).numpy())
    picture.save(stream, "JPEG", quality=75 if legacy_minmax else QUALITY)
    return stream.getvalue()


def interpolation(
    cgn: CGN, u: Tensor, start: Sequence[int], end: Sequence[int], midpoints: int = 6, truncation: float = 1.0
) -> dict[str, Tensor]:
    """Walk the one-hot classes from ``start`` to ``end``, class ids of shape, texture and background, with u fixed.

    A factor whose ids agree stays. u: (1, latent), at this truncation. Returns ``image``, ``mask``, ``foreground`` and
    ``background``, midpoints + 2 pictures each.
    """
    share = torch.linspace(0, 1, midpoints + 2)[:, None]
    shape, texture, ground = (
        torch.lerp(cgn.one_hot(torch.tensor([a])), cgn.one_hot(torch.tensor([b])), share)
        for a, b in zip(start, end, strict=True)
    )
    parts = cgn.counterfactual(u.expand(len(share), -1), shape, texture, ground, truncation)
    return dict(zip(("image", "mask", "foreground", "background"), parts, strict=True))
