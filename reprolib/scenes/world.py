"""Scenes as a world of the natural-image experiments: rendered data, shipped parts, known truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from torchvision import transforms

from reprolib import features, shipped
from reprolib.imagenet import datasets as folders
from reprolib.imagenet import ensemble
from reprolib.imagenet.cgn import CGN
from reprolib.imagenet.datasets import Images
from reprolib.imagenet.ensemble import Ensemble
from reprolib.imagenet.train import Patches
from reprolib.scenes import datasets, parts, rating
from reprolib.scenes.render import CLASSES, VERSION
from reprolib.schema import NaturalSource, ScenesParams


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
        files = {name: shipped.sha256(parts.file(name)) for name in ("generator", "saliency")}
        return {"world": self.name} | files

    def given_identity(self, source: NaturalSource) -> str:
        return shipped.sha256(parts.file("cgn"))

    def rater_identity(self) -> str:
        return shipped.sha256(parts.file("scene_reader"))

    def truth_identity(self) -> dict[str, Any]:
        readers = {f"{name}_reader": shipped.sha256(parts.file(f"{name}_reader")) for name in parts.FACTORS}
        return {"renderer": VERSION} | readers

    def data_identity(self) -> dict[str, Any]:
        sizes = {"images": self.images, "validation": self.validation}
        networks = {"backbone": features.LITE0_SHA256, "reader": self.rater_identity()}
        return {"world": self.name, "renderer": VERSION} | networks | sizes

    def new_cgn(self) -> CGN:
        model = CGN(parts.GENERATOR, parts.saliency())
        model.start_from(parts.generator().state_dict())
        return model

    def given_cgn(self, source: NaturalSource) -> CGN:
        model = self.new_cgn()
        model.load_mechanisms(parts.tensors_of("cgn"))
        return model.eval()

    def rater(self) -> nn.Module:
        return parts.reader("scene")

    def against_truth(self, model: CGN, count: int) -> dict[str, Any]:
        return rating.against_truth(model, count)

    def ensemble(self) -> Ensemble:
        return ensemble.lite0(self.classes)

    def plain(self) -> nn.Module:
        return parts.reader("scene")

    def real(self, split: str) -> Images:
        count = self.images if split == "train" else self.validation
        images, labels = datasets.labelled(count, ("real", split))
        return _images(images, labels[:, 0])

    def true_counterfactuals(self, count: int, split: str, seed: int) -> Images:
        """Rendered scenes with independent factors."""
        return _images(*datasets.labelled(count, ("true counterfactuals", split, seed), "random"))

    def counterfactuals(self, folder: Path, split: str) -> Images:
        to_range = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)])
        return folders.counterfactual_split(folder, split, to_range)

    def challenge(self, name: str) -> Images:
        images, labels = datasets.test_set(name, self.validation, 0)  # type: ignore[arg-type]
        return _images(images, labels[:, 0])

    def superclasses(self) -> Tensor:
        return torch.arange(self.classes)

    def conflict(self) -> tuple[Images, list[list[int]]]:
        images, labels = datasets.test_set("cue_conflict", self.validation, 0)
        return _images(images, labels[:, :2]), [[number] for number in range(self.classes)]

    def unusual(self) -> dict[str, tuple[Images, Tensor]]:
        """Stand-ins: for ImageNet-A scenes with independent factors that the scene reader gets wrong; for
        ImageNet-Sketch outlines on white."""
        everything = torch.arange(self.classes)
        sets = {
            "hard scenes": datasets.adversarial(self.validation, parts.reader("scene")),
            "sketches": datasets.sketches(self.validation),
        }
        return {name: (_images(images, labels[:, 0]), everything) for name, (images, labels) in sets.items()}


def _images(images: Tensor, labels: Tensor) -> Images:
    data: Any = TensorDataset(images, labels)
    return data
