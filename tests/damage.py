"""What can happen to a file, to a folder, and to a run."""

from __future__ import annotations

import ctypes
import os
import signal
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def flip(file: Path, where: float = 0.5, bit: int = 0) -> None:
    """Flip a bit of the byte at a share of the file: 0 is the first byte, 1 the last."""
    content = bytearray(file.read_bytes())
    content[round(where * (len(content) - 1))] ^= 1 << bit
    file.write_bytes(content)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-7])


def empty(file: Path) -> None:
    file.write_bytes(b"")


HARMS: dict[str, Callable[[Path], object]] = {
    "flipped bit": flip,
    "truncated": cut,
    "empty": empty,
    "zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)),
    "a list": lambda file: file.write_bytes(b"[]"),
    "no text": lambda file: file.write_bytes(b"\xff\xfe"),
}


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """In here nothing can be written to a folder, not even by the superuser: see capabilities(7)."""
    inside = [folder, *(each for each in folder.rglob("*") if each.is_dir())]
    libc, header = ctypes.CDLL(None), struct.pack("=Ii", 0x20080522, 0)
    before = ctypes.create_string_buffer(24)
    assert libc.capget(header, before) == 0
    effective, *others = struct.unpack("=6I", before.raw)
    writes_anywhere = 1 << 1  # CAP_DAC_OVERRIDE
    for each in inside:
        each.chmod(0o555)
    assert libc.capset(header, struct.pack("=6I", effective & ~writes_anywhere, *others)) == 0
    try:
        yield
    finally:
        assert libc.capset(header, before) == 0
        for each in inside:
            each.chmod(0o755)


def crash() -> None:
    raise RuntimeError("power failure")


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def interrupted(
    function: Callable[..., Any], at: int, act: Callable[[], None] = crash
) -> tuple[Callable[..., Any], list[int]]:
    """The function, which after so many calls is interrupted once, and a list that has an entry for each call."""
    calls: list[int] = []

    def broken(*arguments: Any) -> Any:
        calls.append(len(calls))
        if len(calls) == at + 1:
            act()
        return function(*arguments)

    return broken, calls
