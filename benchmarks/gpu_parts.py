"""The parts of ``benchmarks gpu``: ``python -m benchmarks.gpu_parts PART DEVICE SECONDS FOLDER``.

On a processor each part does very little, to show that it works.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from benchmarks import carry, gpu, timing
from benchmarks import side_by_side as sides
from benchmarks.works import VARIANT, Work, mnist_works, settings
from reprolib.mnist import train
from reprolib.mnist.adversarial import Step
from reprolib.run import provenance, weights
from reprolib.run.store import Checkpoint
from reprolib.vocabulary import VARIANTS


class Bench:
    """Where a part runs, until when, and the rows it writes."""

    def __init__(self, part: str, device: str, seconds: float, out: Path) -> None:
        self.part, self.device, self.out, self.end = part, device, out, time.monotonic() + seconds
        self.full = device == "cuda"
        self.digits, self.textures = carry.digits()[: None if self.full else 640], carry.textures()

    def row(self, what: str, value: float | str = "", unit: str = "", outcome: str = "ok") -> None:
        shown = value if isinstance(value, str) else f"{value:.4g}"
        gpu.append(self.out, dict(zip(gpu.COLUMNS, (self.part, what, shown, unit, outcome), strict=True)))

    def judged(self, what: str, found: float, bound: float, unit: str) -> None:
        self.row(what, found, f"{unit}, at most {bound:g}", "ok" if found <= bound else "failed: too far apart")

    @contextmanager
    def tried(self, what: str) -> Iterator[None]:
        """What fails in here is a row, and the part goes on."""
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            said = str(error).splitlines()
            self.row(what, outcome=f"failed: {type(error).__name__}: {said[0] if said else ''}")

    def seconds(self, call: Callable[[], object]) -> float:
        self.wait()
        start = time.perf_counter()
        call()
        self.wait()
        return time.perf_counter() - start

    def wait(self) -> None:
        if self.full:
            torch.cuda.synchronize()

    def digits_of(self, variant: str) -> Any:
        return self.digits if VARIANTS[variant].held_out == "test_file" else self.digits[:50_000]

    def together(self, variant: str, count: int) -> sides.SideBySide:
        seeds, how = list(range(100, 100 + count)), settings(self.device, 1)
        return sides.SideBySide(variant, seeds, how, self.digits_of(variant), self.textures)


def machine(b: Bench) -> None:
    """What is here, and how fast it multiplies."""
    processor = torch.cuda.get_device_name() if b.full else provenance.processor()
    made = {"commit": provenance.commit(), "processor": processor, "threads": torch.get_num_threads()}
    (b.out / "made.json").write_text(json.dumps(made | {"versions": {"torch": torch.__version__}}), encoding="utf-8")
    b.row("feature nets", carry.replace_networks())
    b.row("digits", str(len(b.digits)), "images")
    b.row("compilers", ", ".join(name for name in ("gcc", "nvcc") if shutil.which(name)))
    for name in ("float32", "TensorFloat-32", "bfloat16"):
        with b.tried(f"matrix product, {name}"):
            b.row(f"matrix product, {name}", matmul_rate(b, name) / 1e12, "TFLOP/s")


def matmul_rate(b: Bench, arithmetic: str) -> float:
    """Floating-point operations per second of a large matrix product."""
    torch.backends.cuda.matmul.allow_tf32 = arithmetic == "TensorFloat-32"
    dtype, size = (torch.bfloat16 if arithmetic == "bfloat16" else torch.float32), 8192 if b.full else 256
    x = torch.randn(size, size, device=b.device, dtype=dtype)
    x @ x
    rate = 5 * 2 * size**3 / b.seconds(lambda: [x @ x for _ in range(5)])
    torch.backends.cuda.matmul.allow_tf32 = False
    return rate


# ---------------------------------------------------------------- does it run, and how fast


def speed(b: Bench, works: dict[str, Work]) -> None:
    """Images per second of every work, its memory, and its share of the card's rate."""
    rate = matmul_rate(b, "TensorFloat-32")
    for what, work in works.items():
        with b.tried(what):
            _measure(b, what, work, rate)


def _measure(b: Bench, what: str, work: Work, rate: float) -> None:
    each = _seconds_per_step(b, work)
    b.row(what, work.images / each, "images/s")
    if b.full:
        b.row(f"{what}, memory", torch.cuda.max_memory_allocated() / 2**30, "GiB")
        torch.cuda.reset_peak_memory_stats()
        one, two = (timing.flops(partial(work.run, b.device, n, nowhere())) for n in (1, 2))
        b.row(f"{what}, share of the rate of TensorFloat-32", 100 * (two - one) / each / rate, "%")


def natural_works(b: Bench, which: str) -> dict[str, Work]:
    """``scenes`` or ``large``: what its packages do not let run must not stop the MNIST half."""
    with b.tried(which):
        from benchmarks import natural_works as natural

        return natural.scenes_works(b) if which == "scenes" else natural.large_works(b)
    return {}


def _seconds_per_step(b: Bench, work: Work) -> float:
    """From two lengths, so that what comes before the first step does not count."""
    if not b.full:
        return b.seconds(lambda: work.run(b.device, 1, nowhere()))
    few, many = work.lengths
    work.run(b.device, few, nowhere())
    short, long = (b.seconds(partial(work.run, b.device, n, nowhere())) for n in (few, many))
    return (long - short) / (many - few)


class _Nowhere(Checkpoint):
    def save(self, state: dict[str, Any]) -> None:
        pass


def nowhere() -> Checkpoint:
    """Saves nothing."""
    return _Nowhere(Path(tempfile.mkdtemp()) / "checkpoint")


# ---------------------------------------------------------------- the same numbers


class SameDraws(TorchFunctionMode):
    """Draws every random number on the processor, so that two devices see the same ones."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if function in (torch.rand, torch.randn, torch.randint):
            device = kwargs.pop("device", "cpu")
            return function(*args, **kwargs).to(device)
        if function in (torch.randn_like, torch.randint_like):
            return function(args[0].cpu(), *args[1:], **kwargs).to(args[0].device)
        if function is F.dropout:
            x, p, training = args[0], *(*args[1:], *kwargs.values())[:2]
            return x * (torch.rand(x.shape) >= p).to(x) / (1 - p) if training else x
        return function(*args, **kwargs)


def same(b: Bench) -> None:
    """The numbers of the processor, from the same random numbers, in full float32 and as torch is set, with
    TensorFloat-32 in convolutions. What is trained: distance in what ten steps move it; else in the mean size."""
    for exact in (True, False) if b.full else (True,):
        torch.backends.cudnn.allow_tf32 = not exact
        name = "float32" if exact else "as torch is set"
        for what, work in (mnist_works(b) | natural_works(b, "scenes")).items():
            if work.bound:
                with b.tried(f"{what}, {name}"), SameDraws():
                    _compare(b, f"{what}, {name}", work, work.bound if exact else 10 * work.bound)


def _compare(b: Bench, what: str, work: Work, bound: float) -> None:
    last = 10 if b.full else 2
    ours, theirs = ([_vector(work.run(d, n, nowhere())) for n in (1, last)] for d in ("cpu", b.device))
    scale = float((ours[1] - ours[0]).abs().mean()) if work.trains else float(ours[1].abs().mean())
    for step, here, there in zip((1, last), ours, theirs, strict=True):
        if work.trains or step == last:
            apart = float((here - there).abs().mean())
            b.judged(
                f"{what}, step {step}" if work.trains else what, apart / scale, bound * step / last, "of the scale"
            )


def _vector(state: dict[str, Tensor]) -> Tensor:
    return torch.cat([value.detach().cpu().double().flatten() for value in state.values() if value.is_floating_point()])


class _StoppedError(Exception):
    pass


class _Once(Checkpoint):
    """Stops the run right after its first save."""

    def save(self, state: dict[str, Any]) -> None:
        super().save(state)
        raise _StoppedError


def resume(b: Bench) -> None:
    """Has a run that stopped at a checkpoint and went on the bits of an unbroken one? As it is, and with torch's
    deterministic algorithms."""
    steps = 40 if b.full else 2
    for strict in (False, True) if b.full else (True,):
        torch.use_deterministic_algorithms(strict, warn_only=True)
        how = "deterministic algorithms" if strict else "as it is"
        for what, work in (mnist_works(b) | natural_works(b, "scenes")).items():
            if work.trains and work.bound and not any(name in what for name in VARIANTS if name != VARIANT):
                with b.tried(f"{what}, {how}"):
                    whole, again = (_vector(work.run(b.device, steps, nowhere())) for _ in range(2))
                    b.judged(f"{what}, {how}, two unbroken runs", float((whole - again).abs().max()), 0, "apart")
                    if (resumed := _resumed(b, work, steps)) is not None:
                        b.judged(
                            f"{what}, {how}, stopped and resumed", float((whole - resumed).abs().max()), 0, "apart"
                        )
        speed(b, {f"CGN, {VARIANT}, {how}": mnist_works(b)[f"CGN, published, {VARIANT}"]})


def _resumed(b: Bench, work: Work, steps: int) -> Tensor | None:
    """None for what saves nothing in so few steps."""
    file = Path(tempfile.mkdtemp()) / "checkpoint"
    try:
        work.run(b.device, steps, _Once(file))
    except _StoppedError:
        return _vector(work.run(b.device, steps, Checkpoint(file)))
    return None


# ---------------------------------------------------------------- graphs, compilation, whole trainings


def graph(b: Bench) -> None:
    """CGNs side by side, each step of all of them one CUDA graph."""
    with b.tried("graph against eager"):
        eager = mnist_works(b)[f"CGN, published, {VARIANT}"].run(b.device, 10, nowhere())
        together = b.together(VARIANT, 1)
        together.run(0, 10)
        apart = (_vector(eager) - _vector(together.states()[0])).abs().max()
        b.judged("graph against eager, step 10", float(apart), 1e-4, "largest difference of a weight")
    for count in (1, 2, 4, 8) if b.full else (2,):
        with b.tried(what := f"CGNs, {count} side by side in one CUDA graph"):
            together, many = b.together(VARIANT, count), 300 if b.full else 1
            together.run(0, 5)
            b.row(what, 16 * count * many / b.seconds(partial(together.run, 5, many)), "images/s")


def compiled(b: Bench) -> None:
    """The CGN's networks compiled: into CUDA graphs, as ``cgn.compiled`` does, and without."""
    usual: Any = torch.nn.Module.compile
    for mode in ("reduce-overhead", "default"):
        with b.tried(what := f"CGN, compiled, {mode}"):
            torch.nn.Module.compile = lambda module, chosen=mode, **_: usual(module, mode=chosen)  # type: ignore
            where = (settings(b.device, 1, compiled=True), b.digits, "procedural")
            _, update = sides.training(VARIANT, 100, *where)
            images, labels = torch.zeros(16, 3, 32, 32, device=b.device), torch.arange(16, device=b.device) % 10
            first, many = (4, 200) if b.full else (1, 1)
            b.row(f"{what}, until it runs", b.seconds(partial(_steps, update, images, labels, first)), "s")
            b.row(what, 16 * many / b.seconds(partial(_steps, update, images, labels, many)), "images/s")
    torch.nn.Module.compile = usual  # type: ignore[method-assign]


def _steps(update: Step, images: Tensor, labels: Tensor, count: int) -> None:
    for _ in range(count):
        update(0, images, labels)


def cgns(b: Bench) -> None:
    """CGNs of the published recipe at their full length, as many seeds of each variant as there is time for."""
    for variant in VARIANTS if b.full else (VARIANT,):
        with b.tried(f"CGNs, {variant}, published"):
            _whole(b, variant)


def _whole(b: Bench, variant: str) -> None:
    steps, probe = (train.published_steps(len(b.digits_of(variant))), 200) if b.full else (4, 1)
    for count in (5, 3, 2, 1) if b.full else (2,):
        together = b.together(variant, count)
        painting = b.seconds(partial(together.run, 0, 1))
        needed = 15 * painting + steps / probe * b.seconds(partial(together.run, 1, probe))
        if needed < b.end - time.monotonic() - 5:
            break
    else:
        b.row(f"CGN, {variant}, published, {steps} steps", needed, "s", "not run: no time left")
        return
    spent = b.seconds(partial(together.run, 1 + probe, steps - probe - 1))
    kept = {
        f"published/{seed}/{name}": value.half() if value.is_floating_point() else value
        for seed, state in zip(together.seeds, together.states(), strict=True)
        for name, value in state.items()
    }
    weights.safetensors.torch.save_file(kept, b.out / f"cgns_{variant}.safetensors")
    b.row(f"CGNs, {variant}, published, {steps} steps, seeds 100 to {99 + count}", spent, "s")


PARTS: dict[str, Callable[[Bench], None]] = {
    "machine": machine,
    "mnist": lambda b: speed(b, mnist_works(b)),
    "same": same,
    "graph": graph,
    "natural": lambda b: speed(b, natural_works(b, "scenes")),
    "resume": resume,
    "large": lambda b: speed(b, natural_works(b, "large")),
    "compiled": compiled,
    "cgns": cgns,
}


def main(part: str, device: str, seconds: str, out: str) -> None:
    torch.set_num_threads(min(8, torch.get_num_threads()))
    carry.replace_networks()
    bench = Bench(part, device, float(seconds), Path(out))
    with bench.tried("whole part"):
        PARTS[part](bench)


if __name__ == "__main__":
    main(*sys.argv[1:])
