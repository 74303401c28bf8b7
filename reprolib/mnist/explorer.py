"""The explorer: a CGN whose three labels and latent are chosen one by one, for a page and for a live notebook.

A page composes its images itself, so it needs masks, foregrounds and backgrounds of every label alone; what classifiers
say to all triples of labels is a table beside them.
"""

from __future__ import annotations

from typing import NamedTuple

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from reprolib.figures import Arrays, show, to_pixels
from reprolib.gradcam import heatmaps
from reprolib.mnist import experiments, plan
from reprolib.mnist.cgn import CGN, CLASSES, Mechanisms
from reprolib.mnist.choices import Cgn, TrainingSet
from reprolib.mnist.classifier import Classifier, classifier_from
from reprolib.mnist.gan import LATENT
from reprolib.run import jobs, rng, rules
from reprolib.run.steps import Handle, step
from reprolib.run.store import Result, everything
from reprolib.schema import SOURCES, CgnSource, Params
from reprolib.vocabulary import VARIANTS

LATENTS, OF_ALL = 8, 12
"""How many latents a page has, and of all CGNs of a data set together at most, so that it stays small."""
NAMES = ("mask", "foreground", "background", "predicted", "confidence")
READERS = ("original images", "counterfactuals")
"""What the classifiers of a page were trained on, in the order of their tables."""


class Point(NamedTuple):
    """Three labels and the number of a latent: where a reader stands."""

    shape: int
    texture: int
    background: int
    latent: int


@torch.inference_mode()
def mechanisms(model: CGN, here: Point, there: Point | None = None, way: float = 0.0) -> Mechanisms:
    """The mechanisms of one image, each with a label of its own and all with the same noise; the textures are shifted
    as the latent says. there, way: go so far, 0 to 1, on the straight line to the latents of another point."""
    ends = [[_latent(model, label, point.latent) for label in point[:3]] for point in (here, there or here)]
    shape, texture, background = (torch.lerp(first, last, way) for first, last in zip(*ends, strict=True))
    with rng.seeded("explorer, shift", here.latent):
        return Mechanisms(model.mask(shape), model.foreground(texture), model.background(background))


def _latent(model: CGN, label: int, number: int) -> Tensor:
    with rng.seeded("explorer, noise", number):
        return model.latent(torch.tensor([label]), torch.randn(1, LATENT))


def pixels(parts: Mechanisms) -> list[np.ndarray]:
    """Mask, uint8 (N, 32, 32), foreground and background, uint8 (N, 32, 32, 3)."""
    return [to_pixels(parts.mask * 2 - 1)[..., 0], to_pixels(parts.foreground), to_pixels(parts.background)]


def composed(mask: np.ndarray, foreground: np.ndarray, background: np.ndarray) -> np.ndarray:
    """x = m * f + (1 - m) * b of pixels, rounded as a page rounds it: uint8 (..., 32, 32, 3), by broadcasting."""
    m = mask[..., None].astype(np.int32)
    return ((2 * (m * foreground + (255 - m) * background) + 255) // 510).astype(np.uint8)


def images(shown: np.ndarray) -> Tensor:
    """Pixels (N, 32, 32, 3) as a classifier sees them: float32 (N, 3, 32, 32) in [-1, 1]."""
    return torch.from_numpy(shown).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.inference_mode()
def said(model: Classifier, shown: np.ndarray) -> tuple[Tensor, Tensor]:
    """(class, confidence in percent), both uint8 (N,), of a classifier on pixels (N, 32, 32, 3)."""
    confidence, predicted = model(images(shown)).exp().max(1)
    return predicted.byte(), (100 * confidence).round().byte()


@step(keep=everything)
def explorer(cgn: Cgn, classifiers: tuple[Handle, ...], latents: int) -> Result:
    """A CGN at so many latents. Tensors, all uint8: ``mask`` (latents, 10, 32, 32), ``foreground`` and ``background``
    (latents, 10, 32, 32, 3) of each label; ``predicted`` and ``confidence`` (classifiers, latents, 10, 10, 10) of the
    compositions, by label of shape, texture and background."""
    model = experiments.load(cgn)
    asked = [classifier_from(each.result(with_tensors=True).tensors) for each in classifiers]
    sprites = [_sprites(model, latent) for latent in range(latents)]
    told = [said(reader, triples(*row)) for reader in asked for row in sprites]
    shape = len(asked), latents, CLASSES, CLASSES, CLASSES
    tables = [torch.cat(each).reshape(shape) for each in zip(*told, strict=True)]
    stacked = [torch.from_numpy(np.stack(each)) for each in zip(*sprites, strict=True)]
    return Result({}, dict(zip(NAMES, [*stacked, *tables], strict=True)))


def _sprites(model: CGN, latent: int) -> list[np.ndarray]:
    parts = [mechanisms(model, Point(label, label, label, latent)) for label in range(CLASSES)]
    return pixels(Mechanisms(*(torch.cat(each) for each in zip(*parts, strict=True))))


def triples(mask: np.ndarray, foreground: np.ndarray, background: np.ndarray) -> np.ndarray:
    """The compositions of all triples of labels, (1000, 32, 32, 3), from the sprites of one latent."""
    return composed(mask[:, None, None], foreground[:, None], background).reshape(-1, *foreground.shape[1:])


def readers(params: Params, variant: str, source: CgnSource) -> tuple[Handle, ...]:
    """The classifiers of the first seed that are asked, in the order of READERS."""

    def sets(params: Params, variant: str, seed: int) -> list[TrainingSet]:
        made = plan.training_set(params, variant, False, "counterfactual", source, seed)
        return [TrainingSet(original=True), made]

    return tuple(plan.classifiers(params, variant, sets)[:: params.seeds_of(variant)])


def arrays(params: Params) -> dict[str, np.ndarray]:
    """``variant|CGN|name`` -> the tensors of ``explorer``, for the first CGN of each source. Its classifiers are those
    of the first seed: on original images, and on counterfactuals of this CGN."""
    latents = max(1, min(LATENTS, OF_ALL // len(params.cgn.sources)))
    cases = [(variant, source) for source in params.cgn.sources for variant in params.variants]
    wanted = [explorer(plan.cgn(params, *case, rules.FIRST_SEED), readers(params, *case), latents) for case in cases]
    found = jobs.results(params, "explorer", wanted)
    return {
        f"{VARIANTS[variant].title}|{SOURCES[source]}|{name}": result.tensors[name].numpy()
        for (variant, source), result in zip(cases, found, strict=True)
        for name in NAMES
    }


def by_cgn(data: Arrays) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """(variant, CGN) -> name -> array, of what ``arrays`` returned."""
    found: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    for key in data:
        title, source, name = key.split("|")
        found.setdefault((title, source), {})[name] = data[key]
    return found


def opened(params: Params, variant: str) -> tuple[CGN, list[Classifier]]:
    """The CGN that decides the claims and the classifiers of READERS, ready to be asked; the latter are trained first
    if this profile has not run."""
    trained = [each.result(with_tensors=True) for each in readers(params, variant, params.cgn.sources[0])]
    return experiments.load(plan.deciding_cgn(params, variant)), [classifier_from(each.tensors) for each in trained]


def picture(model: CGN, asked: list[Classifier], here: Point, there: Point, way: float) -> Figure:
    """Mask, foreground, background and their image x on the way from one point to another, see ``mechanisms``, and the
    GradCAM heatmap of each classifier with what it says."""
    parts = pixels(mechanisms(model, here, there, way))
    x = composed(*parts)
    drawn, axes = plt.subplots(1, 4 + len(asked), figsize=(1.7 * (4 + len(asked)), 2.1))
    titles = ("mask m", "foreground f", "background b", "image x")
    for ax, pictured, title in zip(axes, (parts[0][..., None].repeat(3, -1), *parts[1:], x), titles, strict=False):
        show(ax, pictured[0], title)
    for ax, reader, name in zip(axes[4:], asked, READERS, strict=True):
        (digit,), (confidence,) = said(reader, x)
        heat = heatmaps(reader, reader.model[Classifier.last_relu], images(x))[0].numpy()
        show(ax, (0.5 * x[0] + 127.5 * matplotlib.colormaps["turbo"](heat)[..., :3]).astype(np.uint8))
        ax.set_title(f"{name}:\n{digit} ({confidence} %)", fontsize=8)
    return drawn
