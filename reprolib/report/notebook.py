"""A notebook: what it calls first, which of its cells are parameters, and how it is executed, by this interpreter, with
this checkout's code, and with none of the user's settings."""

from __future__ import annotations

import ast
import contextlib
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import nbformat

from reprolib import params
from reprolib.report.results import Results, use_store
from reprolib.run import ParameterError, ReproError, assets
from reprolib.run.files import ROOT, make_folder, place, require_this_checkout, settle_places, write_atomically
from reprolib.schema import Params, did_you_mean

FOLDER = ROOT / "notebooks"
INJECTED = "# Parameters\n"
"""How the cell begins that papermill puts after the one that is tagged ``parameters``."""


def start(namespace: Mapping[str, Any], claim: str) -> tuple[Params, Results]:
    """What :func:`ready` does for the notebook of a claim; return the parameters and its results."""
    chosen = ready(namespace)
    return chosen, Results(claim, chosen)


def ready(namespace: Mapping[str, Any]) -> Params:
    """Check the parameters of a notebook and the assets they need, put its store in use, and return the parameters.
    namespace: the notebook's ``globals()``."""
    require_this_checkout()
    settle_places()
    matplotlib.rcdefaults()  # whatever the user's matplotlibrc or MPLBACKEND says
    matplotlib.use("inline")
    chosen = parameters(namespace)
    assets.require(*params.needed_assets(chosen))
    use_store(chosen)
    return chosen


def parameters(namespace: Mapping[str, Any]) -> Params:
    """What the parameter cells of a notebook set, on top of the profile they name; None and {} keep its value.

    Parameter cells are those that set a parameter, and those that hold nothing but values: what other cells define, or
    a startup file of IPython, is no parameter. Raises ParameterError for a name that is none, also when cells are run
    again, and where papermill's cell ran before the notebook's own, which would take everything back.
    """
    cells = [(cell, names) for cell in namespace.get("In", ()) if (names := parameter_names(cell))]
    own = {name for cell, names in cells if not cell.startswith(INJECTED) for name in names}
    if cells and cells[0][0].startswith(INJECTED) and own & set(cells[0][1]):
        raise ParameterError(
            "what papermill was given would be ignored, because the notebook's own parameters come after it; "
            "tag the cell that holds them `parameters`"
        )
    asked = [names for _, names in cells] or [list(Params.model_fields)]  # nbval keeps no history of cells
    given = {name: namespace[name] for names in asked for name in names if name in namespace}
    if unknown := [name for name in given if name not in Params.model_fields]:
        raise ParameterError(
            f"{unknown[0]!r} is no parameter{did_you_mean(unknown[0], list(Params.model_fields))}; "
            "correct the cell that sets it and restart the kernel"
        )
    return params.load({name: value for name, value in given.items() if value is not None and value != {}})


def parameter_names(cell: str) -> list[str]:
    """The names that a cell sets, if it is one of parameters."""
    try:
        lines = ast.parse(cell).body
    except SyntaxError:  # it did not run
        return []
    targets: list[ast.expr] = []
    for line in lines:
        targets += line.targets if isinstance(line, ast.Assign) else []
        targets += [line.target] if isinstance(line, ast.AnnAssign | ast.AugAssign) else []
    names = [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
    plain = all(isinstance(line, ast.Import | ast.ImportFrom) or _is_value(line) for line in lines)
    return names if plain or set(names) & set(Params.model_fields) else []


def _is_value(line: ast.stmt) -> bool:
    """Whether a line gives a plain value to a name."""
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        ast.literal_eval(line.value)  # type: ignore[attr-defined]
        return isinstance(line, ast.Assign | ast.AnnAssign)
    return False


# ---------------------------------------------------------------- execution


def execute(name: str, chosen: Params, target: Path) -> None:
    """Execute one notebook with papermill into ``target``, then bring it into a form without times and ids.

    Raises ReproError with the last line of the error and the notebook that shows it.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    notebook = _read(FOLDER / f"{name}.ipynb")
    make_folder(target.parent)
    print(f"{name}: executing with profile {chosen.profile}", file=sys.stderr, flush=True)
    try:
        with tempfile.TemporaryDirectory() as settings:
            papermill.execute_notebook(
                notebook,
                target,
                parameters=chosen.model_dump(),
                kernel_name="python3",
                kernel_manager_class=_kernel(Path(settings)),
                start_timeout=300,
                cwd=FOLDER,
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
