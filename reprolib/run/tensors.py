"""Published weights: files of tensors that cannot run code, loaded into models whose names and shapes must all fit."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

from reprolib.run.errors import AssetError


def read(file: Path) -> dict[str, Tensor]:
    """The tensors of a ``.pth`` file, on the CPU. Code that such a file may carry is never run.

    Raises AssetError if the file is missing, damaged, or holds anything but named tensors.
    """
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise AssetError(f"{file} is missing; fetch it, or name the right file") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise AssetError(
            f"{file} is damaged or carries code, which is never run; fetch it again from its source"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise AssetError(f"{file} holds more than named tensors; export the state dict of the model alone")
    return dict(state)


def load_strictly(model: nn.Module, state: dict[str, Tensor], what: str) -> None:
    """Load a state dict whose names and shapes must all fit. Raises AssetError with the first that does not.

    Only the step counters of batch norms may be missing, because early files do not have them; nothing reads them.
    """
    expected = model.state_dict()
    state = {name: value for name, value in expected.items() if name.endswith("num_batches_tracked")} | state
    missing, unknown = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    shapes = [name for name in expected.keys() & state.keys() if expected[name].shape != state[name].shape]
    for complaint, names in (("lacks", missing), ("has unknown", unknown), ("has another shape of", sorted(shapes))):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise AssetError(f"{what} {complaint} {names[0]}{more}; choose the file that fits, or fetch it again")
    model.load_state_dict(state)


def exact(x: Tensor) -> Tensor:
    """The tensor in float32 if it has less: for sums, logarithms and clamps near 1, where 8 bits are too few."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
