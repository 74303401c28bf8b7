"""A small run of the real thing, for tests that attack it: train a CGN, generate, train a classifier, render.

``python small_run.py FOLDER`` makes one; ``TINY`` are parameters of the same size for the whole ``reprolib report``.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import claims
import torch

from reprolib import params
from reprolib.mnist import experiments, plan
from reprolib.report import build
from reprolib.run import store, training

VARIANT = "colored_MNIST"
INTERVAL = 5
STUDY = {
    "profile": "smoke",
    "seeds": 2,
    "n_jobs": 1,
    "digits": {"limit": 500},
    "counterfactuals": {"size": 200},
    "classifier": {"epochs": 1},
}
"""A study whose classifiers are trained in a moment."""
TINY = STUDY | {
    "seeds": 1,
    "variants": [VARIANT],
    "cgn": {"sources": ["stable"], "seeds": 2, "stable_steps": 20, "checkpoint_every": INTERVAL, "quality_masks": 10,
            "accuracy_images": 200},
    "gan": {"kinds": []},
    "ablation": {"sizes": [100], "ratios": [1], "epochs": 1},
    "gradcam": {"images": 20},
    "scenes": {
        "sources": ["trained"], "cgns": 1, "seeds": 1, "updates": 2, "micro_batch": 2, "accumulation": 1, "rated": 10,
        "targets": ["patches"], "images": 50, "counterfactuals": 20, "validation": 10, "epochs": 1,
    },
}  # fmt: skip

forkserver = multiprocessing.get_context("forkserver")
"""Processes that need not import torch; it preloads only what is installed, because it does not know this folder."""
forkserver.set_forkserver_preload(["reprolib.report.build", "reprolib.mnist.experiments"])


def run(folder: Path, die_at_write: int | None = None, largest_file: int | None = None) -> None:
    """The small run; every training step is noted in ``steps``, what it says in ``stderr``.

    die_at_write: kill this process there. largest_file: bytes; what a full disk does to every file above.
    """
    os.environ["REPROLIB_PROGRESS"] = "off"
    sys.stderr = (folder / "stderr").open("a")
    _note_steps(folder / "steps")
    _die_at_write(die_at_write, folder / "writes")
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    store.use(store.Store(folder / "store"))
    chosen = params.load(TINY)
    how = chosen.classifier.batch, chosen.classifier.precision, chosen.machine
    wanted = plan.training_set(chosen, VARIANT, True, "counterfactual", "stable", 0)
    made = experiments.classifier(plan.data(chosen, VARIANT), wanted, 0, 1, *how, None).result()
    claims.finish(folder, chosen, level=made.numbers["history"][-1]["train"])
    build.render(folder)


def _note_steps(file: Path) -> None:
    run = training.run

    def noted(title: str, steps: int, step: Callable[[int], dict[str, torch.Tensor]], *rest: Any, **named: Any) -> None:
        def one(i: int) -> dict[str, torch.Tensor]:
            with file.open("a") as stream:
                stream.write(f"{title}: {i}\n")
            return step(i)

        run(title, steps, one, *rest, **named)

    training.run = noted  # type: ignore[assignment]


def _die_at_write(number: int | None, noted: Path) -> None:
    """Die at the n-th time that something was written but not flushed, or flushed but not renamed; note what it was."""
    times = count(1)
    fsync, replace = os.fsync, Path.replace

    def pass_or_die(file: Path) -> None:
        with noted.open("a") as stream:
            stream.write(f"{file.resolve().relative_to(noted.resolve().parent)}\n")
        if next(times) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def flush(descriptor: int) -> None:
        pass_or_die(Path(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    def rename(source: Path, target: Path) -> Path:
        pass_or_die(source)
        return replace(source, target)

    os.fsync = flush
    Path.replace = rename  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    run(Path(sys.argv[1]))
