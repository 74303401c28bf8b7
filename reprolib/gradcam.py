"""GradCAM heatmaps and what can be measured on them (docs/mnist.md, sections 10 and 11).

The maps are those of the grad-cam package, many at a time: gradients go no further back than the target layer, and
maps are scaled and enlarged as one tensor. The package itself gives the baseline of random weights.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reprolib.run import rng

BATCH = 250


def heatmaps(model: nn.Module, target: nn.Module, images: Tensor, head: str | None = None) -> Tensor:
    """One heatmap per image for the predicted class: float32 (N, H, W) in [0, 1], each scaled to its own maximum.

    A map without any positive evidence is 0 everywhere; see ``empty``. target: a submodule of model, such as
    ``classifier.model[9]``; the output of a ReLU, if maps are to be those of the published code on a GPU. head: whose
    logits, of a model that gives those of several by name. The mode of the model is put back and no hook stays behind.
    """
    mode, seen = model.training, []

    def keep(_: nn.Module, __: object, output: Tensor) -> Tensor:
        seen.append(output.detach().requires_grad_())
        return seen[-1].clone()  # a layer behind that works in place must not overwrite what is kept

    def maps(batch: Tensor) -> Tensor:
        seen.clear()
        with torch.enable_grad():
            logits = model(batch)
            score = (logits if head is None else logits[head]).amax(1).sum()
        activation = seen[-1]
        (gradient,) = torch.autograd.grad(score, activation)
        cam = (gradient.mean((2, 3), keepdim=True) * activation.detach()).sum(1, keepdim=True).relu()
        return _scaled(F.interpolate(_scaled(cam), batch.shape[2:], mode="bilinear")).squeeze(1)

    handle = target.register_forward_hook(keep)
    try:
        model.eval()
        return torch.cat([maps(batch) for batch in images.split(BATCH)])
    finally:
        handle.remove()
        model.train(mode)


def _scaled(maps: Tensor) -> Tensor:
    low = maps - maps.amin((2, 3), keepdim=True)
    return low / (low.amax((2, 3), keepdim=True) + 1e-7)


def random_heatmaps(model: nn.Module, target: nn.Module, images: Tensor) -> Tensor:
    """The null baseline of the grad-cam package: channels weighted by random numbers instead of gradients."""
    from pytorch_grad_cam import RandomCAM  # the only thing that needs it; it takes a second to load

    state, mode = np.random.get_state(), model.training
    np.random.seed(rng.seed_of("random cam") % 2**32)
    cam = RandomCAM(model=model, target_layers=[target])
    try:
        # A plain loop and no `with`: the package swallows an IndexError that is raised inside its context.
        maps = [cam(input_tensor=batch.clone().requires_grad_(), targets=None) for batch in images.split(BATCH)]
    finally:
        cam.activations_and_grads.release()
        model.zero_grad(set_to_none=True)
        model.train(mode)
        np.random.set_state(state)
    return torch.from_numpy(np.concatenate(maps))


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
