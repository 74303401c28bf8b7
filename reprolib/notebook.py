"""What every claim notebook calls first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reprolib import assets, params
from reprolib.mnist.study import Study
from reprolib.results import Results, build_folder
from reprolib.store import Store


def start(namespace: Mapping[str, Any], claim: str) -> tuple[Study, Results]:
    """Check the parameters of a notebook and the assets they need; return its experiments and its results.

    namespace: the notebook's ``globals()``. Raises ParameterError or AssetError with one sentence.
    """
    chosen = params.from_notebook(namespace)
    assets.require(*params.needed_assets(chosen))
    study = Study(chosen, Store(build_folder() / chosen.profile / "store"))
    return study, Results(claim, chosen)
