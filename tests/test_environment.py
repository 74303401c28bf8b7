"""The environment and the checkout: equal pins, a lock that is whole, the Python that is taken, the same bytes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent


def project() -> dict[str, str]:
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for group in table["optional-dependencies"].values() for line in group]
    return pins([*table["dependencies"], *extras])


def pins(lines: list[str]) -> dict[str, str]:
    """Name -> version; anything but an exact pin is an error."""
    found = {}
    for line in lines:
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.]+)", line)
        assert match, f"{line!r} is no exact pin"
        found[match[1].lower().replace("_", "-")] = match[2]
    return found


def conda() -> dict[str, object]:
    content = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert isinstance(content, dict)
    return content


def test_environment_yml_has_the_keys_of_a_conda_file() -> None:
    assert set(conda()) == {"name", "channels", "dependencies"}
    assert conda()["channels"] == ["conda-forge", "nodefaults"]


def test_conda_specs_are_well_formed() -> None:
    dependencies = conda()["dependencies"]
    assert isinstance(dependencies, list)
    plain = [entry for entry in dependencies if isinstance(entry, str)]
    assert all(re.fullmatch(r"[a-z0-9-]+(=[0-9.]+)?", entry) for entry in plain)
    assert "python=3.11" in plain
    assert "pip" in plain


def test_environment_yml_pins_what_pyproject_pins() -> None:
    dependencies = conda()["dependencies"]
    assert isinstance(dependencies, list)
    assert pins(dependencies[-1]["pip"]) == project()


def test_lock_agrees_with_pyproject() -> None:
    lock = pins((ROOT / "requirements.lock").read_text().split())
    assert {name: lock.get(name) for name in project()} == project()


@pytest.mark.parametrize("file", ["requirements.lock", "pyproject.toml", "environment.yml"])
def test_no_local_path_or_host_is_named(file: str) -> None:
    text = (ROOT / file).read_text()
    assert "file:" not in text
    assert " @ " not in text
    assert "index-url" not in text


PYTHONS = ["3.11.2", "3.11.14", "3.12.0", "3.13.0"]
"""Among them that of Debian 12."""
LOCK = {
    canonicalize_name(name): version for name, version in pins((ROOT / "requirements.lock").read_text().split()).items()
}
LOCKED = [each for each in distributions() if LOCK.get(canonicalize_name(each.name)) == each.version]


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_is_whole_on_every_supported_python(python: str) -> None:
    """Each package of it runs there, and what it needs there is in it."""
    assert len(LOCKED) > 0.9 * len(LOCK)
    where = {"python_full_version": python, "python_version": python.rpartition(".")[0], "extra": ""}

    def lacking(each: Distribution) -> list[str]:
        wanted = [Requirement(line) for line in each.requires or ()]
        here = [need for need in wanted if need.marker is None or need.marker.evaluate(where)]
        return [str(need) for need in here if not need.specifier.contains(LOCK.get(canonicalize_name(need.name), ""))]

    assert {each.name: found for each in LOCKED if (found := lacking(each))} == {}
    runs = [
        each.name for each in LOCKED if not SpecifierSet(each.metadata.get("Requires-Python") or "").contains(python)
    ]
    assert runs == []
    supported = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert SpecifierSet(supported).contains(python)


def _make(folder: Path, *arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """``make`` of this repository with an environment in ``folder``; path: where it finds its programs first."""
    known = os.environ | ({"PATH": f"{path}{os.pathsep}{os.environ['PATH']}"} if path else {})
    known = {name: value for name, value in known.items() if name != "PYTHON"}
    command = ["make", "--no-print-directory", f"VENV={folder}", *arguments]
    return subprocess.run(command, cwd=ROOT, env=known, capture_output=True, text=True, timeout=60)


def _python(folder: Path, name: str, version: str) -> None:
    """A Python that says it has another version."""
    told = f"import sys; sys.version_info = ({version}); exec(sys.argv[1])"
    (folder / name).write_text(f"""#!/bin/sh
test "$1" = -c && exec {sys.executable} -c '{told}' "$2"
""")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize(
    ("there", "taken"),
    [({"python3.13": "3, 13, 0", "python3.12": "3, 12, 1"}, "python3.13"),
     ({"python3.13": None, "python3.12": "3, 12, 1"}, "python3.12"),  # a shim of pyenv that finds nothing
     ({"python3.13": None, "python3.12": None, "python3.11": "3, 11, 2"}, "python3.11"),
     ({"python3.13": None, "python3.12": None, "python3.11": None, "python3": "3, 12, 1"}, "python3"),
     ({"python3.13": None, "python3.12": None, "python3.11": None, "python3": "3, 14, 0"}, "")],
)  # fmt: skip
def test_make_takes_the_newest_python_that_can_work(there: dict[str, str | None], taken: str, tmp_path: Path) -> None:
    for name, version in there.items():
        if version:
            _python(tmp_path, name, version)
        else:
            (tmp_path / name).write_text("#!/bin/sh\nexit 127\n")
            (tmp_path / name).chmod(0o755)
    assert f'"{taken}" -m venv' in _make(tmp_path / "venv", "-n", "setup", path=tmp_path).stdout


@pytest.mark.parametrize("version", ["2, 7, 18", "3, 10, 13", "3, 14, 0"])
def test_a_python_that_cannot_work_is_refused_before_anything_is_made(version: str, tmp_path: Path) -> None:
    _python(tmp_path, "mine", version)
    done = _make(tmp_path / "venv", "setup", f"PYTHON={tmp_path / 'mine'}")
    assert done.returncode != 0 and not (tmp_path / "venv").exists()
    assert f"'{tmp_path / 'mine'}' is no Python 3.11, 3.12 or 3.13 with venv; install one" in done.stdout


def test_a_moved_checkout_runs_its_own_code() -> None:
    """Programs in .venv/bin name the place where they were installed; its Python does not."""
    text = (ROOT / "Makefile").read_text()
    assert re.findall(r"\$\(VENV\)/bin/(\w+)", text) == ["python"]
    assert "export PYTHONPATH := $(CURDIR)\n" in text


KINDS = ["a.csv", "a.json", "a.ipynb", "SHA256SUMS", "a.md", "a.py", "a.yaml", "a.j2", "Makefile", "requirements.lock"]


@pytest.mark.parametrize("setting", ["core.autocrlf=true", "core.autocrlf=input", "core.eol=crlf"])
def test_every_clone_has_the_same_bytes(setting: str, tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", setting)
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    files = dict.fromkeys(KINDS, b"one\ntwo\n")
    files |= {"b.csv": b"one\r\ntwo\n", "a.safetensors": bytes(range(256)), "a.png": b"\r\n\n", "a.npz": b"PK\r\n"}
    files[".gitattributes"] = (ROOT / ".gitattributes").read_bytes()
    git("init", "-q", "there")
    for name, content in files.items():
        (tmp_path / "there" / name).write_bytes(content)
    git("-C", "there", "add", ".")
    git("-C", "there", "commit", "-qm", "all")
    git("clone", "-q", "there", "here")
    assert {name: (tmp_path / "here" / name).read_bytes() for name in files} == files


def test_what_git_keeps_is_named_in_the_attributes() -> None:
    """Every sealed kind is left as it is; of the other files none has the line ends of another system."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    listed = subprocess.run(["git", "ls-files", "--eol"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lf = re.compile(r"i/(lf|none) +w/(lf|none) +attr/(-text|text=auto eol=lf) *\t|i/-text")
    assert [line for line in listed.splitlines() if not lf.match(line)] == []
