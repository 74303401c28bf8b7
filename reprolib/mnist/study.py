"""The experiments of the MNIST half: every result a notebook shows is made here and kept in the store.

``Study`` turns parameters into results. Its methods are jobs: each depends on the parameters and its arguments
alone, so that they run in any order, side by side, today or next week. What they return is in the store; the
DataFrames of ``tables.py`` are read from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from reprolib import features, gradcam
from reprolib.mnist import classifier as classifiers
from reprolib.mnist import counterfactuals, digits, nulls, quality, stable, train, variants
from reprolib.mnist.cgn import CGN, CLASSES, authors_asset, authors_cgn, cgn_from
from reprolib.mnist.classifier import Classifier, classifier_from
from reprolib.mnist.gan import DCGAN
from reprolib.mnist.train import GenerativeSettings
from reprolib.mnist.variants import Painted
from reprolib.run import assets, rules, weights
from reprolib.run.jobs import Experiments
from reprolib.run.store import Checkpoint, Result
from reprolib.schema import RECIPES, CgnSource, Recipe
from reprolib.vocabulary import VARIANTS, shipped_name

READER, READER_RECORD, FACTORS_RECORD = "digit_reader.safetensors", "digit_reader.json", "factor_readers.json"
"""Files in ``reprolib/weights``."""


@dataclass(frozen=True)
class TrainingSet:
    """What a classifier is trained on: original images, generated ones, or both."""

    original: bool
    generated: Literal["counterfactual", "cgn_noncf", "dcgan", "wrong_labels"] | None = None
    """``wrong_labels``: counterfactuals whose label is the next digit, a null."""
    source: CgnSource | None = None
    """Whose CGN made the images; None for none and for the DCGAN."""
    size: int = 0
    ratio: int = 1

    @property
    def name(self) -> str:
        """The row label of the published tables: Original, GAN, Original+GAN, CGN or Original+CGN."""
        names = {"counterfactual": "CGN", "cgn_noncf": "GAN", "dcgan": "GAN", "wrong_labels": "CGN, wrong labels"}
        made = names[self.generated] if self.generated else ""
        return "+".join(part for part in ("Original" if self.original else "", made) if part)


class Study(Experiments):
    """The experiments for one set of parameters."""

    # ---------------------------------------------------------------- data

    def digits(self, variant: str) -> tuple[digits.Digits, digits.Digits]:
        """(training digits, held-out digits) of a variant."""
        chosen = self.params.digits
        return digits.split(chosen.source, VARIANTS[variant].held_out, chosen.limit)

    def painted(self, variant: str, split: str, seed: int) -> Painted:
        """One of the data sets of a variant, redrawn per seed.

        split: ``train``; ``test``, held-out digits with random attributes (out of domain); ``in_domain``, held-out
        digits whose attributes follow the label; ``in_domain_as_published``, the training split with fresh jitter
        and crops (docs/mnist.md, section 2.6), of which the first 10,000 suffice.
        """
        training, held_out = self.digits(variant)
        if split == "in_domain_as_published":
            training = training[:10_000]
        chosen = training if split in ("train", "in_domain_as_published") else held_out
        attributes: variants.Attributes = "random" if split == "test" else "label"
        textures = self.params.digits.textures
        return variants.paint(variant, chosen, split, attributes=attributes, seed=seed, textures=textures)

    def _data(self, variant: str) -> dict[str, Any]:
        """What identifies the digits and how they are painted, in the inputs of a result."""
        chosen, fixed = self.params.digits, VARIANTS[variant]
        textures = chosen.textures if fixed.textured else None
        painted = {"textures": textures, "held_out": fixed.held_out, "rule": variants.rule_version(variant)}
        return {"source": chosen.source, "limit": chosen.limit} | painted

    # ---------------------------------------------------------------- generative models

    def _generative(self, steps: int | None, variant: str) -> GenerativeSettings:
        chosen = self.params.cgn
        return GenerativeSettings(
            steps=steps or train.published_steps(len(self.digits(variant)[0]), chosen.batch),
            batch=chosen.batch,
            features=chosen.features,
            edge_weight=chosen.edge_weight,
            edge_form=chosen.edge_form,
            without=tuple(chosen.without),
            checkpoint_every=chosen.checkpoint_every,
            device=self.params.device,
            precision=chosen.precision,
            compiled=chosen.compiled,
        )

    def _cgn_settings(self, variant: str, recipe: Recipe, steps: int | None) -> GenerativeSettings:
        chosen = self.params.cgn
        default = chosen.stable_steps if recipe == "stable" else chosen.steps_of(variant)
        return self._generative(steps or default, variant)

    def cgn_inputs(self, variant: str, recipe: Recipe, seed: int, steps: int | None = None) -> dict[str, Any]:
        """What names a CGN that is trained here; steps: default those of the parameters."""
        settings = self._cgn_settings(variant, recipe, steps)
        inputs = {
            "variant": variant,
            "recipe": recipe,
            "seed": seed,
            "digits": self._data(variant),
            "steps": settings.steps,
            "features": {settings.features: features.SCALES[settings.features]},
            "fixed": train.fixed_settings(variant),
        }
        if recipe == "stable":
            inputs |= {"constants": stable.constants(), "without": sorted(settings.without)}
        else:
            inputs |= {"batch": settings.batch, "edge_weight": settings.edge_weight}
            inputs |= {"edge_form": settings.edge_form} if settings.edge_weight > 0 else {}  # else it has no form
        return inputs | settings.arithmetic() | self._machine()

    def trained_cgn(self, variant: str, recipe: Recipe, seed: int, steps: int | None = None) -> Result:
        """Train a CGN here. Tensors: the generator at each snapshot, named ``<step>/<state name>``.

        steps: default those of the parameters.
        """
        settings = self._cgn_settings(variant, recipe, steps)
        train_cgn = stable.train_cgn if recipe == "stable" else train.train_cgn

        def make(checkpoint: Checkpoint) -> Result:
            training, _ = self.digits(variant)
            states = train_cgn(variant, training, seed, settings, self.params.digits.textures, checkpoint)
            tensors = {f"{step}/{name}": value for step, state in states.items() for name, value in state.items()}
            return Result({"snapshots": list(states)}, tensors)

        return self.store.get("cgn", self.cgn_inputs(variant, recipe, seed, steps), make, with_tensors=True)

    def has_cgn(self, variant: str, recipe: Recipe, seed: int) -> bool:
        """Whether a CGN is trained already."""
        return self.store.file("cgn", self.cgn_inputs(variant, recipe, seed)).exists()

    def snapshots(self, variant: str, recipe: Recipe, seed: int, steps: int | None = None) -> dict[int, CGN]:
        """The CGN of a training run at each of its snapshots."""
        result = self.trained_cgn(variant, recipe, seed, steps)
        return {step: cgn_from(result.tensors, f"{step}/") for step in result.numbers["snapshots"]}

    def weights_file(self, variant: str) -> Path:
        """The shipped weights that fit the data: Wildlife has one set per kind of texture."""
        return weights.FOLDER / shipped_name(variant, self.params.digits.textures)

    def cgn(self, variant: str, source: CgnSource | nulls.Known, seed: int) -> CGN:
        """A CGN in eval mode: trained here (the seed picks one of ``cgn.seeds`` runs), shipped, the authors', or one
        whose quality is known.

        Raises AssetError if its file is missing or corrupt.
        """
        if source in nulls.KNOWN:
            return nulls.cgn(source, variant, self.digits(variant)[0], self.params.digits.textures, seed)
        if source in RECIPES:
            run = rules.one_of(self.params.cgn.seeds_of(source), seed)
            return list(self.snapshots(variant, source, run).values())[-1]
        if source == "authors":
            return authors_cgn(variant)
        return cgn_from(weights.read(self.weights_file(variant)))

    def cgn_identity(self, variant: str, source: CgnSource | nulls.Known, seed: int) -> dict[str, Any]:
        """What names a CGN in the inputs of a result that was made with it."""
        if source in nulls.KNOWN:
            fixed = train.fixed_settings(variant) if source == "untrained" else {}
            return {source: nulls.VERSION} | fixed
        if source in RECIPES:
            return {source: self.cgn_inputs(variant, source, rules.one_of(self.params.cgn.seeds_of(source), seed))}
        if source == "authors":
            return {source: assets.ASSETS[authors_asset(variant)].sha256}
        return {source: weights.sha256(self.weights_file(variant))}

    def dcgan(self, variant: str, seed: int) -> DCGAN:
        """The DCGAN of Bagad et al., trained here, in eval mode."""
        settings = self._generative(self.params.gan.steps, variant)

        def make(checkpoint: Checkpoint) -> Result:
            training, _ = self.digits(variant)
            gan = train.train_dcgan(variant, training, seed, settings, self.params.digits.textures, checkpoint)
            return Result({}, dict(gan.state_dict()))

        gan = DCGAN()
        gan.load_state_dict(self.store.get("dcgan", self._dcgan_inputs(variant, seed), make, with_tensors=True).tensors)
        return gan.eval()

    def _dcgan_inputs(self, variant: str, seed: int) -> dict[str, Any]:
        settings = self._generative(self.params.gan.steps, variant)
        inputs = {"variant": variant, "seed": seed, "digits": self._data(variant)}
        return inputs | {"steps": settings.steps, "batch": settings.batch} | settings.arithmetic() | self._machine()

    # ---------------------------------------------------------------- quality

    def digit_reader(self) -> tuple[Classifier, float]:
        """The classifier that judges masks, and its accuracy on the true masks of held-out digits in percent.

        It is shipped, so that a good digit is the same thing in every profile. Raises AssetError if it is damaged.
        """
        history = weights.record(weights.FOLDER / READER_RECORD)["history"]
        return classifier_from(weights.read(weights.FOLDER / READER)), history[-1]["test"]

    def trained_digit_reader(self) -> Result:
        """The same, trained here on the digits of the parameters; this is what is shipped."""
        chosen = self.params.digits
        training, held_out = digits.split(chosen.source, "test_file", chosen.limit)
        inputs = {"digits": {"source": chosen.source, "limit": chosen.limit}} | self._machine()

        def make(checkpoint: Checkpoint) -> Result:
            return quality.train_reader(training, held_out, checkpoint)

        return self.store.get("digit_reader", inputs, make, version=4, with_tensors=True)

    def bounds(self, variant: str) -> quality.Bounds:
        """What real digits of a variant allow its masks."""
        training = self.digits(variant)[0][:10_000]
        real = variants.paint(variant, training, "bounds", attributes="label", textures=self.params.digits.textures)
        return quality.bounds(real.masks, real.labels)

    def factor_reader(self, variant: str, factor: quality.Factor) -> tuple[Classifier, float]:
        """A classifier of one factor of painted images, and its accuracy on held-out ones in percent.

        It is shipped, as the digit reader is; for a variant that was added it is trained here.
        """
        file = self.reader_file(variant, factor)
        if not file.exists():
            result = self.trained_factor_reader(variant, factor)
            return classifier_from(result.tensors), result.numbers["history"][-1]["test"]
        return classifier_from(weights.read(file)), weights.record(weights.FOLDER / FACTORS_RECORD)[file.name]

    def reader_file(self, variant: str, factor: quality.Factor) -> Path:
        """Where the reader of a factor is shipped."""
        return weights.FOLDER / f"{factor}_reader_of_{shipped_name(variant, self.params.digits.textures)[4:]}"

    def trained_factor_reader(self, variant: str, factor: quality.Factor) -> Result:
        """The same, trained here on the digits of the parameters; this is what is shipped."""
        training, held_out = self.digits(variant)
        textures = self.params.digits.textures
        inputs = {"variant": variant, "factor": factor, "digits": self._data(variant)} | self._machine()

        def make(checkpoint: Checkpoint) -> Result:
            return quality.train_factor_reader(variant, factor, training, held_out, textures, checkpoint)

        return self.store.get("factor_reader", inputs, make, version=2, with_tensors=True)

    def quality(self, variant: str, source: CgnSource | nulls.Known, seed: int) -> dict[str, Any]:
        """Masks and control of one CGN; see ``quality.mask_quality``, ``quality.control`` and ``rules.stamp``."""
        per_digit = self.params.cgn.quality_masks

        def make(_: Checkpoint) -> Result:
            model = self.cgn(variant, source, seed)
            readers = {factor: self.factor_reader(variant, factor) for factor in quality.factors(variant)}
            digit_reader, accuracy = self.digit_reader()
            numbers = quality.mask_quality(model, digit_reader, self.bounds(variant), per_digit)
            numbers["control"], numbers["control_images"] = quality.control(
                model, {f: reader for f, (reader, _) in readers.items()}, 10 * per_digit
            )
            numbers["readers"] = {"digit": accuracy} | {factor: score for factor, (_, score) in readers.items()}
            return Result(numbers)

        found = self.store.get("quality", self._quality_inputs(variant, source, seed), make, version=6)
        return found.numbers | {"rules": rules.stamp(found.made)}

    def has_quality(self, variant: str, source: CgnSource | nulls.Known, seed: int) -> bool:
        """Whether the quality of a CGN is stored already."""
        return self.store.file("quality", self._quality_inputs(variant, source, seed), version=6).exists()

    def _quality_inputs(self, variant: str, source: CgnSource | nulls.Known, seed: int) -> dict[str, Any]:
        return {
            "variant": variant,
            "seed": seed,
            "cgn": self.cgn_identity(variant, source, seed),
            "digits": self._data(variant),
            "masks": self.params.cgn.quality_masks,
            "readers": [weights.sha256(file) for file in self._shipped_readers(variant)],
        } | self._machine()

    def _shipped_readers(self, variant: str) -> list[Path]:
        files = (self.reader_file(variant, factor) for factor in quality.factors(variant))
        return [weights.FOLDER / READER, *(file for file in files if file.exists())]

    def counterfactual_accuracy(self, variant: str, source: CgnSource | nulls.Known, seed: int) -> dict[str, Any]:
        """``test``: see ``quality.counterfactual_accuracy``; ``test_images``: how many it was tested on; rules."""
        chosen = self.params
        how: dict[str, Any] = {"images": chosen.cgn.accuracy_images, "precision": chosen.classifier.precision}
        given = {"variant": variant, "seed": seed, "digits": self._data(variant)}
        inputs = given | {"cgn": self.cgn_identity(variant, source, seed)} | how | self._machine()

        def make(checkpoint: Checkpoint) -> Result:
            test = self.painted(variant, "test", seed)
            found = quality.counterfactual_accuracy(
                self.cgn(variant, source, seed), test, (variant, seed), checkpoint, device=chosen.device, **how
            )
            return Result({"test": found, "test_images": len(test)})

        found = self.store.get("counterfactual_accuracy", inputs, make)
        return found.numbers | {"rules": rules.stamp(found.made)}

    def training_quality(self, variant: str, recipe: Recipe, seed: int) -> dict[str, Any]:
        """Mask quality at each snapshot of a training run: step -> numbers."""
        per_digit = self.params.cgn.quality_masks
        reader = weights.sha256(weights.FOLDER / READER)
        inputs = {"cgn": self.cgn_inputs(variant, recipe, seed), "masks": per_digit, "reader": reader}

        def make(_: Checkpoint) -> Result:
            how = self.digit_reader()[0], self.bounds(variant), per_digit
            found = self.snapshots(variant, recipe, seed)
            return Result({str(step): quality.mask_quality(model, *how) for step, model in found.items()})

        return self.store.get("training_quality", inputs, make, version=3).numbers

    # ---------------------------------------------------------------- classifiers

    def generate(self, variant: str, training_set: TrainingSet, seed: int, into: Tensor) -> Tensor:
        """Write the generated images of a training set into ``into``, float32 (N, 3, 32, 32), and return their labels;
        made anew each time, because that is fast and the same bits."""
        key = (variant, training_set.generated or "", training_set.ratio, seed)
        if training_set.generated == "dcgan":
            gan = self.dcgan(variant, seed).to(self.params.device)
            return counterfactuals.gan_samples(gan, training_set.size, key, into).labels
        assert training_set.source is not None
        model = self.cgn(variant, training_set.source, seed).to(self.params.device)
        if training_set.generated == "cgn_noncf":
            return counterfactuals.non_counterfactuals(model, training_set.size, key, into).labels
        how = self.params.counterfactuals.texture_labels
        made = counterfactuals.counterfactuals(model, training_set.size, training_set.ratio, key, how, into)
        return (made.labels + 1) % CLASSES if training_set.generated == "wrong_labels" else made.labels

    def classifier(
        self,
        variant: str,
        training_set: TrainingSet,
        seed: int,
        epochs: int,
        with_tensors: bool = False,
        alone: bool = False,
    ) -> Result:
        """Train and score a classifier.

        alone: also when the parameters ask for all seeds in one network; the largest training sets would not fit.

        Numbers: ``history``, one row per epoch with ``train``, ``test`` and ``in_domain`` accuracy; ``final``, more
        scores of the last epoch; ``images``, the size of the training set. Tensors: the state of the last epoch.
        """
        inputs = self._classifier_inputs(variant, training_set, seed, epochs, alone)

        def make(checkpoint: Checkpoint) -> Result:
            if "together" in inputs:
                everyone, prefix = self._classifiers_together(variant, training_set, epochs), f"{seed}/"
                tensors = {n.removeprefix(prefix): t for n, t in everyone.tensors.items() if n.startswith(prefix)}
                return Result(everyone.numbers[str(seed)], tensors)
            return self._train_classifiers(variant, training_set, [seed], epochs, checkpoint)[0]

        return self.store.get("classifier", inputs, make, with_tensors=with_tensors)

    def _classifiers_together(self, variant: str, training_set: TrainingSet, epochs: int) -> Result:
        """The classifiers of all seeds from one network: numbers by seed, tensors ``<seed>/<state name>``."""
        seeds = list(rules.seeds(self.params.seeds))
        each = [self._classifier_inputs(variant, training_set, seed, epochs) for seed in seeds]

        def make(checkpoint: Checkpoint) -> Result:
            made = self._train_classifiers(variant, training_set, seeds, epochs, checkpoint)
            tensors = {f"{s}/{n}": t for s, result in zip(seeds, made, strict=True) for n, t in result.tensors.items()}
            return Result({str(s): result.numbers for s, result in zip(seeds, made, strict=True)}, tensors)

        inputs = {"variant": variant, "training_set": training_set.name, "all": each}
        return self.store.get("classifiers_together", inputs, make, with_tensors=True)

    def _train_classifiers(
        self, variant: str, training_set: TrainingSet, seeds: list[int], epochs: int, checkpoint: Checkpoint
    ) -> list[Result]:
        tasks, tests = [], []
        for seed in seeds:
            images, labels = self._training_data(variant, training_set, seed)
            tests.append({name: self.painted(variant, name, seed) for name in ("test", "in_domain")})
            scored = {name: (test.images, test.labels) for name, test in tests[-1].items()}
            tasks.append(classifiers.Task(images, labels, scored, (variant, seed)))
        made = classifiers.train_together(
            tasks,
            epochs=epochs,
            batch=self.params.classifier.batch,
            checkpoint=checkpoint,
            title=f"classifier on {training_set.name} of {VARIANTS[variant].title}, seed {', '.join(map(str, seeds))}",
            device=self.params.device,
            precision=self.params.classifier.precision,
        )
        results = []
        for seed, task, test, (model, history) in zip(seeds, tasks, tests, made, strict=True):
            final = self._final(variant, model, test, seed)
            state = {name: value.contiguous() for name, value in model.state_dict().items()}
            results.append(Result({"history": history, "images": len(task.labels), "final": final}, state))
        return results

    def _classifier_inputs(
        self, variant: str, training_set: TrainingSet, seed: int, epochs: int, alone: bool = False
    ) -> dict[str, Any]:
        together = {"together": self.params.seeds} if self.params.classifier.together and not alone else {}
        inputs = {
            "variant": variant,
            "training_set": training_set.name,
            "seed": seed,
            "digits": self._data(variant),
            "generated": self._generated_identity(variant, training_set, seed),
            "epochs": epochs,
            "batch": self.params.classifier.batch,
            "precision": self.params.classifier.precision,
        }
        return inputs | together | self._machine()

    def _training_data(self, variant: str, training_set: TrainingSet, seed: int) -> tuple[Tensor, Tensor]:
        """Original images, then generated ones, in one tensor that is never copied: a million images take 12 GB."""
        first = len(self.digits(variant)[0]) if training_set.original else 0
        made = counterfactuals.total(training_set.size, training_set.ratio) if training_set.generated else 0
        images = torch.empty(first + made, 3, variants.SIZE, variants.SIZE)
        labels = torch.empty(first + made, dtype=torch.long)
        if training_set.original:
            painted = self.painted(variant, "train", seed)
            images[:first], labels[:first] = painted.images, painted.labels
            del painted
        if training_set.generated:
            labels[first:] = self.generate(variant, training_set, seed, images[first:])
        return images, labels

    def _generated_identity(self, variant: str, training_set: TrainingSet, seed: int) -> dict[str, Any] | None:
        if training_set.generated is None:
            return None
        identity: dict[str, Any] = {
            "kind": training_set.generated,
            "size": training_set.size,
            "ratio": training_set.ratio,
        }
        if training_set.generated == "dcgan":
            return identity | {"dcgan": self._dcgan_inputs(variant, seed)}
        assert training_set.source is not None
        if training_set.generated != "cgn_noncf":
            identity["texture_labels"] = self.params.counterfactuals.texture_labels
        return identity | {"cgn": self.cgn_identity(variant, training_set.source, seed)}

    def _final(self, variant: str, model: Classifier, tests: dict[str, Painted], seed: int) -> dict[str, float]:
        """Scores of the last epoch that are not followed over training."""
        seen = tests["test"][variants.visible(variant, tests["test"])]
        redrawn = self.painted(variant, "in_domain_as_published", seed)
        return {
            name: classifiers.accuracy(classifiers.predict(model, some.images), some.labels)
            for name, some in {"visible": seen, "in_domain_as_published": redrawn}.items()
        }

    # ---------------------------------------------------------------- GradCAM

    @property
    def gradcam_variant(self) -> str:
        """Reproduction Fig 3 shows Double-colored MNIST; a run without it shows its first variant."""
        return "double_colored_MNIST" if "double_colored_MNIST" in self.params.variants else self.params.variants[0]

    def gradcam(self, training_set: TrainingSet, seed: int) -> Result:
        """Heatmaps of a classifier on ``gradcam_variant``.

        Numbers: measures on the test set, null baselines, variance along themes and digits on the 10x10 grid of
        themes, share of empty maps there. Tensors: ``heatmaps`` uint8 (100, 32, 32) of that grid.
        """
        variant, epochs, count = self.gradcam_variant, self.params.classifier.epochs, self.params.gradcam.images
        inputs = self._classifier_inputs(variant, training_set, seed, epochs) | {"images": count}

        def make(_: Checkpoint) -> Result:
            model = classifier_from(self.classifier(variant, training_set, seed, epochs, True).tensors)
            test = self.painted(variant, "test", seed)[:count]
            target, grid = model.model[Classifier.last_relu], self.theme_grid()
            return gradcam.examine(model, target, test.images, test.masks[:, 0], grid.images)

        return self.store.get("gradcam", inputs, make, with_tensors=True)

    def theme_grid(self) -> Painted:
        """For each digit the first held-out image with that label, in each of the ten colour themes: 100 images."""
        _, held_out = self.digits(self.gradcam_variant)
        first = torch.stack([(held_out.labels == digit).nonzero()[0, 0] for digit in range(10)])
        return variants.themes(self.gradcam_variant, held_out[first], self.params.digits.textures)
