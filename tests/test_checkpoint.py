"""Checkpoints: the newest state that is whole wins, and no save can lose what was there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import damage
import pytest
import torch

from reprolib.run import StoreError, files
from reprolib.run.store import Checkpoint

STATES = [{"step": step, "model": {"w": torch.full((3,), float(step))}, "list": [1, None, "a"]} for step in range(3)]


def test_the_newest_checkpoint_wins(checkpoint: Checkpoint) -> None:
    assert checkpoint.load() is None
    for state in STATES:
        checkpoint.save(state)
        loaded = checkpoint.load()
        assert loaded is not None
        assert (loaded["step"], loaded["list"]) == (state["step"], state["list"])
        assert torch.equal(loaded["model"]["w"], state["model"]["w"])
    assert len(list(checkpoint.file.parent.iterdir())) == 2


@pytest.mark.parametrize("harm", damage.HARMS.values(), ids=damage.HARMS)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    harm: Callable[[Path], object], checkpoint: Checkpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    for state in STATES:
        checkpoint.save(state)
    for file, expected in ((checkpoint.file, 1), (checkpoint.previous, None)):
        harm(file)
        assert (checkpoint.load() or {}).get("step") == expected
        assert f"{file} is a damaged checkpoint" in capsys.readouterr().err
    checkpoint.save(STATES[0])
    assert (checkpoint.load() or {}).get("step") == 0


def test_a_save_that_is_cut_short_loses_nothing(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save(STATES[1])
    replace = Path.replace

    def cut_short(self: Path, target: Path) -> Path:
        if target == checkpoint.file:  # the old state has just become the spare
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", cut_short)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(STATES[2])
    assert (checkpoint.load() or {}).get("step") == 1


def test_a_save_that_the_disk_refuses_keeps_the_spare(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even when the newest state is damaged and nobody knows it yet."""
    for state in STATES[:2]:
        checkpoint.save(state)
    damage.flip(checkpoint.file)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(files.os, "fsync", full)
        with pytest.raises(StoreError, match="No space left"):
            checkpoint.save(STATES[2])
    assert (checkpoint.load() or {}).get("step") == 0


def test_a_removed_checkpoint_is_gone_with_its_spare(checkpoint: Checkpoint) -> None:
    checkpoint.save(STATES[0])
    checkpoint.save(STATES[1])
    for name in (checkpoint.new.name, f".{checkpoint.new.name}.part"):
        checkpoint.new.with_name(name).write_bytes(b"what a killed save leaves")
    checkpoint.remove()
    checkpoint.remove()  # twice is no error
    assert list(checkpoint.file.parent.iterdir()) == []
