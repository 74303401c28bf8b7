"""The command line: ``python -m reprolib --help``."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reprolib import __version__, params
from reprolib.run import ReproError, assets
from reprolib.run.files import place, refused, require_this_checkout, settle_places
from reprolib.schema import Params

if TYPE_CHECKING:
    from reprolib.natural.plan import WorldRun

FINISHED = "what was finished is kept, the same command goes on"


class Commands(click.Group):
    """A group of commands whose errors are one sentence each."""

    def invoke(self, ctx: click.Context) -> Any:
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


checked = click.argument("chosen", metavar="PROFILE", callback=lambda context, argument, named: params.check(named))
world = click.argument("world", type=click.Choice(["scenes", "imagenet"]))
run_folder = click.argument("folder", callback=lambda context, argument, named: place(named))

# ---------------------------------------------------------------- each command imports what only it needs


@commands.command()
@click.argument("profile")
def check(profile: str) -> None:
    """Check a profile and the files it needs, in seconds."""
    params.check(profile)
    print(f"{profile}: parameters are valid and every needed file is at hand")


@commands.command(help=f"Download files that are not in this repository, verified; one of {', '.join(assets.GROUPS)}.")
@click.argument("groups", nargs=-1, required=True, metavar="GROUP...")
def fetch(groups: tuple[str, ...]) -> None:
    for name in groups:
        for file in assets.fetch(name):
            print(file)


@commands.command()
@checked
def report(chosen: Params) -> None:
    """Execute the notebooks of a profile and write its report; resumes."""
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
    from reprolib.report import build

    for name, sha256 in build.fingerprint(folder).items():
        print(f"{sha256}  {name}")


@commands.command()
@checked
def promote(chosen: Params) -> None:
    """Make a finished run the committed report of this repository."""
    from reprolib.report import build

    print(build.promote(chosen))


@commands.command()
@checked
def keep(chosen: Params) -> None:
    """Copy what is kept of all finished jobs to runs/: numbers, and of each CGN a megabyte of weights."""
    from reprolib.report import build

    print(f"{build.keep(chosen)} results copied")


@commands.command()
@checked
def adopt(chosen: Params) -> None:
    """Let the next report build on the numbers in runs/."""
    from reprolib.report import build

    print(f"{build.adopt(chosen)} results copied")


@contextmanager
def _of_world(name: str, chosen: Params) -> Iterator[WorldRun]:
    """A world of a run, with its store in use; all processes of torchrun share it."""
    from reprolib import worlds
    from reprolib.natural.plan import WorldRun
    from reprolib.report import results
    from reprolib.run import distributed

    with distributed.processes(chosen.device):
        results.use_store(chosen, distributed.SharedStore)
        yield WorldRun(chosen, worlds.world_of(name, chosen))


def _print_once(text: object) -> None:
    """The first of all processes prints."""
    from reprolib.run import distributed

    if distributed.rank() == 0:
        print(text)


@commands.command()
@checked
@world
def train(chosen: Params, world: str) -> None:
    """Make the CGNs and classifiers of a world; under torchrun all processes share each training."""
    from reprolib import worlds
    from reprolib.run import store

    with _of_world(world, chosen) as run:
        worlds.train_together(run)
        _print_once(f"every CGN and classifier of {world} is in {store.current().root}")


class_ids = partial(
    click.option, type=int, multiple=True, metavar="ID",
    help="a class to draw from; may be given several times (default all classes)",
)  # fmt: skip


@commands.command()
@checked
@world
@run_folder
@click.option("--count", type=click.IntRange(min=1), default=100, show_default=True, help="images")
@click.option("--split", default="train", show_default=True, help="name of the set, such as train or val")
@click.option("--seed", default=0, show_default=True, help="of latents and classes")
@click.option("--same", is_flag=True, help="texture and background have the class of the shape")
@class_ids("--shape")
@class_ids("--texture")
@class_ids("--background")
def counterfactuals(
    chosen: Params, world: str, folder: Path, count: int, split: str, seed: int, same: bool, **classes: tuple[int, ...]
) -> None:
    """Write a set of counterfactual images with their labels; under torchrun all share it.

    The set is written to FOLDER/SPLIT: ims/ and labels.csv.
    """
    from reprolib import worlds
    from reprolib.natural.datasets import Sampling

    if split in ("", "..") or Path(split).name != split:
        raise ReproError(f"--split is {split!r}; it names one folder, such as train")
    with _of_world(world, chosen) as run:
        drawn_from = classes["shape"], classes["texture"], classes["background"]
        sampling = Sampling(run.chosen.truncation, seed, drawn_from, same)
        _print_once(worlds.write_counterfactuals(run, folder, split, count, sampling))


@commands.command()
@checked
def recipe(chosen: Params) -> None:
    """Train the CGNs of a profile by each recipe, then without each ingredient; results/recipe*.csv."""
    from reprolib.mnist import recipe
    from reprolib.report import results

    results.use_store(chosen)
    for file in recipe.write(chosen):
        print(file)


@commands.command()
@checked
def weights(chosen: Params) -> None:
    """Train the CGNs that come with reprolib: of every data set the first run of the stable recipe."""
    from reprolib.mnist import plan, recipe
    from reprolib.report import results

    results.use_store(chosen)
    if chosen.digits.source == "mnist" and chosen.digits.limit is None:
        print("\n".join([recipe.keep_reader(chosen), *recipe.keep_factor_readers(chosen)]))
    plan.train_cgns(chosen)
    print("\n".join(recipe.keep_cgns(chosen)))


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


def main() -> int:
    """Run a command; its exit code is 2 for an error that a user can repair, 130 when stopped."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: kernels and workers are stopped too
    try:
        return commands.main(prog_name="reprolib", standalone_mode=False) or 0
    except click.UsageError as error:
        error.show()
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
