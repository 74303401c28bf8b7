"""Six hundred broken profiles: each refused in a moment, in one sentence that names the key, without loading torch."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

KINDS = {
    "unknown key",
    "wrong type",
    "out of range",
    "bad entry",
    "NaN or infinite",
    "YAML surprise",
    "no valid YAML",
    "wrong profile",
    "wrong weights",
    "missing asset",
}


def test_no_broken_profile_starts_anything(tmp_path: Path) -> None:
    empty = {"REPROLIB_ASSETS": str(tmp_path / "no assets"), "REPROLIB_CACHE": str(tmp_path / "no cache")}
    script = Path(__file__).with_name("broken_profiles.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), "600"],
        env=os.environ | empty,
        cwd=script.parent.parent,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    match = re.match(r"(\d+) refused, the slowest in ([\d.]+) s", done.stdout)
    assert match and int(match[1]) >= 500 and float(match[2]) < 2
    assert {line.split(":")[0] for line in done.stdout.splitlines()[1:]} == KINDS
