"""The pretrained networks of Scenes in ``reprolib/weights``: how each is made from the renderer, and how good it is.

ImageNet has BigGAN, U2-Net and Inception; Scenes has these. The generator is distilled: it learns the renderer as a
function of (u, y) by regression, which is far more stable than a GAN, and its truth is known. ``reprolib scenes``
trains them; what it measured is kept in ``weights/scenes.json`` beside the files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from timm.models.resnet import BasicBlock, ResNet
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam
from torch.optim.lr_scheduler import OneCycleLR

from reprolib.gradcam import intersection_over_union
from reprolib.natural import biggan, quality, u2net
from reprolib.natural.u2net import PLANS, U2Net
from reprolib.run import rng, training, weights
from reprolib.run.store import Checkpoint, Result, Store
from reprolib.run.weights import Shipped
from reprolib.vocabulary import FACTORS
from reprolib.worlds import render as scenes
from reprolib.worlds.appearance import STRANGERS
from reprolib.worlds.render import CLASSES, LATENT, VERSION, Scene, render

GENERATOR, SALIENCY = "scenes-64", "u2net-thin"
HELD_OUT = 1800
"""Scenes that a network is measured on."""
QUALITY = weights.FOLDER / "scenes.json"
CHECKPOINT_EVERY = 500
DETAIL_WEIGHT = 13.0
"""Pixels of the object, and those where the picture changes, count up to this much: without the former only blobs
appear in the given time, without the latter a night sky has no stars."""
EDGE_WEIGHT = 2.0
"""Of the differences of neighbouring pixels, which make outlines and textures sharp."""


def shipped(name: str) -> Shipped:
    """A network as it comes with reprolib."""
    return Shipped(f"scenes_{name}.safetensors")


def saliency() -> U2Net:
    """The shipped saliency net, frozen, in eval mode."""
    return u2net.load(SALIENCY, shipped("saliency").read(), str(shipped("saliency").file))


def reader(name: str) -> nn.Module:
    """A shipped reader, frozen, in eval mode: ``scene`` (of real scenes), or one of FACTORS (of posed ones)."""
    model = new_reader()
    weights.load_strictly(model, shipped(f"{name}_reader").read(), f"the reader of {name}")
    return model.eval().requires_grad_(False)


def new_reader() -> nn.Module:
    """A thin ResNet of four blocks: images (B, 3, 64, 64) in [-1, 1] -> logits (B, 9)."""
    block: Any = BasicBlock  # timm's own annotation asks for an instance
    return ResNet(
        block, (1, 1, 1, 1), len(CLASSES), stem_type="deep", stem_width=16, avg_down=True, channels=(32, 48, 64, 96)
    )


# ---------------------------------------------------------------- losses: of a network on the scenes of these numbers


def distillation(model: Any, index: Tensor) -> Tensor:
    """Of a BigGAN that learns posed scenes whose factors agree, a smooth function of (u, y): the typical image of a
    class, as BigGAN shows it. What makes real scenes hard, disagreement, clutter, small, cut-off and dark objects, is
    in the data alone. L1 of the pixels plus EDGE_WEIGHT times that of the differences of neighbours, weighted."""
    u = biggan.noise(index, model.config.z_dim, 1.0, ("distil", 0))
    y = rng.classes(("distil classes", 0), index, len(CLASSES))
    scene, made = render(u, y, y, y), model(u, biggan.one_hot(y, len(CLASSES)), 1.0)
    image, weight = scene.image, detail_weight(scene)
    error = (made - image).abs()
    across = (made.diff(dim=3) - image.diff(dim=3)).abs() * weight[..., 1:]
    down = (made.diff(dim=2) - image.diff(dim=2)).abs() * weight[..., 1:, :]
    return ((error * weight).mean() + EDGE_WEIGHT * (across.mean() + down.mean())) / weight.mean()


def detail_weight(scene: Scene) -> Tensor:
    """(B, 1, H, W) in [1, DETAIL_WEIGHT]: highest in and around the object and where neighbouring pixels differ."""
    contrast = F.max_pool2d(scene.image, 3, 1, 1) + F.max_pool2d(-scene.image, 3, 1, 1)
    around = F.max_pool2d(scene.mask, 5, stride=1, padding=2)
    return 1 + (DETAIL_WEIGHT - 1) * torch.maximum(around, contrast.mean(1, keepdim=True).clamp(max=1))


def detection(model: U2Net, index: Tensor) -> Tensor:
    """Of a U2-Net that finds the object in posed scenes. It sees strangers only, never the shape of a class: what it
    finds in Scenes it was not told, as the published one was not told the classes of ImageNet."""
    u = biggan.noise(index, LATENT, 1.0, ("saliency", 0))
    _, texture, ground = scenes.classes(index, ("saliency classes", 0), "random").unbind(1)
    stranger = rng.classes(("saliency shapes", 0), index, len(STRANGERS))
    scene = render(u, len(CLASSES) + stranger, texture, ground)
    return u2net.saliency_loss(model.logits(scene.image), scene.mask)


def reading(model: nn.Module, index: Tensor, factor: int, attributes: scenes.Attributes) -> Tensor:
    """Of a reader of one factor (0 shape, 1 texture, 2 background).

    attributes: ``random`` takes posed scenes, in which only the factor itself can be read; ``mostly`` real ones, which
    gives the plain classifier of scenes that the Inception Score needs.
    """
    u = biggan.noise(index, LATENT, 1.0, ("reader", 0))
    labels = scenes.classes(index, ("reader classes", 0), attributes)
    image = render(u, *labels.unbind(1), wild=attributes == "mostly").image
    return F.cross_entropy(model(image), labels[:, factor])


@torch.inference_mode()
def accuracy(model: nn.Module, factor: int, attributes: scenes.Attributes) -> dict[str, float]:
    """Share of held-out scenes whose factor a reader reads correctly, in percent."""
    images, labels = scenes.labelled(HELD_OUT, ("held out",), attributes, wild=attributes == "mostly")
    right = quality.probabilities(images, model).argmax(1) == labels[:, factor]
    return {"accuracy": 100 * float(right.double().mean())}


@torch.inference_mode()
def intersection(model: nn.Module) -> dict[str, float]:
    """Mean mask IoU of a saliency net on held-out posed scenes with independent factors."""
    scene, _ = scenes.scenes(HELD_OUT, ("held out",), "random", wild=False)
    masks = torch.cat([model(images) for images in scene.image.split(scenes.BATCH)])
    return {"iou": float(intersection_over_union(masks > 0.5, scene.mask > 0.5).mean())}


@torch.inference_mode()
def resemblance(model: nn.Module) -> dict[str, float]:
    """L1 distance of a generator to the renderer, and the share of its images that the scene reader recognises."""
    index = torch.arange(HELD_OUT)
    u = biggan.noise(index, LATENT, 1.0, ("held out images",))
    y = rng.classes(("held out classes",), index, len(CLASSES))
    pairs = list(zip(u.split(100), y.split(100), strict=True))
    images = torch.cat([model(a, biggan.one_hot(b, len(CLASSES)), 1.0) for a, b in pairs])
    truth = torch.cat([render(a, b, b, b).image for a, b in pairs])
    recognised = quality.probabilities(images, reader("scene")).argmax(1) == y
    return {"l1": float((images - truth).abs().mean()), "recognised": 100 * float(recognised.double().mean())}


@dataclass(frozen=True)
class Network:
    """One network: how it is trained and what says whether it is good."""

    title: str
    initialisation: rng.Key
    build: Callable[[], nn.Module]
    loss: Callable[[Any, Tensor], Tensor]
    measure: Callable[[nn.Module], dict[str, float]]
    steps: int
    batch: int
    learning_rate: float
    constants: dict[str, float] = field(default_factory=dict)
    """Of its loss or its data: part of its inputs."""


def _reader(title: str, factor: int, attributes: scenes.Attributes, steps: int, **constants: float) -> Network:
    how: dict[str, Any] = {"factor": factor, "attributes": attributes}
    read, measured = partial(reading, **how), partial(accuracy, **how)
    return Network(title, ("reader initialisation", factor, 0), new_reader, read, measured, steps, 32, 3e-3, constants)


NETWORKS: dict[str, Network] = {
    "scene_reader": _reader("scene reader", 0, "mostly", 600, wild=scenes.WILD_VERSION),
    **{f"{name}_reader": _reader(f"reader of {name}", i, "random", 1200) for i, name in enumerate(FACTORS)},
    "saliency": Network(
        "saliency net",
        ("saliency initialisation", SALIENCY, 0),
        lambda: U2Net(PLANS[SALIENCY]),
        detection,
        intersection,
        steps=1200,
        batch=16,
        learning_rate=4e-3,
        constants={"strangers": len(STRANGERS)},
    ),
    "generator": Network(
        "generator",
        ("distilled initialisation", GENERATOR, 0),
        lambda: biggan.build(GENERATOR),
        distillation,
        resemblance,
        steps=5000,
        batch=16,
        learning_rate=2e-3,
        constants={"detail_weight": DETAIL_WEIGHT, "edge_weight": EDGE_WEIGHT},
    ),
}
"""In the order in which they are made: the generator is measured with the scene reader."""


def train(network: Network, checkpoint: Checkpoint) -> nn.Module:
    """Adam with a one-cycle learning rate; step i draws its scenes from i alone, so a run can resume anywhere. In eval
    mode."""
    with rng.seeded(*network.initialisation):
        model = network.build().train()
    optimiser = Adam(model.parameters(), network.learning_rate, fused=True)
    schedule = OneCycleLR(optimiser, network.learning_rate, total_steps=network.steps)

    def step(i: int) -> dict[str, Tensor]:
        loss = network.loss(model, torch.arange(i * network.batch, (i + 1) * network.batch))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if i < network.steps:  # the one after the last is taken back
            schedule.step()
        return {"loss": loss}

    states: dict[str, training.Stateful] = {"model": model, "optimiser": optimiser, "schedule": schedule}
    training.run(f"{network.title}, Scenes", network.steps, step, states, checkpoint, CHECKPOINT_EVERY)
    return model.eval()


def make(name: str, store: Store) -> dict[str, Any]:
    """Train a network, or take it from the store; keep its weights and return what was measured on it."""
    network = NETWORKS[name]

    def trained(checkpoint: Checkpoint) -> Result:
        model = train(network, checkpoint)
        return Result(network.measure(model), dict(model.state_dict()))

    settings = {"steps": network.steps, "batch": network.batch, "learning_rate": network.learning_rate}
    inputs = {
        "part": name,
        "settings": settings | {"device": "cpu"},
        "renderer": VERSION,
        "threads": torch.get_num_threads(),
    } | network.constants
    result = store.get("part", inputs, trained, with_tensors=True)
    measured = {"measured": result.numbers, "inputs": inputs, "made": result.made}
    weights.keep(shipped(name).file, result.tensors, QUALITY, {name: measured})
    return result.numbers
