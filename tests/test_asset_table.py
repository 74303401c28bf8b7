"""The table of assets: complete, and every missing thing says how to get it."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from pathlib import Path

import pytest

from reprolib.run import AssetError, assets

NAME = "toy/data.gz"
MNIST_HALF = {"mnist": 4, "authors_cgn": 3, "textures": 20, "vgg16": 1}
IMAGENET_FILES = {"biggan", "u2net", "authors_imagenet_cgn", "resnet50", "inception_v3"}
IMAGENET_SETS = {"imagenet_mini", "imagenet", "backgrounds_challenge", "cue_conflict", "imagenet_a", "imagenet_sketch"}


def test_the_table_is_complete() -> None:
    assert set(assets.GROUPS) == {*MNIST_HALF, *IMAGENET_FILES, *IMAGENET_SETS}
    assert {name: len(assets.group(name)) for name in MNIST_HALF} == MNIST_HALF
    known = [asset.sha256 for asset in assets.ASSETS.values() if asset.sha256]
    assert len(set(known)) == len(known) == 31
    for asset in assets.ASSETS.values():
        full = asset.group in MNIST_HALF or asset.group in ("u2net", "resnet50")
        assert all(re.fullmatch("[0-9a-f]{64}" if full else "[0-9a-f]*", sha256) for _, sha256 in asset.forms)
        assert asset.size and asset.url.startswith("https://") != bool(asset.how)
    assert all(about["licence"] for about in assets._GROUPS.values())


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("group", sorted(IMAGENET_SETS))
def test_a_missing_data_set_says_what_to_put_where(group: str, tmp_path: Path) -> None:
    for ask in (assets.require, assets.fetch):
        with pytest.raises(AssetError, match=r"is not on this machine; (log in|unpack|copy) .* so that .* is there"):
            ask(group)


@pytest.mark.usefixtures("cache")
def test_a_file_that_only_a_person_may_download_says_so() -> None:
    for ask in (assets.require, assets.fetch):
        with pytest.raises(AssetError, match=r"u2net.pth \(176 MB\) .* download https://drive.* and save it as"):
            ask("u2net")


def test_a_file_with_a_known_beginning_of_its_hash_is_checked(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content = b"weights"
    found = hashlib.sha256(content).hexdigest()
    for begin, right in ((found[:8], True), ("0" * 8, False), ("", True)):
        asset = dataclasses.replace(next(iter(assets.ASSETS.values())), name=NAME, sha256=begin, npm=None, group="toy")
        asset = dataclasses.replace(asset, size=len(content))
        monkeypatch.setattr(assets, "ASSETS", {NAME: asset})
        file = cache / NAME
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        if right:
            assert assets.path(NAME) == file
        else:
            with pytest.raises(AssetError, match="corrupt"):
                assets.path(NAME)


@pytest.mark.assets
@pytest.mark.parametrize("group", ["mnist", "authors_cgn", "textures"])
def test_published_files_have_the_recorded_hash(group: str) -> None:
    for asset in assets.group(group):  # path verifies the hash; the size is what a user is told
        assert assets.path(asset.name).stat().st_size == asset.size
