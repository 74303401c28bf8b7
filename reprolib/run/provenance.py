"""Where, when and with what a result was made."""

from __future__ import annotations

import datetime
import platform
import subprocess
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from reprolib.run import rules

PACKAGES = ("torch", "torchvision", "timm", "numpy", "scipy", "pandas", "grad-cam", "papermill", "matplotlib")


@lru_cache(maxsize=1)
def commit() -> str:
    """The git commit of this repository, with ``+`` when code or parameters differ; ``unknown`` outside git."""
    here = Path(__file__).parent
    try:
        head = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=here, capture_output=True, check=True)
        changed = subprocess.run(
            ["git", "diff", "--quiet", "HEAD", "--", "reprolib", "params"], cwd=here.parent, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.decode().strip() + ("+" if changed.returncode else "")


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
