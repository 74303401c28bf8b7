"""The quality of a CGN as numbers: are its masks digits, and does each mechanism control its own factor?

The studies before judged by eye. Here a plain digit classifier, trained on the true masks of real digits, reads the
masks (spec/mnist.md, section 6: a digit is *good* if at least 80 % of its masks are recognised), and three classifiers
that were trained on images with random attributes read shape, foreground and background of counterfactuals.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from reprolib import rng
from reprolib.mnist import classifier as classifiers
from reprolib.mnist import counterfactuals, variants
from reprolib.mnist.cgn import CGN
from reprolib.mnist.classifier import Classifier
from reprolib.mnist.digits import Digits
from reprolib.mnist.textures import Textures
from reprolib.store import Checkpoint, Result

Factor = Literal["shape", "foreground", "background"]
FACTORS: tuple[Factor, ...] = ("shape", "foreground", "background")
GOOD = 0.8
READER_EPOCHS = 3
READER_IMAGES = 20_000
READER_BATCH = 16
"""Many small steps: with batches of 64, three epochs do not suffice for shape on Wildlife MNIST."""


def factors(variant: str) -> tuple[Factor, ...]:
    """The factors that vary in a variant: Colored MNIST has a black background always."""
    return FACTORS[:2] if variant == "colored_MNIST" else FACTORS


def true_masks(digits: Digits) -> Tensor:
    """Real digits as a perfect mask would show them, both kinds in turn: float32 (N, 1, 32, 32), -1 or 1."""
    thin, full = (variants.binarise(digits.images, *kind) for kind in (variants.COLORED, variants.OTHERS))
    first = torch.arange(len(digits)) % 2 == 0
    return torch.where(first[:, None, None, None], thin, full).float() * 2 - 1


def train_reader(training: Digits, held_out: Digits, checkpoint: Checkpoint) -> Result:
    """A plain MNIST classifier of masks at 32x32. Numbers: its accuracy on held-out true masks per epoch."""
    tests = {"test": (true_masks(held_out), held_out.labels)}
    model, history = classifiers.train(
        classifiers.Task(true_masks(training), training.labels, tests, ("digit reader",)),
        epochs=_epochs(len(training)),
        batch=READER_BATCH,
        checkpoint=checkpoint,
        title="digit reader",
    )
    return Result({"history": history}, {name: value.contiguous() for name, value in model.state_dict().items()})


def train_factor_reader(
    variant: str, factor: Factor, training: Digits, held_out: Digits, textures: Textures, checkpoint: Checkpoint
) -> Result:
    """A classifier of one factor of painted images whose three factors are independent."""
    if len(training) > READER_IMAGES:
        training = training[rng.permutation(len(training), "reader digits")[:READER_IMAGES]]
    seen, unseen = (
        variants.paint(variant, some, split, attributes="random", textures=textures)
        for some, split in ((training, "reader train"), (held_out, "reader test"))
    )
    tests = {"test": (unseen.images, _target(unseen, factor))}
    model, history = classifiers.train(
        classifiers.Task(seen.images, _target(seen, factor), tests, ("factor reader", variant, factor)),
        epochs=_epochs(len(training)),
        batch=READER_BATCH,
        checkpoint=checkpoint,
        title=f"reader of {factor}, {variant}",
    )
    return Result({"history": history}, {name: value.contiguous() for name, value in model.state_dict().items()})


def _epochs(images: int) -> int:
    """A few epochs, and twice as many when there are few images."""
    return READER_EPOCHS * max(1, min(2, READER_IMAGES // images))


def _target(some: variants.Painted | counterfactuals.Generated, factor: Factor) -> Tensor:
    target: Tensor = some.labels if factor == "shape" else getattr(some, factor)
    return target


def mask_quality(model: CGN, reader: Classifier, per_digit: int) -> dict[str, Any]:
    """``recognised``: share of masks per digit that the reader takes for that digit; ``good_digits``: how many
    digits reach 80 %; ``mean_mask``: mean mask value."""
    masks, labels = counterfactuals.masks(model, per_digit, ("quality",))
    correct = classifiers.predict(reader, masks * 2 - 1) == labels
    recognised = [float(share) for share in correct.reshape(10, per_digit).float().mean(1)]
    return {
        "recognised": [round(share, 4) for share in recognised],
        "good_digits": sum(share >= GOOD for share in recognised),
        "mean_mask": float(masks.mean()),
    }


def control(model: CGN, readers: dict[Factor, Classifier], size: int) -> dict[str, dict[str, float]]:
    """Which label decides which factor of a counterfactual: 3x3 shares in percent, over independent labels.

    ``control[factor][label]``: how often the factor is read as the label that mechanism ``label`` was given, over
    the images where the three labels differ. Perfect control is 100 on the diagonal and 0 elsewhere.
    """
    made = counterfactuals.counterfactuals(model, size, 1, ("control",), "independent")
    given = {factor: _target(made, factor) for factor in FACTORS}
    apart = (
        (given["shape"] != given["foreground"])
        & (given["shape"] != given["background"])
        & (given["foreground"] != given["background"])
    )
    table: dict[str, dict[str, float]] = {}
    for factor, reader in readers.items():
        read = classifiers.predict(reader, made.images[apart])
        table[factor] = {name: classifiers.accuracy(read, labels[apart]) for name, labels in given.items()}
    return table


def diagonal(control_table: dict[str, dict[str, float]], names: tuple[Factor, ...]) -> float:
    """Mean share, in percent, with which the named factors follow their own labels."""
    own = torch.tensor([control_table[name][name] for name in names if name in control_table])
    return float(own.mean())
