"""The parts of ``benchmarks gpu``: ``python -m benchmarks.gpu_parts PART DEVICE SECONDS FOLDER``.

On a processor each part does very little, to show that it works. A row that compares says its bound.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from benchmarks import carry, timing
from benchmarks import side_by_side as sides
from reprolib import gradcam, provenance, rng, shipped
from reprolib.imagenet import classify, ensemble, inception, u2net
from reprolib.imagenet import counterfactuals as sets
from reprolib.imagenet import train as natural
from reprolib.imagenet.cgn import CGN as NaturalCGN
from reprolib.mnist import classifier, counterfactuals, train, variants
from reprolib.mnist.dcgan import DCGAN
from reprolib.mnist.settings import VARIANTS
from reprolib.mnist.weights import cgn_from
from reprolib.scenes import datasets as scenes
from reprolib.scenes import parts as scene_parts
from reprolib.store import Checkpoint

VARIANT = "double_colored_MNIST"
_FIELDS = {field.name for field in dataclasses.fields(train.GenerativeSettings)}
RECIPES = ("published", "stable") if "recipe" in _FIELDS else ("published",)


class Bench:
    """Where a part runs, how much it does, and the rows it writes."""

    def __init__(self, part: str, device: str, seconds: float, out: Path) -> None:
        self.part, self.device, self.out = part, device, out
        self.end = time.monotonic() + seconds
        self.digits = carry.digits()
        if not self.full:
            self.digits = self.digits[:640]

    @property
    def full(self) -> bool:
        return self.device == "cuda"

    def row(self, what: str, value: float | str = "", unit: str = "", outcome: str = "ok") -> None:
        shown = value if isinstance(value, str) else f"{value:.4g}"
        row = {"part": self.part, "what": what, "value": shown, "unit": unit, "outcome": outcome}
        with (self.out / f"{self.part}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    @contextmanager
    def tried(self, what: str) -> Iterator[None]:
        """What fails in here is a row, and the part goes on."""
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            self.row(
                what, outcome=f"failed: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            )

    def apart(self, what: str, here: Tensor, there: Tensor, bound: float) -> None:
        """Mean difference of there from here, over the mean size of here, against a bound."""
        here, there = here.detach().cpu().double(), there.detach().cpu().double()
        found = float((here - there).abs().mean() / here.abs().mean())
        self.row(
            f"{what}; at most {bound:g}", found, "of the mean", "ok" if found <= bound else "failed: too far apart"
        )

    def same_bits(self, what: str, here: dict[str, Tensor], there: dict[str, Tensor]) -> None:
        worst = max(float((here[name].double() - there[name].double()).abs().max()) for name in here)
        self.row(what, worst, "largest difference", "ok" if worst == 0 else "failed: other bits")

    def seconds(self, call: Callable[[], object]) -> float:
        self.wait()
        start = time.perf_counter()
        call()
        self.wait()
        return time.perf_counter() - start

    def per_unit(self, call: Callable[[int], object], few: int = 20, many: int = 140) -> float:
        """Seconds of one more unit, from two lengths, so that what comes before the first does not count."""
        if not self.full:
            return self.seconds(lambda: call(1))
        call(few)
        return (self.seconds(lambda: call(many)) - self.seconds(lambda: call(few))) / (many - few)

    def wait(self) -> None:
        if self.full:
            torch.cuda.synchronize()

    def memory(self, what: str) -> None:
        if self.full:
            self.row(f"{what}, memory", torch.cuda.max_memory_allocated() / 2**30, "GiB")
            torch.cuda.reset_peak_memory_stats()

    def settings(self, steps: int = 1, recipe: str = "published", **others: Any) -> train.GenerativeSettings:
        named = {"recipe": recipe} if "recipe" in _FIELDS else {}
        chosen = {"features": "efficientnet_lite0", "device": self.device, "checkpoint_every": 10**9} | named | others
        return train.GenerativeSettings(steps, **chosen)

    def textures(self) -> Any:
        from reprolib import assets

        return "procedural" if assets.missing("textures") else "dtd"

    def digits_of(self, variant: str) -> Any:
        return self.digits if VARIANTS[variant].held_out == "test_file" or not self.full else self.digits[:50_000]

    def trained(
        self, kind: str, variant: str, settings: Any, checkpoint: Checkpoint | None = None
    ) -> dict[str, Tensor]:
        """Weights of a CGN or DCGAN after its last step."""
        where = (variant, self.digits_of(variant), 100, settings, self.textures(), checkpoint or nowhere())
        if kind == "dcgan":
            return train.train_dcgan(*where).state_dict()
        return train.train_cgn(*where)[settings.steps]

    def tasks(self, count: int, images: int) -> list[classifier.Task]:
        painted = variants.paint(VARIANT, self.digits[torch.arange(images) % len(self.digits)], "t", attributes="label")
        return [classifier.Task(painted.images, painted.labels, {}, ("gpu", seed)) for seed in range(count)]

    def classifiers(self, count: int, steps: int, batch: int = 64, device: str = "", **how: Any) -> list[Any]:
        how = {"epochs": 1, "batch": batch, "checkpoint": nowhere(), "title": "classifier"} | how
        return classifier.train_together(self.tasks(count, batch * steps), device=device or self.device, **how)


def nowhere() -> Checkpoint:
    return Checkpoint(Path(tempfile.mkdtemp()) / "checkpoint")


class SameDraws(TorchFunctionMode):
    """Draws every random number on the processor, so that two devices see the same ones."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if function in (torch.rand, torch.randn, torch.randint):
            device = kwargs.pop("device", "cpu")
            return function(*args, **kwargs).to(device)
        if function is F.dropout:
            x, p, training = args[0], *(*args[1:], *kwargs.values())[:2]
            return x * (torch.rand(x.shape) >= p).to(x) / (1 - p) if training else x
        return function(*args, **kwargs)


# ---------------------------------------------------------------- the parts


def machine(b: Bench) -> None:
    """What is here, and how fast it multiplies."""
    made = {"commit": provenance.commit(), "processor": provenance.processor(), "threads": torch.get_num_threads()}
    if b.full:
        made["processor"] = torch.cuda.get_device_name()
    (b.out / "made.json").write_text(json.dumps(made | {"versions": {"torch": torch.__version__}}), encoding="utf-8")
    b.row("feature nets", carry.replace_networks())
    b.row("digits", str(len(b.digits)), "images")
    b.row("compilers", ", ".join(name for name in ("gcc", "nvcc", "nvidia-smi") if shutil.which(name)))
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


def mnist(b: Bench) -> None:
    """Every training and generation of the MNIST half as it is, and its speed."""
    for recipe in RECIPES:
        for variant in VARIANTS:
            _speed(b, f"CGN, {variant}, {recipe}", "cgn", variant, {"recipe": recipe})
    _speed(b, "CGN, bfloat16", "cgn", VARIANT, {"precision": "bfloat16"})
    _speed(b, "CGN, VGG16", "cgn", VARIANT, {"features": "vgg16"})
    _speed(b, "DCGAN", "dcgan", VARIANT, {})
    with b.tried("CGN, share of the matrix rate"):
        one = timing.flops(lambda: b.trained("cgn", VARIANT, b.settings(2)))
        step = one - timing.flops(lambda: b.trained("cgn", VARIANT, b.settings(1)))
        spent = b.per_unit(lambda steps: b.trained("cgn", VARIANT, b.settings(steps)))
        b.row("CGN, share of the matrix rate", 100 * step / spent / matmul_rate(b, "TensorFloat-32"), "%")
    b.memory("CGN and DCGAN")
    for count, precision in [(count, "float32") for count in (1, 2, 4, 8)] + [(1, "bfloat16"), (8, "bfloat16")]:
        with b.tried(what := f"classifiers, {count} together, {precision}"):
            spent = b.per_unit(lambda steps: b.classifiers(count, steps, precision=precision))  # noqa: B023
            b.row(what, 64 * count / spent, "images/s")
    b.memory("classifiers")
    _generation(b)


def _speed(b: Bench, what: str, kind: str, variant: str, chosen: dict[str, Any]) -> None:
    with b.tried(what):
        b.row(what, 1 / b.per_unit(lambda steps: b.trained(kind, variant, b.settings(steps, **chosen))), "steps/s")


def _model(b: Bench, device: str) -> Any:
    """The shipped CGN of VARIANT."""
    return cgn_from(shipped.read(shipped.WEIGHTS / f"cgn_{VARIANT}.safetensors")).to(device)


def _generation(b: Bench) -> None:
    model, gan, count = _model(b, b.device), DCGAN().to(b.device).eval(), 20_000 if b.full else 200
    calls: dict[str, Callable[[], Any]] = {
        "counterfactuals, ratio 1": lambda: counterfactuals.counterfactuals(model, count, 1, ("gpu",)),
        "counterfactuals, ratio 2": lambda: counterfactuals.counterfactuals(model, count, 2, ("gpu",)),
        "images with one label throughout": lambda: counterfactuals.non_counterfactuals(model, count, ("gpu",)),
        "images of a DCGAN": lambda: counterfactuals.gan_samples(gan, count, ("gpu",)),
        "masks": lambda: counterfactuals.masks(model, count // 10, ("gpu",)),
        "heatmaps": lambda: _heatmaps(b, count),
    }
    for what, call in calls.items():
        with b.tried(what):
            call()
            b.row(what, count / b.seconds(call), "images/s")
    b.memory("generation")


def _heatmaps(b: Bench, count: int, device: str = "") -> Tensor:
    with rng.seeded("heatmaps"):
        model = classifier.Classifier().to(device or b.device).eval()
    images = variants.paint(VARIANT, b.digits[:count], "heatmaps", attributes="label").images
    return gradcam.heatmaps(model, model.model[classifier.Classifier.last_relu], images.to(device or b.device))


def same(b: Bench) -> None:
    """The same numbers as on the processor, from the same random numbers: in full float32, then as torch is set, with
    TensorFloat-32 in convolutions."""
    for exact in (True, False):
        torch.backends.cudnn.allow_tf32 = not exact
        torch.backends.cudnn.deterministic = True
        name, loose = ("float32", 1.0) if exact else ("as torch is set", 10.0)
        compared: dict[str, Callable[[str], list[tuple[str, Tensor, float]]]] = {
            **{f"CGN, {recipe}": lambda device, recipe=recipe: _moves(b, "cgn", device, recipe) for recipe in RECIPES},
            "DCGAN": lambda device: _moves(b, "dcgan", device, "published"),
            "classifier": lambda device: _read(b, 1, device),
            "classifiers together": lambda device: _read(b, 3, device),
            "counterfactuals": lambda device: [("", _made(b, device), 1e-4)],
            "heatmaps": lambda device: [("", _heatmaps(b, 100, device), 1e-3)],
            "CGN, Scenes": lambda device: _scene_moves(b, device),
            "ensemble, Scenes": lambda device: _logits(b, device),
            "saliency": lambda device: [("", _saliency(device), 1e-3)],
        }
        for what, of in compared.items():
            with b.tried(f"{what}, {name}"), SameDraws():
                for (step, here, bound), (_, there, _) in zip(of("cpu"), of(b.device), strict=True):
                    b.apart(f"{what}{step}, {name}", here, there, loose * bound)


def _moves(b: Bench, kind: str, device: str, recipe: str) -> list[tuple[str, Tensor, float]]:
    """How far the weights have come after the first step and after ten."""
    settings = b.settings(10, recipe, device=device)
    pair, update = sides.training(kind, VARIANT, 100, settings, b.digits, "procedural")
    before, found = sides.weights(pair), []
    batch_of = train.batches(VARIANT, b.digits, settings.batch, 100, "procedural")
    for i in range(10):
        with rng.seeded("same", i):
            drawn, real = torch.randint(0, 10, (settings.batch,), device=device), batch_of(i)
            update(real.images.to(device), real.labels.to(device), drawn)
        if i in (0, 9):
            found.append((f" after step {i + 1}", sides.moved(pair, before), (0.05, 0.3)[i > 0]))
    return found


def _read(b: Bench, count: int, device: str) -> list[tuple[str, Tensor, float]]:
    """What classifiers say after one and after ten steps."""
    images, found = b.tasks(1, 200)[0].images, []
    for steps in (1, 10):
        models = [model for model, _ in b.classifiers(count, steps, device=device)]
        with torch.inference_mode():
            found.append((f" after step {steps}", torch.cat([model(images).exp() for model in models]), 0.01))
    return found


def _made(b: Bench, device: str) -> Tensor:
    return counterfactuals.counterfactuals(_model(b, device), 200, 1, ("same",)).images


def _scene_cgn() -> NaturalCGN:
    model = NaturalCGN(scene_parts.GENERATOR, scene_parts.saliency())
    model.start_from(scene_parts.generator().state_dict())
    return model


def _scene_settings(device: str, **others: Any) -> natural.CgnSettings:
    chosen = {"updates": 1, "micro_batch": 2, "accumulation": 1, "learning_rate": 60.0, "device": device} | others
    return natural.CgnSettings(patches=natural.Patches(64, 7, 26), features="efficientnet_lite0", **chosen)


def _scene_moves(b: Bench, device: str) -> list[tuple[str, Tensor, float]]:
    """Without the texture loss: which of equally good patches are drawn depends on the last bit."""
    found = []
    for updates in (1, 10):
        model, weights = _scene_cgn(), natural.LossWeights().without("text")
        before = {name: p.detach().clone() for name, p in model.f_shape.named_parameters()}
        natural.train_cgn(model, 0, _scene_settings(device, updates=updates, weights=weights), nowhere(), "Scenes")
        moves = torch.cat([(p.detach() - before[name]).flatten() for name, p in model.f_shape.named_parameters()])
        found.append((f" after step {updates}", moves, 0.05 if updates == 1 else 0.3))
    return found


def _batches(count: int, labels: Tensor) -> Any:
    images = scenes.labelled(len(labels), ("gpu",)).images
    return SimpleCall(lambda step: (images, labels), count)


class SimpleCall(SimpleNamespace):
    """The same batch at every step, as ``classify.train`` wants it."""

    def __init__(self, call: Callable[[int], tuple[Tensor, Tensor]], per_epoch: int) -> None:
        super().__init__(call=call, per_epoch=per_epoch, weight=lambda step: 1.0)

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        return self.call(step)


def _ensemble(steps: int, device: str, model: Any, batch: int = 8) -> Any:
    labels = torch.arange(3 * batch).view(batch, 3) % 9
    settings = classify.ClassifierSettings(1, learning_rate=1e-3, device=device)
    real, made = _batches(steps, labels[:, 0]), _batches(steps, labels)
    return classify.train(
        model, real, made, lambda _: {"top1": float(time.monotonic())}, settings, nowhere(), "ensemble"
    )[0]


def _logits(b: Bench, device: str) -> list[tuple[str, Tensor, float]]:
    found, images = [], scenes.labelled(8, ("gpu",)).images
    for steps in (1, 10):
        with rng.seeded("ensemble"):
            model = ensemble.lite0(9)
        with torch.inference_mode():
            logits = _ensemble(steps, device, model)(images)
        found.append((f" after step {steps}", torch.cat(list(logits.values())), 0.01))
    return found


def _saliency(device: str) -> Tensor:
    with torch.inference_mode():
        return scene_parts.saliency().to(device)(scenes.labelled(8, ("gpu",)).images.to(device))


def graph(b: Bench) -> None:
    """1, 2, 4 and 8 CGNs side by side, each step of all of them one CUDA graph."""
    with b.tried("graph against eager"):
        eager = b.trained("cgn", VARIANT, b.settings(10))
        together = _together(b, VARIANT, [100])
        sides.run(together, [100], VARIANT, b.digits_of(VARIANT), b.textures(), 0, 10)
        recorded = sides.weights(together.trainings[0][0])
        names = [name for name in eager if "running" not in name and "tracked" not in name]
        b.apart(
            "graph against eager, step 10",
            *(torch.cat([s[n].flatten() for n in names]) for s in (eager, recorded)),
            1e-3,
        )
    for count in (1, 2, 4, 8) if b.full else (1, 2):
        with b.tried(what := f"CGNs, {count} side by side in one CUDA graph"):
            seeds = list(range(100, 100 + count))
            together = _together(b, VARIANT, seeds)
            sides.run(together, seeds, VARIANT, b.digits_of(VARIANT), b.textures(), 0, 5)
            many = 300 if b.full else 1
            spent = b.seconds(lambda: [together.step(("speed", i)) for i in range(many)])  # noqa: B023
            b.row(what, many / spent, "steps/s of all")
            b.memory(what)


def _together(b: Bench, variant: str, seeds: list[int]) -> sides.SideBySide:
    where = (b.digits_of(variant), b.textures())
    return sides.SideBySide([sides.training("cgn", variant, s, b.settings(), *where) for s in seeds], 16, b.device)


class _StoppedError(Exception):
    pass


class _Once(Checkpoint):
    """Stops the run right after its first save."""

    def save(self, state: dict[str, Any]) -> None:
        super().save(state)
        raise _StoppedError


def resume(b: Bench) -> None:
    """Stop at a checkpoint and go on: the bits of an unbroken run? With the algorithms that cuDNN takes as reprolib
    asks it to, and with torch's deterministic ones."""
    steps = 60 if b.full else 4
    for strict in (False, True):
        torch.use_deterministic_algorithms(strict, warn_only=True)
        how = "deterministic algorithms" if strict else "as it is"
        for kind in ("cgn", "dcgan"):
            settings = b.settings(steps, checkpoint_every=steps // 2)
            with b.tried(what := f"{kind.upper()}, {how}"):
                whole, again = (b.trained(kind, VARIANT, settings) for _ in range(2))
                b.same_bits(f"{what}, two unbroken runs", whole, again)
                b.same_bits(f"{what}, stopped and resumed", whole, _resumed(b, kind, settings))
        _speed(b, f"CGN, {how}", "cgn", VARIANT, {})
        with b.tried(what := f"classifier, {how}"):
            two = [b.classifiers(1, steps)[0][0].state_dict() for _ in range(2)]
            b.same_bits(f"{what}, two unbroken runs", *two)
        with b.tried(what := f"CGN, Scenes, {how}"):
            models = [_scene_cgn() for _ in range(2)]
            for model in models:
                natural.train_cgn(model, 0, _scene_settings(b.device, updates=3), nowhere(), "Scenes")
            b.same_bits(f"{what}, two unbroken runs", *(model.mechanisms() for model in models))


def _resumed(b: Bench, kind: str, settings: Any) -> dict[str, Tensor]:
    folder = Path(tempfile.mkdtemp())
    try:
        b.trained(kind, VARIANT, settings, _Once(folder / "checkpoint"))
    except _StoppedError:
        return b.trained(kind, VARIANT, settings, Checkpoint(folder / "checkpoint"))
    raise RuntimeError("no checkpoint was written")


def natural_images(b: Bench) -> None:
    """The natural-image half on Scenes."""
    few = 4 if b.full else 1
    for target in ("patches", "fill"):
        with b.tried(what := f"CGN, Scenes, {target}"):
            chosen = {"micro_batch": 8, "texture_target": target}
            spent = b.per_unit(
                lambda n: natural.train_cgn(  # noqa: B023
                    _scene_cgn(),
                    0,
                    _scene_settings(b.device, updates=n, **chosen),
                    nowhere(),
                    "Scenes",  # noqa: B023
                ),
                few,
                6 * few,
            )
            b.row(what, 8 / spent, "images/s")
    with b.tried("ensemble, Scenes"):
        spent = b.per_unit(lambda n: _ensemble(n, b.device, ensemble.lite0(9), 32), few, 10 * few)
        b.row("ensemble, Scenes", 64 / spent, "images/s")
    with b.tried("counterfactuals, Scenes"):
        model, count = _scene_cgn().to(b.device).eval(), 50 * few
        index = torch.arange(count)
        b.row(
            "counterfactuals, Scenes",
            count / b.seconds(lambda: sets.generate(model, sets.Sampling(), index)),
            "images/s",
        )
    b.memory("Scenes")


def large(b: Bench) -> None:
    """The paper's networks at 256 pixels with random weights; on a processor small ones."""
    name, plan = ("biggan-deep-256", "u2net") if b.full else ("scenes-64-tiny", "u2net-thin")
    with torch.device(b.device):
        model = NaturalCGN(name, u2net.U2Net(u2net.PLANS[plan]))
    patches = natural.Patches() if b.full else natural.Patches(64, 7, 26)
    settings = natural.CgnSettings(2, 5, 1, patches=patches, device=b.device)
    for target in ("patches", "fill"):
        with b.tried(what := f"CGN, {name}, {target}"):
            chosen = dataclasses.replace(
                settings, texture_target=target, features="vgg16" if b.full else "efficientnet_lite0"
            )
            of = lambda n: natural.train_cgn(model, 0, dataclasses.replace(chosen, updates=n), nowhere(), what)  # noqa
            b.row(what, 5 / b.per_unit(of, 2, 8), "images/s")
            b.memory(what)
    with b.tried(what := f"counterfactuals, {name}"):
        model.to(b.device).eval()
        index = torch.arange(50 if b.full else 2)
        b.row(what, len(index) / b.seconds(lambda: sets.generate(model, sets.Sampling(), index)), "images/s")
    if b.full:
        _torchvision(b)


def _torchvision(b: Bench) -> None:
    from torchvision.models import inception_v3, resnet50

    with b.tried("ensemble, ResNet-50"):
        layers = list(resnet50().children())[:-1]
        model = ensemble.Ensemble(torch.nn.Sequential(*layers, torch.nn.Flatten()), 2048, 1000, True)
        images, labels = torch.randn(32, 3, 224, 224), torch.arange(32)
        factors = torch.arange(192).view(64, 3)
        real = SimpleCall(lambda step: (images, labels), 99)
        made = SimpleCall(lambda step: (torch.cat([images, images]), factors), 99)
        for_ = lambda n: classify.train(  # noqa: E731
            model, SimpleCall(real.call, n), made, lambda _: {"top1": 0.0},
            classify.ClassifierSettings(1, device=b.device), nowhere(), "ResNet-50",
        )  # fmt: skip
        b.row("ensemble, ResNet-50, 32 real and 64 counterfactual", 96 / b.per_unit(for_, 3, 13), "images/s")
        b.memory("ensemble, ResNet-50")
    with b.tried("Inception-v3"):
        network = inception_v3(init_weights=False, transform_input=False).to(b.device).eval()
        pictures, rater = torch.randn(256, 3, 256, 256), inception._Resized(network)
        inception.probabilities(pictures[:64], rater)
        b.row("Inception-v3", 256 / b.seconds(lambda: inception.probabilities(pictures, rater)), "images/s")


def compiled(b: Bench) -> None:
    """The CGN's networks compiled: into CUDA graphs, as ``cgn.compiled`` does, and without."""
    usual = torch.nn.Module.compile
    for mode in ("reduce-overhead", "default"):
        with b.tried(what := f"CGN, compiled, {mode}"):
            torch.nn.Module.compile = lambda module, mode=mode, **_: usual(module, mode=mode)  # type: ignore
            pair, update = sides.training("cgn", VARIANT, 100, b.settings(compiled=True), b.digits, "procedural")
            images, labels = torch.zeros(16, 3, 32, 32, device=b.device), torch.arange(16, device=b.device) % 10
            start, steps = time.perf_counter(), 200 if b.full else 1
            for _ in range(4 if b.full else 1):
                update(images, labels, labels)
            b.wait()
            b.row(f"{what}, until it runs", time.perf_counter() - start, "s")
            b.row(what, steps / b.seconds(lambda: [update(images, labels, labels) for _ in range(steps)]), "steps/s")  # noqa: B023
    torch.nn.Module.compile = usual  # type: ignore[method-assign]


def cgns(b: Bench) -> None:
    """CGNs of the published recipe at their full length, as many seeds as there is time for."""
    for variant in VARIANTS:
        digits = b.digits_of(variant)
        steps = train.published_steps(len(digits)) if b.full else 4
        for count in (5, 3, 2, 1):
            seeds = list(range(100, 100 + count))
            together, probe = _together(b, variant, seeds), 200 if b.full else 1
            rate = probe / b.seconds(lambda: sides.run(together, seeds, variant, digits, b.textures(), 0, probe))  # noqa
            if steps / rate < b.end - time.monotonic() - 5:
                break
        else:
            b.row(f"CGNs, {variant}, published", steps / rate, "s needed", "not run: no time left")
            continue
        spent = b.seconds(lambda: sides.run(together, seeds, variant, digits, b.textures(), probe, steps - probe))  # noqa
        kept = {f"published/{s}/{n}": v.half() if v.is_floating_point() else v
                for s, (pair, _) in zip(seeds, together.trainings, strict=True)
                for n, v in sides.weights(pair).items()}  # fmt: skip
        shipped.safetensors.torch.save_file(kept, b.out / f"cgns_{variant}.safetensors")
        b.row(f"CGNs, {variant}, published, {steps} steps, seeds {seeds[0]} to {seeds[-1]}", spent, "s")


PARTS: dict[str, Callable[[Bench], None]] = {
    "machine": machine, "mnist": mnist, "same": same, "graph": graph, "natural": natural_images, "resume": resume,
    "large": large, "compiled": compiled, "cgns": cgns,
}  # fmt: skip


def main(part: str, device: str, seconds: str, out: str) -> None:
    torch.set_num_threads(min(8, torch.get_num_threads()))
    bench = Bench(part, device, float(seconds), Path(out))
    carry.replace_networks()
    with bench.tried("whole part"):
        PARTS[part](bench)


if __name__ == "__main__":
    main(*sys.argv[1:])
