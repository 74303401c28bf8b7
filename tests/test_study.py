"""The experiments: names, shipped weights, and one small run from digits to heatmaps that is computed only once."""

from __future__ import annotations

import dataclasses
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import damage
import pytest
import torch

from reprolib import gradcam, params
from reprolib.mnist import classifier as classifiers
from reprolib.mnist import counterfactuals, tables, variants
from reprolib.mnist.cgn import authors_cgn
from reprolib.mnist.classifier import Classifier
from reprolib.mnist.study import Study, TrainingSet
from reprolib.run import rules, weights
from reprolib.run.errors import AssetError
from reprolib.run.files import canonical
from reprolib.run.store import Store
from reprolib.vocabulary import VARIANTS

VARIANT = "double_colored_MNIST"
TINY = {
    "profile": "smoke",
    "variants": [VARIANT],
    "seeds": 2,
    "n_jobs": 1,
    "digits": {"limit": 500},
    "counterfactuals": {"size": 200},
    "classifier": {"epochs": 1},
    "gradcam": {"images": 20},
}
BOTH = TrainingSet(True, "counterfactual", "shipped", 200)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return Study(params.load(TINY), Store(tmp_path_factory.mktemp("store")))


@pytest.mark.parametrize(
    ("training_set", "name"),
    [
        (TrainingSet(True), "Original"),
        (TrainingSet(False, "dcgan"), "GAN"),
        (TrainingSet(False, "cgn_noncf", "authors"), "GAN"),
        (TrainingSet(True, "dcgan"), "Original+GAN"),
        (TrainingSet(True, "cgn_noncf", "stable"), "Original+GAN"),
        (TrainingSet(False, "counterfactual", "shipped"), "CGN"),
        (TrainingSet(True, "counterfactual", "shipped"), "Original+CGN"),
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
def test_shipped_weights_fit_the_textures(variant: str, textures: str, name: str, tmp_path: Path) -> None:
    chosen = params.load({"profile": "smoke", "digits": {"textures": textures}})
    assert Study(chosen, Store(tmp_path)).weights_file(variant).name == name


def test_a_shipped_cgn_is_ready_to_generate(study: Study) -> None:
    model = study.cgn(VARIANT, "shipped", 0)
    assert not model.training and not any(part.training for part in model.modules())


@pytest.mark.parametrize(
    ("harm", "said"),
    [(damage.flip, "and SHA256SUMS beside it do not agree"), (damage.cut, "agree"), (Path.unlink, "is missing")],
)
def test_broken_shipped_weights_are_refused_with_the_repair(
    study: Study, harm: Callable[[Path], None], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (study.weights_file(VARIANT).name, "SHA256SUMS"):
        shutil.copy(weights.FOLDER / name, tmp_path / name)
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    file = study.weights_file(VARIANT)
    assert file.parent == tmp_path and weights.read(file)
    harm(file)
    with pytest.raises(AssetError, match=rf"{file.name} .*{said}.*git checkout -- reprolib/weights"):
        study.cgn(VARIANT, "shipped", 0)


def test_the_authors_released_no_cgn_for_other_variants() -> None:
    with pytest.raises(AssetError, match=r"'authors' out of 'cgn\.sources'"):
        authors_cgn("other_MNIST")


def test_splits_are_what_they_are_called(study: Study) -> None:
    train, test, own = (study.painted(VARIANT, split, 0) for split in ("train", "test", "in_domain"))
    assert len(train) == 500
    assert torch.equal(train.foreground, train.labels) and torch.equal(own.background, own.labels)
    assert torch.equal(test.labels, own.labels) and float((test.foreground == test.labels).float().mean()) < 0.2
    assert not torch.equal(study.painted(VARIANT, "train", 1).images, train.images)


def test_training_data_are_original_and_generated_images(study: Study) -> None:
    images, labels = study._training_data(VARIANT, BOTH, 3)
    train = study.painted(VARIANT, "train", 3)
    model = study.cgn(VARIANT, "shipped", 3)
    made = counterfactuals.counterfactuals(model, 200, 1, (VARIANT, "counterfactual", 1, 3))
    assert torch.equal(images, torch.cat([train.images, made.images]))
    assert torch.equal(labels, torch.cat([train.labels, made.labels]))


MEMORY = """
import json, resource, sys
from pathlib import Path
from reprolib import gradcam, params
from reprolib.run import training
from reprolib.mnist import classifier
from reprolib.mnist.study import Study, TrainingSet
from reprolib.run.store import Checkpoint, Store

training.run = lambda title, steps, step, *_, **__: [step(i) for i in range(3)]  # a batch more needs no more memory
study = Study(params.load(json.loads(sys.argv[1])), Store(Path("none")))
for size in (3_000, 18_000):
    data = study._training_data(sys.argv[2], TrainingSet(True, "counterfactual", "shipped", size, 10), 0)
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


def test_the_theme_grid_is_ten_digits_in_ten_themes(study: Study) -> None:
    grid = study.theme_grid()
    assert grid.labels.reshape(10, 10)[:, 0].tolist() == list(range(10))
    assert (grid.labels.reshape(10, 10).unique(dim=1).shape[1], len(grid)) == (1, 100)
    assert torch.equal(grid.background.reshape(10, 10), torch.arange(10).expand(10, 10))
    assert torch.equal(grid.masks.reshape(10, 10, 32, 32)[:, 0], grid.masks.reshape(10, 10, 32, 32)[:, 7])


def test_a_classifier_and_its_heatmaps_are_computed_once(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    heat = study.gradcam(BOTH, 0)
    assert set(heat.numbers) == {"measures", "null", "variance", "grid_empty"}
    assert set(heat.numbers["measures"]) == {"empty", "mass_inside", "iou_digit", "iou_macro", "iou_area"}
    assert set(heat.numbers["null"]) == {"all zero", "uniform", "shuffled", "random CAM"}
    assert heat.tensors["heatmaps"].shape == (100, 32, 32) and heat.tensors["heatmaps"].dtype == torch.uint8

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("this was computed already")

    monkeypatch.setattr(classifiers, "train_together", fail)
    monkeypatch.setattr(gradcam, "heatmaps", fail)
    again = Study(study.params, Store(study.store.root))  # as another process, tomorrow
    assert torch.equal(again.gradcam(BOTH, 0).tensors["heatmaps"], heat.tensors["heatmaps"])
    scored = again.classifier(VARIANT, BOTH, 0, 1).numbers
    assert scored["images"] == 700 and set(scored["final"]) == {"visible", "in_domain_as_published"}
    assert [set(row) for row in scored["history"]] == [{"train", "test", "in_domain"}]
    with pytest.raises(AssertionError, match="already"):
        again.classifier(VARIANT, BOTH, 1, 1)  # another seed is another result


def test_seeds_can_train_together_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = TINY | {"classifier": TINY["classifier"] | {"together": True}}
    study, calls, train = Study(params.load(given), Store(tmp_path)), [], classifiers.train_together

    def counted(tasks: list[classifiers.Task], **how: Any) -> Any:
        calls.append([task.key for task in tasks])
        return train(tasks, **how)

    monkeypatch.setattr(classifiers, "train_together", counted)
    made = [study.classifier(VARIANT, BOTH, seed, 1) for seed in rules.seeds(2)]
    assert calls == [[(VARIANT, 200), (VARIANT, 201)]]
    assert not torch.equal(made[0].tensors["cls.0.weight"], made[1].tensors["cls.0.weight"])
    study.classifier(VARIANT, BOTH, 200, 1, alone=True)
    assert calls[1:] == [[(VARIANT, 200)]]


@pytest.mark.parametrize(
    "change",
    [{"digits": {"limit": 600}}, {"classifier": {"batch": 32}}, {"threads": 2},
     {"counterfactuals": {"texture_labels": "independent"}}],
)  # fmt: skip
def test_what_changes_a_result_changes_its_name(study: Study, change: dict[str, object], tmp_path: Path) -> None:
    names = set()

    class Named(Store):
        def get(self, step: str, inputs: dict[str, object], *_: object, **__: object) -> None:  # type: ignore[override]
            names.add(self.file(step, inputs).name)

    threads = torch.get_num_threads()
    for given in (TINY, TINY | {key: (TINY.get(key, {}) | value if isinstance(value, dict) else value)
                                for key, value in change.items()}):  # fmt: skip
        Study(params.load(given), Named(tmp_path)).classifier(VARIANT, BOTH, 0, 1)
    torch.set_num_threads(threads)
    assert len(names) == 2


def test_final_scores_are_accuracies_of_the_model(study: Study) -> None:
    torch.manual_seed(0)
    model = Classifier().eval()
    test = study.painted(VARIANT, "test", 0)
    found = study._final(VARIANT, model, {"test": test}, 0)
    seen = (test.background - test.foreground) % 10 != 4
    correct = model(test.images).argmax(1) == test.labels
    assert found["visible"] == pytest.approx(100 * float(correct[seen].float().mean()), abs=0.5)


def test_a_study_in_a_worker_takes_the_threads_of_its_parameters() -> None:
    copied = pickle.dumps(Study(params.load(TINY | {"threads": 2}), Store(Path("store"))))
    torch.set_num_threads(1)
    try:
        pickle.loads(copied)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("names", "shown"),
    [(list(VARIANTS), VARIANT), (["wildlife_MNIST", "colored_MNIST"], "wildlife_MNIST")],
)
def test_gradcam_shows_double_colored_digits_or_else_the_first_variant(names: list[str], shown: str) -> None:
    study = Study(params.load(TINY | {"variants": names}), Store(Path("store")))
    assert study.gradcam_variant == shown
    grid = study.theme_grid()
    assert len(grid) == 100 and torch.equal(grid.foreground, torch.arange(10).repeat(10))


def test_what_a_variant_is_made_of_belongs_to_the_name_of_its_results(monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study(params.load(TINY | {"cgn": {"sources": ["published"], "seeds": 2}}), Store(Path("store")))

    def names() -> list[str]:
        return [canonical(study.cgn_inputs(VARIANT, "published", 0)), canonical(study._dcgan_inputs(VARIANT, 0))]

    before = names()
    monkeypatch.setitem(VARIANTS, VARIANT, dataclasses.replace(VARIANTS[VARIANT], gain=0.5))
    gain = names()
    assert gain[0] != before[0] and gain[1] == before[1]  # the DCGAN has settings of its own
    function, draws, version = variants._RULES[VARIANT]
    monkeypatch.setitem(variants._RULES, VARIANT, (function, draws, version + 1))
    assert [a != b for a, b in zip(names(), gain, strict=True)] == [True, True]


def test_a_cgn_that_is_not_there_is_named_before_anything_is_computed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    study = Study(params.load(TINY), Store(tmp_path))
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    with pytest.raises(AssetError, match=r"cgn_double_colored_MNIST.* is missing; restore it with `git"):
        study.quality(VARIANT, "shipped", 0)
    with pytest.raises(AssetError, match="the authors released no CGN for striped_MNIST; take 'authors' out"):
        study.cgn_identity("striped_MNIST", "authors", 0)


def test_the_travel_of_the_background_norm_is_told_with_its_reach(study: Study) -> None:
    (row,) = tables.background_norms(study).to_dict("records")
    state = study.cgn(VARIANT, "shipped", 0).state_dict()
    assert row["bias"] == pytest.approx(float(state["f_text2.11.bias"].mean()), abs=0.01)
    assert row["steps"] > 0 and row["reach"] == pytest.approx(2e-4 * row["steps"], abs=0.01)
    assert abs(row["bias"]) <= 1.1 * row["reach"]
