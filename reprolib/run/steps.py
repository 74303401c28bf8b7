"""Experiments as functions: what a step is called with is the recipe of its result.

``@step`` turns a function into one whose call computes nothing and gives a handle. The handle knows its recipe, so it
knows the name of its result in the store in use, and computes it when it is asked for and not there yet. Arguments are
plain values, tuples, frozen groups and other handles. A group is named by its fields, all but those that are
``ASIDE``, or by what its ``identity()`` returns where fields do not say all: a file has a hash, a rule a version.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from reprolib.run.store import Checkpoint, Result, current
from reprolib.schema import ASIDE

Keep = Callable[[Result], Result]
"""What a repository keeps of a result."""
_STEPS: dict[str, Step] = {}


class Step:
    """A function that makes a result; calling it gives a handle."""

    def __init__(
        self, function: Callable[..., Result], version: int, keep: Keep | None, also: Callable[..., dict[str, Any]]
    ) -> None:
        functools.update_wrapper(self, function)
        self.function, self.version, self.keep, self.also = function, version, keep, also
        self.name, whole = function.__name__, inspect.signature(function)
        hints = typing.get_type_hints(function)
        self.checkpoint = [name for name in whole.parameters if hints[name] is Checkpoint]
        asked = [each for name, each in whole.parameters.items() if name not in self.checkpoint]
        self.signature = whole.replace(parameters=asked)

    def __call__(self, *arguments: Any, **named: Any) -> Handle:
        bound = self.signature.bind(*arguments, **named)
        bound.apply_defaults()
        return Handle(self, tuple(bound.arguments.items()))

    def __reduce__(self) -> str:
        return self.function.__qualname__  # a worker process imports it


def step(
    version: int = 1, keep: Keep | None = None, also: Callable[..., dict[str, Any]] = lambda **_: {}
) -> Callable[[Callable[..., Result]], Step]:
    """Decorator: a function becomes a step, stored under its name. A parameter of type Checkpoint gets one.

    version: raise it when the function gives something else for the same arguments. keep: what a repository keeps of a
    result, None for nothing. also: gets the arguments by name and returns what else can change the result: constants of
    the code, hashes of files that the function reads.
    """

    def made(function: Callable[..., Result]) -> Step:
        _STEPS[function.__name__] = Step(function, version, keep, also)
        return _STEPS[function.__name__]

    return made


def kept() -> dict[str, Keep]:
    """Name of a step -> what a repository keeps of its results, for all steps of the modules that are imported."""
    return {name: each.keep for name, each in _STEPS.items() if each.keep}


@dataclass(frozen=True)
class Handle:
    """A result by what makes it, computed or not."""

    step: Step
    arguments: tuple[tuple[str, Any], ...]

    def __getitem__(self, name: str) -> Any:
        return dict(self.arguments)[name]

    @functools.cached_property
    def recipe(self) -> dict[str, Any]:
        """Everything that can change the result, as plain values: ``step``, ``version`` and ``inputs``."""
        given = dict(self.arguments)
        inputs = {name: recipe_of(value) for name, value in given.items()} | self.step.also(**given)
        return {"step": self.step.name, "version": self.step.version, "inputs": inputs}

    @property
    def file(self) -> Path:
        """The JSON file of the result in the store in use."""
        return current().file(**self.recipe)

    def result(self, with_tensors: bool = False) -> Result:
        """The stored result, or compute and store it. with_tensors: a kept copy without tensors does not do."""

        def make(checkpoint: Checkpoint) -> Result:
            return self.step.function(**dict(self.arguments), **dict.fromkeys(self.step.checkpoint, checkpoint))

        return current().note(self.recipe, current().get(**self.recipe, make=make, with_tensors=with_tensors))


def recipe_of(value: Any) -> Any:
    """An argument of a step as plain values that JSON knows. Raises TypeError for what has no recipe."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Handle):
        return value.recipe
    if isinstance(value, tuple):
        return [recipe_of(each) for each in value]
    if hasattr(value, "identity"):
        return value.identity()
    return fields_of(value)


def fields_of(group: Any) -> dict[str, Any]:
    """The recipe of a frozen group from its fields, without those that change no bit (``ASIDE``)."""
    if not is_dataclass(group):
        raise TypeError(f"{type(group).__name__} has no recipe; make it a frozen dataclass, or give it an identity()")
    return {each.name: recipe_of(getattr(group, each.name)) for each in fields(group) if each.metadata != ASIDE}
