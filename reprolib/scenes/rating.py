"""A CGN of Scenes against the truth: masks, residue, entanglement, and whether labels control their factors alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from reprolib.imagenet import inception, rating
from reprolib.imagenet.cgn import CGN
from reprolib.imagenet.counterfactuals import Sampling, generate
from reprolib.scenes import parts, truth
from reprolib.scenes.render import render


@torch.inference_mode()
def against_truth(cgn: CGN, count: int) -> dict[str, Any]:
    """Means over ``count`` images: ``mask_iou``, ``residue``, ``entanglement`` (see ``truth``), and ``control``."""
    device = next(cgn.parameters()).device
    classes, u = rating.classes_of(count, cgn.architecture.classes), cgn.noise(count, ("rated",))
    found: dict[str, list[Tensor]] = {"mask_iou": [], "residue": [], "entanglement": []}
    for part in torch.arange(count).split(rating.BATCH):
        y, scene = cgn.one_hot(classes[part]).to(device), render(u[part], classes[part], classes[part], classes[part])
        _, mask, front, ground = (each.cpu() for each in cgn.counterfactual(u[part].to(device), y, y, y))
        found["mask_iou"].append(truth.mask_iou(mask, scene.mask))
        found["residue"].append(truth.residue(ground, scene))
        found["entanglement"].append(truth.entanglement(front, scene))
    numbers: dict[str, Any] = {name: float(torch.cat(values).mean()) for name, values in found.items()}
    return numbers | {"control": control(cgn, count)}


@torch.inference_mode()
def control(cgn: CGN, count: int) -> dict[str, dict[str, float]]:
    """Counterfactuals with three independent labels, read by the readers of single factors.

    ``control[factor][label]``: how often the reader of ``factor`` reads the class of ``label``, in percent. Perfect
    control has 100 on the diagonal and chance, 11 %, elsewhere.
    """
    index = torch.arange(count)
    made = [generate(cgn, Sampling(seed=-1), part) for part in index.split(rating.BATCH)]
    images, labels = torch.cat([images for images, _, _ in made]), torch.cat([classes for _, _, classes in made])
    rates: dict[str, dict[str, float]] = {}
    for factor in parts.FACTORS:
        read = inception.probabilities(images, parts.reader(factor)).argmax(1)
        agree = (read[:, None] == labels).double().mean(0).tolist()
        rates[factor] = {label: 100 * share for label, share in zip(parts.FACTORS, agree, strict=True)}
    return rates
