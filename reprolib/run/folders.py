"""Data sets of one folder per class, as a person unpacked them: just the known classes, each with its pictures.

A label is the place of a class in a known list, never that of a folder among those that happen to be there.
"""

from __future__ import annotations

import filecmp
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

from reprolib.run import AssetError

ENDINGS = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Of pictures, in small or capital letters; what else lies beside them is left alone, as by torchvision."""


def classes(names: str | list[str]) -> tuple[str, ...]:
    """Names of class folders: as listed, or the WordNet ids of a list of timm, such as ``imagenet_synsets``."""
    if isinstance(names, list):
        return tuple(names)
    listed = Path(str(distribution("timm").locate_file(f"timm/data/_info/{names}.txt")))
    return tuple(listed.read_text(encoding="utf-8").split())


def cache_folder() -> Path:
    """Where fetched files go: ``REPROLIB_CACHE``, else ``$XDG_CACHE_HOME/reprolib``, else ``~/.cache/reprolib``."""
    if named := os.environ.get("REPROLIB_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reprolib"


def places() -> list[Path]:
    """Where assets are looked for: the folder that ``REPROLIB_ASSETS`` names, if it does, then the cache."""
    named = os.environ.get("REPROLIB_ASSETS")
    return [Path(named), cache_folder()] if named else [cache_folder()]


@dataclass(frozen=True)
class Folder:
    """A data set that a user puts in place: a folder below an assets folder, and what must be in it."""

    name: str
    group: str
    parts: dict[str, int | None]
    """Subfolders, and how many pictures each has, where that is known."""
    classes: tuple[str, ...]
    """Names of the folders in each part, in the order of the labels."""
    how: str

    def root(self) -> Path:
        """Where it lies. Raises AssetError, saying what to put where, if it or a part of it is missing."""
        for root in [place / self.name for place in places()]:
            if all((root / part).is_dir() and any((root / part).iterdir()) for part in self.parts):
                return root
        where, parts = places()[0] / self.name, "" if "." in self.parts else f" with {', '.join(self.parts)}"
        raise AssetError(f"data set {self.name} is not on this machine; {self.how}, so that {where} is there{parts}")

    def pictures(self, part: str = ".") -> list[tuple[Path, int]]:
        """(file, number of its class) of every picture of a part, see the function of this name."""
        return pictures(self.root() / part, self.classes)

    def look_into(self) -> None:
        """Raise AssetError if it is not all there: each class, each picture, a validation set of its own."""
        found = {part: self.pictures(part) for part in self.parts}
        for part, count in self.parts.items():
            if count and len(found[part]) != count:
                wrong = f"{self.root() / part} has {len(found[part]):,} pictures instead of {count:,}"
                raise AssetError(f"{wrong}; unpack the data again")
        if "train" in found and (both := shared(found["train"], found["val"])):
            raise AssetError(f"{both} is one of the training images too; unpack the data again")


def pictures(root: Path, classes: Sequence[str]) -> list[tuple[Path, int]]:
    """(file, number of its class) of every picture ``root/<class>/<file>``, sorted; hidden entries are left out.

    Raises AssetError, with its name, for a folder that is no class, a class that is missing or empty, a folder inside a
    class, and pictures outside the class folders.
    """
    found, loose = _entries(root)
    if odd := sorted(set(found) - set(classes)):
        more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
        raise AssetError(
            f"{root / odd[0]}{more} is no class; the folders are {classes[0]}, {classes[1]}, ..., {classes[-1]}: "
            "move it away, or unpack the data again"
        )
    if loose:
        raise AssetError(f"{root / loose[0]} is in no class folder; move every picture into the folder of its class")
    listed: list[tuple[Path, int]] = []
    for number, name in enumerate(classes):
        inside, files = _entries(root / name) if name in found else ([], [])
        if inside:
            raise AssetError(f"{root / name / inside[0]} is a folder inside a class; move its pictures, or remove it")
        if not files:
            raise AssetError(f"{root / name} has no pictures; unpack the data again")
        listed += [(root / name / file, number) for file in files]
    return listed


def _entries(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the folders and of the pictures in a folder, sorted, without hidden ones."""
    try:
        with os.scandir(folder) as entries:
            seen = [(each.name, each.is_dir()) for each in entries if not each.name.startswith(".")]
    except OSError as error:
        raise AssetError(f"{folder} cannot be read ({error.strerror}); check its name and rights") from error
    folders = sorted(name for name, is_folder in seen if is_folder)
    return folders, sorted(name for name, is_folder in seen if not is_folder and name.lower().endswith(ENDINGS))


def shared(one: list[tuple[Path, int]], other: list[tuple[Path, int]]) -> Path | None:
    """The first picture of ``other`` that is in ``one`` too, with its name and its bytes; None if there is none."""
    known = {(file.name, number): file for file, number in one}
    pairs = ((file, known.get((file.name, number))) for file, number in other)
    return next((file for file, same in pairs if same is not None and filecmp.cmp(file, same, shallow=False)), None)
