"""The store: a result exists wholly or not at all, and is made only once."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import damage
import pytest
import torch

from reprolib.run import ReproError, StoreError, files, store
from reprolib.run.files import unsealed, write_atomically
from reprolib.run.store import Checkpoint, Result, Store, numbers_alone

RECIPE = {"variant": "colored_MNIST", "seed": 1, "size": 100, "nested": {"b": 1, "a": [1, 2]}}


class Maker:
    """Makes a result and counts how often."""

    def __init__(self, tensors: bool = True) -> None:
        self.calls = 0
        self.tensors = tensors

    def __call__(self, checkpoint: Checkpoint) -> Result:
        self.calls += 1
        tensors = {"w": torch.arange(6.0).reshape(2, 3).t(), "empty": torch.zeros(0, 3)} if self.tensors else {}
        return Result({"accuracy": 0.1 + 0.2, "curve": [1, 2.5], "none": None}, tensors)


@pytest.fixture
def results(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def endings(folder: Path) -> set[str]:
    return {file.name.split(".", 1)[1] for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("tensors", [True, False])
def test_a_result_survives_the_round_trip_and_is_made_once(results: Store, tensors: bool) -> None:
    make = Maker(tensors)
    made = results.get("train", RECIPE, make)
    found = Store(results.root).get("train", RECIPE, make)
    assert make.calls == 1
    assert found.numbers == made.numbers
    assert found.made == made.made
    assert found.tensors.keys() == made.tensors.keys()
    assert all(torch.equal(found.tensors[name], made.tensors[name]) for name in made.tensors)


def test_a_name_is_readable_and_depends_on_step_version_and_inputs(results: Store) -> None:
    name = results.file("train", RECIPE)
    assert name.name.startswith("colored_MNIST-1-")
    others = [
        results.file("train", RECIPE, version=2),
        results.file("test", RECIPE),
        results.file("train", RECIPE | {"size": 101}),
        results.file("train", RECIPE | {"size": "100"}),
        results.file("train", RECIPE | {"nested": {"b": 1, "a": [2, 1]}}),
    ]
    assert len({name, *others}) == 6
    assert results.file("train", dict(reversed(RECIPE.items()))) == name


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
@pytest.mark.parametrize("harm", damage.HARMS.values(), ids=damage.HARMS)
def test_damage_is_found_set_aside_and_mended(
    suffix: str, harm: Callable[[Path], object], results: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    make = Maker()
    made = results.get("train", RECIPE, make)
    file = results.file("train", RECIPE).with_suffix(suffix)
    harm(file)
    bad = file.read_bytes()
    again = results.get("train", RECIPE, make)
    assert make.calls == 2
    assert torch.equal(again.tensors["w"], made.tensors["w"])
    assert file.with_name(file.name + ".corrupt").read_bytes() == bad
    assert f"{file} is a damaged result" in capsys.readouterr().err
    results.get("train", RECIPE, make)
    assert make.calls == 2


def test_a_result_that_another_process_mends_is_left_alone(
    results: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Between finding the damage and getting the lock, another process has made the result again."""
    results.get("train", RECIPE, Maker())
    file = results.file("train", RECIPE)
    whole = file.read_bytes()
    file.write_bytes(b"damaged")
    acquire = files.FileLock.acquire

    def after_the_other(self: Any, *args: Any, **kwargs: Any) -> Any:
        file.write_bytes(whole)
        return acquire(self, *args, **kwargs)

    monkeypatch.setattr(files.FileLock, "acquire", after_the_other)
    make = Maker()
    results.get("train", RECIPE, make)
    assert make.calls == 0 and file.read_bytes() == whole
    assert capsys.readouterr().err == ""
    assert not list(file.parent.glob("*.corrupt"))


def test_setting_aside_what_another_process_set_aside_is_no_error(tmp_path: Path) -> None:
    files.set_aside(tmp_path / "gone", "is damaged")
    assert not list(tmp_path.iterdir())


def test_a_copy_does_not_replace_a_whole_result(results: Store, tmp_path: Path) -> None:
    """What is copied lacks tensors; the target may have them."""
    results.get("train", RECIPE, Maker())
    kept = Store(tmp_path / "kept")
    assert results.copy_results(kept.root, {"train": numbers_alone}) == 1
    assert kept.copy_results(results.root, {"train": numbers_alone}) == 1
    make = Maker()
    assert results.get("train", RECIPE, make, with_tensors=True).tensors and make.calls == 0
    assert kept.get("train", RECIPE, make).numbers and make.calls == 0


@pytest.mark.parametrize("same", [True, False])
def test_a_copy_that_is_made_again_with_other_numbers_is_named(
    results: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], same: bool
) -> None:
    results.get("train", RECIPE, Maker())
    kept = Store(tmp_path / "kept")
    results.copy_results(kept.root, {"train": numbers_alone})
    numbers = Maker()(Checkpoint(tmp_path / "c")).numbers | ({} if same else {"accuracy": 0.4})
    found = kept.get("train", RECIPE, lambda _: Result(numbers, {"w": torch.ones(1)}), with_tensors=True)
    assert found.tensors and found.numbers["accuracy"] == numbers["accuracy"]
    said = capsys.readouterr().err
    assert ("was made again for its tensors, and its numbers differ" in said) != same
    assert same or said.startswith(str(kept.file("train", RECIPE)))


def test_a_damaged_result_is_not_copied_and_named(
    results: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (1, 2):
        results.get("train", RECIPE | {"seed": seed}, Maker())
    file = results.file("train", RECIPE)
    damage.flip(file)
    assert results.copy_results(tmp_path / "kept", {"train": numbers_alone}) == 1
    said = capsys.readouterr().err
    assert said == f"{file} or its tensors are damaged and were not copied; make or restore them\n" and file.is_file()


def test_the_cost_counts_what_was_asked_for_and_what_that_was_made_from(results: Store) -> None:
    inner = {"step": "train", "version": 1, "inputs": RECIPE}
    outer = {"step": "measure", "version": 1, "inputs": {"of": [{"trained": inner}]}}
    for recipe in (inner, {"step": "train", "version": 1, "inputs": RECIPE | {"seed": 8}}):
        results.get(**recipe, make=Maker())
    assert results.cost() == {}, "nothing was asked for"
    results.note(outer, results.get(**outer, make=Maker()))
    assert [name.partition("/")[0] for name in results.cost()] == ["measure", "train"]
    for took in results.cost().values():
        assert took["seconds"] >= 0 and took["peak_memory_mb"] > 10 and took["commit"]


@pytest.mark.parametrize("same", [True, False])
def test_numbers_that_change_after_they_were_read_are_refused(same: bool, results: Store, tmp_path: Path) -> None:
    """A kept copy without tensors is read, and then made again for them, as on another processor."""
    recipe, kept = {"step": "train", "version": 1, "inputs": RECIPE}, Store(tmp_path / "kept")
    results.get(**recipe, make=Maker())
    results.copy_results(kept.root, {"train": numbers_alone})
    kept.note(recipe, kept.get(**recipe, make=Maker()))
    again = Maker() if same else lambda checkpoint: Result({"accuracy": 0.1}, {"weight": torch.zeros(1)})
    kept.note(recipe, kept.get(**recipe, make=again, with_tensors=True))
    with contextlib.nullcontext() if same else pytest.raises(ReproError, match="with other numbers, after these had"):
        kept.cost()


def test_any_changed_number_is_found(results: Store) -> None:
    results.get("train", RECIPE, Maker())
    file = results.file("train", RECIPE)
    entry = json.loads(file.read_text())
    entry["numbers"]["accuracy"] = 0.99
    file.write_text(json.dumps(entry, indent=1, sort_keys=True))
    assert results.read(file) is None


def test_a_result_under_the_name_of_another_is_found(results: Store) -> None:
    results.get("train", RECIPE, Maker(tensors=False))
    file, other = results.file("train", RECIPE), results.file("train", RECIPE | {"seed": 2})
    file.rename(other)
    assert results.read(other) is None and unsealed(other.with_name(f"{other.name}.corrupt").read_bytes())


def test_a_result_tells_its_own_time_without_that_of_others(results: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that waits for another, made inside, found or failed, counts only what is left."""
    clock = [0.0]
    monkeypatch.setattr(store.time, "perf_counter", lambda: clock[0])

    def inner(_: Checkpoint) -> Result:
        clock[0] += 100
        return Result({})

    def failing(_: Checkpoint) -> Result:
        results.get("inner", {"seed": 1}, inner)
        clock[0] += 1000
        raise ValueError

    def outer(_: Checkpoint) -> Result:
        clock[0] += 1
        for _ in range(2):
            results.get("inner", {}, inner)
        with contextlib.suppress(ValueError):
            results.get("failing", {}, failing)
        clock[0] += 2
        return Result({})

    for inputs in ({}, {"seed": 1}):  # the second time less inside has to be made
        assert results.get("outer", inputs, outer).made["seconds"] == 3
    assert results.get("inner", {}, inner).made["seconds"] == 100


def test_waiting_for_another_process_is_not_a_results_own_time(results: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(store.time, "perf_counter", lambda: clock[0])
    acquire = files.FileLock.acquire

    def after_the_other(self: Any, *args: Any, **kwargs: Any) -> Any:
        clock[0] += 50
        return acquire(self, *args, **kwargs)

    monkeypatch.setattr(files.FileLock, "acquire", after_the_other)
    assert results.get("train", RECIPE, Maker()).made["seconds"] == 0


def test_json_is_written_last(results: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_at_json(file: Path, content: bytes) -> None:
        if file.suffix == ".json":
            raise KeyboardInterrupt
        write_atomically(file, content)

    monkeypatch.setattr(store, "write_atomically", break_at_json)
    with pytest.raises(KeyboardInterrupt):
        results.get("train", RECIPE, Maker())
    monkeypatch.undo()
    assert "safetensors" in endings(results.root)
    assert results.read(results.file("train", RECIPE)) is None  # tensors alone are no result
    make = Maker()
    results.get("train", RECIPE, make)
    assert make.calls == 1


@pytest.mark.parametrize("number", [float("nan"), float("inf"), [float("nan")]])
def test_numbers_that_are_none_are_refused(number: Any, results: Store) -> None:
    with pytest.raises(ReproError, match="was not stored: what was measured gave numbers that are not finite"):
        results.get("train", RECIPE, lambda checkpoint: Result({"accuracy": number}))
    assert results.read(results.file("train", RECIPE)) is None


def test_numbers_by_epoch_survive_although_json_has_only_text_keys(results: Store) -> None:
    calls = []

    def make(checkpoint: Checkpoint) -> Result:
        calls.append(1)
        return Result({"by_epoch": {epoch: epoch / 2 for epoch in range(1, 12)}})

    made = results.get("train", RECIPE, make)
    assert results.get("train", RECIPE, make).numbers == made.numbers
    assert len(calls) == 1


def test_an_interrupted_run_goes_on_from_its_checkpoint(results: Store) -> None:
    def interrupted(checkpoint: Checkpoint) -> Result:
        checkpoint.save({"step": 7})
        raise KeyboardInterrupt

    def resumed(checkpoint: Checkpoint) -> Result:
        return Result({"from": checkpoint.load()})

    with pytest.raises(KeyboardInterrupt):
        results.get("train", RECIPE, interrupted)
    assert results.get("train", RECIPE | {"seed": 2}, resumed).numbers == {"from": None}
    assert results.get("train", RECIPE, resumed).numbers == {"from": {"step": 7}}
    assert endings(results.root) == {"json", "lock"}  # a finished run needs no checkpoint


def make_slowly(root: Path, log: Path) -> None:
    def make(checkpoint: Checkpoint) -> Result:
        with log.open("a") as stream:
            stream.write("made\n")
        time.sleep(0.5)
        return Result({"answer": 42}, {"w": torch.ones(3)})

    assert Store(root).get("train", RECIPE, make).numbers == {"answer": 42}


def test_two_processes_make_a_result_once(results: Store, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")  # spawning would load torch twice more
    both = [context.Process(target=make_slowly, args=(results.root, tmp_path / "log")) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(30)
    assert [process.exitcode for process in both] == [0, 0]
    assert (tmp_path / "log").read_text() == "made\n"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file in the way")
    with pytest.raises(StoreError, match=r"results/train cannot be written \(.*\); free some space or choose a folder"):
        Store(tmp_path / "results").get("train", RECIPE, Maker())


def test_a_result_in_the_folder_of_another_step_is_no_result(results: Store, tmp_path: Path) -> None:
    """What a file says of itself decides where a copy is written, so it must stand where it says."""
    results.get("step", RECIPE, Maker(tensors=False))
    file = results.file("step", RECIPE)
    moved = results.root / "other" / file.name
    moved.parent.mkdir()
    file.rename(moved)
    assert results.read(moved, aside=False) is None
    assert results.copy_results(tmp_path / "copy", {"other": numbers_alone}) == 0
