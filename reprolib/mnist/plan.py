"""Which experiments a run of the MNIST half has: the steps of ``experiments.py``, called with its parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

from reprolib.mnist import experiments, nulls, train
from reprolib.mnist import quality as measures
from reprolib.mnist.choices import DIGIT_READER, Cgn, Data, Generated, Given, TrainingSet
from reprolib.mnist.train import GenerativeSettings
from reprolib.run import jobs, rules
from reprolib.run.steps import Handle
from reprolib.run.weights import Shipped
from reprolib.schema import RECIPES, CgnSource, Params, Recipe
from reprolib.vocabulary import VARIANTS


def data(params: Params, variant: str) -> Data:
    """A variant with the digits and textures of the parameters."""
    chosen = params.digits
    return Data(variant, chosen.source, chosen.limit, chosen.textures)


def trained_cgn(params: Params, variant: str, recipe: Recipe, seed: int, steps: int | None = None) -> Handle:
    """The training of a CGN; steps: default those of the parameters. A recipe has only the choices that it knows."""
    chosen, wanted = params.cgn, data(params, variant)
    own: dict[str, Any] = {"features": chosen.features}
    if recipe == "stable":
        steps, own = steps or chosen.stable_steps, own | {"without": tuple(sorted(chosen.without))}
    else:
        steps = steps or chosen.steps_of(variant)
        own |= {"batch": chosen.batch, "edge_weight": chosen.edge_weight}
        own |= {"edge_form": chosen.edge_form} if chosen.edge_weight > 0 else {}  # else it has no form
    return experiments.cgn(wanted, recipe, seed, _settings(params, wanted, steps, **own), params.machine)


def dcgan(params: Params, variant: str, seed: int) -> Handle:
    """The training of a DCGAN."""
    wanted = data(params, variant)
    settings = _settings(params, wanted, params.gan.steps, batch=params.cgn.batch)
    return experiments.dcgan(wanted, seed, settings, params.machine)


def _settings(params: Params, wanted: Data, steps: int | None, **own: Any) -> GenerativeSettings:
    chosen = params.cgn
    return GenerativeSettings(
        steps or train.published_steps(wanted.count, chosen.batch),
        checkpoint_every=chosen.checkpoint_every,
        device=params.device,
        precision=chosen.precision,
        compiled=chosen.compiled,
        **own,
    )


def cgn(params: Params, variant: str, source: CgnSource | nulls.Known, seed: int) -> Cgn:
    """A CGN: trained here (the seed picks one of ``cgn.seeds`` runs), shipped, the authors', or of known quality."""
    if source == "stable" or source == "published":
        return trained_cgn(params, variant, source, rules.one_of(params.cgn.seeds_of(source, variant), seed))
    return Given(data(params, variant), source, seed)


def deciding_cgn(params: Params, variant: str) -> Cgn:
    """The first CGN of the source that decides the claims, which the figures show."""
    return cgn(params, variant, params.cgn.sources[0], rules.FIRST_SEED)


def cgns(params: Params, variant: str) -> list[tuple[CgnSource, int]]:
    """Source and seed of every CGN of a variant."""
    counts = [(source, params.cgn.seeds_of(source, variant)) for source in params.cgn.sources]
    return [(source, seed) for source, count in counts for seed in rules.seeds(count)]


def trainings(params: Params) -> list[tuple[str, Recipe, int]]:
    """Variant, recipe and seed of every CGN that is trained here, the first seed of each variant before the second."""
    made = [(v, r, seed) for r in RECIPES for v in params.variants for s, seed in cgns(params, v) if s == r]
    return sorted(made, key=lambda training: (RECIPES.index(training[1]), training[2]))


def train_cgns(params: Params) -> None:
    """Train what has to be trained, each network once, before the jobs that share it."""
    jobs.results(params, "generative models", [trained_cgn(params, *case) for case in trainings(params)])


def readers(params: Params, variant: str) -> tuple[tuple[str, Shipped | Handle], ...]:
    """The classifiers that judge a CGN, of digits and of each factor: shipped, or trained here for an added variant."""
    wanted = data(params, variant)
    shipped = {factor: wanted.shipped_reader(factor) for factor in measures.factors(variant)}
    by_factor = [
        (factor, file if file.file.exists() else experiments.factor_reader(wanted, factor, params.machine))
        for factor, file in shipped.items()
    ]
    return (("digit", DIGIT_READER), *by_factor)


def quality(params: Params, variant: str, source: CgnSource | nulls.Known, seed: int) -> Handle:
    """Masks and control of a CGN."""
    chosen, judges = cgn(params, variant, source, seed), readers(params, variant)
    return experiments.quality(data(params, variant), chosen, params.cgn.quality_masks, judges, params.machine)


def accuracy(params: Params, variant: str, source: CgnSource | nulls.Known, seed: int) -> Handle:
    """The accuracy of a classifier that saw counterfactuals of a CGN alone."""
    chosen, how = cgn(params, variant, source, seed), (params.cgn.accuracy_images, params.classifier.precision)
    return experiments.counterfactual_accuracy(data(params, variant), chosen, seed, *how, params.machine)


def training_set(
    params: Params,
    variant: str,
    original: bool,
    generated: Generated,
    source: CgnSource | None,
    seed: int,
    size: int | None = None,
    ratio: int | None = None,
) -> TrainingSet:
    """A training set. source: whose CGN generates; size, ratio: default those of the parameters."""
    chosen = params.counterfactuals
    size = size or chosen.size
    if source is None:
        return TrainingSet(original, generated, dcgan(params, variant, seed), size)
    made_by = cgn(params, variant, source, seed)
    if generated == "cgn_noncf":
        return TrainingSet(original, generated, made_by, size)
    return TrainingSet(original, generated, made_by, size, ratio or chosen.ratio, chosen.texture_labels)


def training_sets(params: Params, variant: str, seed: int) -> list[TrainingSet]:
    """The rows of reproduction Tables 2 and 6, for each source of generated images."""
    sets = [TrainingSet(original=True)]
    for original in (False, True):
        kinds: list[tuple[Generated, CgnSource | None]] = [("dcgan", None)] if "dcgan" in params.gan.kinds else []
        for source in params.cgn.sources:
            if original or "cgn_noncf" in params.gan.kinds:  # with original data it is the control of claim 2
                kinds.append(("cgn_noncf", source))
            kinds.append(("counterfactual", source))
        sets += [training_set(params, variant, original, *kind, seed) for kind in kinds]
    return sets


def null_sets(params: Params, variant: str, seed: int) -> list[TrainingSet]:
    """What must not pass claims 2 and 3: generated images whose three labels agree, and counterfactuals with wrong
    labels, alone and with original images. Of the CGN that decides."""
    source = params.cgn.sources[0]
    kinds: list[tuple[bool, Generated]] = [(False, "cgn_noncf"), (False, "wrong_labels"), (True, "wrong_labels")]
    return [training_set(params, variant, *kind, source, seed) for kind in kinds]


def gradcam_variant(params: Params) -> str:
    """Reproduction Fig 3 shows Double-colored MNIST; a run without it shows its first variant."""
    return "double_colored_MNIST" if "double_colored_MNIST" in params.variants else params.variants[0]


def gradcam_sets(params: Params, variant: str, seed: int) -> list[TrainingSet]:
    """Original, CGN and Original+CGN, with the CGN that decides the claims."""
    source = params.cgn.sources[0]
    both = [training_set(params, variant, each, "counterfactual", source, seed) for each in (False, True)]
    return [TrainingSet(original=True), *both]


def classifiers(
    params: Params, variant: str, sets: Callable[[Params, str, int], Sequence[TrainingSet]]
) -> list[Handle]:
    """The classifiers of a variant, all seeds of a training set and then of the next. sets: those of a seed."""
    seeds, wanted = tuple(rules.seeds(params.seeds_of(variant))), data(params, variant)
    how = params.classifier.epochs, params.classifier.batch, params.classifier.precision, params.machine
    found = []
    for same in zip(*(sets(params, variant, seed) for seed in seeds), strict=True):
        together = experiments.classifiers_together(wanted, same, seeds, *how) if params.classifier.together else None
        found += [
            experiments.classifier(wanted, each, seed, *how, together) for each, seed in zip(same, seeds, strict=True)
        ]
    return found


def ablation(params: Params, variant: str) -> list[Handle]:
    """Classifiers on more and fewer counterfactuals, each trained alone, because the largest sets would not fit
    together. Ratios beyond what a variant can show (more than ten for Colored MNIST), and sizes that give no image, are
    left out."""
    chosen, how = params.ablation, (params.classifier.batch, params.classifier.precision, params.machine)
    found = []
    for source, mix, ratio, size in product(params.cgn.sources, chosen.mixes, chosen.ratios, chosen.sizes):
        if ratio <= VARIANTS[variant].max_ratio and size >= 100 * ratio:
            for seed in rules.seeds(chosen.seeds):
                original = mix == "original+cf"
                made = training_set(params, variant, original, "counterfactual", source, seed, size, ratio)
                found.append(experiments.classifier(data(params, variant), made, seed, chosen.epochs, *how, None))
    return found
