"""Scenes as a world of the natural-image experiments: rendered data, shipped networks, known truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from torchvision import transforms

from reprolib import features
from reprolib.natural import datasets as folders
from reprolib.natural import ensemble
from reprolib.natural.cgn import CGN, CLAMP, Maps, compose
from reprolib.natural.datasets import Images
from reprolib.natural.ensemble import Ensemble
from reprolib.natural.train import Patches
from reprolib.run import weights
from reprolib.schema import NaturalSource, ScenesParams
from reprolib.vocabulary import FACTORS
from reprolib.worlds.scenes import datasets, networks, quality
from reprolib.worlds.scenes.render import CLASSES, VERSION, render


class Scenes:
    """Nine classes at 64 pixels; every data set is rendered from (set, number) when it is asked for."""

    name, title, classes = "scenes", "Scenes", len(CLASSES)
    class_names: Sequence[str] = CLASSES
    patches = Patches(64, 7, 26)
    shown: tuple[int, ...] = tuple(range(len(CLASSES)))
    followed: tuple[int, ...] = (0, 4, 8)
    entangled: tuple[int, ...] = ()
    truncations: tuple[float, ...] = (1.0,)  # its generator has no statistics for others
    walk_truncation = 1.0
    plain_title = "plain classifier (scene reader)"

    def __init__(self, params: ScenesParams) -> None:
        self.images, self.validation = params.images, params.validation

    def identity(self) -> dict[str, Any]:
        files = {name: weights.sha256(networks.file(name)) for name in ("generator", "saliency")}
        return {"world": self.name} | files

    def given_identity(self, source: NaturalSource) -> str:
        return weights.sha256(networks.file("cgn"))

    def rater_identity(self) -> str:
        return weights.sha256(networks.file("scene_reader"))

    def truth_identity(self) -> dict[str, Any]:
        readers = {f"{name}_reader": weights.sha256(networks.file(f"{name}_reader")) for name in FACTORS}
        return {"renderer": VERSION} | readers

    def data_identity(self) -> dict[str, Any]:
        sizes = {"images": self.images, "validation": self.validation}
        networks = {"backbone": features.LITE0_SHA256, "reader": self.rater_identity()}
        return {"world": self.name, "renderer": VERSION, "wild": datasets.VERSION} | networks | sizes

    def new_cgn(self, true_mask: bool = False) -> CGN:
        model = (WithTrueMask if true_mask else CGN)(networks.GENERATOR, networks.saliency())
        model.start_from(networks.generator().state_dict())
        return model

    def given_cgn(self, source: NaturalSource) -> CGN:
        model = self.new_cgn()
        model.load_mechanisms(networks.tensors_of("cgn"))
        return model.eval()

    def rater(self) -> nn.Module:
        return networks.reader("scene")

    def against_truth(self, model: CGN, count: int) -> dict[str, Any]:
        return quality.against_truth(model, count)

    def entanglement(self, model: CGN, u: Tensor, classes: Tensor) -> Tensor:
        y = model.one_hot(classes).to(u.device)
        front = model.counterfactual(u, y, y, y)[2].cpu()
        return quality.entanglement(front, render(u.cpu(), classes, classes, classes))

    def ensemble(self) -> Ensemble:
        return ensemble.lite0(self.classes)

    def plain(self) -> nn.Module:
        return networks.reader("scene")

    def real(self, split: str) -> Images:
        count = self.images if split == "train" else self.validation
        images, labels = datasets.labelled(count, ("real", split))
        return _images(images, labels[:, 0])

    def true_counterfactuals(self, count: int, split: str, seed: int) -> Images:
        """Rendered scenes with independent factors."""
        return _images(*datasets.labelled(count, ("true counterfactuals", split, seed), "random"))

    def counterfactuals(self, folder: Path, split: str) -> Images:
        to_range = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)])
        return folders.CounterfactualFolder(folder / split, to_range)

    def challenge(self, name: str) -> Images:
        images, labels = datasets.test_set(name, self.validation, 0)
        return _images(images, labels[:, 0])

    def superclasses(self) -> Tensor:
        return torch.arange(self.classes)

    def conflict(self) -> tuple[Images, list[list[int]]]:
        images, labels = datasets.test_set("cue_conflict", self.validation, 0)
        return _images(images, labels[:, :2]), [[number] for number in range(self.classes)]

    def out_of_distribution(self) -> dict[str, tuple[Images, Tensor]]:
        """Stand-ins: for ImageNet-A scenes with independent factors that the scene reader gets wrong; for
        ImageNet-Sketch outlines on white."""
        everything = torch.arange(self.classes)
        sets = {
            "hard scenes": datasets.adversarial(self.validation, networks.reader("scene")),
            "sketches": datasets.sketches(self.validation),
        }
        return {name: (_images(images, labels[:, 0]), everything) for name, (images, labels) in sets.items()}


class WithTrueMask(CGN):
    """A CGN whose mask is that of the renderer, whatever its shape mechanism says."""

    def forward(self, u: Tensor, shape: Tensor, texture: Tensor, background: Tensor, truncation: float = 1.0) -> Maps:
        return super().forward(u, shape, texture, background, truncation)._replace(mask=self._mask(u, shape))

    @torch.inference_mode()
    def counterfactual(
        self, u: Tensor, shape: Tensor, texture: Tensor, background: Tensor, truncation: float = 1.0
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        _, _, front, ground = super().counterfactual(u, shape, texture, background, truncation)
        mask = self._mask(u, shape)
        return compose(mask, front, ground), mask, front, ground

    def _mask(self, u: Tensor, shape: Tensor) -> Tensor:
        classes = shape.argmax(1).cpu()
        return render(u.cpu(), classes, classes, classes).mask.clamp(*CLAMP).to(u.device)


def _images(images: Tensor, labels: Tensor) -> Images:
    data: Any = TensorDataset(images, labels)
    return data
