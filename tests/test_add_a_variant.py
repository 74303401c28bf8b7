"""The page docs/add-a-variant.md works as it is printed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from reprolib import params, vocabulary
from reprolib.mnist import variants

PAGE = Path(__file__).parent.parent / "docs" / "add-a-variant.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def page() -> Iterator[dict[str, Any]]:
    """The names that the page's code defines, run from top to bottom; the variant is removed again."""
    names: dict[str, Any] = {}
    try:
        for block in blocks("python"):
            exec(block, names)
        yield names
    finally:
        vocabulary.VARIANTS.pop("striped_MNIST", None)
        variants._RULES.pop("striped_MNIST", None)


def test_training_attributes_follow_the_label(page: dict[str, Any]) -> None:
    train = page["train"]
    assert train.images.shape == (4000, 3, 32, 32)
    assert (train.foreground == train.labels).all()
    assert train.images.abs().max() <= 1


def test_test_attributes_are_random(page: dict[str, Any]) -> None:
    test = page["test"]
    assert 0.05 < (test.foreground == test.labels).float().mean() < 0.2


def test_stripes_lie_outside_the_digit_and_the_colour_inside(page: dict[str, Any]) -> None:
    test = page["test"]
    ground = test.images[0][(~test.masks[0]).expand(3, -1, -1)]
    assert {round(float(value), 4) for value in ground.unique()} == {-0.4, 0.4}


def test_the_profile_of_the_page_is_accepted(page: dict[str, Any]) -> None:
    (profile,) = blocks("yaml")
    assert params.load(yaml.safe_load(profile)).variants == ["striped_MNIST"]
