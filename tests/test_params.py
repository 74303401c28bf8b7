"""Profiles: what ships is valid, and every mistake is refused with one sentence that names the key."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import annotated_types
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reprolib import params
from reprolib.mnist import plan
from reprolib.params import PROFILES, load
from reprolib.run import AssetError, ParameterError, rules
from reprolib.run.files import Loader
from reprolib.schema import Group, Params
from reprolib.vocabulary import VARIANTS

GROUPS = {key: field.annotation for key, field in Params.model_fields.items() if isinstance(field.annotation, type)}
GROUPS = {key: model for key, model in GROUPS.items() if issubclass(model, Group)}


IMAGENET = [
    "biggan", "u2net", "resnet50", "inception_v3", "authors_imagenet_cgn", "imagenet_mini", "backgrounds_challenge",
    "cue_conflict", "imagenet_a", "imagenet_sketch",
]  # fmt: skip


def sentence(given: Any) -> str:
    """The refusal; it must be one line, because the command line shows it as it is."""
    with pytest.raises(ParameterError) as caught:
        load(given)
    assert str(caught.value).isprintable()
    return str(caught.value)


def smoke(text: str) -> dict[str, Any]:
    return {"profile": "smoke", **yaml.safe_load(text)}


@pytest.mark.parametrize("name", PROFILES)
def test_shipped_profiles_load_and_are_called_what_they_are(name: str) -> None:
    loaded = load(name)
    assert loaded.profile == name
    assert loaded.variants == list(VARIANTS)


def test_the_gpu_profile_is_the_papers_scale() -> None:
    assert load("gpu") == Params()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("scenes: {sources: [authors]}", "'scenes.sources.0' is 'authors', but Input should be 'trained' or 'shipped'"),
        (
            "imagenet: {run: true, sources: [shipped]}",
            "'imagenet.sources.0' is 'shipped', but Input should be 'trained' or 'authors'",
        ),
        ("scenes: {sources: [trained], seeds: 3, cgns: 2}", "raise 'scenes.cgns' to 3"),
    ],
)
def test_worlds_are_asked_only_for_what_they_have(text: str, word: str) -> None:
    assert word in sentence(smoke(text))


def test_smoke_needs_nothing_from_the_network() -> None:
    assert params.needed_assets(load("smoke")) == []


@pytest.mark.parametrize(
    ("profile", "change", "needed"),
    [
        ("gpu", {}, ["mnist", "textures", "authors_cgn", "vgg16", *IMAGENET]),
        ("gpu", {"variants": ["colored_MNIST"]}, ["mnist", "authors_cgn", "vgg16", *IMAGENET]),
        (
            "gpu",
            {"digits": {"textures": "procedural"}, "variants": ["colored_MNIST"], "imagenet": {"run": False}},
            ["mnist", "authors_cgn", "vgg16"],
        ),
        (
            "smoke",
            {"imagenet": {"run": True, "sources": ["trained"], "data": "imagenet-1k"}},
            ["vgg16", *(["imagenet" if g == "imagenet_mini" else g for g in IMAGENET if g != "authors_imagenet_cgn"])],
        ),
        (
            "smoke",
            {"imagenet": {"run": True, "sources": ["authors"]}},
            ["vgg16", *IMAGENET],
        ),  # failures are found by it
        ("smoke", {"cgn": {"features": "vgg16"}}, ["vgg16"]),  # the demonstration trains a little
        ("smoke", {"cgn": {"features": "vgg16", "demo_steps": 0}}, []),
        ("smoke", {"digits": {"source": "mnist", "textures": "dtd"}}, ["mnist", "textures"]),
    ],
)
def test_needed_assets_follow_from_the_parameters(profile: str, change: dict[str, Any], needed: list[str]) -> None:
    assert params.needed_assets(load({"profile": profile, **change})) == needed


@pytest.mark.usefixtures("cache")
def test_check_refuses_a_profile_whose_files_are_missing() -> None:
    assert params.check("smoke") == load("smoke")
    with pytest.raises(AssetError, match="python -m reprolib fetch"):
        params.check("gpu")


def test_check_refuses_a_gpu_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(params.assets, "require", lambda *groups: None)
    monkeypatch.setattr(params, "GPUS", (tmp_path / "gpu",))
    with pytest.raises(ParameterError, match=r"'device' is 'cuda', but .* has no GPU .* device: cpu"):
        params.check("gpu")
    (tmp_path / "gpu").touch()
    assert params.check("gpu").device == "cuda"


def test_a_file_changes_only_what_it_names(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("profile: cpu\nseeds: 2\ncgn: {seeds: 2, steps: 7}\nablation: {sizes: [100]}\n")
    base = load("cpu")
    expected = base.model_dump() | {"seeds": 2}
    expected["cgn"] |= {"seeds": 2, "steps": 7}
    expected["ablation"] |= {"sizes": [100]}
    assert load(file).model_dump() == load(str(file)).model_dump() == expected


# what is wrong, what the sentence must hold
WRONG = [
    ("sedes: 3", ["'sedes' is no parameter", "did you mean 'seeds'?"]),
    ("classifier: {epoch: 3}", ["'classifier.epoch' is no parameter", "did you mean 'epochs'?"]),
    ("zzz: 3", ["'zzz' is no parameter", "there are profile, variants, seeds"]),
    ("3: 3", ["3"]),
    ("seeds: three", ["'seeds' is 'three'", "integer"]),
    ("seeds: 3.0", ["'seeds' is 3.0", "integer"]),
    ("seeds: false", ["'seeds' is False", "integer"]),
    ("device: false", ["'device' is False", "'cpu' or 'cuda'"]),
    ("seeds: null", ["'seeds' is None", "integer"]),
    ("seeds: 0", ["'seeds' is 0", "between 1 and 1,000"]),
    ("seeds: 1001", ["'seeds' is 1001", "between 1 and 1,000"]),
    ("digits: {limit: 499}", ["'digits.limit' is 499", "500"]),
    ("digits: 3", ["'digits' is 3"]),
    ("digits: null", ["'digits' is None"]),
    ("n_jobs: 0", ["'n_jobs' is 0", "-1 (one job per core) or at least 1"]),
    ("cgn: {edge_weight: .nan}", ["'cgn.edge_weight' is nan", "finite"]),
    ("cgn: {edge_weight: .inf}", ["'cgn.edge_weight' is inf", "finite"]),
    ("cgn: {edge_weight: 1e-3}", ["'cgn.edge_weight' is '1e-3'", "write 0.001"]),
    ("cgn: {sources: [author]}", ["'cgn.sources.0' is 'author'", "authors"]),
    ("cgn: {sources: []}", ["'cgn.sources' is []"]),
    ("cgn: {sources: authors}", ["'cgn.sources' is 'authors'", "list"]),
    ("variants: [coloured_MNIST]", ["variants", "'coloured_MNIST' is no variant; did you mean 'colored_MNIST'?"]),
    ("variants: [wildlife_MNIST, wildlife_MNIST]", ["'variants'", "named twice"]),
    ("variants: []", ["'variants' is []"]),
    ("ablation: {sizes: [100, 0]}", ["'ablation.sizes.1' is 0", "greater than or equal to 1"]),
    ("ablation: {sizes: [1000, 1000]}", ["'ablation.sizes' is [1000, 1000]", "named twice"]),
    ("ablation: {ratios: [2000]}", ["'ablation.ratios.0' is 2000", "1000"]),
    ("{variants: [colored_MNIST], ablation: {ratios: [20]}}", ["no ratio of 'ablation.ratios'", "at most 10"]),
    ("cgn: {sources: [shipped, shipped]}", ["'cgn.sources'", "named twice"]),
    ("scenes: {search_rates: [0.0]}", ["'scenes.search_rates.0' is 0.0", "greater than 0"]),
    ("scenes: {search_ratios: [-1.0]}", ["'scenes.search_ratios.0' is -1.0", "greater than or equal to 0"]),
    ("scenes: {batch: 1, cf_ratio: 0.3}", ["'scenes.batch' is 1", "CF ratio 0.3", "raise it to 4"]),
    ("scenes: {search_rates: [0.1], search_ratios: [0.01]}", ["'scenes.batch' is 16", "0.01", "raise it to 100"]),
    ("scenes: {targets: [patches, patches]}", ["'scenes.targets'", "named twice"]),
    ("cgn: {sources: [shipped, authors]}", ["authors' Wildlife CGN", "'digits.textures'", "'cgn.sources'"]),
    ("{seeds: 4, cgn: {sources: [stable], seeds: 3}}", ["'seeds' is 4", "'cgn.seeds' is 3", "raise 'cgn.seeds' to 4"]),
    ("seeds: {colored_MNIST: 4}", ["'seeds' names no seeds for double_colored_MNIST, wildlife_MNIST"]),
    (
        "{seeds: {colored_MNIST: 2, double_colored_MNIST: 4, wildlife_MNIST: 3}, cgn: {sources: [stable], seeds: 3}}",
        ["'seeds' is 4 but 'cgn.seeds' is 3"],
    ),
    ("seeds: {colored_MNIST: 0}", ["'seeds' is {'colored_MNIST': 0}", "one for each variant"]),
    ("cgn: {seeds: 1001}", ["'cgn.seeds' is 1001", "between 1 and 1,000"]),
    ("cgn: {seeds: null}", ["'cgn.seeds' is None", "integer"]),
    ("cgn: {seeds: {color_MNIST: 9}}", ["'color_MNIST' is no variant; did you mean 'colored_MNIST'?"]),
    (
        "cgn: {sources: [stable], seeds: {colored_MNIST: 9}}",
        ["'cgn.seeds' names no seeds for double_colored_MNIST, wildlife_MNIST"],
    ),
    (
        "cgn: {sources: [stable], seeds: {colored_MNIST: 9, double_colored_MNIST: 3, wildlife_MNIST: 9}}",
        ["'seeds' is 4 but 'cgn.seeds' is 3"],
    ),
    ("cgn: {steps: 0}", ["'cgn.steps' is 0", "between 1 and 10,000,000"]),
    ("cgn: {steps: true}", ["'cgn.steps' is True", "integer"]),
    ("cgn: {steps: {colored_MNIST: 1.5}}", ["'cgn.steps' is {'colored_MNIST': 1.5}", "integer"]),
    ("cgn: {steps: {color_MNIST: 9}}", ["'color_MNIST' is no variant; did you mean 'colored_MNIST'?"]),
    (
        "cgn: {sources: [published], seeds: 2, steps: {colored_MNIST: 9}}",
        ["'cgn.steps' names no steps for double_colored_MNIST, wildlife_MNIST"],
    ),
    ("counterfactuals: {size: 900, ratio: 10}", ["'counterfactuals.size' is 900", "ask for at least 1000"]),
    ("ablation: {sizes: [100, 400], ratios: [5, 10]}", ["'ablation.sizes'", "ask for at least 500"]),
    ("{cgn: {sources: [published], batch: 4096, seeds: 4}}", ["'cgn.batch' is 4096", "at most 4000"]),
    ("{digits: {limit: 600}, cgn: {sources: [published], batch: 601, seeds: 4}}", ["'cgn.batch'", "at most 600"]),
]


@pytest.mark.parametrize(("text", "parts"), WRONG, ids=[text for text, _ in WRONG])
def test_mistakes_are_refused_by_name(text: str, parts: list[str]) -> None:
    refusal = sentence(smoke(text))
    assert [part for part in parts if part not in refusal] == []


def test_steps_may_differ_between_variants() -> None:
    steps = {"colored_MNIST": 25_000, "double_colored_MNIST": 12_000, "wildlife_MNIST": 9}
    chosen = load({"profile": "cpu", "cgn": {"steps": steps}}).cgn
    assert {variant: chosen.steps_of(variant) for variant in VARIANTS} == steps
    assert load(smoke("cgn: {steps: 7}")).cgn.steps_of("wildlife_MNIST") == 7
    assert Params().cgn.steps_of("wildlife_MNIST") is None


def test_seeds_may_differ_between_variants() -> None:
    seeds = {"colored_MNIST": 5, "double_colored_MNIST": 4, "wildlife_MNIST": 10}
    chosen = load(smoke(f"cgn: {{sources: [stable, shipped], seeds: {seeds}}}"))
    assert {variant: chosen.cgn.seeds_of("stable", variant) for variant in VARIANTS} == seeds
    assert [plan.cgns(chosen, variant)[-1] for variant in VARIANTS] == [("shipped", rules.FIRST_SEED)] * 3
    assert [(v, seed) for v, _, seed in plan.trainings(chosen)][-7:] == [
        ("colored_MNIST", 204),
        *(("wildlife_MNIST", seed) for seed in range(204, 210)),
    ]


def test_repetitions_may_differ_between_variants() -> None:
    counts = {"colored_MNIST": 2, "double_colored_MNIST": 3, "wildlife_MNIST": 4}
    chosen = load(smoke(f"seeds: {counts}"))
    assert {variant: chosen.seeds_of(variant) for variant in VARIANTS} == counts
    for variant, count in counts.items():
        seeds = [handle["seed"] for handle in plan.classifiers(chosen, variant, plan.training_sets)]
        assert sorted(set(seeds)) == list(rules.seeds(count)) and len(seeds) % count == 0


def test_authors_weights_may_be_used_with_procedural_textures_where_no_wildlife_is_painted() -> None:
    chosen = load(smoke("{cgn: {sources: [authors, shipped]}, variants: [colored_MNIST]}"))
    assert chosen.cgn.sources == ["shipped", "authors"]  # the one that decides comes first


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("seeds: 3\n", "'profile' is None"),
        ("profile: smok\n", "'profile' is 'smok'"),
        ("profile: [smoke]\n", "'profile' is ['smoke']"),
        ("profile: smoke\nseeds: [1\n", "is not valid YAML"),
        ("profile: smoke\nseeds: !!python/object:os.system {}\n", "is not valid YAML"),
        ("- smoke\n", "must hold a mapping"),
        ("", "must hold a mapping"),
        (b"profile: \xff\xfe\n", "is not valid YAML"),
    ],
)
def test_bad_files_are_refused_by_name(content: str | bytes, part: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    refusal = sentence(file)
    assert part in refusal
    assert str(file) in refusal


@pytest.mark.parametrize(("name", "part"), [("smok", "did you mean 'smoke'?"), ("no/such.yaml", "give a YAML file")])
def test_a_missing_file_is_refused(name: str, part: str) -> None:
    assert f"there is no profile {name!r}" in sentence(name)
    assert part in sentence(name)


# what stands in a file, what the sentence must hold
SURPRISES = [
    ("seeds: 1\nseeds: 2", ["the key 'seeds' stands there twice", "line 3"]),
    ("cgn: {seeds: 1, seeds: 1}", ["the key 'seeds' stands there twice"]),
    ("cgn:\n  seeds: 1\ngan: {kinds: []}\ncgn:\n  batch: 20", ["the key 'cgn' stands there twice", "line 5"]),
    ('seeds: 1\n"seeds": 2', ["the key 'seeds' stands there twice"]),
    ("<<: {seeds: 1}", ["'<<' is no parameter"]),
    ("seeds: 010", ["'seeds' is '010'", "write 10 without quotes"]),
    ("seeds: 08", ["'seeds' is '08'", "write 8 without quotes"]),
    ("seeds: 0x10", ["'seeds' is '0x10'", "write 16 without quotes"]),
    ("seeds: 0b11", ["'seeds' is '0b11'", "write 3 without quotes"]),
    ("digits: {limit: 1_000}", ["'digits.limit' is '1_000'", "write 1000 without quotes"]),
    ("cgn: {steps: 1_000}", ["'cgn.steps' is '1_000'", "write 1000 without quotes"]),
    ("cgn: {edge_weight: 1_0.5}", ["'cgn.edge_weight' is '1_0.5'", "write 10.5 without quotes"]),
    ("cgn: {edge_weight: '1e-3'}", ["'cgn.edge_weight' is '1e-3'", "write 0.001 without quotes"]),
    ("seeds: '1e2'", ["'seeds' is '1e2'", "write 100 without quotes"]),
    ("seeds: 1e2", ["'seeds' is 100.0", "integer"]),
    ("seeds: 1:30", ["'seeds' is '1:30', but must be an integer"]),
    ("seeds: 2024-13-45", ["'seeds' is '2024-13-45', but must be an integer between 1 and 1,000, or one for each"]),
    ("seeds: '3'", ["'seeds' is '3'", "write 3 without quotes"]),
    ("seeds: yes", ["'seeds' is 'yes', but must be an integer between 1 and 1,000, or one for each"]),
    ("imagenet: {run: yes}", ["'imagenet.run' is 'yes'", "write true"]),
    ("imagenet: {run: Off}", ["'imagenet.run' is 'Off'", "write false"]),
    ("device: no", ["'device' is 'no', but Input should be 'cpu' or 'cuda'"]),
    ("cgn: {edge_weight: nan}", ["'cgn.edge_weight' is 'nan', but Input should be a valid number"]),
]


@pytest.mark.parametrize(("text", "parts"), SURPRISES, ids=[text for text, _ in SURPRISES])
def test_what_yaml_reads_otherwise_than_a_person_is_refused(text: str, parts: list[str], tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"profile: smoke\n{text}\n")
    refusal = sentence(file)
    assert [part for part in parts if part not in refusal] == []
    for part in parts:
        if "write " in part:  # and what the hint says is read
            said = part.removeprefix("write ").removesuffix(" without quotes")
            assert isinstance(yaml.load(f"a: {said}", Loader)["a"], int | float)


@pytest.mark.parametrize(
    ("text", "value"),
    [("5", 5), ("-1", -1), ("+5", 5), ("0", 0), ("1e-3", 0.001), ("5E2", 500.0), ("1.0e-3", 0.001), (".5", 0.5),
     ("010.5", 10.5), ("true", True), ("FALSE", False), ("on", "on"), ("null", None), ("~", None), ("", None),
     ("2024-01-01", "2024-01-01"), ("0o17", "0o17"), ("=", "="), ("[no, 1_0, 1]", ["no", "1_0", 1])],
)  # fmt: skip
def test_yaml_is_read_as_by_eye(text: str, value: Any) -> None:
    (read,) = yaml.load(f"a: {text}", Loader).values()
    assert read == value and type(read) is type(value)


def test_a_file_of_another_system_is_read_as_it_is(tmp_path: Path) -> None:
    """With the mark that Windows puts in front, and its line ends."""
    file = tmp_path / "mine.yaml"
    file.write_bytes("\ufeffprofile: smoke\r\nseeds: 1\r\n".encode())
    assert load(file).seeds == 1


def test_our_own_files_have_no_surprises() -> None:
    for file in (*params.FOLDER.glob("*.yaml"), *(params.FOLDER.parent / "reprolib").rglob("*.yaml")):
        text = file.read_text()
        assert yaml.load(text, Loader) == yaml.safe_load(text)


def test_a_rule_that_stands_twice_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "claims.yaml"
    file.write_text(rules.RULES.read_text() + "claim1: {}\n")
    monkeypatch.setattr(rules, "RULES", file)
    with pytest.raises(ParameterError, match=r"claims\.yaml is not valid YAML \(the key 'claim1' stands there twice"):
        rules.every()


GROUP_NAMES = st.sampled_from([None, *GROUPS])
PLAIN = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers()))


def nested(group: str | None, key: str, value: Any) -> tuple[dict[str, Any], str]:
    """The parameters with one value set, and the name under which a refusal must mention it."""
    if group is None:
        return {"profile": "smoke", key: value}, key
    return {"profile": "smoke", group: {key: value}}, f"{group}.{key}"


@given(group=GROUP_NAMES, key=st.text(), value=PLAIN)
def test_any_unknown_key_is_refused_by_name(group: str | None, key: str, value: Any) -> None:
    if key not in (GROUPS[group] if group else Params).model_fields:
        change, name = nested(group, key, value)
        assert f"{name!r} is no parameter" in sentence(change)


def bounds() -> list[tuple[str | None, str, float | None, float | None]]:
    """(group, key, least, greatest) of every number in the schema."""
    found = []
    for group, model in [(None, Params), *GROUPS.items()]:
        for key, field in model.model_fields.items():
            low = [rule.ge for rule in field.metadata if isinstance(rule, annotated_types.Ge)]
            high = [rule.le for rule in field.metadata if isinstance(rule, annotated_types.Le)]
            if low or high:
                found.append((group, key, (low or [None])[0], (high or [None])[0]))
    return found


def test_every_number_has_a_bound() -> None:
    numbers = [
        (group, key)
        for group, model in [(None, Params), *GROUPS.items()]
        for key, field in model.model_fields.items()
        if field.annotation in (int, float, int | None)
    ]
    assert numbers == [(group, key) for group, key, _, _ in bounds()]


@given(data=st.data(), bound=st.sampled_from(bounds()))
def test_any_number_out_of_range_is_refused_by_name(data: st.DataObject, bound: Any) -> None:
    group, key, low, high = bound
    beyond = [st.integers(max_value=int(low) - 1)] if low is not None else []
    beyond += [st.integers(min_value=int(high) + 1)] if high is not None else []
    change, name = nested(group, key, data.draw(st.one_of(beyond)))
    assert f"{name!r} is" in sentence(change)


def test_checking_a_profile_does_not_load_torch() -> None:
    code = """
        import sys, time
        import reprolib.params
        reprolib.params.load("smoke")
        assert "torch" not in sys.modules and "numpy" not in sys.modules
        assert time.process_time() < 3, time.process_time()  # processor time: a busy machine must not matter
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=params.FOLDER.parent, check=True)
