"""The loss terms against slow versions that are written from the formulas of the specification."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from reprolib import losses


def _gram_by_loops(image: Tensor) -> Tensor:
    channels, height, width = image.shape
    out = torch.zeros(channels, channels, dtype=image.dtype)
    for i in range(channels):
        for j in range(channels):
            for y in range(height):
                for x in range(width):
                    out[i, j] += image[i, y, x] * image[j, y, x]
    return out / (channels * height * width)


def _style_by_loops(generated: list[Tensor | None], real: list[Tensor | None], weights: list[float]) -> float:
    total = 0.0
    for g, r, weight in zip(generated, real, weights, strict=True):
        if g is None or r is None:
            continue
        batch, channels = g.shape[:2]
        distance = 0.0
        for b in range(batch):
            difference = _gram_by_loops(g[b]) - _gram_by_loops(r[b])
            distance += sum(abs(float(difference[i, j])) for i in range(channels) for j in range(channels))
        total += 5000 * weight**2 * distance / (batch * channels**2)
    return total


def _edge_by_loops(mask: Tensor, form: str) -> float:
    batch, _, height, width = mask.shape
    total = 0.0
    for b in range(batch):
        for y in range(height):
            for x in range(width):
                value = float(mask[b, 0, y, x])
                if form == "paper":
                    total += value if min(y, x) < 3 or max(y, x) >= height - 3 else 0.0
                else:  # 6 pixels at the top and left, 7 at the bottom and right; the centre counts negatively
                    border = min(y, x) < 6 or max(y, x) >= height - 7
                    total += 3 * (value if border else -value)  # their mask has three equal channels
    return total / (batch * height * width)


@pytest.fixture
def taps() -> tuple[list[Tensor | None], list[Tensor | None]]:
    torch.manual_seed(0)
    shapes = [(2, 3, 4, 5), (2, 5, 3, 2), (2, 2, 2, 2)]
    made = [[torch.randn(shape, dtype=torch.float64) for shape in shapes] for _ in range(2)]
    return [*made[0], None], [*made[1], None]


@pytest.mark.parametrize("target", [0.0, 1.0])
@pytest.mark.parametrize("shape", [(7,), (2, 1, 3)])
def test_lsgan_is_the_mean_squared_distance_to_the_target(target: float, shape: tuple[int, ...]) -> None:
    score = torch.randn(shape, dtype=torch.float64)
    expected = sum((value - target) ** 2 for value in score.flatten().tolist()) / score.numel()
    assert float(losses.lsgan(score, target)) == pytest.approx(expected)


def test_entropy_of_halves_is_one_bit() -> None:
    assert float(losses.binary_entropy(torch.full((2, 1, 4, 4), 0.5))) == pytest.approx(1.0)


def test_entropy_of_a_mask_at_its_clamps_is_almost_zero() -> None:
    mask = torch.tensor([0.0001, 0.9999]).repeat(8).reshape(1, 1, 4, 4)
    assert 0 < float(losses.binary_entropy(mask)) < 0.002


def test_entropy_follows_the_formula_and_is_the_same_for_three_equal_channels() -> None:
    mask = torch.rand(3, 1, 5, 5, dtype=torch.float64).clamp(0.0001, 0.9999)
    values = mask.flatten().tolist()
    expected = sum(-p * math.log2(p) - (1 - p) * math.log2(1 - p) for p in values) / len(values)
    assert float(losses.binary_entropy(mask)) == pytest.approx(expected)
    assert float(losses.binary_entropy(mask.expand(-1, 3, -1, -1))) == pytest.approx(expected)


def test_gram_equals_the_sum_over_pixels() -> None:
    features = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    expected = torch.stack([_gram_by_loops(image) for image in features])
    torch.testing.assert_close(losses.gram(features), expected)


def test_gram_does_not_depend_on_the_memory_layout() -> None:
    features = torch.randn(2, 4, 3, 5)
    torch.testing.assert_close(
        losses.gram(features.contiguous(memory_format=torch.channels_last)), losses.gram(features)
    )


@pytest.mark.parametrize("weights", [[0.05, 0.1, 0.01, 0.0], [0.0, 0.05, 0.0, 0.0]])
def test_style_equals_the_sum_by_loops(
    taps: tuple[list[Tensor | None], list[Tensor | None]], weights: list[float]
) -> None:
    assert float(losses.style(*taps, weights)) == pytest.approx(_style_by_loops(*taps, weights), rel=1e-9)


def test_style_factor_of_the_published_weights() -> None:
    # docs/mnist.md, section 5: w = 0.05 enters with 12.5, 0.1 with 50 and 0.01 with 0.5
    one, zero = torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    distance = float(losses.gram(one))
    factors = [float(losses.style([one], [zero], [weight])) / distance for weight in (0.05, 0.1, 0.01)]
    assert factors == pytest.approx([12.5, 50.0, 0.5])


def test_style_without_any_weight_is_refused(taps: tuple[list[Tensor | None], list[Tensor | None]]) -> None:
    with pytest.raises(ValueError, match="give at least one tap a weight"):
        losses.style(*taps, [0.0, 0.0, 0.0, 0.0])


def test_style_refuses_taps_and_weights_of_different_number() -> None:
    with pytest.raises(ValueError, match="zip"):
        losses.style([torch.ones(1, 1, 1, 1)], [torch.ones(1, 1, 1, 1)], [1.0, 1.0])


@pytest.mark.parametrize("form", ["paper", "code"])
def test_edge_equals_the_sum_by_loops(form: str) -> None:
    mask = torch.rand(2, 1, 32, 32, dtype=torch.float64)
    assert float(losses.edge(mask, form)) == pytest.approx(_edge_by_loops(mask, form))


def test_edge_defaults_to_the_form_of_the_paper() -> None:
    mask = torch.rand(1, 1, 32, 32)
    assert torch.equal(losses.edge(mask), losses.edge(mask, "paper"))


@pytest.mark.parametrize(("form", "sign"), [("paper", 0.0), ("code", -1.0)])
def test_only_the_form_of_the_code_rewards_mask_in_the_centre(form: str, sign: float) -> None:
    mask = torch.full((1, 1, 32, 32), 0.5, requires_grad=True)
    (gradient,) = torch.autograd.grad(losses.edge(mask, form), mask)
    assert torch.sign(gradient[0, 0, 16, 16]) == sign
    assert gradient[0, 0, 0, 0] > 0


# -------------------------------------------------------------------- ImageNet


@pytest.mark.parametrize(("level", "expected"), [(0.05, 0.05), (0.1, 0.0), (0.5, 0.0), (0.9, 0.0), (0.97, 0.07)])
def test_mask_interval_is_the_distance_of_the_mean_to_the_allowed_band(level: float, expected: float) -> None:
    assert float(losses.mask_interval(torch.full((2, 1, 4, 4), level))) == pytest.approx(expected, abs=1e-6)


def test_mask_interval_is_taken_per_image() -> None:
    masks = torch.stack([torch.full((1, 4, 4), 0.0), torch.full((1, 4, 4), 1.0)])  # their common mean would be fine
    assert float(losses.mask_interval(masks)) == pytest.approx(0.1, abs=1e-6)
    assert float(losses.mask_interval(masks, low=0.03)) == pytest.approx(0.065, abs=1e-6)


def _slow_patch_grid(image: Tensor, mask: Tensor, drawn: Tensor, size: int, window: int, best: int) -> Tensor:
    """The patch grid of one image as the specification tells it: every window cut out and scored."""
    small, weight = (
        F.interpolate(x[None], size=(size, size), mode="bicubic", align_corners=False)[0] for x in (image, mask)
    )
    corners = [(r, c) for r in range(size - window + 1) for c in range(size - window + 1)]
    score = torch.stack([weight[0, r : r + window, c : c + window].mean() for r, c in corners])
    ranked = score.argsort(descending=True)[:best]
    cut = [small[:, r : r + window, c : c + window] for r, c in (corners[ranked[i]] for i in drawn.tolist())]
    rows = [torch.cat(cut[row * 6 : row * 6 + 6], dim=2) for row in range(6)]
    tile = torch.cat(rows, dim=1)
    return F.interpolate(tile[None], size=image.shape[1:], mode="bicubic", align_corners=False)[0]


def test_patch_grid_equals_cutting_every_window() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 40, 40, generator=generator) * 2 - 1
    mask = torch.rand(2, 1, 40, 40, generator=generator)
    torch.manual_seed(3)
    fast = losses.patch_grid(images, mask, size=24, window=5, best=20)
    torch.manual_seed(3)
    drawn = torch.randint(20, (2, 36))
    for i in range(2):
        slow = _slow_patch_grid(images[i], mask[i], drawn[i], 24, 5, 20)
        torch.testing.assert_close(fast[i], slow, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [(32, 32), (256, 100), (20, 31)])
def test_enlarging_by_matrices_equals_bicubic_interpolation(size: tuple[int, int]) -> None:
    image = torch.randn(2, 3, 20, 30, dtype=torch.float64)
    expected = F.interpolate(image, size=size, mode="bicubic", align_corners=False)
    torch.testing.assert_close(losses._enlarged(image, size), expected)


def test_patch_grid_shows_only_what_lies_under_the_mask() -> None:
    images = torch.full((1, 3, 64, 64), -0.5)
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 20:44, 20:44] = 1
    images[..., 16:48, 16:48] = 0.5
    grid = losses.patch_grid(images, mask, size=64, window=7, best=26)
    torch.testing.assert_close(grid, torch.full_like(grid, 0.5), atol=1e-4, rtol=0)


def test_random_fill_covers_the_image_with_the_object() -> None:
    images = torch.zeros(1, 3, 32, 32)
    images[..., 8:20, 10:22] = torch.rand(3, 12, 12) * 0.5 + 0.5
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 8:20, 10:22] = 0.9
    torch.manual_seed(0)
    filled = losses.random_fill(images, mask)
    covered = (filled[0] > 0.4).all(0).float().mean()
    assert 0.95 < covered <= 1
    inside = images[0][:, 8:20, 10:22].flatten(1)
    pixels = filled[0].flatten(1)[:, (filled[0] > 0.4).all(0).flatten()]
    assert all((inside == pixel[:, None]).all(0).any() for pixel in pixels.T[::50])  # every pixel is one of the object


def test_random_fill_ends_also_for_a_single_pixel() -> None:
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 5, 7] = 1
    images = torch.rand(1, 3, 64, 64)
    filled = losses.random_fill(images, mask)
    painted = (filled == images[..., 5:6, 7:8]).all(1).sum()
    assert painted == losses.MOST_PASTES + 1  # each paste lands on an empty pixel


def test_random_fill_leaves_an_image_without_an_object_alone() -> None:
    images = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(losses.random_fill(images, torch.full((1, 1, 16, 16), 0.4)), images)
