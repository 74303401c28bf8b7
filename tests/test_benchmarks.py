"""Benchmarks: both ways give the same numbers, and the README shows what was measured."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import steps
from benchmarks import tables as bench
from benchmarks.timing import Row

MADE = {"processor": "Abacus", "threads": 2, "versions": {"torch": "9"}, "commit": "abc"}


@pytest.mark.parametrize(
    "step",
    [
        partial(steps.generation, size=5000),
        partial(steps.heatmaps, count=50),
        partial(steps.classifier_epoch, count=320),
        partial(steps.training_step, steps=2),
        steps.patches,
    ],
)
def test_both_ways_give_the_same_numbers(step: Callable[[int], Row]) -> None:
    """The comparison is inside the step and raises; a row has what the table shows."""
    cells = step(1)
    assert cells["n"] == "1" and cells["same numbers"]
    assert float(cells["times faster"].split()[0]) > 0


def test_the_readme_shows_what_was_measured() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    assert bench.shown(readme) == readme


def test_the_tables_go_between_the_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"# Title\n\n{bench.MARKS[0]}\nold\n{bench.MARKS[1]}\n\nrest\n")
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    monkeypatch.setattr(bench, "FOLDER", tmp_path / "results" / "bench")
    assert "Nothing was measured yet." in bench.shown(readme.read_text())
    bench.write("steps", pd.DataFrame({"what": ["steps"], "value": ["1.5"]}), MADE)
    assert "(Abacus, 2 threads, torch 9, commit abc)\n\n| what" in readme.read_text()
    assert "| steps | 1.5 |" in readme.read_text() and bench.CAPTIONS["seeds"] not in readme.read_text()
    for name in bench.CAPTIONS:
        bench.write(name, pd.DataFrame({"what": [name], "value": ["1.5"]}), MADE)
    text = readme.read_text()
    assert text.startswith("# Title") and text.endswith("rest\n") and "old" not in text
    assert all(caption in text and f"| {name} | 1.5 |" in text for name, caption in bench.CAPTIONS.items())
    assert bench.shown(text) == text
