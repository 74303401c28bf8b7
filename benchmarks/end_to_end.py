"""Whole runs: the smoke report, the study, and many seeds at once."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import psutil
import torch

from benchmarks.steps import small_cgn
from benchmarks.timing import once, spread
from reprolib.report.render import NOTEBOOKS
from reprolib.report.results import build_folder, read_manifest, took
from reprolib.run import ReproError, jobs

ROOT = Path(__file__).parent.parent
MNIST_STEPS = (
    "cgn", "dcgan", "digit_reader", "factor_reader", "quality", "counterfactual_accuracy", "classifier", "gradcam"
)  # fmt: skip
"""Without ``training_quality``, whose time in older runs holds that of the CGNs it rates."""
SAMPLE = 0.5
"""Seconds between two looks at the memory of a run."""


def runs() -> pd.DataFrame:
    """The smoke report from nothing, measured now, and the MNIST study behind the committed report."""
    seconds, peak = _smoke()
    smoke = (
        "smoke report from nothing, wall clock",
        f"{seconds / 60:.1f} min",
        f"{peak / 2**30:.1f} GiB, all processes",
    )
    return pd.DataFrame([smoke, committed()], columns=["run", "time", "peak memory"])


def _smoke() -> tuple[float, int]:
    """Seconds and the largest sum of memory over all processes, shared pages counted once.

    The run stays in ``build/bench``: `reprolib fingerprint build/bench/smoke` compares it with another.
    """
    folder = build_folder() / "bench"
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "reprolib", "report", "smoke"]
    start, peak = time.monotonic(), 0
    with subprocess.Popen(command, env=os.environ | {"REPROLIB_BUILD": str(folder)}, cwd=ROOT) as process:
        while process.poll() is None:
            peak = max(peak, _memory(process.pid))
            time.sleep(SAMPLE)
    if process.returncode:
        raise ReproError("the smoke report failed; run `python -m reprolib report smoke` to see why")
    return time.monotonic() - start, peak


def _memory(pid: int) -> int:
    """Proportional memory of a process and all that it started; 0 when it is gone."""
    total = 0
    with contextlib.suppress(psutil.Error):  # a process that ended between two looks
        for process in [(parent := psutil.Process(pid)), *parent.children(recursive=True)]:
            total += process.memory_full_info().pss
    return total


def committed() -> tuple[str, str, str]:
    """The row of the run behind report.md: hours of all its jobs on MNIST, and the memory of the largest."""
    made = took(read_manifest(ROOT, claim) for claim in NOTEBOOKS)
    made = made[made["step"].isin(MNIST_STEPS)]
    hours, memory = f"{made['hours'].sum():.1f} h", f"{made['peak memory, MB'].max() / 2**10:.1f} GiB, largest process"
    return "MNIST study of report.md: sum over its results as recorded when they were made", hours, memory


def seeds(repetitions: int) -> pd.DataFrame:
    """CGN training of several seeds: one process with all threads against one process per core with one thread."""
    threads, rows = torch.get_num_threads(), []
    _train(threads, _one_thread, -1)  # starts the workers
    for count in (1, 2, 4):
        ways = partial(_train, count, small_cgn, 1), partial(_train, count, _one_thread, -1)
        pairs = [[once(way) for way in ways] for _ in range(repetitions)]
        one, many = (list(times) for times in zip(*pairs, strict=True))
        rows.append(
            {
                "seeds": count,
                f"one by one, {threads} threads each, s": spread(one, ".1f"),
                f"{threads} side by side, one thread each, s": spread(many, ".1f"),
                "side by side, per seed, s": spread([each / count for each in many], ".1f"),
                "times faster": spread([a / b for a, b in pairs], ".2f"),
                "n": repetitions,
            }
        )
    return pd.DataFrame(rows)


def _train(count: int, train: Callable[[int], None], n_jobs: int) -> None:
    jobs.run("bench", [(train, (seed,)) for seed in range(count)], n_jobs)


def _one_thread(seed: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    small_cgn(seed)
    torch.set_num_threads(before)  # a single job runs in this process
