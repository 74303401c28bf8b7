"""Executing a notebook: by this interpreter, with this checkout's code, and with none of the user's settings."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import matplotlib
import nbformat

from reprolib.report.notebook import parameter_names
from reprolib.run.errors import ReproError
from reprolib.run.files import ROOT, make_folder, place, write_atomically
from reprolib.schema import Params

NOTEBOOKS = ROOT / "notebooks"


def execute(name: str, params: Params, target: Path) -> None:
    """Execute one notebook with papermill into ``target``, then bring it into a form without times and ids.

    Raises ReproError with the last line of the error and the notebook that shows it.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    notebook = _read(NOTEBOOKS / f"{name}.ipynb")
    make_folder(target.parent)
    print(f"{name}: executing with profile {params.profile}", file=sys.stderr, flush=True)
    try:
        with tempfile.TemporaryDirectory() as settings:
            papermill.execute_notebook(
                notebook,
                target,
                parameters=params.model_dump(),
                kernel_name="python3",
                kernel_manager_class=_kernel(Path(settings)),
                start_timeout=300,
                cwd=NOTEBOOKS,
                progress_bar=False,
                stdout_file=sys.stderr,
            )
    except PapermillExecutionError as error:
        raise ReproError(f"notebook {name} failed: {error.ename}: {error.evalue}; see {target}") from None
    except DeadKernelError as error:
        raise ReproError(f"notebook {name} stopped: {error}; run the same command to go on") from None
    except RuntimeError as error:
        repair = "if it happens again, remove .venv and set it up again with `make setup`"
        raise ReproError(f"the kernel of notebook {name} did not start ({error}); {repair}") from None
    write_atomically(target, canonical_notebook(target.read_text(encoding="utf-8")).encode())


def _read(file: Path) -> nbformat.NotebookNode:
    """A notebook that takes parameters. Raises ReproError."""
    try:
        notebook = nbformat.read(file, as_version=4)
    except (ValueError, TypeError, AttributeError, KeyError, OSError, nbformat.ValidationError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ReproError(f"{file} cannot be read ({reason}); restore it") from None
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1 or "profile" not in parameter_names(tagged[0].source):
        raise ReproError(
            f"{file} would ignore what it is given: tag the cell that sets `profile`, and no other, `parameters`"
        )
    return notebook


def _kernel(settings: Path) -> type:
    """The kernel of this interpreter, whatever kernels the user has installed; settings: an empty folder."""
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec

    class Kernel(AsyncKernelManager):
        kernel_spec = KernelSpec(
            argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            language="python",
            env={name: value.replace("$", "$$") for name, value in environment(settings).items()},
        )

        def __init__(self, **named: Any) -> None:
            super().__init__(connection_file=str(settings / "kernel.json"), **named)

    return Kernel


def environment(settings: Path) -> dict[str, str]:
    """What a kernel's environment has in place of the user's; settings: an empty folder."""
    others = [str(place(each)) for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    return {
        "PYTHONPATH": os.pathsep.join([str(ROOT), *others]),
        **dict.fromkeys(("PYTHONSTARTUP", "PYTHONWARNINGS", "PYTHONOPTIMIZE"), ""),
        "IPYTHONDIR": str(settings / "ipython"),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "MATPLOTLIBRC": str(Path(matplotlib.get_data_path()) / "matplotlibrc"),
    }


def canonical_notebook(text: str) -> str:
    """A notebook without what differs between two equal runs: times, run ids, papermill's notes, progress lines."""
    notebook = nbformat.reads(text, as_version=4)
    notebook.metadata.pop("papermill", None)
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
    for number, cell in enumerate(notebook.cells):
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell["id"] = f"injected-{number:02d}"
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return nbformat.writes(notebook, version=4) + "\n"
