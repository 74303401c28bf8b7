"""The quality of a CGN as numbers: are its masks digits, and does each mechanism control its own factor?

The studies before judged by eye. Here a digit is *good* if a classifier of masks that also knows what is no digit
recognises at least 80 % of its masks (docs/mnist.md, section 6), if it stands in front of the ground and is as large as
real digits, and if its masks differ as real digits do. Three classifiers that were trained on images with random
attributes read shape, foreground and background of counterfactuals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from reprolib.mnist import classifier as classifiers
from reprolib.mnist import counterfactuals, variants
from reprolib.mnist.cgn import CGN, CLASSES, shift
from reprolib.mnist.classifier import Classifier
from reprolib.mnist.digits import Digits
from reprolib.mnist.textures import Textures
from reprolib.run import rng
from reprolib.run.store import Checkpoint, Result
from reprolib.statistics import share_interval

Factor = Literal["shape", "foreground", "background"]
FACTORS: tuple[Factor, ...] = ("shape", "foreground", "background")
GOOD = 0.8
NO_DIGIT = CLASSES
"""The label of what is no digit."""
DISTINCT = 4
"""Masks of a digit differ less than allowed if they are more alike than four real digits that are shown by turns."""
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


def worn_masks(masks: Tensor, *key: str | int) -> Tensor:
    """Digits as a CGN that is not perfect may draw them, still to be read: float32 (N, 1, 32, 32) in [0, 1].

    Up to a twentieth of the pixels within a pixel of the digit, and a hundredth of the others, are flipped; then edges
    are softened, each mask by its own degree. masks: 0 or 1.
    """
    with rng.seeded("worn masks", *key):
        rate, soft = torch.rand(2, len(masks), 1, 1, 1)
        near = F.max_pool2d(masks, 3, stride=1, padding=1)
        flipped = torch.rand_like(masks) < rate * torch.where(near > 0, 0.05, 0.01)
        worn = torch.where(flipped, 1 - masks, masks)
        return torch.lerp(worn, F.avg_pool2d(worn, 3, stride=1, padding=1), soft / 2)


def broken_masks(masks: Tensor, *key: str | int) -> Tensor:
    """What is no digit, made from true masks, eight kinds in equal numbers: float32 (N, 1, 32, 32) in [0, 1].

    Inverted digits; one level everywhere, black and white among them; noise; blobs; digits that are cut and displaced
    so far that they go on at the opposite border; those pasted into half of another digit; two digits at once, in grey;
    and digits of less than half the contrast. masks: 0 or 1.
    """
    with rng.seeded("broken masks", *key):
        inverted, flat, noise, blobs, torn, pasted, mixed, faint = masks[torch.randperm(len(masks))].tensor_split(8)
        level = torch.rand(len(masks), 1, 1, 1).tensor_split(8)
        flat = (3 * level[1] - 1).clamp(0, 1).expand_as(flat)
        noise = (torch.rand_like(noise) < level[2]).float()
        smooth = F.avg_pool2d(torch.rand_like(blobs), 9, stride=1, padding=4, count_include_pad=False)
        blobs = (smooth.flatten(1).argsort(1).argsort(1) < 32 * 32 * level[3].flatten(1)).float().view_as(blobs)
        torn, moved = (shift(digits, *torch.randint(8, 25, (2, len(digits)))) for digits in (torn, pasted))
        pasted = torch.where(torch.arange(32) < 16, pasted, moved)
        mixed = (mixed + mixed.roll(1, dims=0)) / 2
        faint = (level[7] + torch.rand_like(level[7]) * faint) / 2
    return torch.cat([1 - inverted, flat, noise, blobs, torn, pasted, mixed, faint])


def train_reader(training: Digits, held_out: Digits, checkpoint: Checkpoint) -> Result:
    """A classifier of masks at 32x32 into ten digits, half of them worn, and ``NO_DIGIT``, which every third mask is.

    Numbers: its accuracy on held-out masks per epoch: ``test`` for true ones, ``worn`` and ``no_digit``.
    """
    training = _some(training)
    seen, unseen = true_masks(training), true_masks(held_out)
    broken, broken_unseen = (broken_masks((masks + 1) / 2, i) * 2 - 1 for i, masks in enumerate((seen, unseen)))
    broken = broken[rng.permutation(len(broken), "broken masks of the reader")[: len(seen) // 2]]
    worn, worn_unseen = (worn_masks((masks + 1) / 2, i) * 2 - 1 for i, masks in enumerate((seen, unseen)))
    seen = torch.where(torch.arange(len(seen)).view(-1, 1, 1, 1) % 4 < 2, seen, worn)
    labels, labels_unseen = (torch.full((len(masks),), NO_DIGIT) for masks in (broken, broken_unseen))
    tests = {
        "test": (unseen, held_out.labels),
        "worn": (worn_unseen, held_out.labels),
        "no_digit": (broken_unseen, labels_unseen),
    }
    images, labels = torch.cat([seen, broken]), torch.cat([training.labels, labels])
    task = classifiers.Task(images, labels, tests, ("digit reader",), NO_DIGIT + 1)
    return _reader(task, len(training), "digit reader", checkpoint)


def train_factor_reader(
    variant: str, factor: Factor, training: Digits, held_out: Digits, textures: Textures, checkpoint: Checkpoint
) -> Result:
    """A classifier of one factor of painted images whose three factors are independent."""
    training = _some(training)
    seen, unseen = (
        variants.paint(variant, digits, split, attributes="random", textures=textures)
        for digits, split in ((training, "reader train"), (held_out, "reader test"))
    )
    tests = {"test": (unseen.images, _target(unseen, factor))}
    task = classifiers.Task(seen.images, _target(seen, factor), tests, ("factor reader", variant, factor))
    return _reader(task, len(training), f"reader of {factor}, {variant}", checkpoint)


def _some(training: Digits) -> Digits:
    """As many digits as a reader is trained on."""
    if len(training) <= READER_IMAGES:
        return training
    return training[rng.permutation(len(training), "reader digits")[:READER_IMAGES]]


def _reader(task: classifiers.Task, digits: int, title: str, checkpoint: Checkpoint) -> Result:
    """Train a reader: a few epochs, and twice as many when there are few digits."""
    epochs = READER_EPOCHS * max(1, min(2, READER_IMAGES // digits))
    model, history = classifiers.train(task, epochs=epochs, batch=READER_BATCH, checkpoint=checkpoint, title=title)
    return Result({"history": history}, {name: value.contiguous() for name, value in model.state_dict().items()})


def _target(images: variants.Images, factor: Factor) -> Tensor:
    target: Tensor = images.labels if factor == "shape" else getattr(images, factor)
    return target


@dataclass(frozen=True)
class Bounds:
    """What real digits of a variant allow, digit by digit."""

    area: Tensor
    """float32 (10, 2): the mean mask of 95 % of the real digits lies between these."""
    iou: Tensor
    """float32 (10,): the highest pairwise IoU, reached by ``DISTINCT`` real digits that are shown by turns."""


def bounds(masks: Tensor, labels: Tensor) -> Bounds:
    """Bounds from true masks, bool (N, 1, 32, 32), and their labels; the first 1,000 of each digit count."""
    each = [masks[labels == digit][:1000].float() for digit in range(CLASSES)]
    areas = [of_digit.mean((1, 2, 3)).quantile(torch.tensor([0.025, 0.975])) for of_digit in each]
    real = torch.tensor([pairwise_iou(of_digit) for of_digit in each])
    return Bounds(torch.stack(areas), real + (1 - real) / DISTINCT)


def pairwise_iou(masks: Tensor) -> float:
    """Mean intersection over union of all pairs of masks, (N, 1, 32, 32), cut at 0.5; two empty masks are the same."""
    cut = (masks > 0.5).flatten(1).float()
    both, area = cut @ cut.T, cut.sum(1)
    either = area[:, None] + area - both
    shares = torch.where(either > 0, both / either.clamp(min=1), 1.0)
    return float((shares.sum() - len(masks)) / (len(masks) * (len(masks) - 1)))


def mask_quality(model: CGN, reader: Classifier, real: Bounds, per_digit: int) -> dict[str, Any]:
    """How far the masks of a CGN are digits; all but the last entries are lists, digit by digit.

    ``recognised``: share of masks that the reader takes for that digit. ``area``: mean mask; ``border``: the same two
    pixels wide along the border, which is less than half as much where the digit stands in front. ``pairwise_iou``:
    1 for one mask throughout. ``good``: all four as they should be. ``good_digits``: how many, with
    ``good_digits_low`` and ``good_digits_high``, the sampling interval of ``recognised``. ``mean_mask``: of all.
    """
    masks, labels = counterfactuals.masks(model, per_digit, ("quality",))
    correct = (classifiers.predict(reader, masks * 2 - 1) == labels).view(CLASSES, per_digit)
    masks = masks.view(CLASSES, per_digit, 1, 32, 32)
    recognised: list[float] = correct.double().mean(1).tolist()
    area = masks.mean((1, 2, 3, 4))
    frame = F.pad(torch.zeros(28, 28), (2, 2, 2, 2), value=1.0) > 0
    border = masks[..., frame].mean((1, 2, 3))
    iou = torch.tensor([pairwise_iou(of_digit) for of_digit in masks])
    sound = (area >= real.area[:, 0]) & (area <= real.area[:, 1]) & (border < area / 2) & (iou <= real.iou)
    ends = [share_interval(round(share * per_digit), per_digit) for share in recognised]
    low, high = (torch.tensor([end / 100 for end in each]) for each in zip(*ends, strict=True))
    share = torch.tensor(recognised)
    lists = {"recognised": share, "area": area, "border": border, "pairwise_iou": iou}
    return {name: [round(float(x), 4) for x in values] for name, values in lists.items()} | {
        "good": (sound & (share >= GOOD)).tolist(),
        "good_digits": int((sound & (share >= GOOD)).sum()),
        "good_digits_low": int((sound & (low >= GOOD)).sum()),
        "good_digits_high": int((sound & (high >= GOOD)).sum()),
        "mean_mask": float(masks.mean()),
    }


def control(model: CGN, readers: dict[Factor, Classifier], size: int) -> tuple[dict[str, dict[str, float]], int]:
    """Which label decides which factor of a counterfactual: 3x3 shares in percent, and over how many images.

    ``control[factor][label]``: how often the factor is read as the label that mechanism ``label`` was given, over
    those of ``size`` images whose three independent labels differ. Perfect control: 100 on the diagonal, 0 elsewhere.
    """
    made = counterfactuals.counterfactuals(model, size, 1, ("control",), "independent")
    given = [_target(made, factor) for factor in FACTORS]
    shape, foreground, background = given
    apart = (shape != foreground) & (shape != background) & (foreground != background)
    table: dict[str, dict[str, float]] = {}
    for factor, reader in readers.items():
        read = classifiers.predict(reader, made.images[apart])
        shares = (classifiers.accuracy(read, labels[apart]) for labels in given)
        table[factor] = dict(zip(FACTORS, shares, strict=True))
    return table, int(apart.sum())


def diagonal(control_table: dict[str, dict[str, float]], names: tuple[Factor, ...]) -> float:
    """Mean share, in percent, with which the named factors follow their own labels."""
    own = torch.tensor([control_table[name][name] for name in names if name in control_table])
    return float(own.mean())
