"""BigGAN: published sizes, the package's faults and their repair, strict loading, noise."""

from __future__ import annotations

import pytest
import torch
from pytorch_pretrained_biggan import BigGANConfig
from pytorch_pretrained_biggan.model import BigGAN, BigGANBatchNorm

from reprolib.natural import biggan
from reprolib.natural.cgn import CGN
from reprolib.natural.u2net import PLANS, U2Net
from reprolib.run import AssetError

TINY = "scenes-64-tiny"


@pytest.fixture(scope="module")
def model() -> BigGAN:
    torch.manual_seed(0)
    return biggan.build(TINY)


def _inputs(count: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    return biggan.noise(count, 32, 1.0, ("test",)), biggan.one_hot(torch.arange(count), 9)


@pytest.mark.parametrize(
    ("name", "parameters", "entries", "size"),
    [
        ("biggan-deep-256", 55_880_833, 602, 256),
        ("scenes-64", 1_236_113, 410, 64),
        (TINY, 310_569, 410, 64),
    ],
)
def test_sizes_are_the_published_ones(name: str, parameters: int, entries: int, size: int) -> None:
    chosen = biggan.ARCHITECTURES[name]
    with torch.device("meta"):
        config = BigGANConfig(
            z_dim=chosen.latent, channel_width=chosen.width, num_classes=chosen.classes,
            layers=[list(layer) for layer in chosen.layers], attention_layer_position=chosen.attention,
        )  # fmt: skip
        made = BigGAN(config)
    assert sum(p.numel() for p in made.parameters()) == parameters
    assert len(made.state_dict()) == entries and chosen.size == size


def test_a_new_model_gives_finite_images_in_range(model: BigGAN) -> None:
    u, y = _inputs()
    for truncation in (0.02, 0.505, 1.0):
        images = model(u, y, truncation)
        assert images.shape == (2, 3, 64, 64) and images.isfinite().all() and images.abs().max() < 1
    assert images.std() > 0.01


def test_the_packages_last_norm_is_uninitialised_and_ours_is_not(model: BigGAN) -> None:
    assert model.generator.bn.weight.eq(1).all() and model.generator.bn.bias.eq(0).all()


def test_batch_norm_equals_the_packages_where_that_is_right() -> None:
    torch.manual_seed(0)
    theirs = BigGANBatchNorm(6, 8, eps=1e-4).eval()
    theirs.running_means.normal_()
    theirs.running_vars.uniform_(0.5, 2)
    ours = biggan.BatchNorm(6, 8, eps=1e-4).eval()
    ours.load_state_dict(theirs.state_dict())
    biggan.settle(ours)
    theirs.load_state_dict(ours.state_dict())
    x, condition = torch.randn(3, 6, 5, 5), torch.randn(3, 8)
    for truncation in (0.3, 0.5, 1.0):  # exact multiples of 0.02: no interpolation
        torch.testing.assert_close(ours(x, truncation, condition), theirs(x, truncation, condition))


@pytest.mark.parametrize(
    ("truncation", "position"), [(0.505, 25.25), (0.58, 29), (0.14, 7), (0.28, 14), (0.94, 47), (1.0, 50), (0.02, 1)]
)
def test_statistics_are_interpolated_the_right_way_round(truncation: float, position: float) -> None:
    norm = biggan.BatchNorm(1, conditional=False)
    norm.running_means = torch.arange(51.0)[:, None]
    norm.running_vars = 2 * torch.arange(51.0)[:, None]
    mean, variance = norm.statistics(truncation)
    assert float(mean) == pytest.approx(position, abs=1e-5) and float(variance) == pytest.approx(2 * position, abs=1e-5)


def test_the_package_interpolates_the_wrong_way_round() -> None:
    """The package swaps the weights: 0.505 reads position 25.75. If this fails, the package was repaired."""
    norm = biggan.BatchNorm(1, conditional=False, eps=0.0)
    norm.running_means = torch.arange(51.0)[:, None]
    torch.nn.init.ones_(norm.weight), torch.nn.init.zeros_(norm.bias)
    x = torch.zeros(1, 1, 1, 1)
    assert norm(x, 0.505).item() == pytest.approx(-25.25, abs=1e-4)
    assert BigGANBatchNorm.forward(norm, x, 0.505).item() == pytest.approx(-25.75, abs=1e-4)


def test_settling_takes_the_spectral_norms_to_one(model: BigGAN) -> None:
    layer = model.generator.layers[0].conv_1
    model.eval()(*_inputs(), 1.0)  # computes the weight from the settled vectors
    largest = torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2)
    assert float(largest) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("embeddings.weight"), r"lacks embeddings\.weight; choose"),
        (lambda s: s.update(extra=torch.zeros(1)), "has unknown extra;"),
        (lambda s: s.update({"embeddings.weight": torch.zeros(2, 2)}), r"has another shape of embeddings\.weight"),
    ],
)
def test_the_state_of_another_model_is_refused(model: BigGAN, change: object, said: str) -> None:
    state = dict(model.state_dict())
    change(state)  # type: ignore[operator]
    with pytest.raises(AssetError, match=rf"weights\.pth {said}"):
        CGN(TINY, U2Net(PLANS["u2net-thin"])).start_from(state, "weights.pth")


def test_noise_is_truncated_and_each_sample_has_its_own_stream() -> None:
    u = biggan.noise(4000, 8, 1.0, ("noise",))
    assert u.abs().max() <= 2 and float(u.std()) == pytest.approx(0.8796, abs=0.01) and u.dtype == torch.float32
    torch.testing.assert_close(biggan.noise(torch.tensor([7, 9, 8]), 8, 0.5, ("noise",)), 0.5 * u[[7, 9, 8]])
