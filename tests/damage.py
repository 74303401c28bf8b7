"""What can happen to a file on its way."""

from __future__ import annotations

from pathlib import Path


def flip(file: Path, where: float = 0.5, bit: int = 0) -> None:
    """Flip a bit of the byte at a share of the file: 0 is the first byte, 1 the last."""
    content = bytearray(file.read_bytes())
    content[round(where * (len(content) - 1))] ^= 1 << bit
    file.write_bytes(content)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-7])


def empty(file: Path) -> None:
    file.write_bytes(b"")
