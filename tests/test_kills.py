"""Killed with SIGKILL at any moment, a run loses nothing: the next call ends with the bits of an unbroken one.

Two runs are attacked. The *small run* is one process that trains a CGN, generates counterfactuals with it, trains a
classifier on them and renders a report; it is killed at random moments and at every point where it writes. The *whole
run* is ``reprolib report`` with its kernels and workers, of which any may die. `make soak` kills often and prints a
table; `make test` kills a few times.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.server
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import small_run

from reprolib.report import build
from reprolib.report.results import read_manifest
from reprolib.run import assets
from reprolib.run.store import Store

Record = Callable[[str, object], None]
SOAK = int(os.environ.get("REPROLIB_KILLS", "0"))
"""Kills per attack in the long form."""


def _start(folder: Path, die_at_write: int | None = None) -> multiprocessing.context.ForkServerProcess:
    folder.mkdir(parents=True, exist_ok=True)
    process = small_run.forkserver.Process(target=small_run.run, args=(folder, die_at_write))
    process.start()
    return process


@dataclasses.dataclass
class Unbroken:
    """What an unbroken small run gives, and how long it takes."""

    parts: dict[str, str]
    seconds: float
    steps: Counter[str]
    writes: list[str]
    """The kind of file of every write, in order."""


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    folder = tmp_path_factory.mktemp("unbroken run")
    for _ in range(2):  # the second time the fork server is warm
        shutil.rmtree(folder)
        start = time.monotonic()
        process = _start(folder)
        process.join()
        assert process.exitcode == 0, (folder / "stderr").read_text()
    steps = Counter((folder / "steps").read_text().splitlines())
    assert len(steps) > 30 and set(steps.values()) == {1}
    writes = [_kind(Path(line)) for line in (folder / "writes").read_text().splitlines()]
    return Unbroken(build.fingerprint(folder), time.monotonic() - start, steps, writes)


def _kind(file: Path) -> str:
    """Such as ``store .checkpoint`` or ``report.md``."""
    name = Path(file.name.removeprefix(".").removesuffix(".part").removesuffix(".new"))
    return f"{file.parts[0]} {name.suffix or name}" if len(file.parts) > 1 else name.name


def _nothing_looks_finished_that_is_not(folder: Path, whole: Unbroken) -> None:
    """What a kill leaves: results, manifests and reports either whole or absent."""
    for file in (folder / "store").glob("*/*.json"):
        assert Store(folder / "store").read(file, aside=False) is not None, file
    for claim in build.NOTEBOOKS:
        if (folder / "results" / f"{claim}.json").exists():
            read_manifest(folder, claim)
    if (folder / "report.md").exists():
        assert build.fingerprint(folder)["report.md"] == whole.parts["report.md"]


def _end(folder: Path, whole: Unbroken) -> None:
    """Let the run end and compare it with the unbroken one."""
    process = _start(folder)
    process.join()
    assert process.exitcode == 0, (folder / "stderr").read_text()
    assert build.fingerprint(folder) == whole.parts
    steps = Counter((folder / "steps").read_text().splitlines())
    assert steps.keys() == whole.steps.keys()


KINDS = {
    "store .checkpoint", "store .safetensors", "store .json", "results .csv", "results .json", "results .ipynb",
    "results SHA256SUMS", "figures .csv", "figures .npz", "figures .png", "report.html", "report.md",
}  # fmt: skip


def test_a_kill_at_a_write_loses_nothing(unbroken: Unbroken, tmp_path: Path, record_property: Record) -> None:
    """One kill per run, at the n-th write: one of each kind in the short form, each in the long form."""
    assert set(unbroken.writes) == KINDS
    numbers = list(range(1, len(unbroken.writes) + 1))
    random.Random(0).shuffle(numbers)
    chosen = numbers if SOAK else list({unbroken.writes[number - 1]: number for number in numbers}.values())
    for number in chosen:
        folder = tmp_path / f"write {number}"
        process = _start(folder, number)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        _nothing_looks_finished_that_is_not(folder, unbroken)
        _end(folder, unbroken)
        assert _repeated(folder) <= small_run.INTERVAL + 1  # the look past the end is one, too
        shutil.rmtree(folder)
    repeated = f"at most {small_run.INTERVAL} steps repeated"
    record_property("attack", f"small run, killed at one of its {len(numbers)} writes | {len(chosen)} | {repeated}")


def _repeated(folder: Path) -> int:
    """Steps of the CGN that were made more than once; a classifier's interval is an epoch at least."""
    steps = Counter((folder / "steps").read_text().splitlines())
    return sum(number - 1 for step, number in steps.items() if step.startswith("CGN"))


def test_kills_at_random_moments_lose_nothing(unbroken: Unbroken, tmp_path: Path, record_property: Record) -> None:
    """Several kills per run, until one run gets through; then the next run."""
    draw, kills, runs = random.Random(1), 0, 0
    while kills < (SOAK or 5):
        folder = tmp_path / f"Lauf {runs} mit Ümlaut"
        before = kills
        while True:
            process = _start(folder)
            process.join(draw.uniform(0, unbroken.seconds))
            if process.exitcode is not None:
                assert process.exitcode == 0, (folder / "stderr").read_text()
                break
            process.kill()
            process.join()
            kills += 1
            _nothing_looks_finished_that_is_not(folder, unbroken)
        _end(folder, unbroken)
        assert _repeated(folder) <= small_run.INTERVAL * (kills - before)
        shutil.rmtree(folder)
        runs += 1
    record_property("attack", f"small run, killed at random moments | {kills} | same bits in {runs} runs")


class _Slow(http.server.BaseHTTPRequestHandler):
    """Sends the body in a hundred pieces, in 0.3 s."""

    body = random.Random(0).randbytes(1_000_000)
    asked = threading.Event()
    broken = 0
    """Transfers that a kill has cut."""

    def do_GET(self) -> None:
        self.asked.set()
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        try:
            for start in range(0, len(self.body), 10_000):
                self.wfile.write(self.body[start : start + 10_000])
                time.sleep(0.003)
        except OSError:
            _Slow.broken += 1

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def slow_server() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Slow)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def _download(cache: Path, url: str) -> None:
    os.environ |= {"REPROLIB_CACHE": str(cache), "NO_PROXY": "127.0.0.1"}
    os.environ.pop("REPROLIB_ASSETS", None)
    sys.stderr = (cache / "stderr").open("a")
    asset = assets.Asset("toy/data", hashlib.sha256(_Slow.body).hexdigest(), len(_Slow.body), "toy", url)
    assets.ASSETS, assets.GROUPS = {"toy/data": asset}, ("toy",)  # type: ignore[misc]
    assets.fetch("toy")


def test_a_download_that_is_killed_leaves_nothing_under_the_files_name(
    slow_server: str, tmp_path: Path, record_property: Record
) -> None:
    draw, kills = random.Random(2), 0
    file = tmp_path / "toy" / "data"
    while kills < (SOAK or 5):
        _Slow.asked.clear()
        process = small_run.forkserver.Process(target=_download, args=(tmp_path, slow_server))
        process.start()
        while process.is_alive() and not _Slow.asked.wait(0.05):
            pass
        process.join(draw.uniform(0, 0.5))
        if process.exitcode is None:
            process.kill()
            process.join()
            kills += 1
        else:
            assert process.exitcode == 0, (tmp_path / "stderr").read_text()
        if file.exists():
            assert file.read_bytes() == _Slow.body
            shutil.rmtree(tmp_path / "toy")
    process = small_run.forkserver.Process(target=_download, args=(tmp_path, slow_server))
    process.start()
    process.join()
    assert process.exitcode == 0 and file.read_bytes() == _Slow.body
    assert _Slow.broken > kills // 5
    record_property("attack", f"download, killed | {kills} | whole or absent each time; {_Slow.broken} were under way")


# ---------------------------------------------------------------- the whole run, with kernels and workers


def _report(folder: Path) -> subprocess.Popen[bytes]:
    profile = folder / "profil ü.yaml"
    profile.write_text(json.dumps(small_run.TINY | {"n_jobs": 2}))
    return subprocess.Popen(
        [sys.executable, "-m", "reprolib", "report", str(profile)],
        env=os.environ | {"REPROLIB_BUILD": str(folder / "build"), "REPROLIB_PROGRESS": "off"},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        cwd=Path(__file__).parent.parent,
    )


def _parts(folder: Path) -> dict[str, str]:
    """Report and results lie in a folder of this profile's own, the store in that of the profile it starts from."""
    (made,) = (folder / "build").glob("smoke-*")
    return build.fingerprint(made) | build.fingerprint_of_store(folder / "build" / "smoke" / "store")


def _victims(runner: subprocess.Popen[bytes]) -> dict[str, list[psutil.Process]]:
    """The processes of a run by what they do."""
    found: dict[str, list[psutil.Process]] = {"runner": [psutil.Process(runner.pid)], "kernel": [], "worker": []}
    for process in found["runner"][0].children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended between the two looks; a zombie is one of these
            line = " ".join(process.cmdline())
            if "ipykernel" in line:
                found["kernel"].append(process)
            elif "loky.backend.popen" in line:
                found["worker"].append(process)
    return found


def _one_of(kind: str, runner: subprocess.Popen[bytes], draw: random.Random) -> psutil.Process | None:
    """A process of this kind as soon as there is one; None if the run ends before."""
    while runner.poll() is None:
        if found := _victims(runner)[kind]:
            return draw.choice(found)
        time.sleep(0.05)
    return None


def test_kills_of_runner_kernel_and_workers_lose_nothing(tmp_path: Path, record_property: Record) -> None:
    """The short form kills a kernel and a worker; the long form whatever the dice say."""
    draw, kills = random.Random(3), Counter[str]()
    wanted = ["kernel", "worker"] if not SOAK else draw.choices(["runner", "kernel", "worker"], k=SOAK)
    whole = tmp_path / "unbroken"
    whole.mkdir()
    start = time.monotonic()
    assert _report(whole).wait() == 0
    seconds, expected = time.monotonic() - start, _parts(whole)
    runs = 0
    while wanted:
        folder = tmp_path / f"run {runs}"
        folder.mkdir()
        while True:
            runner, before = _report(folder), kills.total()
            with contextlib.suppress(subprocess.TimeoutExpired):  # a later call is faster, so some end by themselves
                runner.wait(draw.uniform(2, seconds if SOAK else seconds / 3))
            if wanted and (victim := _one_of(wanted[-1], runner, draw)):
                with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended by itself
                    victim.kill()
                    kills[wanted.pop()] += 1
            if runner.wait() == 0:
                break
            assert kills.total() > before, "a call failed although nothing was killed"
            assert not list((folder / "build").glob("*/report.md"))
        assert _parts(folder) == expected
        shutil.rmtree(folder)
        runs += 1
    for kind, number in kills.items():
        record_property("attack", f"whole run, {kind} killed | {number} | same bits, {runs} runs in all")
