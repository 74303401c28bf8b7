"""ImageNet as a world of the natural-image experiments: the published networks, and files that a user puts in place."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import transforms
from torchvision.models import ResNet50_Weights, inception_v3, resnet50

from reprolib import features
from reprolib.natural import cgn, quality, u2net
from reprolib.natural.cgn import CGN
from reprolib.natural.classify import Ensemble
from reprolib.natural.datasets import EVALUATION, NORMALISED, TRAIN, Images, Pictures, Transform
from reprolib.natural.train import Patches
from reprolib.natural.world import World
from reprolib.run import AssetError, assets, files, rng, weights
from reprolib.schema import ImagenetParams

SUPERCLASSES = {
    "dog": "151-170 173-268",
    "bird": "7-24 87-100 127-146",
    "wheeled vehicle": "407-408 428 436 444 468 511 547 555 561 565 569 573 586 603 609 612 627 656 661 665 670-671 "
    "675 690 705 717 734 751 757 791 802-803 817 820 829 847 864 866-867 870 880",
    "reptile": "33-68",
    "carnivore": "269-280 286-299 356-362 387-388",
    "insect": "300-326",
    "musical instrument": "401-402 420 432 486 494 513 541 546 558 566 577 579 593-594 641-642 683-684 687 699 776 822 "
    "875 881 889",
    "primate": "365-384",
    "fish": "0-6 389-397",
}
"""The ImageNet classes of each, 370 of 1,000."""
CATEGORIES = {
    "airplane": "404",
    "bear": "294-297",
    "bicycle": "444 671",
    "bird": "8 10-16 18-20 22-24 80-83 87-96 98-100 127-133 135-145",
    "boat": "472 554 625 814 914",
    "bottle": "440 720 737 898-899 901 907",
    "car": "436 511 817",
    "cat": "281-286",
    "chair": "423 559 765 857",
    "clock": "409 530 892",
    "dog": "152-191 193-203 205-226 228-241 243-250 252-257 259 261-263 265-268",
    "elephant": "385 386",
    "keyboard": "508 878",
    "knife": "499",
    "oven": "766",
    "truck": "555 569 656 675 717 734 864 867",
}
"""Of cue conflict, with their ImageNet classes; in alphabetical order, which decides ties."""


def numbers(text: str) -> list[int]:
    """``"0-2 7"`` -> [0, 1, 2, 7]."""
    spans = [span.split("-") for span in text.split()]
    return [number for span in spans for number in range(int(span[0]), int(span[-1]) + 1)]


def labels_of(file: Path) -> tuple[int, ...]:
    """(shape, texture) of ``<shape><i>-<texture><j>.png`` as category numbers. Raises AssetError for another name."""
    named = re.fullmatch(r"([a-z]+)\d+-([a-z]+)\d+\.png", file.name)
    if named is None or not set(named.groups()) <= set(CATEGORIES):
        raise AssetError(f"{file} is not named <shape><number>-<texture><number>.png with the sixteen categories")
    return tuple(list(CATEGORIES).index(name) for name in named.groups())


def _published(name: str) -> tuple[dict[str, Tensor], str]:
    """The state in a file of the asset table, and where it lies."""
    file = assets.path(name)
    return weights.read_pth(file), str(file)


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
        model.start_from(*_published("imagenet/biggan-deep-256.bin"))
        return model

    def given_cgn(self) -> CGN:
        return cgn.load("biggan-deep-256", self._saliency(), assets.path("imagenet/cgn.pth"))

    def _saliency(self) -> u2net.U2Net:
        return u2net.load("u2net", *_published("imagenet/u2net.pth"))

    def rater(self) -> nn.Module:
        """Inception-v3 for images in (-1, 1), on which it was trained: torchvision's rescaling from ImageNet is off."""
        network = inception_v3(weights=None, transform_input=False, init_weights=False)
        weights.load_strictly(network, *_published("inception_v3_google-0cc3c7bd.pth"))
        return nn.Sequential(nn.Upsample((299, 299), mode="bilinear"), network.eval().requires_grad_(False))

    def entanglement(self, model: CGN, u: Tensor, classes: Tensor) -> Tensor:
        net = features.load(self.features, size=model.architecture.size).to(model.device)
        with rng.seeded("patches"):
            return quality.gram_ratio(model, u, model.one_hot(classes), net, self.patches)

    def ensemble(self) -> Ensemble:
        """For 224 pixels, as published."""
        backbone = nn.Sequential(*list(self.plain().children())[:-1], nn.Flatten())
        return Ensemble(backbone, 2048, self.classes, target="7.2.conv1")  # as Bagad et al. (docs/imagenet.md, 10.5)

    def plain(self) -> nn.Module:
        network = resnet50(weights=None)
        weights.load_strictly(network, *_published("resnet50-0676ba61.pth"))
        return network

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
        table = torch.full((self.classes,), -1)  # a class of no superclass; predicting it counts as wrong
        for number, text in enumerate(SUPERCLASSES.values()):
            table[numbers(text)] = number
        return table

    def conflict(self) -> tuple[Images, list[list[int]]]:
        files = [(file, labels_of(file)) for file, _ in assets.FOLDERS["imagenet/cue_conflict"].pictures()]
        return Pictures(files, EVALUATION), [numbers(text) for text in CATEGORIES.values()]

    def out_of_distribution(self) -> dict[str, tuple[Images, Tensor]]:
        everything = assets.FOLDERS[f"imagenet/{self.data}"].classes
        found: dict[str, tuple[Images, Tensor]] = {}
        for name in ("imagenet-a", "imagenet-sketch"):
            given = assets.FOLDERS[f"imagenet/{name}"]
            present = torch.tensor([everything.index(each) for each in given.classes])
            found[name] = (Pictures(given.pictures(), EVALUATION), present)
        return found
