"""Where, when and with what a result was made."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from reprolib.run import rules
from reprolib.run.files import ROOT

PACKAGES = ("torch", "torchvision", "timm", "numpy", "scipy", "pandas", "grad-cam", "papermill", "matplotlib")
STATUS = ("status", "--porcelain", "--untracked-files=normal", "--")


def _git(*arguments: str) -> str | None:
    """What git says of this checkout, or None: without git, outside a repository, or inside that of something else."""
    command = ["git", "--no-optional-locks", "-c", f"safe.directory={ROOT.resolve()}", "-C", str(ROOT)]
    elsewhere = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")  # of a hook, for example
    environment = {name: value for name, value in os.environ.items() if name not in elsewhere}
    environment["GIT_CEILING_DIRECTORIES"] = str(ROOT.resolve().parent)
    try:
        done = subprocess.run([*command, *arguments], env=environment, capture_output=True, check=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


@lru_cache(maxsize=1)
def commit() -> str:
    """The commit of this checkout, with ``+`` when code or parameters were changed or added; else ``unknown``."""
    head, changed = _git("rev-parse", "--short=12", "HEAD"), _git(*STATUS, "reprolib", "params")
    return "unknown" if head is None or changed is None else head + ("+" if changed else "")


def rules_commit() -> str:
    """The commit that fixed the rules of the claims, the last to touch a line of theirs that is no comment, with ``+``
    when their file was changed since; else ``unknown``."""
    rules_file, a_rule = str(rules.RULES.relative_to(ROOT)), "-G^[[:space:]]*[^#[:space:]]"
    fixed, changed = _git("log", "-1", "--format=%h", a_rule, "--", rules_file), _git(*STATUS, rules_file)
    return fixed + ("+" if changed else "") if fixed else "unknown"


@lru_cache(maxsize=1)
def processor() -> str:
    """The processor's name as the kernel gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def current() -> dict[str, Any]:
    """Versions, machine, threads, processes that work together, commit, the rules that hold, and the time (UTC)."""
    return {
        "commit": commit(),
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "processes": distributed.get_world_size() if distributed.is_initialized() else 1,
        "processor": processor(),
        "python": platform.python_version(),
        "rules": rules.hashes(),
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in PACKAGES},
    }
