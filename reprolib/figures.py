"""What every plot has in common: one function, one figure, one data file. The plots are in ``mnist/figures.py`` and
``natural/figures.py``.

A figure is drawn from its data file alone, so that it can be drawn again and a test can hold the numbers behind it to a
tolerance. Data are a table (CSV) or arrays (npz, uint8 pictures (..., H, W, 3)).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import PIL.Image
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from reprolib import statistics
from reprolib.schema import SOURCES

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
}

_NAMED = sns.color_palette("colorblind")
_COLORS = {
    "Original": _NAMED[0], "GAN": _NAMED[8], "Original+GAN": _NAMED[1], "CGN": _NAMED[3], "Original+CGN": _NAMED[4],
    "real images": _NAMED[0], "true counterfactuals": _NAMED[2],
}  # fmt: skip
_MARKERS = {
    **dict(zip(SOURCES, "oPhD*", strict=True)), **dict(zip(SOURCES.values(), "oPhD*", strict=True)),
    "DCGAN trained here": "X",
    "Sauer & Geiger": "^", "reproduction study": "s", "Bagad et al.": "v",
}  # fmt: skip


def color(training_set: str) -> Any:
    """The colour of a training set, the same in every figure; grey for what is none."""
    first, _, added = training_set.partition(" + ")
    name = {"": first, "true counterfactuals": added}.get(added, "Original+CGN")
    return _COLORS.get(name, "0.35")


def marker(source: str) -> str:
    """The marker of a source of images, by key or by title, or of a study; the same in every figure."""
    return _MARKERS.get(source, "o")


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


def draw(name: str, file: Path) -> bytes:
    """The figure ``name``, drawn from its data file, as a PNG without a creation date or library version; with
    matplotlib's own settings and ours, whatever a user's matplotlibrc says. Raises KeyError for a name that no function
    draws."""
    with_alpha, stream = io.BytesIO(), io.BytesIO()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        drawn = _DRAW[name](read(file))
        drawn.savefig(with_alpha, format="png")
        plt.close(drawn)
    PIL.Image.open(with_alpha).convert("RGB").save(stream, "PNG", optimize=True)  # a tenth smaller than with alpha
    return stream.getvalue()


def animated(frames: np.ndarray, milliseconds: int = 150) -> bytes:
    """Frames (N, H, W, 3), uint8, as an animated PNG that repeats; small ones are enlarged to about 200 pixels."""
    scale = max(1, 200 // frames.shape[1])
    first, *others = (PIL.Image.fromarray(frame.repeat(scale, 0).repeat(scale, 1)) for frame in frames)
    stream = io.BytesIO()
    first.save(stream, "PNG", save_all=True, append_images=others, duration=milliseconds, loop=0, optimize=True)
    return stream.getvalue()


def to_pixels(images: Tensor) -> np.ndarray:
    """Images float (N, C, H, W) in [-1, 1] as uint8 (N, H, W, C): (x + 1) / 2, clipped."""
    shown = ((images + 1) / 2).clamp(0, 1).mul(255).round()
    return np.asarray(shown.permute(0, 2, 3, 1).byte().numpy())


def sheet(images: np.ndarray, gap: int = 2) -> np.ndarray:
    """Pictures, uint8 (rows, columns, H, W) or (..., 3), as one picture with white gaps."""
    edges = [(0, 0), (0, 0), (0, gap), (0, gap), (0, 0)][: images.ndim]
    spaced = np.pad(images, edges, constant_values=255).swapaxes(1, 2)  # (rows, H, columns, W)
    height, width = spaced.shape[0] * spaced.shape[1], spaced.shape[2] * spaced.shape[3]
    return spaced.reshape(height, width, *spaced.shape[4:])[: height - gap, : width - gap]


def dots(
    data: pd.DataFrame, label: str, width: float = 3.2, chance: float | None = None, shared: bool = True
) -> Figure:
    """Panels of rows: each repetition as a small point, their mean with its 95 % interval, and published values hollow.

    data: panel, row, training_set (colour), source (marker), value, and study, empty or ``here`` for what was measured
    here. shared: one axis for all panels; else each has its own.
    """
    data = data.assign(study=data.get("study", "here")).fillna({"study": "here", "source": ""}).dropna(subset="value")
    panels, rows = list(dict.fromkeys(data["panel"])), list(dict.fromkeys(data["row"]))
    size = (width * len(panels) + 1.6, 0.3 * len(rows) + 1.1)
    drawn, axes = plt.subplots(1, len(panels), figsize=size, sharey=True, sharex=shared, squeeze=False)
    keys = ["row", "study", "training_set", "source"]
    for ax, panel in zip(axes[0], panels, strict=True):
        for (row, study, training_set, source), part in data[data["panel"] == panel].groupby(keys, sort=False):
            at, values, paint = rows.index(row), part["value"].tolist(), color(training_set)
            if study != "here":
                ax.plot(values, [at + 0.25] * len(values), marker(study), mfc="white", mec=paint, ms=5, zorder=3)
                continue
            least, most = min(0.0, *values), max(100.0, *values)
            found = statistics.interval(values, (-most if least < 0 else 0.0, most))
            if len(values) > 1:
                ax.plot(values, [at - 0.25] * len(values), "o", ms=3, color=paint, alpha=0.7, mew=0)
            ax.plot([found.mean], [at], marker(source), ms=6, color=paint)
            ax.plot([found.low, found.high], [at, at], "-", lw=1.2, color=paint)
        ax.set(title=panel, yticks=range(len(rows)), ylim=(len(rows) - 0.4, -0.6))
        ax.grid(axis="x", color="0.9")
        ax.margins(x=0.15)
        ax.set_axisbelow(True)
        if chance is not None:
            ax.axvline(chance, color="0.4", ls="--", lw=1)
    axes[0, 0].set_yticklabels(rows, fontsize=7.5)
    drawn.supxlabel(label, fontsize=9)
    studies = [study for study in dict.fromkeys(data["study"]) if study != "here"]
    if studies:
        hollow = [plt.Line2D([], [], ls="", marker=marker(study), mfc="white", mec="0.3") for study in studies]
        drawn.legend(hollow, studies, loc="outside upper center", ncols=len(studies), fontsize=8, frameon=False)
    return drawn


def show_sheet(
    axes: Axes, pictures: np.ndarray, rows: Sequence[str], columns: Sequence[str] = (), title: str = "", size: float = 9
) -> None:
    """Pictures (rows, columns, H, W, 3) with a name beside each row and, of this size, below each column."""
    show(axes, sheet(pictures), title)
    height, width = pictures.shape[2:4]
    axes.set_yticks((height + 2) * np.arange(len(rows)) + height / 2, rows)
    axes.set_xticks((width + 2) * np.arange(len(columns)) + width / 2, columns, fontsize=size)
    axes.tick_params(length=0)


def show(axes: Axes, picture: np.ndarray, title: str = "") -> None:
    axes.imshow(picture, interpolation="nearest")
    axes.set(title=title, xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
