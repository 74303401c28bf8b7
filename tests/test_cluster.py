"""A small study on a Dask cluster of two worker processes: the bits of two local processes, whoever dies on the way."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
import small_run

from reprolib import params
from reprolib.mnist import tables
from reprolib.run import store
from reprolib.run.store import Store

pytestmark = pytest.mark.slow
distributed = pytest.importorskip("distributed")
TINY = small_run.STUDY | {
    "variants": ["colored_MNIST"],
    "n_jobs": 2,
    "cgn": {"sources": ["stable"], "seeds": 2, "stable_steps": 20, "checkpoint_every": 5},
    "gan": {"kinds": []},
}


def _table(folder: Path, **changes: Any) -> pd.DataFrame:
    """From two CGNs to the table of accuracies, in a store of its own."""
    store.use(Store(folder))
    return tables.accuracy_runs(params.load(TINY | changes))


def _bits(folder: Path) -> dict[str, Any]:
    """Every stored result, without where and when it was made."""
    store = Store(folder)
    found = {file.relative_to(folder).as_posix(): store.read(file) for file in sorted(folder.glob("*/*.json"))}
    return {
        name: (each.numbers, {key: value.tolist() for key, value in each.tensors.items()})
        for name, each in found.items()
        if each is not None
    }


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("local")
    return _table(folder), _bits(folder)


@pytest.fixture
def cluster() -> Iterator[Any]:
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with distributed.LocalCluster(**options, host="127.0.0.1") as running:
        yield running


def test_a_study_on_a_cluster_has_the_bits_of_two_local_processes(
    local: tuple[pd.DataFrame, dict[str, Any]], cluster: Any, tmp_path: Path
) -> None:
    found = _table(tmp_path, n_jobs=1, scheduler=cluster.scheduler_address)
    pd.testing.assert_frame_equal(found, local[0], check_exact=True)
    assert _bits(tmp_path) == local[1] and len(local[1]) > 6


@pytest.mark.skipif(sys.platform != "linux", reason="a worker is found by its process id")
def test_a_killed_worker_costs_its_job_and_not_the_run(
    local: tuple[pd.DataFrame, dict[str, Any]], cluster: Any, tmp_path: Path
) -> None:
    killed: list[int] = []

    def kill_one_that_trains() -> None:
        """With a checkpoint written, and the lock of the result held."""
        deadline = time.monotonic() + 240
        workers = [child.pid for child in psutil.Process().children(recursive=True)]
        while not killed and time.monotonic() < deadline:
            for checkpoint in tmp_path.glob("*/*.checkpoint"):
                for pid in workers:
                    if _holds(pid, checkpoint.with_suffix(".lock")):
                        os.kill(pid, signal.SIGKILL)
                        killed.append(pid)
                        return
            time.sleep(0.01)

    killer = threading.Thread(target=kill_one_that_trains)
    killer.start()
    found = _table(tmp_path, n_jobs=1, scheduler=cluster.scheduler_address)
    killer.join()
    assert killed, "a worker died while it trained"
    pd.testing.assert_frame_equal(found, local[0], check_exact=True)
    assert _bits(tmp_path) == local[1]
    assert not list(tmp_path.rglob("*.checkpoint"))


def _holds(pid: int, file: Path) -> bool:
    try:
        return any(Path(each.path) == file for each in psutil.Process(pid).open_files())
    except psutil.Error:
        return False
