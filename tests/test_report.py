"""When there is a report: never after something failed, was changed, or was judged otherwise."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import count
from pathlib import Path

import damage
import pytest
from claims import finish, finish_one

from reprolib import params
from reprolib.report import build
from reprolib.run import ReproError, rules
from reprolib.run.files import locked
from reprolib.schema import Params


@pytest.mark.parametrize(
    "name", ["results/quality_summary.csv", "figures/training_quality.png", "results/claim1_verdict.csv"]
)
def test_what_a_claim_seals_is_shown_or_there_is_no_report(finished: Path, name: str) -> None:
    finish_one(finished, "claim1", leave=name)
    with pytest.raises(ReproError, match=rf"claim1_quality shows {re.escape(name)} nowhere; display what Results"):
        build.render(finished)
    assert not (finished / "report.md").exists()


def test_a_notebook_of_another_execution_is_refused(finished: Path) -> None:
    """The claim was run again by hand, and the notebook beside it shows older numbers."""
    file = finished / "results" / "notebooks" / "claim2_robustness.ipynb"
    older = file.read_bytes()
    finish_one(finished, "claim2", level=72.25)
    file.write_bytes(older)
    build.seal_notebooks(finished)
    with pytest.raises(ReproError, match=r"claim2_robustness shows another results/claim2_verdict\.csv than claim2"):
        build.render(finished)


def test_claims_with_different_parameters_make_no_report(finished: Path) -> None:
    finish_one(finished, "claim3", seeds=5)
    with pytest.raises(ReproError, match=r"claim3 in .* was run with other parameters than claim1; run all"):
        build.render(finished)


@pytest.mark.parametrize(
    "name",
    ["results/quality_summary.csv", "figures/training_quality.png", "figures/training_quality.csv",
     "results/claim2.json", "results/claim3_verdict.csv", "results/notebooks/claim3_accuracy.ipynb", build.SEAL],
)  # fmt: skip
@pytest.mark.parametrize("harm", [Path.unlink, damage.flip, damage.cut])
def test_no_report_is_written_while_a_file_is_lost_or_damaged(
    finished: Path, name: str, harm: Callable[[Path], None]
) -> None:
    harm(finished / name)
    with pytest.raises(ReproError, match=re.escape(Path(name).name)):
        build.render(finished)
    assert not (finished / "report.md").exists() and not (finished / "report.html").exists()


def test_two_notebooks_that_were_swapped_are_noticed(finished: Path) -> None:
    first, second = (finished / "results" / "notebooks" / f"{build.NOTEBOOKS[c]}.ipynb" for c in ("claim1", "claim2"))
    contents = first.read_bytes(), second.read_bytes()
    second.write_bytes(contents[0])
    first.write_bytes(contents[1])
    with pytest.raises(
        ReproError, match=r"claim1_quality\.ipynb or SHA256SUMS beside it was changed after it was made; run the"
    ):
        build.render(finished)


def test_no_report_rests_on_another_rule(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = tmp_path / "claims.yaml"
    changed.write_text("# a comment\n" + rules.RULES.read_text())
    monkeypatch.setattr(rules, "RULES", changed)
    build.render(finished)
    changed.write_text(rules.RULES.read_text().replace("at_least: 60", "at_least: 40"))
    with pytest.raises(ReproError, match=r"claim1 in .* was judged by another rule than params/claims\.yaml has now"):
        build.render(finished)


def test_two_runs_at_once_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPROLIB_BUILD", str(tmp_path))
    again: list[str] = []

    def second(name: str, chosen: Params, target: Path) -> None:
        with pytest.raises(ReproError, match=r"another run is writing to .*smoke; wait until it has ended") as caught:
            build.make(params.load("smoke"))
        again.append(str(caught.value))
        raise ReproError("enough")

    monkeypatch.setattr(build, "execute", second)
    for number in (1, 2):  # the second time the lock of the first is free again
        with pytest.raises(ReproError, match="enough"):
            build.make(params.load("smoke"))
        assert len(again) == number


def test_rendering_waits_for_no_run_and_disturbs_none(finished: Path) -> None:
    with locked(finished / ".lock"), pytest.raises(ReproError, match="another run is writing to"):
        build.render(finished)
    assert not (finished / "report.md").exists()


def test_promoting_replaces_a_run_and_leaves_measured_speed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Benchmarks are of a machine and not of a run; everything else of an older run must go."""
    top = tmp_path / "top"
    speed, stale = top / "results" / "bench" / "steps.csv", top / "results" / "stale.csv"
    speed.parent.mkdir(parents=True)
    speed.write_text("step\n")
    stale.write_text("old\n")
    monkeypatch.setenv("REPROLIB_BUILD", str(tmp_path / "build"))
    monkeypatch.setattr(build, "ROOT", top)
    chosen = params.load("smoke")
    finish(tmp_path / "build" / "smoke", chosen)
    assert build.promote(chosen) == top / "report.md"
    assert speed.read_text() == "step\n" and not stale.exists()
    made = sorted(path.name for path in (tmp_path / "build" / "smoke" / "results").glob("*"))
    assert sorted(path.name for path in (top / "results").glob("*")) == sorted([*made, "bench"])


@pytest.mark.parametrize("at", [1, 4, 9])
def test_a_promotion_that_is_killed_leaves_no_report(at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old report beside new or missing tables would look finished."""
    top, chosen = tmp_path / "top", params.load("smoke")
    finish(top, chosen, level=50.0)
    build.render(top)
    monkeypatch.setenv("REPROLIB_BUILD", str(tmp_path / "build"))
    monkeypatch.setattr(build, "ROOT", top)
    finish(tmp_path / "build" / "smoke", chosen)
    copied, copy = count(1), build._copy

    def killed(source: str, target: str) -> None:
        if next(copied) == at:
            raise KeyboardInterrupt
        copy(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(build, "_copy", killed)
        with pytest.raises(KeyboardInterrupt):
            build.promote(chosen)
    assert not (top / "report.md").exists() and not (top / "report.html").exists()
    build.promote(chosen)
    assert (top / "report.md").read_text() == (tmp_path / "build" / "smoke" / "report.md").read_text()
