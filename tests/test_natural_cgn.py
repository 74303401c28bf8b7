"""The CGN of three BigGANs: what it returns, which loss reaches which mechanism, and where it starts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from reprolib.natural import biggan
from reprolib.natural import cgn as cgns
from reprolib.natural.cgn import CGN, Maps
from reprolib.natural.train import CgnSettings, Patches, StyleNets, cgn_losses
from reprolib.natural.u2net import PLANS, U2Net
from reprolib.run import AssetError

TINY = "scenes-64-tiny"


@pytest.fixture(scope="module")
def cgn() -> CGN:
    torch.manual_seed(0)
    model = CGN(TINY, U2Net(PLANS["u2net-thin"]))
    generator = biggan.build(TINY)
    model.start_from(generator.state_dict(), "biggan.pth")
    return model.eval()


def _forward(cgn: CGN, *classes: int) -> Maps:
    u = cgn.noise(1, ("test",))
    return cgn(u, *(cgn.one_hot(torch.tensor([c])) for c in classes))


def test_all_generators_start_from_one(cgn: CGN) -> None:
    maps = _forward(cgn, 3, 3, 3)
    for image in (maps.premask, maps.foreground, maps.background):
        torch.testing.assert_close(image, maps.truth)


def test_parts_have_the_shapes_and_ranges_of_the_specification(cgn: CGN) -> None:
    maps = _forward(cgn, 1, 2, 3)
    assert [tuple(p.shape) for p in maps] == [(1, c, 64, 64) for c in (3, 1, 3, 3, 3, 1)]
    assert maps.mask.min() >= 1e-4 and maps.mask.max() <= 0.9999
    assert not maps.truth.requires_grad and not maps.premask.requires_grad and maps.mask.requires_grad
    composed = cgns.compose(maps.mask, maps.foreground, maps.background)
    expected = maps.mask * maps.foreground + (1 - maps.mask) * maps.background
    torch.testing.assert_close(composed, expected)


def test_the_truth_follows_the_class_of_the_shape(cgn: CGN) -> None:
    torch.testing.assert_close(_forward(cgn, 4, 1, 2).truth, _forward(cgn, 4, 4, 4).truth)


def test_counterfactuals_are_the_forward_pass_without_the_rest(cgn: CGN) -> None:
    u, y = cgn.noise(2, ("cf",)), [cgn.one_hot(torch.tensor(c)) for c in ([0, 1], [2, 3], [4, 5])]
    maps = cgn(u, *y)
    image, mask, front, ground = cgn.counterfactual(u, *y)
    torch.testing.assert_close(image, cgns.compose(maps.mask, maps.foreground, maps.background).detach())
    expected = [part.detach() for part in (maps.mask, maps.foreground, maps.background)]
    torch.testing.assert_close([mask, front, ground], expected)


SETTINGS = CgnSettings(patches=Patches(32, 5, 16), features="efficientnet_lite0", mask_low=0.9)
"""With a least mean mask that no mask reaches, so that the mask loss is not flat."""


@pytest.fixture(scope="module")
def nets() -> StyleNets:
    return StyleNets(SETTINGS, 64)


@pytest.mark.parametrize(
    ("term", "reached"),
    [
        ("L1", {"f_shape", "f_text", "f_bg"}),
        ("perceptual", {"f_shape", "f_text", "f_bg"}),
        ("binary", {"f_shape"}),
        ("mask", {"f_shape"}),
        ("texture", {"f_text"}),
        ("background", {"f_bg"}),
    ],
)
def test_each_loss_reaches_only_its_mechanisms(cgn: CGN, nets: StyleNets, term: str, reached: set[str]) -> None:
    cgn.zero_grad(set_to_none=True)
    maps = _forward(cgn, 1, 2, 3)  # with one class all mechanisms still agree, and L1 is flat at zero
    cgn_losses(maps, nets, SETTINGS)[term].backward()
    found = {name.split(".")[0] for name, p in cgn.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    cgn.zero_grad(set_to_none=True)
    assert found == reached


def test_the_paper_size_is_that_of_the_specification() -> None:
    with torch.device("meta"):
        model = CGN("biggan-deep-256", U2Net(PLANS["u2net"]))
    sizes = [sum(p.numel() for p in model.parameters() if p.requires_grad or frozen) for frozen in (True, False)]
    assert sizes == [267_533_201, 167_642_499]


def test_only_mechanisms_train(cgn: CGN) -> None:
    cgn.train()
    modes = {name: module.training for name, module in cgn.named_children()}
    cgn.eval()
    assert modes == {"biggan_GT": False, "f_shape": True, "f_text": True, "f_bg": True, "u2net": False}
    trainable = {name.split(".")[0] for name, p in cgn.named_parameters() if p.requires_grad}
    assert trainable == {"f_shape", "f_text", "f_bg"}


def test_weights_load_strictly_by_the_released_names(cgn: CGN, tmp_path: Path) -> None:
    torch.save(cgn.state_dict(), tmp_path / "cgn.pth")
    loaded = cgns.load(TINY, U2Net(PLANS["u2net-thin"]), tmp_path / "cgn.pth")
    torch.testing.assert_close(loaded.state_dict(), cgn.state_dict())
    torch.save({"f_shape": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(AssetError, match=r"other\.pth lacks biggan_GT\..* and \d+ more; choose the file that fits"):
        cgns.load(TINY, U2Net(PLANS["u2net-thin"]), tmp_path / "other.pth")
