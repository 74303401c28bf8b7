"""The data of the ensemble: image folders, counterfactual folders, and how both are drawn (docs/imagenet.md, 9.1)."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import transforms
from torchvision.datasets import ImageFolder

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


@contextmanager
def opened(file: Path) -> Iterator[Image.Image]:
    """A picture in RGB. Raises AssetError with its name if it is missing or broken."""
    try:
        with Image.open(file) as picture:
            yield picture.convert("RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise AssetError(f"{file} is missing or broken; put a whole copy in its place, or remove it") from error


class _Pictures(ImageFolder):
    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        file, label = self.samples[index]
        with opened(Path(file)) as picture:
            return self.transform(picture), torch.tensor(label)


def class_folders(root: Path, classes: int, transform: Transform) -> Images:
    """Images in one folder per class; the label is the place of the folder in sorted order.

    Raises AssetError if there are not ``classes`` folders, or if one has no image.
    """
    try:
        found = _Pictures(str(root), transform)
    except (FileNotFoundError, OSError) as error:
        raise AssetError(f"{root} has no class folders with images in them ({error}); unpack the data again") from error
    if len(found.classes) != classes:
        raise AssetError(f"{root} has {len(found.classes)} class folders instead of {classes}; unpack the data again")
    return found


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
        try:
            with Image.open(file) as picture:
                return self.transform(picture.convert("RGB")), self.labels[index]
        except (OSError, UnidentifiedImageError) as error:
            raise AssetError(f"{file} is missing or broken; remove it, then the same command makes it again") from error


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
