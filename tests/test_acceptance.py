"""Classifiers trained here on the authors' counterfactuals reach the published accuracies: `make acceptance`, an hour.

The targets are those of docs/mnist.md, section 13: what Bagad et al. (2022) measured with the same CGNs and 50,000
counterfactuals, and what their released classifiers reach on test sets that were rebuilt from the specification.
"""

from __future__ import annotations

import pandas as pd
import pytest

from benchmarks import tables as bench
from reprolib import params
from reprolib.mnist import experiments, plan
from reprolib.report.results import build_folder
from reprolib.run import jobs, store
from reprolib.vocabulary import VARIANTS

pytestmark = [pytest.mark.acceptance, pytest.mark.assets, pytest.mark.slow]
TOLERANCE = 2.0
TARGETS = {
    "colored_MNIST": {"Original": (37, 39), "CGN": (92, 93), "Original+CGN": (95, 96)},
    "double_colored_MNIST": {"Original": (10, 10), "CGN": (86, 87), "Original+CGN": (85, 86)},
    "wildlife_MNIST": {"Original": (10, 11), "CGN": (81, 81), "Original+CGN": (63, 66)},
}
CASES = [(variant, name) for variant, rows in TARGETS.items() for name in rows]


@pytest.fixture(scope="module")
def measured() -> dict[tuple[str, str], float]:
    """Out-of-domain accuracy of the last epoch for every case; kept in the build folder, so that a run can go on."""
    chosen = params.load(params.FOLDER / "acceptance.yaml")
    store.use(store.Store(build_folder() / "acceptance" / "store"), chosen.threads)
    how = chosen.classifier.epochs, chosen.classifier.batch, chosen.classifier.precision, chosen.machine
    work = [
        experiments.classifier(plan.data(chosen, variant), each, 0, *how, None)
        for variant in VARIANTS
        if variant in TARGETS
        for each in plan.gradcam_sets(chosen, variant, 0)  # original digits, counterfactuals, both
    ]
    found = jobs.results(chosen, "acceptance", work)
    accuracy = {
        (handle["data"].variant, handle["training_set"].name): result.numbers["history"][-1]["test"]
        for handle, result in zip(work, found, strict=True)
    }
    latest = max((result.made for result in found), key=lambda made: str(made["finished"]))
    commits = sorted({str(result.made["commit"]) for result in found})
    bench.write("acceptance", _table(accuracy), latest | {"commit": " and ".join(commits)})
    return accuracy


def _table(accuracy: dict[tuple[str, str], float]) -> pd.DataFrame:
    """What the README shows."""
    rows = []
    for variant, training_set in CASES:
        low, high = TARGETS[variant][training_set]
        published = f"{low}" if low == high else f"{low} to {high}"
        value = f"{accuracy[variant, training_set]:.1f}"
        rows.append((VARIANTS[variant].title, training_set, value, published))
    return pd.DataFrame(rows, columns=["data set", "trained on", "here", "published"])


@pytest.mark.parametrize(("variant", "training_set"), CASES)
def test_accuracy_is_within_two_points_of_the_published_one(
    variant: str, training_set: str, measured: dict[tuple[str, str], float]
) -> None:
    low, high = TARGETS[variant][training_set]
    value = measured[variant, training_set]
    print(f"{VARIANTS[variant].title}, {training_set}: {value:.2f} %, published {low} to {high}")
    assert low - TOLERANCE <= value <= high + TOLERANCE
