"""What every notebook calls first."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib

from reprolib import params
from reprolib.report.results import Results, store_folder
from reprolib.run import assets, store
from reprolib.run.errors import ParameterError
from reprolib.run.files import require_this_checkout, settle_places
from reprolib.schema import Params, did_you_mean

INJECTED = "# Parameters\n"
"""How the cell begins that papermill puts after the one that is tagged ``parameters``."""


def start(namespace: Mapping[str, Any], claim: str) -> tuple[Params, Results]:
    """What :func:`ready` does for the notebook of a claim; return the parameters and its results."""
    chosen = ready(namespace)
    return chosen, Results(claim, chosen)


def ready(namespace: Mapping[str, Any]) -> Params:
    """Check the parameters of a notebook and the assets they need, put its store in use, and return the parameters.

    namespace: the notebook's ``globals()``. Raises ParameterError, AssetError or another ReproError with one sentence.
    """
    require_this_checkout()
    settle_places()
    matplotlib.rcdefaults()  # whatever the user's matplotlibrc or MPLBACKEND says
    matplotlib.use("inline")
    chosen = parameters(namespace)
    assets.require(*params.needed_assets(chosen))
    store.use(store.Store(store_folder(chosen)), chosen.threads)
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
    names = [name for line in lines for name in _targets(line)]
    plain = all(isinstance(line, ast.Import | ast.ImportFrom) or _is_value(line) for line in lines)
    return names if plain or set(names) & set(Params.model_fields) else []


def _targets(line: ast.stmt) -> Iterator[str]:
    targets: Sequence[ast.expr] = line.targets if isinstance(line, ast.Assign) else ()
    if isinstance(line, ast.AnnAssign | ast.AugAssign):
        targets = [line.target]
    yield from (node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name))


def _is_value(line: ast.stmt) -> bool:
    """Whether a line gives a plain value to a name."""
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        ast.literal_eval(line.value)  # type: ignore[attr-defined]
        return isinstance(line, ast.Assign | ast.AnnAssign)
    return False
