"""What a table says changes with its numbers: each test flips a result and reads the sentence."""

from __future__ import annotations

import claims
import numpy as np
import pandas as pd
import pytest

from reprolib.report import takeaways

VARIANTS = ["Colored MNIST", "Wildlife MNIST"]


def _quality(good: int) -> pd.DataFrame:
    rows = pd.DataFrame({"variant": VARIANTS, "source": "CGN trained here", "good_digits": [10, good]})
    return rows.assign(**{f"digit_{digit}": [0.9, 0.2 if digit == good else 0.9] for digit in range(10)})


def test_good_digits_are_told_by_data_set() -> None:
    assert takeaways.quality(_quality(7)) == "Of ten digits are good: 10.0 on Colored MNIST and 7.0 on Wildlife MNIST."
    assert "4.0 on Wildlife MNIST" in takeaways.quality(_quality(4))
    assert takeaways.digits(_quality(7)).endswith("7 on Wildlife MNIST (20.0 %).")
    assert takeaways.digits(_quality(4)).endswith("4 on Wildlife MNIST (20.0 %).")


def test_whose_cgn_is_said_where_there_are_several() -> None:
    both = pd.concat([_quality(7), _quality(9).assign(source="CGN of the authors")])
    assert "9.0 on Wildlife MNIST (CGN of the authors)" in takeaways.quality(both)


def test_runs_with_nine_or_ten_good_digits_are_counted() -> None:
    counted = pd.DataFrame({"study": ["eye", "eye"], "good_digits": [5, 9], "runs": [3, 1]})
    assert takeaways.good_digit_runs(counted) == "Nine or ten good digits: 1 of 4 (eye)."
    assert "3 of 4 (eye)" in takeaways.good_digit_runs(counted.assign(good_digits=[9, 5]))


@pytest.mark.parametrize(
    ("own", "said"), [(60.0, "Every factor follows its own"), (20.0, "Another label decides shape on")]
)
def test_control_is_lost_where_another_label_decides(own: float, said: str) -> None:
    rows = [("shape", "shape", own), ("shape", "texture", 30.0), ("texture", "texture", 90.0)]
    shares = pd.DataFrame(rows, columns=["factor", "label", "share"]).assign(variant="Scenes", source="CGN")
    told = takeaways.control(shares)
    assert told.startswith(said) and f"{own:.1f} %" in told and "shape read as the label of texture" in told


@pytest.mark.parametrize(("relative", "least"), [(39.0, "Wildlife MNIST"), (95.0, "Colored MNIST")])
def test_what_counterfactuals_teach(relative: float, least: str) -> None:
    rows = pd.DataFrame({"variant": VARIANTS, "source": "CGN trained here", "relative": [90.0, relative]})
    assert takeaways.taught(rows).endswith(f"least on {least}.")
    assert "too little" in takeaways.taught(rows.assign(relative=float("nan")))


def test_what_each_ingredient_is_worth() -> None:
    rows = [("all", 90.0, 10), ("all", 80.0, 9), ("pack", 40.0, 10), ("edge", 85.0, 4), ("mean", 81.0, 9)]
    runs = pd.DataFrame(rows, columns=["without", "accuracy_10k", "good_digits"])
    told = takeaways.ingredients(runs)
    assert told.startswith("With all ingredients 85.0 % out of domain and 9.5 good digits.")
    assert "lowest without pack (40.0), mean (81.0) and edge (85.0), good digits are fewest without edge (4.0)" in told
    assert told.endswith("by both: without mean.")
    assert takeaways.ingredients(runs.assign(good_digits=[10, 9, 8, 8, 8])).endswith("without none of them.")


def test_the_best_null_is_named() -> None:
    rows = pd.DataFrame({"variant": "a", "source": ["real digits", "untrained", "blank"], "good_digits": [10, 0, 2]})
    assert "blank on a, has 2" in takeaways.nulls(rows)
    assert "untrained on a, has 3" in takeaways.nulls(rows.assign(good_digits=[10, 3, 2]))


@pytest.mark.parametrize(("bias", "where"), [(-3.9, "on Colored MNIST;"), (-0.2, "on none of the data sets;")])
def test_where_a_norm_is_beyond_reach(bias: float, where: str) -> None:
    rows = pd.DataFrame({"variant": VARIANTS, "reach": 0.8, "bias": [bias, -0.1]})
    assert where in takeaways.norms(rows) and f"{bias:.2f}" in takeaways.norms(rows)


def test_recipes_and_readers_name_their_extremes() -> None:
    rows = pd.DataFrame({"source": ["a", "a", "b"], "nine_or_ten": [1, 0, 2], "CGNs": [1, 2, 2]})
    assert takeaways.recipes(rows) == "CGNs with at least nine good digits: 1 of 3 (a); 2 of 2 (b)."
    read = pd.DataFrame({"variant": VARIANTS, "shape_reader": [90.0, 80.0], "digit_reader": [97.0, 97.0]})
    assert takeaways.readers(read) == "The worst reader is that of shape on Wildlife MNIST, 80.0 %."


def test_rates_are_compared() -> None:
    rows = pd.DataFrame({"recipe": ["published", "stable"], "cgn_rate": [1.0, 2.5], "critic_rate": [1.0, 5.0]})
    assert "are 2.5 (CGN) and 5.0 (discriminator) times" in takeaways.rates(rows)
    assert "are 0.5 (CGN) and 5.0 (discriminator) times" in takeaways.rates(rows.assign(cgn_rate=[5.0, 2.5]))


def test_a_loss_that_is_left_out_is_told_by_what_it_changes() -> None:
    rated = pd.DataFrame({"losses": ["all", "without shape loss", "none"], "own": [94.0, 93.5, 70.0]})
    told = takeaways.losses(rated, "own")
    assert "94.0 with all losses; without shape loss 93.5; before training 70.0." in told


def _runs(counterfactuals: float) -> pd.DataFrame:
    sets = {"Original": 20.0, "CGN": counterfactuals, "Original+CGN": 50.0}
    rows = [("Colored MNIST", name, "x" if "CGN" in name else "", 200, value) for name, value in sets.items()]
    return pd.DataFrame(rows, columns=["variant", "training_set", "source", "seed", "test"])


def test_the_best_training_set_and_what_is_lost() -> None:
    assert "Original+CGN on Colored MNIST, 50.0 % (20.0 % with original data alone)" in takeaways.accuracy(
        _runs(40), "test"
    )
    assert "by mean: CGN on Colored MNIST, 60.0 %" in takeaways.accuracy(_runs(60), "test")
    assert takeaways.lost(_runs(10), "test").endswith("-30.0 (10.0) on Colored MNIST.")


@pytest.mark.parametrize("level", [25.0, 70.0])
def test_what_as_many_samples_without_independence_give(level: float) -> None:
    control = pd.DataFrame({"variant": ["Colored MNIST"], "training_set": "Original+GAN", "source": "x", "test": level})
    told = takeaways.gained(pd.concat([_runs(40), control], ignore_index=True), "test")
    assert told.endswith(f"labels agree: {level:.1f} % (Colored MNIST).")
    assert "labels agree" not in takeaways.gained(_runs(40), "test")


@pytest.mark.parametrize(("here", "near"), [(81.0, "1 of 2"), (60.0, "0 of 2")])
def test_published_values_near_ours_are_counted(here: float, near: str) -> None:
    rows = [("here", here), ("Bagad et al.", 80.0), ("reproduction study", 30.0)]
    points = pd.DataFrame(rows, columns=["study", "value"]).assign(variant="a", row="CGN", training_set="CGN")
    told = takeaways.beside(points)
    assert told.startswith(near) and f"reproduction study, CGN on a: 30.0 against {here:.1f} %" in told
    assert "Nothing comparable" in takeaways.beside(points[:1])


@pytest.mark.parametrize(("here", "said"), [(92.5, "2 of 2 accuracies"), (80.0, "1 of 2 accuracies")])
def test_what_is_near_a_published_range_is_counted(here: float, said: str) -> None:
    ends = {"published_low": [92.0, 10.0], "published_high": [93.0, 10.0]}
    rows = pd.DataFrame({"variant": "a", "training_set": ["CGN", "Original"], "ours": [here, 10.4]} | ends)
    told = takeaways.near(rows)
    assert told.startswith(said) and ("CGN on a, is 12.0 points" in told) == (here == 80.0)


def test_a_trend_needs_five_cgns() -> None:
    values = [20.0, 30.0, 50.0, 60.0, 80.0]
    data = pd.DataFrame({"variant": "a", "recognised": [1, 2, 3, 4, 5], "accuracy_10k": values})
    assert takeaways.by_quality(data) == "Rank correlation of masks and accuracy: 1.00 on a (5 CGNs)."
    assert "-1.00 on a" in takeaways.by_quality(data.assign(accuracy_10k=values[::-1]))
    both = pd.concat([data, data[:3].assign(variant="b")])
    assert takeaways.by_quality(both).endswith("1.00 on a (5 CGNs). Fewer than 5 CGNs say nothing of a trend on b.")
    assert takeaways.by_quality(data[:4]) == "Fewer than 5 CGNs say nothing of a trend on a."


def test_the_ablation_is_told_from_end_to_end() -> None:
    rows = pd.DataFrame({"size": [1000, 3000], "ratio": [1, 10], "test": [20.0, 80.0], "study": "ours", "variant": "a"})
    assert takeaways.ablation(rows) == "From 1,000 to 3,000 counterfactuals: a 20.0 to 80.0 %."
    assert "80.0 to 20.0 %." in takeaways.ablation(rows.assign(test=[80.0, 20.0]))


def _heat(inside: float, themes: float = 0.1) -> pd.DataFrame:
    own = pd.DataFrame({"heatmap": "GradCAM", "mass_inside": [inside, inside, inside + 0.01], "along_themes": themes})
    other = pd.DataFrame({"heatmap": "shuffled", "mass_inside": [0.2, 0.21, 0.22]})
    return pd.concat([own.assign(along_digits=0.05), other]).assign(training_set="CGN")


def test_heatmaps_beat_those_of_other_images_or_do_not() -> None:
    assert takeaways.gradcam_measures(_heat(0.5)).startswith("Maps beat the maps of other images for CGN;")
    assert takeaways.gradcam_measures(_heat(0.2)).startswith("Maps beat the maps of other images for no training set;")
    assert "CGN more by theme (2.0 to 1)" in takeaways.gradcam_variance(_heat(0.5))
    assert "CGN more by digit (0.2 to 1)" in takeaways.gradcam_variance(_heat(0.5, themes=0.01))


@pytest.mark.parametrize(("value", "name"), [(70.0, "real images + b"), (10.0, "real images")])
def test_the_best_classifier_of_natural_images(value: float, name: str) -> None:
    rows = pd.DataFrame(
        {"trained_on": ["real images", "real images + b", "plain"], "top1": [50.0, value, float("nan")]}
    )
    others = "; real images alone 50.0" if name != "real images" else ""
    assert takeaways.best(rows, "top1", "Top-1") == f"Top-1: highest for {name}, {max(50.0, value):.1f}{others}."
    assert "lowest for" in takeaways.best(rows, "top1", "Top-1", lowest=True)


def test_the_ends_of_a_column_are_named() -> None:
    rows = pd.DataFrame({"study": ["A", "B"], "model": ["x", "y"], "gap": [1.0, 9.0]})
    assert takeaways.span(rows, "gap") == "Background gap, points: lowest 1.0 (A: x), highest 9.0 (B: y)."
    assert "lowest 1.0 (B: y)" in takeaways.span(rows.assign(gap=[9.0, 1.0]), "gap")


def test_the_explorer_tells_what_is_named_where_labels_differ() -> None:
    data = claims.explored()
    shape = np.indices((10, 10, 10))[0].astype(np.uint8)
    for first, others, told in ((shape, shape + 1, "100.0 and 0.0 %"), (shape + 1, shape, "0.0 and 100.0 %")):
        predicted = np.stack([first, others])[:, None]
        found = takeaways.explorer(data | {"Colored MNIST|CGN number 0 with a long name|predicted": predicted})
        assert f"trained on original images and by that trained on counterfactuals in {told} on Colored MNIST." in found
    agree = np.indices((10, 10, 10)).astype(np.uint8)
    same = (agree[0] == agree[1]) | (agree[0] == agree[2]) | (agree[1] == agree[2])
    predicted = np.stack([np.where(same, shape, 255)] * 2)[:, None]
    assert "in 0.0 and 0.0 %" in takeaways.explorer(
        data | {"Colored MNIST|CGN number 0 with a long name|predicted": predicted}
    )
