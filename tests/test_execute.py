"""Notebooks are executed by this interpreter with this checkout's code, whatever is set up around them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import claims
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from reprolib import params
from reprolib.report import build
from reprolib.report import notebook as nb
from reprolib.run import ReproError
from reprolib.run.files import ROOT
from reprolib.schema import Params

PLOT = """
import matplotlib.pyplot as plt, os, reprolib, sys
print(seeds, digits["source"], sys.executable, reprolib.__file__, sorted({"seed", "started"} & set(globals())))
assert int(sys.flags.optimize) == 0
plt.plot([1, 2]);
"""
SPEC = {"argv": ["/bin/false"], "display_name": "Python 3", "language": "python"}


def _notebook(code: str, tags: tuple[str, ...] = ("parameters",)) -> nbformat.NotebookNode:
    own = new_code_cell("profile = 'smoke'", id="own", metadata={"tags": list(tags)})
    cells = [new_markdown_cell("# Title", id="title"), own, new_code_cell(code, id="code")]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})


@pytest.fixture
def notebooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose notebooks a test writes; runs go elsewhere."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    monkeypatch.setattr(nb, "FOLDER", folder)
    monkeypatch.setenv("REPROLIB_BUILD", str(tmp_path / "build"))
    return folder


@pytest.fixture
def smoke() -> Params:
    return params.load({"profile": "smoke"})


def _executed(notebooks: Path, smoke: Params, code: str) -> str:
    nbformat.write(_notebook(code), notebooks / "n.ipynb")
    nb.execute("n", smoke, notebooks.parent / "out.ipynb")
    return (notebooks.parent / "out.ipynb").read_text()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise ValueError('boom')", r"notebook claim1_quality failed: ValueError: boom; see .*claim1_quality\.ipynb"),
        ("import os; os.kill(os.getpid(), 9)", "notebook claim1_quality stopped: .*go on"),
        ("1", "claim1 is not finished"),  # a notebook that ends well but hands over nothing
    ],
    ids=["error", "killed", "unfinished"],
)
def test_a_notebook_that_fails_leaves_no_report(notebooks: Path, smoke: Params, code: str, said: str) -> None:
    old = notebooks.parent / "build" / "smoke"
    old.mkdir(parents=True)
    for name in ("report.md", "report.html"):
        (old / name).write_text("of an earlier run")
    nbformat.write(_notebook(code), notebooks / "claim1_quality.ipynb")
    with pytest.raises(ReproError, match=said):
        build.make(smoke)
    assert not (old / "report.md").exists() and not (old / "report.html").exists()


def test_results_of_an_earlier_run_are_not_taken_for_those_of_this_one(notebooks: Path, smoke: Params) -> None:
    """Which may have gone to another folder, or nowhere."""
    claims.finish(notebooks.parent / "build" / "smoke", smoke)
    nbformat.write(_notebook("1"), notebooks / "claim1_quality.ipynb")
    with pytest.raises(ReproError, match="claim1 is not finished"):
        build.make(smoke)


def test_an_executed_notebook_has_no_traces_of_the_run(notebooks: Path, smoke: Params) -> None:
    text = _executed(notebooks, smoke, "import sys; print('slow', file=sys.stderr)")
    assert "papermill" not in text and "start_time" not in text and "iopub" not in text and "slow\\n" not in text
    assert nb.canonical_notebook(text) == text


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home full of settings, another kernel of the same name, another checkout, and variables that Python reads."""
    files = {
        "ipython/profile_default/startup/00.py": "seed = 3",
        "ipython/profile_default/ipython_config.py": "c.InlineBackend.figure_formats = {'svg'}",
        "started.py": "started = True",
        "matplotlibrc": "axes.facecolor: red\nsavefig.dpi: 30\nfigure.dpi: 30\n",
        "share/kernels/python3/kernel.json": json.dumps(SPEC),
        "other/reprolib/__init__.py": "",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    variables = {"IPYTHONDIR": "ipython", "PYTHONSTARTUP": "started.py", "MATPLOTLIBRC": "matplotlibrc",
                 "MPLCONFIGDIR": "", "JUPYTER_PATH": "share", "JUPYTER_RUNTIME_DIR": "started.py/none",
                 "PYTHONPATH": "other"}  # fmt: skip
    for name, value in variables.items():
        monkeypatch.setenv(name, str(tmp_path / value))
    plain = {"MPLBACKEND": "Agg", "PYTHONWARNINGS": "error", "PYTHONOPTIMIZE": "1", "JUPYTER_PREFER_ENV_PATH": "0"}
    for name, value in plain.items():
        monkeypatch.setenv(name, value)


def test_a_kernel_has_this_interpreter_and_this_code(notebooks: Path, smoke: Params, hostile: None) -> None:
    executed = nbformat.reads(_executed(notebooks, smoke, PLOT), as_version=4)
    said, picture = executed.cells[-1].outputs
    assert said["text"] == f"{smoke.seeds} mlxtend {sys.executable} {ROOT / 'reprolib' / '__init__.py'} []\n"
    assert "image/png" in picture["data"]


def test_no_setting_of_the_user_changes_a_byte(notebooks: Path, smoke: Params, request: pytest.FixtureRequest) -> None:
    plain = _executed(notebooks, smoke, PLOT)
    request.getfixturevalue("hostile")
    assert _executed(notebooks, smoke, PLOT) == plain


@pytest.mark.parametrize("path", ["a $HOME {prefix} b", "ünïcödé"])
def test_an_odd_path_of_the_code_reaches_the_kernel(
    path: str, notebooks: Path, smoke: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(notebooks / path))
    assert (
        str(notebooks / path)
        in nbformat.reads(_executed(notebooks, smoke, "import sys; print(sys.path)"), as_version=4)
        .cells[-1]
        .outputs[0]["text"]
    )


@pytest.mark.parametrize(
    ("tags", "code"), [((), "1"), (("parameter",), "1"), ((), "tagged")], ids=["lost", "misspelt", "elsewhere"]
)
def test_a_notebook_that_would_ignore_its_parameters_is_refused(
    tags: tuple[str, ...], code: str, notebooks: Path, smoke: Params
) -> None:
    notebook = _notebook(code, tags)
    if code == "tagged":
        notebook.cells[-1].metadata["tags"] = ["parameters"]
    nbformat.write(notebook, notebooks / "n.ipynb")
    with pytest.raises(ReproError, match=r"n\.ipynb would ignore what it is given: tag the cell that sets `profile`"):
        nb.execute("n", smoke, notebooks / "out.ipynb")
    assert not (notebooks / "out.ipynb").exists()


@pytest.mark.parametrize("content", [None, "", "{", "{}", '{"cells": 3, "nbformat": 4, "nbformat_minor": 5}'])
def test_a_damaged_notebook_is_named(content: str | None, notebooks: Path, smoke: Params) -> None:
    if content is not None:
        (notebooks / "n.ipynb").write_text(content)
    with pytest.raises(ReproError, match=r"n\.ipynb cannot be read \(.*\); restore it") as caught:
        nb.execute("n", smoke, notebooks / "out.ipynb")
    assert str(caught.value).isprintable()


def test_a_kernel_that_does_not_start_is_not_run_again_for_ever(
    notebooks: Path, smoke: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one whose packages are broken: going on would end in the same place."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "ipykernel_launcher.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))
    with pytest.raises(ReproError, match=r"the kernel of notebook n did not start .*remove \.venv") as caught:
        _executed(notebooks, smoke, "1")
    assert "go on" not in str(caught.value)


def test_canonical_notebook_drops_what_differs_between_equal_runs() -> None:
    def run(stamp: str) -> str:
        notebook = _notebook("1")
        notebook.metadata["papermill"] = {"start_time": stamp}
        injected = new_code_cell("seeds = 2", id=stamp, metadata={"tags": ["injected-parameters"]})
        notebook.cells.insert(2, injected)
        for cell in notebook.cells:
            cell.metadata["papermill"] = {"duration": stamp}
            cell.metadata["execution"] = {"iopub.status.busy": stamp}
        streams = {"stderr": stamp, "stdout": "kept"}
        notebook.cells[3].outputs = [new_output("stream", name=name, text=text) for name, text in streams.items()]
        return nbformat.writes(notebook)

    first = nb.canonical_notebook(run("one"))
    assert first == nb.canonical_notebook(run("two")) == nb.canonical_notebook(first)
    assert "kept" in first and "stderr" not in first and "papermill" not in first
    nbformat.validate(nbformat.reads(first, as_version=4))
