"""ImageNet as a world of the natural-image experiments: the published networks, and files that a user puts in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import transforms
from torchvision.models import ResNet50_Weights

from reprolib import features
from reprolib.natural import cgn, classify, quality, robustness, u2net
from reprolib.natural.cgn import CGN
from reprolib.natural.classify import Ensemble
from reprolib.natural.datasets import EVALUATION, NORMALISED, TRAIN, Images, Pictures, Transform
from reprolib.natural.train import Patches
from reprolib.natural.world import World
from reprolib.run import assets, files, rng, weights
from reprolib.schema import ImagenetParams


class ImageNet(World):
    """ImageNet or ImageNet-mini with the published networks, from files that the asset table names."""

    name, title, classes = "imagenet", "ImageNet", 1000
    patches = Patches()
    shown = (
        15, 251, 330, 382, 385, 483, 559, 751, 938, 947, 999,  # those of the released code
        779, 836, 1, 21, 951, 814,  # the reproduction study's: four more in its code, lemon and a boat in its Fig 8
    )  # fmt: skip
    followed = (938, 951, 814)  # cauliflower (reproduction Fig 9), lemon and speedboat (Fig 8)
    entangled = (815, 309, 319)  # spider web, bee, dragonfly (Fig 10)
    truncations = (1.0, 0.5)
    walk_truncation = 0.3  # docs/imagenet.md, section 8
    plain_title = "plain classifier (ResNet-50)"

    def __init__(self, params: ImagenetParams) -> None:
        self.data, self.features = params.data, params.features
        self.class_names: Sequence[str] = ResNet50_Weights.IMAGENET1K_V1.meta["categories"]

    def identity(self) -> dict[str, Any]:
        files = ("imagenet/biggan-deep-256.bin", "imagenet/u2net.pth")
        return {"world": self.name} | {file: self._sha256(file) for file in files}

    def given_identity(self) -> str:
        return self._sha256("imagenet/cgn.pth")

    def rater_identity(self) -> str:
        return self._sha256("inception_v3_google-0cc3c7bd.pth")

    def data_identity(self) -> dict[str, Any]:
        return {"world": self.name, "data": self.data, "backbone": self._sha256("resnet50-0676ba61.pth")}

    @staticmethod
    def _sha256(name: str) -> str:
        return files.sha256_of(assets.path(name))

    def new_cgn(self, true_mask: bool = False) -> CGN:
        if true_mask:
            raise NotImplementedError("nobody knows the true masks of ImageNet")
        model = CGN("biggan-deep-256", self._saliency())
        file = assets.path("imagenet/biggan-deep-256.bin")
        model.start_from(weights.read_pth(file), str(file))
        return model

    def given_cgn(self) -> CGN:
        return cgn.load("biggan-deep-256", self._saliency(), assets.path("imagenet/cgn.pth"))

    def _saliency(self) -> u2net.U2Net:
        file = assets.path("imagenet/u2net.pth")
        return u2net.load("u2net", weights.read_pth(file), str(file))

    def rater(self) -> nn.Module:
        return quality.inception_v3()

    def entanglement(self, model: CGN, u: Tensor, classes: Tensor) -> Tensor:
        net = features.load(self.features, size=model.architecture.size).to(model.device)
        with rng.seeded("patches"):
            return quality.gram_ratio(model, u, model.one_hot(classes), net, self.patches)

    def ensemble(self) -> Ensemble:
        return classify.resnet50(self.classes)

    def plain(self) -> nn.Module:
        return classify.pretrained_resnet50()

    def transform(self, split: str) -> Transform:
        return TRAIN if split == "train" else EVALUATION

    def real(self, split: str) -> Images:
        return Pictures(assets.FOLDERS[f"imagenet/{self.data}"].pictures(split), self.transform(split))

    def true_counterfactuals(self, count: int, split: str, seed: int) -> Images:
        raise NotImplementedError("nobody knows the true counterfactuals of ImageNet")

    def challenge(self, name: str) -> Images:
        files = assets.FOLDERS["imagenet/backgrounds_challenge"].pictures(f"{name}/val")
        # of 224 pixels already; the released code has other statistics, never seen in training
        return Pictures(files, transforms.Compose(NORMALISED))

    def superclasses(self) -> Tensor:
        return robustness.superclasses()

    def conflict(self) -> tuple[Images, list[list[int]]]:
        pictures = assets.FOLDERS["imagenet/cue_conflict"].pictures()
        files = [(file, robustness.labels_of(file)) for file, _ in pictures]
        return Pictures(files, EVALUATION), robustness.imagenet_groups()

    def out_of_distribution(self) -> dict[str, tuple[Images, Tensor]]:
        everything = assets.FOLDERS[f"imagenet/{self.data}"].classes
        found: dict[str, tuple[Images, Tensor]] = {}
        for name in ("imagenet-a", "imagenet-sketch"):
            given = assets.FOLDERS[f"imagenet/{name}"]
            present = torch.tensor([everything.index(each) for each in given.classes])
            found[name] = (Pictures(given.pictures(), EVALUATION), present)
        return found
