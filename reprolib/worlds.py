"""The worlds of natural images by name, and the CGN of Scenes that reprolib ships."""

from __future__ import annotations

from typing import Any

from reprolib import params as parameters
from reprolib.imagenet import tables
from reprolib.imagenet.study import NaturalStudy, Trained
from reprolib.imagenet.world import ImageNet, World
from reprolib.mnist.study import Study
from reprolib.scenes import parts
from reprolib.scenes.world import Scenes
from reprolib.schema import Params
from reprolib.store import Store


def world_of(name: str, params: Params) -> World:
    """``scenes`` or ``imagenet`` as the parameters describe it."""
    return Scenes(params.scenes) if name == "scenes" else ImageNet(params.imagenet)


def worlds(params: Params) -> list[World]:
    """The worlds that are part of a run."""
    return [world_of(name, params) for name in ("scenes", "imagenet") if getattr(params, name).run]


def studies(study: Study) -> list[NaturalStudy]:
    """The experiments on natural images that belong to a run; they share its store."""
    return [NaturalStudy(study.params, world, study.store) for world in worlds(study.params)]


def ship_cgn(store: Store) -> dict[str, Any]:
    """Train the CGN of Scenes as the cpu profile does, ship it in half precision, and return what was measured on it
    before that; a run that uses the shipped one measures it again."""
    chosen = parameters.load("cpu")
    study, which = NaturalStudy(chosen, Scenes(chosen.scenes), store), Trained()
    found, measured = study.trained_cgn(which), study.rate(which)
    mechanisms = {name: value for name, value in found.tensors.items() if not name.startswith("sheet/")}
    state = {name: value.half() if value.is_floating_point() else value for name, value in mechanisms.items()}
    parts.ship("cgn", state, {"measured": measured, "recipe": study.cgn_recipe(which), "made": found.made})
    return measured


def train_together(params: Params, name: str, store: Store) -> int:
    """Make every CGN and classifier of a world, one after the other; under torchrun all processes share each of them.

    Returns how many networks there are. The notebooks then find them in the store, and only rate them.
    """
    study = NaturalStudy(params, world_of(name, params), store)
    networks = [which for which in tables.cgns(study) if which.source == "trained"]
    for which in networks:
        study.trained_cgn(which)
    cases: list[tuple[Any, ...]] = [*tables.classifier_cases(study), *tables.search_cases(study)]
    for case in cases:
        study.classifier(*case)
    return len(networks) + len(cases)
