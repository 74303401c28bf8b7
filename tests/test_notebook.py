"""What every claim notebook calls first: parameters from its cells, of which none is ignored in silence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from reprolib import params
from reprolib.params import load
from reprolib.report import notebook
from reprolib.report.build import NOTEBOOKS
from reprolib.run import ParameterError, ReproError, store
from reprolib.run.files import ROOT

OWN = "profile: str = 'smoke'\nseeds: int = None\nthreads: int = None\nclassifier: dict = {}\ncgn: dict = {}  # sources"
START = "from reprolib.report.notebook import start\n\nparams, results = start(globals(), 'claim2')"
BROKEN = "a syntax error"
LATER = "columns = ['a']\ncolumns += list(params)", "own, criteria = max('ab'), {'gain': 1}"
"""Cells below the first call of ``start``, which define plain variables too."""


def _kernel(*cells: str, **before: Any) -> dict[str, Any]:
    """``globals()`` of a kernel that ran these cells; before: what a startup file defined."""
    namespace: dict[str, Any] = {"In": ["", *cells], "params": [], **before}
    for cell in cells:
        if cell not in (START, BROKEN):
            exec(cell, namespace)
    return namespace


def _refused(*cells: str) -> str:
    with pytest.raises(ParameterError) as caught:
        notebook.parameters(_kernel(*cells))
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_a_changed_notebook_gets_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPROLIB_BUILD", str(tmp_path))
    chosen, results = notebook.start(_kernel(OWN, "seeds = 1", START), "claim2")
    assert chosen.seeds == 1 and store.current().root == tmp_path / "smoke" / "store"
    assert results.folder.parent == tmp_path and results.folder.name.startswith("smoke-")


def test_plots_start_from_known_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPROLIB_BUILD", str(tmp_path))
    with matplotlib.rc_context({"axes.facecolor": "red"}):
        notebook.start(_kernel(OWN, START), "claim2")
        assert matplotlib.rcParams["axes.facecolor"] == "white"
        assert matplotlib.get_backend() == "inline"


def test_a_notebook_that_sets_nothing_keeps_the_profile() -> None:
    assert notebook.parameters(_kernel(OWN, START)) == load("smoke")


@pytest.mark.parametrize(
    "change",
    ["seeds = 4\nclassifier = {'epochs': 9}", "seeds, classifier = 2 * 2, dict(epochs=9)",
     "import os\nseeds = len('four')\nclassifier = {}\nclassifier |= {'epochs': 9}",
     "# Parameters\nseeds = 4\nclassifier = {\"epochs\": 9}\n"],
)  # fmt: skip
def test_a_notebook_changes_what_it_sets(change: str) -> None:
    changed = notebook.parameters(_kernel(OWN, change, START))
    assert (changed.seeds, changed.classifier.epochs) == (4, 9)
    assert changed.classifier.batch == load("smoke").classifier.batch


def test_what_a_startup_file_defines_is_no_parameter() -> None:
    namespace = _kernel("profile = 'smoke'", START, seed=3, seeds=7, threads=9)
    assert notebook.parameters(namespace) == load("smoke")


@pytest.mark.parametrize(
    ("cell", "named"),
    [("sedes = 3", "'sedes' is no parameter; did you mean 'seeds'?"),
     ("classifier = {'epoch': 3}", "'classifier.epoch' is no parameter; did you mean 'epochs'?"),
     ("import os\nlr = 0.1", "'lr' is no parameter"), ("flag: bool = False", "'flag' is no parameter"),
     ("seeds = 1\nflag = print", "'flag' is no parameter"), ("# Parameters\nseed = 3\n", "'seed' is no parameter"),
     ("seeds = '3'", "'seeds' is '3', but must be an integer between 1 and 1,000"),
     ("seeds = print", "'seeds' is <built-in function print>"), ("seeds = 3.0", "'seeds' is 3.0")],
)  # fmt: skip
@pytest.mark.parametrize("again", [False, True], ids=["first run", "after a good run"])
def test_nothing_that_is_set_is_ignored(cell: str, named: str, again: bool) -> None:
    good = [OWN, START, *LATER] if again else []
    assert named in _refused(*good, OWN, cell, START)
    assert named in _refused(*good, f"{OWN}\n{cell}", START)


def test_all_cells_can_be_run_again() -> None:
    namespace = _kernel(OWN, START, *LATER, OWN, "seeds = 1", BROKEN, START)
    assert notebook.parameters(namespace).seeds == 1


def test_no_later_cell_of_the_notebooks_is_one_of_parameters() -> None:
    """Else nobody could run them twice."""
    for name in (*NOTEBOOKS.values(), "explore"):
        cells = [
            c.source for c in nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4).cells if c.cell_type == "code"
        ]
        assert [bool(notebook.parameter_names(cell)) for cell in cells] == [True] + [False] * (len(cells) - 1)


def test_parameters_that_the_notebook_would_take_back_are_refused() -> None:
    """Papermill puts its cell at the top of a notebook whose tag is lost."""
    injected = '# Parameters\nprofile = "smoke"\nseeds = 1\n'
    assert "would be ignored" in _refused(injected, OWN, START)
    assert notebook.parameters(_kernel(OWN, injected, START)).seeds == 1
    assert notebook.parameters(_kernel(injected, START)).seeds == 1


def test_papermill_begins_its_cell_as_is_expected(tmp_path: Path) -> None:
    """Through its command line, with a notebook whose tag is lost; no other profile is run."""
    code = "from reprolib.report import notebook\nprint(notebook.parameters(globals()))"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [new_code_cell(OWN), new_code_cell(code)]
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), tmp_path / "n.ipynb")
    command = [sys.executable, "-m", "papermill", "n.ipynb", "out.ipynb", "-p", "profile", "cpu"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0 and "tag the cell that holds them `parameters`" in done.stderr


@pytest.mark.parametrize("inside", [".", "notebooks"])
def test_a_notebook_of_another_checkout_is_refused(
    inside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "reprolib" / "run").mkdir(parents=True)
    (tmp_path / "reprolib" / "run" / "files.py").touch()
    (tmp_path / inside).mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / inside)
    with pytest.raises(ReproError, match=r"the current folder belongs to .*, but this is the code of .*`make setup`"):
        notebook.start(_kernel(OWN, START), "claim2")


@pytest.mark.parametrize("name", ["REPROLIB_BUILD", "REPROLIB_ASSETS", "REPROLIB_CACHE"])
def test_a_relative_folder_is_refused_where_nobody_knows_what_to(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "out")
    with pytest.raises(ReproError, match=f"{name} is 'out', but a notebook has a folder of its own; name the whole"):
        notebook.start(_kernel(OWN, START), "claim2")


def test_the_parameters_of_a_notebook_are_those_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("profile: smoke\nseeds: 1\n")
    assert params.load(tmp_path / "mine.yaml") == notebook.parameters(_kernel(f"{OWN}\nseeds = 1", START))


def test_a_front_end_without_a_history_of_cells_has_its_parameters_too() -> None:
    """nbval runs cells so; then the names of parameters are all that tells them from other values."""
    assert notebook.parameters({"profile": "smoke", "seeds": 5, "other": 3}).seeds == 5
