"""What a person unpacked: only the known classes, each picture, and no file that cannot be what its name says."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from reprolib.run import AssetError, assets, folders

NINE = assets.FOLDERS["imagenet/backgrounds_challenge"].classes


def _put(root: Path, names: tuple[str, ...] = NINE, *files: str) -> Path:
    for name in names:
        (root / name).mkdir(parents=True, exist_ok=True)
        for file in files or ("a.JPEG", "b.png"):
            (root / name / file).write_bytes(f"{root.name} {name} {file}".encode())
    return root


def _renamed(root: Path, *names: str) -> None:
    for old, new in zip(NINE, names, strict=True):
        (root / old).rename(root / f"{new} ")
    for new in names:
        (root / f"{new} ").rename(root / new)


SPOILED: dict[str, tuple[Callable[[Path], object], str]] = {
    "numbers for names": (lambda root: _renamed(root, *map(str, range(9))), "/0 and 8 more is no class"),
    "names without numbers": (lambda root: _renamed(root, *(each[3:] for each in NINE)), "/bird and 8 more is"),
    "other numbers": (lambda root: _renamed(root, *(f"1{each[1:]}" for each in NINE)), "/10_dog and 8 more"),
    "capital letters": (lambda root: (root / NINE[3]).rename(root / NINE[3].upper()), "/03_REPTILE is no class"),
    "one too many": (lambda root: (root / "09_extra").mkdir(), "/09_extra is no class"),
    "another world": (lambda root: _put(root, ("n01440764",)), "/n01440764 is no class"),
    "of macOS": (lambda root: (root / "__MACOSX").mkdir(), "/__MACOSX is no class"),
    "once more inside": (lambda root: _put(root / "val"), "/val is no class"),
    "one too few": (lambda root: shutil.rmtree(root / NINE[8]), "/08_fish has no pictures"),
    "an empty one": (lambda root: [f.unlink() for f in (root / NINE[2]).iterdir()], "/02_wheeled vehicle has no"),
    "hidden pictures alone": (lambda root: [f.rename(f.with_name(f"._{f.name}")) for f in (root / NINE[0]).iterdir()],
                              "/00_dog has no pictures"),
    "a class in a class": (lambda root: _put(root / NINE[0], NINE[1:2]), "/00_dog/01_bird is a folder inside a class"),
    "flat": (lambda root: [shutil.rmtree(root / each) for each in NINE] and (root / "x.JPEG").touch(),
             "/x.JPEG is in no class folder; move every picture"),
    "a loose picture": (lambda root: (root / "montage.jpg").touch(), "/montage.jpg is in no class folder"),
    "a file for a folder": (lambda root: [shutil.rmtree(root / NINE[4]), (root / NINE[4]).touch()], "/04_carnivore"),
    "no folder": (shutil.rmtree, r"cannot be read \(No such file"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILED)
def test_labels_are_never_guessed_from_folders(name: str, tmp_path: Path) -> None:
    root = _put(tmp_path / "set")
    spoil, said = SPOILED[name]
    spoil(root)
    with pytest.raises(AssetError, match=said) as caught:
        folders.pictures(root, NINE)
    assert "\n" not in str(caught.value)


def test_what_is_no_picture_is_left_alone(tmp_path: Path) -> None:
    root = _put(tmp_path / "set")
    expected = folders.pictures(root, NINE)
    assert [(file.relative_to(root).as_posix(), label) for file, label in expected[1:3]] == [
        ("00_dog/b.png", 0),
        ("01_bird/a.JPEG", 1),
    ]
    for name in (".DS_Store", "README.txt", "00_dog/._a.JPEG", "00_dog/Thumbs.db", "00_dog/labels.csv"):
        (root / name).write_bytes(b"")
    (root / ".ipynb_checkpoints").mkdir()
    (root / "00_dog" / ".thumbnails").mkdir()
    assert folders.pictures(root, NINE) == expected


def test_linked_classes_are_read(tmp_path: Path) -> None:
    _put(tmp_path / "elsewhere")
    (tmp_path / "set").mkdir()
    for name in NINE:
        (tmp_path / "set" / name).symlink_to(tmp_path / "elsewhere" / name)
    assert len(folders.pictures(tmp_path / "set", NINE)) == 18


@pytest.fixture
def mini(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set with two parts of two classes, as ``check`` finds it."""
    given = dataclasses.replace(
        assets.FOLDERS["imagenet/imagenet-mini"], parts={"train": 4, "val": 2}, classes=("a", "b")
    )
    monkeypatch.setattr(assets, "FOLDERS", {given.name: given})
    monkeypatch.setenv("REPROLIB_ASSETS", str(tmp_path))
    root = tmp_path / given.name
    _put(root / "train", given.classes, "train_1.jpg", "train_2.jpg")
    _put(root / "val", given.classes, "val_1.jpg")
    assets.require("imagenet_mini")
    assert assets.fetch("imagenet_mini") == [root]
    return root


def _copied(mini: Path) -> None:
    for name in "ab":
        (mini / "val" / name / "val_1.jpg").unlink()
        shutil.copy(mini / "train" / name / "train_1.jpg", mini / "val" / name)


TRICKED: dict[str, tuple[Callable[[Path], object], str]] = {
    "no part": (lambda root: shutil.rmtree(root / "val"), "is not on this machine; log in .* with train, val"),
    "empty part": (lambda root: [shutil.rmtree(root / "val" / each) for each in "ab"], "is not on this machine"),
    "too few": (lambda root: (root / "train/a/train_1.jpg").unlink(), "train has 3 pictures instead of 4; unpack"),
    "too many": (lambda root: (root / "val/a/copy.jpg").touch(), "val has 3 pictures instead of 2"),
    "flat": (lambda root: [(root / "val/x.jpg").touch(), shutil.rmtree(root / "val/a")], "x.jpg is in no class"),
    "other class": (lambda root: (root / "val/b").rename(root / "val/c"), "val/c is no class"),
    "linked": (lambda root: [shutil.rmtree(root / "val"), (root / "val").symlink_to(root / "train")], "val has 4 pict"),
    "copied": (_copied, "val/a/train_1.jpg is one of the training images too"),
}  # fmt: skip


@pytest.mark.parametrize("name", TRICKED)
def test_check_looks_into_a_data_set(name: str, mini: Path) -> None:
    spoil, said = TRICKED[name]
    spoil(mini)
    with pytest.raises(AssetError, match=said) as caught:
        assets.require("imagenet_mini")
    assert "kaggle.com/datasets/ifigotin" in str(caught.value), "how to get it"


def test_pictures_of_one_name_need_not_be_one_picture(mini: Path) -> None:
    for name in "ab":
        (mini / "val" / name / "val_1.jpg").rename(mini / "val" / name / "train_1.jpg")
    assets.require("imagenet_mini")


WEIGHTS = {
    "hash known": ("u2net", "imagenet/u2net.pth", 176290937),
    "beginning known": ("inception_v3", "inception_v3_google-0cc3c7bd.pth", 108949747),
    "no hash": ("biggan", "imagenet/biggan-deep-256.bin", 230_000_000),
}


@pytest.mark.parametrize("size", [0, 1000, 90_000_000])
@pytest.mark.parametrize("kind", WEIGHTS)
def test_check_measures_weights(
    kind: str, size: int, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group, name, right = WEIGHTS[kind]
    file = tmp_path / (name or "inception_v3_google-0cc3c7bd.pth")
    file.parent.mkdir(exist_ok=True)
    monkeypatch.setenv("REPROLIB_ASSETS", str(tmp_path))
    file.touch()
    os.truncate(file, right)  # a hole in a file takes no room
    assets.require(group)
    os.truncate(file, size)
    for ask in (lambda: assets.require(group), lambda: assets.path(name)):
        with pytest.raises(AssetError, match=rf"{file.name} is corrupt \({size:,} bytes instead of") as caught:
            ask()
        assert ("drive.google" if group == "u2net" else "reprolib fetch") in str(caught.value)
    assert not list(cache.rglob("*")), "what is wrong is not remembered as what was first used"


def test_check_hashes_what_is_small(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPROLIB_ASSETS", str(tmp_path))
    for asset in assets.group("textures"):
        (tmp_path / asset.name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / asset.name).write_bytes(bytes(asset.size))
    with pytest.raises(AssetError, match=r"0_veined_0066.jpg is corrupt \(wrong SHA-256\)"):
        assets.require("textures")
