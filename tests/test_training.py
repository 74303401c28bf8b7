"""The training loop: exact resume, checkpoints, signals, and the stop at a loss that is not finite."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import damage
import pytest
import torch
from torch import Tensor, nn

from reprolib.run import rng, training
from reprolib.run.store import Checkpoint

STEPS = 23


class Toy:
    """A small net under Adam that notes every step it makes; ``before`` may interfere."""

    after: Callable[[int], object] = staticmethod(lambda i: None)

    def __init__(self, before: Callable[[int], float | None] = lambda i: None) -> None:
        with rng.seeded("toy"):
            self.net = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
        self.optimiser = torch.optim.Adam(self.net.parameters(), 0.01)
        self.memory = training.Memory(losses=[])
        self.steps: list[int] = []
        self.last = STEPS
        self.before = before

    def step(self, i: int) -> dict[str, Tensor]:
        override = self.before(i)
        if i < self.last:  # that one is a look ahead, which is taken back
            self.steps.append(i)
        with rng.seeded("toy", i):
            loss = self.net(torch.randn(8, 5)).square().mean()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.memory.values["losses"].append(float(loss.detach()))
        self.after(i)
        return {"loss": loss if override is None else torch.tensor(override)}

    def run(self, checkpoint: Checkpoint, steps: int = STEPS, every: int = 5) -> Toy:
        states: dict[str, training.Stateful] = {
            "net": self.net, "optimiser": self.optimiser, "memory": self.memory
        }  # fmt: skip
        self.last = steps
        training.run("Toy", steps, self.step, states, checkpoint, every)
        return self

    def bits(self) -> tuple[Any, ...]:
        moments = self.optimiser.state_dict()["state"].values()
        tensors = [*self.net.state_dict().values(), *(value for state in moments for value in state.values())]
        return [t.tolist() for t in tensors], self.memory.values


def _raise_at(step: int) -> Callable[[int], None]:
    def before(i: int) -> None:
        if i == step:
            raise RuntimeError("power failure")

    return before


def _signal_at(step: int, number: int = signal.SIGTERM) -> Callable[[int], None]:
    def before(i: int) -> None:
        if i == step:
            os.kill(os.getpid(), number)

    return before


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
    return Toy().run(Checkpoint(tmp_path_factory.mktemp("unbroken") / "c")).bits()


@pytest.mark.parametrize("at", [0, 4, 5, 12, STEPS - 1])
def test_a_run_that_resumes_after_a_crash_equals_the_unbroken_one(
    checkpoint: Checkpoint, unbroken: tuple[Any, ...], at: int
) -> None:
    crashed = Toy(_raise_at(at))
    with pytest.raises(RuntimeError, match="power failure"):
        crashed.run(checkpoint)
    resumed = Toy().run(checkpoint)
    assert resumed.bits() == unbroken
    assert crashed.steps + resumed.steps == [*range(at), *range(at // 5 * 5, STEPS)]  # at most one interval again


def test_two_crashes_do_not_matter_either(checkpoint: Checkpoint, unbroken: tuple[Any, ...]) -> None:
    for at in (8, 17):
        with pytest.raises(RuntimeError, match="power failure"):
            Toy(_raise_at(at)).run(checkpoint)
    assert Toy().run(checkpoint).bits() == unbroken


def test_a_damaged_checkpoint_costs_one_more_interval(checkpoint: Checkpoint, unbroken: tuple[Any, ...]) -> None:
    with pytest.raises(RuntimeError, match="power failure"):
        Toy(_raise_at(12)).run(checkpoint)
    damage.flip(checkpoint.file)
    resumed = Toy().run(checkpoint)
    assert resumed.steps[0] == 5
    assert resumed.bits() == unbroken


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("at", [0, 7, STEPS - 1])
def test_a_signal_stops_after_the_step_with_a_checkpoint(
    checkpoint: Checkpoint, unbroken: tuple[Any, ...], at: int, number: int
) -> None:
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    stopped = Toy(_signal_at(at, number))
    with pytest.raises(KeyboardInterrupt, match=f"Toy stopped after step {at + 1}; run the same command to go on"):
        stopped.run(checkpoint)
    assert stopped.steps == list(range(at + 1))
    assert checkpoint.file.exists()
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before
    resumed = Toy().run(checkpoint)
    assert resumed.steps == list(range(at + 1, STEPS))  # nothing is done twice
    assert resumed.bits() == unbroken


@pytest.mark.parametrize("before", [lambda i: None, _raise_at(3)], ids=["success", "crash"])
def test_signal_handlers_are_put_back(checkpoint: Checkpoint, before: Callable[[int], None]) -> None:
    former = signal.signal(signal.SIGTERM, handler := lambda number, frame: None)
    try:
        Toy(before).run(checkpoint)
    except RuntimeError:
        pass
    finally:
        restored = signal.signal(signal.SIGTERM, former)
    assert restored is handler


def test_a_run_outside_the_main_thread_works_without_signals(checkpoint: Checkpoint, unbroken: tuple[Any, ...]) -> None:
    toy = Toy()
    thread = threading.Thread(target=toy.run, args=(checkpoint,))
    thread.start()
    thread.join()
    assert toy.bits() == unbroken


def test_a_whole_run_makes_every_step_once_and_writes_no_checkpoint_at_its_end(checkpoint: Checkpoint) -> None:
    toy = Toy().run(checkpoint, steps=10, every=10)
    assert toy.steps == list(range(10))
    assert not checkpoint.file.exists()  # the caller stores the result


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(("first_bad", "steps", "named"), [(7, 10, 10), (0, 200, 50), (60, 200, 100)])
def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(
    checkpoint: Checkpoint, value: float, first_bad: int, steps: int, named: int
) -> None:
    toy = Toy(lambda i: value if i >= first_bad else None)
    with pytest.raises(training.DivergedError, match=f"Toy diverged at step {named} .loss {value}.*another seed"):
        toy.run(checkpoint, steps=steps, every=1000)
    assert len(toy.steps) == named


@pytest.mark.parametrize("every", [20, 50])
def test_a_state_whose_losses_were_not_finite_is_never_saved(checkpoint: Checkpoint, every: int) -> None:
    # The message promises that the checkpoint is the last good state, and a resumed run would start from it.
    toy = Toy(lambda i: float("nan") if i >= 30 else None)
    with pytest.raises(training.DivergedError):
        toy.run(checkpoint, steps=200, every=every)
    saved = checkpoint.load()
    assert saved is None or saved["done"] <= 30


def test_a_signal_does_not_save_a_diverged_state(checkpoint: Checkpoint) -> None:
    signal_at_10 = _signal_at(10)
    toy = Toy(lambda i: signal_at_10(i) or (float("nan") if i >= 5 else None))
    with pytest.raises((training.DivergedError, KeyboardInterrupt)):
        toy.run(checkpoint, steps=200, every=1000)
    saved = checkpoint.load()
    assert saved is None or saved["done"] <= 5


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_an_update_that_spoils_the_last_state_leaves_none(checkpoint: Checkpoint, value: float) -> None:
    toy = Toy()
    toy.after = lambda i: i == STEPS - 1 and toy.net[3].weight.data.fill_(value)
    with pytest.raises(training.DivergedError, match=f"Toy diverged at step {STEPS} .*another seed"):
        toy.run(checkpoint, every=5)
    assert checkpoint.load()["done"] == 20, "the last good state"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_update_that_spoils_a_state_keeps_the_one_before(checkpoint: Checkpoint, value: float) -> None:
    toy = Toy()
    toy.after = lambda i: i == 9 and toy.net[3].weight.data.fill_(value)
    with pytest.raises(
        training.DivergedError, match=f"step 10 .net is not finite.; the last good state is {checkpoint.file}"
    ):
        toy.run(checkpoint, every=5)
    assert checkpoint.load()["done"] == 5


def test_a_run_that_was_stopped_after_its_last_step_looks_ahead_too(checkpoint: Checkpoint) -> None:
    with pytest.raises(KeyboardInterrupt):
        Toy(_signal_at(STEPS - 1)).run(checkpoint)
    saved = checkpoint.load()
    saved["states"]["net"]["3.weight"].fill_(1e30)
    checkpoint.save(saved)
    with pytest.raises(training.DivergedError, match=f"step {STEPS}"):
        Toy().run(checkpoint)


def test_memory_restores_plain_values_and_tensors(checkpoint: Checkpoint) -> None:
    memory = training.Memory(history=[{"train": 1.5}], correct=torch.tensor(3))
    checkpoint.save({"memory": memory.state_dict()})
    memory.values["history"].append({"train": 2.5})
    other = training.Memory()
    other.load_state_dict(checkpoint.load()["memory"])
    assert other.values == {"history": [{"train": 1.5}], "correct": torch.tensor(3)}
