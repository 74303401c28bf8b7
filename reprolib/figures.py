"""What every plot has in common: one function, one figure, one data file. The plots are in ``mnist/figures.py`` and
``natural/figures.py``.

A figure is drawn from its data file alone, so that it can be drawn again and a test can hold the numbers behind it to a
tolerance. Data are a table (CSV) or arrays (npz, uint8 pictures (..., H, W, 3)).
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import PIL.Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

Arrays = Mapping[str, np.ndarray]
Data = pd.DataFrame | Arrays

STYLE: Any = {
    "figure.dpi": 110,
    "savefig.dpi": 110,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "reprolib",
}

_DRAW: dict[str, Callable[[Any], Figure]] = {}


def figure(*names: str) -> Callable[[Callable[[Any], Figure]], Callable[[Any], Figure]]:
    """Decorator: the function draws the figures of these names from their data."""

    def add(function: Callable[[Any], Figure]) -> Callable[[Any], Figure]:
        _DRAW.update(dict.fromkeys(names, function))
        return function

    return add


def suffix(data: Data) -> str:
    return ".csv" if isinstance(data, pd.DataFrame) else ".npz"


def to_bytes(data: Data) -> bytes:
    """The data file: CSV with six significant digits, or an npz whose bytes depend on the arrays alone."""
    if isinstance(data, pd.DataFrame):
        return data.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode()
    stream = io.BytesIO()
    arrays: dict[str, Any] = {name: data[name] for name in data}
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def read(file: Path) -> Data:
    """The data of a figure; npz files are read without unpickling."""
    if file.suffix == ".csv":
        return pd.read_csv(file, keep_default_na=True)
    with np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


@contextlib.contextmanager
def _known_settings() -> Iterator[None]:
    """matplotlib's own settings with ours, whatever a user's matplotlibrc says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def draw(name: str, file: Path) -> Figure:
    """Draw the figure ``name`` from its data file. Raises KeyError for a name that no function draws."""
    with _known_settings():
        return _DRAW[name](read(file))


def animated(frames: np.ndarray, milliseconds: int = 150) -> bytes:
    """Frames (N, H, W, 3), uint8, as an animated PNG that repeats; small ones are enlarged to about 200 pixels."""
    scale = max(1, 200 // frames.shape[1])
    first, *others = (PIL.Image.fromarray(frame.repeat(scale, 0).repeat(scale, 1)) for frame in frames)
    stream = io.BytesIO()
    first.save(stream, "PNG", save_all=True, append_images=others, duration=milliseconds, loop=0, optimize=True)
    return stream.getvalue()


def png(drawn: Figure) -> bytes:
    """PNG bytes without a creation date or library version."""
    stream = io.BytesIO()
    with _known_settings():
        drawn.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def to_pixels(images: Tensor) -> np.ndarray:
    """Images float (N, C, H, W) in [-1, 1] as uint8 (N, H, W, C): (x + 1) / 2, clipped."""
    shown = ((images + 1) / 2).clamp(0, 1).mul(255).round()
    return np.asarray(shown.permute(0, 2, 3, 1).byte().numpy())


def sheet(images: np.ndarray, gap: int = 2) -> np.ndarray:
    """Pictures (rows, columns, H, W, 3) as one picture with white gaps."""
    rows, columns, height, width, _ = images.shape
    canvas = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for r in range(rows):
        for c in range(columns):
            top, left = r * (height + gap), c * (width + gap)
            canvas[top : top + height, left : left + width] = images[r, c]
    return canvas


def show(axes: Axes, picture: np.ndarray, title: str = "") -> None:
    axes.imshow(picture, interpolation="nearest")
    axes.set_title(title)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
