"""The worlds of natural images by name."""

from __future__ import annotations

from reprolib.imagenet.study import NaturalStudy
from reprolib.imagenet.world import ImageNet, World
from reprolib.mnist.study import Study
from reprolib.scenes.world import Scenes
from reprolib.schema import Params


def world_of(name: str, params: Params) -> World:
    """``scenes`` or ``imagenet`` as the parameters describe it."""
    return Scenes(params.scenes) if name == "scenes" else ImageNet(params.imagenet)


def worlds(params: Params) -> list[World]:
    """The worlds that are part of a run."""
    return [world_of(name, params) for name in ("scenes", "imagenet") if getattr(params, name).run]


def studies(study: Study) -> list[NaturalStudy]:
    """The experiments on natural images that belong to a run; they share its store."""
    return [NaturalStudy(study.params, world, study.store) for world in worlds(study.params)]
