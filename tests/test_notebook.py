"""What every claim notebook calls first: parameters from its cells, also when they are run a second time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reprolib.report import notebook
from reprolib.run.errors import ParameterError


@pytest.fixture(autouse=True)
def kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A kernel in which no cell has run."""
    monkeypatch.setattr(notebook, "_at_first", set())
    monkeypatch.setenv("REPROLIB_BUILD", str(tmp_path))


def _namespace() -> dict[str, Any]:
    return {"__name__": "__main__", "profile": "smoke", "seeds": None, "cgn": {}}


def test_a_changed_notebook_gets_its_own_folder(tmp_path: Path) -> None:
    study, results = notebook.start(_namespace() | {"seeds": 1}, "claim2")
    assert study.params.seeds == 1 and study.store.root == tmp_path / "smoke" / "store"
    assert results.folder.parent == tmp_path and results.folder.name.startswith("smoke-")


def test_a_typo_is_refused_in_the_first_run() -> None:
    with pytest.raises(ParameterError, match="'sedes' is no parameter; did you mean 'seeds'"):
        notebook.start(_namespace() | {"sedes": 3}, "claim2")


def test_all_cells_can_be_run_again() -> None:
    """Later cells define plain variables too; they are no parameters."""
    namespace = _namespace()
    notebook.start(namespace, "claim2")
    namespace |= {"criteria": {"gain": 1}, "own": "shipped", "columns": ["a"], "seeds": 1}
    study, _ = notebook.start(namespace, "claim2")
    assert study.params.seeds == 1
