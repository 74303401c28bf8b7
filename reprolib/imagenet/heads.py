"""What each head of an ensemble looks at: GradCAM per head (Bagad et al.; spec/imagenet.md, section 10.5)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from reprolib import gradcam
from reprolib.imagenet.ensemble import HEADS, Ensemble

EXAMPLES = 8


class _Head(nn.Module):
    def __init__(self, ensemble: Ensemble, name: str) -> None:
        super().__init__()
        self.ensemble, self.name = ensemble, name

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.ensemble(images)[self.name]
        return logits


def examine(ensemble: Ensemble, data: Dataset[tuple[Tensor, Tensor]], device: str) -> dict[str, Tensor]:
    """Heatmaps of every head for the first images of a set, all uint8: ``seen`` (EXAMPLES, 3, H, W), each image
    stretched to the full range, and ``heatmaps/<head>`` (EXAMPLES, H, W)."""
    images = torch.stack([data[number][0] for number in range(EXAMPLES)])
    model, target = ensemble.to(device), ensemble.backbone.get_submodule(ensemble.target)
    maps = {f"heatmaps/{name}": gradcam.heatmaps(_Head(model, name), target, images.to(device)).cpu() for name in HEADS}
    model.cpu()
    low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    maps["seen"] = (images - low) / (high - low)
    return {name: (255 * each).round().byte() for name, each in maps.items()}
