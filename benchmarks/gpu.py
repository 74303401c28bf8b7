"""``python -m benchmarks gpu``: does everything run on this machine's GPU, with the same numbers, and how fast?

Needs PyTorch, and beside it what ``carry`` brings. Every part runs in a process of its own, which has a limit, and
writes its rows as it goes; what fails or finds no time becomes a row that says so.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import carry

ROOT = Path(__file__).parent.parent
PARTS = {
    "machine": 40, "mnist": 100, "same": 70, "graph": 60, "natural": 60, "resume": 50, "large": 70, "compiled": 90,
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
    parser.add_argument("--take", action="store_true", help="put what --out holds into results/bench and the README")
    arguments = parser.parse_args(given)
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    if not arguments.take:
        device = arguments.device or ("cuda" if Path("/dev/nvidiactl").exists() else "cpu")
        check(arguments.parts or list(PARTS), device, 60 * arguments.minutes, arguments.out)
    if arguments.take or device == "cuda":
        take(arguments.out)
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
        return f"failed: ended with {code}: {_last_line(log)}" if code else "ok"
    except subprocess.TimeoutExpired:
        return "failed: stopped at its limit"
    finally:
        _end(process)


def _last_line(file: Path) -> str:
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[-1] if lines else ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a part and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _row(part: str, outcome: str, what: str = "whole part", value: str = "", unit: str = "") -> Row:
    return dict(zip(COLUMNS, (part, what, value, unit, outcome), strict=True))


def append(out: Path, row: Row) -> None:
    """Add a row to ``out/gpu.csv``, at once, so that a part that is killed loses none."""
    new = not (out / "gpu.csv").exists()
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    if new:
        writer.writeheader()
    writer.writerow(row)
    with (out / "gpu.csv").open("a", encoding="utf-8") as file:
        file.write(stream.getvalue())


def read(out: Path) -> list[Row]:
    """The rows of ``out/gpu.csv``."""
    if not (out / "gpu.csv").exists():
        return []
    with (out / "gpu.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def take(out: Path) -> None:
    """Put what a check has found into ``results/bench`` and the README."""
    try:
        import pandas as pd

        from benchmarks import tables
    except ImportError as error:
        print(f"{error}; copy {out} to where reprolib is installed and run `python -m benchmarks gpu --take`")
        return
    rows, made = read(out), json.loads((out / "made.json").read_text(encoding="utf-8"))
    tables.write("gpu", pd.DataFrame([*rows, *estimates(rows)], columns=list(COLUMNS)), made)


def estimates(rows: list[Row]) -> list[Row]:
    """Hours of the gpu profile by the measured rates, one training at a time; left out where a rate is missing."""
    from types import SimpleNamespace

    from reprolib import params
    from reprolib.mnist import tables
    from reprolib.mnist.train import published_steps
    from reprolib.natural import tables as natural
    from reprolib.vocabulary import VARIANTS

    chosen: Any = params.load("gpu")
    study: Any = SimpleNamespace(params=chosen, chosen=chosen.imagenet, world=SimpleNamespace(name="imagenet"))
    counts = [60_000 if VARIANTS[v].held_out == "test_file" else 50_000 for v in chosen.variants]
    cgn, steps = chosen.cgn, sum(published_steps(count, chosen.cgn.batch) for count in counts)
    sets = [(count if each.original else 0) + each.size for count in counts for each in tables.training_sets(study)]
    cgns = sum(each.source == "trained" for each in natural.cgns(study))
    micro = chosen.imagenet.updates * chosen.imagenet.accumulation * chosen.imagenet.micro_batch
    work = {
        "CGNs of MNIST, published": (16 * steps * cgn.seeds_of("published"), "CGN, published, VGG16"),
        "CGNs of MNIST, stable": (20 * cgn.stable_steps * len(counts) * cgn.seeds_of("stable"), "CGN, stable, VGG16"),
        "DCGANs": (16 * steps * chosen.seeds, "DCGAN"),
        "classifiers of MNIST": (
            sum(sets) * chosen.seeds * chosen.classifier.epochs,
            "classifiers, 1 together",
        ),
        "CGNs of ImageNet": (cgns * micro, "CGN, biggan-deep-256"),
        "counterfactuals of ImageNet": (chosen.imagenet.counterfactuals, "counterfactuals, biggan-deep-256"),
    }
    rates = {row["what"]: float(row["value"]) for row in rows if row["unit"] == "images/s"}
    known = {what: count / rates[rate] / 3600 for what, (count, rate) in work.items() if rate in rates}
    return [_row("estimate", "ok", f"{what}, gpu profile", f"{hours:.2g}", "h") for what, hours in known.items()]
