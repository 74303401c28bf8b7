"""Pictures of the MNIST half as arrays: what the image figures are drawn from."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from reprolib.figures import to_pixels
from reprolib.mnist import counterfactuals, experiments, plan
from reprolib.mnist.cgn import CLASSES, compose
from reprolib.run import rng, rules
from reprolib.schema import RECIPES, Params, Recipe
from reprolib.vocabulary import VARIANTS


def data_sheets(params: Params) -> dict[str, np.ndarray]:
    """Title of the variant -> (4, 10 digits, 32, 32, 3): two rows of training images, then two of test images."""
    sheets = {}
    for variant in params.variants:
        rows = []
        for split in ("train", "test"):
            painted = plan.data(params, variant).painted(split, rules.FIRST_SEED)
            picked = torch.stack([(painted.labels == digit).nonzero()[:2, 0] for digit in range(CLASSES)], dim=1)
            rows.append(to_pixels(painted.images[picked.flatten()]).reshape(2, CLASSES, 32, 32, 3))
        sheets[VARIANTS[variant].title] = np.concatenate(rows)
    return sheets


def counterfactual_sheets(params: Params) -> dict[str, np.ndarray]:
    """Title of the variant -> counterfactuals, (10 digits, 6, 32, 32, 3), of the CGN that decides the claims."""
    sheets = {}
    for variant in params.variants:
        model = experiments.load(plan.deciding_cgn(params, variant))
        made = counterfactuals.counterfactuals(model, 1000, 1, ("sheet", variant))
        picked = torch.cat([(made.labels == digit).nonzero()[:6, 0] for digit in range(CLASSES)])
        sheets[VARIANTS[variant].title] = to_pixels(made.images[picked]).reshape(CLASSES, 6, 32, 32, 3)
    return sheets


def mechanism_sheets(params: Params) -> dict[str, np.ndarray]:
    """Title -> (5 rows, 10 digits, 32, 32, 3): mask, foreground, background, composition, counterfactual."""
    sheets, labels = {}, torch.arange(CLASSES)
    for variant in params.variants:
        model = experiments.load(plan.deciding_cgn(params, variant))
        with rng.seeded("mechanism sheet", variant), torch.inference_mode():
            parts = model(labels)
            others = [model.latent(labels.roll(turn)) for turn in (3, 7)]
            counterfactual = compose(parts.mask, model.foreground(others[0]), model.background(others[1]))
        grey = 2 * parts.mask.expand(-1, 3, -1, -1) - 1
        rows = (grey, parts.foreground, parts.background, compose(*parts), counterfactual)
        sheets[VARIANTS[variant].title] = np.stack([to_pixels(row) for row in rows])
    return sheets


def training_sheets(params: Params) -> dict[str, np.ndarray]:
    """``title|step,step,...`` -> (snapshots, 10, 32, 32, 3): samples of the first run over training, in eval mode.

    Of the recipe that decides; of a short run of the stable one where no CGN is trained, and nothing for no step.
    """
    source, chosen = params.cgn.sources[0], params.cgn
    if source not in RECIPES and chosen.demo_steps == 0:
        return {}
    recipe: Recipe = source if source in RECIPES else "stable"
    steps = None if source in RECIPES else chosen.demo_steps
    sheets = {}
    for variant in params.variants:
        trained = plan.trained_cgn(params, variant, recipe, rules.FIRST_SEED, steps)
        samples = experiments.training_samples(trained, params.machine).result(with_tensors=True).tensors
        rows = {at: samples[at].numpy() for at in sorted(samples, key=int)}
        if len(rows) > 1:  # a kept CGN has its end alone
            sheets[f"{VARIANTS[variant].title}|{','.join(rows)}"] = np.stack(list(rows.values()))
    return sheets


def gradcam_arrays(params: Params, maps: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Input images of the 10x10 theme grid and the heatmaps of each training set."""
    grid = {"images": to_pixels(experiments.theme_grid(plan.data(params, plan.gradcam_variant(params))).images)}
    return grid | {name: heat.numpy() for name, heat in maps.items()}
