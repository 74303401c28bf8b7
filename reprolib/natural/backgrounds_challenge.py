"""The backgrounds challenge: accuracy on IN-9 when backgrounds are swapped (docs/imagenet.md, section 10.2).

Nine superclasses; a test image keeps its object and gets a background of its own superclass (``mixed_same``) or of a
random one (``mixed_rand``). The gap between the two accuracies says how much a classifier reads the background.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

VARIANTS = ("original", "mixed_same", "mixed_rand")
SUPERCLASSES = (
    "dog", "bird", "wheeled vehicle", "reptile", "carnivore", "insect", "musical instrument", "primate", "fish",
)  # fmt: skip
_INDICES = (
    "151-170 173-268",
    "7-24 87-100 127-146",
    "407-408 428 436 444 468 511 547 555 561 565 569 573 586 603 609 612 627 656 661 665 670-671 675 690 705 717 734 "
    "751 757 791 802-803 817 820 829 847 864 866-867 870 880",
    "33-68",
    "269-280 286-299 356-362 387-388",
    "300-326",
    "401-402 420 432 486 494 513 541 546 558 566 577 579 593-594 641-642 683-684 687 699 776 822 875 881 889",
    "365-384",
    "0-6 389-397",
)
"""ImageNet classes of each superclass, 370 of 1,000."""
OUTSIDE = -1
"""A class of no superclass; predicting it counts as wrong."""


def indices(text: str) -> list[int]:
    """``"0-2 7"`` -> [0, 1, 2, 7]."""
    spans = [part.split("-") for part in text.replace(",", " ").split()]
    return [number for span in spans for number in range(int(span[0]), int(span[-1]) + 1)]


def superclasses() -> Tensor:
    """int64 (1000,): the superclass of every ImageNet class, or OUTSIDE."""
    table = torch.full((1000,), OUTSIDE)
    for number, text in enumerate(_INDICES):
        table[indices(text)] = number
    return table


def accuracies(batches: Iterable[tuple[dict[str, Tensor], Tensor]], mapping: Tensor) -> dict[str, float]:
    """Accuracy in percent of every prediction over a test set.

    batches: (prediction name -> logits (B, classes), superclass labels (B,)). mapping: class -> superclass.
    Of all images, 4,050 on IN-9; the released code divides by full batches, 4,064, and gets every accuracy too low.
    """
    right: dict[str, int] = {}
    seen = 0
    for predictions, labels in batches:
        seen += len(labels)
        for name, logits in predictions.items():
            found = mapping.to(logits.device)[logits.argmax(1)].cpu() == labels.cpu()
            right[name] = right.get(name, 0) + int(found.sum())
    if seen == 0:
        raise ValueError("the test set is empty; check the folder that was given")
    return {name: 100 * count / seen for name, count in right.items()}


def gaps(results: dict[str, dict[str, float]]) -> dict[str, float]:
    """BG-gap of every prediction: accuracy on ``mixed_same`` minus that on ``mixed_rand``, in points."""
    return {name: value - results["mixed_rand"][name] for name, value in results["mixed_same"].items()}
