"""Results on disk: named by what produced them, written atomically, verified when read, resumable.

A result is some numbers (JSON) and perhaps some tensors (safetensors). Its name is a hash of the step, the step's
version and its *inputs*: every parameter, file and other result that can change its bits. The JSON file is written last
and holds the hash of the tensors, so a result exists either wholly or not at all. A file that fails its hash is set
aside, reported, and made again.
"""

from __future__ import annotations

import contextlib
import io
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from reprolib.run import ReproError, provenance
from reprolib.run.files import canonical, digest, locked, remove, sealed, set_aside, unsealed, write_atomically, writing


@dataclass
class Result:
    """What a step gives."""

    numbers: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    made: dict[str, Any] = field(default_factory=dict)
    """Where, when and with what the result was made; filled by the store."""


def everything(result: Result) -> Result:
    """The same, for a copy that keeps it whole."""
    return result


def numbers_alone(result: Result) -> Result:
    """The same without its tensors."""
    return replace(result, tensors={})


class Checkpoint:
    """The state of an unfinished training run: a SHA-256, then what ``torch.save`` writes; the last two are kept.

    The SHA-256 covers the file's name too, so the checkpoint of another run is not taken for this one's.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.previous = file.with_name(file.name + ".previous")
        self.new = file.with_name(file.name + ".new")

    def save(self, state: dict[str, Any]) -> None:
        """Write ``state`` (nested dicts and lists of tensors and plain values); the last state stays as a spare."""
        stream = io.BytesIO()
        torch.save(state, stream)
        content = stream.getvalue()
        write_atomically(self.new, bytes.fromhex(self._seal(content)) + content)
        with writing(self.file):
            if self.file.exists():
                self.file.replace(self.previous)
            self.new.replace(self.file)

    def load(self) -> dict[str, Any] | None:
        """The newest state that is whole, or None."""
        for file in (self.file, self.previous):
            if (content := _content(file)) is None:
                continue
            if content[:32].hex() == self._seal(content[32:]):
                return torch.load(io.BytesIO(content[32:]), map_location="cpu", weights_only=True)
            set_aside(file, "is a damaged checkpoint")
        return None

    def _seal(self, content: bytes) -> str:
        return digest(self.file.name.encode() + content)

    def remove(self) -> None:
        remove(self.file, self.previous, self.new)


def _first(inputs: dict[str, Any], name: str) -> Any:
    """The plain value with a name, that of nested inputs where there is none; or None."""
    value = inputs.get(name)
    if value is not None and not isinstance(value, dict):
        return value
    inner = (_first(each, name) for _, each in sorted(inputs.items()) if isinstance(each, dict))
    return next((value for value in inner if value is not None), None)


def _recipes_in(value: Any) -> Iterator[dict[str, Any]]:
    """The recipes of results in nested plain values."""
    if isinstance(value, dict) and value.keys() == {"step", "version", "inputs"}:
        yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        yield from _recipes_in(each)


def _as_read(numbers: dict[str, Any], file: Path) -> dict[str, Any]:
    """Numbers as they will be read, with text keys. Raises ReproError if one is not finite."""
    try:
        return json.loads(canonical(numbers))
    except ValueError:
        why = "what was measured gave numbers that are not finite; another seed or a smaller learning rate may help"
        raise ReproError(f"{file.stem} was not stored: {why}") from None


def _content(file: Path) -> bytes | None:
    """The bytes of a file, None if there is none: another process may rename it between a look and a read."""
    try:
        return file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


class Store:
    """A folder of results. Safe for several processes: one makes a result, the others wait for it."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self._within = 0.0
        """Seconds that the result being made has spent on other results."""
        self._used: dict[Path, str | None] = {}
        """The results that were asked for, with a hash of the numbers that were read, and those that they are made
        from."""

    def file(self, step: str, inputs: dict[str, Any], version: int = 1) -> Path:
        """The JSON file of a result: readable in front, a hash of all inputs behind."""
        key = digest(canonical({"step": step, "version": version, "inputs": inputs}))[:16]
        readable = [_first(inputs, name) for name in ("variant", "training_set", "seed")]
        return self.root / step / ("-".join([*(str(value) for value in readable if value is not None), key]) + ".json")

    def get(
        self,
        step: str,
        inputs: dict[str, Any],
        make: Callable[[Checkpoint], Result],
        version: int = 1,
        with_tensors: bool = False,
    ) -> Result:
        """The stored result of these inputs, or make it, store it and return it.

        ``make`` gets a checkpoint of its own, which is removed once the result is stored. with_tensors: a copy without
        tensors (see ``copy_results``) does not do; stderr says if the numbers of the new one differ.
        """
        file = self.file(step, inputs, version)
        if found := self.read(file, aside=False, with_tensors=with_tensors):
            return found
        start, before, self._within = time.perf_counter(), self._within, 0.0
        try:
            with locked(file.with_suffix(".lock")):
                if found := self.read(file, with_tensors=with_tensors):
                    return found  # another process was faster
                slim = self.read(file)
                checkpoint, waited = Checkpoint(file.with_suffix(".checkpoint")), time.perf_counter() - start
                result = make(checkpoint)
                result.numbers = _as_read(result.numbers, file)
                if slim and slim.numbers != result.numbers:
                    told = "was made again for its tensors, and its numbers differ, as on another processor"
                    print(f"{file} {told}", file=sys.stderr)
                seconds = time.perf_counter() - start - waited - self._within
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                result.made = provenance.current() | {"seconds": round(seconds, 1), "peak_memory_mb": round(peak)}
                self._write(file, {"step": step, "version": version, "inputs": inputs}, result)
                checkpoint.remove()
                return result
        finally:
            self._within = before + time.perf_counter() - start

    def read(self, file: Path, aside: bool = True, with_tensors: bool = False) -> Result | None:
        """A stored result, verified; None if there is none or if it is damaged.

        aside: rename a damaged one to ``*.corrupt``. Without the lock another process may just be replacing it.
        """
        found = self._entry(file, aside)
        if found is None or (with_tensors and not found["tensors"]):
            return None
        return Result(found["numbers"], found["tensors"], found["made"])

    def _entry(self, file: Path, aside: bool) -> dict[str, Any] | None:
        """What stands in the JSON file of a result, with its tensors in place of their hash; see ``read``."""
        if (content := _content(file)) is None:
            return None
        broken = file
        with contextlib.suppress(ValueError, KeyError, AttributeError, TypeError):
            entry = unsealed(content)
            if self.file(entry["step"], entry["inputs"], entry["version"]).parts[-2:] == file.parts[-2:]:
                if entry["tensors"] is None:
                    return entry | {"tensors": {}}
                broken = file.with_suffix(".safetensors")
                tensors = _content(broken) or b""
                if digest(tensors) == entry["tensors"]:
                    return entry | {"tensors": safetensors.torch.load(tensors)}
        if aside:  # damaged, or another's result, renamed
            set_aside(broken, "is a damaged result")
        return None

    def copy_results(self, target: Path, slimmed: Mapping[str, Callable[[Result], Result]]) -> int:
        """Copy results into another store; return how many.

        slimmed: for every step to copy, what a copy keeps of a result. A damaged result is named on stderr and left
        out, and a whole one in the target stays, because it may have the tensors that the copy lacks.
        """
        copied = 0
        for file in [file for step in slimmed for file in sorted((self.root / step).glob("*.json"))]:
            if (entry := self._entry(file, aside=False)) is None:
                print(f"{file} or its tensors are damaged and were not copied; make or restore them", file=sys.stderr)
                continue
            copy = target / entry["step"] / file.name
            with locked(copy.with_suffix(".lock")):
                if self.read(copy) is None:
                    result = slimmed[entry["step"]](Result(entry["numbers"], entry["tensors"], entry["made"]))
                    self._write(copy, {name: entry[name] for name in ("step", "version", "inputs")}, result)
            copied += 1
        return copied

    def note(self, recipe: dict[str, Any], result: Result) -> Result:
        """Count a result that was read, and those that it is made from, among the used ones; return it."""
        for each in _recipes_in(recipe):
            self._used.setdefault(self.file(**each), None)
        self._used[self.file(**recipe)] = self._used[self.file(**recipe)] or digest(canonical(result.numbers))
        return result

    def cost(self) -> dict[str, dict[str, Any]]:
        """What each used result took: ``step/name`` -> seconds by the clock, peak memory in MB, commit.

        The seconds of a result are its own, without those of results that it needed. Its peak is that of the process
        that made it, up to then: a process that makes many results tells the peak of the largest so far.

        Raises ReproError for one that has other numbers now than when it was read.
        """
        told, costs = ("seconds", "peak_memory_mb", "commit"), {}
        for file, read in sorted(self._used.items()):
            if found := self.read(file, aside=False):
                if read not in (None, digest(canonical(found.numbers))):
                    why = "was made again for its tensors, with other numbers, after these had been read"
                    raise ReproError(f"{file} {why}; run the notebook again")
                costs[f"{file.parent.name}/{file.stem}"] = {name: found.made[name] for name in told}
        return costs

    def _write(self, file: Path, recipe: dict[str, Any], result: Result) -> None:
        tensors = None
        if result.tensors:
            content = safetensors.torch.save({name: t.contiguous() for name, t in result.tensors.items()})
            tensors = digest(content)
            write_atomically(file.with_suffix(".safetensors"), content)
        write_atomically(file, sealed(recipe | {"numbers": result.numbers, "tensors": tensors, "made": result.made}))


_in_use: Store | None = None


def use(store: Store, threads: int = 1) -> Store:
    """From here on steps of this process find and keep their results in this store; torch computes on so many threads,
    which the results name."""
    global _in_use
    torch.set_num_threads(threads)
    _in_use = store
    return store


def cost() -> dict[str, dict[str, Any]]:
    """What the results took that were asked for in the store in use; nothing before ``use``."""
    return _in_use.cost() if _in_use else {}


def current() -> Store:
    """The store in use. Raises RuntimeError before ``use``."""
    if _in_use is None:
        raise RuntimeError("no store is in use; call store.use(Store(folder)) before asking for a result")
    return _in_use
