"""Training of the natural-image CGN: the six terms, accumulation, and a resume that cannot be told from a plain run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import damage
import pytest
import torch
from torch import Tensor

from reprolib import losses
from reprolib.natural import train
from reprolib.natural.cgn import CGN, Maps, compose
from reprolib.natural.train import CgnSettings, LossWeights, Patches, StyleNets
from reprolib.natural.u2net import PLANS, U2Net
from reprolib.run.store import Checkpoint

SETTINGS = CgnSettings(
    updates=2, micro_batch=2, accumulation=2, patches=Patches(32, 5, 16), features="efficientnet_lite0",
    learning_rate=100.0,
)  # fmt: skip
CHEAP = dataclasses.replace(SETTINGS, weights=LossWeights(perceptual=(0.0,) * 4, texture=(0.0,) * 4), learning_rate=1.0)


def _cgn() -> CGN:
    torch.manual_seed(0)
    return CGN("scenes-64-tiny", U2Net(PLANS["u2net-thin"]))


@pytest.fixture(scope="module")
def nets() -> StyleNets:
    return StyleNets(SETTINGS, 64)


@pytest.fixture(scope="module")
def maps() -> Maps:
    cgn = _cgn().eval()
    y = [cgn.one_hot(torch.tensor(c)) for c in ([0, 1], [2, 3], [4, 5])]
    with torch.no_grad():
        return cgn(cgn.noise(2, ("parts",)), *y)


def test_the_terms_are_those_of_the_specification(maps: Maps, nets: StyleNets) -> None:
    torch.manual_seed(0)
    terms = train.cgn_losses(maps, nets, SETTINGS)
    assert list(terms) == ["L1", "perceptual", "binary", "mask", "texture", "background"]
    image = compose(maps.mask, maps.foreground, maps.background)
    p = maps.mask
    entropy = -(p * p.log2() + (1 - p) * (1 - p).log2()).mean()
    expected = {
        "L1": 100 * (image - maps.truth).abs().mean(),
        "binary": 300 * entropy,
        "mask": 500 * losses.mask_interval(p, 0.1),
        "background": 2000 * maps.saliency.mean(),
    }
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)
    assert nets.perceptual is not None and nets.texture is not None
    style = losses.style(nets.perceptual(image), nets.perceptual(maps.truth), (4.0,) * 4)
    torch.testing.assert_close(terms["perceptual"], style)
    torch.manual_seed(0)
    grid = losses.patch_grid(maps.truth, p, 32, 5, 16)
    texture = losses.style(nets.texture(maps.foreground), nets.texture(grid), (0.0, 5.0, 5.0, 0.0))
    torch.testing.assert_close(terms["texture"], texture)


def test_the_fill_target_fills_the_image(maps: Maps) -> None:
    filled = dataclasses.replace(SETTINGS, texture_target="fill")
    torch.manual_seed(0)
    target = train.texture_target(maps, filled)
    torch.manual_seed(0)
    torch.testing.assert_close(target, losses.random_fill(maps.truth, maps.mask))


@pytest.mark.parametrize(
    ("group", "left"),
    [
        ("shape", ["L1", "perceptual", "texture", "background"]),
        ("text", ["L1", "perceptual", "binary", "mask", "background"]),
        ("bg", ["L1", "perceptual", "binary", "mask", "texture"]),
        ("rec", ["binary", "mask", "texture", "background"]),
    ],
)
def test_an_ablation_switches_off_one_group(group: Any, left: list[str], maps: Maps) -> None:
    settings = dataclasses.replace(SETTINGS, weights=LossWeights().without(group))
    assert list(train.cgn_losses(maps, StyleNets(settings, 64), settings)) == left


def _train(folder: Path, settings: CgnSettings = CHEAP) -> dict[str, Tensor]:
    model = _cgn()
    train.train_cgn(model, 7, settings, Checkpoint(folder / "run"), "Toy")
    assert not model.training
    return model.state_dict()


def test_only_mechanisms_move_and_by_at_most_rate_times_updates(tmp_path: Path) -> None:
    before, after = _cgn().state_dict(), _train(tmp_path)
    assert after["f_text.embeddings.weight"].shape == (32, 9)
    for name, rate in train.LEARNING_RATES.items():
        moved = (after[f"{name}.embeddings.weight"] - before[f"{name}.embeddings.weight"]).abs().max()
        assert 0 < moved <= 2.001 * rate
    frozen = [name for name in before if name.startswith(("biggan_GT", "u2net"))]
    assert all(torch.equal(before[name], after[name]) for name in frozen)


def test_micro_batches_and_accumulation_can_be_exchanged(tmp_path: Path) -> None:
    """Twice as many micro-batches of half the size give twice the gradient, which Adam does not see."""
    one = dataclasses.replace(CHEAP, updates=1, micro_batch=4, accumulation=1, one_class=False)
    weights = LossWeights(perceptual=(0.0,) * 4, texture=(0.0,) * 4)
    gradients = []
    for settings in (one, dataclasses.replace(one, micro_batch=2, accumulation=2)):
        cgn = _cgn()  # in eval mode spectral norms do not move between micro-batches
        total: Tensor | float = 0.0
        for i in range(settings.accumulation):
            u = cgn.noise(torch.arange(4)[i * settings.micro_batch :][: settings.micro_batch], ("u",))
            y = cgn.one_hot(torch.arange(4)[i * settings.micro_batch :][: settings.micro_batch])
            terms = train.cgn_losses(cgn.eval()(u, y, y.roll(1, 1), y), StyleNets(settings, 64), settings)
            total = total + torch.stack([terms[name] for name in ("binary", "background")]).sum()
        assert isinstance(total, Tensor) and settings.weights == weights
        total.backward()
        gradients.append(cgn.f_bg.embeddings.weight.grad)
    torch.testing.assert_close(2 * gradients[0], gradients[1], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_run_that_resumes_amid_an_accumulation_equals_the_unbroken_one(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = dataclasses.replace(SETTINGS, checkpoint_every=1)
    expected = _train(tmp_path / "whole", settings)
    draw, calls = damage.interrupted(train._draw, at)
    monkeypatch.setattr(train, "_draw", draw)
    with pytest.raises(RuntimeError):
        _train(tmp_path / "broken", settings)
    found = _train(tmp_path / "broken", settings)
    assert len(calls) == 4 + 1 + 1  # nothing but the broken micro-batch was repeated; a last one looks ahead
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_global_generator_does_not_matter(tmp_path: Path, nets: StyleNets) -> None:
    whole = dataclasses.replace(SETTINGS, updates=1, accumulation=1)
    first = _train(tmp_path / "first", whole)
    torch.manual_seed(99)
    model = _cgn()
    train.train_cgn(model, 7, whole, Checkpoint(tmp_path / "second"), "Toy")
    second = model.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("one_class", [True, False])
def test_a_micro_batch_has_one_class_or_one_per_sample(one_class: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    cgn, drawn = _cgn().eval(), []
    monkeypatch.setattr(cgn, "one_hot", lambda classes: (drawn.append(classes), CGN.one_hot(cgn, classes))[1])
    settings = dataclasses.replace(SETTINGS, micro_batch=8, one_class=one_class)
    with torch.no_grad():
        train._draw(cgn, 0, 0, settings)
    assert len(drawn[0]) == 8 and (len(drawn[0].unique()) == 1) == one_class


def test_gradients_that_wait_go_back_to_their_device() -> None:
    layer = torch.nn.Linear(2, 1, bias=False).to("meta")
    train.Gradients(layer).load_state_dict({"weight": torch.ones(1, 2)})
    assert layer.weight.grad is not None and layer.weight.grad.device.type == "meta"


@pytest.mark.parametrize("rank", [0, 1])
def test_gradients_that_wait_are_added_up_once_over_processes(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = torch.nn.Linear(2, 1, bias=False)
    monkeypatch.setattr(train.distributed, "rank", lambda: rank)
    train.Gradients(layer).load_state_dict({"weight": torch.ones(1, 2)})
    assert (layer.weight.grad is None) == (rank == 1)
