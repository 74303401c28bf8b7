"""The command line: exit codes, one line per error, and no heavy import before the parameters are known to be good."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import damage
import pytest

import reprolib
from reprolib import __main__ as cli
from reprolib import params
from reprolib.report import build
from reprolib.report.results import build_folder
from reprolib.run import assets
from reprolib.run.files import PLACES, ROOT
from reprolib.run.store import Result, Store

PROBE = """
import sys, time
from reprolib.__main__ import main
code = main()
assert not {"torch", "pandas", "matplotlib", "papermill"} & set(sys.modules), sorted(sys.modules)
assert time.process_time() < 2, time.process_time()
sys.exit(code)
"""
"""Run the command line; fail if anything heavy was imported or if it took two seconds of CPU."""


def _run(*arguments: str, probe: bool = False, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own; a variable that is "" is removed."""
    environment = {name: value for name, value in (os.environ | variables).items() if value}
    start = ["-c", PROBE] if probe else ["-m", "reprolib"]
    root = Path(reprolib.__file__).parent.parent
    return subprocess.run(
        [sys.executable, *start, *arguments], capture_output=True, text=True, cwd=root, env=environment, timeout=60
    )


def test_a_good_profile_is_checked_without_heavy_imports() -> None:
    done = _run("check", "smoke", probe=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "smoke: parameters are valid and every needed file is at hand\n"


def test_the_module_runs_as_a_command() -> None:
    assert _run("check", "smoke").returncode == 0
    assert _run("--version").stdout.strip() == reprolib.__version__


@pytest.mark.parametrize("command", ["check", "report"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("profile: [smoke\nseeds: 3\n", "is not valid YAML"),
        ("profile: smoke\nseedz: 3\n", "'seedz' is no parameter; did you mean 'seeds'?"),
        ("- 1\n", "must hold a mapping"),
    ],
    ids=["syntax", "typo", "list"],
)
def test_a_broken_profile_is_refused_at_once_in_one_line(command: str, content: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(content)
    done = _run(command, str(file), probe=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("reprolib: ")
    assert said in done.stderr and "mine.yaml" in done.stderr


@pytest.mark.parametrize("command", ["check", "report", "weights"])
def test_all_that_is_missing_is_named_with_what_mends_it(command: str, tmp_path: Path) -> None:
    done = _run(command, "cpu", REPROLIB_ASSETS="", REPROLIB_CACHE=str(tmp_path), REPROLIB_BUILD=str(tmp_path / "b"))
    assert done.returncode == 2 and done.stderr.count("\n") == 3
    for group in ("mnist", "textures", "authors_cgn"):
        assert f"`python -m reprolib fetch {group}`" in done.stderr
    assert not (tmp_path / "b").exists()


def _main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["reprolib", *arguments])
    return cli.main()


def test_an_unknown_profile_gets_a_suggestion(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main(monkeypatch, "check", "smoek") == 2
    assert "did you mean 'smoke'?" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["render", "promote"])
def test_results_that_are_not_there_cannot_be_shown(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("REPROLIB_BUILD", str(tmp_path))
    monkeypatch.setattr(build, "ROOT", tmp_path / "root")  # whatever happens, not this repository's results
    assert _main(monkeypatch, command, str(tmp_path) if command == "render" else "smoke") == 2
    said = capsys.readouterr().err
    assert said.startswith("reprolib: claim1 is not finished") and said.count("\n") == 1


def test_help_lists_every_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(monkeypatch, "--help") == 0
    said = capsys.readouterr().out.partition("Commands:")[2]
    listed = {line.split()[0] for line in said.splitlines() if line.startswith("  ")}
    assert listed >= {"check", "fetch", "report", "render", "promote", "weights", "scenes", "counterfactuals"}


@pytest.mark.parametrize("arguments", [(), ("nothing",), ("fetch",), ("check", "smoke", "cpu")])
def test_wrong_usage_is_refused(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main(monkeypatch, *arguments) == 2
    assert "Usage: reprolib" in capsys.readouterr().err


def test_an_unknown_group_of_files_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main(monkeypatch, "fetch", "mnits") == 2
    assert "mnist" in capsys.readouterr().err


def test_fetched_files_are_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(assets, "fetch", lambda group: [Path(group) / "one", Path(group) / "two"])
    assert _main(monkeypatch, "fetch", "mnist", "vgg16") == 0
    assert capsys.readouterr().out.split() == ["mnist/one", "mnist/two", "vgg16/one", "vgg16/two"]


def test_stopping_says_that_the_same_command_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(params, "check", stop)
    assert _main(monkeypatch, "check", "smoke") == 130
    assert capsys.readouterr().err == "reprolib: stopped; what was finished is kept, the same command goes on\n"


def test_what_the_disk_refuses_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(_: object) -> None:
        raise PermissionError(13, "Permission denied", "somewhere/file")

    monkeypatch.setattr(params, "check", refused)
    assert _main(monkeypatch, "check", "smoke") == 2
    said = capsys.readouterr().err
    assert said.startswith("reprolib: somewhere/file: Permission denied; free some space") and said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("--count", "0"), "Invalid value for '--count': 0"), (("--split", "../train"), "--split is '../train'"),
     (("--split", ".."), "--split is '..'; it names"), (("--split", "."), "--split is '.'"),
     (("--split", ""), "--split is ''"), (("--split", "/train"), "--split is '/train'"),
     (("--shape", "1", "--texture", "9"), "there is no class 9 for texture; classes go from 0 to 8")],
)  # fmt: skip
def test_a_set_that_cannot_be_is_refused(
    arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setenv("REPROLIB_BUILD", str(tmp_path / "build"))
    assert _main(monkeypatch, "counterfactuals", "smoke", "scenes", str(tmp_path / "out"), *arguments) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("named", ["out", "./a/../out", "~/out"])
def test_folders_of_the_environment_are_settled_at_the_door(
    named: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A kernel and a worker have another current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in PLACES:
        monkeypatch.setenv(name, named)
    assert _main(monkeypatch, "check", "smoke") == 0
    assert {Path(os.environ[name]).is_absolute() for name in PLACES} == {True}
    monkeypatch.chdir("/")
    assert build_folder().resolve() == assets.cache_folder().resolve() == tmp_path / "out"


@pytest.mark.parametrize("argument", ["~/mine.yaml", "mine.yaml", "{home}/mine.yaml"])
def test_a_profile_is_found_wherever_it_is_named(
    argument: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.yaml").write_text("profile: smoke\n")
    assert _main(monkeypatch, "check", argument.format(home=tmp_path)) == 0


@pytest.mark.parametrize("argument", ["~/run", "run", "{home}/run"])
def test_a_run_is_found_where_it_is_named(
    argument: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _main(monkeypatch, "render", argument.format(home=tmp_path)) == 2
    assert f"{tmp_path}/run/results/claim1.json does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [("check", "smoke"), ("render", "~nobody-here/run"), ("check", "~nobody-here/a")])
def test_a_home_that_is_none_is_named(
    arguments: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REPROLIB_CACHE", "~nobody-here/cache" if arguments[1] == "smoke" else "/tmp")
    assert _main(monkeypatch, *arguments) == 2
    said = capsys.readouterr().err
    assert "no such home folder; write the whole path" in said and "nobody-here" in said and said.count("\n") == 1


def test_the_command_of_another_checkout_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "reprolib" / "run").mkdir(parents=True)
    (tmp_path / "reprolib" / "run" / "files.py").touch()
    monkeypatch.chdir(tmp_path)
    assert _main(monkeypatch, "check", "smoke") == 2
    assert f"the current folder belongs to {tmp_path}, but this is the code of {ROOT}" in capsys.readouterr().err


def test_a_backend_of_matplotlib_that_is_none_stops_no_command(tmp_path: Path) -> None:
    done = _run("render", str(tmp_path), MPLBACKEND="nonsense")
    assert done.returncode == 2 and done.stderr.startswith("reprolib: claim1 is not finished")


@pytest.mark.parametrize("command", ["keep", "adopt"])
@pytest.mark.parametrize("harm", [None, damage.flip])
def test_a_command_that_copies_nothing_fails(
    command: str, harm: Callable[[Path], None] | None, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], tmp_path: Path,
) -> None:  # fmt: skip
    """Because there is nothing, or because all was damaged, as by a clone that changed the ends of lines."""
    monkeypatch.setenv("REPROLIB_BUILD", str(tmp_path / "build"))
    monkeypatch.setattr(build, "RUNS", tmp_path / "runs")
    source = Store(tmp_path / "runs" / "smoke" if command == "adopt" else tmp_path / "build" / "smoke" / "store")
    if harm:
        source.get("classifier", {"seed": 1}, lambda _: Result({"accuracy": 9.0}))
        harm(source.file("classifier", {"seed": 1}))
    assert _main(monkeypatch, command, "smoke") == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"reprolib: there are no whole results in {source.root} to copy; ")
    source.get("classifier", {"seed": 2}, lambda _: Result({"accuracy": 9.0}))
    assert _main(monkeypatch, command, "smoke") == 0
    assert capsys.readouterr().out == "1 results copied\n"
