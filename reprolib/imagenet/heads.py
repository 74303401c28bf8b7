"""What each head of an ensemble looks at: GradCAM per head (Bagad et al.; spec/imagenet.md, section 10.5)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from reprolib import gradcam
from reprolib.imagenet.ensemble import HEADS, Ensemble

EXAMPLES = 9


class _Head(nn.Module):
    def __init__(self, ensemble: Ensemble, name: str) -> None:
        super().__init__()
        self.ensemble, self.name = ensemble, name

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.ensemble(images)[self.name]
        return logits


def examine(ensemble: Ensemble, data: Dataset[tuple[Tensor, Tensor]], device: str) -> dict[str, Tensor]:
    """Heatmaps of every head for the first images of a set: ``seen`` (EXAMPLES, 3, H, W) as the network gets them, and
    ``heatmaps/<head>`` (EXAMPLES, H, W) in [0, 1]."""
    seen = torch.stack([data[number][0] for number in range(EXAMPLES)])
    model, target = ensemble.to(device), ensemble.backbone.get_submodule(ensemble.target)
    maps = {f"heatmaps/{name}": gradcam.heatmaps(_Head(model, name), target, seen.to(device)).cpu() for name in HEADS}
    model.cpu()
    return {"seen": seen} | maps
