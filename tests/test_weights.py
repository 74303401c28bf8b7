"""Published weights: code in a file is never run, damage is named, and nothing but a perfect fit is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from reprolib.run import AssetError, weights


class Evil:
    """Unpickled the unsafe way, this writes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


def test_named_tensors_come_back(tmp_path: Path) -> None:
    state = nn.Linear(2, 3).state_dict()
    torch.save(state, tmp_path / "good.pth")
    torch.testing.assert_close(weights.read_pth(tmp_path / "good.pth"), dict(state))


@pytest.mark.parametrize("legacy", [True, False])
def test_code_in_a_file_is_never_run(legacy: bool, tmp_path: Path) -> None:
    content = {"weight": torch.zeros(1), "payload": Evil(tmp_path / "broken in")}
    torch.save(content, tmp_path / "evil.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(AssetError, match=r"evil\.pth is damaged or carries code, which is never run; fetch it again"):
        weights.read_pth(tmp_path / "evil.pth")
    assert not (tmp_path / "broken in").exists()
    torch.load(tmp_path / "evil.pth", weights_only=False)
    assert (tmp_path / "broken in").exists()  # the file is as bad as it should be


@pytest.mark.parametrize("cut", [0, 1, 100, -50])
def test_a_truncated_file_is_named(cut: int, tmp_path: Path) -> None:
    file = tmp_path / "cut.pth"
    torch.save({"weight": torch.zeros(100)}, file)
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(AssetError, match=r"cut\.pth is damaged"):
        weights.read_pth(file)


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"weight": 3}, {"state": {"weight": torch.zeros(1)}}])
def test_anything_but_named_tensors_is_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(AssetError, match=r"other\.pth holds more than named tensors"):
        weights.read_pth(tmp_path / "other.pth")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match=r"gone\.pth is missing"):
        weights.read_pth(tmp_path / "gone.pth")


def test_step_counters_of_old_files_may_be_missing() -> None:
    model = nn.BatchNorm1d(2)
    old = {name: value + 1 for name, value in model.state_dict().items() if name != "num_batches_tracked"}
    weights.load_strictly(model, old, "the file")
    assert model.weight.tolist() == [2, 2] and model.num_batches_tracked == 0


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"weight": torch.zeros(3, 2)}, "lacks bias;"),
        ({"weight": torch.zeros(3, 2), "bias": torch.zeros(3), "more": torch.zeros(1)}, "has unknown more;"),
        ({"weight": torch.zeros(2, 2), "bias": torch.zeros(2)}, "has another shape of bias and 1 more;"),
    ],
)
def test_only_a_perfect_fit_is_loaded(state: dict[str, Any], said: str) -> None:
    model = nn.Linear(2, 3)
    before = model.weight.clone()
    with pytest.raises(AssetError, match=f"the file {said} choose the file that fits"):
        weights.load_strictly(model, state, "the file")
    assert torch.equal(model.weight, before)
