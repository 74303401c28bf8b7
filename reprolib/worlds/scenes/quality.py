"""A CGN of Scenes against the truth: masks, residue, entanglement, and whether labels control their factors alone.

The reproduction study names three kinds of failure (its Appendix F): texture-background entanglement, background
residue and reduced realism. The first two are numbers here, because the true mask, texture and background of (u, y)
are known.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from reprolib.gradcam import intersection_over_union
from reprolib.natural import quality
from reprolib.natural.cgn import CGN
from reprolib.natural.counterfactuals import Sampling, generate
from reprolib.run import rng
from reprolib.vocabulary import FACTORS
from reprolib.worlds.scenes import networks
from reprolib.worlds.scenes.render import Scene, render


@torch.inference_mode()
def against_truth(cgn: CGN, count: int) -> dict[str, Any]:
    """Means over ``count`` images, with ``<name>_error``, their standard errors: ``mask_iou``, ``residue``,
    ``entanglement`` (see there) and ``own``, the share of factors that are read as their own label, in percent.

    ``control[factor][label]``: how often the reader of ``factor`` reads the class of ``label``, in percent. Perfect
    control has 100 on the diagonal and chance, 11 %, elsewhere. ``own_shuffled``: ``own`` against the labels of other
    images, a null.
    """
    device = next(cgn.parameters()).device
    classes, u = quality.classes_of(count, cgn.architecture.classes), cgn.noise(count, ("rated",))
    found: dict[str, list[Tensor]] = {"mask_iou": [], "residue": [], "entanglement": []}
    for part in torch.arange(count).split(quality.BATCH):
        y, scene = cgn.one_hot(classes[part]).to(device), render(u[part], classes[part], classes[part], classes[part])
        _, mask, front, ground = (each.cpu() for each in cgn.counterfactual(u[part].to(device), y, y, y))
        found["mask_iou"].append(intersection_over_union(mask > 0.5, scene.mask > 0.5))
        found["residue"].append(residue(ground, scene))
        found["entanglement"].append(entanglement(front, scene))
    read, labels = _read(cgn, count)
    agree = 100 * (read[:, :, None] == labels[:, None]).double()  # image, factor, label
    by_image = {name: torch.cat(values).double() for name, values in found.items()}
    for name, given in {"own": labels, "own_shuffled": labels[rng.permutation(count, "shuffled labels")]}.items():
        by_image[name] = 100 * (read == given).double().mean(1)
    numbers: dict[str, Any] = {}
    for name, values in by_image.items():
        numbers |= {name: float(values.mean()), f"{name}_error": float(values.std() / count**0.5)}
    shares = zip(FACTORS, agree.mean(0).tolist(), strict=True)
    return numbers | {"control": {factor: dict(zip(FACTORS, row, strict=True)) for factor, row in shares}}


def _read(cgn: CGN, count: int) -> tuple[Tensor, Tensor]:
    """Counterfactuals with three independent labels: what the readers of single factors read, and the labels; int64
    (N, 3)."""
    made = [generate(cgn, Sampling(seed=-1), part) for part in torch.arange(count).split(quality.BATCH)]
    images = torch.cat([images for images, _, _ in made])
    read = [quality.probabilities(images, networks.reader(factor)).argmax(1) for factor in FACTORS]
    return torch.stack(read, dim=1), torch.cat([classes for _, _, classes in made])


def residue(background: Tensor, scene: Scene) -> Tensor:
    """How much of the object a background map shows where the object stands, one value per image.

    0: inside the true mask it is the true background; 1: it is the object; in between by the two mean absolute
    differences.
    """
    return _nearer(background, scene.background, scene.texture, scene.mask > 0.5)


def entanglement(texture: Tensor, scene: Scene) -> Tensor:
    """How much of the background a texture map shows around the object, one value per image.

    0: outside the true mask it is the true texture; 1: it is the background.
    """
    return _nearer(texture, scene.texture, scene.background, scene.mask < 0.5)


def _nearer(picture: Tensor, right: Tensor, wrong: Tensor, where: Tensor) -> Tensor:
    """0 where ``picture`` equals ``right``, 1 where it equals ``wrong``, over the pixels of a region of each image."""
    pixels = where.sum(dim=(1, 2, 3)).clamp(min=1)
    to_right, to_wrong = (
        ((picture - other).abs().mean(1, keepdim=True) * where).sum(dim=(1, 2, 3)) / pixels for other in (right, wrong)
    )
    return to_right / (to_right + to_wrong).clamp(min=1e-9)
