"""A CGN of Scenes against the truth: masks, residue, entanglement, and whether labels control their factors alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from reprolib.natural import inception, quality
from reprolib.natural.cgn import CGN
from reprolib.natural.counterfactuals import Sampling, generate
from reprolib.run import rng
from reprolib.worlds.scenes import networks, truth
from reprolib.worlds.scenes.render import render


@torch.inference_mode()
def against_truth(cgn: CGN, count: int) -> dict[str, Any]:
    """Means over ``count`` images, with ``<name>_error``, their standard errors: ``mask_iou``, ``residue``,
    ``entanglement`` (see ``truth``) and ``own``, the share of factors that are read as their own label, in percent.

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
        found["mask_iou"].append(truth.mask_iou(mask, scene.mask))
        found["residue"].append(truth.residue(ground, scene))
        found["entanglement"].append(truth.entanglement(front, scene))
    read, labels = _read(cgn, count)
    agree = 100 * (read[:, :, None] == labels[:, None]).double()  # image, factor, label
    by_image = {name: torch.cat(values).double() for name, values in found.items()}
    for name, given in {"own": labels, "own_shuffled": labels[rng.permutation(count, "shuffled labels")]}.items():
        by_image[name] = 100 * (read == given).double().mean(1)
    numbers: dict[str, Any] = {}
    for name, values in by_image.items():
        numbers |= {name: float(values.mean()), f"{name}_error": float(values.std() / count**0.5)}
    shares = zip(networks.FACTORS, agree.mean(0).tolist(), strict=True)
    return numbers | {"control": {factor: dict(zip(networks.FACTORS, row, strict=True)) for factor, row in shares}}


def _read(cgn: CGN, count: int) -> tuple[Tensor, Tensor]:
    """Counterfactuals with three independent labels: what the readers of single factors read, and the labels; int64
    (N, 3)."""
    made = [generate(cgn, Sampling(seed=-1), part) for part in torch.arange(count).split(quality.BATCH)]
    images = torch.cat([images for images, _, _ in made])
    read = [inception.probabilities(images, networks.reader(factor)).argmax(1) for factor in networks.FACTORS]
    return torch.stack(read, dim=1), torch.cat([classes for _, _, classes in made])
