"""What is run on a GPU, the natural-image half: on Scenes, and at full size with random weights."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.works import MADE, State, Work
from reprolib.natural import cgn as natural_cgn
from reprolib.natural import classify, quality, u2net
from reprolib.natural import datasets as sets
from reprolib.natural import train as natural
from reprolib.run import rng
from reprolib.run.store import Checkpoint
from reprolib.schema import ScenesParams
from reprolib.worlds import networks
from reprolib.worlds import render as scenes
from reprolib.worlds.scenes import Scenes

PLAIN = natural.LossWeights().without("text")


def scenes_works(b: Any) -> dict[str, Work]:
    """The natural-image half on Scenes."""
    images = scenes.labelled(100 if b.full else 4, ("gpu",))[0]

    def new() -> natural_cgn.CGN:
        model = natural_cgn.CGN(networks.GENERATOR, networks.saliency())
        model.start_from(networks.shipped("generator").read(), "the generator of Scenes")
        return model

    works = _of_world("Scenes", new, images, natural.Patches(64, 7, 26), "efficientnet_lite0", 8 if b.full else 2, 10)
    return works | {"ensemble, Scenes": _ensemble(Scenes(ScenesParams()).ensemble, images[:32], 9)}


def large_works(b: Any, small: bool) -> dict[str, Work]:
    """The paper's networks at 256 pixels with random weights, made where they run; on a processor the smallest.

    small: few images at once, for the comparison with a processor.
    """
    name, plan = ("biggan-deep-256", "u2net") if b.full else ("scenes-64-tiny", "u2net-thin")
    with torch.device(b.device), rng.seeded("random weights"):
        model = natural_cgn.CGN(name, u2net.U2Net(u2net.PLANS[plan]))
    start = {key: value.clone() for key, value in model.state_dict().items()}
    images = torch.rand(1 if small else 10, 3, model.architecture.size, model.architecture.size) * 2 - 1

    def new() -> natural_cgn.CGN:
        model.load_state_dict(start)
        return model

    patches, net = (natural.Patches(), "vgg16") if b.full else (natural.Patches(64, 7, 26), "efficientnet_lite0")
    micro_batch, batch = (1, 2) if small else (5, 10)
    works = _of_world("ImageNet", new, images, patches, net, micro_batch, batch)
    return works | _torchvision(new, 4 if small else 48, 10)


def _of_world(
    world: str, new: Callable[[], Any], images: Tensor, patches: natural.Patches, net: str, micro_batch: int, batch: int
) -> dict[str, Work]:
    """The texture loss is not compared: which of equally good patches are drawn depends on the last bit."""

    def saliency(device: str, n: int, _: Checkpoint) -> State:
        saliency_net = new().u2net.to(device).eval()
        with torch.inference_mode():
            return {"made": torch.cat([saliency_net(images.to(device)) for _ in range(n)])}

    return {
        f"CGN, {world}": _natural(new, patches, micro_batch, net, None),
        f"CGN, {world}, filled": _natural(new, patches, micro_batch, net, None, texture_target="fill"),
        f"CGN, {world}, no texture loss": _natural(new, patches, micro_batch, net, weights=PLAIN),
        f"counterfactuals, {world}": _sets(new, batch),
        f"saliency, {world}": Work(saliency, len(images), MADE, False, (2, 10)),
    }


def _natural(
    new: Callable[[], Any], patches: natural.Patches, batch: int, net: Any, bounds: Any = Work.bounds, **how: Any
) -> Work:
    def run(device: str, steps: int, checkpoint: Checkpoint) -> State:
        where: dict[str, Any] = {"micro_batch": batch, "accumulation": 1, "checkpoint_every": max(1, steps // 2)}
        chosen = natural.CgnSettings(steps, patches=patches, features=net, device=device, **(where | how))
        model = new()
        natural.train_cgn(model, 0, chosen, checkpoint, "CGN")
        return {name: p for name, p in model.mechanisms().items() if not name.endswith(("_u", "_v"))}

    return Work(run, batch, bounds, lengths=(2, 14))


def _sets(new: Callable[[], Any], batch: int) -> Work:
    def run(device: str, steps: int, _: Checkpoint) -> State:
        model = new().to(device).eval()
        return {
            "made": torch.cat([sets.generate(model, sets.Sampling(), torch.arange(batch))[0] for _ in range(steps)])
        }

    return Work(run, batch, MADE, False, (2, 12))


class _Repeated(SimpleNamespace):
    """The same batch at every step, as ``classify.train`` wants it."""

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        return self.images, self.labels


def _later(_: object) -> dict[str, float]:
    """A row that counts as better than all before it."""
    return {"top1": time.monotonic()}


def _ensemble(new: Callable[[], classify.Ensemble], images: Tensor, classes: int) -> Work:
    factors = torch.arange(3 * len(images)).view(-1, 3) % classes

    def run(device: str, steps: int, checkpoint: Checkpoint) -> State:
        with rng.seeded("heads"):
            model = new()
        real, made = (
            _Repeated(images=images, labels=labels, per_epoch=steps, weight=lambda step: 1.0)
            for labels in (factors[:, 0], factors)
        )
        chosen = classify.ClassifierSettings(1, learning_rate=1e-3, device=device)
        found = classify.train(model, real, made, _later, chosen, checkpoint, "ensemble")  # type: ignore[arg-type]
        return dict(found[0].state_dict())

    return Work(run, 2 * len(images), lengths=(3, 18))


def _torchvision(new: Callable[[], Any], batch: int, rated: int) -> dict[str, Work]:
    from torchvision.models import inception_v3, resnet50

    with rng.seeded("random weights"):
        layers = [*list(resnet50().children())[:-1], nn.Flatten()]
        network = inception_v3(init_weights=False, transform_input=False).eval()
        rater = nn.Sequential(nn.Upsample((299, 299), mode="bilinear"), network)
        pictures = torch.randn(batch, 3, 224, 224)

    def rate(device: str, steps: int, _: Checkpoint) -> State:
        found = quality.score(new().to(device).eval(), rater.to(device), rated * steps)
        return {"made": torch.tensor([found[name] for name in ("is_gen", "is_gt", "mean_mask")])}

    return {
        "ensemble, ResNet-50": _ensemble(
            lambda: classify.Ensemble(copy.deepcopy(nn.Sequential(*layers)), 2048, 1000), pictures, 1000
        ),
        "Inception Score": Work(rate, rated, MADE, False, (1, 6)),
    }
