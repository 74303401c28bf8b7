"""Inception Score, backgrounds challenge, cue conflict and the ensemble: formulas, published counts, bookkeeping."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from reprolib import features, gradcam, params
from reprolib.natural import classify, quality, robustness
from reprolib.run import AssetError
from reprolib.worlds import imagenet
from reprolib.worlds.imagenet import ImageNet
from reprolib.worlds.scenes import Scenes

# -------------------------------------------------------------------- Inception Score


@pytest.mark.parametrize("classes", [2, 9, 1000])
def test_the_score_is_one_for_equal_rows_and_the_number_of_classes_for_sure_balanced_ones(classes: int) -> None:
    uniform = torch.full((50, classes), 1 / classes)
    assert quality.inception_score(uniform) == pytest.approx([1.0])
    assert quality.inception_score(torch.eye(classes).repeat(2, 1)) == pytest.approx([classes])


def test_the_score_is_the_exponential_of_the_mutual_information() -> None:
    p = torch.rand(40, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    p = p / p.sum(1, keepdim=True)
    marginal = p.mean(0)
    entropy = -(marginal * marginal.log()).sum() + (p * p.log()).sum(1).mean()
    assert quality.inception_score(p) == pytest.approx([float(entropy.exp())])


def test_splits_are_scored_apart() -> None:
    rows = torch.cat([torch.eye(4), torch.full((4, 4), 0.25)])
    assert quality.inception_score(rows, splits=2) == pytest.approx([4.0, 1.0])
    with pytest.raises(ValueError, match="8 images cannot be parted into 9"):
        quality.inception_score(rows, splits=9)


def test_probabilities_do_not_depend_on_the_batch() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5))
    images = torch.randn(7, 3, 8, 8)
    whole = quality.probabilities(images, network)
    torch.testing.assert_close(quality.probabilities(images, network, batch=2), whole)
    assert whole.dtype == torch.float64 and whole.sum(1).allclose(torch.ones(7, dtype=torch.float64))


# -------------------------------------------------------------------- backgrounds challenge


def test_superclasses_have_the_published_sizes() -> None:
    table = ImageNet(params.load("gpu").imagenet).superclasses()
    counts = [int((table == number).sum()) for number in range(9)]
    assert counts == [116, 52, 42, 36, 35, 27, 26, 20, 16] and int((table >= 0).sum()) == 370
    assert [int(table[i]) for i in (207, 9, 817, 38, 291, 309, 402, 366, 0, 999)] == [0, 1, 2, 3, 4, 5, 6, 7, 8, -1]


def _logits(*classes: int, count: int = 1000) -> Tensor:
    return nn.functional.one_hot(torch.tensor(classes), count).float()


def test_accuracy_counts_images_and_classes_outside_are_wrong() -> None:
    scores, labels = {"avg": _logits(207, 9, 999, 0), "shape": _logits(*(207,) * 4)}, torch.tensor([0, 1, 0, 8])
    found = robustness.accuracies(scores, labels, ImageNet(params.load("gpu").imagenet).superclasses())
    assert found == pytest.approx({"avg": 75.0, "shape": 50.0})


# -------------------------------------------------------------------- cue conflict


def test_categories_have_the_published_classes() -> None:
    groups = [imagenet.numbers(text) for text in imagenet.CATEGORIES.values()]
    assert len(groups) == 16 and list(imagenet.CATEGORIES) == sorted(imagenet.CATEGORIES)
    sizes = dict(zip(imagenet.CATEGORIES, map(len, groups), strict=True))
    assert sizes["knife"] == 1 and sizes["cat"] == 6 and sizes["truck"] == 8 and sizes["dog"] > 100
    everything = [index for group in groups for index in group]
    assert len(everything) == len(set(everything)) and max(everything) < 1000


def test_names_say_shape_and_texture() -> None:
    assert imagenet.labels_of(Path("x/cat7-elephant1.png")) == (7, 11)
    for name in ("cat7-unicorn1.png", "cat-elephant.png", "cat7-elephant1.jpg"):
        with pytest.raises(AssetError, match="not named"):
            imagenet.labels_of(Path(name))


def test_a_category_is_scored_by_the_mean_of_its_classes() -> None:
    logits = torch.tensor([[2.0, 0.0, 0.0, 1.5], [0.0, 3.0, 3.0, 2.9]])
    groups = [[0, 1], [2], [3]]
    # first row: the sum over group 0 would win, its mean loses to class 3
    probability = logits.double().softmax(1)
    assert probability[0, :2].sum() > probability[0, 3] > probability[0, :2].mean()
    assert robustness.decisions(logits, groups).tolist() == [2, 1]


def test_shape_bias_leaves_agreeing_images_out() -> None:
    shape, texture = torch.tensor([0, 0, 0, 0, 1]), torch.tensor([1, 1, 1, 1, 1])
    found = robustness.shape_bias(torch.tensor([0, 0, 1, 2, 1]), shape, texture)
    assert found == pytest.approx({"shape_bias": 100 * 2 / 3, "decided": 75.0})
    nothing = robustness.shape_bias(torch.tensor([2, 2, 2, 2, 2]), shape, texture)
    assert nothing == {"shape_bias": 0.0, "decided": 0.0}


# -------------------------------------------------------------------- ensemble


class Reads(nn.Module):
    """Each head names its own column of an image that is three numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.parameter = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {head: F.one_hot(x[:, i, 0, 0].long(), 4).float() for i, head in enumerate(classify.HEADS)}


def test_each_head_is_held_against_its_own_label() -> None:
    """Shape, texture and background disagree everywhere; the right answer is that of one head each time."""

    def images(rows: Tensor, labels: Tensor) -> TensorDataset:
        return TensorDataset(rows[:, :, None, None].float(), labels)

    factors = torch.tensor([[0, 1, 2], [1, 2, 3], [2, 3, 0]])
    same = torch.tensor([[3, 3, 3], [1, 1, 1]])
    world: Any = SimpleNamespace(
        classes=4,
        real=lambda split: images(factors, factors[:, 0]),
        superclasses=lambda: torch.arange(4),
        challenge=lambda name: images(factors, factors[:, 2 if name == "mixed_same" else 0]),
        conflict=lambda: (images(factors, factors[:, :2]), [[0], [1], [2], [3]]),
        out_of_distribution=lambda: {"two": (images(same, torch.tensor([0, 1])), torch.tensor([3, 1]))},
    )
    found = robustness.accuracy(world, Reads(), unseen=images(factors, factors))
    assert [found[f"factor/{head}"] for head in classify.HEADS] == [100] * 3
    assert (found["top1/shape"], found["top1/texture"], found["top1/bg"]) == (100, 0, 0)
    found = robustness.reliance(world, Reads())
    assert (found["shape_bias/shape"], found["shape_bias/texture"]) == (100, 0)
    assert (found["gap/bg"], found["gap/shape"]) == (100, -100)
    assert robustness.out_of_distribution(world, Reads())["two"] == 100


class Small(classify.Ensemble):
    """A backbone of one convolution."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        layers = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        super().__init__(nn.Sequential(*layers), 8, 9)


def test_each_head_has_its_own_heatmap() -> None:
    model = Small()
    model.target = "2"
    images = torch.randn(3, 3, 8, 8)
    maps = classify.head_heatmaps(model, images)
    for head in classify.HEADS:
        alone = nn.Sequential(model.backbone, model.heads[head])
        own = gradcam.heatmaps(alone, model.backbone[2], images)
        assert torch.equal(maps[f"heatmaps/{head}"], (255 * own).round().byte())
    assert len({maps[f"heatmaps/{head}"].numpy().tobytes() for head in classify.HEADS}) == 3


def test_the_published_ensemble_has_the_published_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagenet, "_published", lambda name: ({}, name))
    monkeypatch.setattr(imagenet.weights, "load_strictly", lambda model, state, what: None)
    with torch.device("meta"):
        model = ImageNet(params.load("gpu").imagenet).ensemble()
        logits = model(torch.zeros(2, 3, 224, 224))
    assert sum(p.numel() for p in model.parameters()) == 29_655_032
    assert {name: tuple(score.shape) for name, score in logits.items()} == dict.fromkeys(classify.HEADS, (2, 1000))


def test_the_embedded_ensemble_starts_from_imagenet_features() -> None:
    model = Scenes(params.load("smoke").scenes).ensemble().eval()
    with torch.no_grad():
        scores = model(torch.randn(2, 3, 64, 64))
    assert {name: tuple(score.shape) for name, score in scores.items()} == dict.fromkeys(classify.HEADS, (2, 9))
    stem = features.lite0().conv_stem.weight
    assert any(torch.equal(p, stem) for p in model.backbone.parameters() if p.shape == stem.shape)


def test_predictions_are_heads_and_their_means() -> None:
    logits = Small().eval()(torch.randn(2, 3, 16, 16))
    found = classify.predictions(logits)
    assert tuple(found) == (*classify.HEADS, "avg", "shape_texture") and found["avg"].shape == (2, 9)
    torch.testing.assert_close(found["avg"], (logits["shape"] + logits["texture"] + logits["bg"]) / 3)
    torch.testing.assert_close(found["shape_texture"], (logits["shape"] + logits["texture"]) / 2)


def test_frozen_norms_keep_their_statistics_and_train_their_gain() -> None:
    model = Small().train()
    norm = model.backbone[1]
    before = norm.running_mean.clone()
    classify.real_loss(model(torch.randn(4, 3, 16, 16) + 1), torch.arange(4)).backward()
    assert torch.equal(norm.running_mean, before) and model.heads.training
    assert norm.weight.grad is not None and norm.weight.grad.abs().sum() > 0


def test_losses_are_those_of_the_specification() -> None:
    logits = {name: torch.randn(3, 9) for name in classify.HEADS}
    labels = {name: torch.randint(9, (3,)) for name in classify.HEADS}
    each = [nn.functional.cross_entropy(logits[name], labels[name]) for name in classify.HEADS]
    torch.testing.assert_close(classify.counterfactual_loss(logits, labels), each[0] + each[1] + each[2])
    together = nn.functional.cross_entropy(sum(logits.values()) / 3, labels["shape"])
    torch.testing.assert_close(classify.real_loss(logits, labels["shape"]), together)
