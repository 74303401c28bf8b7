"""The tables of the natural-image half: run what a table needs, side by side, and return one row per result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from reprolib import jobs
from reprolib.imagenet.backgrounds_challenge import VARIANTS
from reprolib.imagenet.ensemble import HEADS
from reprolib.imagenet.study import NaturalStudy, Trained, TrainedOn
from reprolib.schema import SOURCES, deciding
from reprolib.statistics import interval

GROUPS = {"shape": "shape", "text": "texture", "bg": "background", "rec": "reconstruction"}
"""The groups of losses as a reader sees them."""
FACTORS = ("shape", "texture", "background")
TRUTH = "true counterfactuals"
REAL = "real images"


def _run(study: NaturalStudy, title: str, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    return jobs.run_methods(study.params, f"{title} of {study.world.title}", calls)


def cgns(study: NaturalStudy) -> list[Trained]:
    """Every CGN of a run: all seeds with all losses, one with each other target, one without each group of losses."""
    chosen, found = study.chosen, []
    for source in chosen.sources:
        seeds = range(chosen.cgns if source == "trained" else 1)
        found += [Trained(source, seed, chosen.targets[0]) for seed in seeds]
        if source == "trained":
            found += [Trained(source, 0, target) for target in chosen.targets[1:]]
            found += [Trained(source, 0, chosen.targets[0], group) for group in chosen.ablations]
    return found


def prepare(study: NaturalStudy) -> None:
    """Train what has to be trained, before the jobs that share it."""
    _run(study, "CGNs", [(study.trained_cgn, which) for which in cgns(study) if which.source == "trained"])


def named(which: Trained) -> dict[str, Any]:
    """What tells one CGN from the others in a table."""
    losses = f"without {GROUPS[which.without]} loss" if which.without else "all"
    return {"cgn": SOURCES[which.source], "target": which.target, "losses": losses, "seed": which.seed}


def quality(study: NaturalStudy) -> pd.DataFrame:
    """One row per CGN: cgn, target, losses, seed; is_gen, is_gt, is_share (of is_gt, in percent), mean_mask,
    mean_mask_sd, and with ``_0.5`` the same for latents of that truncation; where the truth is known mask_iou, residue,
    entanglement, own and other (percent of factors that follow their own label, and another's)."""
    prepare(study)
    cases = cgns(study)
    found = _run(study, "ratings", [(study.rate, which) for which in cases])
    rows = []
    for which, numbers in zip(cases, found, strict=True):
        row = named(which) | {name: value for name, value in numbers.items() if name != "control"}
        row["is_share"] = 100 * numbers["is_gen"] / numbers["is_gt"]
        if control := numbers.get("control"):
            own = [control[factor][factor] for factor in FACTORS]
            other = [control[factor][label] for factor in FACTORS for label in FACTORS if label != factor]
            row |= {"own": sum(own) / len(own), "other": sum(other) / len(other)}
        rows.append(row)
    return pd.DataFrame(rows)


def control(study: NaturalStudy) -> pd.DataFrame:
    """How often each factor is read as each label, mean over the CGNs with all losses: variant, source, factor, label,
    share; empty where no reader knows."""
    whole = [which for which in cgns(study) if which.without is None and which.target == study.chosen.targets[0]]
    rows = [
        {
            "variant": study.world.title,
            "source": SOURCES[which.source],
            "factor": factor,
            "label": label,
            "share": share,
        }
        for which in whole
        for factor, shares in study.rate(which).get("control", {}).items()
        for label, share in shares.items()
    ]
    frame = pd.DataFrame(rows, columns=["variant", "source", "factor", "label", "share"])
    return frame.groupby(["variant", "source", "factor", "label"], sort=False)["share"].mean().reset_index()


def training_sets(study: NaturalStudy) -> list[tuple[TrainedOn, Trained, str]]:
    """(what a classifier is trained on, whose CGN, how a reader sees it)."""
    target = study.chosen.targets[0]
    found: list[tuple[TrainedOn, Trained, str]] = [("real", Trained(), REAL)]
    found += [("cgn", Trained(source, 0, target), f"{REAL} + {SOURCES[source]}") for source in study.chosen.sources]
    if study.world.name == "scenes":
        found.append(("truth", Trained(), f"{REAL} + {TRUTH}"))
    return found


def classifier_cases(study: NaturalStudy) -> list[tuple[TrainedOn, Trained, int]]:
    """(what it is trained on, whose CGN, seed) of every classifier; each seed has a CGN of its own if there is one."""
    return [
        (kind, Trained(which.source, seed % study.chosen.cgns if which.source == "trained" else 0, which.target), seed)
        for kind, which, _ in training_sets(study)
        for seed in range(study.chosen.seeds)
    ]


def classifiers(study: NaturalStudy) -> pd.DataFrame:
    """One row per classifier, at the epoch with the best top-1 on real images: trained_on, seed, epoch, everything that
    ``NaturalStudy.evaluate`` measures, ``unusual/<set>``, and ``factor/<head>`` and ``factor5/<head>``. The first row
    is the plain classifier of the world, which has no heads."""
    prepare(study)
    cases = classifier_cases(study)
    titles = [title for _, _, title in training_sets(study) for _ in range(study.chosen.seeds)]
    for kind, which, _ in dict.fromkeys(cases):  # one after the other: classifiers share a set
        if kind == "cgn":
            study.counterfactual_folder(which)
    found = _run(study, "classifiers", [(study.classifier, *case) for case in cases])
    closer = _run(study, "closer looks at classifiers", [(study.examined, *case) for case in cases])
    plain = study.plain()
    rows = [{"trained_on": study.world.plain_title, "seed": 0, "epoch": 0} | plain["row"] | _unusual(plain)]
    for title, (_, _, seed), result, look in zip(titles, cases, found, closer, strict=True):
        row = {"trained_on": title, "seed": seed, "epoch": result.numbers["best"]}
        rows.append(row | _best(result.numbers) | _unusual(look.numbers) | _factors(look.numbers))
    return pd.DataFrame(rows)


def _unusual(numbers: dict[str, Any]) -> dict[str, float]:
    return {f"unusual/{name}": value for name, value in numbers["unusual"].items()}


def _factors(numbers: dict[str, Any]) -> dict[str, float]:
    named = {"factor": numbers.get("factors", {}), "factor5": numbers.get("factors5", {})}
    return {f"{name}/{head}": value for name, heads in named.items() for head, value in heads.items()}


def _best(numbers: dict[str, Any]) -> dict[str, float]:
    best: dict[str, float] = numbers["history"][numbers["best"]]
    return best


def search_cases(study: NaturalStudy) -> list[tuple[TrainedOn, Trained, int, float, float]]:
    """(what it is trained on, whose CGN, seed, learning rate, CF ratio) of every cell of seed Table 7.

    As there, one CGN goes through all learning rates, the authors' if it is at hand, and the others only through that
    of the parameters.
    """
    chosen = study.chosen
    whole = "authors" if "authors" in chosen.sources else deciding(chosen.sources)
    cases: list[tuple[TrainedOn, Trained, int, float, float]] = []
    if 0.0 in chosen.search_ratios:
        cases += [("real", Trained(whole, 0, chosen.targets[0]), 0, rate, 0.0) for rate in chosen.search_rates]
    for source in sorted(chosen.sources, key=lambda source: source != whole):
        which, rates = Trained(source, 0, chosen.targets[0]), chosen.search_rates
        wanted = rates if source == whole else [rate for rate in rates if rate == chosen.classifier_rate]
        cases += [("cgn", which, 0, rate, ratio) for rate in wanted for ratio in chosen.search_ratios if ratio > 0]
    return cases


def search(study: NaturalStudy) -> pd.DataFrame:
    """Seed Table 7: the plain classifier, then one row per cell: trained_on, rate, ratio, epoch, accuracies and gap."""
    cases, plain = search_cases(study), study.plain()["row"]
    found = _run(study, "search", [(study.classifier, *case) for case in cases])
    first = {"trained_on": study.world.plain_title, "rate": None, "ratio": 0.0, "epoch": 0}
    rows = [first | _challenge(plain, "shape_texture") | {"top1": plain["top1"]}]
    for (kind, which, _, rate, ratio), result in zip(cases, found, strict=True):
        best = _best(result.numbers)
        title = REAL if kind == "real" else f"{REAL} + {SOURCES[which.source]}"
        row = {"trained_on": title, "rate": rate, "ratio": ratio, "epoch": result.numbers["best"]}
        rows.append(row | _challenge(best, "shape_texture") | {"top1": best["top1"]})
    return pd.DataFrame(rows)


def _challenge(row: dict[str, float], head: str) -> dict[str, float]:
    return {name: row[f"{name}/{head}"] for name in (*VARIANTS, "gap")}


def challenge(runs: pd.DataFrame, head: str = "shape_texture") -> pd.DataFrame:
    """Seed Table 5: accuracy on the three sets and the gap, mean ± half a 95 % interval; one row per training set."""
    return _shown(runs, {name: f"{name}/{head}" for name in (*VARIANTS, "gap")})


def gaps(runs: pd.DataFrame) -> pd.DataFrame:
    """The gap of every prediction, one row per training set."""
    return _shown(runs, {head: f"gap/{head}" for head in (*HEADS, "avg", "shape_texture")})


def bias(runs: pd.DataFrame) -> pd.DataFrame:
    """Seed Table 4: shape bias of every head and of their mean, the share that was decided, top-1 and top-5."""
    columns = {f"shape bias, {head}": f"shape_bias/{head}" for head in (*HEADS, "avg")}
    return _shown(runs, columns | {"decided, avg": "decided/avg", "top-1": "top1", "top-5": "top5"})


def accuracy(runs: pd.DataFrame) -> pd.DataFrame:
    """Claim 3: top-1, top-5 and accuracy on the unchanged test set, mean ± half a 95 % interval; ensembles alone."""
    ensembles = runs[runs["trained_on"].str.startswith(REAL)]
    return _shown(ensembles, {"top-1": "top1", "top-5": "top5", "unchanged test images": "original/avg"})


def challenge_points(runs: pd.DataFrame) -> pd.DataFrame:
    """Accuracy on every set for the mean of the heads and without the background head: trained_on, seed, set, head,
    accuracy."""
    parts = [
        runs[["trained_on", "seed"]].assign(set=name, head=head, accuracy=runs[f"{name}/{head}"])
        for head in ("avg", "shape_texture")
        for name in VARIANTS
    ]
    return pd.concat(parts, ignore_index=True)


def bias_points(runs: pd.DataFrame) -> pd.DataFrame:
    """Shape bias of every head: trained_on, seed, head, shape_bias; empty for a head that there is not."""
    parts = [
        runs[["trained_on", "seed"]].assign(head=head, shape_bias=runs[f"shape_bias/{head}"])
        for head in (*HEADS, "avg")
    ]
    return pd.concat(parts, ignore_index=True)


def factors(runs: pd.DataFrame) -> pd.DataFrame:
    """How often each head names its own factor on validation counterfactuals first, and among five, in percent."""
    columns = {
        f"{head}{title}": f"{name}/{head}" for name, title in (("factor", ""), ("factor5", ", top-5")) for head in HEADS
    }
    return _shown(runs[_with_counterfactuals(runs)], columns)


def unusual(runs: pd.DataFrame) -> pd.DataFrame:
    """Top-1 on the out-of-distribution sets of the second reproduction."""
    return _shown(runs, {str(name)[8:]: str(name) for name in runs if str(name).startswith("unusual/")})


def _with_counterfactuals(runs: pd.DataFrame) -> pd.Series:
    return runs["trained_on"].str.startswith(f"{REAL} + ")


def _shown(runs: pd.DataFrame, columns: dict[str, str]) -> pd.DataFrame:
    """Mean ± half a 95 % interval as text, nothing where a classifier has no such prediction."""
    groups = runs.groupby("trained_on", sort=False)
    table = pd.DataFrame(
        {
            title: groups[name].apply(lambda values: "" if values.isna().all() else f"{interval(values.tolist()):.1f}")
            for title, name in columns.items()
        }
    )
    return table.rename_axis("trained on").reset_index()


# ---------------------------------------------------------------- evidence


def quality_evidence(study: NaturalStudy, runs: pd.DataFrame) -> pd.DataFrame:
    """Claim 1: one row per CGN with all losses and criterion; columns source, criterion, case, value."""
    whole = runs[(runs["losses"] == "all") & (runs["target"] == study.chosen.targets[0])]
    measured = {"inception_score": whole["is_share"], "mean_mask": whole["mean_mask"]}
    if "mask_iou" in whole:
        measured |= {"mask_iou": 100 * whole["mask_iou"], "own": whole["own"], "other": whole["other"]}
    return _evidence({name: (whole["cgn"], values) for name, values in measured.items()}, study)


def robustness_evidence(study: NaturalStudy, runs: pd.DataFrame) -> pd.DataFrame:
    """Claim 2: how much smaller the gap is than with real images alone, and how much larger the shape head's bias."""
    gap, base_gap = _against_real(runs, "gap/shape_texture")
    bias_, base_bias = _against_real(runs, "shape_bias/shape", "shape_bias/avg")
    found = {"gap": (gap.index, base_gap - gap), "shape_bias": (bias_.index, bias_ - base_bias)}
    return _evidence(found, study)


def accuracy_evidence(study: NaturalStudy, runs: pd.DataFrame) -> pd.DataFrame:
    """Claim 3: how much lower top-1 and the accuracy on unchanged test images are than with real images alone."""
    parts = {name: _against_real(runs, column) for name, column in (("top1", "top1"), ("original", "original/avg"))}
    return _evidence({name: (values.index, base - values) for name, (values, base) in parts.items()}, study)


def _against_real(runs: pd.DataFrame, column: str, base: str | None = None) -> tuple[pd.Series, pd.Series]:
    """(values of the classifiers with counterfactuals, the value of the one without of the same seed), by source."""
    real = runs[runs["trained_on"] == REAL].set_index("seed")[base or column]
    others = runs[_with_counterfactuals(runs)]
    sources = others["trained_on"].str.removeprefix(f"{REAL} + ")
    values = pd.Series(others[column].to_numpy(), index=sources)
    return values, pd.Series(real.loc[others["seed"]].to_numpy(), index=sources)


def _evidence(found: dict[str, tuple[Any, Any]], study: NaturalStudy) -> pd.DataFrame:
    parts = [
        pd.DataFrame({"source": list(sources), "criterion": name, "case": study.world.title, "value": list(values)})
        for name, (sources, values) in found.items()
    ]
    return pd.concat(parts, ignore_index=True)
