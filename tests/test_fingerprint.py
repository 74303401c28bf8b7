"""The fingerprint of a run: equal for equal runs, different for any different number, blind to times."""

from __future__ import annotations

from pathlib import Path

import claims
import pytest

from reprolib import __main__ as cli
from reprolib import params
from reprolib.report import build
from reprolib.run import ReproError, provenance
from reprolib.run.store import Result, Store


def _run(folder: Path, level: float = 90.0, hours: float = 1.0) -> dict[str, str]:
    claims.finish(folder, params.load("smoke"), level, hours=hours)
    Store(folder / "store").get("toy", {"seed": 0}, lambda _: Result({"value": level}))
    build.render(folder)
    return build.fingerprint(folder)


def test_equal_runs_have_equal_fingerprints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _run(tmp_path / "a")
    there = provenance.current() | {"finished": "2031-01-01", "processor": "another", "commit": "another"}
    monkeypatch.setattr(provenance, "current", lambda: there)
    second = _run(tmp_path / "b", hours=7.5)
    assert "took 7.5 hours" in (tmp_path / "b" / "report.md").read_text()
    assert (tmp_path / "a" / "report.md").read_text() != (tmp_path / "b" / "report.md").read_text()
    assert first == second and first["total"] == second["total"]
    kinds = ("report.md", "results/claim1.json", "results/claim1_1.csv", "figures/training_quality.png")
    assert set(kinds) < set(first) and any(name.startswith("store/toy/") for name in first)


def test_another_number_is_seen_everywhere_it_went(tmp_path: Path) -> None:
    first, second = _run(tmp_path / "a"), _run(tmp_path / "b", 91.0)
    differ = {name for name in first if first[name] != second[name]}
    assert {"report.md", "results/claim1.json", "results/claim2_1.csv", "figures/training_quality.csv"} < differ
    assert any(name.startswith("store/toy/") for name in differ)


def test_a_folder_without_a_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReproError, match="holds no finished report; make one with"):
        build.fingerprint(tmp_path)


def test_the_command_prints_lines_like_sha256sum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = _run(tmp_path)
    monkeypatch.setattr("sys.argv", ["reprolib", "fingerprint", str(tmp_path)])
    assert cli.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{sha256}  {name}" for name, sha256 in parts.items()] and lines[-1].endswith("  total")
