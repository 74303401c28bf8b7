"""What each head of an ensemble looks at: GradCAM per head (Bagad et al.; docs/imagenet.md, section 10.5)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reprolib import gradcam
from reprolib.natural.datasets import Images
from reprolib.natural.ensemble import HEADS, Ensemble


class _Head(nn.Module):
    def __init__(self, ensemble: Ensemble, name: str) -> None:
        super().__init__()
        self.ensemble, self.name = ensemble, name

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.ensemble(images)[self.name]
        return logits


def examples(data: Images, count: int) -> Tensor:
    """``count`` images (count, 3, H, W) at equal distances in a set: its neighbours often have the same class."""
    last = len(data) - 1  # type: ignore[arg-type]
    return torch.stack([data[round(number)][0] for number in torch.linspace(0, last, count).tolist()])


def examine(ensemble: Ensemble, images: Tensor) -> dict[str, Tensor]:
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
