"""Which experiments a run has on a world: the steps of ``experiments.py``, called with its parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from reprolib.natural import experiments, train
from reprolib.natural.classify import ClassifierSettings
from reprolib.natural.experiments import Cgn, Counterfactuals, Exchanged, Given, TrainedOn
from reprolib.natural.world import World
from reprolib.run import jobs, rules
from reprolib.run.steps import Handle
from reprolib.schema import SOURCES, LossGroup, Machine, NaturalParams, NaturalSource, Params, TextureTarget

REAL, TRUTH = "real images", "true counterfactuals"
Changed = Literal["untrained", "exchanged", "true mask"]
"""How a CGN differs from a trained one: mechanisms as they start; texture and background mechanism in each other's
place; trained and used with the true mask in place of its own. The first two are nulls."""


@dataclass(frozen=True)
class CgnChoice:
    """Which CGN: by whom, and for one that is trained here with what."""

    source: NaturalSource = "trained"
    seed: int = rules.FIRST_SEED
    target: TextureTarget = "patches"
    without: LossGroup | None = None
    changed: Changed | None = None

    @property
    def trained_here(self) -> bool:
        """Whether its mechanisms are trained by this run."""
        return self.source == "trained" and self.changed in (None, "true mask")


Case = tuple[TrainedOn, CgnChoice, int]
"""What a classifier is trained on, whose CGN, and its seed."""


@dataclass(frozen=True)
class WorldRun:
    """The parameters of a run, and one of its worlds."""

    params: Params
    world: World

    @property
    def chosen(self) -> NaturalParams:
        """The parameters of the world."""
        return getattr(self.params, self.world.name)

    @property
    def machine(self) -> Machine:
        """What computes."""
        return replace(self.params.machine, workers=self.chosen.workers)

    @property
    def deciding(self) -> CgnChoice:
        """The CGN that decides a claim, and that the figures show: its first run, with the first target."""
        return CgnChoice(self.chosen.sources[0], target=self.chosen.targets[0])


def trained_cgn(run: WorldRun, which: CgnChoice) -> Handle:
    """The training of a CGN."""
    chosen, weights = run.chosen, train.LossWeights()
    settings = train.CgnSettings(
        updates=chosen.updates,
        micro_batch=chosen.micro_batch,
        accumulation=chosen.accumulation,
        weights=weights.without(which.without) if which.without else weights,
        texture_target=which.target,
        one_class=chosen.one_class,
        patches=run.world.patches,
        mask_low=chosen.mask_low,
        learning_rate=chosen.learning_rate,
        texture_rate=chosen.texture_rate,
        features=chosen.features,
        device=run.machine.device,
    )
    return experiments.natural_cgn(run.world, which.seed, settings, which.changed == "true mask", run.machine)


def cgn(run: WorldRun, which: CgnChoice) -> Cgn:
    """A CGN: trained here, given or a null."""
    if which.changed == "untrained":
        return Given(run.world, "untrained")
    whole = trained_cgn(run, which) if which.source == "trained" else Given(run.world, which.source)
    return Exchanged(whole) if which.changed == "exchanged" else whole


def cgns(run: WorldRun) -> list[CgnChoice]:
    """Every CGN of a run: all seeds with all losses, one with each other target, one without each group of losses; an
    untrained one, a null; and on Scenes one with the true mask, and the deciding one with two mechanisms exchanged."""
    chosen, found = run.chosen, []
    for source in chosen.sources:
        seeds = rules.seeds(chosen.cgns if source == "trained" else 1)
        found += [CgnChoice(source, seed, chosen.targets[0]) for seed in seeds]
        if source == "trained":
            found += [CgnChoice(source, target=target) for target in chosen.targets[1:]]
            found += [CgnChoice(source, target=chosen.targets[0], without=group) for group in chosen.ablations]
            if run.world.name == "scenes":
                found.append(CgnChoice(source, target=chosen.targets[0], changed="true mask"))
    found.append(CgnChoice(target=chosen.targets[0], changed="untrained"))
    return [*found, replace(run.deciding, changed="exchanged")] if run.world.name == "scenes" else found


def train_cgns(run: WorldRun) -> None:
    """Train what has to be trained, before the jobs that share it."""
    wanted = [trained_cgn(run, which) for which in cgns(run) if which.trained_here]
    jobs.results(run.params, f"CGNs of {run.world.title}", wanted)


def quality(run: WorldRun, which: CgnChoice) -> Handle:
    """How good a CGN is."""
    return experiments.natural_quality(run.world, cgn(run, which), run.chosen.rated, run.machine)


def counterfactuals(run: WorldRun, which: CgnChoice) -> Counterfactuals:
    """The set of counterfactuals of a CGN that classifiers see."""
    chosen = run.chosen
    sizes = chosen.counterfactuals, chosen.validation, chosen.truncation
    return Counterfactuals(cgn(run, which), which.seed, *sizes, run.machine)


def classifier(
    run: WorldRun,
    trained_on: TrainedOn,
    which: CgnChoice,
    seed: int,
    rate: float | None = None,
    ratio: float | None = None,
) -> Handle:
    """The training of an ensemble; rate, ratio: default those of the parameters."""
    chosen = run.chosen
    settings = ClassifierSettings(
        epochs=chosen.epochs,
        batch=chosen.batch,
        cf_ratio=0.0 if trained_on == "real" else chosen.cf_ratio if ratio is None else ratio,
        learning_rate=chosen.classifier_rate if rate is None else rate,
        decay_every=chosen.decay_every,
        selection=chosen.selection,
        device=run.machine.device,
    )
    made = None
    if trained_on == "truth":
        made = replace(counterfactuals(run, which), cgn=None, seed=seed)
    elif trained_on in ("cgn", "wrong"):
        made = counterfactuals(run, which)
    return experiments.ensemble(run.world, trained_on, made, seed, settings, run.machine)


def examined(run: WorldRun, trained_on: TrainedOn, which: CgnChoice, seed: int) -> Handle:
    """The closer look at an ensemble."""
    trained, shown = classifier(run, trained_on, which, seed), counterfactuals(run, run.deciding)
    return experiments.ensemble_examined(trained, shown, run.machine)


def _of_seed(run: WorldRun, source: NaturalSource, seed: int) -> CgnChoice:
    """The CGN with all losses that a classifier of this seed gets its counterfactuals from."""
    count = run.chosen.cgns if source == "trained" else 1
    return CgnChoice(source, rules.one_of(count, seed), run.chosen.targets[0])


def training_sets(run: WorldRun) -> list[tuple[TrainedOn, NaturalSource, str]]:
    """(what a classifier is trained on, whose CGN, how a reader sees it)."""
    found: list[tuple[TrainedOn, NaturalSource, str]] = [("real", "trained", REAL)]
    found += [("cgn", source, f"{REAL} + {SOURCES[source]}") for source in run.chosen.sources]
    return [*found, ("truth", "trained", f"{REAL} + {TRUTH}")] if run.world.name == "scenes" else found


def classifiers(run: WorldRun) -> list[Case]:
    """Every classifier; each seed has a CGN of its own if there is one."""
    seeds = rules.seeds(run.chosen.seeds)
    return [(kind, _of_seed(run, source, seed), seed) for kind, source, _ in training_sets(run) for seed in seeds]


def nulls(run: WorldRun, kind: TrainedOn) -> list[Case]:
    """The classifiers of a null of claim 2 or 3, one for each repetition; none on ImageNet, where they would take days.
    Those of real images are others than the ones that they are held against."""
    first = run.chosen.seeds if kind == "real" else 0
    seeds = rules.seeds(first + run.chosen.seeds)[first:] if run.world.name == "scenes" else ()
    return [(kind, _of_seed(run, run.deciding.source, seed), seed) for seed in seeds]


def search(run: WorldRun) -> list[tuple[TrainedOn, CgnChoice, int, float, float]]:
    """A classifier with its learning rate and CF ratio for every cell of reproduction Table 7 and seed.

    As there, one CGN goes through all learning rates, the authors' if it is at hand, and the others only through that
    of the parameters.
    """
    chosen = run.chosen
    if not chosen.search_rates:
        return []
    rates = sorted({chosen.classifier_rate, *chosen.search_rates})
    whole = "authors" if "authors" in chosen.sources else chosen.sources[0]
    cells: list[tuple[TrainedOn, NaturalSource, float, float]] = []
    if 0.0 in chosen.search_ratios:
        cells += [("real", whole, rate, 0.0) for rate in rates]
    for source in sorted(chosen.sources, key=lambda source: source != whole):
        wanted = rates if source == whole else [chosen.classifier_rate]
        cells += [("cgn", source, rate, ratio) for rate in wanted for ratio in chosen.search_ratios if ratio > 0]
    return [
        (kind, _of_seed(run, source, seed), seed, rate, ratio)
        for kind, source, rate, ratio in cells
        for seed in rules.seeds(chosen.search_seeds)
    ]
