"""Textures: the authors' pictures pixel by pixel, and procedural ones that can be told apart."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image

from reprolib.mnist import textures
from reprolib.run import AssetError, assets

SOURCES = ["procedural", pytest.param("dtd", marks=pytest.mark.assets("textures"))]
# the table of docs/mnist.md, 2.4: number and width x height of each class
BACKGROUND = "0066 590x443 0067 512x512 0073 339x400 0180 640x492 0131 507x402 0157 491x501 0158 502x412 0104 560x533 0188 568x348 0189 528x640"  # noqa: E501
OBJECT = "0001 447x428 0091 394x320 0008 387x414 0043 640x412 0092 305x314 0028 398x374 0097 640x516 0004 418x300 0125 410x304 0033 640x480"  # noqa: E501


def centres(side: int) -> tuple[np.ndarray, np.ndarray]:
    """The target pixels that do not fall between two source pixels, where rounding would decide; their sources."""
    doubled = (2 * np.arange(150) + 1) * side
    clear = np.flatnonzero(doubled % 300)
    return clear, doubled[clear] // 300


@pytest.fixture
def no_memory() -> Iterator[None]:
    """What ``load`` keeps in memory would hide what it does, and what it did here must not stay."""
    textures.load.cache_clear()
    yield
    textures.load.cache_clear()


@pytest.mark.parametrize("source", SOURCES)
def test_ten_classes_of_each_kind(source: textures.Textures) -> None:
    for pictures in textures.load(source):
        assert (pictures.dtype, tuple(pictures.shape)) == (torch.uint8, (10, 3, 156, 156))
        assert all(picture.float().std() > 5 for picture in pictures)  # a flat picture is no texture


@pytest.mark.parametrize("source", SOURCES)
def test_borders_are_reflections(source: textures.Textures) -> None:
    for pictures in textures.load(source):
        for distance in (1, 2, 3):
            for flipped in (pictures, pictures.transpose(2, 3)):
                assert torch.equal(flipped[:, :, 3 - distance], flipped[:, :, 3 + distance])
                assert torch.equal(flipped[:, :, 152 + distance], flipped[:, :, 152 - distance])


@pytest.mark.parametrize("source", SOURCES)
def test_textures_are_the_same_every_time(source: textures.Textures, no_memory: None) -> None:
    first = textures.load(source)
    textures.load.cache_clear()
    assert all(torch.equal(a, b) for a, b in zip(first, textures.load(source), strict=True))


def test_procedural_classes_differ_more_between_than_within() -> None:
    # a classifier must be able to take the shortcut: nearest mean colour of a 32x32 crop finds the class
    for pictures in textures.load("procedural"):
        crops = pictures.float().unfold(2, 32, 31).unfold(3, 32, 31).mean(dim=(4, 5)).flatten(2).permute(0, 2, 1)
        means = pictures.float().mean(dim=(2, 3))
        nearest = torch.cdist(crops, means.expand(10, 10, 3)).argmin(dim=2)
        assert (nearest == torch.arange(10)[:, None]).double().mean() > 0.9


@pytest.mark.usefixtures("cache", "no_memory")
def test_procedural_textures_need_no_file() -> None:
    assert len(textures.load("procedural")) == 2


@pytest.mark.usefixtures("cache", "no_memory")
def test_missing_pictures_name_the_command() -> None:
    with pytest.raises(AssetError, match="python -m reprolib fetch textures"):
        textures.load("dtd")


@pytest.mark.parametrize(
    ("kind", "texture", "table"), [("object", "striped", OBJECT), ("background", "veined", BACKGROUND)]
)
def test_file_names_are_those_of_the_authors(kind: str, texture: str, table: str) -> None:
    names = [f"textures/{kind}/{i}_{texture}_{number}.jpg" for i, number in enumerate(table.split()[::2])]
    assert [asset.name for asset in assets.group("textures") if f"/{kind}/" in asset.name] == names


@pytest.mark.assets("textures")
@pytest.mark.parametrize(("kind", "table"), [("object", OBJECT), ("background", BACKGROUND)])
def test_pictures_are_nearest_resizes_of_the_files(kind: str, table: str) -> None:
    loaded = textures.load("dtd")[0 if kind == "object" else 1]
    names = [asset.name for asset in assets.group("textures") if f"/{kind}/" in asset.name]
    for index, (name, size) in enumerate(zip(names, table.split()[1::2], strict=True)):
        picture = np.asarray(Image.open(assets.path(name)).convert("RGB"))
        assert f"{picture.shape[1]}x{picture.shape[0]}" == size
        (y, rows), (x, columns) = (centres(side) for side in picture.shape[:2])
        expected = picture[rows][:, columns].transpose(2, 0, 1)
        assert np.array_equal(loaded[index, :, 3:153, 3:153].numpy()[:, y][:, :, x], expected)
