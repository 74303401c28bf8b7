"""How good a natural-image CGN is by itself: Inception Scores and masks (docs/imagenet.md, section 10.4)."""

from __future__ import annotations

from statistics import stdev

import torch
from torch import Tensor, nn

from reprolib import losses
from reprolib.features import FeatureNet
from reprolib.natural.cgn import CGN, Maps, compose
from reprolib.natural.train import Patches
from reprolib.run import rng
from reprolib.run.training import Progress

BATCH = 50


def inception_score(probabilities: Tensor, splits: int = 1) -> list[float]:
    """exp of the mean KL divergence of p(y|x) from the mean p(y), for each of ``splits`` equal parts.

    probabilities: (N, classes), rows that sum to 1; computed in float64, because the mean of many small terms is
    taken. Between 1 (all rows equal) and the number of classes. Raises ValueError if a part would be empty.
    """
    if len(probabilities) < splits:
        raise ValueError(f"{len(probabilities)} images cannot be parted into {splits} splits")
    scores = []
    for rows in probabilities.double().tensor_split(splits):
        marginal = rows.mean(0, keepdim=True)
        divergence = torch.xlogy(rows, rows) - torch.xlogy(rows, marginal)
        scores.append(float(divergence.sum(1).mean().exp()))
    return scores


@torch.inference_mode()
def probabilities(images: Tensor, network: nn.Module, batch: int = 64) -> Tensor:
    """p(y|x) of images (N, 3, H, W) in (-1, 1), float64 (N, classes), on the CPU; computed where the network is.

    network: images (B, 3, H, W) in (-1, 1) -> logits (B, classes).
    """
    device = next(network.parameters()).device
    return torch.cat([network(some.to(device)).double().softmax(1).cpu() for some in images.split(batch)])


def classes_of(count: int, classes: int) -> Tensor:
    """The class of every rated image, the same for all mechanisms; int64 (count,)."""
    return rng.classes(("rated classes",), torch.arange(count), classes)


@torch.inference_mode()
def score(cgn: CGN, rater: nn.Module, count: int, truncation: float = 1.0) -> dict[str, float]:
    """``is_gen`` and ``is_gt``: Inception Scores of the composed and of the generator's images for the same u and y;
    ``is_gen_error``, the standard error of the first from ten parts of the images; ``mean_mask`` and its deviation over
    images. Below 1, the truncation is added to the name: ``is_gen_0.5``."""
    classes, u = classes_of(count, cgn.architecture.classes), cgn.noise(count, ("rated",), truncation)
    rows: dict[str, list[Tensor]] = {"gen": [], "gt": [], "mask": []}
    shown = Progress("images rated", count, "images")
    for index in torch.arange(count).split(BATCH):
        y = cgn.one_hot(classes[index])
        maps = cgn(u[index], y, y, y, truncation)
        composed = compose(maps.mask, maps.foreground, maps.background)
        rows["gen"].append(probabilities(composed, rater))
        rows["gt"].append(probabilities(maps.truth, rater))
        rows["mask"].append(maps.mask.mean(dim=(1, 2, 3)).cpu())
        shown.update(int(index[-1]) + 1)
    numbers = {f"is_{name}": inception_score(torch.cat(rows[name]))[0] for name in ("gen", "gt")}
    numbers["is_gen_error"] = stdev(inception_score(torch.cat(rows["gen"]), 10)) / 10**0.5
    masks = torch.cat(rows["mask"]).double()
    numbers |= {"mean_mask": float(masks.mean()), "mean_mask_sd": float(masks.std(correction=0))}
    suffix = "" if truncation == 1 else f"_{truncation:g}"
    return {f"{name}{suffix}": value for name, value in numbers.items()}


@torch.no_grad()
def gram_ratio(cgn: CGN, u: Tensor, y: Tensor, net: FeatureNet, patches: Patches) -> Tensor:
    """How entangled the texture maps of u and y are with the background where nobody knows the truth, one value per
    image: the distance of the map's style to that of object patches, over its distance to that of background patches.

    The reciprocal of the ratio in docs/imagenet.md, section 12, so that more is worse.
    """
    maps: Maps = cgn(u, y, y, y)
    object_grid, ground_grid = (
        losses.patch_grid(maps.truth, mask, patches.size, patches.window, patches.best)
        for mask in (maps.mask, 1 - maps.mask)
    )
    ratios = []
    for each in torch.arange(len(u)).split(1):
        front, near, far = (net(images[each]) for images in (maps.foreground, object_grid, ground_grid))
        ratios.append(losses.style(front, near, net.weights) / losses.style(front, far, net.weights))
    return torch.stack(ratios)
