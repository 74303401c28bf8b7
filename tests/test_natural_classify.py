"""Training of the ensemble: batches that can start anywhere, two losses and one update, resume, learning rate."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import damage
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from reprolib.natural import classify
from reprolib.natural.classify import HEADS, Batches, ClassifierSettings, Ensemble
from reprolib.run import rng
from reprolib.run.store import Checkpoint
from reprolib.schema import NaturalParams, ScenesParams

SETTINGS = ClassifierSettings(epochs=2, batch=4, learning_rate=0.01, decay_every=1, selection="real_top1")


class Noisy(Dataset[tuple[Tensor, Tensor]]):
    """Items with random augmentation."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return index + torch.rand(2), torch.tensor(index)

    def __len__(self) -> int:
        return 10


def _order(epoch: int) -> Tensor:
    return rng.permutation(10, "order", epoch)


def _all(batches: Batches, first: int, last: int) -> list[Tensor]:
    return [batches(step)[0] for step in range(first, last)]


def test_batches_can_start_anywhere_and_do_not_depend_on_workers() -> None:
    whole = _all(Batches(Noisy(), _order, 4, seed=1), 0, 6)
    assert [len(batch) for batch in whole] == [4, 4, 2, 4, 4, 2]
    for first in (1, 3, 4):
        torch.testing.assert_close(_all(Batches(Noisy(), _order, 4, seed=1), first, 6), whole[first:])
    torch.testing.assert_close(_all(Batches(Noisy(), _order, 4, seed=1, workers=2), 2, 5), whole[2:5])
    assert not torch.equal(_all(Batches(Noisy(), _order, 4, seed=2), 0, 1)[0], whole[0])


def test_an_epoch_shows_every_image_once_and_augments_it_anew() -> None:
    batches = Batches(Noisy(), _order, 4, seed=1)
    epochs = [torch.cat([batches(step)[0] for step in range(3 * e, 3 * e + 3)]) for e in (0, 1)]
    labels = [torch.cat([batches(step)[1] for step in range(3 * e, 3 * e + 3)]) for e in (0, 1)]
    assert all(sorted(found.tolist()) == list(range(10)) for found in labels)
    first, second = (e[found.argsort()] for e, found in zip(epochs, labels, strict=True))
    assert not torch.equal(first, second) and (first - second).abs().max() < 1


class Tiny(Ensemble):
    """An ensemble whose backbone is one layer, so that a training takes a moment."""

    def __init__(self) -> None:
        super().__init__(nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 8), nn.ReLU()), 8, 3)


def _data() -> tuple[TensorDataset, TensorDataset]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(10, 3, 4, 4, generator=generator)
    return (
        TensorDataset(images, torch.randint(3, (10,), generator=generator)),
        TensorDataset(images.flip(0), torch.randint(3, (10, 3), generator=generator)),
    )


def _bias(model: Ensemble) -> float:
    """A number that tells one epoch from another."""
    return model.heads["shape"].bias[0].item()


def _rising() -> Callable[[Ensemble], float]:
    """Every row is better than the one before, so the last epoch is what comes out."""
    rows = count()
    return lambda _: next(rows)


def _train(
    folder: Path, settings: ClassifierSettings = SETTINGS, cf: bool = True, top1: Callable[[Ensemble], float] = _bias
) -> tuple[Ensemble, list[Any]]:
    torch.manual_seed(0)
    model = Tiny()
    data = [Batches(d, _order, settings.batch, seed=1) for d in _data()]
    return classify.train(
        model, data[0], data[1] if cf else None, lambda e: {"bias": _bias(e), "top1": top1(e)}, settings,
        Checkpoint(folder / "run"), "Toy",
    )  # fmt: skip


def _slow(settings: ClassifierSettings) -> dict[str, Tensor]:
    """Section 9.2 as it stands."""
    torch.manual_seed(0)
    model = Tiny()
    optimiser = torch.optim.SGD(model.parameters(), settings.learning_rate, 0.9, weight_decay=1e-4)
    (images, labels), (cf_images, cf_labels) = (data.tensors for data in _data())
    for epoch in range(settings.epochs):
        optimiser.param_groups[0]["lr"] = settings.learning_rate * 0.1 ** (epoch // settings.decay_every)
        for index in _order(epoch).split(settings.batch):
            out = model(images[index])
            loss = nn.functional.cross_entropy((out["shape"] + out["texture"] + out["bg"]) / 3, labels[index])
            out = model(cf_images[index])
            for number, name in enumerate(HEADS):
                loss = loss + nn.functional.cross_entropy(out[name], cf_labels[index][:, number])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model.state_dict()


def test_training_is_that_of_the_specification(tmp_path: Path) -> None:
    model, history = _train(tmp_path, top1=_rising())
    torch.testing.assert_close(dict(model.state_dict()), dict(_slow(SETTINGS)))
    assert len(history) == 1 + SETTINGS.epochs and history[0] != history[1] != history[2]
    assert not model.training


@pytest.mark.parametrize("best", range(SETTINGS.epochs + 1))
def test_the_ensemble_is_that_of_the_first_best_row(best: int, tmp_path: Path) -> None:
    rows = iter([row >= best for row in range(SETTINGS.epochs + 1)])
    model, history = _train(tmp_path, top1=lambda _: next(rows))
    assert classify.best_row(history, "real_top1") == best and _bias(model) == history[best]["bias"]


@pytest.mark.parametrize(("selection", "best"), [("real_top1", 1), ("four_top1", 2)])
def test_the_parameters_say_which_row_is_best(selection: classify.Selection, best: int, tmp_path: Path) -> None:
    """Top-1 on real images is best in row 1; with the three heads on counterfactuals row 2 has the larger sum."""
    rows = iter([(10.0, 0.0), (30.0, 5.0), (20.0, 9.0)])

    def evaluate(model: Ensemble) -> dict[str, float]:
        top1, factor = next(rows)
        return {"top1": top1, "bias": _bias(model)} | {f"factor/{head}": factor for head in HEADS}

    settings = dataclasses.replace(SETTINGS, selection=selection)
    real, made = (Batches(d, _order, settings.batch, seed=1) for d in _data())
    model, history = classify.train(Tiny(), real, made, evaluate, settings, Checkpoint(tmp_path / "run"), "Toy")
    assert classify.best_row(history, selection) == best and _bias(model) == history[best]["bias"]
    alone = [{"top1": row["top1"]} for row in history]  # no counterfactuals: top-1 on real images decides
    assert classify.best_row(alone, selection) == 1


def test_without_counterfactuals_only_the_real_loss_counts(tmp_path: Path) -> None:
    with_cf, without = (_train(tmp_path / str(cf), cf=cf, top1=_rising())[0].state_dict() for cf in (True, False))
    assert not torch.equal(with_cf["heads.bg.weight"], without["heads.bg.weight"])


@pytest.mark.parametrize("at", [1, 3, 5])
def test_a_run_that_resumes_equals_the_unbroken_one(at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = classify.training.run
    monkeypatch.setattr(classify.training, "run", lambda *arguments, every: run(*arguments, every=2))
    expected, history = _train(tmp_path / "whole")
    loss, _ = damage.interrupted(classify.real_loss, at)
    monkeypatch.setattr(classify, "real_loss", loss)
    with pytest.raises(RuntimeError):
        _train(tmp_path / "broken")
    found, again = _train(tmp_path / "broken")
    assert again == history
    assert all(torch.equal(found.state_dict()[name], value) for name, value in expected.state_dict().items())


def test_accuracy_and_predictions_of_a_test_set() -> None:
    torch.manual_seed(0)
    images = torch.randn(7, 3, 4, 4)
    model = Tiny().eval()
    data: Any = TensorDataset(images, torch.arange(7))
    whole, labels = classify.scores(model, data)
    assert set(whole) == {*HEADS, "avg", "shape_texture"} and labels.tolist() == list(range(7))
    torch.testing.assert_close(classify.scores(model, data, batch=3)[0], whole)
    scores = torch.tensor([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    assert (
        classify.top_k(scores, torch.tensor([1, 2]), 1) == 50 and classify.top_k(scores, torch.tensor([1, 0]), 2) == 50
    )


def test_settings_default_to_the_seeds() -> None:
    chosen = dataclasses.asdict(ClassifierSettings())
    assert (chosen["learning_rate"], chosen["cf_ratio"], chosen["batch"], chosen["epochs"]) == (1e-4, 2.0, 32, 30)
    assert (chosen["decay_every"], chosen["selection"]) == (10, "four_top1")
    for group in (NaturalParams(), ScenesParams()):
        assert (group.decay_every, group.selection) == (10, "four_top1")
