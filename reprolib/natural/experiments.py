"""The experiments of the natural-image half: each is a step, whose arguments are all that its result depends on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from reprolib import features
from reprolib.natural import classify, datasets, robustness
from reprolib.natural import quality as measures
from reprolib.natural import train as training
from reprolib.natural.cgn import CGN
from reprolib.natural.classify import HEADS, Batches, ClassifierSettings, Ensemble, Plain, head_heatmaps
from reprolib.natural.datasets import Images
from reprolib.natural.train import CgnSettings
from reprolib.natural.world import World
from reprolib.run import rng, store
from reprolib.run.files import canonical, digest
from reprolib.run.steps import Handle, recipe_of, step
from reprolib.run.store import Checkpoint, Result, everything, numbers_alone
from reprolib.schema import Machine

EXAMPLES = 4
"""Real images and counterfactuals, so many of each, that heatmaps are shown of."""
FOLLOWED = 45
"""Images by which a CGN is held against the truth over its training."""
TrainedOn = Literal["real", "cgn", "truth", "again", "wrong"]
"""Real images alone, with counterfactuals of a CGN, or with true ones from the renderer. Two nulls: with as many real
images again, and with counterfactuals of a CGN whose labels are all those of the next class."""


@dataclass(frozen=True)
class Given:
    """A CGN that is not trained here; an untrained one is a null."""

    world: World
    source: Literal["shipped", "authors", "untrained"]

    def identity(self) -> dict[str, Any]:
        """The networks of the world, and the hash of the CGN."""
        file = None if self.source == "untrained" else self.world.given_identity()
        return {"world": self.world.identity(), self.source: file}


@dataclass(frozen=True)
class Exchanged:
    """A CGN with texture and background mechanism in each other's place, a null."""

    cgn: Handle | Given


Cgn = Handle | Given | Exchanged
"""A CGN that is trained here, by the handle of its training, or another."""


def _watched(world: World, settings: CgnSettings, **_: Any) -> dict[str, Any]:
    return {"scales": features.SCALES[settings.features], "truth": world.truth_identity(), "followed": FOLLOWED}


@step(keep=numbers_alone, also=_watched)
def natural_cgn(
    world: World, seed: int, settings: CgnSettings, true_mask: bool, machine: Machine, checkpoint: Checkpoint
) -> Result:
    """Train a CGN. Tensors: its mechanisms, and ``sheet/<update>``, a ``train.sheet`` at times over training. Numbers:
    ``updates``, at which it was looked at, and ``truth``, what ``World.against_truth`` said of it there."""

    def watch(model: CGN) -> tuple[Tensor, dict[str, Any]]:
        return training.sheet(model, world.shown, model.noise(1, ("sheet",))), world.against_truth(model, FOLLOWED)

    model = world.new_cgn(true_mask)
    title = f"CGN on {world.title}, {settings.texture_target}, seed {seed}"
    kept = training.train_cgn(model, seed, settings, checkpoint, title, watch)
    sheets = {f"sheet/{update}": sheet for update, (sheet, _) in kept.items()}
    numbers = {"updates": list(kept), "truth": [truth for _, truth in kept.values()]}
    return Result(numbers, model.mechanisms() | sheets)


def mechanisms(trained: Handle) -> dict[str, Tensor]:
    """The state of a CGN that is trained here."""
    found = trained.result(with_tensors=True).tensors
    return {name: value for name, value in found.items() if not name.startswith("sheet/")}


def load(cgn: Cgn) -> CGN:
    """A CGN in eval mode on the CPU."""
    if isinstance(cgn, Exchanged):
        model = load(cgn.cgn)
        model.f_text, model.f_bg = model.f_bg, model.f_text
        return model
    if isinstance(cgn, Given):
        return cgn.world.new_cgn().eval() if cgn.source == "untrained" else cgn.world.given_cgn()
    model = cgn["world"].new_cgn(cgn["true_mask"])
    model.load_mechanisms(mechanisms(cgn))
    return model.eval()


def _rated(world: World, **_: Any) -> dict[str, Any]:
    return {"rater": world.rater_identity(), "truncations": world.truncations, "truth": world.truth_identity()}


@step(version=2, keep=numbers_alone, also=_rated)
def natural_quality(world: World, cgn: Cgn, images: int, machine: Machine) -> Result:
    """Inception Score of x_gen and x_gt, mean mask, and against the truth where it is known; see ``quality.score``."""
    model, rater = load(cgn).to(machine.device), world.rater().to(machine.device)
    numbers: dict[str, Any] = {}
    for truncation in world.truncations:
        numbers |= measures.score(model, rater, images, truncation)
    return Result(numbers | world.against_truth(model, images))


@dataclass(frozen=True)
class Counterfactuals:
    """Counterfactuals of a CGN, or true ones from the renderer, to train and to validate on."""

    cgn: Cgn | None
    seed: int
    train: int
    val: int
    truncation: float
    machine: Machine

    def folder(self, world: World) -> Path:
        """Where the images of a CGN, ``train`` and ``val``, are written, see ``datasets.write_set``."""
        root = store.current().root / "counterfactual_sets" / digest(canonical(recipe_of(self)))[:16]
        cgn = self.cgn
        assert cgn is not None
        model = cache(lambda: load(cgn).to(self.machine.device))
        for number, split in enumerate(("train", "val")):
            drawn = datasets.Sampling(self.truncation, 1000 * self.seed + number)
            datasets.write_set(model, world.classes, drawn, root / split, getattr(self, split))
        return root

    def images(self, world: World, split: str) -> Images:
        """The images of a split with the classes of the three factors."""
        if self.cgn is None:
            return world.true_counterfactuals(getattr(self, split), split, self.seed)
        return datasets.counterfactuals(self.folder(world) / split, world.transform(split))


def _data(world: World, **_: Any) -> dict[str, Any]:
    return {"data": world.data_identity()}


def _new_ensemble(world: World, seed: int) -> Ensemble:
    with rng.seeded("ensemble initialisation", world.name, seed):
        return world.ensemble()


@step(version=6, keep=numbers_alone, also=_data)
def ensemble(
    world: World,
    trained_on: TrainedOn,
    made: Counterfactuals | None,
    seed: int,
    settings: ClassifierSettings,
    machine: Machine,
    checkpoint: Checkpoint,
) -> Result:
    """Train and score an ensemble. Numbers: ``history``, one row before training and one per epoch (see
    ``robustness.accuracy``); ``best``, see ``classify.best_row``; ``scores``, everything that ``robustness.evaluate``
    measures, of the ensemble at that row. Tensors: its state."""
    model = _new_ensemble(world, seed)
    real = world.real("train")
    count = len(real)  # type: ignore[arg-type]
    order = partial(rng.permutation, count, "real order", seed)
    batches, counterfactual = Batches(real, order, settings.batch, seed, machine.workers), None
    if (data := beside_real(world, trained_on, made, "train")) is not None:
        batch = int(settings.cf_ratio * settings.batch)
        shown = batch * batches.per_epoch
        order = partial(datasets.counterfactual_order, len(data), shown, seed)  # type: ignore[arg-type]
        counterfactual = Batches(data, order, batch, seed + 1, machine.workers)
    title = f"ensemble on {trained_on} of {world.title}, seed {seed}"
    unseen = beside_real(world, trained_on, made, "val")
    judge = partial(robustness.accuracy, world, workers=machine.workers, unseen=unseen)
    model, history = classify.train(model, batches, counterfactual, judge, settings, checkpoint, title)
    best = classify.best_row(history, settings.selection)
    found = history[best] | robustness.reliance(world, model.to(machine.device), machine.workers)
    return Result({"history": history, "best": best, "scores": found}, dict(model.cpu().state_dict()))


@step(keep=numbers_alone, also=_data)
def untrained_ensemble(world: World, seed: int, machine: Machine) -> Result:
    """The ensemble of this seed before training, a null: ``scores``, see ``robustness.evaluate``."""
    model = _new_ensemble(world, seed).to(machine.device).eval()
    return Result({"scores": robustness.evaluate(world, model, machine.workers)})


def beside_real(world: World, trained_on: TrainedOn, made: Counterfactuals | None, split: str) -> Images | None:
    """What a classifier sees beside real images; None for nothing."""
    if trained_on == "real":
        return None
    if trained_on == "again":
        return datasets.Relabelled(world.real(split), lambda label: label.expand(3))
    assert made is not None
    images = made.images(world, split)
    if trained_on == "wrong":
        return datasets.Relabelled(images, lambda labels: (labels + 1) % world.classes)
    return images


@step(version=3, keep=everything, also=lambda **_: {"examples": EXAMPLES})
def ensemble_examined(ensemble: Handle, shown: Counterfactuals, machine: Machine) -> Result:
    """A closer look at an ensemble. Numbers: ``out_of_distribution``, see there. Tensors: see ``head_heatmaps``, for
    EXAMPLES real images and as many counterfactuals, the same for all ensembles."""
    world: World = ensemble["world"]
    model = world.ensemble()
    model.load_state_dict(ensemble.result(with_tensors=True).tensors)
    model = model.to(machine.device).eval()
    images = [datasets.examples(data, EXAMPLES) for data in (world.real("val"), shown.images(world, "val"))]
    found = robustness.out_of_distribution(world, model, machine.workers)
    return Result({"out_of_distribution": found}, head_heatmaps(model, torch.cat(images)))


@step(version=2, keep=numbers_alone, also=_data)
def plain_classifier(world: World, machine: Machine) -> Result:
    """The plain classifier of the world: ``row``, see ``robustness.evaluate``, with its only prediction as that of the
    mean of the heads and that without the background head; and ``out_of_distribution``."""
    model = Plain(world.plain()).to(machine.device)
    row = robustness.evaluate(world, model, machine.workers)
    row = {name: value for name, value in row.items() if name.split("/")[-1] not in HEADS}
    return Result({"row": row, "out_of_distribution": robustness.out_of_distribution(world, model, machine.workers)})
