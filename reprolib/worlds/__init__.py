"""The worlds of natural images by name, and the CGN of Scenes that reprolib ships."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from reprolib import params as parameters
from reprolib.natural import criteria, experiments, plan
from reprolib.natural.datasets import Sampling, claim_folder, write_set
from reprolib.natural.plan import CgnChoice, WorldRun
from reprolib.natural.world import World
from reprolib.run import ReproError, distributed, weights
from reprolib.run.steps import recipe_of
from reprolib.schema import Params
from reprolib.vocabulary import FACTORS
from reprolib.worlds import networks
from reprolib.worlds.imagenet import ImageNet
from reprolib.worlds.scenes import Scenes


def world_of(name: str, params: Params) -> World:
    """``scenes`` or ``imagenet`` as the parameters describe it."""
    return Scenes(params.scenes) if name == "scenes" else ImageNet(params.imagenet)


def told(params: Params) -> str:
    """Which worlds a run has, as a sentence; for one that is left out, what it needs."""
    if params.imagenet.run:
        return "Worlds of this run: " + ", ".join(run.world.title for run in runs(params)) + "."
    return (
        "ImageNet is not part of this run; what needs it is shown on Scenes. It runs with `imagenet: {run: true}`, as "
        "in the profile gpu, once its files are in place: `python -m reprolib check gpu` names them."
    )


def runs(params: Params) -> list[WorldRun]:
    """The worlds of a run with its parameters."""
    names = [name for name in ("scenes", "imagenet") if getattr(params, name).run]
    return [WorldRun(params, world_of(name, params)) for name in names]


def keep_cgn() -> dict[str, Any]:
    """Train the CGN of Scenes as the cpu profile does, ship it in half precision, and return what was measured on it
    before that; a run that uses the shipped one measures it again."""
    chosen = parameters.load("cpu")
    run, which = WorldRun(chosen, Scenes(chosen.scenes)), CgnChoice()
    trained, measured = plan.trained_cgn(run, which), plan.quality(run, which).result().numbers
    state = experiments.mechanisms(trained)
    state = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    found = {"measured": measured, "inputs": trained.recipe["inputs"], "made": trained.result().made}
    weights.keep(networks.shipped("cgn").file, state, networks.QUALITY, {"cgn": found})
    return measured


def train_together(run: WorldRun) -> None:
    """Make every CGN and classifier of a world, one after the other; under torchrun all processes share each of them.
    The notebooks then only rate them."""
    for which in plan.cgns(run):
        if which.trained_here:
            plan.trained_cgn(run, which).result()
    nulls = [case for kind in criteria.NULLS for case in plan.nulls(run, kind)]
    cases: list[tuple[Any, ...]] = [*plan.classifiers(run), *nulls, *plan.search(run)]
    for case in cases:
        plan.classifier(run, *case).result()


def write_counterfactuals(run: WorldRun, root: Path, split: str, count: int, sampling: Sampling) -> Path:
    """Write a set of counterfactuals of the deciding CGN below ``root``, in a folder that is called like the split;
    return its label file. Raises ReproError for classes that there are not, and for a folder that holds another set."""
    for factor, ids in zip(FACTORS, sampling.classes, strict=True):
        if unknown := [number for number in ids if not 0 <= number < run.world.classes]:
            raise ReproError(
                f"there is no class {unknown[0]} for {factor}; classes go from 0 to {run.world.classes - 1}"
            )
    cgn = plan.cgn(run, run.deciding)
    if distributed.rank() == 0:
        claim_folder(root / split, {"cgn": recipe_of(cgn), "split": split} | sampling.__dict__)
    distributed.wait()
    model = cache(lambda: experiments.load(cgn).to(run.params.device))
    return write_set(model, run.world.classes, sampling, root / split, count)
