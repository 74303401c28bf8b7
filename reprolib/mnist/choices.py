"""What the experiments of the MNIST half are called with: a data set, a CGN, a training set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from reprolib.mnist import digits, nulls, quality, train, variants
from reprolib.mnist.cgn import CGN, authors_asset, authors_cgn, cgn_from
from reprolib.mnist.textures import Textures
from reprolib.mnist.variants import Painted
from reprolib.run import assets, rules, steps
from reprolib.run.steps import Handle
from reprolib.run.weights import Shipped
from reprolib.vocabulary import VARIANTS, shipped_name

DIGIT_READER = Shipped("digit_reader.safetensors")
"""It judges masks."""


@dataclass(frozen=True)
class Data:
    """A variant, and the digits and textures that it is painted with."""

    variant: str
    source: digits.Source
    limit: int | None
    textures: Textures

    def identity(self) -> dict[str, Any]:
        """The fields, and what the variant fixes; textures belong to it where it has some."""
        fixed = VARIANTS[self.variant]
        _, _, version = variants.rule_of(self.variant)
        textures = self.textures if fixed.textured else None
        return steps.fields_of(self) | {"textures": textures, "held_out": fixed.held_out, "rule": version}

    def digits(self) -> tuple[digits.Digits, digits.Digits]:
        """(training digits, held-out digits)."""
        return digits.split(self.source, VARIANTS[self.variant].held_out, self.limit)

    @property
    def count(self) -> int:
        """How many training digits there are; nothing is loaded."""
        return digits.training_count(self.source, VARIANTS[self.variant].held_out, self.limit)

    def painted(self, split: str, seed: int) -> Painted:
        """One of the data sets, redrawn per seed.

        split: ``train``; ``test``, held-out digits with random attributes (out of domain); ``in_domain``, held-out
        digits whose attributes follow the label; ``in_domain_as_published``, the training split with fresh jitter
        and crops (docs/mnist.md, section 2.6), of which the first 10,000 suffice.
        """
        training, held_out = self.digits()
        if split == "in_domain_as_published":
            training = training[:10_000]
        chosen = training if split in ("train", "in_domain_as_published") else held_out
        attributes: variants.Attributes = "random" if split == "test" else "label"
        return variants.paint(self.variant, chosen, split, attributes=attributes, seed=seed, textures=self.textures)

    def bounds(self) -> quality.Bounds:
        """What real digits allow the masks of a CGN."""
        training = self.digits()[0][:10_000]
        real = variants.paint(self.variant, training, "bounds", attributes="label", textures=self.textures)
        return quality.bounds(real.masks, real.labels)

    @property
    def shipped(self) -> Shipped:
        """The shipped CGN that fits: Wildlife has one per kind of texture."""
        return Shipped(shipped_name(self.variant, self.textures))

    def shipped_reader(self, factor: quality.Factor) -> Shipped:
        """Where the reader of a factor is shipped; there is none for a variant that was added."""
        return Shipped(f"{factor}_reader_of_{self.shipped.name.removeprefix('cgn_')}")


@dataclass(frozen=True)
class Given:
    """A CGN that is not trained here: shipped, the authors', or one whose quality is known."""

    data: Data
    source: Literal["shipped", "authors"] | nulls.Known
    seed: int = rules.FIRST_SEED
    """Of an untrained one."""

    def identity(self) -> dict[str, Any]:
        """The hash of its file; of a known one what it is made from."""
        if self.source == "shipped":
            return {"shipped": self.data.shipped.identity()}
        if self.source == "authors":
            return {"authors": assets.ASSETS[authors_asset(self.data.variant)].sha256}
        known = {"known": self.source, "version": nulls.VERSION, "data": self.data.identity()}
        if self.source != "untrained":
            return known
        return known | {"seed": self.seed, "fixed": train.fixed_settings(self.data.variant)}

    def load(self) -> CGN:
        """The CGN in eval mode. Raises AssetError if its file is missing or corrupt."""
        if self.source == "shipped":
            return cgn_from(self.data.shipped.read())
        if self.source == "authors":
            return authors_cgn(self.data.variant)
        return nulls.cgn(self.source, self.data.variant, self.data.digits()[0], self.data.textures, self.seed)


Cgn = Handle | Given
"""A CGN that is trained here, by the handle of its training, or a given one."""
Generated = Literal["counterfactual", "cgn_noncf", "dcgan", "wrong_labels"]
"""``cgn_noncf``: images of a CGN whose labels agree; ``wrong_labels``: counterfactuals labelled with the next digit."""


@dataclass(frozen=True)
class TrainingSet:
    """What a classifier is trained on: original images, generated ones, or both."""

    original: bool
    generated: Generated | None = None
    generator: Cgn | None = None
    """What made the images: a CGN, or the training of a DCGAN."""
    size: int = 0
    ratio: int = 1
    texture_labels: Literal["permuted", "independent"] = "permuted"

    @property
    def name(self) -> str:
        """The row label of the published tables: Original, GAN, Original+GAN, CGN or Original+CGN."""
        names = {"counterfactual": "CGN", "cgn_noncf": "GAN", "dcgan": "GAN", "wrong_labels": "CGN, wrong labels"}
        made = names[self.generated] if self.generated else ""
        return "+".join(part for part in ("Original" if self.original else "", made) if part)

    @property
    def source(self) -> str:
        """Whose generator made the images, a key of ``tables.GENERATORS``."""
        if isinstance(self.generator, Given):
            return self.generator.source
        if self.generator is None:
            return ""
        return "dcgan" if self.generated == "dcgan" else str(self.generator["recipe"])

    def identity(self) -> dict[str, Any]:
        """The fields, with the name in front."""
        return {"training_set": self.name} | steps.fields_of(self)
