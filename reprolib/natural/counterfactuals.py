"""Counterfactual data sets and sheets of the natural-image CGN (docs/imagenet.md, section 8).

One image has one latent u and three classes. Every image has a stream of its own, so a set can be made by several
processes, in any order, and comes out the same; what is there already is not made again.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from reprolib.natural.cgn import CGN
from reprolib.run import distributed, rng
from reprolib.run.errors import ReproError
from reprolib.run.files import locked, make_folder, write_atomically
from reprolib.run.training import Progress
from reprolib.vocabulary import FACTORS, PUBLISHED_FACTORS

Mode = Literal["random", "random_same", "best_classes", "fixed_classes"]
COLUMNS = ("", "im_name", *(f"{factor}_cls" for factor in PUBLISHED_FACTORS))
QUALITY = 95


@dataclass(frozen=True)
class Sampling:
    """What a set is drawn from."""

    mode: Mode = "random"
    truncation: float = 1.0
    seed: int = 0
    classes: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] = ((), (), ())
    """For shape, texture and background: the lists of ``best_classes``, or one class each for ``fixed_classes``."""


def draw_classes(sampling: Sampling, index: Tensor, count: int) -> Tensor:
    """int64 (len(index), 3): classes of shape, texture and background for images of these numbers.

    count: how many classes there are. Raises ReproError if the sampling lacks the lists that its mode needs.
    """
    uniform = rng.uniform(("counterfactual classes", sampling.seed), index, 3)
    if sampling.mode == "random":
        return (uniform * count).long()
    if sampling.mode == "random_same":
        return (uniform[:, :1] * count).long().expand(-1, 3)
    if not all(sampling.classes):
        raise ReproError(f"mode {sampling.mode!r} needs 'classes': a list for each of {', '.join(FACTORS)}")
    if sampling.mode == "fixed_classes":
        uniform = torch.zeros_like(uniform)  # the first of each list
    chosen = zip(sampling.classes, uniform.unbind(1), strict=True)
    return torch.stack([torch.tensor(ids)[(number * len(ids)).long()] for ids, number in chosen], dim=1)


def generate(cgn: CGN, sampling: Sampling, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(images (N, 3, H, W) in (-1, 1), masks (N, 1, H, W), classes (N, 3)) of the images of these numbers."""
    classes = draw_classes(sampling, index, cgn.architecture.classes)
    u = cgn.noise(index, ("counterfactual noise", sampling.seed), sampling.truncation)
    device = next(cgn.parameters()).device
    shape, texture, ground = (cgn.one_hot(column).to(device) for column in classes.unbind(1))
    images, masks, _, _ = cgn.counterfactual(u.to(device), shape, texture, ground, sampling.truncation)
    return images.cpu(), masks.cpu(), classes


def write_set(
    model: Callable[[], CGN], classes: int, sampling: Sampling, folder: Path, run: str, count: int, batch: int = 1
) -> Path:
    """Write ``count`` images as ``folder/ims/<run>_<7 digits>_x_gen.jpg`` and ``folder/labels.csv``; return the latter.

    model: gives the CGN, which knows so many ``classes``; asked only when an image is missing. What is there already is
    kept, so an interrupted call goes on, and a removed image is made again. Under torchrun every process writes a share
    of the images, and process 0 the labels. The labels are written last.
    """
    ims = folder / "ims"
    make_folder(ims)
    with locked(folder / ".lock") if distributed.rank() == 0 else nullcontext():  # two runs may want the same set
        distributed.wait()  # until process 0 has the folder for all of them
        present = {file.name for file in ims.iterdir()}
        missing = torch.tensor([i for i in range(count) if image_name(run, i) not in present], dtype=torch.long)
        distributed.wait()  # all have looked before one writes
        if len(missing):
            _write_images(model(), sampling, ims, run, missing[distributed.rank() :: distributed.size()], batch)
        distributed.wait()
        if distributed.rank() == 0:
            _write_labels(folder / "labels.csv", run, draw_classes(sampling, torch.arange(count), classes))
    distributed.wait()
    return folder / "labels.csv"


def claim_folder(folder: Path, made_with: dict[str, Any]) -> None:
    """Write down what the images of a folder are made with, before the first of them.

    Raises ReproError if the folder holds those of another sampling: its images would stay, with the labels of this one.
    """
    file, content = folder / "sampling.json", json.dumps(made_with, indent=1, sort_keys=True).encode() + b"\n"
    if file.is_file() and file.read_bytes() != content:
        raise ReproError(f"{folder} holds counterfactuals made otherwise (see {file}); choose another folder")
    if not file.is_file():
        write_atomically(file, content)


def _write_images(cgn: CGN, sampling: Sampling, ims: Path, run: str, numbers: Tensor, batch: int) -> None:
    shown = Progress(f"counterfactuals in {ims}", len(numbers), "images")
    for first in range(0, len(numbers), batch):  # none, where there are fewer images than processes
        index = numbers[first : first + batch]
        images, _, _ = generate(cgn, sampling, index)
        for number, image in zip(index.tolist(), images, strict=True):
            write_atomically(ims / image_name(run, number), encoded(image))
        shown.update(first + len(index))


def _write_labels(file: Path, run: str, classes: Tensor) -> None:
    """Classes int64 (N, 3) in the released layout, whose first column has neither name nor content."""
    names = [image_name(run, number).removesuffix("_x_gen.jpg") for number in range(len(classes))]
    rows = [["", name, *row] for name, row in zip(names, classes.tolist(), strict=True)]
    content = pd.DataFrame(rows, columns=COLUMNS).to_csv(index=False, lineterminator="\n").encode()
    if not file.is_file() or file.read_bytes() != content:
        write_atomically(file, content)


def image_name(run: str, number: int) -> str:
    return f"{run}_{number:07d}_x_gen.jpg"


def encoded(image: Tensor) -> bytes:
    """An image (3, H, W) in (-1, 1) as the bytes of a JPEG."""
    scaled = ((image + 1) / 2 * 255).round().clamp(0, 255).to(torch.uint8)
    stream = io.BytesIO()
    Image.fromarray(scaled.permute(1, 2, 0).numpy()).save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()


def interpolation(
    cgn: CGN, u: Tensor, start: Sequence[int], end: Sequence[int], midpoints: int = 6, truncation: float = 1.0
) -> dict[str, Tensor]:
    """Walk the one-hot classes from ``start`` to ``end``, class ids of shape, texture and background, with u fixed.

    A factor whose ids agree stays. u: (1, latent), at this truncation. Returns ``image``, ``mask``, ``foreground`` and
    ``background``, midpoints + 2 pictures each, on the CPU.
    """
    device = next(cgn.parameters()).device
    share = torch.linspace(0, 1, midpoints + 2)[:, None]
    shape, texture, ground = (
        torch.lerp(cgn.one_hot(torch.tensor([a])), cgn.one_hot(torch.tensor([b])), share).to(device)
        for a, b in zip(start, end, strict=True)
    )
    maps = cgn.counterfactual(u.to(device).expand(len(share), -1), shape, texture, ground, truncation)
    return {name: each.cpu() for name, each in zip(("image", "mask", "foreground", "background"), maps, strict=True)}
