"""Jobs side by side: order, errors, processes, and a Dask cluster."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reprolib.run import ReproError, jobs
from reprolib.run.store import Checkpoint


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
    monkeypatch.setattr(jobs.joblib, "cpu_count", lambda: 3)

    def spy(n_jobs: int, **options: str) -> object:
        seen.append(n_jobs)
        return parallel(n_jobs=1, **options)

    monkeypatch.setattr(jobs.joblib, "Parallel", spy)
    jobs.run("toy", [(abs, (i,)) for i in range(5)], -1)
    jobs.run("toy", [(abs, (i,)) for i in range(2)], -1)  # no more processes than jobs
    assert seen == [3, 2]


V1 = "/sys/fs/cgroup/cpu/cpu.cfs"
QUOTAS = {
    "cgroup v2": ({"/sys/fs/cgroup/cpu.max": "100000 100000"}, 1),
    "two of many, v2": ({"/sys/fs/cgroup/cpu.max": "150000 100000"}, 2),
    "no quota, v2": ({"/sys/fs/cgroup/cpu.max": "max 100000"}, 16),
    "cgroup v1": ({f"{V1}_quota_us": "50000", f"{V1}_period_us": "50000"}, 1),
    "no quota, v1": ({f"{V1}_quota_us": "-1", f"{V1}_period_us": "50000"}, 16),
    "affinity": ({}, 4),
}  # fmt: skip


@pytest.mark.parametrize("name", QUOTAS)
def test_minus_one_respects_quota_and_affinity(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    files, expected = QUOTAS[name]
    machine = jobs.joblib.externals.loky.backend.context
    monkeypatch.delenv("LOKY_MAX_CPU_COUNT", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4 if name == "affinity" else 16)))
    monkeypatch.setattr(machine.os.path, "exists", lambda file: file in files)
    monkeypatch.setattr(machine, "open", lambda file: io.StringIO(files[file]), raising=False)
    seen: list[int] = []
    parallel = jobs.joblib.Parallel
    monkeypatch.setattr(jobs.joblib, "Parallel", lambda n_jobs, **how: seen.append(n_jobs) or parallel(n_jobs=1, **how))
    jobs.run("toy", [(abs, (i,)) for i in range(20)], -1)
    assert seen == [expected]


PARENT = """
import os, time
from pathlib import Path
import torch
from reprolib.run import jobs, training
from reprolib.run.store import Checkpoint

def train_for_long(folder, number):
    '''Ten minutes of a training that writes its process id first.'''
    Path(folder, f"{{number}}.pid").write_text(str(os.getpid()))

    def step(i):
        time.sleep(0.05)
        return {{"loss": torch.zeros(())}}

    checkpoint = Checkpoint(Path(folder, f"{{number}}.checkpoint"))
    training.run("toy", 12_000, step, {{"memory": training.Memory(x=1)}}, checkpoint, every=12_000)

jobs.run("toy", [(train_for_long, ({folder!r}, i)) for i in range(2)], 2)
"""


def _alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is needed")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_of_a_killed_process_save_their_state_and_end(number: int, tmp_path: Path) -> None:
    code = PARENT.format(folder=str(tmp_path))
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parent.parent)
    files = [tmp_path / f"{i}.pid" for i in range(2)]
    _wait(lambda: all(file.exists() and file.read_text() for file in files))
    workers = [int(file.read_text()) for file in files]
    time.sleep(0.3)  # so that each has made a step
    parent.send_signal(number)
    parent.wait()
    _wait(lambda: not any(_alive(worker) for worker in workers))
    saved = [Checkpoint(tmp_path / f"{i}.checkpoint").load() for i in range(2)]
    assert all(state is not None and 0 < state["done"] < 12_000 for state in saved)


def _wait(reached: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_functions_of_several_arguments_get_them_all() -> None:
    assert jobs.run("toy", [(pow, (2, 3)), (pow, (3, 2, 5))]) == [8, 4]


def test_a_scheduler_that_does_not_answer_is_one_sentence() -> None:
    pytest.importorskip("distributed")
    with (
        pytest.importorskip("dask").config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(
            ReproError, match=r"scheduler tcp://127.0.0.1:1 does not answer .*; start it, or leave out 'sched"
        ),
    ):
        jobs.run("toy", [(abs, (1,))], 1, "tcp://127.0.0.1:1")
    with pytest.raises(ReproError, match="scheduler nonsense://host does not answer"):
        jobs.run("toy", [(abs, (1,))], 1, "nonsense://host")


def test_jobs_run_on_a_dask_cluster() -> None:
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 1, "threads_per_worker": 2, "processes": False, "dashboard_address": None}
    with distributed.LocalCluster(**options, protocol="tcp", host="127.0.0.1") as cluster:
        address = cluster.scheduler_address
        assert [i for i, _ in jobs.run("toy", [(_slow_first, (i,)) for i in range(4)], 1, address)] == [0, 1, 2, 3]
        with pytest.raises(ValueError, match="job 1 failed"):
            jobs.run("toy", [(_fail, (i,)) for i in range(3)], 1, address)
