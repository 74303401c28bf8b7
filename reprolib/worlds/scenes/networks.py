"""The pretrained networks of Scenes in ``reprolib/weights``: what there is, how each was trained, and how good it is.

``reprolib scenes`` trains them; what it measured is kept in ``weights/scenes.json`` beside the files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from pytorch_pretrained_biggan.model import BigGAN
from torch import Tensor, nn

from reprolib.gradcam import intersection_over_union
from reprolib.natural import biggan, quality
from reprolib.natural.u2net import U2Net
from reprolib.run import rng, weights
from reprolib.run.store import Checkpoint, Result, Store
from reprolib.vocabulary import FACTORS
from reprolib.worlds.scenes import datasets, pretrain
from reprolib.worlds.scenes.pretrain import PretrainSettings
from reprolib.worlds.scenes.render import CLASSES, VERSION, render
from reprolib.worlds.scenes.shapes import STRANGERS

GENERATOR, SALIENCY = "scenes-64", "u2net-thin"
HELD_OUT = 1800
"""Scenes that a network is measured on."""
QUALITY = weights.FOLDER / "scenes.json"
_READER = PretrainSettings(steps=1200, batch=32, learning_rate=3e-3)


@dataclass(frozen=True)
class Network:
    """One network: how it is trained and what says whether it is good."""

    settings: PretrainSettings
    train: Callable[[PretrainSettings, Checkpoint], nn.Module]
    measure: Callable[[nn.Module], dict[str, float]]
    constants: dict[str, float] = field(default_factory=dict)
    """Of its loss or its data: part of its inputs."""


def generator() -> BigGAN:
    """The shipped BigGAN of Scenes, in eval mode."""
    return pretrain.load_generator(GENERATOR, tensors_of("generator"))


def saliency() -> U2Net:
    """The shipped saliency net, frozen, in eval mode."""
    return pretrain.load_saliency(SALIENCY, tensors_of("saliency"))


def reader(name: str) -> nn.Module:
    """A shipped reader, frozen, in eval mode: ``scene`` (of real scenes), or one of FACTORS (of posed ones)."""
    model = pretrain.reader()
    weights.load_strictly(model, tensors_of(f"{name}_reader"), f"the reader of {name}")
    return model.eval().requires_grad_(False)


def file(name: str) -> Path:
    """The file of a network."""
    return weights.FOLDER / f"scenes_{name}.safetensors"


def tensors_of(name: str) -> dict[str, Tensor]:
    """The tensors of a network. Raises AssetError if its file is missing or damaged."""
    return weights.read(file(name))


def keep(name: str, state: dict[str, Tensor], measured: dict[str, Any]) -> None:
    """Write the file of a network, and what is known of it to ``scenes.json``."""
    with weights.alone(weights.FOLDER):
        weights.write(file(name), state)
        known = weights.record(QUALITY) if QUALITY.exists() else {}
        weights.write_record(QUALITY, known | {name: measured})


# ---------------------------------------------------------------- quality


@torch.inference_mode()
def accuracy(model: nn.Module, factor: int, attributes: datasets.Attributes) -> float:
    """Share of held-out scenes whose factor a reader reads correctly, in percent."""
    images, labels = datasets.labelled(HELD_OUT, ("held out",), attributes, wild=attributes == "mostly")
    found = quality.probabilities(images, model).argmax(1)
    return 100 * float((found == labels[:, factor]).double().mean())


@torch.inference_mode()
def intersection(model: nn.Module) -> float:
    """Mean mask IoU of a saliency net on held-out posed scenes with independent factors."""
    scene, _ = datasets.scenes(HELD_OUT, ("held out",), "random", wild=False)
    found = torch.cat([model(part) for part in scene.image.split(datasets.BATCH)])
    return float(intersection_over_union(found > 0.5, scene.mask > 0.5).mean())


@torch.inference_mode()
def generated(model: nn.Module) -> dict[str, float]:
    """L1 distance of a generator to the renderer, and the share of its images that the scene reader recognises."""
    index = torch.arange(HELD_OUT)
    u = biggan.noise(index, datasets.LATENT, 1.0, ("held out images",))
    y = rng.classes(("held out classes",), index, len(CLASSES))
    pairs = list(zip(u.split(100), y.split(100), strict=True))
    images = torch.cat([model(a, biggan.one_hot(b, len(CLASSES)), 1.0) for a, b in pairs])
    truth = torch.cat([render(a, b, b, b).image for a, b in pairs])
    recognised = quality.probabilities(images, reader("scene")).argmax(1) == y
    return {"l1": float((images - truth).abs().mean()), "recognised": 100 * float(recognised.double().mean())}


def _factor_reader(factor: int) -> Network:
    return Network(
        _READER,
        lambda settings, checkpoint: pretrain.train_reader(factor, "random", 0, settings, checkpoint),
        lambda model: {"accuracy": accuracy(model, factor, "random")},
    )


NETWORKS: dict[str, Network] = {
    "scene_reader": Network(
        PretrainSettings(steps=600, batch=32, learning_rate=3e-3),
        lambda settings, checkpoint: pretrain.train_reader(0, "mostly", 0, settings, checkpoint),
        lambda model: {"accuracy": accuracy(model, 0, "mostly")},
        constants={"wild": datasets.VERSION},
    ),
    **{f"{name}_reader": _factor_reader(number) for number, name in enumerate(FACTORS)},
    "saliency": Network(
        PretrainSettings(steps=1200, batch=16, learning_rate=4e-3),
        lambda settings, checkpoint: pretrain.train_saliency(SALIENCY, 0, settings, checkpoint),
        lambda model: {"iou": intersection(model)},
        constants={"strangers": len(STRANGERS)},
    ),
    "generator": Network(
        PretrainSettings(steps=5000, batch=16, learning_rate=2e-3),
        lambda settings, checkpoint: pretrain.distil_generator(GENERATOR, 0, settings, checkpoint),
        generated,
        constants={"detail_weight": pretrain.DETAIL_WEIGHT, "edge_weight": pretrain.EDGE_WEIGHT},
    ),
}
"""In the order in which they are made: the generator is measured with the scene reader."""


def make(name: str, store: Store) -> dict[str, Any]:
    """Train a network, or take it from the store; keep its weights and return what was measured on it."""
    network = NETWORKS[name]

    def train(checkpoint: Checkpoint) -> Result:
        model = network.train(network.settings, checkpoint)
        return Result(network.measure(model), dict(model.state_dict()))

    settings = {name: value for name, value in asdict(network.settings).items() if name != "checkpoint_every"}
    inputs = {
        "part": name,
        "settings": settings,
        "renderer": VERSION,
        "threads": torch.get_num_threads(),
    } | network.constants
    result = store.get("part", inputs, train, with_tensors=True)
    known = {"measured": result.numbers, "inputs": inputs, "made": result.made}
    keep(name, result.tensors, known)
    return result.numbers
