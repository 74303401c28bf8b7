"""Data-parallel training: two processes of torchrun give what one gives, and one set of results."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from reprolib.run import distributed

SCRIPT = Path(__file__).parent / "two_processes.py"


def _trained(folder: Path, processes: int) -> dict[str, dict[str, Tensor]]:
    folder.mkdir()
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parent.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launch, str(SCRIPT), str(folder)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(list(folder.glob(f"process * of {processes}"))) == processes
    return {
        name: safetensors.torch.load_file(next((folder / name).glob("*.safetensors"))) for name in ("ensemble", "cgn")
    }


def test_two_processes_train_what_one_trains(tmp_path: Path) -> None:
    one, two = (_trained(tmp_path / str(count), count) for count in (1, 2))
    for name, value in one["ensemble"].items():
        torch.testing.assert_close(two["ensemble"][name], value, atol=1e-6, rtol=1e-5)
    apart = torch.cat([(two["cgn"][name] - value).abs().flatten() for name, value in one["cgn"].items()])
    # Adam moves a weight by up to 3e-5 in each of two updates; spectral norms turn by other micro-batches, so a few
    # weights of tiny gradient go the other way.
    assert float((apart < 1e-6).float().mean()) > 0.9
    assert not list(tmp_path.rglob("*.checkpoint*"))
    for count in ("1", "2"):
        study = tmp_path / count / "study"
        steps = sorted(file.parent.name for file in study.rglob("*.json"))
        assert steps == ["ensemble"] * 6 + ["natural_cgn"] * 2
        assert [len(list((made / "ims").iterdir())) for made in sorted(study.glob("*/*/[tv]*"))] == [40, 18]


@pytest.mark.parametrize(("rank", "expected"), [(0, ([1, 3, 5], 0.6)), (1, ([2, 4], 0.4))])
def test_a_batch_is_dealt_out_with_weights(
    rank: int, expected: tuple[list[int], float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "size", lambda: 2)
    monkeypatch.setattr(distributed, "rank", lambda: rank)
    assert (distributed.part([1, 2, 3, 4, 5]), distributed.weight(5)) == expected
    assert (distributed.part([9]), distributed.weight(1)) == ([9], 1.0 - rank)
