"""The experiments of the natural-image half, written once for every world: each is a step, whose arguments are all that
its result depends on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from reprolib import features
from reprolib.natural import classify, datasets, robustness
from reprolib.natural import counterfactuals as sets
from reprolib.natural import quality as measures
from reprolib.natural import train as training
from reprolib.natural.cgn import CGN
from reprolib.natural.classify import HEADS, Batches, ClassifierSettings, Plain, head_heatmaps
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


# ---------------------------------------------------------------- the CGN


@dataclass(frozen=True)
class Given:
    """A CGN that is not trained here; an untrained one is a null."""

    world: World
    source: Literal["shipped", "authors", "untrained"]

    def identity(self) -> dict[str, Any]:
        """The networks of the world, and the hash of the CGN."""
        file = None if self.source == "untrained" else self.world.given_identity(self.source)
        return {"world": self.world.identity(), self.source: file}


@dataclass(frozen=True)
class Exchanged:
    """A CGN with texture and background mechanism in each other's place, a null."""

    cgn: Handle | Given


Cgn = Handle | Given | Exchanged
"""A CGN that is trained here, by the handle of its training, or another."""


def _watched(world: World, settings: CgnSettings, **_: Any) -> dict[str, Any]:
    return {"scales": features.SCALES[settings.features], "truth": world.truth_identity(), "followed": FOLLOWED}


@step(also=_watched)
def natural_cgn(
    world: World, seed: int, settings: CgnSettings, true_mask: bool, machine: Machine, checkpoint: Checkpoint
) -> Result:
    """Train a CGN. true_mask: trained and used with the true mask in place of its own.

    Tensors: its mechanisms, and ``sheet/<update>``: sample sheets over training, uint8 (classes, 6, 3, H, W), of
    :data:`training.SHEET`. Numbers: ``updates``, at which it was looked at, and ``truth``, what ``World.against_truth``
    said of it there."""

    def watch(model: CGN) -> tuple[Tensor, dict[str, Any]]:
        return training.sheet(model, world.shown), world.against_truth(model, FOLLOWED)

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
        return cgn.world.new_cgn().eval() if cgn.source == "untrained" else cgn.world.given_cgn(cgn.source)
    model = cgn["world"].new_cgn(cgn["true_mask"])
    model.load_mechanisms(mechanisms(cgn))
    return model.eval()


def _rated(world: World, **_: Any) -> dict[str, Any]:
    return {"rater": world.rater_identity(), "truncations": world.truncations, "truth": world.truth_identity()}


@step(version=2, keep=numbers_alone, also=_rated)
def natural_quality(world: World, cgn: Cgn, images: int, machine: Machine) -> Result:
    """Inception Score of x_gen and x_gt, mean mask, and against the truth where it is known; see ``quality.score``."""
    model, rater = load(cgn).to(machine.device), world.rater().to(machine.device)
    numbers = measures.score(model, rater, images, world.truncations)
    return Result(numbers | world.against_truth(model, images))


@step(also=lambda world, **_: {"rater": world.rater_identity(), "images": measures.PER_CLASS})
def class_quality(world: World, cgn: Cgn, truncation: float, machine: Machine) -> Result:
    """How well a CGN does each class; see ``quality.class_quality``."""
    model, rater = load(cgn).to(machine.device), world.rater().to(machine.device)
    return Result(measures.class_quality(model, rater, truncation))


# ---------------------------------------------------------------- classifiers


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
        """The written images of a CGN, ``train`` and ``val``; what is there is not made again, and a removed image
        is."""
        root = store.current().root / "counterfactual_sets" / digest(canonical(recipe_of(self)))[:16]
        cgn = self.cgn
        assert cgn is not None
        model = cache(lambda: load(cgn).to(self.machine.device))
        for number, split in enumerate(("train", "val")):
            drawn = sets.Sampling(truncation=self.truncation, seed=1000 * self.seed + number)
            sets.write_set(model, world.classes, drawn, root / split, split, getattr(self, split), batch=50)
        return root

    def images(self, world: World, split: str) -> Images:
        """The images of a split with the classes of the three factors."""
        if self.cgn is None:
            return world.true_counterfactuals(getattr(self, split), split, self.seed)
        return world.counterfactuals(self.folder(world), split)


def _data(world: World, **_: Any) -> dict[str, Any]:
    return {"data": world.data_identity()}


@step(version=5, keep=numbers_alone, also=_data)
def ensemble(
    world: World,
    trained_on: TrainedOn,
    made: Counterfactuals | None,
    seed: int,
    settings: ClassifierSettings,
    machine: Machine,
    checkpoint: Checkpoint,
) -> Result:
    """Train and score an ensemble.

    Numbers: ``history``, one row before training and one per epoch (see ``evaluate``); ``best``, the index of the row
    that is reported, see ``classify.best_row``. Tensors: the state of the ensemble at that row.
    """
    with rng.seeded("ensemble initialisation", world.name, seed):
        model = world.ensemble()
    real = world.real("train")
    count = len(real)  # type: ignore[arg-type]
    order = partial(rng.permutation, count, "real order", seed)
    batches, counterfactual = Batches(real, order, settings.batch, seed, settings.workers), None
    if (data := beside_real(world, trained_on, made, "train")) is not None:
        batch = int(settings.cf_ratio * settings.batch)
        shown = batch * batches.per_epoch
        order = partial(datasets.counterfactual_order, len(data), shown, seed)  # type: ignore[arg-type]
        counterfactual = Batches(data, order, batch, seed + 1, settings.workers)
    title = f"ensemble on {trained_on} of {world.title}, seed {seed}"
    unseen = beside_real(world, trained_on, made, "val")
    judge = partial(evaluate, world, workers=machine.workers, unseen=unseen)
    model, history = classify.train(model, batches, counterfactual, judge, settings, checkpoint, title)
    best = classify.best_row(history, settings.selection)
    return Result({"history": history, "best": best}, dict(model.state_dict()))


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
    """A closer look at an ensemble.

    Numbers: ``out_of_distribution``, see there. Tensors: ``heatmaps/<head>`` and ``seen``, see ``head_heatmaps``, for
    EXAMPLES real images and as many counterfactuals, the same for all ensembles.
    """
    world: World = ensemble["world"]
    model = world.ensemble()
    model.load_state_dict(ensemble.result(with_tensors=True).tensors)
    model = model.to(machine.device).eval()
    images = [datasets.examples(data, EXAMPLES) for data in (world.real("val"), shown.images(world, "val"))]
    found = out_of_distribution(world, model, machine.workers)
    return Result({"out_of_distribution": found}, head_heatmaps(model, torch.cat(images)))


@step(version=2, keep=numbers_alone, also=_data)
def plain_classifier(world: World, machine: Machine) -> Result:
    """The plain classifier of the world: ``row``, see ``evaluate``, with its only prediction as that of the mean of
    the heads and that without the background head; and ``out_of_distribution``."""
    model = Plain(world.plain()).to(machine.device)
    row = evaluate(world, model, machine.workers)
    row = {name: value for name, value in row.items() if name.split("/")[-1] not in HEADS}
    return Result({"row": row, "out_of_distribution": out_of_distribution(world, model, machine.workers)})


def evaluate(world: World, ensemble: nn.Module, workers: int = 0, unseen: Images | None = None) -> dict[str, float]:
    """One row of numbers in percent.

    ``top1`` and ``top5`` on real validation images, of the mean of the heads, and with ``/<head>`` of each;
    ``factor/<head>`` and ``factor5/<head>``, how often a head names its own factor of unseen counterfactuals first
    and among its first five (docs/imagenet.md, 10.1), and ``factor_shuffled/<head>`` with shuffled labels, a null;
    ``<set>/<prediction>`` for the three sets of the backgrounds challenge and ``gap/<prediction>``;
    ``shape_bias/<prediction>`` and ``decided/...``.
    """
    top = partial(_top, world.classes)
    scores, labels = classify.scores(ensemble, world.real("val"), workers)
    columns = {"": "avg"} | {f"/{head}": head for head in HEADS}
    row = {f"top{k}{end}": top(k, scores[name], labels) for k in (1, 5) for end, name in columns.items()}
    if unseen is not None:
        scores, labels = classify.scores(ensemble, unseen, workers)
        shuffled = labels[rng.permutation(len(labels), "shuffled factors")]
        for name, k, given in (("factor", 1, labels), ("factor5", 5, labels), ("factor_shuffled", 1, shuffled)):
            row |= {f"{name}/{head}": top(k, scores[head], given[:, i]) for i, head in enumerate(HEADS)}
    mapping = world.superclasses()
    found = {
        name: robustness.accuracies(*classify.scores(ensemble, world.challenge(name), workers), mapping)
        for name in robustness.VARIANTS
    }
    row |= {f"{name}/{head}": value for name, each in found.items() for head, value in each.items()}
    row |= {f"gap/{head}": value for head, value in robustness.gaps(found).items()}
    decided, labels = _conflict(world, ensemble, workers)
    for head, categories in decided.items():
        bias = robustness.shape_bias(categories, labels[:, 0], labels[:, 1])
        row |= {f"{name}/{head}": value for name, value in bias.items()}
    return row


def _top(classes: int, k: int, scores: Tensor, labels: Tensor) -> float:
    return classify.top_k(scores, labels, min(k, classes))


def out_of_distribution(world: World, ensemble: nn.Module, workers: int = 0) -> dict[str, float]:
    """Top-1 of the mean of the heads, in percent, on the out-of-distribution sets of Bagad et al.: those of the world,
    among the classes that a set has, and cue conflict, where the shape is right and images whose shape and texture
    agree count too."""
    found = {}
    for name, (data, classes) in world.out_of_distribution().items():
        scores, labels = classify.scores(ensemble, data, workers)
        found[name] = classify.top_k(scores["avg"][:, classes], labels, 1)
    decided, labels = _conflict(world, ensemble, workers)
    by_shape = decided["avg"] == labels[:, 0]
    return found | {"cue conflict": 100 * float(by_shape.double().mean())}


def _conflict(world: World, ensemble: nn.Module, workers: int) -> tuple[dict[str, Tensor], Tensor]:
    """The category that every prediction decides for, and those of shape and texture."""
    conflict, groups = world.conflict()
    scores, labels = classify.scores(ensemble, conflict, workers)
    return {head: robustness.decisions(logits, groups) for head, logits in scores.items()}, labels
