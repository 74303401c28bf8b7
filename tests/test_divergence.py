"""Every training whose last update spoils its network ends in DivergedError, and nothing is stored."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adadelta, Adam, Optimizer

from reprolib import params, worlds
from reprolib.mnist import classifier, digits, stable, train
from reprolib.mnist.train import GenerativeSettings
from reprolib.natural import classify
from reprolib.natural import train as natural
from reprolib.natural.cgn import CGN
from reprolib.natural.classify import Ensemble
from reprolib.natural.u2net import PLANS, U2Net
from reprolib.run import training
from reprolib.run.store import Checkpoint, Result, Store
from reprolib.run.training import DivergedError
from reprolib.worlds import networks

Make = Callable[[Checkpoint], Any]
ONE_STEP = GenerativeSettings(steps=1, features="efficientnet_lite0")


def _digits() -> digits.Digits:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (64, 28, 28), generator=generator, dtype=torch.uint8)
    return digits.Digits(images, torch.arange(64) % 10)


def _task() -> classifier.Task:
    images, labels = torch.rand(32, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.arange(32) % 10
    return classifier.Task(images, labels, {"test": (images, labels)}, ("toy",))


def _classifiers(count: int, checkpoint: Checkpoint) -> Any:
    tasks = [_task() for _ in range(count)]
    return classifier.train_together(tasks, epochs=1, batch=32, checkpoint=checkpoint, title="toy")


def _ensemble(checkpoint: Checkpoint) -> Any:
    data: Any = torch.utils.data.TensorDataset(torch.rand(8, 3, 8, 8), torch.arange(8) % 3)
    batches = classify.Batches(data, lambda epoch: torch.arange(8), 8, 0)
    network = Ensemble(nn.Flatten(), 192, 3)
    settings = classify.ClassifierSettings(epochs=1, batch=8)
    return classify.train(network, batches, None, lambda _: {"top1": 0.0}, settings, checkpoint, "toy")


def _natural(checkpoint: Checkpoint) -> Any:
    settings = natural.CgnSettings(1, 2, 1, patches=natural.Patches(32, 5, 16), features="efficientnet_lite0")
    model = CGN("scenes-64-tiny", U2Net(PLANS["u2net-thin"]))
    return natural.train_cgn(
        model, 0, settings, checkpoint, "toy", lambda model: natural.sheet(model, [0], model.noise(1, ("u",)))
    )


def _generative(module: Any, variant: str, name: str, checkpoint: Checkpoint) -> Any:
    return getattr(module, name)(variant, _digits(), 0, ONE_STEP, "procedural", checkpoint)


def _pretrained(checkpoint: Checkpoint) -> Any:
    return networks.train(dataclasses.replace(networks.NETWORKS["texture_reader"], steps=1, batch=2), checkpoint)


TRAININGS: dict[str, tuple[type[Optimizer], Make]] = {
    "published CGN": (Adam, partial(_generative, train, "colored_MNIST", "train_cgn")),
    "published CGN, wildlife": (Adam, partial(_generative, train, "wildlife_MNIST", "train_cgn")),
    "stable CGN": (Adam, partial(_generative, stable, "colored_MNIST", "train_cgn")),
    "DCGAN": (Adam, partial(_generative, train, "colored_MNIST", "train_dcgan")),
    "classifier": (Adadelta, partial(_classifiers, 1)),
    "classifiers together": (Adadelta, partial(_classifiers, 2)),
    "natural CGN": (Adam, _natural),
    "ensemble": (SGD, _ensemble),
    "network of Scenes": (Adam, _pretrained),
}


@pytest.mark.parametrize("value", [math.nan, 3e38])
@pytest.mark.parametrize("name", TRAININGS)
def test_nothing_is_stored_of_a_training_that_its_last_update_spoils(
    name: str, value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    optimiser, make = TRAININGS[name]

    def spoil(self: Optimizer, *_: Any) -> None:
        for parameter in self.param_groups[0]["params"]:
            parameter.data.fill_(value)

    def stored(checkpoint: Checkpoint) -> Result:
        make(checkpoint)
        return Result({"finished": True})

    monkeypatch.setattr(optimiser, "step", spoil)
    with pytest.raises(DivergedError, match=r"diverged at step 1 \(.*; no state was saved; try another seed or a smal"):
        Store(tmp_path).get("toy", {}, stored)
    assert [file.suffix for file in tmp_path.rglob("*") if file.is_file()] == [".lock"]


@pytest.mark.parametrize("name", TRAININGS)
def test_the_look_ahead_is_taken_back(name: str, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is trained ends with the bits that it had before, and a result is made of those."""
    seen: list[Any] = []
    put_back = training._put_back

    def noted(states: dict[str, training.Stateful], before: dict[str, Any]) -> None:
        for _ in range(2):
            seen.append(copy.deepcopy([state.state_dict() for state in states.values()]))
            put_back(states, before)
        seen.append(list(before.values()))

    monkeypatch.setattr(training, "_put_back", noted)
    TRAININGS[name][1](checkpoint)
    moved, after, before = (list(training._tensors(each)) for each in seen[-3:])  # the first: nothing to resume
    assert len(after) == len(before) > 2
    assert all(torch.equal(one, other) for one, other in zip(after, before, strict=True))
    assert any(not torch.equal(one, other) for one, other in zip(moved, before, strict=False)), "the step moved it"


def test_images_that_are_not_finite_stop_a_natural_cgn_whose_losses_are(checkpoint: Checkpoint) -> None:
    """One update of the texture mechanism at a rate of 10,000 on Scenes."""
    world = worlds.world_of("scenes", params.load("smoke"))
    given = {"patches": world.patches, "features": "efficientnet_lite0", "learning_rate": 1e4, "texture_rate": 1.0}
    settings = natural.CgnSettings(updates=1, micro_batch=2, accumulation=1, **given)
    with pytest.raises(DivergedError, match=r"Scenes diverged at step 1 .images are not finite.; no state was saved"):
        natural.train_cgn(world.new_cgn(), 200, settings, checkpoint, "Scenes")
