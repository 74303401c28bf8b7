"""What is run on a GPU: every training and generation of the MNIST half, as a function of device and steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from reprolib import gradcam
from reprolib.mnist import classifier, counterfactuals, stable, train, variants
from reprolib.mnist.cgn import cgn_from
from reprolib.mnist.gan import DCGAN
from reprolib.run import rng, rules, weights
from reprolib.run.store import Checkpoint
from reprolib.vocabulary import VARIANTS

VARIANT = "double_colored_MNIST"
SEED = rules.FIRST_SEED
HALF_PRECISION = (0.1, 0.7)
"""The bounds of a CGN in bfloat16, which itself is 0.03 to 0.04 and 0.2 to 0.5 away from one in float32."""
SMOOTH = (1e-3, 0.01)
"""The bounds of what does not depend on the last bits so much."""
MADE = (1e-3, 1e-3)
"""The bounds of what is made and not trained."""
RECIPES: dict[str, Any] = {"published": train.train_cgn, "stable": stable.train_cgn}
State = dict[str, Tensor]


@dataclass(frozen=True)
class Work:
    """Something that trains, or makes, for a number of steps."""

    run: Callable[[str, int, Checkpoint], State]
    """(device, steps, checkpoint) -> weights, or what was made."""
    images: int
    """Of one step."""
    bounds: tuple[float, float] | None = (1e-3, 0.5)
    """How far another device may be away, in float32, after the first step and after ten; None: not compared.

    With other orders of sums alone, the weights of a CGN are 1e-5 to 1e-4 of what ten steps move them apart after the
    first step, and 0.07 to 0.3 after ten, because Adam makes whole steps of gradients that are next to nothing. A style
    loss of another net moves them 3e-3 to 7e-3 apart at the first."""
    trains: bool = True
    lengths: tuple[int, int] = (10, 70)
    """The two numbers of steps from which its speed is told."""


def settings(device: str, steps: int, **others: Any) -> train.GenerativeSettings:
    chosen = {"features": "efficientnet_lite0", "device": device, "checkpoint_every": max(1, steps // 2)}
    return train.GenerativeSettings(steps, **(chosen | others))  # type: ignore[arg-type]


def mnist_works(b: Any) -> dict[str, Work]:
    """b: a ``gpu_parts.Bench``; where it is not full, one variant stands for all."""
    works = {f"CGN, {recipe}, {variant}": _cgn(b, variant, recipe=recipe) for recipe in RECIPES for variant in VARIANTS}
    for recipe in RECIPES:
        works[f"CGN, {recipe}, bfloat16"] = _cgn(b, VARIANT, recipe, HALF_PRECISION, precision="bfloat16")
        works[f"CGN, {recipe}, VGG16"] = _cgn(b, VARIANT, recipe, features="vgg16")
    works["DCGAN"] = _dcgan(b)
    for count in (1, 2, 4, 8) if b.full else (1, 2):
        works[f"classifiers, {count} together"] = _classifiers(b, count, "float32")
        works[f"classifiers, {count} together, bfloat16"] = _classifiers(b, count, "bfloat16")
    return works | _generation(b)


def _cgn(b: Any, variant: str, recipe: str, bounds: tuple[float, float] | None = Work.bounds, **how: Any) -> Work:
    def run(device: str, steps: int, checkpoint: Checkpoint) -> State:
        where = (variant, b.digits_of(variant), SEED, settings(device, steps, **how), b.textures, checkpoint)
        return RECIPES[recipe](*where)[steps]

    return Work(run, 16 if recipe == "published" else 20, bounds)


def _dcgan(b: Any) -> Work:
    def run(device: str, steps: int, checkpoint: Checkpoint) -> State:
        where = (VARIANT, b.digits_of(VARIANT), SEED, settings(device, steps), b.textures, checkpoint)
        return dict(train.train_dcgan(*where).state_dict())

    return Work(run, 16, SMOOTH)


def _classifiers(b: Any, count: int, precision: Any) -> Work:
    batch = 64 if b.full else 16

    def run(device: str, steps: int, checkpoint: Checkpoint) -> State:
        some = b.digits[torch.arange(batch * steps) % len(b.digits)]
        painted = variants.paint(VARIANT, some, "gpu", attributes="label")
        tasks = [classifier.Task(painted.images, painted.labels, {}, ("gpu", seed)) for seed in range(count)]
        how: dict[str, Any] = {"epochs": 1, "batch": batch, "device": device, "precision": precision}
        made = classifier.train_together(tasks, checkpoint=checkpoint, title="classifier", **how)
        return {f"{k}/{name}": value for k, (model, _) in enumerate(made) for name, value in model.state_dict().items()}

    bounds = SMOOTH if precision == "float32" else HALF_PRECISION
    return Work(run, batch * count, bounds if count in (1, 2) else None)


def _generation(b: Any, batch: int = 100) -> dict[str, Work]:
    shipped_cgn = cgn_from(weights.read(weights.FOLDER / f"cgn_{VARIANT}.safetensors"))
    with rng.seeded("untrained"):
        gan, judge = DCGAN().eval(), classifier.Classifier().eval()
    painted = variants.paint(VARIANT, b.digits[:batch], "gpu", attributes="label").images

    def of(model: nn.Module, make: Callable[[Any, int], Tensor]) -> Work:
        return Work(lambda device, n, _: {"made": make(model.to(device), n)}, batch, MADE, False, (20, 220))

    def heatmaps(model: Any, n: int) -> Tensor:
        images = painted.repeat(n, 1, 1, 1).to(next(model.parameters()).device)
        return gradcam.heatmaps(model, model.model[model.last_relu], images)

    return {
        "counterfactuals": of(
            shipped_cgn, lambda m, n: counterfactuals.counterfactuals(m, batch * n, 1, ("gpu",)).images
        ),
        "images with one label": of(
            shipped_cgn, lambda m, n: counterfactuals.non_counterfactuals(m, batch * n, ("gpu",)).images
        ),
        "images of a DCGAN": of(gan, lambda m, n: counterfactuals.gan_samples(m, batch * n, ("gpu",)).images),
        "masks": of(shipped_cgn, lambda m, n: counterfactuals.masks(m, batch // 10 * n, ("gpu",))[0]),
        "heatmaps": of(judge, heatmaps),
    }
