"""Published numbers on ImageNet: whole tables, spot values as printed, and files told from tables."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from reprolib.natural import published


@pytest.mark.parametrize(
    ("table", "rows", "where", "value"),
    [
        (published.quality, 18, ("study", "reproduction study", "model", "BigGAN", "is_gen"), 195.9),
        (published.quality, 18, ("study", "Bagad et al.", "model", "CGN (no shape loss)", "is_gen"), 100.8),
        (published.challenge, 10, ("study", "reproduction study", "model", "IN-mini + CGN", "gap"), 7.7),
        (published.accuracy, 4, ("study", "reproduction study", "model", "IN-mini + CGN (ensemble)", "top-1"), 69.1),
        (published.factors, 3, ("study", "Bagad et al., released files", "model", "IN-mini + CGN/Text", "top-5"), 95.5),
        (published.bias, 13, ("study", "Sauer & Geiger", "model", "IN + CGN/Shape", "shape_bias"), 54.8),
        (published.out_of_distribution, 2, ("study", "Bagad et al.", "model", "ResNet-50 (IN-1k)", "ImageNet-A"), 3.4),
        (published.search, 9, ("model", "IN-mini", "settings", "rate 1e-4, CF ratio 0.0, epoch 16", "gap"), 8.5),
    ],
)
def test_every_table_is_whole_and_as_printed(
    table: Callable[[], pd.DataFrame], rows: int, where: tuple[str, str, str, str, str], value: float
) -> None:
    found = table()
    assert len(found) == rows
    first, one, second, two, column = where
    assert found[(found[first] == one) & (found[second] == two)][column].tolist() == [value]


def test_the_gap_is_the_difference_of_the_two_mixed_sets() -> None:
    for table in (published.challenge(), published.search()):
        gap = table["mixed_same"] - table["mixed_rand"]
        assert ((gap - table["gap"]).abs() < 0.11).all()


def test_released_files_are_rows_of_their_own() -> None:
    """They differ from the printed table, so a mean of both would be nobody's number."""
    table = published.quality()
    files = table[table["study"] == "Bagad et al., released files"].set_index("model")
    printed = table[table["study"] == "Bagad et al."].set_index("model")
    assert len(files) == 4 and len(printed) == 5
    assert (files["is_gen"] - printed["is_gen"].loc[files.index]).abs().min() > 0.5
