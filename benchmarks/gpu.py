"""``python -m benchmarks gpu``: does everything run on this machine's GPU, with the same numbers, and how fast?

Needs PyTorch, torchvision, SciPy, pandas, joblib and seaborn, and beside them what ``carry`` brings. Every part runs in
a process of its own, which has a limit, and writes its rows as it goes; what fails or finds no time becomes a row that
says so.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import carry

ROOT = Path(__file__).parent.parent
PARTS = {
    "machine": 40, "mnist": 100, "same": 90, "graph": 60, "natural": 60, "resume": 60, "large": 80, "compiled": 90,
    "cgns": 600,
}  # fmt: skip
"""The most seconds that each part may take; in the order in which they run."""
COLUMNS = ("part", "what", "value", "unit", "outcome")
SPARE = 8
"""Seconds that are kept for writing what was found."""
LEAST = 5
"""With less time than this a part is not begun."""
Row = dict[str, str]


def main(given: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default all")
    parser.add_argument("--minutes", type=float, default=7, help="for all parts together (default 7)")
    parser.add_argument(
        "--device", choices=("cuda", "cpu"), help="default cuda if there is one; cpu does little of all"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "gpu-check", help="folder for what is found")
    parser.add_argument(
        "--take", action="store_true", help="put what --out holds into results/bench, README and profile"
    )
    arguments = parser.parse_args(given)
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    if arguments.take:
        take(arguments.out)
        return 0
    device = arguments.device or ("cuda" if Path("/dev/nvidiactl").exists() else "cpu")
    check(arguments.parts or list(PARTS), device, 60 * arguments.minutes, arguments.out)
    print(f"`python -m benchmarks gpu --take`, where reprolib is installed, puts {arguments.out} into its results")
    return 0


def check(parts: list[str], device: str, seconds: float, out: Path) -> list[Row]:
    """Run the parts one after the other and return all rows: ``out/gpu.csv`` has them as they come, ``out/gpu.log``
    what is printed. Rows of parts that do not run now stay."""
    out.mkdir(parents=True, exist_ok=True)
    end, environment = time.monotonic() + seconds - SPARE, carry.environment() | {"PYTHONUNBUFFERED": "1"}
    kept = [row for row in read(out) if row["part"] not in parts]
    (out / "gpu.csv").unlink(missing_ok=True)
    for row in kept:
        append(out, row)
    for part in parts:
        limit = min(PARTS[part] * (1 if device == "cuda" else 10), end - time.monotonic())
        start = time.monotonic()
        ending = _run([part, device, f"{limit:.0f}", str(out)], limit, out / "gpu.log", environment)
        append(out, _row(part, ending, "whole part", f"{time.monotonic() - start:.0f}", "s"))
        print(f"{part}: {time.monotonic() - start:.0f} s, {ending}", file=sys.stderr)
    return read(out)


def _run(arguments: list[str], limit: float, log: Path, environment: dict[str, str]) -> str:
    """How a part has ended."""
    if limit < LEAST:
        return "not run: no time left"
    command = [sys.executable, "-m", "benchmarks.gpu_parts", *arguments]
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment, cwd=ROOT, start_new_session=True)
    try:
        code = process.wait(limit)
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        return f"failed: ended with {code}: {lines[-1] if lines else ''}" if code else "ok"
    except subprocess.TimeoutExpired:
        return "failed: stopped at its limit"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with all that it started
        process.wait()


def _row(part: str, outcome: str, what: str = "whole part", value: str = "", unit: str = "") -> Row:
    return dict(zip(COLUMNS, (part, what, value, unit, outcome), strict=True))


def append(out: Path, row: Row) -> None:
    """Add a row to ``out/gpu.csv``, at once, so that a part that is killed loses none."""
    with (out / "gpu.csv").open("a", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if file.tell() == 0:
            writer.writeheader()
        writer.writerow(row)


def read(out: Path) -> list[Row]:
    """The rows of ``out/gpu.csv``."""
    if not (out / "gpu.csv").exists():
        return []
    with (out / "gpu.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def take(out: Path) -> None:
    """Put what a check has found into ``results/bench``, the README and the gpu profile: its rows, the hours that they
    promise, and the CGNs, whose weights go to ``runs/gpu``."""
    import pandas as pd

    from benchmarks import tables
    from reprolib.run.files import write_atomically

    if not (out / "made.json").exists():
        raise SystemExit(f"{out} holds no check of a GPU; name the folder that `make gpu-check` wrote with --out")
    rows, made = read(out), json.loads((out / "made.json").read_text(encoding="utf-8"))
    found = estimates(rows)
    tables.write("gpu", pd.DataFrame([*rows, *found], columns=list(COLUMNS)), made)
    if cgns := [row for file in sorted(out.glob("cgns_*.safetensors")) for row in _joined(file)]:
        tables.write("gpu_cgns", pd.DataFrame(cgns), made)
    told = " and ".join(f"{row['value']} h for {row['what']}" for row in found if row["what"] in TOTALS)
    hours = f"about {told} on one {made['processor']}, estimated by `make gpu-check`"
    places = {
        "README.md": r"(?m)^(\| `make report PROFILE=gpu`.*\| ).*?( \|)$",
        "params/gpu.yaml": r"(?m)^(# Time: ).*()$",
    }
    for name, place in places.items() if told else ():
        text = (ROOT / name).read_text(encoding="utf-8")
        write_atomically(ROOT / name, re.sub(place, rf"\g<1>{hours}\g<2>", text).encode())


def _joined(file: Path) -> list[dict[str, Any]]:
    """The columns of ``results/recipe.csv`` for the CGNs in a file; their weights are kept."""
    from statistics import fmean

    import safetensors.torch

    from reprolib.mnist import classifier, quality, variants
    from reprolib.mnist.cgn import cgn_from
    from reprolib.run import weights

    tensors, variant = safetensors.torch.load_file(file), file.stem.removeprefix("cgns_")
    weights.write(ROOT / "runs" / "gpu" / file.name, tensors)
    reader = classifier.classifier_from(weights.read(weights.FOLDER / "digit_reader.safetensors"))
    real = variants.paint(variant, carry.digits()[:10_000], "bounds", attributes="label", textures=carry.textures())
    rows = []
    for seed in sorted({int(name.split("/")[0]) for name in tensors}):
        model = cgn_from(tensors, f"{seed}/")
        found = quality.mask_quality(model, reader, quality.bounds(real.masks, real.labels), 1000)
        steps = int(tensors[f"{seed}/f_text2.11.num_batches_tracked"])
        row = {"variant": variant, "recipe": "published", "seed": seed, "steps": steps}
        row |= {"good_digits": found["good_digits"], "pairwise_iou": round(fmean(found["pairwise_iou"]), 3)}
        rows.append(row | {"recognised": round(100 * fmean(found["recognised"]), 1)})
    return rows


TOTALS = ("MNIST", "ImageNet")
"""What ``estimates`` adds up, where it knows all that takes long."""


def estimates(rows: list[Row]) -> list[Row]:
    """Hours of the gpu profile by the measured rates, one job at a time, without reading images from files; left out
    where a rate is missing."""
    rates = {row["what"]: float(row["value"]) for row in rows if row["unit"] == "images/s"}
    found = []
    for title, work in zip(TOTALS, _work(), strict=True):
        known = {what: images / rates[rate] / 3600 for what, (images, rate) in work.items() if rate in rates}
        found += [_row("estimate", "ok", what, f"{hours:.2g}", "h") for what, hours in known.items()]
        if known.keys() == work.keys():
            found.append(_row("estimate", "ok", title, f"{sum(known.values()):.2g}", "h"))
    return found


def _work() -> tuple[dict[str, tuple[float, str]], dict[str, tuple[float, str]]]:
    """What takes long in the gpu profile, on MNIST and on ImageNet: how many images, and the work with their rate."""
    from reprolib import params
    from reprolib.mnist import plan
    from reprolib.mnist.train import published_steps
    from reprolib.natural import plan as natural
    from reprolib.run import assets
    from reprolib.worlds.imagenet import ImageNet

    chosen = params.load("gpu")
    counts = {name: plan.data(chosen, name).count for name in chosen.variants}
    cgn, ablation, mini = chosen.cgn, chosen.ablation, chosen.imagenet
    steps = {name: published_steps(count, cgn.batch) for name, count in counts.items()}
    published = sum(count * cgn.seeds_of("published", name) for name, count in steps.items())
    stable = sum(cgn.stable_steps * cgn.seeds_of("stable", name) for name in counts)
    cases = [(name, each) for name in counts for each in plan.training_sets(chosen, name, 0)]
    cases += [(chosen.variants[0], each) for each in plan.null_sets(chosen, chosen.variants[0], 0)]
    sets = sum(chosen.seeds_of(name) * ((counts[name] if each.original else 0) + each.size) for name, each in cases)
    batches = sum(chosen.seeds_of(name) * count for name, count in steps.items())
    points = ablation.epochs * sum(
        (counts[name] if handle["training_set"].original else 0) + handle["training_set"].size
        for name in counts
        for handle in plan.ablation(chosen, name)
    )
    mnist = {
        "CGNs of MNIST, published": (16 * published, "CGN, published, VGG16"),
        "CGNs of MNIST, stable": (20 * stable, "CGN, stable, VGG16"),
        "DCGANs": (16 * batches, "DCGAN"),
        "classifiers of MNIST": (sets * chosen.classifier.epochs, "classifiers, 1 together"),
        "ablation of MNIST": (points, "classifiers, 1 together"),
    }
    run = natural.WorldRun(chosen, ImageNet(mini))
    cgns, cases_of_world = natural.cgns(run), natural.classifiers(run)
    made = {which for kind, which, _ in cases_of_world if kind == "cgn"}
    ratios = [0.0 if kind == "real" else mini.cf_ratio for kind, *_ in cases_of_world]
    ratios += [ratio for *_, ratio in natural.search(run)]
    updates = sum(which.source == "trained" and which.changed is None for which in cgns) * mini.updates
    count = assets.FOLDERS[f"imagenet/{mini.data}"].parts["train"] or 0
    imagenet = {
        "CGNs of ImageNet": (updates * mini.accumulation * mini.micro_batch, "CGN, ImageNet"),
        "ratings of ImageNet": (len(cgns) * mini.rated * 2, "Inception Score"),
        "counterfactuals of ImageNet": (
            len(made) * (mini.counterfactuals + mini.validation),
            "counterfactuals, ImageNet",
        ),
        "ensembles of ImageNet": (count * sum(1 + ratio for ratio in ratios) * mini.epochs, "ensemble, ResNet-50"),
    }
    return mnist, imagenet
