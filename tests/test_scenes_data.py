"""Data sets, truth and pretraining of Scenes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import damage
import pytest
import torch
from torch import nn

from reprolib.gradcam import intersection_over_union
from reprolib.natural import biggan
from reprolib.run.store import Checkpoint, Store
from reprolib.worlds import networks, render, scenes
from reprolib.worlds.appearance import STRANGERS
from reprolib.worlds.networks import NETWORKS, Network
from reprolib.worlds.render import CLASSES, Scene

COUNT = 180


@pytest.fixture(scope="module")
def sets() -> dict[str, render.Labelled]:
    return {name: render.challenge(name, COUNT) for name in ("original", "mixed_same", "mixed_rand")}


def test_factors_of_real_scenes_agree_mostly_and_those_of_counterfactuals_by_chance() -> None:
    index, chance = torch.arange(20_000), 1 / len(CLASSES)
    for kind, expected in (("mostly", render.AGREEMENT + (1 - render.AGREEMENT) * chance), ("random", chance)):
        labels = render.classes(index, ("t",), kind)  # type: ignore[arg-type]
        assert labels.shape == (20_000, 3) and labels.unique().tolist() == list(range(len(CLASSES)))
        agree = (labels[:, 1:] == labels[:, :1]).double().mean(0)
        assert (agree - expected).abs().max() < 0.02
        both = (labels[:, 1:] == labels[:, :1]).all(1).double().mean()
        assert abs(both - expected**2) < 0.02  # texture and background go astray apart


def test_real_scenes_are_wild_and_their_posed_form_is_not() -> None:
    wild, posed = (render.scenes(90, ("t",), wild=wild)[0] for wild in (True, False))
    assert 0.3 < wild.mask.mean() / posed.mask.mean() < 0.8
    borders = [torch.cat([m[..., 0], m[..., -1], m[..., 0, :], m[..., -1, :]], -1) for m in (wild.mask, posed.mask)]
    cut = [(border.amax((1, 2)) > 0.5).double().mean() for border in borders]
    assert cut[0] > 0.1 > cut[1]
    dark = [((scene.image + 1) / 2).mean(dim=(1, 2, 3)) for scene in (wild, posed)]
    assert dark[0].mean() < 0.85 * dark[1].mean()
    assert torch.equal(wild.image, render.labelled(90, ("t",))[0])


def test_scenes_do_not_depend_on_how_many_are_made() -> None:
    few, many = (render.labelled(count, ("t",)) for count in (5, 20))
    assert all(torch.equal(less, more[:5]) for less, more in zip(few, many, strict=True))


def test_mixed_sets_keep_the_objects_and_change_the_backgrounds(sets: dict[str, render.Labelled]) -> None:
    scene, labels = render.scenes(COUNT, ("test", 0))
    inside, outside = scene.mask == 1, scene.mask == 0
    for name in ("mixed_same", "mixed_rand"):
        images, found = sets[name]
        assert torch.equal(found, labels[:, 0])
        difference = (images - scene.image).abs()
        assert (difference * inside).max() < 1e-6
        assert (difference * outside).sum() / (3 * outside.sum()) > 0.03
    agree = (sets["mixed_rand"][0] == sets["mixed_same"][0]).flatten(1).all(1).float().mean()
    assert 0.02 < agree < 0.25  # a random class may be the same one


def test_mixed_backgrounds_are_of_the_class_of_the_object_or_of_any(sets: dict[str, render.Labelled]) -> None:
    reader = networks.reader("background")  # knows posed scenes, so it errs on wild ones
    same, other = ((reader(images).argmax(1) == labels).double().mean() for images, labels in
                   (sets["mixed_same"], sets["mixed_rand"]))  # fmt: skip
    assert same > 0.6 and other < 0.25


def test_cue_conflict_shows_two_classes_and_no_background() -> None:
    images, labels = render.cue_conflict(COUNT)
    assert (labels[:, 0] != labels[:, 1]).all()
    assert len(labels[:, 0].unique()) == len(labels[:, 1].unique()) == len(CLASSES)
    corner = images[..., :3, :3]
    assert (corner == 0).float().mean() > 0.98


# -------------------------------------------------------------------- truth


@pytest.fixture(scope="module")
def scene() -> Scene:
    return render.scenes(12, ("truth",))[0]


def test_the_truth_itself_is_perfect(scene: Scene) -> None:
    assert intersection_over_union(scene.mask > 0.5, scene.mask > 0.5).eq(1).all()
    assert scenes.residue(scene.background, scene).abs().max() < 1e-6
    assert scenes.entanglement(scene.texture, scene).abs().max() < 1e-6


def test_the_opposite_is_as_bad_as_can_be(scene: Scene) -> None:
    assert intersection_over_union(1 - scene.mask > 0.5, scene.mask > 0.5).max() < 0.05
    assert scenes.residue(scene.image, scene).min() > 0.95  # but for soft edges the object is still there
    assert scenes.entanglement(scene.image, scene).min() > 0.95  # but for soft edges the background is still there


def test_half_an_object_has_half_the_iou_and_half_a_residue_is_a_half(scene: Scene) -> None:
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :4, :] = 1
    half = mask.clone()
    half[..., :2, :] = 0
    assert intersection_over_union(half > 0.5, mask > 0.5).tolist() == [0.5]
    assert intersection_over_union(mask > 1, mask > 1).tolist() == [1.0]
    between = (scene.background + scene.texture) / 2
    torch.testing.assert_close(scenes.residue(between, scene), torch.full((12,), 0.5))


def test_hard_scenes_are_those_that_the_classifier_gets_wrong() -> None:
    class Fish(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.eye(len(CLASSES))[torch.zeros(len(images), dtype=torch.long)]

    images, labels = render.adversarial(30, Fish())
    assert len(images) == len(labels) == 30 and (labels != CLASSES.index("fish")).all()


def test_a_sketch_is_the_outline_of_its_object_and_nothing_else() -> None:
    images, labels = render.sketches(20)
    scene, whole = render.scenes(20, ("sketch",))
    assert torch.equal(labels, whole[:, 0])
    assert images.shape == scene.image.shape and (images[:, :1] == images).all()
    within = -nn.functional.max_pool2d(-scene.mask, 5, stride=1, padding=2) == 1
    beyond = nn.functional.max_pool2d(scene.mask, 5, stride=1, padding=2) == 0
    assert (images[:, :1][within] == 1).all() and (images[:, :1][beyond] == 1).all()
    assert (images.amin((1, 2, 3)) < -0.9).all()


# -------------------------------------------------------------------- pretraining


def test_detail_counts_most_and_flat_ground_least(scene: Scene) -> None:
    weight = networks.detail_weight(scene)
    assert weight.shape == scene.mask.shape and weight.min() >= 1 and weight.max() <= networks.DETAIL_WEIGHT + 1e-4
    assert (weight[scene.mask == 1] == networks.DETAIL_WEIGHT).all()
    flat = scene._replace(image=torch.zeros_like(scene.image), mask=torch.zeros_like(scene.mask))
    assert (networks.detail_weight(flat) == 1).all()
    line = flat._replace(image=flat.image.clone())
    line.image[:, :, 30] = 1
    assert (networks.detail_weight(line)[:, :, 29:32] == networks.DETAIL_WEIGHT).all()


def _small(name: str, steps: int, batch: int) -> Network:
    """A network of Scenes that trains for a moment; the generator is the smallest."""
    smaller = {"build": lambda: biggan.build("scenes-64-tiny")} if name == "generator" else {}
    return replace(NETWORKS[name], steps=steps, batch=batch, learning_rate=2e-3, **smaller)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "steps", "batch"), [("generator", 12, 4), ("saliency", 12, 4), ("texture_reader", 50, 16)]
)
def test_a_network_learns(name: str, steps: int, batch: int, tmp_path: Path) -> None:
    seen: list[float] = []
    network = _small(name, steps, batch)

    def noted(model: nn.Module, index: torch.Tensor) -> torch.Tensor:
        loss = network.loss(model, index)
        seen.append(loss.item())
        return loss

    networks.train(replace(network, loss=noted), Checkpoint(tmp_path / "run"))
    assert len(seen) == steps + 1 and sum(seen[-4:]) < sum(seen[:4])


@pytest.mark.parametrize("name", ["generator", "saliency", "texture_reader"])
def test_a_network_that_resumes_equals_the_unbroken_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "CHECKPOINT_EVERY", 2)
    network = _small(name, 4, 2)
    expected = networks.train(network, Checkpoint(tmp_path / "whole")).state_dict()
    loss, calls = damage.interrupted(network.loss, 3)
    broken = replace(network, loss=loss)
    with pytest.raises(RuntimeError):
        networks.train(broken, Checkpoint(tmp_path / "broken"))
    resumed = networks.train(broken, Checkpoint(tmp_path / "broken"))
    assert not resumed.training and len(calls) == 7  # the last one looks ahead
    assert all(torch.equal(resumed.state_dict()[key], value) for key, value in expected.items())


def test_the_saliency_net_sees_no_shape_of_a_class(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[int] = set()
    render = networks.render

    def noted(u: torch.Tensor, shape: torch.Tensor, *rest: torch.Tensor) -> Scene:
        seen.update(shape.tolist())
        return render(u, shape, *rest)

    monkeypatch.setattr(networks, "render", noted)
    networks.detection(networks.saliency(), torch.arange(120))
    assert min(seen) >= len(CLASSES) and max(seen) < len(CLASSES) + len(STRANGERS) and len(seen) > 80


@pytest.mark.parametrize(("attributes", "agree"), [("mostly", True), ("random", False)])
def test_a_reader_learns_from_the_scenes_it_is_asked_to(
    attributes: render.Attributes, agree: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    render = networks.render

    def noted(u: torch.Tensor, *labels: torch.Tensor, wild: bool) -> Scene:
        assert wild == agree == bool((labels[0] == labels[2]).float().mean() > 0.5)
        return render(u, *labels, wild=wild)

    monkeypatch.setattr(networks, "render", noted)
    assert networks.reading(networks.new_reader(), torch.arange(40), 0, attributes).isfinite()


def test_a_network_is_kept_with_what_was_measured_and_loads_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks.weights, "FOLDER", tmp_path)
    monkeypatch.setattr(networks, "QUALITY", tmp_path / "scenes.json")
    monkeypatch.setattr(networks, "HELD_OUT", 20)
    monkeypatch.setitem(NETWORKS, "saliency", _small("saliency", 1, 2))
    measured = networks.make("saliency", Store(tmp_path / "store"))
    assert networks.intersection(networks.saliency()) == measured
    record = networks.weights.record(tmp_path / "scenes.json")["saliency"]
    assert record["measured"] == measured and record["inputs"]["settings"]["steps"] == 1
