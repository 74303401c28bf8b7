"""The paper's scale with random weights of the real shapes: real loaders, 256 pixels. About 8 GB, some minutes.

Run with ``make large``; ``make test`` leaves it out.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import inception_v3, resnet50, vgg16

from reprolib import params
from reprolib.natural import biggan, experiments, plan, quality, u2net
from reprolib.natural.classify import HEADS, counterfactual_loss, real_loss
from reprolib.natural.datasets import TRAIN, Sampling, counterfactuals, write_set
from reprolib.natural.plan import CgnChoice, WorldRun
from reprolib.run import assets, store
from reprolib.worlds.imagenet import ImageNet

pytestmark = pytest.mark.large


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> ImageNet:
    """ImageNet's networks with random weights, as files that the real loaders read."""
    root = tmp_path_factory.mktemp("assets")
    torch.manual_seed(0)
    networks: dict[str, nn.Module] = {
        "imagenet/biggan-deep-256.bin": biggan.build("biggan-deep-256"),
        "imagenet/u2net.pth": u2net.U2Net(u2net.PLANS["u2net"]),
        "vgg16-397923af.pth": vgg16(init_weights=False),
        "resnet50-0676ba61.pth": resnet50(),
        "inception_v3_google-0cc3c7bd.pth": inception_v3(init_weights=False),
    }
    patch = pytest.MonkeyPatch()
    patch.setenv("REPROLIB_ASSETS", str(root))
    for name, network in networks.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(network.state_dict(), file)
        patch.setitem(assets.ASSETS, name, dataclasses.replace(assets.ASSETS[name], sha256=""))
    return ImageNet(params.load("gpu").imagenet)


def test_two_iterations_a_few_counterfactuals_and_an_ensemble_step(world: ImageNet, tmp_path: Path) -> None:
    small = {"updates": 2, "micro_batch": 1, "accumulation": 1, "rated": 10, "sources": ["trained"]}
    chosen = params.load({"profile": "gpu", "device": "cpu", "imagenet": small})
    store.use(store.Store(tmp_path / "store"))
    model = experiments.load(plan.cgn(WorldRun(chosen, world), CgnChoice()))
    assert sum(p.numel() for p in model.parameters()) > 250_000_000
    moved = model.f_text.embeddings.weight - model.biggan_GT.embeddings.weight
    assert 0 < moved.abs().max() <= 2.001 * 3e-5
    write_set(lambda: model, 1000, Sampling(seed=1), tmp_path / "train", 2)
    image, labels = counterfactuals(tmp_path / "train", TRAIN)[1]
    assert image.shape == (3, 224, 224) and labels.max() < 1000
    numbers = quality.score(model, world.rater(), 10)  # its error is told from ten parts
    assert 0.999 <= numbers["is_gen"] <= 10.001 and 0 < numbers["mean_mask"] < 1
    ensemble = world.ensemble().train()
    optimiser = torch.optim.SGD(ensemble.parameters(), 1e-4)
    before = ensemble.heads["bg"].weight.detach().clone()
    logits = ensemble(torch.stack([image, image]))
    loss = real_loss(logits, labels[:2]) + counterfactual_loss(logits, dict.fromkeys(HEADS, labels[:2]))
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in ensemble.parameters())
    optimiser.step()
    assert not torch.equal(ensemble.heads["bg"].weight, before)
