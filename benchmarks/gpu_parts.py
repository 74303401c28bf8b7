"""The parts of ``benchmarks gpu``: ``python -m benchmarks.gpu_parts PART DEVICE SECONDS FOLDER``.

On a processor each part does very little, to show that it works.
"""

from __future__ import annotations

import itertools
import json
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import carry, timing
from benchmarks import side_by_side as sides
from benchmarks.gpu_bench import Bench, compare, matmul_rate, resume, same, scenes_works, speed, vector
from benchmarks.timing import nowhere
from benchmarks.works import RECIPES, SEED, VARIANT, mnist_works, settings
from reprolib.mnist import train
from reprolib.run import provenance, rng, weights
from reprolib.vocabulary import VARIANTS


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


def large(b: Bench) -> None:
    """The networks of ImageNet: speed, then numbers."""
    from benchmarks.natural_works import large_works

    speed(b, large_works(b, small=not b.full))
    compare(b, large_works(b, small=True), 2)


def graph(b: Bench) -> None:
    """CGNs side by side, each step of all of them one CUDA graph."""
    with b.tried("graph against eager"):
        eager = mnist_works(b)[f"CGN, published, {VARIANT}"].run(b.device, 10, nowhere())
        together = b.together(VARIANT, 1)
        together.run(0, 10)
        apart = (vector(eager) - vector(together.states()[0])).abs().max()
        b.judged("graph against eager, step 10", float(apart), 1e-4, "largest difference of a weight")
    alone = 0.0
    for count in (1, 2, 4, 8) if b.full else (1, 2):
        with b.tried(what := f"CGNs, {count} side by side in one CUDA graph"):
            together, many = b.together(VARIANT, count), 300 if b.full else 1
            together.run(0, 5)
            spent = timing.once(partial(together.run, 5, many))
            b.row(what, 16 * count * many / spent, "images/s")
            b.memory(what)
            alone = alone or spent
            b.judged(f"{what}, time against one", spent / alone, 2 if b.full else 10, "times")


def compiled(b: Bench) -> None:
    """The CGN's networks compiled: how fast, and whether the first step is that of networks that are not.

    Into CUDA graphs, as ``cgn.compiled`` does, and without; on a processor both are the same.
    """
    usual: Any = torch.nn.Module.compile
    for mode, recipe in itertools.product(("reduce-overhead", "default") if b.full else ("default",), RECIPES):
        with b.tried(what := f"CGN, {recipe}, compiled, {mode}"):
            torch.nn.Module.compile = lambda module, chosen=mode, **_: usual(module, mode=chosen)  # type: ignore
            torch._inductor.config.fallback_random = mode == "default"  # else it draws other random numbers
            _compiled(b, what, recipe, compared=mode == "default")
    torch.nn.Module.compile = usual  # type: ignore[method-assign]


def _compiled(b: Bench, what: str, recipe: str, compared: bool) -> None:
    with rng.seeded("real images"):
        images = (torch.rand(16 if recipe == "published" else 20, 3, 32, 32) * 2 - 1).to(b.device)
    labels, many = torch.arange(len(images), device=b.device) // 2, 200 if b.full else 1
    after = {}
    for chosen in (False, True) if compared else (True,):
        where = (settings(b.device, 10_000, compiled=chosen), b.digits, "procedural")
        pair, update = sides.training(VARIANT, SEED, *where, RECIPES[recipe])
        before = vector(pair.generator.state_dict())
        with rng.seeded("first step"):
            first = timing.once(partial(update, 0, images, labels))
        after[chosen] = vector(pair.generator.state_dict())
    b.row(f"{what}, until it runs", first, "s")
    if compared:
        moved, apart = ((after[False] - other).abs().mean() for other in (before, after[True]))
        b.judged(f"{what}, step 1", float(apart / moved), 0.05, "of the step")
    for i in range(4):
        update(i, images, labels)
    b.row(what, len(images) * many / timing.once(lambda: [update(i, images, labels) for i in range(many)]), "images/s")


def cgns(b: Bench) -> None:
    """CGNs of the published recipe at their full length, as many seeds of each variant as there is time for."""
    variants = list(VARIANTS) if b.full else [VARIANT]
    for i, variant in enumerate(variants):
        with b.tried(f"CGNs, {variant}, published"):
            _whole(b, variant, 1 / (len(variants) - i))


def _whole(b: Bench, variant: str, share: float) -> None:
    """share: of the time that is left, which more than one CGN may take."""
    steps, probe = (train.published_steps(len(b.digits_of(variant))), 200) if b.full else (4, 1)
    for count in (5, 3, 2, 1) if b.full else (2,):
        together = b.together(variant, count)
        painting = timing.once(partial(together.run, 0, 1))
        needed = 15 * painting + steps / probe * timing.once(partial(together.run, 1, probe))
        if needed < (b.end - time.monotonic() - 5) * (share if count > 1 else 1):
            break
    else:
        b.row(f"CGN, {variant}, published, {steps} steps", needed, "s", "not run: no time left")
        return
    spent = timing.once(partial(together.run, 1 + probe, steps - probe - 1))
    kept = {
        f"{seed}/{name}": value.half() if value.is_floating_point() else value
        for seed, state in zip(together.seeds, together.states(), strict=True)
        for name, value in state.items()
    }
    weights.safetensors.torch.save_file(kept, b.out / f"cgns_{variant}.safetensors")
    b.row(f"CGNs, {variant}, published, {steps} steps, seeds {SEED} to {SEED + count - 1}", spent, "s")


PARTS: dict[str, Callable[[Bench], None]] = {
    "machine": machine,
    "mnist": lambda b: speed(b, mnist_works(b)),
    "same": same,
    "graph": graph,
    "natural": lambda b: speed(b, scenes_works(b)),
    "resume": resume,
    "large": large,
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
