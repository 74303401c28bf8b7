"""U2-Net: published sizes and names, six side maps, frozen when loaded, and a loss that can be learnt."""

from __future__ import annotations

import pytest
import torch

from reprolib.natural import u2net
from reprolib.natural.u2net import PLANS, U2Net
from reprolib.run import AssetError


@pytest.fixture(scope="module")
def thin() -> U2Net:
    torch.manual_seed(0)
    return U2Net(PLANS["u2net-thin"])


@pytest.mark.parametrize(("name", "parameters"), [("u2net", 44_009_869), ("u2net-thin", 142_189)])
def test_sizes_are_the_published_ones(name: str, parameters: int) -> None:
    with torch.device("meta"):
        model = U2Net(PLANS[name])
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert len(model.state_dict()) == 798


def test_state_names_are_the_published_ones(thin: U2Net) -> None:
    names = set(thin.state_dict())
    some = ["stage1.rebnconvin.conv_s1.weight", "stage1.rebnconv7.bn_s1.running_var", "stage4.rebnconv3d.conv_s1.bias",
            "stage6.rebnconv4.conv_s1.weight", "stage5d.rebnconv1d.bn_s1.weight", "stage1d.rebnconv6d.conv_s1.weight",
            "side1.weight", "side6.bias", "outconv.weight"]  # fmt: skip
    assert set(some) <= names
    assert not any(name.startswith(("stage6d", "stage1.rebnconv7d", "stage4.rebnconv5")) for name in names)


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (50, 70)])
def test_seven_maps_of_the_size_of_the_image(thin: U2Net, size: tuple[int, int]) -> None:
    images = torch.randn(2, 3, *size)
    maps = thin.eval().logits(images)
    assert [m.shape for m in maps] == [(2, 1, *size)] * 7
    torch.testing.assert_close(thin(images), maps[0].sigmoid())


def test_bottom_levels_dilate_and_do_not_pool(thin: U2Net) -> None:
    """RSU-L pools L-2 times, RSU-4F never: one pixel of the input reaches this far."""
    assert thin.stage1.rebnconv7.conv_s1.dilation == (2, 2) and thin.stage1.rebnconv6.conv_s1.dilation == (1, 1)
    four = thin.stage5
    dilations = [four.get_submodule(f"rebnconv{level}").conv_s1.dilation[0] for level in (1, 2, 3, 4)]
    back = [four.get_submodule(f"rebnconv{level}d").conv_s1.dilation[0] for level in (3, 2, 1)]
    assert (dilations, back) == ([1, 2, 4, 8], [4, 2, 1])
    sizes: list[int] = []
    for level in range(1, 8):
        thin.stage1.get_submodule(f"rebnconv{level}").register_forward_hook(
            lambda module, inputs, output: sizes.append(output.shape[-1])
        )
    thin.eval()(torch.randn(1, 3, 64, 64))
    assert sizes == [64, 32, 16, 8, 4, 2, 2]


def test_a_loaded_detector_is_frozen_but_lets_gradients_through(thin: U2Net) -> None:
    loaded = u2net.load("u2net-thin", thin.state_dict(), "u2net.pth")
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    image = torch.randn(1, 3, 32, 32, requires_grad=True)
    loaded(image).sum().backward()
    assert image.grad is not None and image.grad.abs().sum() > 0
    with pytest.raises(AssetError, match=r"u2net\.pth for u2net has another shape of"):
        u2net.load("u2net", thin.state_dict(), "u2net.pth")


def test_the_training_loss_is_the_sum_over_seven_maps() -> None:
    logits, masks = [torch.zeros(1, 1, 4, 4)] * 7, torch.ones(1, 1, 4, 4)
    assert float(u2net.saliency_loss(logits, masks)) == pytest.approx(7 * 0.6931, abs=1e-3)
