"""What a classifier of natural images relies on: the backgrounds challenge, and cue conflict (docs/imagenet.md, 10.2
and 10.3).

The backgrounds challenge is accuracy on IN-9, nine superclasses: a test image keeps its object and gets a background of
its own superclass (``mixed_same``) or of a random one (``mixed_rand``). The gap between the two says how much the
background is read. Shape bias is measured on images whose shape and texture disagree (Geirhos et al. 2019).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from reprolib.natural import classify
from reprolib.natural.classify import HEADS
from reprolib.natural.datasets import Images
from reprolib.natural.world import World
from reprolib.run import rng

CHALLENGE_SETS = ("original", "mixed_same", "mixed_rand")


def accuracies(scores: dict[str, Tensor], labels: Tensor, mapping: Tensor) -> dict[str, float]:
    """Accuracy in percent of every prediction, logits (N, classes), over a test set of superclass labels (N,).

    mapping: class -> superclass. Of all images, 4,050 on IN-9; the released code divides by full batches, 4,064, and
    gets every accuracy too low.
    """
    right = {name: int((mapping[logits.argmax(1)] == labels).sum()) for name, logits in scores.items()}
    return {name: 100 * count / len(labels) for name, count in right.items()}


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
