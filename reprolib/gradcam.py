"""GradCAM heatmaps and what can be measured on them (spec/mnist.md, sections 10 and 11).

Heatmaps come from the grad-cam package. The target is the *output of the ReLU* behind the last convolution: with
the convolution itself as target and an in-place ReLU behind it, CPU and GPU give different maps, because on the CPU
the stored activation is overwritten.
"""

from __future__ import annotations

import numpy as np
import torch
from pytorch_grad_cam import GradCAM, RandomCAM
from torch import Tensor, nn

from reprolib import rng

BATCH = 500


def heatmaps(model: nn.Module, target: nn.Module, images: Tensor, method: type = GradCAM) -> Tensor:
    """One heatmap per image for the predicted class: float32 (N, H, W) in [0, 1], each scaled to its own maximum.

    A map without any positive evidence is 0 everywhere; see ``empty``. target: a submodule of model, such as
    ``classifier.model[9]``. The mode of the model is put back and no hook stays behind.
    """
    mode = model.training
    cam = method(model=model, target_layers=[target])
    try:
        # A plain loop and no `with`: the package swallows an IndexError that is raised inside its context.
        parts = [cam(input_tensor=batch.clone().requires_grad_(), targets=None) for batch in images.split(BATCH)]
    finally:
        cam.activations_and_grads.release()
        model.zero_grad(set_to_none=True)
        model.train(mode)
    return torch.from_numpy(np.concatenate(parts))


def random_heatmaps(model: nn.Module, target: nn.Module, images: Tensor) -> Tensor:
    """The null baseline of the grad-cam package: channels weighted by random numbers instead of gradients."""
    state = np.random.get_state()
    np.random.seed(rng.seed_of("random cam") % 2**32)
    try:
        return heatmaps(model, target, images, RandomCAM)
    finally:
        np.random.set_state(state)


def empty(maps: Tensor) -> Tensor:
    """bool (N,): heatmaps without any evidence, 0 everywhere."""
    return maps.flatten(1).amax(1) <= 0


def intersection_over_union(predicted: Tensor, truth: Tensor) -> Tensor:
    """IoU per image of two bool masks (N, H, W); 1 where both are empty."""
    intersection = (predicted & truth).flatten(1).sum(1)
    union = (predicted | truth).flatten(1).sum(1)
    return torch.where(union == 0, 1.0, intersection / union.clamp_min(1))


def area_matched(maps: Tensor, truth: Tensor) -> Tensor:
    """bool (N, H, W): the pixels of highest value, as many as ``truth`` has; an empty map selects nothing.

    A fixed threshold on a map that is scaled to its own maximum has a free scale; this one has none.
    """
    flat, count = maps.flatten(1), truth.flatten(1).sum(1, keepdim=True)
    rank = torch.argsort(flat, dim=1, descending=True, stable=True).argsort(1)
    return ((rank < count) & (flat > 0)).reshape(truth.shape)


def measures(maps: Tensor, masks: Tensor) -> dict[str, float]:
    """What heatmaps say about digits. maps (N, H, W) in [0, 1]; masks bool (N, H, W), the true digits.

    ``iou_digit``: map >= 0.5 against the digit. ``iou_macro``: mean with the IoU of the background, the published
    measure, which an all-zero map wins without looking. ``iou_area``: IoU of the highest pixels, as many as the
    digit has. ``mass_inside``: share of the heat inside the digit, over maps that are not empty. ``empty``: share
    of empty maps.
    """
    hot = maps >= 0.5
    digit, ground = intersection_over_union(hot, masks), intersection_over_union(~hot, ~masks)
    is_empty = empty(maps)
    seen, inside = maps[~is_empty].flatten(1), masks[~is_empty].flatten(1)
    mass = (seen * inside).sum(1) / seen.sum(1)
    return {
        "empty": float(is_empty.float().mean()),
        "mass_inside": float(mass.mean()) if len(mass) else 0.0,
        "iou_digit": float(digit.mean()),
        "iou_macro": float((digit.mean() + ground.mean()) / 2),
        "iou_area": float(intersection_over_union(area_matched(maps, masks), masks).mean()),
    }


def null_measures(maps: Tensor, masks: Tensor) -> dict[str, dict[str, float]]:
    """The same measures for maps that know nothing: all zero, the same value everywhere, and other images' maps."""
    other = maps[rng.permutation(len(maps), "shuffled heatmaps")]
    return {
        "all zero": measures(torch.zeros_like(maps), masks),
        "uniform": measures(torch.ones_like(maps), masks),
        "shuffled": measures(other, masks),
    }


def variance_split(maps: Tensor) -> dict[str, float]:
    """Variance of a grid of heatmaps (digits, themes, H, W): along colour themes, and along digits, per pixel.

    A classifier that looks at shape has maps that change along digits and hardly along themes.
    """
    return {
        "along_themes": float(maps.var(dim=1, correction=0).mean()),
        "along_digits": float(maps.var(dim=0, correction=0).mean()),
    }
