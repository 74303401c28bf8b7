"""What is run on a GPU, the natural-image half: on Scenes, and at full size with random weights."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.works import State, Work
from reprolib.natural import cgn as natural_cgn
from reprolib.natural import classify, ensemble, quality, u2net
from reprolib.natural import counterfactuals as sets
from reprolib.natural import train as natural
from reprolib.run import rng
from reprolib.run.store import Checkpoint
from reprolib.worlds.scenes import datasets as scenes
from reprolib.worlds.scenes import networks


def scenes_works(b: Any) -> dict[str, Work]:
    """The natural-image half on Scenes. The texture loss is not compared: which of equally good patches are drawn
    depends on the last bit."""
    batch, images = (8, scenes.labelled(100, ("gpu",)).images) if b.full else (2, scenes.labelled(4, ("gpu",)).images)

    def new() -> natural_cgn.CGN:
        model = natural_cgn.CGN(networks.GENERATOR, networks.saliency())
        model.start_from(networks.generator().state_dict())
        return model

    def saliency(device: str, n: int, _: Checkpoint) -> State:
        with torch.inference_mode():
            return {"made": torch.cat([networks.saliency().to(device)(images.to(device)) for _ in range(n)])}

    patches, plain = natural.Patches(64, 7, 26), natural.LossWeights().without("text")
    return {
        "CGN, Scenes": _natural(new, patches, batch, "efficientnet_lite0", bound=0),
        "CGN, Scenes, no texture loss": _natural(new, patches, batch, "efficientnet_lite0", weights=plain),
        "CGN, Scenes, filled": _natural(new, patches, batch, "efficientnet_lite0", bound=0, texture_target="fill"),
        "ensemble, Scenes": _ensemble(lambda: ensemble.lite0(9), images[:32], 9),
        "counterfactuals, Scenes": _sets(new),
        "saliency, Scenes": Work(saliency, len(images), 1e-3, False, (2, 10)),
    }


def large_works(b: Any) -> dict[str, Work]:
    """The paper's networks at 256 pixels with random weights, made where they run; on a processor the smallest."""
    name, plan = ("biggan-deep-256", "u2net") if b.full else ("scenes-64-tiny", "u2net-thin")
    with torch.device(b.device), rng.seeded("random weights"):
        model = natural_cgn.CGN(name, u2net.U2Net(u2net.PLANS[plan]))
    patches, net = (natural.Patches(), "vgg16") if b.full else (natural.Patches(64, 7, 26), "efficientnet_lite0")
    works = {
        f"CGN, {name}": _natural(lambda: model, patches, 5, net, bound=0),
        f"CGN, {name}, filled": _natural(lambda: model, patches, 5, net, bound=0, texture_target="fill"),
        f"counterfactuals, {name}": _sets(lambda: model),
    }
    return works | (_torchvision() if b.full else {})


def _natural(
    new: Callable[[], Any], patches: natural.Patches, batch: int, net: Any, bound: float = 0.3, **how: Any
) -> Work:
    def run(device: str, steps: int, checkpoint: Checkpoint) -> State:
        where: dict[str, Any] = {"micro_batch": batch, "accumulation": 1, "checkpoint_every": max(1, steps // 2)}
        chosen = natural.CgnSettings(steps, patches=patches, features=net, device=device, **(where | how))
        model = new()
        natural.train_cgn(model, 0, chosen, checkpoint, "CGN")
        return {name: p for name, p in model.mechanisms().items() if not name.endswith(("_u", "_v"))}

    return Work(run, batch, bound, lengths=(2, 14))


def _sets(new: Callable[[], Any], batch: int = 10) -> Work:
    def run(device: str, steps: int, _: Checkpoint) -> State:
        model = new().to(device).eval()
        return {
            "made": torch.cat([sets.generate(model, sets.Sampling(), torch.arange(batch))[0] for _ in range(steps)])
        }

    return Work(run, batch, 1e-3, False, (2, 12))


class _Repeated(SimpleNamespace):
    """The same batch at every step, as ``classify.train`` wants it."""

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        return self.images, self.labels


def _ensemble(new: Callable[[], ensemble.Ensemble], images: Tensor, classes: int) -> Work:
    factors = torch.arange(3 * len(images)).view(-1, 3) % classes

    def run(device: str, steps: int, checkpoint: Checkpoint) -> State:
        with rng.seeded("heads"):
            model = new()
        real, made = (
            _Repeated(images=images, labels=labels, per_epoch=steps, weight=lambda step: 1.0)
            for labels in (factors[:, 0], factors)
        )
        later = iter(range(steps + 2))  # the last row counts as the best
        chosen = classify.ClassifierSettings(1, learning_rate=1e-3, device=device)
        found = classify.train(model, real, made, lambda _: {"top1": next(later)}, chosen, checkpoint, "ensemble")  # type: ignore[arg-type]
        return dict(found[0].state_dict())

    return Work(run, 2 * len(images), lengths=(3, 18))


def _torchvision() -> dict[str, Work]:
    from torchvision.models import inception_v3, resnet50

    layers = [*list(resnet50().children())[:-1], nn.Flatten()]
    network, pictures = inception_v3(init_weights=False, transform_input=False).eval(), torch.randn(64, 3, 256, 256)

    def rate(device: str, steps: int, _: Checkpoint) -> State:
        rater = quality._Resized(network.to(device))
        return {"made": torch.cat([quality.probabilities(pictures, rater) for _ in range(steps)])}

    return {
        "ensemble, ResNet-50": _ensemble(
            lambda: ensemble.Ensemble(nn.Sequential(*layers), 2048, 1000, True), torch.randn(48, 3, 224, 224), 1000
        ),
        "Inception-v3": Work(rate, 64, 0, False, (2, 8)),
    }
