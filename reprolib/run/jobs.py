"""Independent jobs side by side: in this process, on all cores, or on a Dask cluster (joblib does the work)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import joblib

from reprolib.run import ReproError, store
from reprolib.run.steps import Handle
from reprolib.run.store import Result, Store
from reprolib.run.training import Progress
from reprolib.schema import Params

# Without this, glibc returns the memory of every large tensor to the kernel and faults it in again at the next step: a
# quarter of the time. Only the worker processes, which are started later, read it.
os.environ.setdefault(
    "GLIBC_TUNABLES",
    "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=4294967296",
)

_PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that a process gets when its parent dies."""
Job = tuple[Callable[..., Any], tuple[Any, ...]]


def run(title: str, jobs: Sequence[Job], n_jobs: int = 1, scheduler: str | None = None) -> list[Any]:
    """Call every (function, arguments) and return the results in order.

    n_jobs: 1 runs in this process, -1 uses one process per core that this one may use, by affinity and by the quota of
    its container. scheduler: address of a Dask scheduler, such as ``tcp://host:8786``; start its workers with
    dask-jobqueue (SLURM) or dask-kubernetes. An exception of a job ends the run and is raised here; what other jobs
    have stored stays stored. Raises ReproError if the scheduler does not answer.
    """
    if not jobs:
        return []
    workers = min(len(jobs), n_jobs if n_jobs > 0 else joblib.cpu_count())
    shown = Progress(title, len(jobs), "jobs")
    results: list[Any] = []
    with _cluster(scheduler) if scheduler else contextlib.nullcontext():
        parallel = joblib.Parallel(n_jobs=None if scheduler else workers, return_as="generator")
        asked_by = os.getpid()
        for result in parallel(joblib.delayed(_job)(asked_by, function, arguments) for function, arguments in jobs):
            results.append(result)
            shown.update(len(results))
    return results


def results(params: Params, title: str, handles: Sequence[Handle]) -> list[Result]:
    """The results of steps, those that are not there yet computed as many side by side as the parameters say."""
    kept_in = store.current()
    calls: list[Job] = [(_result, (handle, kept_in, params.threads)) for handle in handles]
    found = run(title, calls, params.n_jobs, params.scheduler)
    return [kept_in.note(handle.recipe, result) for handle, result in zip(handles, found, strict=True)]


def _result(handle: Handle, kept_in: Store, threads: int) -> Result:
    """In a worker process, which has no store and its own idea of threads until it is told."""
    store.use(kept_in, threads)
    return handle.result()


def _job(asked_by: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Run one job; in a worker process of this machine, end it when the process that asked for it is gone."""
    worker = asked_by == os.getppid()
    if worker and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    try:
        return function(*arguments)
    except KeyboardInterrupt:  # a training has saved its state
        if worker and asked_by != os.getppid():
            os._exit(1)  # else the worker would wait for more work
        raise


@contextlib.contextmanager
def _cluster(scheduler: str) -> Iterator[None]:
    from distributed import Client, KilledWorker

    try:
        client = Client(scheduler)
    except (OSError, ValueError) as error:
        raise ReproError(
            f"the Dask scheduler {scheduler} does not answer ({error}); start it, or leave out 'scheduler'"
        ) from error
    with client, joblib.parallel_config(backend="dask"):
        if not client.scheduler_info()["workers"]:
            print(f"waiting for a worker of the Dask scheduler {scheduler}", file=sys.stderr, flush=True)
        try:
            yield
        except KilledWorker as error:
            raise ReproError(f"a job killed one worker after the other ({error}); give them more memory") from None
