"""How good a natural-image CGN is by itself: Inception Scores and masks (spec/imagenet.md, section 10.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from reprolib import rng
from reprolib.imagenet import inception
from reprolib.imagenet.cgn import CGN, compose
from reprolib.progress import Progress

BATCH = 50


def classes_of(count: int, classes: int) -> Tensor:
    """The class of every rated image, the same for all mechanisms; int64 (count,)."""
    return (rng.uniform(("rated classes",), torch.arange(count), 1)[:, 0] * classes).long()


def score(cgn: CGN, rater: nn.Module, count: int, truncations: Sequence[float] = (1.0,)) -> dict[str, Any]:
    """``is_gen`` and ``is_gt``: Inception Scores of the composed and of the generator's images for the same u and y;
    ``mean_mask`` and its deviation over images. Below 1, the truncation is added to the name: ``is_gen_0.5``."""
    numbers: dict[str, Any] = {}
    for truncation in truncations:
        suffix = "" if truncation == 1 else f"_{truncation:g}"
        found = _score(cgn, rater, count, truncation)
        numbers |= {f"{name}{suffix}": value for name, value in found.items()}
    return numbers


@torch.inference_mode()
def _score(cgn: CGN, rater: nn.Module, count: int, truncation: float) -> dict[str, Any]:
    device = next(cgn.parameters()).device
    classes, u = classes_of(count, cgn.architecture.classes), cgn.noise(count, ("rated",), truncation)
    rows: dict[str, list[Tensor]] = {"gen": [], "gt": [], "mask": []}
    shown = Progress("images rated", count, "images")
    for part in torch.arange(count).split(BATCH):
        y = cgn.one_hot(classes[part]).to(device)
        parts = cgn(u[part].to(device), y, y, y, truncation)
        composed = compose(parts.mask, parts.foreground, parts.background)
        rows["gen"].append(inception.probabilities(composed, rater))
        rows["gt"].append(inception.probabilities(parts.truth, rater))
        rows["mask"].append(parts.mask.mean(dim=(1, 2, 3), keepdim=True).cpu())
        shown.update(int(part[-1]) + 1)
    numbers = {f"is_{name}": inception.inception_score(torch.cat(rows[name]))[0] for name in ("gen", "gt")}
    return numbers | inception.mask_statistics(torch.cat(rows["mask"]))
