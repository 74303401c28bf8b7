"""The experiments of the natural-image half, written once for every world: each method is one stored result.

Parameters come from the group of the world (``scenes`` or ``imagenet``); what a method returns is in the store, and
``tables.py`` makes DataFrames of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from reprolib import features
from reprolib.natural import classify, datasets, quality, robustness
from reprolib.natural import counterfactuals as sets
from reprolib.natural import train as training
from reprolib.natural.cgn import CGN
from reprolib.natural.classify import HEADS, Batches, ClassifierSettings, Plain, head_heatmaps
from reprolib.natural.datasets import Images
from reprolib.natural.world import World
from reprolib.run import rng, rules
from reprolib.run.files import canonical, digest
from reprolib.run.jobs import Experiments
from reprolib.run.store import Checkpoint, Result, Store
from reprolib.schema import LossGroup, NaturalParams, NaturalSource, Params, TextureTarget, deciding

EXAMPLES = 4
"""Real images and counterfactuals, so many of each, that heatmaps are shown of."""
FOLLOWED = 45
"""Images by which a CGN is held against the truth over its training."""
TrainedOn = Literal["real", "cgn", "truth", "again", "wrong"]
"""Real images alone, with counterfactuals of a CGN, or with true ones from the renderer. Two nulls: with as many real
images again, and with counterfactuals of a CGN whose labels are all those of the next class."""
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


class NaturalStudy(Experiments):
    """The experiments on one world for one set of parameters."""

    def __init__(self, params: Params, world: World, store: Store) -> None:
        super().__init__(params, store)
        self.world = world
        self.chosen: NaturalParams = getattr(params, world.name)

    @property
    def deciding(self) -> CgnChoice:
        """The CGN that decides a claim, and that the figures show: its first run, with the first target."""
        return CgnChoice(deciding(self.chosen.sources), target=self.chosen.targets[0])

    # ---------------------------------------------------------------- the CGN

    def settings(self, which: CgnChoice) -> training.CgnSettings:
        """How a CGN is trained here."""
        chosen = self.chosen
        weights = training.LossWeights()
        return training.CgnSettings(
            updates=chosen.updates,
            micro_batch=chosen.micro_batch,
            accumulation=chosen.accumulation,
            weights=weights.without(which.without) if which.without else weights,
            texture_target=which.target,
            one_class=chosen.one_class,
            patches=self.world.patches,
            mask_low=chosen.mask_low,
            learning_rate=chosen.learning_rate,
            texture_rate=chosen.texture_rate,
            features=chosen.features,
            device=self.params.device,
        )

    def cgn_inputs(self, which: CgnChoice) -> dict[str, Any]:
        """What names a CGN, trained here or given."""
        if which.changed == "untrained":
            return {"world": self.world.identity(), "changed": which.changed}
        if which.changed:
            return self.cgn_inputs(replace(which, changed=None)) | {"changed": which.changed}
        if which.source != "trained":
            return {"world": self.world.identity(), "given": self.world.given_identity(which.source)}
        settings = self.settings(which)
        unnamed = {"device", "checkpoint_every"}
        inputs = {name: value for name, value in settings.__dict__.items() if name not in unnamed}
        inputs["weights"], inputs["patches"] = settings.weights.__dict__, settings.patches.__dict__
        inputs["features"] = {settings.features: features.SCALES[settings.features]}
        return {"world": self.world.identity(), "seed": which.seed} | inputs | self._machine()

    def trained_cgn(self, which: CgnChoice) -> Result:
        """Train a CGN. Tensors: its mechanisms, and ``sheet/<update>``: sample sheets over training, uint8
        (classes, 6, 3, H, W), of :data:`training.SHEET`. Numbers: ``updates``, at which it was looked at, and
        ``truth``, what ``World.against_truth`` said of it there."""

        def make(checkpoint: Checkpoint) -> Result:
            model = self.world.new_cgn(which.changed == "true mask")
            title = f"CGN on {self.world.title}, {which.target}, without {which.without}, seed {which.seed}"
            kept = training.train_cgn(model, which.seed, self.settings(which), checkpoint, title, watch)
            sheets = {f"sheet/{update}": sheet for update, (sheet, _) in kept.items()}
            numbers = {"updates": list(kept), "truth": [truth for _, truth in kept.values()]}
            return Result(numbers, model.mechanisms() | sheets)

        def watch(model: CGN) -> tuple[Tensor, dict[str, Any]]:
            return training.sheet(model, self.world.shown), self.world.against_truth(model, FOLLOWED)

        inputs = self.cgn_inputs(which) | self.world.truth_identity() | {"followed": FOLLOWED}
        return self.store.get("natural_cgn", inputs, make, with_tensors=True)

    def cgn(self, which: CgnChoice) -> CGN:
        """A CGN in eval mode on the CPU."""
        if which.changed == "untrained":
            return self.world.new_cgn().eval()
        if which.changed == "exchanged":
            model = self.cgn(replace(which, changed=None))
            model.f_text, model.f_bg = model.f_bg, model.f_text
            return model
        if which.source != "trained":
            return self.world.given_cgn(which.source)
        model = self.world.new_cgn(which.changed == "true mask")
        found = self.trained_cgn(which).tensors
        model.load_mechanisms({name: value for name, value in found.items() if not name.startswith("sheet/")})
        return model.eval()

    def rate(self, which: CgnChoice) -> dict[str, Any]:
        """Inception Score of x_gen and x_gt, mean mask, and against the truth where it is known; see ``rating``."""
        rater = {"rater": self.world.rater_identity(), "images": self.chosen.rated}
        rater |= {"truncations": self.world.truncations} | self.world.truth_identity()
        inputs = {"cgn": self.cgn_inputs(which)} | rater | self._machine()

        def make(_: Checkpoint) -> Result:
            model = self.cgn(which).to(self.params.device)
            rater = self.world.rater().to(self.params.device)
            numbers = quality.score(model, rater, self.chosen.rated, self.world.truncations)
            return Result(numbers | self.world.against_truth(model, self.chosen.rated))

        found = self.store.get("natural_quality", inputs, make, version=2)
        return found.numbers | {"rules": rules.stamp(found.made, self.world.name)}

    def best_classes(self, which: CgnChoice) -> dict[str, list[int]]:
        """Classes of each factor that a CGN does well: what the mode ``best_classes`` draws from; see ``rating``."""
        inputs = {"cgn": self.cgn_inputs(which), "rater": self.world.rater_identity(), "images": quality.PER_CLASS}
        inputs |= {"truncation": self.chosen.truncation} | self._machine()

        def make(_: Checkpoint) -> Result:
            model, rater = self.cgn(which).to(self.params.device), self.world.rater().to(self.params.device)
            return Result(quality.class_quality(model, rater, self.chosen.truncation))

        return quality.best_classes(self.store.get("class_quality", inputs, make).numbers)

    # ---------------------------------------------------------------- classifiers

    def counterfactual_folder(self, which: CgnChoice) -> Path:
        """The written counterfactuals of a CGN, ``train`` and ``val``; what is there is not made again, and a removed
        image is."""
        sizes = {"train": self.chosen.counterfactuals, "val": self.chosen.validation}
        inputs = {"cgn": self.cgn_inputs(which), "seed": which.seed, "sizes": sizes} | self._machine()
        inputs |= {"truncation": self.chosen.truncation}
        root = self.store.root / "counterfactual_sets" / digest(canonical(inputs))[:16]
        model = cache(lambda: self.cgn(which).to(self.params.device))
        for number, (split, size) in enumerate(sizes.items()):
            drawn = sets.Sampling(truncation=self.chosen.truncation, seed=1000 * which.seed + number)
            sets.write_set(model, self.world.classes, drawn, root / split, split, size, batch=50)
        return root

    def classifier_settings(
        self, trained_on: TrainedOn, rate: float | None = None, ratio: float | None = None
    ) -> ClassifierSettings:
        """How a classifier is trained; rate, ratio: default those of the parameters."""
        chosen = self.chosen
        wanted = chosen.cf_ratio if ratio is None else ratio
        return ClassifierSettings(
            epochs=chosen.epochs,
            batch=chosen.batch,
            cf_ratio=0.0 if trained_on == "real" else wanted,
            learning_rate=chosen.classifier_rate if rate is None else rate,
            decay_every=chosen.decay_every,
            selection=chosen.selection,
            workers=chosen.workers,
            device=self.params.device,
        )

    def _classifier_inputs(
        self, trained_on: TrainedOn, which: CgnChoice, seed: int, settings: ClassifierSettings
    ) -> dict[str, Any]:
        kept = {name: value for name, value in settings.__dict__.items() if name not in ("device", "workers")}
        inputs: dict[str, Any] = {"data": self.world.data_identity(), "training_set": trained_on, "seed": seed} | kept
        if trained_on in ("cgn", "wrong"):
            inputs |= {"cgn": self.cgn_inputs(which), "truncation": self.chosen.truncation}
        if trained_on not in ("real", "again"):
            inputs |= {"size": self.chosen.counterfactuals, "validation": self.chosen.validation}
        return inputs | self._machine()

    def classifier(
        self,
        trained_on: TrainedOn,
        which: CgnChoice,
        seed: int,
        rate: float | None = None,
        ratio: float | None = None,
        with_tensors: bool = False,
    ) -> Result:
        """Train and score an ensemble.

        rate, ratio: default those of the parameters. Numbers: ``history``, one row before training and one per epoch
        (see ``evaluate``); ``best``, the index of the row that is reported, see ``classify.best_row``. Tensors: the
        state of the ensemble at that row.
        """
        settings = self.classifier_settings(trained_on, rate, ratio)

        def make(checkpoint: Checkpoint) -> Result:
            with rng.seeded("ensemble initialisation", self.world.name, seed):
                model = self.world.ensemble()
            real = self.world.real("train")
            count = len(real)  # type: ignore[arg-type]
            order = partial(rng.permutation, count, "real order", seed)
            batches = Batches(real, order, settings.batch, seed, settings.workers)
            made = self._counterfactual_batches(trained_on, which, seed, settings, batches.per_epoch)
            title = f"ensemble on {trained_on} of {self.world.title}, seed {seed}"
            evaluate = partial(self.evaluate, unseen=self._counterfactuals(trained_on, which, seed, "val"))
            model, history = classify.train(model, batches, made, evaluate, settings, checkpoint, title)
            best = classify.best_row(history, settings.selection)
            return Result({"history": history, "best": best}, dict(model.state_dict()))

        inputs = self._classifier_inputs(trained_on, which, seed, settings)
        return self.store.get("ensemble", inputs, make, version=5, with_tensors=with_tensors)

    def examined(self, trained_on: TrainedOn, which: CgnChoice, seed: int) -> Result:
        """A closer look at the ensemble that ``classifier`` trains.

        Numbers: ``out_of_distribution``, see there. Tensors: ``heatmaps/<head>`` and ``seen``, see ``head_heatmaps``,
        for EXAMPLES real images and as many counterfactuals, the same for all ensembles.
        """
        inputs = self._classifier_inputs(trained_on, which, seed, self.classifier_settings(trained_on))
        shown = {"cgn": self.cgn_inputs(self.deciding), "truncation": self.chosen.truncation}
        shown |= {"validation": self.chosen.validation, "examples": EXAMPLES}

        def make(_: Checkpoint) -> Result:
            model = self.world.ensemble()
            model.load_state_dict(self.classifier(trained_on, which, seed, with_tensors=True).tensors)
            model = model.to(self.params.device).eval()
            made = self.world.counterfactuals(self.counterfactual_folder(self.deciding), "val")
            images = [datasets.examples(data, EXAMPLES) for data in (self.world.real("val"), made)]
            numbers = {"out_of_distribution": self.out_of_distribution(model)}
            return Result(numbers, head_heatmaps(model, torch.cat(images)))

        inputs = {"ensemble": inputs, "shown": shown}
        return self.store.get("ensemble_examined", inputs, make, version=3, with_tensors=True)

    def plain(self) -> dict[str, Any]:
        """The plain classifier of the world: ``row``, see ``evaluate``, with its only prediction as that of the mean of
        the heads and that without the background head; and ``out_of_distribution``."""

        def make(_: Checkpoint) -> Result:
            model = Plain(self.world.plain()).to(self.params.device)
            row = {name: value for name, value in self.evaluate(model).items() if name.split("/")[-1] not in HEADS}
            return Result({"row": row, "out_of_distribution": self.out_of_distribution(model)})

        return self.store.get("plain_classifier", self.world.data_identity() | self._machine(), make, version=2).numbers

    def _counterfactual_batches(
        self, trained_on: TrainedOn, which: CgnChoice, seed: int, settings: ClassifierSettings, per_epoch: int
    ) -> Batches | None:
        data = self._counterfactuals(trained_on, which, seed, "train")
        if data is None:
            return None
        batch = int(settings.cf_ratio * settings.batch)
        order = partial(datasets.counterfactual_order, len(data), batch * per_epoch, seed)  # type: ignore[arg-type]
        return Batches(data, order, batch, seed + 1, settings.workers)

    def _counterfactuals(self, trained_on: TrainedOn, which: CgnChoice, seed: int, split: str) -> Images | None:
        """Counterfactuals of the kind that a classifier is trained on; none for real images alone."""
        if trained_on == "real":
            return None
        if trained_on == "truth":
            count = self.chosen.counterfactuals if split == "train" else self.chosen.validation
            return self.world.true_counterfactuals(count, split, seed)
        if trained_on == "again":
            return datasets.Relabelled(self.world.real(split), lambda label: label.expand(3))
        made = self.world.counterfactuals(self.counterfactual_folder(which), split)
        if trained_on == "wrong":
            return datasets.Relabelled(made, lambda labels: (labels + 1) % self.world.classes)
        return made

    def evaluate(self, ensemble: nn.Module, unseen: Images | None = None) -> dict[str, float]:
        """One row of numbers in percent.

        ``top1`` and ``top5`` on real validation images, of the mean of the heads, and with ``/<head>`` of each;
        ``factor/<head>`` and ``factor5/<head>``, how often a head names its own factor of unseen counterfactuals first
        and among its first five (docs/imagenet.md, 10.1), and ``factor_shuffled/<head>`` with shuffled labels, a null;
        ``<set>/<prediction>`` for the three sets of the backgrounds
        challenge and ``gap/<prediction>``; ``shape_bias/<prediction>`` and ``decided/...``.
        """
        scores, labels = self._scores(ensemble, self.world.real("val"))
        columns = {"": "avg"} | {f"/{head}": head for head in HEADS}
        row = {f"top{k}{end}": self._top(k, scores[name], labels) for k in (1, 5) for end, name in columns.items()}
        if unseen is not None:
            scores, labels = self._scores(ensemble, unseen)
            shuffled = labels[rng.permutation(len(labels), "shuffled factors")]
            for name, k, given in (("factor", 1, labels), ("factor5", 5, labels), ("factor_shuffled", 1, shuffled)):
                row |= {f"{name}/{head}": self._top(k, scores[head], given[:, i]) for i, head in enumerate(HEADS)}
        mapping = self.world.superclasses()
        found = {
            name: robustness.accuracies(*self._scores(ensemble, self.world.challenge(name)), mapping)
            for name in robustness.VARIANTS
        }
        row |= {f"{name}/{head}": value for name, each in found.items() for head, value in each.items()}
        row |= {f"gap/{head}": value for head, value in robustness.gaps(found).items()}
        decided, labels = self._conflict(ensemble)
        for head, categories in decided.items():
            bias = robustness.shape_bias(categories, labels[:, 0], labels[:, 1])
            row |= {f"{name}/{head}": value for name, value in bias.items()}
        return row

    def _top(self, k: int, scores: Tensor, labels: Tensor) -> float:
        return classify.top_k(scores, labels, min(k, self.world.classes))

    def out_of_distribution(self, ensemble: nn.Module) -> dict[str, float]:
        """Top-1 of the mean of the heads, in percent, on the out-of-distribution sets of Bagad et al.: those
        of the world, among the classes that a set has, and cue conflict, where the shape is right and images whose
        shape and texture agree count too."""
        found = {}
        for name, (data, classes) in self.world.out_of_distribution().items():
            scores, labels = self._scores(ensemble, data)
            found[name] = classify.top_k(scores["avg"][:, classes], labels, 1)
        decided, labels = self._conflict(ensemble)
        by_shape = decided["avg"] == labels[:, 0]
        return found | {"cue conflict": 100 * float(by_shape.double().mean())}

    def _conflict(self, ensemble: nn.Module) -> tuple[dict[str, Tensor], Tensor]:
        """The category that every prediction decides for, and those of shape and texture."""
        conflict, groups = self.world.conflict()
        scores, labels = self._scores(ensemble, conflict)
        return {head: robustness.decisions(logits, groups) for head, logits in scores.items()}, labels

    def _scores(self, ensemble: nn.Module, data: Images) -> tuple[dict[str, Tensor], Tensor]:
        return classify.scores(ensemble, data, self.chosen.workers)
