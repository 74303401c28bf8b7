"""What every claim notebook calls first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reprolib import params
from reprolib.mnist.study import Study
from reprolib.report.results import Results, store_folder
from reprolib.run import assets
from reprolib.run.store import Store

_at_first: set[str] = set()
"""The names of a notebook when its first cell after the parameters ran for the first time in this kernel."""


def start(namespace: Mapping[str, Any], claim: str) -> tuple[Study, Results]:
    """Check the parameters of a notebook and the assets they need; return its experiments and its results.

    namespace: the notebook's ``globals()``. When cells are run again, what later cells defined is no parameter. Raises
    ParameterError or AssetError with one sentence.
    """
    if not _at_first:
        _at_first.update(namespace)
    known = _at_first | set(params.Params.model_fields)
    chosen = params.from_notebook({name: value for name, value in namespace.items() if name in known})
    assets.require(*params.needed_assets(chosen))
    return Study(chosen, Store(store_folder(chosen))), Results(claim, chosen)
