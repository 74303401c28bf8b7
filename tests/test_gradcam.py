"""GradCAM and its measures: held to a hand-written GradCAM and to cases whose values are known by hand."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from pytorch_grad_cam import GradCAM
from torch import Tensor, nn

from reprolib import gradcam
from reprolib.mnist.classifier import Classifier


@pytest.fixture
def model() -> Classifier:
    torch.manual_seed(0)
    made = Classifier()
    nn.init.normal_(made.cls[0].weight, std=3.0)  # so that the classes differ clearly
    return made.eval()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(12, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


def _target(model: Classifier) -> nn.Module:
    return model.model[Classifier.last_relu]


def test_heatmaps_equal_those_of_the_package(model: Classifier, images: Tensor) -> None:
    maps = gradcam.heatmaps(model, _target(model), images)
    assert maps.shape == (12, 32, 32) and maps.dtype == torch.float32
    assert (~gradcam.empty(maps)).sum() >= 6  # else there would be nothing to compare
    package = GradCAM(model, [_target(model)])(images.clone().requires_grad_(), None)
    torch.testing.assert_close(maps, torch.from_numpy(package), atol=2e-6, rtol=0)


def test_a_batch_equals_one_image_at_a_time(model: Classifier, images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    together = gradcam.heatmaps(model, _target(model), images)
    alone = torch.cat([gradcam.heatmaps(model, _target(model), image[None]) for image in images])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    monkeypatch.setattr(gradcam, "BATCH", 5)
    torch.testing.assert_close(gradcam.heatmaps(model, _target(model), images), together, atol=1e-5, rtol=0)


@pytest.mark.parametrize("training", [True, False])
def test_nothing_is_left_behind(model: Classifier, images: Tensor, training: bool) -> None:
    model.train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    gradcam.heatmaps(model, _target(model), images)
    assert model.training == training and all(part.training == training for part in model.modules())
    assert not any(part._forward_hooks or part._backward_hooks for part in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert images.grad is None and not images.requires_grad


@pytest.mark.parametrize("error", [IndexError, RuntimeError])
def test_an_error_in_the_model_is_raised_and_leaves_no_hook(
    model: Classifier, images: Tensor, error: type[Exception]
) -> None:
    def fail(*_: object) -> None:
        raise error("inside")

    model.train()
    handle = model.cls.register_forward_pre_hook(fail)
    with pytest.raises(error, match="inside"):
        gradcam.heatmaps(model, _target(model), images)
    handle.remove()
    assert model.training and not any(part._forward_hooks for part in model.modules())


def test_the_output_of_the_relu_does_not_depend_on_where_it_is_written(model: Classifier, images: Tensor) -> None:
    in_place = copy.deepcopy(model)
    for part in in_place.modules():
        if isinstance(part, nn.ReLU):
            part.inplace = True
    expected = gradcam.heatmaps(model, _target(model), images)
    torch.testing.assert_close(gradcam.heatmaps(in_place, _target(in_place), images), expected)
    # Also in front of the ReLU, where the package's stored activation is overwritten on a CPU.
    convolution = [gradcam.heatmaps(some, some.model[8], images) for some in (model, in_place)]
    torch.testing.assert_close(*convolution)
    assert not torch.allclose(convolution[0], expected, atol=0.01)


def test_a_map_without_positive_evidence_is_empty(model: Classifier, images: Tensor) -> None:
    """Class 0 always wins by its bias, and every feature speaks against it."""
    nn.init.constant_(model.cls[0].weight, 0.01)
    nn.init.zeros_(model.cls[0].weight[0])
    nn.init.zeros_(model.cls[0].bias)
    model.cls[0].bias.data[0] = 1
    maps = gradcam.heatmaps(model, _target(model), images)
    assert gradcam.empty(maps).all() and not maps.any() and not maps.isnan().any()


def test_random_heatmaps_are_the_same_each_time_and_leave_numpy_alone(model: Classifier, images: Tensor) -> None:
    np.random.seed(5)
    expected = np.random.RandomState(5).rand(3)
    first = gradcam.random_heatmaps(model, _target(model), images)
    np.testing.assert_array_equal(np.random.rand(3), expected)
    np.random.seed(6)
    assert torch.equal(gradcam.random_heatmaps(model, _target(model), images), first)
    assert not torch.allclose(first, gradcam.heatmaps(model, _target(model), images), atol=0.1)


@pytest.mark.parametrize(
    ("predicted", "truth", "expected"),
    [([1, 1, 0, 0], [1, 1, 0, 0], 1), ([1, 1, 0, 0], [0, 0, 1, 1], 0), ([1, 1, 1, 0], [0, 1, 1, 1], 1 / 2),
     ([0, 0, 0, 0], [0, 0, 0, 0], 1), ([0, 0, 0, 0], [1, 0, 0, 0], 0), ([1, 1, 1, 1], [1, 0, 0, 0], 1 / 4)],
)  # fmt: skip
def test_intersection_over_union(predicted: list[int], truth: list[int], expected: float) -> None:
    a, b = (torch.tensor(some, dtype=torch.bool).reshape(1, 2, 2) for some in (predicted, truth))
    assert gradcam.intersection_over_union(a, b).tolist() == pytest.approx([expected])


def _masks(n: int = 8) -> Tensor:
    return (
        torch.rand(n, 32, 32, generator=torch.Generator().manual_seed(2)) < torch.linspace(0.05, 0.4, n)[:, None, None]
    )


@pytest.mark.parametrize("ties", [False, True])
def test_area_matched_picks_as_many_of_the_highest_pixels_as_the_digit_has(ties: bool) -> None:
    masks = _masks()
    maps = torch.rand(8, 32, 32, generator=torch.Generator().manual_seed(3)) + 0.01
    maps = maps.mul(4).ceil() / 4 if ties else maps
    picked = gradcam.area_matched(maps, masks)
    assert torch.equal(picked.flatten(1).sum(1), masks.flatten(1).sum(1))
    for here, chosen in zip(maps, picked, strict=True):
        assert here[chosen].min() >= here[~chosen].max()


def test_area_matched_picks_nothing_without_evidence() -> None:
    assert not gradcam.area_matched(torch.zeros(8, 32, 32), _masks()).any()


def test_maps_that_know_nothing_score_what_their_area_gives() -> None:
    masks = _masks()
    share = float(masks.float().mean())
    nulls = gradcam.null_measures(masks.float(), masks)
    zero, uniform = nulls["all zero"], nulls["uniform"]
    assert zero["iou_macro"] == pytest.approx((1 - share) / 2, abs=1e-6)
    assert (zero["empty"], zero["mass_inside"], zero["iou_digit"], zero["iou_area"]) == (1, 0, 0, 0)
    assert uniform["mass_inside"] == pytest.approx(share, abs=1e-6)
    assert uniform["iou_digit"] == pytest.approx(share, abs=1e-6)
    assert uniform["iou_macro"] == pytest.approx(share / 2, abs=1e-6) and uniform["empty"] == 0
    assert nulls["shuffled"]["iou_digit"] < 0.5


def test_a_map_that_is_the_digit_wins_every_measure() -> None:
    masks = _masks()
    perfect = {"empty": 0.0, "mass_inside": 1.0, "iou_digit": 1.0, "iou_macro": 1.0, "iou_area": 1.0}
    assert gradcam.measures(masks.float(), masks) == pytest.approx(perfect)


def test_empty_maps_are_left_out_of_the_mass_only() -> None:
    masks = _masks(2)
    maps = masks.float()
    maps[1] = 0
    found = gradcam.measures(maps, masks)
    assert (found["empty"], found["mass_inside"], found["iou_digit"], found["iou_area"]) == (0.5, 1, 0.5, 0.5)


@pytest.mark.parametrize(("along_digits", "along_themes"), [(True, False), (False, True), (False, False)])
def test_variance_is_split_by_direction(along_digits: bool, along_themes: bool) -> None:
    value = torch.arange(10.0) / 10
    grid = torch.zeros(10, 10, 32, 32)
    grid += value[:, None, None, None] * along_digits + value[None, :, None, None] * along_themes
    split = gradcam.variance_split(grid)
    assert split["along_digits"] == pytest.approx(0.0825 * along_digits)  # variance of 0, 0.1, ..., 0.9
    assert split["along_themes"] == pytest.approx(0.0825 * along_themes)
