"""Jobs side by side: order, errors, processes, and a Dask cluster."""

from __future__ import annotations

import os
import time

import pytest

from reprolib import jobs


def _slow_first(i: int) -> tuple[int, int]:
    time.sleep(0.3 if i == 0 else 0.0)
    return i, os.getpid()


def _fail(i: int) -> int:
    if i == 1:
        raise ValueError(f"job {i} failed")
    return i


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_results_come_in_the_order_of_the_jobs(n_jobs: int) -> None:
    found = jobs.run("toy", [(_slow_first, (i,)) for i in range(4)], n_jobs)
    assert [i for i, _ in found] == [0, 1, 2, 3]
    processes = {process for _, process in found}
    assert processes == {os.getpid()} if n_jobs == 1 else os.getpid() not in processes


def _malloc_settings() -> str:
    return os.environ.get("GLIBC_TUNABLES", "")


def test_workers_keep_freed_memory() -> None:
    for settings in jobs.run("toy", [(_malloc_settings, ())] * 2, n_jobs=2):
        assert settings.startswith("glibc.malloc.")


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_error_of_a_job_ends_the_run(n_jobs: int) -> None:
    with pytest.raises(ValueError, match="job 1 failed"):
        jobs.run("toy", [(_fail, (i,)) for i in range(3)], n_jobs)


def test_jobs_before_a_failed_one_have_run() -> None:
    done: list[int] = []

    def job(i: int) -> None:
        done.append(_fail(i))

    with pytest.raises(ValueError, match="job 1"):
        jobs.run("toy", [(job, (i,)) for i in range(3)])
    assert done == [0]


@pytest.mark.parametrize("n_jobs", [1, -1])
def test_no_jobs_give_no_results(n_jobs: int) -> None:
    assert jobs.run("toy", [], n_jobs) == []


def test_minus_one_means_as_many_processes_as_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    parallel = jobs.joblib.Parallel
    monkeypatch.setattr(jobs.os, "sched_getaffinity", lambda _: {0, 1, 2})

    def spy(n_jobs: int, **options: str) -> object:
        seen.append(n_jobs)
        return parallel(n_jobs=1, **options)

    monkeypatch.setattr(jobs.joblib, "Parallel", spy)
    jobs.run("toy", [(abs, (i,)) for i in range(5)], -1)
    jobs.run("toy", [(abs, (i,)) for i in range(2)], -1)  # no more processes than jobs
    assert seen == [3, 2]


def test_functions_of_several_arguments_get_them_all() -> None:
    assert jobs.run("toy", [(pow, (2, 3)), (pow, (3, 2, 5))]) == [8, 4]


def test_jobs_run_on_a_dask_cluster() -> None:
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 1, "threads_per_worker": 2, "processes": False, "dashboard_address": None}
    with distributed.LocalCluster(**options, protocol="tcp", host="127.0.0.1") as cluster:
        address = cluster.scheduler_address
        assert [i for i, _ in jobs.run("toy", [(_slow_first, (i,)) for i in range(4)], 1, address)] == [0, 1, 2, 3]
        with pytest.raises(ValueError, match="job 1 failed"):
            jobs.run("toy", [(_fail, (i,)) for i in range(3)], 1, address)
