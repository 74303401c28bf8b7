"""Everything that is measured on the heatmaps of one classifier (docs/mnist.md, sections 10 and 11)."""

from __future__ import annotations

import torch

from reprolib import gradcam
from reprolib.mnist.classifier import Classifier
from reprolib.mnist.variants import Painted
from reprolib.run.store import Result


def measure(model: Classifier, test: Painted, grid: Painted) -> Result:
    """Heatmaps of a classifier on test images and on the 10x10 grid of digits and themes.

    Numbers: ``measures`` and ``null`` on the test images, ``variance`` and ``grid_empty`` on the grid. Tensors:
    ``heatmaps``, uint8 (100, 32, 32), of the grid.
    """
    target = model.model[Classifier.last_relu]
    maps = gradcam.heatmaps(model, target, test.images)
    masks = test.masks[:, 0]
    grid_maps = gradcam.heatmaps(model, target, grid.images)
    nulls = gradcam.null_measures(maps, masks)
    nulls["random CAM"] = gradcam.measures(gradcam.random_heatmaps(model, target, test.images), masks)
    numbers = {
        "measures": gradcam.measures(maps, masks),
        "null": nulls,
        "variance": gradcam.variance_split(grid_maps.reshape(10, 10, *grid_maps.shape[1:])),
        "grid_empty": float(gradcam.empty(grid_maps).float().mean()),
    }
    return Result(numbers, {"heatmaps": (grid_maps * 255).round().to(torch.uint8)})
