"""The committed notebooks: parameters, stored outputs, and nbval against the numbers that the repository keeps."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from reprolib.report.build import NOTEBOOKS, RUNS
from reprolib.report.notebook import canonical_notebook, environment
from reprolib.run import steps
from reprolib.run.store import Store
from reprolib.schema import Params

ROOT = Path(__file__).parent.parent
FILES = [ROOT / "notebooks" / f"{name}.ipynb" for name in NOTEBOOKS.values()]
IDS = [file.stem for file in FILES]
EVERY = [*FILES, ROOT / "notebooks" / "explore.ipynb"]


def code_cells(file: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(file, as_version=4).cells if cell.cell_type == "code"]


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_the_parameter_cell_declares_every_parameter(file: Path) -> None:
    (cell,) = [cell for cell in code_cells(file) if "parameters" in cell.metadata.get("tags", [])]
    declared = {line.split(":")[0] for line in cell.source.splitlines()}
    assert declared == set(Params.model_fields)


@pytest.mark.parametrize("file", EVERY, ids=lambda file: file.stem)
def test_every_cell_was_executed_and_none_failed(file: Path) -> None:
    # nbval passes a notebook whose outputs were stripped; this does not.
    cells = code_cells(file)
    assert all(cell.execution_count for cell in cells)
    assert any(cell.outputs for cell in cells)
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]
    assert cells[-1].outputs, "the verdict or a picture is shown"


@pytest.mark.parametrize("file", EVERY, ids=lambda file: file.stem)
def test_notebooks_are_committed_without_times_and_progress(file: Path) -> None:
    assert canonical_notebook(file.read_text()) == file.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("file", EVERY, ids=lambda file: file.stem)
def test_stored_outputs_come_out_again(file: Path, tmp_path: Path) -> None:
    """nbval, strictly: a claim reads the kept numbers, so nothing is trained and every digit must agree."""
    copied = Store(RUNS / "smoke").copy_results(tmp_path / "smoke" / "store", steps.kept())
    assert copied > 0
    known = os.environ | environment(tmp_path) | {"REPROLIB_BUILD": str(tmp_path), "REPROLIB_PROGRESS": "off"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval", "--nbval-current-env"]
    done = subprocess.run(
        [*command, str(file)], cwd=ROOT / "notebooks", env=known, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout[-3000:]
