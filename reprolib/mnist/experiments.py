"""The experiments of the MNIST half: each is a step, whose arguments are all that its result depends on."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from reprolib import features
from reprolib import gradcam as heat
from reprolib.mnist import classifier as classifiers
from reprolib.mnist import counterfactuals, digits, stable, train, variants
from reprolib.mnist import quality as measures
from reprolib.mnist.cgn import CGN, CLASSES, cgn_from, compose
from reprolib.mnist.choices import DIGIT_READER, Cgn, Data, Given, TrainingSet
from reprolib.mnist.classifier import Classifier, Precision, classifier_from
from reprolib.mnist.gan import DCGAN
from reprolib.mnist.train import GenerativeSettings
from reprolib.mnist.variants import Painted
from reprolib.run import rng, weights
from reprolib.run.steps import Handle, step
from reprolib.run.store import Checkpoint, Result, everything, numbers_alone
from reprolib.run.weights import Shipped
from reprolib.schema import Machine, Recipe
from reprolib.vocabulary import VARIANTS

READER_RECORD, FACTORS_RECORD = "digit_reader.json", "factor_readers.json"
"""Files in ``reprolib/weights``: what was measured on the readers."""


def _last_in_half(trained: Result) -> Result:
    """Of a trained CGN the last snapshot, in half precision: a megabyte instead of thirteen."""
    last = trained.numbers["snapshots"][-1]
    state = {name: value for name, value in trained.tensors.items() if name.startswith(f"{last}/")}
    half = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    return replace(trained, numbers={"snapshots": [last]}, tensors=half)


def _fixed(data: Data, recipe: Recipe, settings: GenerativeSettings, **_: Any) -> dict[str, Any]:
    """The constants of the code that a CGN is trained with."""
    constants = asdict(stable.STABLE) if recipe == "stable" else None
    scales = features.SCALES[settings.features]
    return {"fixed": train.fixed_settings(data.variant), "constants": constants, "scales": scales}


@step(keep=_last_in_half, also=_fixed)
def cgn(
    data: Data, recipe: Recipe, seed: int, settings: GenerativeSettings, machine: Machine, checkpoint: Checkpoint
) -> Result:
    """Train a CGN. Numbers: ``snapshots``, the steps at which it was kept. Tensors: ``<step>/<state name>``."""
    train_cgn = stable.train_cgn if recipe == "stable" else train.train_cgn
    states = train_cgn(data.variant, data.digits()[0], seed, settings, data.textures, checkpoint)
    tensors = {f"{step}/{name}": value for step, state in states.items() for name, value in state.items()}
    return Result({"snapshots": list(states)}, tensors)


def snapshots(trained: Handle) -> dict[int, CGN]:
    """The CGN of a training at each of its snapshots, in eval mode."""
    result = trained.result(with_tensors=True)
    return {step: cgn_from(result.tensors, f"{step}/") for step in result.numbers["snapshots"]}


def load(choice: Cgn) -> CGN:
    """A CGN in eval mode. Raises AssetError if its file is missing or corrupt."""
    return choice.load() if isinstance(choice, Given) else list(snapshots(choice).values())[-1]


@step(keep=everything)
def training_samples(cgn: Handle, machine: Machine) -> Result:
    """What a training makes at each of its snapshots, in eval mode. Tensors: ``<step>``, uint8 (10, 32, 32, 3)."""
    from reprolib.figures import to_pixels  # its plots stay out of the workers that train

    samples = {}
    for at, model in snapshots(cgn).items():
        with rng.seeded("training sheet", cgn["data"].variant), torch.inference_mode():
            samples[str(at)] = torch.from_numpy(to_pixels(compose(*model(torch.arange(CLASSES)))))
    return Result({}, samples)


@step()
def dcgan(data: Data, seed: int, settings: GenerativeSettings, machine: Machine, checkpoint: Checkpoint) -> Result:
    """Train the DCGAN of Bagad et al. Tensors: its state."""
    gan = train.train_dcgan(data.variant, data.digits()[0], seed, settings, data.textures, checkpoint)
    return Result({}, dict(gan.state_dict()))


@step(version=4)
def digit_reader(source: digits.Source, limit: int | None, machine: Machine, checkpoint: Checkpoint) -> Result:
    """Train the classifier that judges masks; this is what is shipped, see ``quality.train_reader``."""
    return measures.train_reader(*digits.split(source, "test_file", limit), checkpoint)


@step(version=2)
def factor_reader(data: Data, factor: measures.Factor, machine: Machine, checkpoint: Checkpoint) -> Result:
    """Train a classifier of one factor of painted images; this is what is shipped."""
    return measures.train_factor_reader(data.variant, factor, *data.digits(), data.textures, checkpoint)


def reader(chosen: Shipped | Handle) -> tuple[Classifier, float]:
    """A classifier of masks or of a factor, and its accuracy on held-out ones in percent. One that is shipped is the
    same in every profile. Raises AssetError if it is damaged."""
    if isinstance(chosen, Handle):
        result = chosen.result(with_tensors=True)
        return classifier_from(result.tensors), result.numbers["history"][-1]["test"]
    model = classifier_from(chosen.read())
    if chosen == DIGIT_READER:
        return model, weights.record(weights.FOLDER / READER_RECORD)["history"][-1]["test"]
    return model, weights.record(weights.FOLDER / FACTORS_RECORD)[chosen.name]


@step(version=6, keep=numbers_alone)
def quality(
    data: Data, cgn: Cgn, masks: int, readers: tuple[tuple[str, Shipped | Handle], ...], machine: Machine
) -> Result:
    """Masks (so many of every digit) and control of a CGN, see ``quality.mask_quality`` and ``quality.control``, and
    the accuracy of each reader."""
    read = {name: reader(chosen) for name, chosen in readers}
    model, accuracies = load(cgn), {name: accuracy for name, (_, accuracy) in read.items()}
    judge = read.pop("digit")[0]
    numbers = measures.mask_quality(model, judge, data.bounds(), masks)
    by_factor: Any = {name: each for name, (each, _) in read.items()}
    numbers["control"], numbers["control_images"] = measures.control(model, by_factor, 10 * masks)
    return Result(numbers | {"readers": accuracies})


@step(keep=numbers_alone)
def counterfactual_accuracy(
    data: Data, cgn: Cgn, seed: int, images: int, precision: Precision, machine: Machine, checkpoint: Checkpoint
) -> Result:
    """What no mask can feign: a classifier sees counterfactuals of a CGN alone, ``images`` of them at ratio 1, in four
    epochs of batches of 32. Numbers: ``test``, its accuracy out of domain in percent, and ``test_images``."""
    test, key = data.painted("test", seed), ("accuracy", data.variant, seed)
    made = counterfactuals.counterfactuals(load(cgn), images, 1, key)
    task = classifiers.Task(made.images, made.labels, {"test": (test.images, test.labels)}, key)
    title = f"classifier on {images:,} counterfactuals, {data.variant} {seed}"
    how: dict[str, Any] = {"title": title, "precision": precision, "device": machine.device}
    _, history = classifiers.train(task, epochs=4, batch=32, checkpoint=checkpoint, **how)
    return Result({"test": history[-1]["test"], "test_images": len(test)})


@step(version=3, keep=numbers_alone)
def training_quality(cgn: Handle, masks: int, digit_reader: Shipped, machine: Machine) -> Result:
    """Mask quality at each snapshot of a training: step -> numbers."""
    how = reader(digit_reader)[0], cgn["data"].bounds(), masks
    return Result({str(step): measures.mask_quality(model, *how) for step, model in snapshots(cgn).items()})


def generate(data: Data, chosen: TrainingSet, seed: int, device: str, into: Tensor) -> Tensor:
    """Write the generated images of a training set into ``into``, float32 (N, 3, 32, 32), and return their labels;
    made anew each time, because that is fast and the same bits."""
    key = (data.variant, chosen.generated or "", chosen.ratio, seed)
    assert chosen.generator is not None
    if chosen.generated == "dcgan":
        assert isinstance(chosen.generator, Handle)
        gan = DCGAN()
        gan.load_state_dict(chosen.generator.result(with_tensors=True).tensors)
        return counterfactuals.gan_samples(gan.eval().to(device), chosen.size, key, into).labels
    model = load(chosen.generator).to(device)
    if chosen.generated == "cgn_noncf":
        return counterfactuals.non_counterfactuals(model, chosen.size, key, into).labels
    made = counterfactuals.counterfactuals(model, chosen.size, chosen.ratio, key, chosen.texture_labels, into)
    return (made.labels + 1) % CLASSES if chosen.generated == "wrong_labels" else made.labels


def training_data(data: Data, chosen: TrainingSet, seed: int, device: str) -> tuple[Tensor, Tensor]:
    """Original images, then generated ones, in one tensor that is never copied: a million images take 12 GB."""
    first = data.count if chosen.original else 0
    made = counterfactuals.total(chosen.size, chosen.ratio) if chosen.generated else 0
    images = torch.empty(first + made, 3, variants.SIZE, variants.SIZE)
    labels = torch.empty(first + made, dtype=torch.long)
    if chosen.original:
        painted = data.painted("train", seed)
        images[:first], labels[:first] = painted.images, painted.labels
        del painted
    if chosen.generated:
        labels[first:] = generate(data, chosen, seed, device, images[first:])
    return images, labels


@step()
def classifiers_together(
    data: Data,
    training_sets: tuple[TrainingSet, ...],
    seeds: tuple[int, ...],
    epochs: int,
    batch: int,
    precision: Precision,
    machine: Machine,
    checkpoint: Checkpoint,
) -> Result:
    """A classifier per seed and its training set, all in one network: numbers by seed, see ``classifier``, and tensors
    ``<seed>/<state name>``."""
    tasks, tests = [], []
    for seed, chosen in zip(seeds, training_sets, strict=True):
        images, labels = training_data(data, chosen, seed, machine.device)
        tests.append({name: data.painted(name, seed) for name in ("test", "in_domain")})
        scored = {name: (test.images, test.labels) for name, test in tests[-1].items()}
        tasks.append(classifiers.Task(images, labels, scored, (data.variant, seed)))
    told = ", ".join(map(str, seeds))
    title = f"classifier on {training_sets[0].name} of {VARIANTS[data.variant].title}, seed {told}"
    how: dict[str, Any] = {"title": title, "precision": precision, "device": machine.device}
    made = classifiers.train_together(tasks, epochs=epochs, batch=batch, checkpoint=checkpoint, **how)
    numbers: dict[str, Any] = {}
    tensors: dict[str, Tensor] = {}
    for seed, task, test, (model, history) in zip(seeds, tasks, tests, made, strict=True):
        final = final_scores(data, model, test["test"], seed)
        numbers[str(seed)] = {"history": history, "images": len(task.labels), "final": final}
        tensors |= {f"{seed}/{name}": value.contiguous() for name, value in model.state_dict().items()}
    return Result(numbers, tensors)


@step(keep=numbers_alone)
def classifier(
    data: Data,
    training_set: TrainingSet,
    seed: int,
    epochs: int,
    batch: int,
    precision: Precision,
    machine: Machine,
    together: Handle | None,
    checkpoint: Checkpoint,
) -> Result:
    """Train and score a classifier, or take it from those of all seeds that were trained together.

    Numbers: ``history``, one row per epoch with ``train``, ``test`` and ``in_domain`` accuracy; ``final``, more
    scores of the last epoch; ``images``, the size of the training set. Tensors: the state of the last epoch.
    """
    if together:
        everyone = together.result(with_tensors=True)
    else:
        how = epochs, batch, precision, machine, checkpoint
        everyone = classifiers_together.function(data, (training_set,), (seed,), *how)
    mine = {name: value for name, value in everyone.tensors.items() if name.startswith(f"{seed}/")}
    return Result(everyone.numbers[str(seed)], {name.removeprefix(f"{seed}/"): value for name, value in mine.items()})


def final_scores(data: Data, model: Classifier, test: Painted, seed: int) -> dict[str, float]:
    """Scores of the last epoch that are not followed over training, in percent."""
    seen = test[variants.visible(data.variant, test)]
    redrawn = data.painted("in_domain_as_published", seed)
    return {
        name: classifiers.accuracy(classifiers.predict(model, some.images), some.labels)
        for name, some in {"visible": seen, "in_domain_as_published": redrawn}.items()
    }


@step(keep=everything)
def gradcam(classifier: Handle, images: int, machine: Machine) -> Result:
    """Heatmaps of a classifier.

    Numbers: ``measures`` and ``null`` on so many test images; on the 10x10 grid of digits and themes ``variance`` along
    both and ``grid_empty``, the share of empty maps. Tensors: ``heatmaps`` uint8 (100, 32, 32) of that grid.
    """
    model = classifier_from(classifier.result(with_tensors=True).tensors)
    test = classifier["data"].painted("test", classifier["seed"])[:images]
    target, masks = model.model[Classifier.last_relu], test.masks[:, 0]
    maps, grid = (heat.heatmaps(model, target, some.images) for some in (test, theme_grid(classifier["data"])))
    nulls = heat.null_measures(maps, masks)
    nulls["random CAM"] = heat.measures(heat.random_heatmaps(model, target, test.images), masks)
    numbers = {
        "measures": heat.measures(maps, masks),
        "null": nulls,
        "variance": heat.variance_split(grid.reshape(10, 10, *grid.shape[1:])),
        "grid_empty": float(heat.empty(grid).float().mean()),
    }
    return Result(numbers, {"heatmaps": (grid * 255).round().to(torch.uint8)})


def theme_grid(data: Data) -> Painted:
    """For each digit the first held-out image with that label, in each of the ten colour themes: 100 images."""
    return variants.themes(data.variant, data.digits()[1].one_of_each(), data.textures)
