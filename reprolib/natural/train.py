"""Training of the natural-image CGN: six losses, gradients summed over many micro-batches, three optimisers.

No real image and no discriminator takes part: the frozen generator is the only teacher (docs/imagenet.md, sections 5
and 6). All randomness of micro-batch i comes from the key (seed, i), and gradients that are not spent yet belong to a
checkpoint, so that a resumed run ends with the bits of an unbroken one; on a GPU up to the order of sums, because the
gradient of a bilinear resize has none there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam

from reprolib import features, losses
from reprolib.natural.cgn import CGN, Maps, compose
from reprolib.run import distributed, rng, training
from reprolib.run.store import Checkpoint
from reprolib.schema import ASIDE, LossGroup, NaturalParams, TextureTarget

STUDY = NaturalParams()
Taps = tuple[float, float, float, float]
LEARNING_RATES = {"f_shape": 8e-6, "f_bg": 1e-5, "f_text": STUDY.texture_rate}
"""In the order in which the mechanisms are updated."""


@dataclass(frozen=True)
class LossWeights:
    """The weights of the released code; a loss of weight 0 is not computed. ``binary`` is the entropy of the mask,
    ``mask`` the interval of its mean."""

    l1: float = 100.0
    perceptual: Taps = (4.0, 4.0, 4.0, 4.0)
    binary: float = 300.0
    mask: float = 500.0
    texture: Taps = (0.0, 5.0, 5.0, 0.0)
    background: float = 2000.0

    def without(self, group: LossGroup) -> LossWeights:
        """One group of losses switched off, as in the published ablation."""
        off: dict[str, dict[str, Any]] = {
            "shape": {"binary": 0.0, "mask": 0.0},
            "text": {"texture": (0.0,) * 4},
            "bg": {"background": 0.0},
            "rec": {"l1": 0.0, "perceptual": (0.0,) * 4},
        }
        return LossWeights(**(self.__dict__ | off[group]))


@dataclass(frozen=True)
class Patches:
    """Geometry of the patch grid: at 256 pixels 128, 15, 100; at 64 pixels 64, 7, 26 (docs/imagenet.md, 5.1, 16.2)."""

    size: int = 128
    window: int = 15
    best: int = 100


@dataclass(frozen=True)
class CgnSettings:
    """A schedule and what goes with it; the defaults are the reproduction study's."""

    updates: int = STUDY.updates
    micro_batch: int = STUDY.micro_batch
    accumulation: int = STUDY.accumulation
    """Micro-batches whose gradients are summed for one update."""
    weights: LossWeights = LossWeights()
    texture_target: TextureTarget = "patches"
    patches: Patches = Patches()
    mask_low: float = STUDY.mask_low
    """The least mean mask that is not punished; the reproduction study's code has 0.03."""
    one_class: bool = STUDY.one_class
    """One class per micro-batch, as the code draws it; else one per sample."""
    learning_rate: float = STUDY.learning_rate
    """Factor on all three rates: the small models of Scenes have further to go in fewer updates."""
    texture_rate: float = STUDY.texture_rate
    """Of the texture mechanism, before the factor; the paper's text has 1e-5."""
    truncation: float = 1.0
    features: features.Name = STUDY.features
    checkpoint_every: int = field(default=500, metadata=ASIDE)
    device: str = field(default="cpu", metadata=ASIDE)
    """Named in the recipe of a result by ``Machine``."""


class StyleNets:
    """The feature nets of the perceptual and the texture loss, each cut behind the last tap it needs, or None."""

    def __init__(self, settings: CgnSettings, size: int) -> None:
        wanted = (settings.weights.perceptual, settings.weights.texture)
        self.perceptual, self.texture = (
            features.load(settings.features, taps, size).to(settings.device) if any(taps) else None for taps in wanted
        )


def cgn_losses(maps: Maps, nets: StyleNets, settings: CgnSettings) -> dict[str, Tensor]:
    """The weighted terms of the loss, whose sum is minimised (docs/imagenet.md, section 5)."""
    weights, image = settings.weights, compose(maps.mask, maps.foreground, maps.background)
    terms: dict[str, Tensor] = {}
    if weights.l1:
        terms["L1"] = weights.l1 * (image - maps.truth).abs().mean()
    if nets.perceptual is not None:
        terms["perceptual"] = _style(nets.perceptual, image, maps.truth)
    if weights.binary:
        terms["binary"] = weights.binary * losses.binary_entropy(maps.mask)
    if weights.mask:
        terms["mask"] = weights.mask * losses.mask_interval(maps.mask, settings.mask_low)
    if nets.texture is not None:
        terms["texture"] = _style(nets.texture, maps.foreground, texture_target(maps, settings))
    if weights.background:
        terms["background"] = weights.background * maps.saliency.mean()
    return terms


@torch.no_grad()
def texture_target(maps: Maps, settings: CgnSettings) -> Tensor:
    """What the texture map should look like: a grid of patches of the object, or the image filled with the object."""
    mask = maps.mask.detach()
    if settings.texture_target == "fill":
        return losses.random_fill(maps.truth, mask)
    chosen = settings.patches
    return losses.patch_grid(maps.truth, mask, chosen.size, chosen.window, chosen.best)


def _style(net: features.FeatureNet, image: Tensor, target: Tensor) -> Tensor:
    with torch.no_grad():
        wanted = net(target)
    return losses.style(net(image), wanted, net.weights)


def train_cgn(
    cgn: CGN,
    seed: int,
    settings: CgnSettings,
    checkpoint: Checkpoint,
    title: str,
    watch: Callable[[CGN], Any] | None = None,
) -> dict[int, Any]:
    """Train the three mechanisms of a CGN in place; it ends in eval mode on the CPU. Returns what ``watch`` gave, by
    update: it is called before training and at six times up to its end, each about twice the one before.

    Under torchrun the micro-batches of an update are dealt out to the processes. Spectral norms then turn by those of
    process 0 alone, so numbers differ slightly from those of one process.
    """
    cgn = cgn.to(settings.device).train()
    nets = StyleNets(settings, cgn.architecture.size)
    mechanisms: dict[str, nn.Module] = {name: cgn.get_submodule(name) for name in LEARNING_RATES}
    rates = LEARNING_RATES | {"f_text": settings.texture_rate}
    optimisers = {
        name: Adam(model.parameters(), settings.learning_rate * rates[name]) for name, model in mechanisms.items()
    }
    seen = training.Memory()
    watch_at = {0, *(max(1, round(settings.updates / 2**power)) for power in range(6))}

    def look(update: int) -> None:
        if update in watch_at:
            if not finite(cgn.eval()):  # its losses may still be: in training spectral norms are others
                raise training.diverged(title, update * settings.accumulation, "images are not finite", checkpoint)
            if watch:
                seen.values[str(update)] = watch(cgn)
            cgn.train()

    def step(i: int) -> dict[str, Tensor]:
        if i == 0:
            look(0)
        terms: dict[str, Tensor] = {}
        if i % distributed.size() == distributed.rank():
            with rng.seeded("cgn step", seed, i):
                terms = cgn_losses(_draw(cgn, seed, i, settings), nets, settings)
            torch.stack(list(terms.values())).sum().backward()
        if (i + 1) % settings.accumulation == 0:
            for mechanism in mechanisms.values():
                distributed.add_gradients(mechanism.parameters())
                distributed.same_buffers(mechanism)
            if distributed.size() > 1:  # a process sees its own losses alone; one that is not finite shows in the sum
                gradients = [p.grad for p in cgn.parameters() if p.grad is not None]
                terms["gradients"] = torch.stack([each.abs().max() for each in gradients]).max()
            for optimiser in optimisers.values():
                optimiser.step()
                optimiser.zero_grad(set_to_none=True)
            look((i + 1) // settings.accumulation)
        return terms

    states: dict[str, training.Stateful] = {**mechanisms, "watched": seen}
    for name in mechanisms:
        states[f"{name} optimiser"] = optimisers[name]
        states[f"{name} gradients"] = Gradients(mechanisms[name])
    steps = settings.updates * settings.accumulation
    # in between, unspent gradients lie in several processes
    whole_every = settings.accumulation if distributed.size() > 1 else 1
    training.run(title, steps, step, states, checkpoint, settings.checkpoint_every, whole_every)
    cgn.cpu().eval()
    return {int(update): value for update, value in seen.values.items()}


@torch.no_grad()
def finite(cgn: CGN) -> bool:
    """Whether every pixel of nine classes, far from each other, is finite in every map."""
    y = cgn.one_hot(torch.linspace(0, cgn.architecture.classes - 1, 9).long())
    maps: Maps = cgn(cgn.noise(len(y), ("finite",)), y, y, y)
    return all(bool(torch.isfinite(each).all()) for each in maps)


@torch.no_grad()
def sheet(cgn: CGN, classes: Sequence[int], u: Tensor, truncation: float = 1.0) -> Tensor:
    """What the mechanisms make of u, (1 or classes, latent), for some classes: uint8 (classes, 6, 3, H, W), in columns
    mask, pre-mask, foreground, background, image and what BigGAN makes of it."""
    y = cgn.one_hot(torch.tensor(classes))
    maps: Maps = cgn(u.expand(len(classes), -1), y, y, y, truncation)
    image = compose(maps.mask, maps.foreground, maps.background)
    mask = (2 * maps.mask - 1).expand_as(image)
    columns = torch.stack([mask, maps.premask, maps.foreground, maps.background, image, maps.truth], dim=1)
    return ((columns.clamp(-1, 1) + 1) * 127.5).round().byte().cpu()


def _draw(cgn: CGN, seed: int, i: int, settings: CgnSettings) -> Maps:
    """The forward pass of micro-batch i: all mechanisms get the same noise and the same classes."""
    count, classes = settings.micro_batch, cgn.architecture.classes
    index = torch.arange(i * count, (i + 1) * count)
    u = cgn.noise(index, ("cgn training", seed), settings.truncation)
    drawn = torch.randint(classes, (1 if settings.one_class else count,)).expand(count)
    y = cgn.one_hot(drawn)
    return cgn(u, y, y, y, settings.truncation)


class Gradients:
    """The gradients that a module has gathered but not spent yet, as a part of a checkpoint."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def state_dict(self) -> dict[str, Any]:
        return {name: p.grad for name, p in self.module.named_parameters() if p.grad is not None}

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        for name, parameter in self.module.named_parameters():
            value = state_dict.get(name) if distributed.rank() == 0 else None  # they will be added up over processes
            parameter.grad = None if value is None else value.to(parameter.device)
