"""pyproject.toml, environment.yml and the lock name the same packages in the same versions."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

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
