"""The data of the ensemble: counterfactual sets, which a CGN makes, and pictures from disk (docs/imagenet.md, 8, 9.1).

One counterfactual has one latent u and three classes. Every image has a stream of its own, so a set can be made by
several processes, in any order, and comes out the same; what is there already is not made again.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import transforms

from reprolib.figures import to_pixels
from reprolib.natural.cgn import CGN
from reprolib.run import AssetError, ReproError, distributed, rng
from reprolib.run.files import locked, make_folder, write_atomically
from reprolib.run.training import Progress
from reprolib.vocabulary import PUBLISHED_FACTORS

COLUMNS = ("", "im_name", *(f"{factor}_cls" for factor in PUBLISHED_FACTORS))
QUALITY = 95
BATCH = 50
"""Counterfactuals that are made at once."""
Classes = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""Ids for shape, texture and background; none stands for all."""


@dataclass(frozen=True)
class Sampling:
    """What a set is drawn from. The published modes are no ids (random), lists of ids (best_classes), one id for each
    factor (fixed_classes), and ``same`` (random_same)."""

    truncation: float = 1.0
    seed: int = 0
    classes: Classes = ((), (), ())
    same: bool = False
    """The class of the shape for all three factors."""


def draw_classes(sampling: Sampling, index: Tensor, count: int) -> Tensor:
    """Classes of shape, texture and background, out of ``count``, of images of these numbers: int64 (len(index), 3)."""
    uniform = rng.uniform(("counterfactual classes", sampling.seed), index, 3)
    choices = [torch.tensor(ids or range(count)) for ids in sampling.classes]
    drawn = [ids[(number * len(ids)).long()] for ids, number in zip(choices, uniform.unbind(1), strict=True)]
    return torch.stack(drawn[:1] * 3 if sampling.same else drawn, dim=1)


def generate(cgn: CGN, sampling: Sampling, index: Tensor) -> tuple[Tensor, Tensor]:
    """(images (N, 3, H, W) in (-1, 1), classes (N, 3)) of the images of these numbers."""
    classes = draw_classes(sampling, index, cgn.architecture.classes)
    u = cgn.noise(index, ("counterfactual noise", sampling.seed), sampling.truncation)
    shape, texture, ground = (cgn.one_hot(column) for column in classes.unbind(1))
    return cgn.counterfactual(u, shape, texture, ground, sampling.truncation)[0].cpu(), classes


def interpolation(
    cgn: CGN, u: Tensor, start: Sequence[int], end: Sequence[int], midpoints: int = 6, truncation: float = 1.0
) -> dict[str, Tensor]:
    """Walk the one-hot classes from ``start`` to ``end``, class ids of shape, texture and background, with u fixed.

    A factor whose ids agree stays. u: (1, latent), at this truncation. Returns ``image``, ``mask``, ``foreground`` and
    ``background``, midpoints + 2 pictures each, on the CPU.
    """
    share = torch.linspace(0, 1, midpoints + 2, device=cgn.device)[:, None]
    first, last = (cgn.one_hot(torch.tensor(classes))[:, None] for classes in (start, end))
    shape, texture, ground = torch.lerp(first, last, share)
    maps = cgn.counterfactual(u.expand(len(share), -1), shape, texture, ground, truncation)
    return {name: each.cpu() for name, each in zip(("image", "mask", "foreground", "background"), maps, strict=True)}


def write_set(model: Callable[[], CGN], classes: int, sampling: Sampling, folder: Path, count: int) -> Path:
    """Write images ``folder/ims/<folder>_<7 digits>_x_gen.jpg``, then ``folder/labels.csv``, and return the latter.

    model: gives the CGN, which knows so many ``classes``; asked only when an image is missing. What is there already is
    kept, so an interrupted call goes on, and a removed image is made again. Under torchrun all share the images.
    """
    ims = folder / "ims"
    make_folder(ims)
    with locked(folder / ".lock") if distributed.rank() == 0 else nullcontext():  # two runs may want the same set
        distributed.wait()  # until process 0 has the folder for all of them
        missing = torch.tensor([i for i in range(count) if not _image(folder, i).exists()], dtype=torch.long)
        distributed.wait()  # all have looked before one writes
        if len(missing):
            _write_images(model(), sampling, folder, missing[distributed.rank() :: distributed.size()])
        distributed.wait()
        if distributed.rank() == 0:
            _write_labels(folder, draw_classes(sampling, torch.arange(count), classes))
    distributed.wait()
    return folder / "labels.csv"


def claim_folder(folder: Path, made_with: dict[str, Any]) -> None:
    """Write down what the images of a folder are made with, before the first of them. Raises ReproError if the folder
    holds those of another sampling: its images would stay, with the labels of this one."""
    file, content = folder / "sampling.json", json.dumps(made_with, indent=1, sort_keys=True).encode() + b"\n"
    if file.is_file() and file.read_bytes() != content:
        raise ReproError(f"{folder} holds counterfactuals made otherwise (see {file}); choose another folder")
    if not file.is_file():
        write_atomically(file, content)


def _image(folder: Path, number: int) -> Path:
    return folder / "ims" / f"{folder.name}_{number:07d}_x_gen.jpg"


def _write_images(cgn: CGN, sampling: Sampling, folder: Path, numbers: Tensor) -> None:
    shown = Progress(f"counterfactuals in {folder}", len(numbers), "images")
    for first in range(0, len(numbers), BATCH):  # none, where there are fewer images than processes
        index = numbers[first : first + BATCH]
        images, _ = generate(cgn, sampling, index)
        for number, picture in zip(index.tolist(), to_pixels(images), strict=True):
            stream = io.BytesIO()
            Image.fromarray(picture).save(stream, "JPEG", quality=QUALITY)
            write_atomically(_image(folder, number), stream.getvalue())
        shown.update(first + len(index))


def _write_labels(folder: Path, classes: Tensor) -> None:
    """Classes int64 (N, 3) in the released layout, whose first column has neither name nor content."""
    names = [_image(folder, number).name.removesuffix("_x_gen.jpg") for number in range(len(classes))]
    rows = [["", name, *row] for name, row in zip(names, classes.tolist(), strict=True)]
    content = pd.DataFrame(rows, columns=COLUMNS).to_csv(index=False, lineterminator="\n").encode()
    file = folder / "labels.csv"
    if not file.is_file() or file.read_bytes() != content:
        write_atomically(file, content)


Transform = Callable[[Image.Image], Tensor]
NORMALISED = [transforms.ToTensor(), transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
"""By the statistics of ImageNet."""
TRAIN: Transform = transforms.Compose(
    [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), *NORMALISED]
)
EVALUATION: Transform = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), *NORMALISED])
Images = Dataset[tuple[Tensor, ...]]
"""Images with a label each."""
REPAIR = "put a whole copy in its place, or remove it"
"""What to do with a broken picture."""


def read(file: Path, repair: str = REPAIR) -> Image.Image:
    """A picture in RGB, as torchvision reads it; the first one of an animation.

    Raises AssetError with its name, and what to do, if it is missing, broken, or has more than eight bits per channel,
    which Pillow would cut off instead of rounding.
    """
    try:
        with Image.open(file) as picture:
            if not picture.mode.startswith(("I", "F")):
                return picture.convert("RGB")
            mode = picture.mode
    except MemoryError:
        raise
    except Exception as error:  # each of Pillow's decoders has its own: OSError, SyntaxError, ValueError, struct.error
        raise AssetError(f"{file} is missing or broken; {repair}") from error
    raise AssetError(f"{file} has mode {mode}, more than 8 bits per channel; {repair}")


class Pictures(Dataset[tuple[Tensor, Tensor]]):
    """Pictures from disk, each with its label, one number or several; repair: of a broken one, see ``read``."""

    def __init__(self, files: Sequence[tuple[Path, Any]], transform: Transform, repair: str = REPAIR) -> None:
        self.files, self.transform, self.repair = files, transform, repair

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        file, label = self.files[index]
        return self.transform(read(file, self.repair)), torch.tensor(label)


def examples(data: Images, count: int) -> Tensor:
    """``count`` images (count, 3, H, W) at equal distances in a set: its neighbours often have the same class."""
    last = len(data) - 1  # type: ignore[arg-type]
    return torch.stack([data[round(number)][0] for number in torch.linspace(0, last, count).tolist()])


def counterfactuals(folder: Path, transform: Transform) -> Pictures:
    """What ``write_set`` wrote: (image, labels int64 (3,) of shape, texture and background). Raises AssetError if
    ``labels.csv`` is missing or broken."""
    file = folder / "labels.csv"
    if not file.is_file():
        raise AssetError(f"{file} is missing; write the counterfactuals again, the same call goes on")
    with file.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    if not rows or tuple(rows[0]) != COLUMNS:
        raise AssetError(f"{file} is not a label file of counterfactuals; write the counterfactuals again")
    found = [(folder / "ims" / f"{row['im_name']}_x_gen.jpg", [int(row[name]) for name in COLUMNS[2:]]) for row in rows]
    return Pictures(found, transform, "remove it, then the same command makes it again")


class Relabelled(Dataset[tuple[Tensor, Tensor]]):
    """A data set with other labels."""

    def __init__(self, data: Images, relabel: Callable[[Tensor], Tensor]) -> None:
        self.data, self.relabel = data, relabel

    def __len__(self) -> int:
        return len(self.data)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, label = self.data[index]
        return image, self.relabel(label)


def counterfactual_order(available: int, wanted: int, seed: int, epoch: int) -> Tensor:
    """Which counterfactuals an epoch sees: a fresh random choice without replacement, int64 (wanted,); when there are
    fewer than wanted, the whole table is repeated until there are enough."""
    copies = -(-wanted // available)
    chosen = rng.permutation(available * copies, "counterfactual order", seed, epoch)[:wanted]
    return chosen % available
