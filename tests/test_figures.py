"""Every figure of the report: drawn from its data file alone, and from nothing else."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import claims
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from reprolib import figures
from reprolib.mnist import figures as _mnist  # noqa: F401 - adds its figures to these
from reprolib.mnist.tables import GENERATORS
from reprolib.natural import figures as _natural  # noqa: F401
from reprolib.natural import tables as _tables  # noqa: F401
from reprolib.schema import SOURCES

pytestmark = pytest.mark.filterwarnings("error::UserWarning")  # such as of a layout that does not fit
RANDOM = np.random.default_rng(0)
VARIANTS = ["Colored MNIST", "Wildlife MNIST"]
SETS = ["Original", "GAN", "CGN"]


def _pictures(*shape: int) -> np.ndarray:
    return RANDOM.integers(0, 256, (*shape, 32, 32, 3), dtype=np.uint8)


def _points() -> pd.DataFrame:
    """Three repetitions of each training set, and a published value of one."""
    rows = [
        (v, s, s, "shipped" if s == "CGN" else np.nan, study, 60.0 + 3 * i)
        for v in VARIANTS
        for s in SETS
        for study, values in (("here", range(3)), ("Bagad et al.", range(5 if s == "CGN" else 0)))
        for i in values
    ]
    return pd.DataFrame(rows, columns=["variant", "row", "training_set", "source", "study", "value"])


def _ablation() -> pd.DataFrame:
    rows = [
        (variant, "CGN trained here", mix, ratio, size, study, 50.0 + ratio + size / 100)
        for variant in VARIANTS
        for ratio in (1, 10)
        for size in (500, 1000)
        for study, mix in (("ours", "cf"), ("ours", "original+cf"), ("Bagad et al.", "cf"))
    ]
    return pd.DataFrame(rows, columns=["variant", "source", "mix", "ratio", "size", "study", "test"])


def _control() -> pd.DataFrame:
    names = ["shape", "foreground", "background"]
    rows = [(v, "CGN trained here", f, n, 90.0 if f == n else 4.0) for v in VARIANTS for f in names for n in names]
    rows = [row for row in rows if row[:1] + row[2:3] != ("Colored MNIST", "background")]  # it has none
    return pd.DataFrame(rows, columns=["variant", "source", "factor", "label", "share"])


def _measures() -> pd.DataFrame:
    columns = ["mass_inside", "iou_area", "iou_digit", "iou_macro", "empty"]
    cases = pd.DataFrame(
        [(s, h) for s in SETS for h in ("GradCAM", "all zero") for _ in range(2)], columns=["training_set", "heatmap"]
    )
    return cases.assign(**{name: np.linspace(0.1, 0.6, len(cases)) for name in columns})


DATA: dict[str, figures.Data] = {
    "data": {title: _pictures(4, 10) for title in VARIANTS},
    "counterfactuals": {title: _pictures(10, 6) for title in VARIANTS},
    "mechanisms": {title: _pictures(5, 10) for title in VARIANTS[:1]},
    "training_sheets": {"Colored MNIST|0,1000": _pictures(2, 10)},
    "good_digits": pd.DataFrame(
        [
            {"variant": v, "source": "CGN trained here, published recipe", "seed": 200}
            | {f"digit_{i}": i / 10 for i in range(10)}
            | {f"good_{i}": i > 7 for i in range(10)}
            for v in VARIANTS
        ]
    ),
    "good_digit_runs": pd.DataFrame({"good_digits": [4, 7, 9], "runs": [10, 5, 1], "study": ["eye", "eye", "here"]}),
    "training_quality": pd.DataFrame(
        {
            "variant": ["Colored MNIST"] * 4,
            "source": ["CGN, stable"] * 4,
            "seed": [0, 0, 1, 1],
            "step": [0, 10, 0, 10],
            "good_digits": [0, 9, 1, 7],
        }
    ),
    "control": _control(),
    "accuracy": _points(),
    "in_domain": _points(),
    "accuracy_by_quality": pd.DataFrame(
        {"variant": VARIANTS, "source": "CGN of the authors", "recognised": [70.0, 90.0], "accuracy_10k": [30.0, 80.0]}
    ),
    "recipe_ablation": pd.DataFrame(
        {
            "without": ["nothing left out", "pack", "pack"],
            "accuracy_10k": [90.0, 40.0, 60.0],
            "good_digits": [9.0, 8.0, 10.0],
            "pairwise_iou": [0.3, 0.7, 0.8],
        }
    ),
    "ablation": _ablation(),
    "explorer": claims.explored(sources=2),
    "gradcam_grid": {"images": _pictures(100), "CGN": RANDOM.integers(0, 256, (100, 32, 32), dtype=np.uint8)},
    "gradcam_measures": _measures(),
}
for world in ("scenes", "imagenet"):
    small = RANDOM.integers(0, 256, (3, 4, 6, 16, 16, 3), dtype=np.uint8)
    DATA |= {
        f"{world}_data": {"images": small[:, :, 0], "rows": np.array(["training", "test", "cue conflict"])},
        f"{world}_counterfactuals": {
            "images": small.reshape(-1, 16, 16, 3)[:16],
            "labels": np.array(["a / b / c"] * 16),
        },
        f"{world}_interpolation": {
            "images": small[:, :, 0],
            "walks": np.array(["shape", "texture", "all"]),
            "ends": np.array(["a", "b"]),
        },
        f"{world}_training": {"sheets": small, "updates": np.arange(3), "classes": np.array(list("abcd"))},
        f"{world}_samples": {"sheets": small[:2].swapaxes(1, 2)[:, :5], "classes": np.array(["a", "b"])},
        f"{world}_failures": dict.fromkeys(("entanglement", "residue", "realism"), small[:, :2, 0]),
        f"{world}_ablation": pd.DataFrame(
            {"cgn": "here", "target": ["patches", "fill"], "losses": ["all", "without texture loss"], "seed": 0}
            | {"is_share": [50.0, 90.0], "mean_mask": [0.3, 0.9]}
        ),
        f"{world}_gap": pd.DataFrame(
            {"trained_on": "real", "seed": [0, 1], "set": "original", "head": "avg", "accuracy": [90.0, 92.0]}
        ),
        f"{world}_bias": pd.DataFrame(
            {"trained_on": "real", "seed": [0, 1], "head": "shape", "shape_bias": [9.0, 50.0]}
        ),
        f"{world}_heads": {
            "images": small[0, :, 0],
            "kinds": np.array(["real", "made"]),
            "real": small[:, :, 0, ..., 0],
        },
    }
DATA["scenes_control"] = _control()


def _changed(data: figures.Data) -> figures.Data:
    """The same data with another value in one place."""
    if isinstance(data, pd.DataFrame):
        column = next(c for c in ("test", "in_domain", "share", "digit_5", "runs", "good_digits", "mass_inside",
                                  "is_share", "accuracy", "shape_bias", "accuracy_10k", "value")
                      if c in data)  # fmt: skip
        copy = data.copy()
        copy.loc[0, column] = data.loc[0, column] / 2 + 1
        return copy
    return {name: _inverted(array) if array.dtype == np.uint8 else array for name, array in data.items()}


def _inverted(array: np.ndarray) -> np.ndarray:
    """Another picture in the middle."""
    return np.concatenate([array[:1], 255 - array[1:2], array[2:]])


def _draw(name: str, data: figures.Data, folder: Path) -> bytes:
    file = folder / f"{name}{figures.suffix(data)}"
    file.write_bytes(figures.to_bytes(data))
    return figures.draw(name, file)


def test_every_registered_figure_has_data_here() -> None:
    assert set(DATA) == set(figures._DRAW)


@pytest.mark.parametrize("name", sorted(DATA))
def test_the_picture_shows_the_data_file_and_nothing_else(name: str, tmp_path: Path) -> None:
    first = _draw(name, DATA[name], tmp_path)
    assert Image.open(io.BytesIO(first)).size > (100, 100)
    assert _draw(name, DATA[name], tmp_path) == first
    assert _draw(name, _changed(DATA[name]), tmp_path) != first


STYLE = {"axes.facecolor": "red", "font.size": 20, "savefig.dpi": 30, "lines.linewidth": 9, "savefig.bbox": "tight"}


@pytest.mark.parametrize("name", ["accuracy", "training_quality", "counterfactuals"])
def test_no_style_of_the_user_changes_a_byte(name: str, tmp_path: Path) -> None:
    first = _draw(name, DATA[name], tmp_path)
    with matplotlib.rc_context(STYLE):
        assert _draw(name, DATA[name], tmp_path) == first
        assert matplotlib.rcParams["font.size"] == 20, "and the user's own plots stay as they are"


def test_every_row_has_its_points_mean_and_interval_within_the_axis() -> None:
    frame = _points().rename(columns={"variant": "panel"})
    drawn = figures.dots(frame, "accuracy")
    for ax in drawn.axes:
        least, most = ax.get_xlim()
        points = [line.get_xdata() for line in ax.lines]
        assert all(least <= x <= most for xs in points for x in np.asarray(xs, float))
        assert [60.0, 63.0, 66.0] in [list(xs) for xs in points] and [63.0] in [list(xs) for xs in points]
    assert [text.get_text() for text in drawn.axes[0].get_yticklabels()] == SETS
    plt.close(drawn)


def test_a_training_set_has_one_colour_and_a_source_one_marker() -> None:
    sets = ("Original", "GAN", "Original+GAN", "CGN", "Original+CGN", "real images + true counterfactuals")
    assert len({figures.color(name) for name in sets}) == len(sets)
    assert figures.color("real images") == figures.color("Original")
    assert figures.color("real images + CGN of the authors") == figures.color("Original+CGN")
    assert figures.marker("CGN of the authors") == figures.marker("authors")
    known = [*SOURCES, GENERATORS["dcgan"]]
    assert len({figures.marker(source) for source in known}) == len(known)


def test_a_figure_that_nobody_draws_is_a_key_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="nothing"):
        _draw("nothing", DATA["accuracy"], tmp_path)


def test_a_registered_figure_is_drawn_by_its_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "_DRAW", {})

    @figures.figure("mine")
    def mine(data: pd.DataFrame) -> plt.Figure:
        drawn, ax = plt.subplots()
        ax.plot(data["x"])
        return drawn

    assert _draw("mine", pd.DataFrame({"x": [1.0, 2.0]}), tmp_path).startswith(b"\x89PNG")
    assert plt.rcParams["font.size"] != figures.STYLE["font.size"]  # the style does not leak


def test_a_table_keeps_six_significant_digits(tmp_path: Path) -> None:
    frame = pd.DataFrame({"name": ["a", "b"], "value": [1 / 3, 123456.789]})
    assert figures.to_bytes(frame) == b"name,value\na,0.333333\nb,123457\n"
    file = tmp_path / "t.csv"
    file.write_bytes(figures.to_bytes(frame))
    pd.testing.assert_frame_equal(figures.read(file), frame, rtol=1e-5)


def test_array_bytes_depend_on_the_arrays_alone(tmp_path: Path) -> None:
    a, b = _pictures(2), _pictures(3)
    content = figures.to_bytes({"two|0,5": b, "one": a})
    assert content == figures.to_bytes({"two|0,5": b.copy(), "one": a.copy()})
    assert {info.date_time[0] for info in zipfile.ZipFile(io.BytesIO(content)).infolist()} == {1980}  # no clock
    file = tmp_path / "a.npz"
    file.write_bytes(content)
    read = figures.read(file)
    assert list(read) == ["two|0,5", "one"]  # the order of the panels
    np.testing.assert_array_equal(read["two|0,5"], b)


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "evil.npz"
    np.savez(file, images=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        figures.read(file)


def test_pictures_map_minus_one_and_one_to_black_and_white() -> None:
    values = torch.tensor([-1.0, 1.0, 0.0, -2.0, 1.08, 1 / 255])
    shown = figures.to_pixels(values.reshape(1, 1, 1, 6).expand(2, 3, 4, 6))
    assert shown.shape == (2, 4, 6, 3) and shown.dtype == np.uint8
    assert shown[1, 2, :, 0].tolist() == [0, 255, 128, 0, 255, 128]


def test_a_sheet_puts_every_picture_in_its_place_between_white_gaps() -> None:
    images = np.arange(6, dtype=np.uint8).reshape(2, 3, 1, 1, 1) * np.ones((4, 5, 3), np.uint8)
    sheet = figures.sheet(images, gap=2)
    assert sheet.shape == (2 * 4 + 2, 3 * 5 + 2 * 2, 3)
    for row in range(2):
        for column in range(3):
            assert (sheet[6 * row : 6 * row + 4, 7 * column : 7 * column + 5] == 3 * row + column).all()
    assert (sheet[4:6] == 255).all() and (sheet[:, 5:7] == 255).all() and (sheet[:, 12:14] == 255).all()
