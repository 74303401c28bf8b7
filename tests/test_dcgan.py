"""The DCGAN of Bagad et al. against its layer list in section 8 of the specification."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from reprolib.mnist.gan import DCGAN

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
CHANNELS = {1: 256, 4: 128, 7: 64}


def _published() -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(42, 256, 4, bias=False),
        nn.BatchNorm2d(256),
        nn.LeakyReLU(0.2),
        nn.ConvTranspose2d(256, 128, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(128),
        nn.LeakyReLU(0.2),
        nn.ConvTranspose2d(128, 64, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.LeakyReLU(0.2),
        nn.ConvTranspose2d(64, 3, 4, stride=2, padding=1, bias=False),
        nn.Tanh(),
    )


@pytest.fixture
def labels() -> Tensor:
    return torch.arange(10)


@pytest.fixture
def model() -> DCGAN:
    torch.manual_seed(0)
    return DCGAN()


def test_parameter_count(model: DCGAN) -> None:
    assert sum(p.numel() for p in model.parameters()) == 831_460


def test_state_dict_has_the_published_names_and_shapes(model: DCGAN) -> None:
    expected: dict[str, tuple[int, ...]] = {"label_emb.weight": (10, 10)}
    for index, shape in {0: (42, 256), 3: (256, 128), 6: (128, 64), 9: (64, 3)}.items():
        expected[f"model.{index}.weight"] = (*shape, 4, 4)
    for index, width in CHANNELS.items():
        expected |= {f"model.{index}.{name}": () if name == NORM[-1] else (width,) for name in NORM}
    assert {name: tuple(value.shape) for name, value in model.state_dict().items()} == expected
    assert len(expected) == 20


@pytest.mark.parametrize("training", [True, False])
def test_output_equals_the_published_layers(model: DCGAN, labels: Tensor, training: bool) -> None:
    naive = _published().train(training)
    naive.load_state_dict(model.model.state_dict())
    torch.manual_seed(1)
    noise = torch.randn(10, 32)
    expected = naive(torch.cat([noise, model.label_emb.weight[labels]], dim=1).reshape(10, 42, 1, 1))
    torch.manual_seed(1)
    torch.testing.assert_close(model.train(training)(labels), expected)


def test_images_are_coloured_and_inside_the_range_of_tanh(model: DCGAN, labels: Tensor) -> None:
    images = model(labels)
    assert images.shape == (10, 3, 32, 32)
    assert images.abs().max() < 1


def test_every_call_draws_new_noise(model: DCGAN, labels: Tensor) -> None:
    assert not torch.equal(model.eval()(labels), model(labels))


def test_images_depend_on_the_label(model: DCGAN) -> None:
    made = []
    for label in (3, 8):
        torch.manual_seed(1)  # the same noise for both
        made.append(model.eval()(torch.tensor([label])))
    assert not torch.equal(*made)


def test_convolutions_and_norms_keep_the_initialisation_of_torch(model: DCGAN) -> None:
    for layer in model.model:
        if isinstance(layer, nn.ConvTranspose2d):
            bound = (layer.weight.shape[1] * 16) ** -0.5
            assert 0.98 * bound < layer.weight.abs().max() <= bound
        if isinstance(layer, nn.BatchNorm2d):
            assert torch.equal(layer.weight, torch.ones_like(layer.weight))


def test_every_parameter_gets_a_gradient(model: DCGAN, labels: Tensor) -> None:
    model(labels).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())
