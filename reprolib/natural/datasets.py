"""The data of the ensemble: image folders, counterfactual folders, and how both are drawn (docs/imagenet.md, 9.1)."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import transforms

from reprolib.natural.counterfactuals import COLUMNS
from reprolib.run import rng
from reprolib.run.errors import AssetError

NORMALISED = [transforms.ToTensor(), transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
"""By the statistics of ImageNet."""
Transform = Callable[[Image.Image], Tensor]
Images = Dataset[tuple[Tensor, Tensor]]
"""Images with a label each."""


def train_transform(size: int = 224) -> Transform:
    """Random crop and flip, ImageNet statistics."""
    steps = [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip(), *NORMALISED]
    return transforms.Compose(steps)


def eval_transform(size: int = 224, resize: int = 256) -> Transform:
    """Resize and centre crop, ImageNet statistics."""
    return transforms.Compose([transforms.Resize(resize), transforms.CenterCrop(size), *NORMALISED])


def in9_transform() -> Transform:
    """IN-9 images are 224 pixels wide already. The released code has other statistics, never seen in training."""
    return transforms.Compose(NORMALISED)


def read(file: Path, repair: str = "put a whole copy in its place, or remove it") -> Image.Image:
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
    """Pictures from disk: (image, label). An image that cannot be read is an AssetError, see ``read``."""

    def __init__(self, files: Sequence[tuple[Path, Any]], transform: Transform) -> None:
        """files: each with its label, one number or several."""
        self.files, self.transform = files, transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        file, label = self.files[index]
        return self.transform(read(file)), torch.tensor(label)


def examples(data: Images, count: int) -> Tensor:
    """``count`` images (count, 3, H, W) at equal distances in a set: its neighbours often have the same class."""
    last = len(data) - 1  # type: ignore[arg-type]
    return torch.stack([data[round(number)][0] for number in torch.linspace(0, last, count).tolist()])


class CounterfactualFolder(Dataset[tuple[Tensor, Tensor]]):
    """One folder of ``counterfactuals.write_set``: (image, labels), labels int64 (3,) of shape, texture, background.

    Raises AssetError if ``labels.csv`` or an image it names is missing or broken: one sentence with the file.
    """

    def __init__(self, folder: Path, transform: Transform) -> None:
        self.folder, self.transform = folder, transform
        file = folder / "labels.csv"
        if not file.is_file():
            raise AssetError(f"{file} is missing; write the counterfactuals again, the same call goes on")
        with file.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        if not rows or tuple(rows[0]) != COLUMNS:
            raise AssetError(f"{file} is not a label file of counterfactuals; write the counterfactuals again")
        self.names = [row["im_name"] for row in rows]
        self.labels = torch.tensor([[int(row[name]) for name in COLUMNS[2:]] for row in rows])

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        file = self.folder / "ims" / f"{self.names[index]}_x_gen.jpg"
        return self.transform(read(file, "remove it, then the same command makes it again")), self.labels[index]


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
    """Which counterfactuals an epoch sees: a fresh random choice without replacement, int64 (wanted,).

    When there are fewer than wanted, the whole table is repeated until there are enough.
    """
    copies = -(-wanted // available)
    chosen = rng.permutation(available * copies, "counterfactual order", seed, epoch)[:wanted]
    return chosen % available
