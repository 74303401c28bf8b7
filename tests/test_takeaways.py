"""What a table says changes with its numbers: each test flips a result and reads the sentence."""

from __future__ import annotations

import math

import claims
import numpy as np
import pandas as pd
import pytest

from reprolib.report import explorer, natural_takeaways, takeaways
from reprolib.schema import SOURCES

VARIANTS = ["Colored MNIST", "Wildlife MNIST"]


def _quality(good: int) -> pd.DataFrame:
    rows = pd.DataFrame({"variant": VARIANTS, "source": "CGN trained here", "good_digits": [10, good]})
    return rows.assign(**{f"digit_{digit}": [0.9, 0.2 if digit == good else 0.9] for digit in range(10)})


def test_good_digits_are_told_by_data_set() -> None:
    assert takeaways.quality(_quality(7)) == (
        "Good digits of ten, mean over CGNs: 10 on Colored MNIST and 7 on Wildlife MNIST."
    )
    assert "4 on Wildlife MNIST" in takeaways.quality(_quality(4))
    assert takeaways.digits(_quality(7)).endswith("7 on Wildlife MNIST (20.0 %).")
    assert takeaways.digits(_quality(4)).endswith("4 on Wildlife MNIST (20.0 %).")


def test_whose_cgn_is_said_where_there_are_several() -> None:
    both = pd.concat([_quality(7), _quality(9).assign(source="CGN of the authors")])
    assert "9 on Wildlife MNIST (of the authors)" in takeaways.quality(both)
    assert "9.5 on Wildlife MNIST" in takeaways.quality(pd.concat([_quality(10), _quality(9)]))
    told = takeaways.digits(both)
    assert "7 on Wildlife MNIST (trained here) (20.0 %)" in told and "(of the authors) (20.0 %)" in told


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


def test_what_is_read_because_labels_coincide_is_no_leak() -> None:
    rows = [("shape", "shape", 90.0), ("shape", "texture", 13.0), ("texture", "texture", 90.0)]
    shares = pd.DataFrame(rows, columns=["factor", "label", "share"]).assign(variant="Scenes", source="CGN")
    assert "the largest leak is 13.0 %" in takeaways.control(shares)
    assert "the largest leak, beside labels that coincide, is 3.0 %" in takeaways.control(shares, coincide=1 / 9)
    both = pd.concat([shares, shares.assign(source="other", share=[90.0, 19.0, 90.0])])
    assert "19.0 % (shape read as the label of texture, Scenes (other))" in takeaways.control(both)


def test_good_digits_over_training_are_those_of_its_ends() -> None:
    rows = pd.DataFrame({"variant": "a", "source": "b", "step": [10, 40, 10, 40], "good_digits": [0, 9, 1, 10]})
    assert takeaways.over_training(rows) == "Good digits after 10 steps and at the end, 40: 0.5 and 9.5 on a."
    assert "9.5 and 0.5 on a" in takeaways.over_training(rows.assign(step=[40, 10, 40, 10]))


@pytest.mark.parametrize("relative", [39.0, 95.0])
def test_what_counterfactuals_teach(relative: float) -> None:
    rows = pd.DataFrame({"variant": VARIANTS, "source": "CGN trained here", "relative": [90.0, relative]})
    assert takeaways.taught(rows).endswith(f": 90.0 % (Colored MNIST) and {relative:.1f} % (Wildlife MNIST).")
    assert "too little" in takeaways.taught(rows.assign(relative=float("nan")))
    nulls = pd.DataFrame({"variant": VARIANTS[0], "source": ["untrained", "blank"], "relative": [relative - 30, 1.0]})
    again = nulls.assign(relative=nulls["relative"] + 2)
    told = takeaways.taught(pd.concat([rows, nulls, again]))
    most = f" The most of what must fail: {relative - 29:.1f} % (untrained on Colored MNIST, where CGNs teach "
    assert told.endswith(f"{most}90.0 % or more).")
    worse = rows.assign(source="CGN of the authors", relative=[70.0, 99.0])
    assert takeaways.taught(pd.concat([rows, worse, nulls, again])).endswith(f"{most}70.0 % or more).")
    unknown = nulls.assign(variant=VARIANTS[1], relative=float("nan"))
    assert takeaways.taught(pd.concat([rows, nulls, again, unknown])) == told


def test_what_each_ingredient_is_worth() -> None:
    rows = [("all", 90.0, 10, 0.3), ("all", 80.0, 9, 0.3), ("pack", 40.0, 10, 0.4), ("edge", 79.0, 4, 0.3),
            ("mean", 81.0, 9, 0.2), ("mean", 70.0, 8, 0.5)]  # fmt: skip
    runs = pd.DataFrame(rows, columns=["without", "accuracy_10k", "good_digits", "pairwise_iou"])
    told = takeaways.ingredients(runs)
    assert told.startswith("These trainings with all ingredients: 85.0 % and 9.5 good digits. Worse than each, as")
    assert "as 0 of 3 would be by chance: accuracy without pack (40.0) and edge (79.0); good digits " in told
    assert told.endswith(
        "good digits without edge (4.0). Better in good digits: without none. Masks more alike: without pack (0.40)."
    )
    better = runs.assign(good_digits=[9, 8, 10, 4, 9, 10])
    assert "Better in good digits: without pack (10.0)." in takeaways.ingredients(better)
    same = runs.assign(good_digits=9, pairwise_iou=0.3, accuracy_10k=80.0)
    assert takeaways.ingredients(same).endswith(
        "without none; good digits without none. Better in good digits: without none. Masks more alike: without none."
    )


def test_the_best_null_is_named() -> None:
    rows = pd.DataFrame({"variant": "a", "source": ["real digits", "untrained", "blank"], "good_digits": [10, 0, 2]})
    assert "blank on a, has 2" in takeaways.nulls(rows)
    assert "untrained on a, has 3" in takeaways.nulls(rows.assign(good_digits=[10, 3, 2]))
    assert takeaways.nulls(rows.assign(good_digits=[10, 0, 0])).endswith("what must fail has none.")


@pytest.mark.parametrize(("bias", "where"), [(-3.9, "on Colored MNIST (a)"), (-0.05, "on Wildlife MNIST (a)")])
def test_where_a_norm_is_far_from_its_start(bias: float, where: str) -> None:
    rows = pd.DataFrame({"variant": VARIANTS, "source": "a", "reach": [0.8, 0.9], "bias": [bias, -0.1]})
    assert f"{min(bias, -0.1):.1f} {where}; from a start" in takeaways.norms(rows)
    assert takeaways.norms(rows).endswith("0.8 would be too little." if bias < -0.1 else "0.9 would be enough.")


def test_recipes_and_readers_name_their_extremes() -> None:
    rows = pd.DataFrame({"source": ["a", "a", "b"], "nine_or_ten": [1, 0, 2], "CGNs": [1, 2, 2]})
    told = takeaways.recipes(rows.assign(variant=["x", "y", "x"]))
    assert told == "CGNs with at least nine good digits: 1 of 1 on x and 0 of 2 on y (a); 2 of 2 on x (b)."
    read = pd.DataFrame({"variant": VARIANTS, "shape_reader": [90.0, 80.0], "digit_reader": [97.0, 97.0]})
    assert takeaways.readers(read) == "The worst reader is that of shape on Wildlife MNIST, 80.0 %."


def test_rates_are_compared() -> None:
    rows = pd.DataFrame({"recipe": ["published", "stable"], "cgn_rate": [1.0, 2.5], "critic_rate": [1.0, 5.0]})
    assert "are 2.5 (CGN) and 5.0 (discriminator) times" in takeaways.rates(rows)
    assert "are 0.5 (CGN) and 5.0 (discriminator) times" in takeaways.rates(rows.assign(cgn_rate=[5.0, 2.5]))


def test_a_loss_that_is_left_out_is_told_by_what_it_changes() -> None:
    rated = pd.DataFrame({"losses": ["all", "without shape loss", "none"], "own": [94.0, 93.5, 70.0]})
    rated = rated.assign(cgn="trained here", target="patches")
    told = natural_takeaways.losses(rated, "own")
    assert "94.0 with all losses; without shape loss 93.5; before training 70.0." in told
    other = rated[:1].assign(cgn="of the authors", own=10.0)
    assert "94.0 with all losses" in natural_takeaways.losses(pd.concat([rated, other]), "own")


def _runs(counterfactuals: float) -> pd.DataFrame:
    sets = {"Original": 20.0, "CGN": counterfactuals, "Original+CGN": 50.0}
    rows = [("Colored MNIST", name, "x" if "CGN" in name else "", 200, value) for name, value in sets.items()]
    return pd.DataFrame(rows, columns=["variant", "training_set", "source", "seed", "test"])


def test_what_counterfactuals_give_and_what_is_lost() -> None:
    told = "{} % alone, 50.0 % with original data on Colored MNIST (original data 20.0 %)."
    assert takeaways.accuracy(_runs(40), "test") == "Counterfactuals of the x: " + told.format("40.0")
    assert takeaways.accuracy(_runs(60), "test").endswith(told.format("60.0"))
    assert takeaways.lost(_runs(10), "test").endswith("-30.0 (10.0) on Colored MNIST.")


@pytest.mark.parametrize("level", [25.0, 45.0])
def test_what_as_many_samples_without_independence_give(level: float) -> None:
    control = pd.DataFrame({"variant": ["Colored MNIST"], "training_set": "Original+GAN", "source": "x", "test": level})
    both = pd.concat([_runs(40), control], ignore_index=True)
    told = takeaways.accuracy(both, "test")
    assert told.endswith(f"(original data 20.0 %, with as many samples whose labels agree {level:.1f} %).")
    better = _runs(40).assign(test=[20.0, 70.0, 80.0], source=["", "y", "y"])
    assert takeaways.accuracy(pd.concat([both, better], ignore_index=True), "test") == told, "the CGN that decides"


def test_what_is_lost_is_told_by_cgn() -> None:
    both = pd.concat([_runs(10), _runs(30).query("training_set != 'Original'").assign(source="y")], ignore_index=True)
    costs = takeaways.lost(both, "test")
    assert costs.endswith("-30.0 (10.0) on Colored MNIST (x) and -30.0 (-10.0) on Colored MNIST (y).")


@pytest.mark.parametrize(
    ("accuracy", "said"), [(99.0, "not whether they are any good. What"), (70.0, "which the rule does not allow.")]
)
def test_whether_wrong_labels_cost_anything_is_told(accuracy: float, said: str) -> None:
    runs = pd.DataFrame({"variant": VARIANTS, "training_set": "Original", "test": [99.5, 0.0]})
    names = ["CGN, wrong labels", "Original+CGN, wrong labels"]
    nulls = pd.DataFrame({"variant": VARIANTS[0], "training_set": names, "test": [0.5, accuracy]})
    told = takeaways.mislabelled(runs, nulls, "test", 1.0)
    assert f"lose {99.5 - accuracy:.1f} points on Colored MNIST" in told and said in told


@pytest.mark.parametrize(("here", "near"), [(81.0, "1 of 2"), (60.0, "0 of 2")])
def test_published_values_near_ours_are_counted(here: float, near: str) -> None:
    rows = [("here", here), ("Bagad et al.", 80.0), ("reproduction study", 30.0)]
    points = pd.DataFrame(rows, columns=["study", "value"]).assign(variant="a", row="CGN", training_set="CGN")
    points["source"] = SOURCES["authors"]
    apart = takeaways.beside(points.assign(source=[SOURCES["authors"], SOURCES["authors"], SOURCES["stable"]]))
    assert f"here: {near[0]} of 1 with the authors' CGN on a and 0 of 1 with generators of their own; the" in apart
    told = takeaways.beside(points)
    assert told.startswith(f"Published values within 2 points of the mean here: {near} with the authors' CGN on a; ")
    assert f"reproduction study, CGN on a: 30.0 against {here:.1f} %" in told
    assert f"here: {near} with original data alone; " in takeaways.beside(points.assign(source=""))
    assert "Nothing comparable" in takeaways.beside(points[:1])


@pytest.mark.parametrize(("here", "said"), [(92.5, "2 of 2 accuracies"), (80.0, "1 of 2 accuracies")])
def test_what_is_near_a_published_range_is_counted(here: float, said: str) -> None:
    ends = {"published_low": [92.0, 10.0], "published_high": [93.0, 10.0]}
    rows = pd.DataFrame({"variant": "a", "training_set": ["CGN", "Original"], "ours": [here, 10.4]} | ends)
    told = takeaways.near(rows)
    assert told.startswith(said) and ("CGN on a, is 12.0 points" in told) == (here == 80.0)


def test_a_trend_needs_five_cgns_of_one_kind() -> None:
    values = [20.0, 30.0, 50.0, 60.0, 80.0]
    data = pd.DataFrame({"variant": "a", "source": "s", "recognised": [1, 2, 3, 4, 5], "accuracy_10k": values})
    assert takeaways.by_quality(data).endswith(
        "a trend where p < 0.05: 1.00 on a (5 of the s, p = 0.00). "
        "Where masks are recognised least, 1.0 % (s, a), accuracy is 20.0 %."
    )
    assert "-1.00 on a" in takeaways.by_quality(data.assign(accuracy_10k=values[::-1]))
    flat = data.assign(accuracy_10k=[3, 2, 4, 1, 5])
    assert "too few CGNs to show a trend: 0.30 on a (5 of the s, p = 0.62)" in takeaways.by_quality(flat)
    none = takeaways.by_quality(data[:4])
    assert none.startswith("Fewer than 5 different CGNs of one kind say nothing of a trend on a. Where masks")
    assert (
        takeaways.by_quality(pd.concat([data, data[:3].assign(variant="b")]))
        .partition(" Where")[0]
        .endswith("of a trend on b.")
    )
    other = data[:1].assign(source="t", recognised=9, accuracy_10k=0.0)
    assert "1.00 on a (5 of the s" in takeaways.by_quality(pd.concat([data, other]))
    assert takeaways.by_quality(data.assign(recognised=1)) == none


def test_the_ablation_is_told_from_end_to_end() -> None:
    rows = pd.DataFrame({"size": [1000, 3000], "ratio": [1, 10], "test": [20.0, 80.0], "study": "ours", "variant": "a"})
    rows = rows.assign(source="s")
    told = takeaways.ablation(rows)
    assert told.startswith("From 1,000 to 3,000 counterfactuals, mean over the lines (at 3,000 the highest CF ratio ")
    assert "a 20.0 to 80.0 % (+0.0)." in told and told.endswith("so more images are more updates, too.")
    assert "80.0 to 20.0 % (+0.0)." in takeaways.ablation(rows.assign(test=[80.0, 20.0]))
    both = pd.concat([rows, rows[1:].assign(ratio=1, test=90.0), rows.assign(source="t", test=[0.0, 0.0])])
    assert "a (s) 20.0 to 85.0 % (-10.0); a (t) 0.0 to 0.0 % (+0.0)." in takeaways.ablation(both)


def _heat(inside: float, themes: float = 0.1) -> pd.DataFrame:
    own = pd.DataFrame({"heatmap": "GradCAM", "mass_inside": [inside, inside, inside + 0.01], "along_themes": themes})
    other = pd.DataFrame({"heatmap": "shuffled", "mass_inside": [0.2, 0.21, 0.22]})
    own["seed"] = other["seed"] = [200, 201, 202]
    return pd.concat([own.assign(along_digits=0.05, grid_empty=0.25), other]).assign(training_set="CGN")


def test_heatmaps_beat_those_of_other_images_or_do_not() -> None:
    told = takeaways.gradcam_measures(_heat(0.5))
    assert told.startswith("For CGN clearly more of the heat") and told.endswith(": CGN 29.3 (27.9 to 30.8).")
    assert takeaways.gradcam_measures(_heat(0.2)).startswith("For no training set clearly more of the heat")
    assert "too few for an interval" in takeaways.gradcam_measures(_heat(0.5).query("seed < 202"))
    assert takeaways.gradcam_variance(_heat(0.5)).endswith(": CGN 2.0 (25 % of maps empty).")
    assert takeaways.gradcam_variance(_heat(0.5, themes=0.01)).endswith(": CGN 0.2 (25 % of maps empty).")
    assert "more than with the theme in none. Variance" in takeaways.gradcam_variance(_heat(0.5))
    assert "the theme in CGN. Variance" in takeaways.gradcam_variance(_heat(0.5, themes=0.01))
    assert takeaways.gradcam_variance(_heat(0.5).assign(along_digits=0.0)).endswith(": CGN no map.")


def _with_and_without(real: float, other: float, count: int = 3) -> pd.DataFrame:
    """Classifiers of as many seeds, in another order on one side; the difference of a seed is 2 points more or less."""
    seeds = list(range(count))
    one = pd.DataFrame({"trained_on": "real images", "seed": seeds, "top1": [real + 5 * seed for seed in seeds]})
    both = one.assign(trained_on="real images + b", top1=one["top1"] + other - real + [-2 * (s % 3 - 1) for s in seeds])
    return pd.concat([one, both[::-1], one[:1].assign(trained_on="plain")])


def test_natural_images_are_told_by_their_difference_of_a_seed() -> None:
    told = natural_takeaways.compared(_with_and_without(30.0, 50.0), "top1", "Top-1")
    assert told == "Top-1: real images alone 35.0 and with b 55.0 (+20.0, 15.0 to 25.0)."
    told = natural_takeaways.compared(_with_and_without(50.0, 45.0), "top1", "Top-1")
    assert told.endswith("with b 50.0 (-5.0, -10.0 to 0.0).")
    few = natural_takeaways.compared(_with_and_without(30.0, 50.0, 2), "top1", "Top-1")
    assert few == "Top-1: real images alone 32.5 and with b 53.5 (+21.0, too few to tell)."


@pytest.mark.parametrize(
    ("other", "said"), [(70.0, " 68.9)."), (12.0, "; not clearly above chance)."), (2.0, "; below chance).")]
)
def test_an_accuracy_that_guessing_reaches_is_named(other: float, said: str) -> None:
    frame = _with_and_without(12.0, other).query("trained_on != 'plain'")
    frame.loc[frame["trained_on"] != "real images", "top1"] = [other, other + 1, other + 2]
    told = natural_takeaways.compared(frame, "top1", "Sketches", chance=11.1)
    assert told.startswith("Sketches (chance 11.1): real images alone 17.0 (not clearly above chance) and with b")
    assert told.endswith(said)
    assert "chance" not in natural_takeaways.compared(frame, "top1", "Sketches")


@pytest.mark.parametrize(
    ("gap", "said"), [(5.0, "real images + b at rate 0.1 and CF ratio 2, 5.0"), (9.0, "real images at")]
)
def test_the_search_compares_cells_of_one_rate(gap: float, said: str) -> None:
    rows = [("plain", None, 0.0, 1.0), ("real images", 0.1, 0.0, 8.5), ("real images", 1.0, 0.0, 10.0),
            ("real images + b", 0.1, 1.0, 8.6), ("real images + b", 0.1, 2.0, gap)]  # fmt: skip
    told = natural_takeaways.searched(pd.DataFrame(rows, columns=["trained_on", "rate", "ratio", "gap"]))
    assert said in told and ("real images alone at that rate 8.5" in told) == (gap == 5.0)


def test_heads_are_told_training_set_by_training_set() -> None:
    rows = pd.DataFrame({"trained_on": ["real images", "real images + a", "real images + a", "real images + b"]})
    rows = rows.assign(**{f"factor/{head}": [math.nan, 10.0, 20.0, 70.0] for head in ("shape", "texture", "bg")})
    told = natural_takeaways.own_factors(rows)
    assert told.endswith(
        "real images + a: shape head 15.0, texture head 15.0, background head 15.0; "
        "real images + b: shape head 70.0, texture head 70.0, background head 70.0."
    )


@pytest.mark.parametrize("loss", [-15.0, 4.0])
def test_what_each_prediction_costs_and_gains(loss: float) -> None:
    columns = ["original/avg", "gap/avg", "original/shape_texture", "gap/shape_texture"]
    rows = pd.DataFrame([[90.0, 60.0, 88.0, 62.0], [94.0, 59.0, 88.0 + loss, 18.0]], columns=columns)
    told = natural_takeaways.predictions(rows.assign(trained_on=["real images", "real images + b"]))
    assert told == (
        f"{'No prediction' if loss < 0 else 'The prediction without the background head with b'} has on average a gap "
        "that is 5 points smaller and at most 3 points less on unchanged images. "
        "Against real images alone: with b the mean of the heads +4.0 points on unchanged images, -1.0 of gap and the "
        f"prediction without the background head {loss:+.1f} points on unchanged images, -44.0 of gap."
    )


def test_predictions_that_do_both_are_listed() -> None:
    heads = ("original/avg", "original/shape_texture"), ("gap/avg", "gap/shape_texture")
    rows = pd.DataFrame(
        {name: values for names, values in zip(heads, ([90, 90], [60, 50]), strict=True) for name in names}
    )
    told = natural_takeaways.predictions(rows.assign(trained_on=["real images", "real images + b"]))
    assert told.startswith("The mean of the heads with b and the prediction without the background head with b have")


def test_the_ends_of_a_column_are_named() -> None:
    rows = pd.DataFrame({"study": ["A", "B"], "model": ["x", "y"], "gap": [1.0, 9.0]})
    assert takeaways.span(rows, "gap") == "Background gap, points: lowest 1.0 (A: x), highest 9.0 (B: y)."
    assert "lowest 1.0 (B: y)" in takeaways.span(rows.assign(gap=[9.0, 1.0]), "gap")


def test_the_explorer_tells_what_is_named_where_labels_differ() -> None:
    data = claims.explored()
    shape = np.indices((10, 10, 10))[0].astype(np.uint8)
    for first, others, told in ((shape, shape + 1, "100.0 and 0.0 %"), (shape + 1, shape, "0.0 and 100.0 %")):
        predicted = np.stack([first, others])[:, None]
        found = explorer.takeaway(data | {"Colored MNIST|CGN number 0 with a long name|predicted": predicted})
        assert f"trained on original images and by that trained on counterfactuals in {told} on Colored MNIST." in found
    agree = np.indices((10, 10, 10)).astype(np.uint8)
    same = (agree[0] == agree[1]) | (agree[0] == agree[2]) | (agree[1] == agree[2])
    predicted = np.stack([np.where(same, shape, 255)] * 2)[:, None]
    assert "in 0.0 and 0.0 %" in explorer.takeaway(
        data | {"Colored MNIST|CGN number 0 with a long name|predicted": predicted}
    )
