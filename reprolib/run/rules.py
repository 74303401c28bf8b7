"""The rules of the claims, and what proves that they came before the numbers: a hash in every result, and new seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reprolib.run.files import ROOT, canonical, digest, read_yaml

RULES = ROOT / "params" / "claims.yaml"
FIRST_SEED = 200
"""Seed of the first repetition of everything. Numbers of lower seeds were seen before the rules were fixed; raise it
when a rule changes after results were made by it."""


def every() -> dict[str, dict[str, Any]]:
    """All rules of ``params/claims.yaml`` by name: ``claim1`` on MNIST, ``claim1_scenes``, ``claim1_imagenet``, ..."""
    return read_yaml(RULES)


def named(claim: str, world: str = "mnist") -> str:
    """The name of a claim's rule in a world."""
    return claim if world == "mnist" else f"{claim}_{world}"


def hashes() -> dict[str, str]:
    """Name of a rule -> hash of what it says; comments and the form of the file do not count."""
    return {name: digest(canonical(rule))[:8] for name, rule in every().items()}


def stamp(made: Mapping[str, Any], world: str = "mnist") -> str:
    """The rules of a world that held when a result was made, as text: ``claim1:1a2b3c4d claim2:...``.

    made: what the store says of a result (``Result.made``). Stamps of several results are joined by a space.
    """
    held = made.get("rules", {})
    names = (named(f"claim{number}", world) for number in (1, 2, 3))
    return " ".join(f"{name}:{held.get(name, 'unknown')}" for name in names)


def holds_still(name: str, stamps: str) -> bool:
    """Whether a result was made under the rule as it stands now; stamps: see ``stamp``."""
    found = {text for text in stamps.split() if text.startswith(f"{name}:")}
    return found == {f"{name}:{hashes()[name]}"}


def seeds(count: int) -> range:
    """The seeds of so many repetitions."""
    return range(FIRST_SEED, FIRST_SEED + count)


def one_of(count: int, seed: int) -> int:
    """The seed of the CGN, of so many, that a repetition uses: they take turns."""
    return seeds(count)[(seed - FIRST_SEED) % count]
