"""The tables of the MNIST half: run what a table needs, side by side, and return one row per repetition."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from typing import Any

import pandas as pd

from reprolib import statistics
from reprolib.mnist import classifier as classifiers
from reprolib.mnist import nulls, quality
from reprolib.mnist.study import Study, TrainingSet
from reprolib.mnist.train import LEARNING_RATE
from reprolib.run import jobs, rules
from reprolib.schema import RECIPES, SOURCES, CgnSource, Recipe, deciding
from reprolib.vocabulary import VARIANTS

GENERATORS: dict[str, str] = {**SOURCES, "dcgan": "DCGAN trained here", "": ""}
"""Whose generator made the images, as a reader sees it."""
ACCURACY_NULLS: tuple[nulls.Known, ...] = (
    "untrained",
    "one mask per digit",
    "masks of another digit",
    "shuffled labels",
)
TELLING = 25.0
"""Percent out of domain that the counterfactuals of real digits must reach before a CGN's are compared with them."""
ORDER = ["Original", "GAN", "Original+GAN", "CGN", "Original+CGN"]


def _run(study: Study, title: str, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    return jobs.run_methods(study.params, title, calls)


def source_of(training_set: TrainingSet) -> str:
    """Key of GENERATORS."""
    return "dcgan" if training_set.generated == "dcgan" else (training_set.source or "")


def prepare_cgns(study: Study) -> None:
    """Train what has to be trained, each network once, before the jobs that share it."""
    _run(study, "generative models", [(study.trained_cgn, *run) for run in _trainings(study)])


def _trainings(study: Study) -> list[tuple[str, Recipe, int]]:
    """Variant, recipe and seed of every CGN that is trained here."""
    chosen = study.params.cgn
    recipes = [recipe for recipe in RECIPES if recipe in chosen.sources]
    return [(v, r, seed) for r in recipes for seed in rules.seeds(chosen.seeds_of(r)) for v in study.params.variants]


def quality_runs(study: Study) -> pd.DataFrame:
    """One row per CGN: variant, source, seed, good_digits, recognised and pairwise_iou (means over digits), mean_mask,
    digit_0..9 (share recognised) and good_0..9, the control shares, and the accuracy of each reader in percent: no
    measure can be better than the classifier that reads it.

    ``_low`` and ``_high`` of good_digits and of a factor's control: the sampling interval of masks and images.
    """
    params = study.params
    prepare_cgns(study)
    return _quality(study, [(v, source, seed) for v in params.variants for source, seed in _cgns(study)])


def null_runs(study: Study) -> pd.DataFrame:
    """The same for CGNs whose quality is known: ``real digits``, and the nulls, which must not pass."""
    return _quality(study, [(v, name, rules.FIRST_SEED) for v in study.params.variants for name in nulls.KNOWN])


def _cgns(study: Study) -> list[tuple[CgnSource, int]]:
    """Source and seed of every CGN of a variant."""
    chosen = study.params.cgn
    return [(source, seed) for source in chosen.sources for seed in rules.seeds(chosen.seeds_of(source))]


def _quality(study: Study, cases: list[tuple[str, CgnSource | nulls.Known, int]]) -> pd.DataFrame:
    if not all(study.has_quality(*case) for case in cases):
        readers = [(v, factor) for v in study.params.variants for factor in quality.factors(v)]
        unknown = [case for case in readers if not study.reader_file(*case).exists()]
        _run(study, "readers", [(study.trained_factor_reader, *case) for case in unknown])
    found = _run(study, "quality of CGNs", [(study.quality, *case) for case in cases])
    return pd.DataFrame([_quality_row(*case, numbers) for case, numbers in zip(cases, found, strict=True)])


def _quality_row(variant: str, source: str, seed: int, numbers: dict[str, Any]) -> dict[str, Any]:
    control = numbers["control"]
    row = {
        "variant": variant,
        "source": source,
        "seed": seed,
        **{name: numbers[name] for name in ("good_digits", "good_digits_low", "good_digits_high")},
        **{name: sum(numbers[name]) / 10 for name in ("recognised", "pairwise_iou")},
        "mean_mask": numbers["mean_mask"],
        "rules": numbers["rules"],
        "shape_control": quality.diagonal(control, ("shape",)),
        "texture_control": quality.diagonal(control, ("foreground", "background")),
    }
    row |= {f"{name}_reader": score for name, score in numbers["readers"].items()}
    row |= {f"digit_{digit}": share for digit, share in enumerate(numbers["recognised"])}
    row |= {f"good_{digit}": good for digit, good in enumerate(numbers["good"])}
    for factor, shares in control.items():
        count = numbers["control_images"]
        ends = statistics.share_interval(round(shares[factor] / 100 * count), count)
        row |= {f"{factor}_low": ends[0], f"{factor}_high": ends[1]}
    return row | {f"{factor}<-{label}": share for factor in control for label, share in control[factor].items()}


def counterfactual_accuracy_runs(study: Study) -> pd.DataFrame:
    """Out-of-domain accuracy of a classifier trained on counterfactuals alone, one row per CGN and for real digits; on
    the first variant for nulls too. Columns: variant, source, seed, accuracy, relative, low, high, rules.

    relative: how far above chance, in percent of what the counterfactuals of real digits reach with the same seed, 0 to
    100; nan where these are near chance themselves, because then nothing can be told. low and high: its sampling
    interval of test images.
    """
    prepare_cgns(study)
    made = _cgns(study)
    each: list[tuple[CgnSource | nulls.Known, int]] = [("real digits", s) for s in sorted({s for _, s in made})]
    cases = [(v, *case) for v in study.params.variants for case in (*each, *made)]
    cases += [(study.params.variants[0], name, rules.FIRST_SEED) for name in ACCURACY_NULLS]
    found = _run(study, "accuracy of counterfactuals", [(study.counterfactual_accuracy, *case) for case in cases])
    known = dict(zip(cases, found, strict=True))
    rows = []
    for (variant, source, seed), numbers in known.items():
        perfect, count = known[variant, "real digits", seed], numbers["test_images"]
        ends = statistics.share_interval(round(numbers["test"] / 100 * count), count)
        row = {"variant": variant, "source": source, "seed": seed, "accuracy": numbers["test"]}
        for name, value in zip(("relative", "low", "high"), (numbers["test"], *ends), strict=True):
            row[name] = _above_chance(value, perfect["test"])
        row["rules"] = f"{numbers['rules']} {perfect['rules']}"
        rows.append(row)
    return pd.DataFrame(rows)


def _above_chance(accuracy: float, reference: float) -> float:
    """An accuracy among ten classes in percent of a reference, both above chance, within 0 and 100; all in percent."""
    return nan if reference < TELLING else min(100.0, max(0.0, 100 * (accuracy - 10) / (reference - 10)))


def quality_evidence(runs: pd.DataFrame, accuracy: pd.DataFrame, deciding: CgnSource) -> pd.DataFrame:
    """Claim 1 as its rules read it: variant, source, seed, null, criterion, value, low, high, rules.

    runs: of ``quality_runs`` and ``null_runs``; accuracy: of ``counterfactual_accuracy_runs``. Control is told in
    percent of what the reader of a factor reaches on real images, because a perfect CGN would get no more. low and
    high: the sampling interval, for whatever is not trained here. A null stands beside the CGN that decides.
    """
    rows = []
    for run in runs.to_dict("records"):
        factors = [factor for factor in quality.FACTORS if run.get(f"{factor}_reader", nan) > 0]
        ends = {
            factor: [100 * run[f"{factor}{end}"] / run[f"{factor}_reader"] for end in (f"<-{factor}", "_low", "_high")]
            for factor in factors
        }
        textures = [ends[factor] for factor in factors if factor != "shape"]
        values = {
            "good_digits": [run["good_digits"], run["good_digits_low"], run["good_digits_high"]],
            "shape_control": ends["shape"],
            "texture_control": [sum(each) / len(textures) for each in zip(*textures, strict=True)],
        }
        keys = {name: run[name] for name in ("variant", "source", "seed", "rules")}
        rows += [
            keys | {"criterion": name} | dict(zip(("value", "low", "high"), found, strict=True))
            for name, found in values.items()
        ]
    relative = accuracy.rename(columns={"relative": "value"}).assign(criterion="counterfactual_accuracy")
    long = pd.concat([pd.DataFrame(rows), relative.drop(columns="accuracy")], ignore_index=True)
    long = long[long["source"] != "real digits"]
    long.loc[long["source"].isin(RECIPES), ["low", "high"]] = nan
    null = long["source"].isin(nulls.NULLS)
    long = long.assign(null=long["source"].where(null, ""), source=long["source"].mask(null, deciding))
    return long.dropna(subset="value")


def background_norms(study: Study) -> pd.DataFrame:
    """How far the last batch norm of each background mechanism has moved: variant, source, seed, steps, reach, bias.

    steps: training batches that the norm has seen. reach: learning rate times steps, about the most that Adam moves a
    parameter. bias: mean over the three colours; a flat black ground needs one far below zero in front of the tanh.
    """
    params = study.params
    prepare_cgns(study)
    rows = []
    for variant in params.variants:
        for source, seed in _cgns(study):
            state = study.cgn(variant, source, seed).state_dict()
            steps = int(state["f_text2.11.num_batches_tracked"])
            bias = float(state["f_text2.11.bias"].mean())
            row = {"variant": variant, "source": source, "seed": seed, "steps": steps}
            rows.append(row | {"reach": round(LEARNING_RATE * steps, 2), "bias": round(bias, 2)})
    return pd.DataFrame(rows)


def training_quality(study: Study) -> pd.DataFrame:
    """Good digits at each snapshot of the CGNs trained here: variant, source, seed, step, good_digits, mean_mask."""
    cases = _trainings(study)
    found = _run(study, "quality over training", [(study.training_quality, *case) for case in cases])
    rows = [
        {"variant": v, "source": r, "seed": seed, "step": int(step)} | {k: n[k] for k in ("good_digits", "mean_mask")}
        for (v, r, seed), numbers in zip(cases, found, strict=True)
        for step, n in numbers.items()
    ]
    return pd.DataFrame(rows, columns=["variant", "source", "seed", "step", "good_digits", "mean_mask"])


def training_sets(study: Study) -> list[TrainingSet]:
    """The rows of reproduction Tables 2 and 6, for each source of generated images."""
    params = study.params
    size, ratio = params.counterfactuals.size, params.counterfactuals.ratio
    sets = [TrainingSet(original=True)]
    for original in (False, True):
        if "dcgan" in params.gan.kinds:
            sets.append(TrainingSet(original, "dcgan", None, size))
        for source in params.cgn.sources:
            if original or "cgn_noncf" in params.gan.kinds:  # with original data it is the control of claim 2
                sets.append(TrainingSet(original, "cgn_noncf", source, size))
            sets.append(TrainingSet(original, "counterfactual", source, size, ratio))
    return sets


def null_sets(study: Study) -> list[TrainingSet]:
    """What must not pass claims 2 and 3: generated images whose three labels agree, and counterfactuals with wrong
    labels, alone and with original images. Of the CGN that decides."""
    size, ratio = study.params.counterfactuals.size, study.params.counterfactuals.ratio
    source = deciding(study.params.cgn.sources)
    wrong = [TrainingSet(original, "wrong_labels", source, size, ratio) for original in (False, True)]
    return [TrainingSet(False, "cgn_noncf", source, size), *wrong]


def accuracy_runs(study: Study, nulls: bool = False) -> pd.DataFrame:
    """One row per classifier: variant, training_set, source, seed, images, epoch, rules (see ``rules.stamp``) and
    accuracies in percent. nulls: those of ``null_sets`` instead, on the first variant, because a rule is one for all.

    ``test``: held-out digits with random attributes; ``in_domain``: held-out digits whose attributes follow the
    label; ``visible``: the part of test where the digit can be seen; ``train``: while the epoch ran.
    """
    params = study.params
    prepare_cgns(study)
    if "dcgan" in params.gan.kinds:
        _run(study, "DCGANs", [(study.dcgan, v, seed) for v in params.variants for seed in rules.seeds(params.seeds)])
    sets, variants = (null_sets(study), params.variants[:1]) if nulls else (training_sets(study), params.variants)
    cases = [(v, ts, seed) for v in variants for ts in sets for seed in rules.seeds(params.seeds)]
    found = _run(study, "classifiers", [(study.classifier, *case, params.classifier.epochs) for case in cases])
    rows = []
    for (variant, training_set, seed), result in zip(cases, found, strict=True):
        history = result.numbers["history"]
        chosen = classifiers.select(history, params.classifier.selection)
        domain = classifiers.select(history, params.classifier.selection, by="in_domain")
        rows.append(
            {
                "variant": variant,
                "training_set": training_set.name,
                "source": source_of(training_set),
                "seed": seed,
                "images": result.numbers["images"],
                "epoch": history.index(chosen) + 1,
                "rules": rules.stamp(result.made),
                "train": chosen["train"],
                "test": chosen["test"],
                "in_domain": domain["in_domain"],
            }
            | result.numbers["final"]
        )
    return pd.DataFrame(rows)


def ablation_runs(study: Study) -> pd.DataFrame:
    """Accuracy against number and ratio of counterfactuals: variant, source, mix, ratio, size, seed, test, in_domain.

    Ratios beyond what a variant can
    show (more than ten for Colored MNIST), and sizes that give no image, are left out.
    """
    params, chosen = study.params, study.params.ablation
    cases = [
        (variant, TrainingSet(mix == "original+cf", "counterfactual", source, size, ratio), seed)
        for variant in params.variants
        for source in params.cgn.sources
        for mix in chosen.mixes
        for ratio in chosen.ratios
        for size in chosen.sizes
        for seed in rules.seeds(chosen.seeds)
        if ratio <= VARIANTS[variant].max_ratio and size >= 100 * ratio
    ]
    found = _run(study, "ablation", [(study.classifier, *case, chosen.epochs, False, True) for case in cases])
    rows = []
    for (variant, ts, seed), result in zip(cases, found, strict=True):
        row = classifiers.select(result.numbers["history"], params.classifier.selection)
        mix = "original+cf" if ts.original else "cf"
        keys = {"variant": variant, "source": ts.source, "mix": mix, "ratio": ts.ratio, "size": ts.size, "seed": seed}
        rows.append(keys | {"test": row["test"], "in_domain": row["in_domain"]})
    return pd.DataFrame(rows)


def gradcam_sets(study: Study) -> list[TrainingSet]:
    """Original, CGN and Original+CGN, with the CGN that decides the claims."""
    size, ratio = study.params.counterfactuals.size, study.params.counterfactuals.ratio
    source = deciding(study.params.cgn.sources)
    both = [TrainingSet(original, "counterfactual", source, size, ratio) for original in (False, True)]
    return [TrainingSet(original=True), *both]


def gradcam_runs(study: Study) -> tuple[pd.DataFrame, dict[str, Any]]:
    """(measures of heatmaps, one row per classifier and per null baseline; heatmaps of the first seed by training set).

    Double-colored MNIST, as in reproduction Fig 3, unless the run leaves that variant out.
    """
    cases = [(ts, seed) for ts in gradcam_sets(study) for seed in rules.seeds(study.params.seeds)]
    found = _run(study, "GradCAM", [(study.gradcam, *case) for case in cases])
    rows: list[dict[str, Any]] = []
    maps: dict[str, Any] = {}
    for (ts, seed), result in zip(cases, found, strict=True):
        numbers = result.numbers
        extra = {"grid_empty": numbers["grid_empty"]} | numbers["variance"]
        rows.append({"training_set": ts.name, "heatmap": "GradCAM", "seed": seed} | numbers["measures"] | extra)
        for null, values in numbers["null"].items():
            rows.append({"training_set": ts.name, "heatmap": null, "seed": seed} | values)
        maps.setdefault(ts.name, result.tensors["heatmaps"])
    return pd.DataFrame(rows), maps


def gradcam_variance(heat: pd.DataFrame) -> pd.DataFrame:
    """Variance of the heatmaps of the grid, and share of empty ones, over the repetitions of each training set."""
    names = ("along_themes", "along_digits", "grid_empty")
    return statistics.shown(heat[heat["heatmap"] == "GradCAM"], ["training_set"], {name: name for name in names}, 4)


def gradcam_measures(heat: pd.DataFrame) -> pd.DataFrame:
    """Heatmaps and null maps against the true digits in percent, over the repetitions of each training set."""
    names = ["mass_inside", "iou_area", "iou_digit", "iou_macro", "empty"]
    percent = heat.assign(**{name: 100 * heat[name] for name in names})
    return statistics.shown(percent, ["training_set", "heatmap"], {name: name for name in names})


def cost(study: Study) -> pd.DataFrame:
    """What the results of this profile took, per kind of job, in every run so far."""
    return pd.DataFrame(study.store.cost())


def shown(runs: pd.DataFrame, by: list[str], value: str, digits: int = 1) -> pd.DataFrame:
    """Mean and 95 % interval as text, or few values: one row per case of ``by``, column ``ours``."""
    return statistics.shown(runs, by, {"ours": value}, digits)


def headline(runs: pd.DataFrame, value: str) -> pd.DataFrame:
    """The short answer: one row per variant, one column per training set and CGN, mean and 95 % interval."""
    short = {source: f" ({source})" for source in SOURCES} | {"authors": " (the authors')", "": ""}
    told = runs[runs["training_set"].isin(["Original", "CGN", "Original+CGN"])]
    cells = shown(told, ["variant", "training_set", "source"], value)
    cells["column"] = cells["training_set"] + cells["source"].map(short)
    columns = [
        name + short[source]
        for source in ("", *SOURCES)
        for name in ORDER
        if name + short[source] in set(cells["column"])
    ]
    wide = cells.pivot(index="variant", columns="column", values="ours")
    return titled(wide.loc[list(dict.fromkeys(runs["variant"])), columns].reset_index()).rename_axis(columns=None)


def titled(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with variants and sources written as a reader sees them."""
    names = {name: settings.title for name, settings in VARIANTS.items()}
    changes: dict[str, Any] = {}
    if "variant" in frame:
        changes["variant"] = frame["variant"].map(names)
    if "source" in frame:
        changes["source"] = frame["source"].map(lambda source: GENERATORS.get(source, source))
    return frame.assign(**changes)


def control_shares(runs: pd.DataFrame) -> pd.DataFrame:
    """The 3x3 control tables in long form, mean over seeds: variant, source, factor, label, share."""
    pairs = [column for column in runs if "<-" in str(column)]
    long = runs.melt(["variant", "source"], pairs, "pair", "share").dropna()
    long[["factor", "label"]] = long["pair"].str.split("<-", expand=True)
    return long.groupby(["variant", "source", "factor", "label"], sort=False)["share"].mean().reset_index()


def quality_and_accuracy(quality_rows: pd.DataFrame, accuracy_rows: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of classifiers trained on counterfactuals alone, with the good digits of the CGN that made them."""
    made = accuracy_rows[accuracy_rows["training_set"] == "CGN"]
    count = quality_rows.groupby(["variant", "source"])["seed"].transform("count")
    cgns = quality_rows.assign(cgns=count)[["variant", "source", "seed", "good_digits", "cgns"]]
    cgns = cgns.rename(columns={"seed": "cgn_seed"})
    sizes = cgns.drop_duplicates(["variant", "source"]).set_index(["variant", "source"])["cgns"]
    made = made.assign(
        cgn_seed=[rules.one_of(sizes[v, o], s) for v, o, s in made[["variant", "source", "seed"]].to_numpy()]
    )
    merged = made.merge(cgns, on=["variant", "source", "cgn_seed"])
    return titled(merged[["variant", "source", "seed", "good_digits", "test"]])
