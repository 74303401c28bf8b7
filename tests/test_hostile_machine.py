"""A full disk, folders that cannot be written, a clock that runs backwards, odd paths, other threads: no damage."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import small_run
import torch

from reprolib import params
from reprolib.mnist import plan
from reprolib.mnist.stable import STABLE
from reprolib.report import build
from reprolib.run import provenance
from reprolib.run.store import Result, Store, use
from reprolib.run.training import Progress

ROOT = Path(__file__).parent.parent


def _run(folder: Path, **options: Any) -> tuple[int | None, str]:
    """Exit code and last line of a small run in a process of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    process = small_run.forkserver.Process(target=small_run.run, args=(folder,), kwargs=options)
    process.start()
    process.join()
    return process.exitcode, ((folder / "stderr").read_text().splitlines() or [""])[-1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("whole")
    assert _run(folder)[0] == 0
    return build.fingerprint(folder)


@pytest.mark.parametrize("largest", [20_000, 2_000_000, 9_000_000])
def test_a_full_disk_is_one_sentence_and_the_next_run_goes_on(
    largest: int, whole: dict[str, str], tmp_path: Path
) -> None:
    """Files above a size cannot be written: a figure, a set of weights, or a checkpoint."""
    code, said = _run(tmp_path, largest_file=largest)
    assert code == 1
    assert said.startswith("reprolib.run.StoreError: ") and "cannot be written (File too large); free some" in said
    assert not list(tmp_path.rglob("*.part"))
    assert not (tmp_path / "report.md").exists()
    assert _run(tmp_path)[0] == 0
    assert build.fingerprint(tmp_path) == whole


def test_an_odd_path_changes_nothing(whole: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "mit Leerzeichen" / "ünïcödé 数字" / "a'b\"c %20 [1]"
    assert _run(folder)[0] == 0
    assert build.fingerprint(folder) == whole


def test_a_fresh_interpreter_gives_the_same_bits(whole: dict[str, str], tmp_path: Path) -> None:
    """Another process, another working folder, another hash seed, another time zone and language."""
    other = {"PYTHONHASHSEED": "123", "TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "tests" / "small_run.py"), str(tmp_path)]
    subprocess.run(command, check=True, cwd=tmp_path, env=os.environ | other, timeout=300)
    assert build.fingerprint(tmp_path) == whole


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    """A file stands where a folder is needed: this stops the superuser too."""
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "build"
    done = subprocess.run(
        [sys.executable, "-m", "reprolib", "report", "smoke"],
        cwd=ROOT,
        env=os.environ | {"REPROLIB_BUILD": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and str(folder) in done.stderr


@pytest.fixture
def backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at the wall clock is a day earlier than the last one."""
    looks = count()

    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Clock:
            return cls(2030, 1, 1, tzinfo=tz) - datetime.timedelta(days=next(looks))

    monkeypatch.setattr(provenance.datetime, "datetime", Clock)
    monkeypatch.setattr(time, "time", lambda: 2e9 - 86_400 * next(looks))


@pytest.mark.usefixtures("backwards")
def test_a_clock_that_runs_backwards_changes_no_result(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path)
    shown = Progress("toy", 3, every=0.0)
    for seed in range(3):
        assert store.get("toy", {"seed": seed}, lambda _, seed=seed: Result({"value": seed})).numbers == {"value": seed}
        time.sleep(0.01)
        shown.update(seed + 1)
    assert [store.get("toy", {"seed": seed}, lambda _: Result({})).numbers["value"] for seed in range(3)] == [0, 1, 2]
    assert "-" not in capfd.readouterr().err, "no negative rate or time"
    finished = [store.read(file).made["finished"] for file in sorted(tmp_path.glob("toy/*.json"))]  # type: ignore[union-attr]
    assert len(set(finished)) == 3
    for seed in range(3):
        recipe = {"step": "toy", "version": 1, "inputs": {"seed": seed}}
        store.note(recipe, store.get(**recipe, make=lambda _: Result({})))
    assert len(store.cost()) == 3 and all(took["seconds"] >= 0 for took in store.cost().values())


def test_two_threads_give_the_weights_of_one(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """Sums in another order. The first step moves every weight by the learning rate or hardly less; where a gradient
    is all but zero, rounding decides its sign. From there on the two runs drift apart, as printed."""
    runs, rate = [], STABLE.rates[0]
    for threads in (1, 2):
        use(Store(tmp_path), threads)
        chosen = params.load(small_run.TINY | {"threads": threads})
        runs.append(plan.trained_cgn(chosen, small_run.VARIANT, "stable", 0).result().tensors)
    torch.set_num_threads(1)
    assert len(list(tmp_path.glob("cgn/*.json"))) == 2, "threads are part of a result's name"
    for step in (1, 5, 20):
        names = [name for name in runs[0] if name.startswith(f"{step}/f_") and name.endswith(("weight", "bias"))]
        difference = torch.cat([(runs[0][name] - runs[1][name]).abs().flatten() for name in names])
        share = float((difference < 1e-6).double().mean())
        agree = f"{100 * share:.2f} % of the weights agree within 1e-6, all within {float(difference.max()):.1e}"
        record_property("attack", f"one against two threads, after step {step} | 1 | {agree}")
        if step == 1:
            assert share > 0.999 and difference.max() < 2.5 * rate
    assert 0 < difference.max() < 50 * rate
