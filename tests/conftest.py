"""Shared fixtures. Tests that need the published files are skipped where they are not on the machine."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from reprolib.run import assets
from reprolib.run.files import ROOT
from reprolib.run.store import Checkpoint

if TYPE_CHECKING:
    from fake_steps import Fake

torch.set_num_threads(1)
assert ROOT.samefile(Path(__file__).parent.parent), f"reprolib is that of {ROOT}; use `python -m pytest`"
paths = filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
os.environ["PYTHONPATH"] = os.pathsep.join(paths)  # of all that the tests start


LONG = ("kills", "gpu_check", "notebooks", "worlds", "hostile_machine", "distributed", "cluster")
"""Files of tests that take minutes, the longest first: begun last, one would keep a single worker busy at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files go first. A test marked ``assets`` needs the groups that its mark names, or all of the MNIST half."""
    order = {f"test_{name}.py": number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))
    here = functools.cache(lambda group: not assets.missing(group))
    for item in items:
        if mark := item.get_closest_marker("assets"):
            groups = mark.args or ("mnist", "textures", "authors_cgn")
            if lacking := [group for group in groups if not here(group)]:
                where = f"asset groups {', '.join(lacking)} are not on this machine"
                item.add_marker(pytest.mark.skip(reason=f"{where}; `python -m reprolib fetch {lacking[0]}`"))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """A table of what attacks have been survived, and of tolerances."""
    passed = terminalreporter.stats.get("passed", [])
    if rows := [value for report in passed for name, value in report.user_properties if name == "attack"]:
        terminalreporter.write_sep("=", "attacks")
        for row in ("attack | times | outcome", "--- | --- | ---", *rows):
            terminalreporter.write_line(f"| {row} |")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return Checkpoint(tmp_path / "run.checkpoint")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fake:
    """Steps with made-up results in place of the real ones."""
    from fake_steps import Fake

    return Fake(monkeypatch, tmp_path)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the tests of a module share, such as for a store."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """The folder of a run with made-up numbers whose three claims are finished."""
    import claims

    for claim in claims.CRITERIA:
        claims.finish_one(tmp_path, claim)
    return tmp_path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")  # the local server is not behind anybody's proxy
    monkeypatch.delenv("REPROLIB_ASSETS", raising=False)
    monkeypatch.setenv("REPROLIB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
