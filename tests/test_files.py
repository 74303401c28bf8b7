"""Files: whole or not there, with several writers, on a disk that refuses, and no changed byte unnoticed."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import claims
import damage
import pandas as pd
import pytest

from reprolib import params
from reprolib.report import build
from reprolib.report.results import Results
from reprolib.run import ReproError, StoreError, files
from reprolib.run.store import Checkpoint, Result, Store

ROOT = Path(__file__).parent.parent
ENTRY = {"step": "toy", "numbers": {"small": 1e-05, "third": 1 / 3, "name": "ü", "none": None}, "list": [1, 2.0, "a"]}


@pytest.mark.parametrize("where", ["folder", "file/name"])
def test_a_failed_write_is_one_sentence_and_leaves_no_part(where: str, tmp_path: Path) -> None:
    (tmp_path / "folder" / "inside").mkdir(parents=True)  # a folder where the file should go
    (tmp_path / "file").write_text("a file where the folder should be")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StoreError, match=r"cannot be written \(.*\); free some space or choose a folder"):
        files.write_atomically(tmp_path / where, b"content")
    assert sorted(tmp_path.rglob("*")) == before


def test_what_a_killed_writer_left_is_written_over(tmp_path: Path) -> None:
    file = tmp_path / "file"
    for _ in range(2):
        (tmp_path / ".file.part").write_bytes(b"much more than the content that comes")
        files.write_atomically(file, b"content")
        assert file.read_bytes() == b"content" and list(tmp_path.iterdir()) == [file]
    (tmp_path / ".file.part").write_bytes(b"left")
    files.remove(file)
    files.remove(file)  # twice is no error
    assert not list(tmp_path.iterdir())


def _write_often(file: Path, letter: bytes) -> None:
    for _ in range(200):
        files.write_atomically(file, letter * 100_000)


def test_two_writers_of_a_file_never_mix(tmp_path: Path) -> None:
    file, context = tmp_path / "file", multiprocessing.get_context("fork")
    both = [context.Process(target=_write_often, args=(file, letter)) for letter in (b"a", b"b")]
    for process in both:
        process.start()
    seen = set()
    while any(process.is_alive() for process in both):
        if file.exists():
            seen.add(file.read_bytes())
    assert [process.exitcode for process in both] == [0, 0]
    assert seen <= {b"a" * 100_000, b"b" * 100_000} and list(tmp_path.iterdir()) == [file]


def test_a_part_that_vanishes_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: (tmp_path / ".file.part").unlink())
    with pytest.raises(StoreError, match=r"file cannot be written \(No such file"):
        files.write_atomically(tmp_path / "file", b"content")
    assert not list(tmp_path.iterdir())


def _write_slowly(file: Path) -> None:
    os.fsync = lambda _: time.sleep(1)
    files.write_atomically(file, b"content")


def test_removing_waits_for_a_writer(tmp_path: Path) -> None:
    file = tmp_path / "file"
    writer = multiprocessing.get_context("fork").Process(target=_write_slowly, args=(file,))
    writer.start()
    while not (tmp_path / ".file.part").exists():
        time.sleep(0.01)
    files.remove(file)
    writer.join()
    assert writer.exitcode == 0 and not list(tmp_path.iterdir())


def test_a_lock_that_is_taken_is_told_or_waited_for(tmp_path: Path) -> None:
    lock = tmp_path / "folder" / ".lock"
    with (
        files.locked(lock),
        pytest.raises(ReproError, match="somebody is here"),
        files.locked(lock, "somebody is here"),
    ):
        pass
    with files.locked(lock, "somebody is here"):
        pass


@pytest.fixture
def no_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that knows no flock, as some network file systems are mounted."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.usefixtures("no_flock")
@pytest.mark.filterwarnings("ignore:flock not supported")
def test_without_flock_a_lock_is_held_and_given_back(tmp_path: Path) -> None:
    lock = tmp_path / "store" / ".lock"
    for _ in range(2):
        with files.locked(lock), pytest.raises(ReproError, match="busy"), files.locked(lock, "busy"):
            pass
        assert not lock.exists()
    assert Store(tmp_path).get("toy", {}, lambda _: Result({"value": 1})).numbers == {"value": 1}
    files.write_atomically(tmp_path / "file", b"content")
    files.remove(tmp_path / "file")


@pytest.mark.usefixtures("no_flock")
@pytest.mark.filterwarnings("ignore:flock not supported")
@pytest.mark.parametrize("left", ["", "4242\nanother-host\n"])
def test_a_lock_that_was_left_behind_is_named_with_what_to_do(
    left: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Empty, as a run leaves it where flock is known, or of a process that died on another machine."""
    lock = tmp_path / ".lock"
    lock.write_text(left)
    repair = f"if no other run is alive, on any machine, remove {lock}"
    with pytest.raises(ReproError, match=f"^busy; {re.escape(repair)}$"), files.locked(lock, "busy"):
        pass
    monkeypatch.setattr(files, "PATIENCE", 0.2)
    threading.Timer(1.0, lock.unlink).start()
    with files.locked(lock):
        assert f"waiting for another run since 0 s; {repair}\n" in capsys.readouterr().err


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_locks_that_are_switched_off_are_one_sentence(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(
        StoreError, match=r"\.lock cannot be locked \(.*\); choose a folder on a file system with locks"
    ):
        Store(tmp_path).get("toy", {}, lambda _: Result({"value": 1}))


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder with a file, a stored result and a finished run, in which nothing can be written."""
    Store(tmp_path / "store").get("toy", {}, lambda _: Result({"value": 1}))
    (tmp_path / "file").write_bytes(b"content")
    claims.finish(tmp_path / "smoke", params.load("smoke"))
    with damage.read_only(tmp_path):
        yield tmp_path


ATTEMPTS: dict[str, Callable[[Path], object]] = {
    "lock": lambda folder: files.locked(folder / ".lock").__enter__(),
    "write": lambda folder: files.write_atomically(folder / "new", b""),
    "remove": lambda folder: files.remove(folder / "file"),
    "make a folder": lambda folder: files.make_folder(folder / "new"),
    "set aside": lambda folder: files.set_aside(folder / "file", "is damaged"),
    "save a state": lambda folder: Checkpoint(folder / "file").save({"step": 1}),
    "make a result": lambda folder: Store(folder / "store").get("toy", {"seed": 1}, lambda _: Result({"value": 1})),
    "copy results": lambda folder: Store(folder / "store").copy_results(
        folder / "runs", {"toy": lambda result: result}
    ),
    "run": lambda folder: build.make(params.load("smoke")),
    "render": lambda folder: build.render(folder / "smoke"),
    "promote": lambda folder: build.promote(params.load("smoke")),
    "claim": lambda folder: Results("claim1", params.load("smoke"), folder / "store").figure("a", pd.DataFrame(), "A."),
}


@pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=ATTEMPTS)
def test_a_folder_that_may_only_be_read_is_one_sentence(
    attempt: Callable[[Path], object], read_only: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPROLIB_BUILD", str(read_only))
    before = sorted(read_only.rglob("*"))
    with pytest.raises(StoreError, match="Permission denied") as caught:
        attempt(read_only)
    assert str(read_only) in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 300
    assert sorted(read_only.rglob("*")) == before and (read_only / "file").read_bytes() == b"content"
    assert Store(read_only / "store").get("toy", {}, lambda _: Result()).numbers == {"value": 1}


def test_every_flipped_bit_of_a_sealed_file_is_found() -> None:
    content = files.sealed(ENTRY)
    assert files.unsealed(content) == ENTRY
    for position in range(len(content)):
        for bit in range(8):
            bad = bytearray(content)
            bad[position] ^= 1 << bit
            with pytest.raises(ValueError, match="a sealed file was changed"):
                files.unsealed(bytes(bad))


@pytest.mark.parametrize("other", [b"", b"[]", b"1", b'"sha256"', b'{"sha256": 1}', b"{}", b"[" * 100_000, b"\xff\xfe"])
def test_other_json_is_no_sealed_file(other: bytes) -> None:
    with pytest.raises(ValueError, match="a sealed file was changed"):
        files.unsealed(other)


def test_what_this_repository_keeps_is_sealed() -> None:
    kept = [*(ROOT / "results").glob("claim*.json"), *(ROOT / "runs").rglob("*.json")]
    assert len(kept) > 50
    for file in kept:
        files.unsealed(file.read_bytes())


def test_every_changed_byte_of_a_list_of_hashes_is_found(tmp_path: Path) -> None:
    members = [tmp_path / name for name in ("one.bin", "two.json")]
    for file in members:
        file.write_bytes(file.name.encode())
    sums = tmp_path / "SHA256SUMS"
    files.write_sums(sums, *members)
    assert subprocess.run(["sha256sum", "--check", "--quiet", sums], cwd=tmp_path).returncode == 0
    content = sums.read_bytes()
    for position in range(len(content)):
        sums.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        assert not all(files.agrees(sums, file.name, files.sha256_of(file)) for file in members)
    sums.write_bytes(content[:-1])
    assert not files.agrees(sums, members[0].name, files.sha256_of(members[0]))


def test_a_new_hash_leaves_those_of_other_files(tmp_path: Path) -> None:
    """A file that was damaged meanwhile must not become the right one."""
    for name in "ab":
        (tmp_path / name).write_text(name)
    sums = tmp_path / "SHA256SUMS"
    files.write_sums(sums, tmp_path / "b", tmp_path / "a")
    first = sums.read_text().splitlines()
    (tmp_path / "a").write_text("damaged")
    (tmp_path / "b").write_text("new")
    files.write_sums(sums, tmp_path / "b")
    second = sums.read_text().splitlines()
    assert second[0] == first[0] and second[1] == f"{files.digest(b'new')}  b" and len(second) == 2


def test_a_large_file_is_hashed_again_only_after_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGE", 5)
    file = tmp_path / "file"
    file.write_bytes(b"content")
    before = files._sha256_of.cache_info().hits
    first = files.sha256_of(file)
    assert files.sha256_of(file) == first == files.digest(b"content")
    assert files._sha256_of.cache_info().hits == before + 1
    file.write_bytes(b"another")
    os.utime(file, ns=(0, 0))
    assert files.sha256_of(file) == files.digest(b"another")
    assert re.fullmatch("[0-9a-f]{64}", first)
