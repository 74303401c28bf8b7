"""The command line: ``python -m reprolib --help``."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from reprolib import __version__, assets, params
from reprolib.errors import ReproError
from reprolib.files import refused


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="reprolib", description="Reproduce Counterfactual Generative Networks: from digits to a report."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    profile: dict[str, Any] = {
        "metavar": "PROFILE",
        "help": "smoke, cpu, gpu, or a YAML file whose `profile` names one of them",
    }
    check = commands.add_parser("check", help="check a profile and the files it needs, in a second")
    check.add_argument("profile", **profile)
    fetch = commands.add_parser("fetch", help="download files that are not in this repository, verified")
    fetch.add_argument("groups", nargs="+", metavar="GROUP", help=f"one of {', '.join(assets.GROUPS)}")
    report = commands.add_parser("report", help="execute the notebooks of a profile and write its report; resumes")
    report.add_argument("profile", **profile)
    render = commands.add_parser("render", help="write report.md and report.html from stored results, in seconds")
    render.add_argument("folder", type=Path, help="holds results/ and figures/, such as . or build/smoke")
    fingerprint = commands.add_parser(
        "fingerprint", help="print the hash of every table, figure, weight and text of a run, to compare two runs"
    )
    fingerprint.add_argument("folder", type=Path, help="holds results/ and figures/, such as . or build/smoke")
    promote = commands.add_parser("promote", help="make a finished run the committed report of this repository")
    promote.add_argument("profile", **profile)
    keep = commands.add_parser("keep", help="copy the numbers of all finished jobs to runs/, a few kilobytes each")
    keep.add_argument("profile", **profile)
    adopt = commands.add_parser("adopt", help="let the next report build on the numbers in runs/")
    adopt.add_argument("profile", **profile)
    ship = commands.add_parser("ship", help="train a CGN per data set by the stable recipe; reprolib/weights ships it")
    ship.add_argument("profile", **profile)
    parts = commands.add_parser("parts", help="train the pretrained networks of Scenes and ship them; an hour")
    parts.add_argument("names", nargs="*", metavar="PART", help="such as generator, saliency, cgn; default all")
    recipe = commands.add_parser(
        "recipe", help="train the CGNs of a profile by each recipe, then without each ingredient; results/recipe*.csv"
    )
    recipe.add_argument("profile", **profile)
    sets = commands.add_parser(
        "counterfactuals", help="write a set of counterfactual images with their labels; under torchrun all share it"
    )
    sets.add_argument("profile", **profile)
    sets.add_argument("world", choices=["scenes", "imagenet"])
    sets.add_argument("folder", type=Path, help="the set is written to FOLDER/SPLIT: ims/ and labels.csv")
    sets.add_argument("--count", type=int, default=100, help="images (default 100)")
    sets.add_argument("--split", default="train", help="name of the set, such as train or val (default train)")
    sets.add_argument("--seed", type=int, default=0, help="of latents and classes (default 0)")
    sets.add_argument(
        "--mode",
        choices=["random", "random_same", "best_classes", "fixed_classes"],
        default="random",
        help="three random classes; one for all; from lists; or the given ones (default random)",
    )
    for factor in ("shape", "texture", "background"):
        text = "class ids for best_classes (default those that this CGN does well), or one for fixed_classes"
        sets.add_argument(f"--{factor}", type=int, nargs="+", default=[], metavar="ID", help=text)
    sets.add_argument("--legacy", action="store_true", help="stretch every image and save JPEG 75, as published")
    train = commands.add_parser(
        "train", help="make the CGNs and classifiers of a world; under torchrun all processes share each training"
    )
    train.add_argument("profile", **profile)
    train.add_argument("world", choices=["scenes", "imagenet"])
    return parser


# ---------------------------------------------------------------- the commands; each imports what only it needs


def _check(arguments: argparse.Namespace) -> None:
    params.check(arguments.profile)
    print(f"{arguments.profile}: parameters are valid and every needed file is at hand")


def _fetch(arguments: argparse.Namespace) -> None:
    for name in arguments.groups:
        for file in assets.fetch(name):
            print(file)


def _report(arguments: argparse.Namespace) -> None:
    chosen = params.check(arguments.profile)  # before the heavy import
    from reprolib import report

    print(report.make(chosen))


def _render(arguments: argparse.Namespace) -> None:
    from reprolib import report

    print(report.render(arguments.folder))


def _fingerprint(arguments: argparse.Namespace) -> None:
    from reprolib import fingerprint

    parts = fingerprint.of_folder(arguments.folder)
    for name, sha256 in (parts | {"total": fingerprint.total(parts)}).items():
        print(f"{sha256}  {name}")


def _copy(arguments: argparse.Namespace) -> None:
    chosen = params.check(arguments.profile)
    from reprolib import report

    done = {"promote": report.promote, "keep": report.keep, "adopt": report.adopt}[arguments.command](chosen)
    print(done if isinstance(done, Path) else f"{done} results copied")


def _train(arguments: argparse.Namespace) -> None:
    chosen = params.check(arguments.profile)
    from reprolib import parallel, worlds
    from reprolib.results import store_folder

    with parallel.processes(chosen.device):
        worlds.train_together(chosen, arguments.world, parallel.SharedStore(store_folder(chosen)))
        if parallel.rank() == 0:
            print(f"every CGN and classifier of {arguments.world} is in {store_folder(chosen)}")


def _ship(arguments: argparse.Namespace) -> None:
    chosen = params.check(arguments.profile)
    from reprolib import ship
    from reprolib.mnist import tables
    from reprolib.mnist.study import Study
    from reprolib.results import store_folder
    from reprolib.store import Store

    study = Study(chosen, Store(store_folder(chosen)))
    if chosen.digits.source == "mnist" and chosen.digits.limit is None:
        print("\n".join([ship.ship_reader(study), *ship.ship_factor_readers(study)]))
    tables.prepare_cgns(study)
    print("\n".join(ship.ship(study)))


def _recipe(arguments: argparse.Namespace) -> None:
    chosen = params.check(arguments.profile)
    from reprolib import figures
    from reprolib.files import write_atomically
    from reprolib.mnist import recipe
    from reprolib.mnist.study import Study
    from reprolib.results import ROOT, store_folder
    from reprolib.store import Store

    study = Study(chosen, Store(store_folder(chosen)))
    for name, table in {"recipe": recipe.runs, "recipe_ablation": recipe.ablation}.items():
        file = ROOT / "results" / f"{name}.csv"
        write_atomically(file, figures.to_bytes(table(study)))
        print(file)


def _counterfactuals(arguments: argparse.Namespace) -> None:
    chosen = params.check(arguments.profile)
    from reprolib import parallel, worlds
    from reprolib.imagenet.study import NaturalStudy
    from reprolib.results import store_folder

    if arguments.count < 1:
        raise ReproError(f"--count is {arguments.count}; ask for at least one image")
    if Path(arguments.split).name != arguments.split:
        raise ReproError(f"--split is {arguments.split!r}; it names one folder, such as train")
    with parallel.processes(chosen.device):
        store = parallel.SharedStore(store_folder(chosen))
        study = NaturalStudy(chosen, worlds.world_of(arguments.world, chosen), store)
        classes = [arguments.shape, arguments.texture, arguments.background]
        file = worlds.write_counterfactuals(
            study, arguments.folder, arguments.split, arguments.count, arguments.mode, classes, arguments.seed,
            arguments.legacy,
        )  # fmt: skip
        if parallel.rank() == 0:
            print(file)


def _parts(arguments: argparse.Namespace) -> None:
    from reprolib import worlds
    from reprolib.results import build_folder
    from reprolib.scenes import parts
    from reprolib.store import Store

    store, known = Store(build_folder() / "scenes" / "store"), [*parts.PARTS, "cgn"]
    if unknown := set(arguments.names) - set(known):
        raise ReproError(f"there is no part {', '.join(sorted(unknown))}; the parts are {', '.join(known)}")
    for name in arguments.names or known:
        made = worlds.ship_cgn(store) if name == "cgn" else parts.make(name, store)
        print(f"{name}: {', '.join(f'{key} {value:.3g}' for key, value in made.items() if isinstance(value, float))}")


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "check": _check, "fetch": _fetch, "report": _report, "render": _render, "fingerprint": _fingerprint,
    "promote": _copy, "keep": _copy, "adopt": _copy, "ship": _ship, "parts": _parts,
    "counterfactuals": _counterfactuals, "train": _train, "recipe": _recipe,
}  # fmt: skip


def _terminated(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends a command as Ctrl-C does: kernels and workers are stopped too."""
    raise KeyboardInterrupt("terminated")


def main() -> int:
    """Run a command; 0 if it worked, 2 for an error that a user can repair, 130 when stopped."""
    arguments = _parser().parse_args()
    signal.signal(signal.SIGTERM, _terminated)
    try:
        COMMANDS[arguments.command](arguments)
    except ReproError as error:
        print(f"reprolib: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if not refused(error):
            raise
        named = f"{error.filename}: " if error.filename else ""
        print(f"reprolib: {named}{error.strerror or error}; free some space, or choose a place that you may read and "
              "write; what was finished is kept, the same command goes on", file=sys.stderr)  # fmt: skip
        return 2
    except KeyboardInterrupt as error:
        why = str(error) or "stopped"
        print(f"reprolib: {why}; what was finished is kept, the same command goes on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
