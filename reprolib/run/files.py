"""Files that are whole or not there: atomic writes, locks, hashes, sealed JSON, SHA256SUMS; and YAML as read by eye.

A full disk or a folder without permission ends in one sentence; a killed process leaves nothing that looks finished.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import yaml
from filelock import FileLock, Timeout

from reprolib.run import ParameterError, ReproError, StoreError

ROOT = Path(__file__).parents[2]
"""The top of the repository."""
PLACES = ("REPROLIB_BUILD", "REPROLIB_ASSETS", "REPROLIB_CACHE", "XDG_CACHE_HOME")
"""The folders that the environment can name."""
SUMS = "SHA256SUMS"
"""The name of a list of hashes, beside the files."""
LARGE = 2**24
"""Bytes from which a file is hashed once per process, as long as its size and its times stay the same."""
PATIENCE = 60.0
"""Seconds after which a process that waits for a lock says so."""
_DISK = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EEXIST,
         errno.ENOTDIR, errno.EISDIR}  # fmt: skip


def require_this_checkout() -> None:
    """Raise ReproError in the folder of another checkout: its code would be asked for, and this would run."""
    for folder in (Path.cwd(), Path.cwd().parent):
        if (folder / "reprolib" / "run" / "files.py").is_file() and not folder.samefile(ROOT):
            raise ReproError(
                f"the current folder belongs to {folder}, but this is the code of {ROOT}; in {folder}, `make setup` "
                "gives it an environment of its own"
            )


def place(named: str | Path) -> Path:
    """A path from outside, absolute; ``~`` is the home folder. Raises ReproError if there is none."""
    try:
        return Path(named).expanduser().absolute()
    except RuntimeError:
        raise ReproError(f"{named}: there is no such home folder; write the whole path") from None


def settle_places(relative: bool = False) -> None:
    """Make the folders that the environment names absolute, for this process and all that it starts.

    relative: whether they may be relative to the current folder; that of a kernel is not the one in which its user set
    them. Raises ReproError.
    """
    for name in PLACES:
        if named := os.environ.get(name):
            if not (relative or named.startswith(("~", "/"))):
                raise ReproError(f"{name} is {named!r}, but a notebook has a folder of its own; name the whole path")
            os.environ[name] = str(place(named))


def refused(error: OSError) -> bool:
    """Whether an error is the disk's, which a user can mend, and not that of a network or a program."""
    return isinstance(error, PermissionError) or error.errno in _DISK


@contextlib.contextmanager
def writing(
    what: Path | str,
    repair: str = "free some space or choose a folder you may write to",
    ours: Callable[[OSError], bool] = lambda error: True,
) -> Iterator[None]:
    """Whatever the disk refuses in here is a StoreError that names what cannot be written. ours: which errors it is."""
    try:
        yield
    except OSError as error:
        if not ours(error):
            raise
        raise StoreError(f"{what} cannot be written ({error.strerror or error}); {repair}") from error


def make_folder(folder: Path) -> None:
    """Make a folder and its parents. Raises StoreError when that fails."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)


def write_atomically(file: Path, content: bytes) -> None:
    """Write to a temporary name in the same folder, flush to disk, rename. Raises StoreError when that fails."""
    part = file.with_name(f".{file.name}.part")
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        with _alone(part) as stream:
            try:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
                part.replace(file)
            except OSError:
                part.unlink(missing_ok=True)
                raise


@contextlib.contextmanager
def _alone(part: Path) -> Iterator[IO[bytes]]:
    """An empty file for one writer at a time: another one waits, and what a killed one left is written over."""
    while True:
        with part.open("ab") as stream:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(stream, fcntl.LOCK_EX)
            if _is(stream, part):
                stream.truncate(0)
                yield stream
                return
            # while this process waited, the other one gave the file its name: begin a new one


def _is(stream: IO[bytes], file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(stream.fileno()), file.stat())
    except FileNotFoundError:
        return False


def remove(*files: Path) -> None:
    """Remove files, where they are there, and what killed writers of them left. Raises StoreError when that fails."""
    for file in [each for each in files if each.parent.is_dir()]:
        part = file.with_name(f".{file.name}.part")
        with writing(file), _alone(part):
            file.unlink(missing_ok=True)
            part.unlink()


def set_aside(file: Path, why: str) -> None:
    """Rename a broken file to ``*.corrupt`` and say so on stderr. Raises StoreError when that fails."""
    with writing(file), contextlib.suppress(FileNotFoundError):  # another process may have been faster
        file.replace(file.with_name(file.name + ".corrupt"))
        print(f"{file} {why}; it was set aside as *.corrupt and will be made again", file=sys.stderr, flush=True)


@contextlib.contextmanager
def locked(file: Path, busy: str = "") -> Iterator[None]:
    """Hold a lock file; that of a killed process is free. busy: what to say, as a ReproError, instead of waiting.

    A file system without flock knows only whether the file is there, so one that was left behind is held for ever:
    after PATIENCE seconds a line on stderr says which to remove. Raises StoreError where the lock cannot be written.
    """
    make_folder(file.parent)
    lock, repair = FileLock(file), f"if no other run is alive, on any machine, remove {file}"
    with writing(file):
        try:
            lock.acquire(timeout=0 if busy else PATIENCE)
        except Timeout:
            if busy:
                raise ReproError(f"{busy}; {repair}") from None
            print(f"waiting for another run since {PATIENCE:.0f} s; {repair}", file=sys.stderr, flush=True)
            lock.acquire()
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):
                raise
            raise StoreError(
                f"{file} cannot be locked ({error.strerror}); choose a folder on a file system with locks"
            ) from error
    try:
        yield
    finally:
        lock.release()


# ---------------------------------------------------------------- hashes and seals


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file. That of a large one is remembered until its size or its times change."""
    now = file.stat()
    if now.st_size < LARGE:
        return digest(file.read_bytes())
    return _sha256_of(file, now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino)


@lru_cache(maxsize=256)
def _sha256_of(file: Path, *seen: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no spaces: equal values give equal bytes. NaN is refused with ValueError."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def sealed(entry: dict[str, Any]) -> bytes:
    """A JSON file with the SHA-256 of what it says in it."""
    return json.dumps(entry | {"sha256": digest(canonical(entry))}, indent=1, sort_keys=True).encode()


def unsealed(content: bytes) -> dict[str, Any]:
    """What ``sealed`` was given. Raises ValueError if one byte is another, even where it would mean the same."""
    try:
        entry: dict[str, Any] = json.loads(content)
        del entry["sha256"]
        whole = sealed(entry) == content
    except (ValueError, KeyError, TypeError, RecursionError):  # no JSON, or not of ours
        whole = False
    if not whole:
        raise ValueError("a sealed file was changed")
    return entry


def write_sums(sums: Path, *files: Path) -> None:
    """Write the SHA-256 of files into a list as sha256sum makes it; the lines of other files stay as they are."""
    lines = sums.read_text(encoding="utf-8").splitlines() if sums.is_file() else []
    known = {line[66:]: line for line in lines} | {file.name: f"{sha256_of(file)}  {file.name}" for file in files}
    write_atomically(sums, "".join(f"{known[name]}\n" for name in sorted(known)).encode())


def agrees(sums: Path, name: str, sha256: str) -> bool:
    """Whether ``sums`` is a list of hashes, with this one for a file of this name."""
    content, line = sums.read_bytes(), f"{sha256}  {name}\n".encode()
    return bool(re.fullmatch(rb"([0-9a-f]{64}  [^\n/]+\n)+", content)) and line in content.splitlines(keepends=True)


# ---------------------------------------------------------------- YAML


class Loader(yaml.SafeLoader):
    """YAML as it is read by eye: only plain decimal numbers, only true and false, and no key twice.

    PyYAML follows YAML 1.1, in which 010 is 8, 1:30 is 90, ``no`` is False, and of two equal keys the last one wins.
    Here all of these stay text, which the schema refuses where a number is wanted.
    """

    yaml_implicit_resolvers = {}  # noqa: RUF012 - filled below, by PyYAML's own method

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        if twice := [key for key, _ in node.value if keys.count(key.value) > 1]:
            raise yaml.MarkedYAMLError(f"the key {twice[-1].value!r} stands there twice", twice[-1].start_mark)
        return super().construct_mapping(node, deep)


for _kind, _pattern in {
    "null": "~|null|Null|NULL|",
    "bool": "true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?(0|[1-9]\d*)",
    "float": r"[-+]?(\d+\.\d*|\.\d+)([eE][-+]?\d+)?|[-+]?\d+[eE][-+]?\d+|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
}.items():
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"({_pattern})$", re.ASCII), None)


def read_yaml(file: Path) -> Any:
    """What a YAML file says. Raises ParameterError for one that is no YAML or cannot be read."""
    try:
        return yaml.load(file.read_text(encoding="utf-8"), Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise ParameterError(f"{file} is not valid YAML ({' '.join(str(error).split())}); correct it") from error
    except OSError as error:
        raise ParameterError(f"{file} cannot be read ({error.strerror}); check its name and rights") from error
