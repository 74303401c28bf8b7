"""The pretrained networks of the embedded size, each made from the renderer: generator, saliency net, reader.

ImageNet has BigGAN, U2-Net and Inception; Scenes has these. The generator is distilled: it learns the renderer as a
function of (u, y) by regression, which is far more stable than a GAN, and its truth is known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from pytorch_pretrained_biggan.model import BigGAN
from timm.models.resnet import BasicBlock, ResNet
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam
from torch.optim.lr_scheduler import OneCycleLR

from reprolib.natural import biggan, u2net
from reprolib.natural.u2net import PLANS, U2Net, saliency_loss
from reprolib.run import rng, training, weights
from reprolib.run.store import Checkpoint
from reprolib.vocabulary import FACTORS
from reprolib.worlds.scenes.datasets import LATENT, Attributes, classes
from reprolib.worlds.scenes.render import CLASSES, Scene, render
from reprolib.worlds.scenes.shapes import STRANGERS

Model = TypeVar("Model", bound=nn.Module)
DETAIL_WEIGHT = 13.0
"""Pixels of the object, and those where the picture changes, count up to this much: without the former only blobs
appear in the given time, without the latter a night sky has no stars."""
EDGE_WEIGHT = 2.0
"""Of the differences of neighbouring pixels, which make outlines and textures sharp."""


@dataclass(frozen=True)
class PretrainSettings:
    """How long a network is trained."""

    steps: int
    batch: int = 16
    learning_rate: float = 2e-3
    checkpoint_every: int = 500
    device: str = "cpu"


def distil_generator(name: str, seed: int, settings: PretrainSettings, checkpoint: Checkpoint) -> BigGAN:
    """Teach a BigGAN of ``biggan.ARCHITECTURES`` the renderer; in eval mode on the CPU.

    It learns posed scenes whose factors agree, a smooth function of (u, y): the typical image of a class, as BigGAN
    shows it. What makes real scenes hard, disagreement, clutter, small, cut-off and dark objects, is in the data alone.
    """
    with rng.seeded("distilled initialisation", name, seed):
        model = biggan.build(name)
    latent = biggan.ARCHITECTURES[name].latent

    def loss(i: int) -> Tensor:
        index = torch.arange(i * settings.batch, (i + 1) * settings.batch)
        u = biggan.noise(index, latent, 1.0, ("distil", seed))
        y = rng.classes(("distil classes", seed), index, len(CLASSES))
        scene = render(u, y, y, y)
        made = model(u.to(settings.device), biggan.one_hot(y, len(CLASSES)).to(settings.device), 1.0)
        return distillation_loss(made, scene.image.to(settings.device), detail_weight(scene).to(settings.device))

    return _train(model, loss, f"generator {name} of Scenes", settings, checkpoint)


def detail_weight(scene: Scene) -> Tensor:
    """(B, 1, H, W) in [1, DETAIL_WEIGHT]: highest in and around the object and where neighbouring pixels differ."""
    contrast = F.max_pool2d(scene.image, 3, 1, 1) + F.max_pool2d(-scene.image, 3, 1, 1)
    around = F.max_pool2d(scene.mask, 5, stride=1, padding=2)
    return 1 + (DETAIL_WEIGHT - 1) * torch.maximum(around, contrast.mean(1, keepdim=True).clamp(max=1))


def distillation_loss(made: Tensor, image: Tensor, weight: Tensor) -> Tensor:
    """Weighted L1 of pixels plus EDGE_WEIGHT times that of the differences of neighbours; weight (B, 1, H, W)."""
    error = (made - image).abs()
    across = (made.diff(dim=3) - image.diff(dim=3)).abs() * weight[..., 1:]
    down = (made.diff(dim=2) - image.diff(dim=2)).abs() * weight[..., 1:, :]
    return ((error * weight).mean() + EDGE_WEIGHT * (across.mean() + down.mean())) / weight.mean()


def train_saliency(name: str, seed: int, settings: PretrainSettings, checkpoint: Checkpoint) -> U2Net:
    """Teach a U2-Net of ``u2net.PLANS`` to find the object in posed scenes; frozen, in eval mode.

    It sees strangers only, never the shape of a class: what it finds in Scenes it was not told, as the published
    U2-Net was not told the classes of ImageNet.
    """
    with rng.seeded("saliency initialisation", name, seed):
        model = U2Net(PLANS[name])

    def loss(i: int) -> Tensor:
        index = torch.arange(i * settings.batch, (i + 1) * settings.batch)
        u = biggan.noise(index, LATENT, 1.0, ("saliency", seed))
        _, texture, ground = classes(index, ("saliency classes", seed), "random").unbind(1)
        stranger = (rng.uniform(("saliency shapes", seed), index, 1)[:, 0] * len(STRANGERS)).long()
        scene = render(u, len(CLASSES) + stranger, texture, ground)
        return saliency_loss(model.logits(scene.image.to(settings.device)), scene.mask.to(settings.device))

    trained = _train(model, loss, f"saliency net {name} of Scenes", settings, checkpoint)
    return trained.requires_grad_(False)


def reader() -> nn.Module:
    """A thin ResNet of four blocks: images (B, 3, 64, 64) in [-1, 1] -> logits (B, 9)."""
    block: Any = BasicBlock  # timm's own annotation asks for an instance
    network: nn.Module = ResNet(
        block, (1, 1, 1, 1), len(CLASSES), stem_type="deep", stem_width=16, avg_down=True, channels=(32, 48, 64, 96)
    )
    return network


def train_reader(
    factor: int, attributes: Attributes, seed: int, settings: PretrainSettings, checkpoint: Checkpoint
) -> nn.Module:
    """Teach a ``reader`` one factor (0 shape, 1 texture, 2 background) of scenes; in eval mode on the CPU.

    attributes: ``random`` takes posed scenes, in which only the factor itself can be read; ``mostly`` real ones, which
    gives the plain classifier of scenes that the Inception Score needs.
    """
    with rng.seeded("reader initialisation", factor, seed):
        model = reader()

    def loss(i: int) -> Tensor:
        index = torch.arange(i * settings.batch, (i + 1) * settings.batch)
        u = biggan.noise(index, LATENT, 1.0, ("reader", seed))
        labels = classes(index, ("reader classes", seed), attributes)
        image = render(u, *labels.unbind(1), wild=attributes == "mostly").image.to(settings.device)
        return F.cross_entropy(model(image), labels[:, factor].to(settings.device))

    return _train(model, loss, f"reader of {FACTORS[factor]}, Scenes", settings, checkpoint)


def _train(
    model: Model, loss: Callable[[int], Tensor], title: str, settings: PretrainSettings, checkpoint: Checkpoint
) -> Model:
    """Adam with a one-cycle learning rate; step i draws its scenes from i alone, so a run can resume anywhere."""
    model = model.to(settings.device).train()
    optimiser = Adam(model.parameters(), settings.learning_rate, fused=True)
    schedule = OneCycleLR(optimiser, settings.learning_rate, total_steps=settings.steps)

    def step(i: int) -> dict[str, Tensor]:
        value = loss(i)
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        optimiser.step()
        schedule.step()
        return {"loss": value}

    states: dict[str, training.Stateful] = {"model": model, "optimiser": optimiser, "schedule": schedule}
    training.run(title, settings.steps, step, states, checkpoint, settings.checkpoint_every)
    return model.cpu().eval()


def load_generator(name: str, state: dict[str, Tensor]) -> BigGAN:
    """A distilled generator from its tensors, in eval mode."""
    model = biggan.build(name)
    weights.load_strictly(model, state, f"generator {name}")
    return model


def load_saliency(name: str, state: dict[str, Tensor]) -> U2Net:
    """A saliency net from its tensors, frozen and in eval mode."""
    model = U2Net(u2net.PLANS[name])
    weights.load_strictly(model, state, f"saliency net {name}")
    return model.eval().requires_grad_(False)
