"""Inception Score and mean mask: how a natural-image CGN is rated (docs/imagenet.md, section 10.4)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reprolib.run import assets, tensors

INPUT = 299


def inception_score(probabilities: Tensor, splits: int = 1) -> list[float]:
    """exp of the mean KL divergence of p(y|x) from the mean p(y), for each of ``splits`` equal parts.

    probabilities: (N, classes), rows that sum to 1; computed in float64, because the mean of many small terms is
    taken. Between 1 (all rows equal) and the number of classes. Raises ValueError if a part would be empty.
    """
    if len(probabilities) < splits:
        raise ValueError(f"{len(probabilities)} images cannot be parted into {splits} splits")
    scores = []
    for part in probabilities.double().tensor_split(splits):
        marginal = part.mean(0, keepdim=True)
        divergence = torch.xlogy(part, part) - torch.xlogy(part, marginal)
        scores.append(float(divergence.sum(1).mean().exp()))
    return scores


def inception_v3() -> nn.Module:
    """torchvision's Inception-v3 with ImageNet weights, for images in (-1, 1), resized bilinearly to 299 pixels.

    That range is what the network was trained on; torchvision's own rescaling from ImageNet statistics is off. Raises
    AssetError if the weights are not at hand.
    """
    from torchvision.models import inception_v3 as build

    file = assets.path("inception_v3_google-0cc3c7bd.pth")
    network = build(weights=None, transform_input=False, init_weights=False)
    tensors.load_strictly(network, tensors.read(file), str(file))
    network.eval().requires_grad_(False)
    return _Resized(network)


class _Resized(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        resized = F.interpolate(images, size=(INPUT, INPUT), mode="bilinear", align_corners=False)
        logits: Tensor = self.network(resized)
        return logits


@torch.inference_mode()
def probabilities(images: Tensor, network: nn.Module, batch: int = 64) -> Tensor:
    """p(y|x) of images (N, 3, H, W) in (-1, 1), float64 (N, classes), on the CPU; computed where the network is.

    network: images (B, 3, H, W) in (-1, 1) -> logits (B, classes).
    """
    device = next(network.parameters()).device
    return torch.cat([network(part.to(device)).double().softmax(1).cpu() for part in images.split(batch)])


def mask_statistics(masks: Tensor) -> dict[str, Any]:
    """``mean_mask`` and ``mean_mask_sd``: mean over images of each mask's mean (N, 1, H, W), and its deviation."""
    means = masks.double().mean(dim=(1, 2, 3))
    return {"mean_mask": float(means.mean()), "mean_mask_sd": float(means.std(correction=0))}
