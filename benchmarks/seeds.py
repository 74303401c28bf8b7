"""Trainings of several seeds, one by one and side by side."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pandas as pd
import torch

from benchmarks.steps import small_cgn
from benchmarks.timing import once, spread
from reprolib.run import jobs


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
