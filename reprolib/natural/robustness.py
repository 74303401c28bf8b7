"""What a classifier of natural images relies on: the backgrounds challenge, and cue conflict (docs/imagenet.md, 10.2
and 10.3).

The backgrounds challenge is accuracy on IN-9, nine superclasses: a test image keeps its object and gets a background of
its own superclass (``mixed_same``) or of a random one (``mixed_rand``). The gap between the two says how much the
background is read. Shape bias is measured on images whose shape and texture disagree (Geirhos et al. 2019).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from reprolib.natural import classify
from reprolib.natural.classify import HEADS
from reprolib.natural.datasets import Images
from reprolib.natural.world import World
from reprolib.run import AssetError, rng

CHALLENGE_SETS = ("original", "mixed_same", "mixed_rand")
SUPERCLASSES = {
    "dog": "151-170 173-268",
    "bird": "7-24 87-100 127-146",
    "wheeled vehicle": "407-408 428 436 444 468 511 547 555 561 565 569 573 586 603 609 612 627 656 661 665 670-671 "
    "675 690 705 717 734 751 757 791 802-803 817 820 829 847 864 866-867 870 880",
    "reptile": "33-68",
    "carnivore": "269-280 286-299 356-362 387-388",
    "insect": "300-326",
    "musical instrument": "401-402 420 432 486 494 513 541 546 558 566 577 579 593-594 641-642 683-684 687 699 776 822 "
    "875 881 889",
    "primate": "365-384",
    "fish": "0-6 389-397",
}
"""The ImageNet classes of each, 370 of 1,000."""
OUTSIDE = -1
"""A class of no superclass; predicting it counts as wrong."""
CATEGORIES = {
    "airplane": "404",
    "bear": "294-297",
    "bicycle": "444 671",
    "bird": "8 10-16 18-20 22-24 80-83 87-96 98-100 127-133 135-145",
    "boat": "472 554 625 814 914",
    "bottle": "440 720 737 898-899 901 907",
    "car": "436 511 817",
    "cat": "281-286",
    "chair": "423 559 765 857",
    "clock": "409 530 892",
    "dog": "152-191 193-203 205-226 228-241 243-250 252-257 259 261-263 265-268",
    "elephant": "385 386",
    "keyboard": "508 878",
    "knife": "499",
    "oven": "766",
    "truck": "555 569 656 675 717 734 864 867",
}
"""Of cue conflict, with their ImageNet classes; in alphabetical order, which decides ties."""
_NAME = re.compile(r"([a-z]+)\d+-([a-z]+)\d+\.png")


def _classes(text: str) -> list[int]:
    """``"0-2 7"`` -> [0, 1, 2, 7]."""
    spans = [span.split("-") for span in text.split()]
    return [number for span in spans for number in range(int(span[0]), int(span[-1]) + 1)]


def superclasses() -> Tensor:
    """int64 (1000,): the superclass of every ImageNet class, or OUTSIDE."""
    table = torch.full((1000,), OUTSIDE)
    for number, text in enumerate(SUPERCLASSES.values()):
        table[_classes(text)] = number
    return table


def accuracies(scores: dict[str, Tensor], labels: Tensor, mapping: Tensor) -> dict[str, float]:
    """Accuracy in percent of every prediction, logits (N, classes), over a test set of superclass labels (N,).

    mapping: class -> superclass. Of all images, 4,050 on IN-9; the released code divides by full batches, 4,064, and
    gets every accuracy too low.
    """
    right = {name: int((mapping[logits.argmax(1)] == labels).sum()) for name, logits in scores.items()}
    return {name: 100 * count / len(labels) for name, count in right.items()}


def imagenet_groups() -> list[list[int]]:
    """The ImageNet classes of each category."""
    return [_classes(text) for text in CATEGORIES.values()]


def labels_of(file: Path) -> tuple[int, int]:
    """(shape, texture) of ``<shape><i>-<texture><j>.png`` as category numbers. Raises AssetError for another name."""
    named = _NAME.fullmatch(file.name)
    if named is None or not set(named.groups()) <= set(CATEGORIES):
        raise AssetError(f"{file} is not named <shape><number>-<texture><number>.png with the sixteen categories")
    shape, texture = (list(CATEGORIES).index(name) for name in named.groups())
    return shape, texture


def decisions(logits: Tensor, groups: Sequence[Sequence[int]]) -> Tensor:
    """Category of every image: the one whose classes have the largest *mean* probability; int64 (N,)."""
    probability = logits.double().softmax(1)
    score = torch.stack([probability[:, list(group)].mean(1) for group in groups], dim=1)
    return score.argmax(1)


def shape_bias(decided: Tensor, shape: Tensor, texture: Tensor) -> dict[str, float]:
    """``shape_bias``: share of shape decisions among those for shape or texture; ``decided``: share of either.

    Percent; images whose shape and texture agree are left out. A bias of nothing decided is 0.
    """
    conflict = shape != texture
    by_shape = int((decided == shape)[conflict].sum())
    by_texture = int((decided == texture)[conflict].sum())
    both = by_shape + by_texture
    return {
        "shape_bias": 100 * by_shape / both if both else 0.0,
        "decided": 100 * both / max(1, int(conflict.sum())),
    }


def evaluate(world: World, ensemble: nn.Module, workers: int = 0) -> dict[str, float]:
    """Everything that is measured on a classifier, in percent: ``accuracy`` and ``reliance``."""
    return accuracy(world, ensemble, workers) | reliance(world, ensemble, workers)


def accuracy(world: World, ensemble: nn.Module, workers: int = 0, unseen: Images | None = None) -> dict[str, float]:
    """What an epoch is chosen by, and its like, in percent.

    ``top1`` and ``top5`` on real validation images, of the mean of the heads, and with ``/<head>`` of each;
    ``factor/<head>`` and ``factor5/<head>``, how often a head names its own factor of unseen counterfactuals first
    and among its first five (docs/imagenet.md, 10.1), and ``factor_shuffled/<head>`` with shuffled labels, a null.
    """
    top = classify.top_k
    scores, labels = classify.scores(ensemble, world.real("val"), workers)
    columns = {"": "avg"} | {f"/{head}": head for head in HEADS}
    row = {f"top{k}{end}": top(scores[name], labels, k) for k in (1, 5) for end, name in columns.items()}
    if unseen is not None:
        scores, labels = classify.scores(ensemble, unseen, workers)
        shuffled = labels[rng.permutation(len(labels), "shuffled factors")]
        for name, k, given in (("factor", 1, labels), ("factor5", 5, labels), ("factor_shuffled", 1, shuffled)):
            row |= {f"{name}/{head}": top(scores[head], given[:, i], k) for i, head in enumerate(HEADS)}
    return row


def reliance(world: World, ensemble: nn.Module, workers: int = 0) -> dict[str, float]:
    """What a classifier relies on, in percent: ``<set>/<prediction>`` for the sets of the backgrounds challenge and
    ``gap/<prediction>``, ``mixed_same`` minus ``mixed_rand``; ``shape_bias`` and ``decided/<prediction>``."""
    mapping = world.superclasses()
    found = {
        name: accuracies(*classify.scores(ensemble, world.challenge(name), workers), mapping) for name in CHALLENGE_SETS
    }
    row = {f"{name}/{head}": value for name, each in found.items() for head, value in each.items()}
    row |= {f"gap/{head}": value - found["mixed_rand"][head] for head, value in found["mixed_same"].items()}
    decided, labels = _conflict(world, ensemble, workers)
    for head, categories in decided.items():
        bias = shape_bias(categories, labels[:, 0], labels[:, 1])
        row |= {f"{name}/{head}": value for name, value in bias.items()}
    return row


def out_of_distribution(world: World, ensemble: nn.Module, workers: int = 0) -> dict[str, float]:
    """Top-1 of the mean of the heads, in percent, on the out-of-distribution sets of Bagad et al.: those of the world,
    among the classes that a set has, and cue conflict, where the shape is right and images whose shape and texture
    agree count too."""
    found = {}
    for name, (data, classes) in world.out_of_distribution().items():
        scores, labels = classify.scores(ensemble, data, workers)
        found[name] = classify.top_k(scores["avg"][:, classes], labels, 1)
    decided, labels = _conflict(world, ensemble, workers)
    by_shape = decided["avg"] == labels[:, 0]
    return found | {"cue conflict": 100 * float(by_shape.double().mean())}


def _conflict(world: World, ensemble: nn.Module, workers: int) -> tuple[dict[str, Tensor], Tensor]:
    """The category that every prediction decides for, and those of shape and texture."""
    conflict, groups = world.conflict()
    scores, labels = classify.scores(ensemble, conflict, workers)
    return {head: decisions(logits, groups) for head, logits in scores.items()}, labels
