"""Shared fixtures. Tests that need the published files are skipped where they are not on the machine."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from reprolib import assets
from reprolib.store import Checkpoint

torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    lacking = [name for name in ("mnist", "textures", "authors_cgn") if assets.missing(name)]
    if lacking:
        reason = f"asset groups {', '.join(lacking)} are not on this machine; `python -m reprolib fetch {lacking[0]}`"
        for item in items:
            if item.get_closest_marker("assets"):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return Checkpoint(tmp_path / "run.checkpoint")
