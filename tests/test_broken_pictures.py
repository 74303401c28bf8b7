"""Pictures that are broken, cut off, or in a form that ImageNet does not have: named, or read as they should be."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from reprolib.natural import datasets
from reprolib.run import AssetError

PIXELS = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
PICTURE = Image.fromarray(PIXELS)


def _encoded(form: str, picture: Image.Image = PICTURE, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    return stream.getvalue()


PNG, JPEG = _encoded("PNG"), _encoded("JPEG")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png(width: int, height: int) -> bytes:
    """A PNG that says it is so large."""
    return PNG[:8] + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + PNG[33:]


BROKEN = {
    "empty.png": b"",
    "empty.JPEG": b"",
    "half.png": PNG[: len(PNG) // 2],
    "half.JPEG": JPEG[: len(JPEG) // 2],
    "header.JPEG": JPEG[:20],
    "chunk.png": PNG[:33] + _chunk(b"IDAT", PNG[41:200]) + b"\0\0\0\5\1\2\3\4broken",
    "checksum.png": PNG[:60] + bytes([PNG[60] ^ 255]) + PNG[61:],
    "bomb.png": _png(60_000, 60_000),
    "large.png": _png(10_000, 10_000),
    "page.png": b"<!DOCTYPE html><html>404</html>",
    "pointer.JPEG": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "number.ppm": b"P6\nab cd\n255\n",
    "header.pgm": b"P5\n64",
    "half.webp": _encoded("WEBP")[:60],
    "half.tiff": _encoded("TIFF")[:60],
    "half.bmp": _encoded("BMP")[:60],
}


@pytest.mark.filterwarnings("ignore:Truncated|Image size")
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_picture_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(BROKEN[name])
    with pytest.raises(AssetError, match=rf"/{name} is missing or broken; put a whole copy in its place, or remove"):
        datasets.Pictures([(tmp_path / name, 0)], datasets.EVALUATION)[0]


@pytest.mark.parametrize("name", ["nothing.png", "folder.png", "nowhere.png"])
def test_what_is_no_file_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "nowhere.png").symlink_to(tmp_path / "else")
    with pytest.raises(AssetError, match=rf"/{name} is missing or broken"):
        datasets.read(tmp_path / name)


DEEP = {
    "grey16.png": np.arange(256, dtype=np.uint16).reshape(16, 16) * 256,
    "grey32.tiff": np.arange(256, dtype=np.int32).reshape(16, 16) * 65536,
    "float.tiff": np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16),
}


@pytest.mark.parametrize("name", DEEP)
def test_more_than_eight_bits_are_refused(name: str, tmp_path: Path) -> None:
    """Pillow would make them white or black."""
    Image.fromarray(DEEP[name]).save(tmp_path / name)
    with pytest.raises(AssetError, match=rf"/{name} has mode .*, more than 8 bits per channel; put"):
        datasets.read(tmp_path / name)


FORMS = {
    "grey.png": PICTURE.convert("L"),
    "bit.png": PICTURE.convert("1"),
    "palette.png": PICTURE.convert("P"),
    "alpha.png": PICTURE.convert("RGBA"),
    "cmyk.tiff": PICTURE.convert("CMYK"),
}


@pytest.mark.parametrize("name", FORMS)
def test_other_modes_become_rgb(name: str, tmp_path: Path) -> None:
    FORMS[name].save(tmp_path / name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = datasets.read(tmp_path / name)
    assert read.mode == "RGB" and (np.asarray(read) == np.asarray(FORMS[name].convert("RGB"))).all()


def test_a_jpeg_in_cmyk_keeps_its_colours(tmp_path: Path) -> None:
    flat = Image.new("RGB", (16, 16), (200, 60, 20))
    flat.convert("CMYK").save(tmp_path / "cmyk.JPEG", quality=95)
    assert np.abs(np.asarray(datasets.read(tmp_path / "cmyk.JPEG"), dtype=int) - (200, 60, 20)).max() < 8


@pytest.mark.parametrize("form", ["PNG", "GIF", "WEBP", "TIFF", "MPO"])
def test_of_an_animation_the_first_picture_is_read(form: str, tmp_path: Path) -> None:
    first, second = Image.new("RGB", (16, 16), (255, 255, 255)), Image.new("RGB", (16, 16))
    (tmp_path / "two").write_bytes(_encoded(form, first, save_all=True, append_images=[second]))
    assert np.asarray(datasets.read(tmp_path / "two")).min() > 250


def test_memory_that_runs_out_is_not_the_pictures_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise MemoryError

    (tmp_path / "a.png").write_bytes(PNG)
    monkeypatch.setattr(Image.Image, "convert", refuse)
    with pytest.raises(MemoryError):
        datasets.read(tmp_path / "a.png")
