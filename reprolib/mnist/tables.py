"""The tables of the MNIST half: run what a table needs, side by side, and return one row per repetition."""

from __future__ import annotations

from itertools import product
from math import nan
from statistics import fmean
from typing import Any

import pandas as pd

from reprolib import statistics
from reprolib.mnist import classifier as classifiers
from reprolib.mnist import experiments, nulls, plan, quality
from reprolib.mnist.choices import DIGIT_READER
from reprolib.mnist.stable import STABLE
from reprolib.mnist.train import LEARNING_RATE
from reprolib.run import jobs, rules
from reprolib.run.steps import Handle
from reprolib.run.store import Result
from reprolib.schema import RECIPES, SOURCES, CgnSource, Params
from reprolib.vocabulary import VARIANTS

GENERATORS: dict[str, str] = {**SOURCES, "dcgan": "DCGAN trained here", "": ""}
"""Whose generator made the images, as a reader sees it."""
TELLING = 25.0
"""Percent out of domain that the counterfactuals of real digits must reach before a CGN's are compared with them."""
ORDER = ["Original", "GAN", "Original+GAN", "CGN", "Original+CGN"]


def quality_runs(params: Params) -> pd.DataFrame:
    """One row per CGN: variant, source, seed, good_digits, recognised and pairwise_iou (means over digits), mean_mask,
    digit_0..9 (share recognised) and good_0..9, the control shares, and the accuracy of each reader in percent: no
    measure can be better than the classifier that reads it.

    ``_low`` and ``_high`` of good_digits and of a factor's control: the sampling interval of masks and images.
    """
    plan.train_cgns(params)
    return _quality(params, [(v, source, seed) for v in params.variants for source, seed in plan.cgns(params, v)])


def quality_summary(runs: pd.DataFrame) -> pd.DataFrame:
    """runs: of ``quality_runs``. Variant, source, CGNs, good_digits of each, and means: recognised in percent,
    pairwise_iou, mean_mask, shape_control and texture_control."""
    groups = runs.groupby(["variant", "source"], sort=False)
    means = groups[["recognised", "pairwise_iou", "mean_mask", "shape_control", "texture_control"]].mean()
    counts = groups["good_digits"].agg(CGNs="size", good_digits=lambda found: " ".join(map(str, found)))
    return titled(counts.join(means.assign(recognised=100 * means["recognised"])).reset_index())


def null_runs(params: Params) -> pd.DataFrame:
    """``quality_runs`` for CGNs whose quality is known: ``real digits``, and the nulls, which must not pass."""
    return _quality(params, [(v, name, rules.FIRST_SEED) for v in params.variants for name in nulls.KNOWN])


def _quality(params: Params, cases: list[tuple[str, CgnSource | nulls.Known, int]]) -> pd.DataFrame:
    wanted = [plan.quality(params, *case) for case in cases]
    judges = dict.fromkeys(judge for each in wanted if not each.file.exists() for _, judge in each["readers"])
    jobs.results(params, "readers", [judge for judge in judges if isinstance(judge, Handle)])
    found = jobs.results(params, "quality of CGNs", wanted)
    return pd.DataFrame([_quality_row(*case, result) for case, result in zip(cases, found, strict=True)])


def _quality_row(variant: str, source: str, seed: int, result: Result) -> dict[str, Any]:
    numbers, control = result.numbers, result.numbers["control"]
    row = {
        "variant": variant,
        "source": source,
        "seed": seed,
        **{name: numbers[name] for name in ("good_digits", "good_digits_low", "good_digits_high")},
        **{name: sum(numbers[name]) / 10 for name in ("recognised", "pairwise_iou")},
        "mean_mask": numbers["mean_mask"],
        "rules": rules.stamp(result.made),
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


def counterfactual_accuracy_runs(params: Params) -> pd.DataFrame:
    """Out-of-domain accuracy of a classifier trained on counterfactuals alone, one row per CGN and for real digits. A
    CGN that is given has a row per repetition, because trainings of a classifier differ by more than the sampling error
    of test images; a null, if these are to be measured, as many as the rule asks for. Columns: variant, source, seed,
    accuracy, relative, rules.

    relative: how far above chance, in percent of what the counterfactuals of real digits reach with the same seed, 0 to
    100; nan where these are near chance, so that nothing can be told.
    """
    plan.train_cgns(params)
    rule = rules.every()["claim1"]
    must_fail = rule["criteria"]["counterfactual_accuracy"]["nulls"] if params.cgn.accuracy_of_nulls else []
    cases: list[tuple[str, CgnSource | nulls.Known, int]] = []
    for v in params.variants:
        repeated = rules.seeds(params.seeds_of(v))
        trained = [(source, seed) for source, seed in plan.cgns(params, v) if source in RECIPES]
        given = [(source, seed) for source in params.cgn.sources if source not in RECIPES for seed in repeated]
        null = [(name, seed) for name in must_fail for seed in repeated[: rule["repetitions"]]]
        measured = [*trained, *given, *null]
        cases += [(v, "real digits", seed) for seed in sorted({seed for _, seed in measured})]
        cases += [(v, *case) for case in measured]
    found = jobs.results(params, "accuracy of counterfactuals", [plan.accuracy(params, *case) for case in cases])
    known = dict(zip(cases, found, strict=True))
    rows = []
    for (variant, source, seed), result in known.items():
        perfect, test = known[variant, "real digits", seed], result.numbers["test"]
        row = {"variant": variant, "source": source, "seed": seed, "accuracy": test}
        row["relative"] = _above_chance(test, perfect.numbers["test"])
        row["rules"] = f"{rules.stamp(result.made)} {rules.stamp(perfect.made)}"
        rows.append(row)
    return pd.DataFrame(rows)


def _above_chance(accuracy: float, reference: float) -> float:
    """An accuracy among ten classes in percent of a reference, both above chance, within 0 and 100; all in percent."""
    return nan if reference < TELLING else min(100.0, max(0.0, 100 * (accuracy - 10) / (reference - 10)))


def background_norms(params: Params) -> pd.DataFrame:
    """The last batch norm of the background mechanisms: variant, source, CGNs, steps, reach, bias.

    steps: training batches that the norm has seen. reach: the sum of the learning rates of all steps, about the most
    that Adam moves a parameter. bias: mean over the CGNs and the three colours; a flat black ground needs one far below
    zero in front of the tanh.
    """
    plan.train_cgns(params)
    rows = []
    for variant, source in product(params.variants, params.cgn.sources):
        trained = [plan.cgn(params, variant, *case) for case in plan.cgns(params, variant) if case[0] == source]
        states = [experiments.load(cgn).state_dict() for cgn in trained]
        steps = int(states[0]["f_text2.11.num_batches_tracked"])
        bias = fmean(float(state["f_text2.11.bias"].mean()) for state in states)
        row = {"variant": variant, "source": source, "CGNs": len(states), "steps": steps}
        # the stable recipe's rate falls linearly over the second half
        rate = 0.75 * STABLE.rates[0] if source in ("stable", "shipped") else LEARNING_RATE
        rows.append(row | {"reach": round(rate * steps, 2), "bias": round(bias, 2)})
    return pd.DataFrame(rows)


def training_quality(params: Params) -> pd.DataFrame:
    """Good digits at each snapshot of the CGNs trained here: variant, source, seed, step, good_digits, mean_mask."""
    cases, how = plan.trainings(params), (params.cgn.quality_masks, DIGIT_READER, params.machine)
    wanted = [experiments.training_quality(plan.trained_cgn(params, *case), *how) for case in cases]
    found = jobs.results(params, "quality over training", wanted)
    rows = [
        {"variant": v, "source": r, "seed": seed, "step": int(step)} | {k: n[k] for k in ("good_digits", "mean_mask")}
        for (v, r, seed), result in zip(cases, found, strict=True)
        for step, n in sorted(result.numbers.items(), key=lambda snapshot: int(snapshot[0]))
    ]
    return pd.DataFrame(rows, columns=["variant", "source", "seed", "step", "good_digits", "mean_mask"])


def accuracy_runs(params: Params, nulls: bool = False) -> pd.DataFrame:
    """One row per classifier: variant, training_set, source, seed, images, epoch, rules (see ``rules.stamp``) and
    accuracies in percent. nulls: those of ``null_sets`` instead, on the first variant, because a rule is one for all.

    ``test``: held-out digits with random attributes; ``in_domain``: held-out digits whose attributes follow the
    label; ``visible``: the part of test where the digit can be seen; ``train``: while the epoch ran.
    """
    plan.train_cgns(params)
    if "dcgan" in params.gan.kinds:
        repeated = [(v, seed) for v in params.variants for seed in rules.seeds(params.seeds_of(v))]
        jobs.results(params, "DCGANs", [plan.dcgan(params, *case) for case in repeated])
    sets, variants = (plan.null_sets, params.variants[:1]) if nulls else (plan.training_sets, params.variants)
    wanted = [each for variant in variants for each in plan.classifiers(params, variant, sets)]
    rows = []
    for handle, result in zip(wanted, jobs.results(params, "classifiers", wanted), strict=True):
        history, trained_on = result.numbers["history"], handle["training_set"]
        chosen = classifiers.select(history, params.classifier.selection)
        domain = classifiers.select(history, params.classifier.selection, by="in_domain")
        rows.append(
            {
                "variant": handle["data"].variant,
                "training_set": trained_on.name,
                "source": trained_on.source,
                "seed": handle["seed"],
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


def ablation_runs(params: Params) -> pd.DataFrame:
    """Accuracy by counterfactuals, see ``plan.ablation``: variant, source, mix, ratio, size, seed, test, in_domain."""
    wanted = [each for variant in params.variants for each in plan.ablation(params, variant)]
    rows = []
    for handle, result in zip(wanted, jobs.results(params, "ablation", wanted), strict=True):
        row, ts = classifiers.select(result.numbers["history"], params.classifier.selection), handle["training_set"]
        mix, variant = "original+cf" if ts.original else "cf", handle["data"].variant
        keys = {"variant": variant, "source": ts.source, "mix": mix, "ratio": ts.ratio, "size": ts.size}
        rows.append(keys | {"seed": handle["seed"], "test": row["test"], "in_domain": row["in_domain"]})
    return pd.DataFrame(rows)


def gradcam_runs(params: Params) -> tuple[pd.DataFrame, dict[str, Any]]:
    """(measures of heatmaps, one row per classifier and per null baseline; heatmaps of the first seed by training set).

    Double-colored MNIST, as in reproduction Fig 3, unless the run leaves that variant out.
    """
    explained = plan.classifiers(params, plan.gradcam_variant(params), plan.gradcam_sets)
    wanted = [experiments.gradcam(each, params.gradcam.images, params.machine) for each in explained]
    rows: list[dict[str, Any]] = []
    maps: dict[str, Any] = {}
    for classifier, result in zip(explained, jobs.results(params, "GradCAM", wanted), strict=True):
        name, seed, numbers = classifier["training_set"].name, classifier["seed"], result.numbers
        extra = {"grid_empty": numbers["grid_empty"]} | numbers["variance"]
        rows.append({"training_set": name, "heatmap": "GradCAM", "seed": seed} | numbers["measures"] | extra)
        for null, values in numbers["null"].items():
            rows.append({"training_set": name, "heatmap": null, "seed": seed} | values)
        maps.setdefault(name, result.tensors["heatmaps"])
    return pd.DataFrame(rows), maps


def gradcam_variance(heat: pd.DataFrame) -> pd.DataFrame:
    """Variance of the heatmaps of the grid and share of empty ones, both times 100, by training set."""
    names = ["along_themes", "along_digits", "grid_empty"]
    percent = heat.assign(**{name: 100 * heat[name] for name in names})
    return statistics.shown(percent[heat["heatmap"] == "GradCAM"], ["training_set"], {name: name for name in names})


def gradcam_measures(heat: pd.DataFrame) -> pd.DataFrame:
    """Heatmaps and null maps against the true digits in percent, over the repetitions of each training set."""
    names = ["mass_inside", "iou_area", "iou_digit", "iou_macro", "empty"]
    percent = heat.assign(**{name: 100 * heat[name] for name in names})
    return statistics.shown(percent, ["training_set", "heatmap"], {name: name for name in names})


def shown(runs: pd.DataFrame, by: list[str], value: str) -> pd.DataFrame:
    """Mean and 95 % interval as text, or few values: one row per case of ``by``, column ``ours``."""
    return statistics.shown(runs, by, {"ours": value})


def headline(runs: pd.DataFrame, value: str) -> pd.DataFrame:
    """The short answer: one row per variant, one column per training set and CGN, mean and 95 % interval."""
    short = {source: f" ({source})" for source in SOURCES} | {"authors": " (the authors')", "": ""}
    told = runs[runs["training_set"].isin(["Original", "Original+GAN", "CGN", "Original+CGN"])]
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
