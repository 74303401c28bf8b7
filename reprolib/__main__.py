"""The command line: ``python -m reprolib --help``."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import click

from reprolib import __version__, params
from reprolib.run import assets
from reprolib.run.errors import ReproError
from reprolib.run.files import place, refused, require_this_checkout, settle_places
from reprolib.schema import Params

FINISHED = "what was finished is kept, the same command goes on"


class Commands(click.Group):
    """A group of commands whose errors are one sentence each."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; exit code 2 for an error that a user can repair, 130 when stopped."""
        try:
            return super().invoke(ctx)
        except ReproError as error:
            said, code = str(error), 2
        except OSError as error:
            if not refused(error):
                raise
            named = f"{error.filename}: " if error.filename else ""
            repair = "free some space, or choose a place that you may read and write"
            said, code = f"{named}{error.strerror or error}; {repair}; {FINISHED}", 2
        except KeyboardInterrupt as error:
            said, code = f"{str(error) or 'stopped'}; {FINISHED}", 130
        print(f"reprolib: {said}", file=sys.stderr)
        ctx.exit(code)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, message="%(version)s")
def commands() -> None:
    """Reproduce Counterfactual Generative Networks: from digits to a report.

    PROFILE is smoke, cpu, gpu, or a YAML file whose `profile` names one of them.
    """
    require_this_checkout()
    settle_places(relative=True)
    os.environ["MPLBACKEND"] = "agg"  # a command opens no window, and matplotlib refuses the name of another


profile = click.argument("profile")
world = click.argument("world", type=click.Choice(["scenes", "imagenet"]))
run_folder = click.argument("folder", callback=lambda context, parameter, named: place(named))

# ---------------------------------------------------------------- each command imports what only it needs


@commands.command()
@profile
def check(profile: str) -> None:
    """Check a profile and the files it needs, in seconds."""
    params.check(profile)
    print(f"{profile}: parameters are valid and every needed file is at hand")


@commands.command()
@click.argument("groups", nargs=-1, required=True, metavar="GROUP...")
def fetch(groups: tuple[str, ...]) -> None:
    for name in groups:
        for file in assets.fetch(name):
            print(file)


fetch.help = f"Download files that are not in this repository, verified. GROUP is one of {', '.join(assets.GROUPS)}."


@commands.command()
@profile
def report(profile: str) -> None:
    """Execute the notebooks of a profile and write its report; resumes."""
    chosen = params.check(profile)  # before the heavy import
    from reprolib.report import build

    print(build.make(chosen))


@commands.command()
@run_folder
def render(folder: Path) -> None:
    """Write report.md and report.html from stored results, in seconds.

    FOLDER holds results/ and figures/, such as . or build/smoke.
    """
    from reprolib.report import build

    print(build.render(folder))


@commands.command()
@run_folder
def fingerprint(folder: Path) -> None:
    """Print the hash of every table, figure, weight and text of a run, to compare two runs.

    FOLDER holds results/ and figures/, such as . or build/smoke.
    """
    from reprolib.report import fingerprint

    hashes = fingerprint.of_folder(folder)
    for name, sha256 in (hashes | {"total": fingerprint.total(hashes)}).items():
        print(f"{sha256}  {name}")


@commands.command()
@profile
def promote(profile: str) -> None:
    """Make a finished run the committed report of this repository."""
    chosen = params.check(profile)
    from reprolib.report import build

    print(build.promote(chosen))


@commands.command()
@profile
def keep(profile: str) -> None:
    """Copy the numbers of all finished jobs to runs/, a few kilobytes each."""
    chosen = params.check(profile)
    from reprolib.report import build

    _told(build.keep(chosen), chosen, f"`python -m reprolib report {profile}` makes them")


@commands.command()
@profile
def adopt(profile: str) -> None:
    """Let the next report build on the numbers in runs/."""
    chosen = params.check(profile)
    from reprolib.report import build

    _told(build.adopt(chosen), chosen, "restore what runs/ had, for example with `git checkout -- runs`")


def _told(copied: int, chosen: params.Params, repair: str) -> None:
    if not copied:
        raise ReproError(f"there are no whole results of {chosen.profile} to copy; {repair}")
    print(f"{copied} results copied")


@commands.command()
@profile
@world
def train(profile: str, world: str) -> None:
    """Make the CGNs and classifiers of a world; under torchrun all processes share each training."""
    chosen = params.check(profile)
    from reprolib import worlds
    from reprolib.natural.plan import WorldRun
    from reprolib.report.results import store_folder
    from reprolib.run import distributed, store

    with distributed.processes(chosen.device):
        store.use(distributed.SharedStore(store_folder(chosen)), chosen.threads)
        worlds.train_together(WorldRun(chosen, worlds.world_of(world, chosen)))
        if distributed.rank() == 0:
            print(f"every CGN and classifier of {world} is in {store_folder(chosen)}")


def _class_ids(factor: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    text = "a class to draw from; may be given several times (default all classes)"
    return click.option(f"--{factor}", type=int, multiple=True, metavar="ID", help=text)


@commands.command()
@profile
@world
@run_folder
@click.option("--count", default=100, show_default=True, help="images")
@click.option("--split", default="train", show_default=True, help="name of the set, such as train or val")
@click.option("--seed", default=0, show_default=True, help="of latents and classes")
@click.option("--same", is_flag=True, help="texture and background have the class of the shape")
@_class_ids("shape")
@_class_ids("texture")
@_class_ids("background")
def counterfactuals(
    profile: str, world: str, folder: Path, count: int, split: str, seed: int, same: bool, **classes: tuple[int, ...]
) -> None:
    """Write a set of counterfactual images with their labels; under torchrun all share it.

    The set is written to FOLDER/SPLIT: ims/ and labels.csv.
    """
    chosen = params.check(profile)
    from reprolib import worlds
    from reprolib.natural.datasets import Sampling
    from reprolib.natural.plan import WorldRun
    from reprolib.report.results import store_folder
    from reprolib.run import distributed, store

    if count < 1:
        raise ReproError(f"--count is {count}; ask for at least one image")
    if split in ("", "..") or Path(split).name != split:
        raise ReproError(f"--split is {split!r}; it names one folder, such as train")
    with distributed.processes(chosen.device):
        store.use(distributed.SharedStore(store_folder(chosen)), chosen.threads)
        run = WorldRun(chosen, worlds.world_of(world, chosen))
        drawn_from = classes["shape"], classes["texture"], classes["background"]
        sampling = Sampling(run.chosen.truncation, seed, drawn_from, same)
        file = worlds.write_counterfactuals(run, folder, split, count, sampling)
        if distributed.rank() == 0:
            print(file)


@commands.command()
@profile
def recipe(profile: str) -> None:
    """Train the CGNs of a profile by each recipe, then without each ingredient; results/recipe*.csv."""
    chosen = _in_use(profile)
    from reprolib import figures
    from reprolib.mnist import recipe
    from reprolib.run.files import ROOT, write_atomically

    for name, table in {"recipe": recipe.runs, "recipe_ablation": recipe.ablation}.items():
        file = ROOT / "results" / f"{name}.csv"
        write_atomically(file, figures.to_bytes(table(chosen)))
        print(file)


@commands.command()
@profile
def weights(profile: str) -> None:
    """Train the CGNs that come with reprolib: of every data set the first run of the stable recipe."""
    chosen = _in_use(profile)
    from reprolib.mnist import plan, recipe

    if chosen.digits.source == "mnist" and chosen.digits.limit is None:
        print("\n".join([recipe.keep_reader(chosen), *recipe.keep_factor_readers(chosen)]))
    plan.train_cgns(chosen)
    print("\n".join(recipe.keep_cgns(chosen)))


def _in_use(profile: str) -> Params:
    """The parameters of a profile, with its store in use."""
    chosen = params.check(profile)
    from reprolib.report.results import store_folder
    from reprolib.run import store

    store.use(store.Store(store_folder(chosen)), chosen.threads)
    return chosen


@commands.command()
@click.argument("names", nargs=-1, metavar="[NETWORK]...")
def scenes(names: tuple[str, ...]) -> None:
    """Train the networks of Scenes that come with reprolib, such as generator, saliency, cgn; all take an hour."""
    from reprolib import worlds
    from reprolib.report.results import build_folder
    from reprolib.run import store
    from reprolib.worlds import networks

    made_in, known = store.use(store.Store(build_folder() / "scenes" / "store")), [*networks.NETWORKS, "cgn"]
    if unknown := set(names) - set(known):
        raise ReproError(f"there is no network {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    for name in names or known:
        made = worlds.keep_cgn() if name == "cgn" else networks.make(name, made_in)
        print(f"{name}: {', '.join(f'{key} {value:.3g}' for key, value in made.items() if isinstance(value, float))}")


def _terminated(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends a command as Ctrl-C does: kernels and workers are stopped too."""
    raise KeyboardInterrupt("terminated")


def main() -> int:
    """Run a command; its exit code is 2 for an error that a user can repair, 130 when stopped."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        return commands.main(prog_name="reprolib", standalone_mode=False) or 0
    except click.UsageError as error:
        error.show()
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
