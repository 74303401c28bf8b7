"""Data sets, truth and pretraining of Scenes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from reprolib.gradcam import intersection_over_union
from reprolib.run.store import Checkpoint
from reprolib.worlds.scenes import datasets, pretrain, quality
from reprolib.worlds.scenes.pretrain import PretrainSettings
from reprolib.worlds.scenes.render import CLASSES, Scene
from reprolib.worlds.scenes.shapes import STRANGERS

COUNT = 180


@pytest.fixture(scope="module")
def sets() -> dict[str, datasets.Labelled]:
    names: tuple[datasets.TestSet, ...] = ("original", "mixed_same", "mixed_rand", "cue_conflict")
    return {name: datasets.test_set(name, COUNT, seed=0) for name in names}


def test_factors_of_real_scenes_agree_mostly_and_those_of_counterfactuals_by_chance() -> None:
    index, chance = torch.arange(20_000), 1 / len(CLASSES)
    for kind, expected in (("mostly", datasets.AGREEMENT + (1 - datasets.AGREEMENT) * chance), ("random", chance)):
        labels = datasets.classes(index, ("t",), kind)  # type: ignore[arg-type]
        assert labels.shape == (20_000, 3) and labels.unique().tolist() == list(range(len(CLASSES)))
        agree = (labels[:, 1:] == labels[:, :1]).double().mean(0)
        assert (agree - expected).abs().max() < 0.02
        both = (labels[:, 1:] == labels[:, :1]).all(1).double().mean()
        assert abs(both - expected**2) < 0.02  # texture and background go astray apart


def test_real_scenes_are_wild_and_their_posed_form_is_not() -> None:
    wild, posed = (datasets.scenes(90, ("t",), wild=wild)[0] for wild in (True, False))
    assert 0.3 < wild.mask.mean() / posed.mask.mean() < 0.8
    borders = [torch.cat([m[..., 0], m[..., -1], m[..., 0, :], m[..., -1, :]], -1) for m in (wild.mask, posed.mask)]
    cut = [(border.amax((1, 2)) > 0.5).double().mean() for border in borders]
    assert cut[0] > 0.1 > cut[1]
    dark = [((scene.image + 1) / 2).mean(dim=(1, 2, 3)) for scene in (wild, posed)]
    assert dark[0].mean() < 0.85 * dark[1].mean()
    assert torch.equal(wild.image, datasets.labelled(90, ("t",)).images)


def test_scenes_do_not_depend_on_how_many_are_made() -> None:
    few, many = (datasets.labelled(count, ("t",)) for count in (5, 20))
    assert torch.equal(few.images, many.images[:5]) and torch.equal(few.labels, many.labels[:5])


def test_mixed_sets_keep_the_objects_and_change_the_backgrounds(sets: dict[str, datasets.Labelled]) -> None:
    scene, labels = datasets.scenes(COUNT, ("test", 0))
    inside, outside = scene.mask == 1, scene.mask == 0
    for name in ("mixed_same", "mixed_rand"):
        images, found = sets[name]
        assert torch.equal(found[:, :2], labels[:, :2])
        difference = (images - scene.image).abs()
        assert (difference * inside).max() < 1e-6
        assert (difference * outside).sum() / (3 * outside.sum()) > 0.03
    assert torch.equal(sets["mixed_same"].labels[:, 2], labels[:, 0])
    agree = (sets["mixed_rand"].labels[:, 2] == labels[:, 0]).float().mean()
    assert 0.02 < agree < 0.25  # a random class may be the same one


def test_cue_conflict_shows_two_classes_and_no_background(sets: dict[str, datasets.Labelled]) -> None:
    images, labels = sets["cue_conflict"]
    assert (labels[:, 0] != labels[:, 1]).all() and (labels[:, 2] == -1).all()
    assert len(labels[:, 0].unique()) == len(labels[:, 1].unique()) == len(CLASSES)
    corner = images[..., :3, :3]
    assert (corner == 0).float().mean() > 0.98


# -------------------------------------------------------------------- truth


@pytest.fixture(scope="module")
def scene() -> Scene:
    return datasets.scenes(12, ("truth",))[0]


def test_the_truth_itself_is_perfect(scene: Scene) -> None:
    assert intersection_over_union(scene.mask > 0.5, scene.mask > 0.5).eq(1).all()
    assert quality.residue(scene.background, scene).abs().max() < 1e-6
    assert quality.entanglement(scene.texture, scene).abs().max() < 1e-6


def test_the_opposite_is_as_bad_as_can_be(scene: Scene) -> None:
    assert intersection_over_union(1 - scene.mask > 0.5, scene.mask > 0.5).max() < 0.05
    assert quality.residue(scene.image, scene).min() > 0.95  # but for soft edges the object is still there
    assert quality.entanglement(scene.image, scene).min() > 0.95  # but for soft edges the background is still there


def test_half_an_object_has_half_the_iou_and_half_a_residue_is_a_half(scene: Scene) -> None:
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :4, :] = 1
    half = mask.clone()
    half[..., :2, :] = 0
    assert intersection_over_union(half > 0.5, mask > 0.5).tolist() == [0.5]
    assert intersection_over_union(mask > 1, mask > 1).tolist() == [1.0]
    between = (scene.background + scene.texture) / 2
    torch.testing.assert_close(quality.residue(between, scene), torch.full((12,), 0.5))


def test_hard_scenes_are_those_that_the_classifier_gets_wrong() -> None:
    class Fish(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.eye(len(CLASSES))[torch.zeros(len(images), dtype=torch.long)]

    images, labels = datasets.adversarial(30, Fish())
    assert len(images) == len(labels) == 30 and (labels[:, 0] != CLASSES.index("fish")).all()


def test_a_sketch_is_the_outline_of_its_object_and_nothing_else() -> None:
    images, labels = datasets.sketches(20)
    scene, whole = datasets.scenes(20, ("sketch",))
    assert torch.equal(labels[:, 0], whole[:, 0]) and (labels[:, 1:] == -1).all()
    assert images.shape == scene.image.shape and (images[:, :1] == images).all()
    within = -nn.functional.max_pool2d(-scene.mask, 5, stride=1, padding=2) == 1
    beyond = nn.functional.max_pool2d(scene.mask, 5, stride=1, padding=2) == 0
    assert (images[:, :1][within] == 1).all() and (images[:, :1][beyond] == 1).all()
    assert (images.amin((1, 2, 3)) < -0.9).all()


# -------------------------------------------------------------------- pretraining


def test_detail_counts_most_and_flat_ground_least(scene: Scene) -> None:
    weight = pretrain.detail_weight(scene)
    assert weight.shape == scene.mask.shape and weight.min() >= 1 and weight.max() <= pretrain.DETAIL_WEIGHT + 1e-4
    assert (weight[scene.mask == 1] == pretrain.DETAIL_WEIGHT).all()
    flat = scene._replace(image=torch.zeros_like(scene.image), mask=torch.zeros_like(scene.mask))
    assert (pretrain.detail_weight(flat) == 1).all()
    line = flat._replace(image=flat.image.clone())
    line.image[:, :, 30] = 1
    assert (pretrain.detail_weight(line)[:, :, 29:32] == pretrain.DETAIL_WEIGHT).all()


Part = Callable[[PretrainSettings, Checkpoint], nn.Module]
PARTS: dict[str, Part] = {
    "generator": lambda s, c: pretrain.distil_generator("scenes-64-tiny", 0, s, c),
    "saliency": lambda s, c: pretrain.train_saliency("u2net-thin", 0, s, c),
    "reader": lambda s, c: pretrain.train_reader(1, "random", 0, s, c),
}


def _losses(part: Part, settings: PretrainSettings, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    seen: list[float] = []
    run = pretrain.training.run

    def noted(title: str, steps: int, step: Any, *rest: Any) -> None:
        def inner(i: int) -> dict[str, torch.Tensor]:
            terms = step(i)
            seen.append(terms["loss"].item())
            return terms

        run(title, steps, inner, *rest)

    monkeypatch.setattr(pretrain.training, "run", noted)
    part(settings, Checkpoint(folder / "run"))
    return seen


@pytest.mark.parametrize(("name", "steps", "batch"), [("generator", 12, 4), ("saliency", 12, 4), ("reader", 50, 16)])
def test_a_part_learns(name: str, steps: int, batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = _losses(PARTS[name], PretrainSettings(steps, batch), tmp_path, monkeypatch)
    assert len(seen) == steps and sum(seen[-4:]) < sum(seen[:4])


@pytest.mark.parametrize("name", PARTS)
def test_a_part_that_resumes_equals_the_unbroken_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = PretrainSettings(4, batch=2, checkpoint_every=2)
    expected = PARTS[name](settings, Checkpoint(tmp_path / "whole")).state_dict()
    render, calls = pretrain.render, []

    def broken(*arguments: Any, **named: Any) -> Scene:
        calls.append(1)
        if len(calls) == 4:
            raise RuntimeError("power failure")
        return render(*arguments, **named)

    monkeypatch.setattr(pretrain, "render", broken)
    with pytest.raises(RuntimeError):
        PARTS[name](settings, Checkpoint(tmp_path / "broken"))
    found = PARTS[name](settings, Checkpoint(tmp_path / "broken"))
    assert not found.training and len(calls) == 6
    assert all(torch.equal(found.state_dict()[key], value) for key, value in expected.items())


def test_the_saliency_net_sees_no_shape_of_a_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[int] = set()
    render = pretrain.render

    def noted(u: torch.Tensor, shape: torch.Tensor, *rest: torch.Tensor) -> Scene:
        seen.update(shape.tolist())
        return render(u, shape, *rest)

    monkeypatch.setattr(pretrain, "render", noted)
    pretrain.train_saliency("u2net-thin", 0, PretrainSettings(2, batch=60), Checkpoint(tmp_path / "run"))
    assert min(seen) >= len(CLASSES) and max(seen) < len(CLASSES) + len(STRANGERS) and len(seen) > 80


@pytest.mark.parametrize(("attributes", "agree"), [("mostly", True), ("random", False)])
def test_a_reader_learns_from_the_scenes_it_is_asked_to(
    attributes: datasets.Attributes, agree: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    render = pretrain.render

    def noted(u: torch.Tensor, *labels: torch.Tensor, wild: bool) -> Scene:
        assert wild == agree == bool((labels[0] == labels[2]).float().mean() > 0.5)
        return render(u, *labels, wild=wild)

    monkeypatch.setattr(pretrain, "render", noted)
    pretrain.train_reader(0, attributes, 0, PretrainSettings(1, batch=40), Checkpoint(tmp_path / "run"))


def test_trained_parts_load_again(tmp_path: Path) -> None:
    settings = PretrainSettings(1, batch=2)
    generator = PARTS["generator"](settings, Checkpoint(tmp_path / "g"))
    copy = pretrain.load_generator("scenes-64-tiny", generator.state_dict())
    torch.testing.assert_close(copy.state_dict(), generator.state_dict())
    saliency = PARTS["saliency"](settings, Checkpoint(tmp_path / "s"))
    again = pretrain.load_saliency("u2net-thin", saliency.state_dict())
    assert not again.training and not any(p.requires_grad for p in again.parameters())
