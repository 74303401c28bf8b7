"""Refuse many broken profiles in a process that must not load torch; see test_broken_profiles.py.

Usage: ``python broken_profiles.py FOLDER COUNT``. Prints how many there were, the kinds, and the slowest.
"""

from __future__ import annotations

import contextlib
import io
import math
import sys
import time
import typing
from collections import Counter
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from reprolib import __main__ as cli
from reprolib.schema import Group, Params

Case = tuple[str, str, str]
"""(kind of mistake, YAML text, what the sentence must name)"""


def _fields() -> list[tuple[str, str, Any, Any]]:
    """(group or "", key, annotation, field) of every value in the schema."""
    found: list[tuple[str, str, Any, Any]] = []
    for key, field in Params.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Group):
            inner = field.annotation.model_fields.items()
            found += [(key, name, each.annotation, each) for name, each in inner]
        elif key != "profile":
            found.append(("", key, field.annotation, field))
    return found


FIELDS = _fields()
VARIANT = "colored_MNIST"
STEPS = dict[str, int] | int | None
NUMBERS = [field for field in FIELDS if field[2] in (int, float, int | None)]
words = st.text(st.characters(categories=["L"]), min_size=1, max_size=12)


def _text(group: str, key: str, value: Any, raw: bool = False) -> str:
    shown = value if raw else yaml.safe_dump(value, default_flow_style=True, allow_unicode=True).removesuffix("...\n")
    shown = shown.strip()
    return f"profile: smoke\n{group}: {{{key}: {shown}}}\n" if group else f"profile: smoke\n{key}: {shown}\n"


def _path(group: str, key: str) -> str:
    return f"'{group}.{key}" if group else f"'{key}"


@st.composite
def unknown_key(draw: st.DrawFn) -> Case:
    group = draw(st.sampled_from(sorted({group for group, *_ in FIELDS})))
    taken = {key for g, key, *_ in FIELDS if g == group} | set(Params.model_fields)
    key = draw(st.text(st.sampled_from("abcdefghijklmnop_"), min_size=2, max_size=10).filter(lambda k: k not in taken))
    return "unknown key", _text(group, f'"{key}"', draw(st.integers())), f"{_path(group, key)}' is no parameter"


@st.composite
def wrong_type(draw: st.DrawFn) -> Case:
    group, key, annotation, _ = draw(st.sampled_from([field for field in FIELDS if field[2] is not bool]))
    scalar = st.one_of(words.map(lambda word: f"x{word}"), st.booleans())
    if annotation in (int, float, int | None, STEPS):
        value = draw(st.one_of(scalar, st.lists(st.integers()), st.dictionaries(words, st.integers())))
    elif typing.get_origin(annotation) is list:
        value = draw(st.one_of(scalar, st.integers(), st.floats(allow_nan=False)))
    else:
        value = draw(st.one_of(st.booleans(), st.integers(), st.lists(words)))
    return "wrong type", _text(group, key, value), _path(group, key)


@st.composite
def out_of_range(draw: st.DrawFn) -> Case:
    group, key, _, field = draw(st.sampled_from(NUMBERS))
    low = next(getattr(rule, "ge", None) or getattr(rule, "gt", 0) for rule in field.metadata)
    high = next((rule.le for rule in field.metadata if hasattr(rule, "le")), None)
    beyond = [st.integers(min_value=-(10**12), max_value=math.ceil(low) - 1)]
    beyond += [st.integers(min_value=math.floor(high) + 1, max_value=10**12)] if high is not None else []
    return "out of range", _text(group, key, draw(st.one_of(beyond))), _path(group, key)


@st.composite
def bad_entry(draw: st.DrawFn) -> Case:
    """A list with an entry that is out of range, or one that stands there twice."""
    group, key, entry = draw(
        st.sampled_from(
            [("ablation", "sizes", st.integers(max_value=0)), ("ablation", "ratios", st.integers(1001, 10**12)),
             ("scenes", "search_rates", st.floats(max_value=0, allow_infinity=False)),
             ("imagenet", "search_ratios", st.floats(max_value=-1, allow_infinity=False))]
        )
    )  # fmt: skip
    twice = draw(st.sampled_from([("cgn", "sources", "shipped"), ("gan", "kinds", "dcgan"), ("", "variants", VARIANT)]))
    if draw(st.booleans()):
        return "bad entry", _text(*twice[:2], [twice[2]] * 2), "named twice"
    return "bad entry", _text(group, key, [draw(entry)]), _path(group, key)


@st.composite
def no_number(draw: st.DrawFn) -> Case:
    group, key, *_ = draw(st.sampled_from(NUMBERS))
    value = draw(st.sampled_from([".nan", ".inf", "-.inf", ".NaN", "nan", "inf"]))
    return "NaN or infinite", _text(group, key, value, raw=True), _path(group, key)


@st.composite
def yaml_surprise(draw: st.DrawFn) -> Case:
    """What YAML 1.1 reads as something else than a person: octal and sexagesimal numbers, truth values, dates."""
    group, key, *_ = draw(
        st.sampled_from([field for field in FIELDS if field[2] not in (str | None, bool)])
    )  # text is text
    value = draw(
        st.sampled_from(["010", "0x1", "1_0", "1:30", "no", "yes", "on", "off", "2024-01-01", "1_000.0", "0o17"])
    )
    return "YAML surprise", _text(group, key, value, raw=True), _path(group, key)


@st.composite
def broken_file(draw: st.DrawFn) -> Case:
    value = draw(st.sampled_from(["[1", "{a: 1", "'", "!!python/object:os.system {}", "&a *b", "{b: 1, b: 1}"]))
    key = draw(words)
    return "no valid YAML", f"profile: smoke\n{key}: {value}\n", "broken.yaml is not valid YAML"


@st.composite
def wrong_profile(draw: st.DrawFn) -> Case:
    name = draw(words.filter(lambda word: word not in ("smoke", "cpu", "gpu", "no", "on", "off", "yes", "n", "y")))
    return "wrong profile", f"profile: {name}\n", "'profile' is"


@st.composite
def wrong_weights(draw: st.DrawFn) -> Case:
    """Weights that do not fit the data, or seeds that would share them."""
    seeds = draw(st.integers(3, 900))
    return draw(
        st.sampled_from(
            [
                ("wrong weights", "profile: smoke\ncgn: {sources: [authors]}\n", "authors' Wildlife CGN"),
                (
                    "wrong weights",
                    f"profile: smoke\nseeds: {seeds}\ncgn: {{sources: [stable], seeds: 2}}\n",
                    "'cgn.seeds' is 2",
                ),
                ("wrong weights", "profile: smoke\nscenes: {sources: [authors]}\n", "'scenes.sources"),
                ("wrong weights", "profile: gpu\nimagenet: {sources: [shipped]}\n", "'imagenet.sources"),
            ]
        )
    )


@st.composite
def missing_asset(draw: st.DrawFn) -> Case:
    """The caller points both asset folders at empty ones."""
    changed, group = draw(
        st.sampled_from(
            [("digits: {source: mnist}", "mnist"), ("digits: {textures: dtd}", "textures"),
             ("variants: [colored_MNIST]\ncgn: {sources: [authors]}", "authors_cgn"),
             ("cgn: {sources: [stable], seeds: 4, features: vgg16}", "vgg16")]
        )
    )  # fmt: skip
    return "missing asset", f"profile: smoke\n{changed}\n", f"python -m reprolib fetch {group}"


broken = st.one_of(
    unknown_key(),
    wrong_type(),
    out_of_range(),
    bad_entry(),
    no_number(),
    yaml_surprise(),
    broken_file(),
    wrong_profile(),
    wrong_weights(),
    missing_asset(),
)


def main(folder: Path, count: int) -> None:
    kinds, slowest = Counter[str](), 0.0
    file = folder / "broken.yaml"

    @settings(max_examples=count, deadline=2000, database=None, derandomize=True)
    @given(broken)
    def refused(case: Case) -> None:
        nonlocal slowest
        kind, text, named = case
        file.write_text(text, encoding="utf-8")
        sys.argv, said, start = ["reprolib", "report", str(file)], io.StringIO(), time.monotonic()
        with contextlib.redirect_stderr(said):
            assert cli.main() == 2, f"accepted: {text}"
        slowest = max(slowest, time.monotonic() - start)
        sentence = said.getvalue()
        assert sentence.endswith("\n") and sentence.strip().isprintable(), f"no single line: {sentence!r}"
        assert named in sentence, f"{named!r} is not in: {sentence}{text}"
        kinds[kind] += 1

    refused()
    assert not {"torch", "papermill", "pandas"} & set(sys.modules)
    print(f"{kinds.total()} refused, the slowest in {slowest:.2f} s")
    for kind, number in kinds.most_common():
        print(f"{kind}: {number}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
