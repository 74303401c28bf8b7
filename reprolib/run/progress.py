"""Plain progress lines with rate and remaining time, the same in JupyterLab, papermill and a terminal."""

from __future__ import annotations

import os
import sys
import time


def duration(seconds: float) -> str:
    """``42 s``, ``3 min 5 s`` or ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class Progress:
    """Print one line at most every ``every`` seconds, and nothing for work that is shorter than that.

    ``REPROLIB_PROGRESS=off`` silences it, for tests that compare what a notebook prints.
    """

    def __init__(self, title: str, total: int, unit: str = "steps", done: int = 0, every: float = 10.0) -> None:
        self.title, self.total, self.unit, self.every = title, total, unit, every
        self.first, self.start = done, time.monotonic()
        self.last = self.start

    def update(self, done: int, note: str = "") -> None:
        """Say that ``done`` of ``total`` are done; ``note`` is shown behind the line."""
        now = time.monotonic()
        if now - self.last < self.every or os.environ.get("REPROLIB_PROGRESS") == "off":
            return
        self.last = now
        rate = (done - self.first) / (now - self.start)
        left = duration((self.total - done) / rate) if rate > 0 else "unknown time"
        speed = f"{rate:,.1f} {self.unit}/s" if rate >= 0.5 else f"{duration(1 / rate) if rate else '?'} each"
        line = f"{self.title}: {done:,} of {self.total:,} {self.unit}, {speed}, {left} left"
        # The real stderr: in a notebook it reaches both the terminal and the cell, once each, as the workers' does.
        print(f"{line}{'; ' + note if note else ''}", file=sys.__stderr__ or sys.stderr, flush=True)
