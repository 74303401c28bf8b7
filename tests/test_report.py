"""The report: written from sealed results alone, the same bytes each time, and never after something failed."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import count
from pathlib import Path

import damage
import nbformat
import pandas as pd
import pytest
from claims import CRITERIA, evidence, finish
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from reprolib import params
from reprolib.report import build
from reprolib.report.results import NULLS, Results
from reprolib.run import provenance, rules
from reprolib.run.errors import ReproError
from reprolib.run.files import locked
from reprolib.schema import Params

EVIL = "<script>alert('evil')</script>"


SUMMARY = pd.DataFrame({"variant": ["Colored MNIST"], "good_digits": [7]})


def _claim(folder: Path, claim: str, level: float = 90.5, summary: pd.DataFrame = SUMMARY, **changes: object) -> None:
    """Finish a claim with made-up numbers: one table, one figure, one verdict."""
    some = Results(claim, params.load({"profile": "smoke"} | changes), folder)
    if claim == "claim1":
        some.table("quality_summary", summary)
        curve = pd.DataFrame(
            {"variant": ["a"] * 2, "source": ["b"] * 2, "seed": [0, 0], "step": [0, 10], "good_digits": [0, 9]}
        )
        some.figure("training_quality", curve)
    values = {name: level / 10 if name == "good_digits" else level for name in CRITERIA[claim]}
    null = dict.fromkeys(CRITERIA[claim], 95.0 if claim == "claim3" else 1.0)
    parts = [
        evidence(claim, values),
        evidence(claim, dict.fromkeys(CRITERIA[claim], 4.0), "CGN of the authors"),
        evidence(claim, null, null="wrong labels" if claim != "claim1" else "untrained"),
    ]
    some.judge(pd.concat(parts))
    some.finish()


def _notebook(code: str, markdown: str = "# Title") -> nbformat.NotebookNode:
    parameters = new_code_cell("profile = 'smoke'", metadata={"tags": ["parameters"]})
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [new_markdown_cell(markdown), parameters, new_code_cell(code)]
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})


def _write(notebook: nbformat.NotebookNode, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, file)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for claim, name in build.NOTEBOOKS.items():
        _claim(tmp_path, claim)
        _write(_notebook(f"print('code of {claim}')"), tmp_path / "results" / "notebooks" / f"{name}.ipynb")
    build.seal_notebooks(tmp_path)
    return tmp_path


def _read(folder: Path, name: str = "report.md") -> str:
    return (folder / name).read_text(encoding="utf-8")


def test_rendering_twice_gives_the_same_bytes(folder: Path) -> None:
    assert build.render(folder) == folder / "report.md"
    first = [(folder / name).read_bytes() for name in ("report.md", "report.html")]
    build.render(folder)
    assert [(folder / name).read_bytes() for name in ("report.md", "report.html")] == first


def test_the_report_shows_every_claim_table_and_figure(folder: Path) -> None:
    build.render(folder)
    text, page = _read(folder), _read(folder, "report.html")
    assert text.startswith("# Counterfactual Generative Networks")
    assert "<title>Counterfactual Generative Networks" in page
    assert text.count("**Verdict, CGN trained here:** Colored MNIST **") == 3 and "| Colored MNIST | 7 |" in text
    assert "| good digits |" in text.replace("variant | ", "")  # underscores are spaces in headings
    measured = r"90\.5 \(\d\d\.\d to \d\d\.\d\) \| 3 \| holds \| labels agree not measured; wrong labels 1"
    assert re.search(rf"\| gain_cgn \| Colored MNIST \| ≥ 10 \| {measured} \|", text)
    assert "±" not in text
    assert "![Good digits over training" in text and "code of claim2" in page and "smoke profile" in text


def test_a_number_that_changes_in_a_run_changes_in_the_report(folder: Path) -> None:
    build.render(folder)
    before = _read(folder)
    _claim(folder, "claim2", level=72.25)
    build.render(folder)
    assert "| 72.2 (" in _read(folder) and "| 72.2 (" not in before


def test_changed_sizes_are_said_in_the_report(folder: Path) -> None:
    for claim in build.NOTEBOOKS:
        _claim(folder, claim, seeds=4)
    build.render(folder)
    assert "Changed for this run: seeds." in _read(folder) and "Every classifier is trained 4 times" in _read(folder)
    assert "| repetitions | 1 | 1 | 1 | 4 |" in _read(folder)


def test_claims_with_different_parameters_make_no_report(folder: Path) -> None:
    _claim(folder, "claim3", seeds=4)
    with pytest.raises(ReproError, match=r"claim3 in .* was run with other parameters than claim1; run all"):
        build.render(folder)


def test_the_origin_of_shipped_weights_is_told(folder: Path) -> None:
    build.render(folder)
    first = r"shipped CGN of Double-colored MNIST is the first run of the stable recipe, seed 200: [\d,]+ steps on all"
    assert re.search(first, _read(folder))


def test_the_page_holds_every_picture(folder: Path) -> None:
    build.render(folder)
    page = _read(folder, "report.html")
    assert page.count('src="data:image/png;base64,') == 1 and 'src="figures/' not in page
    assert not re.search(r"src=\"https?:", page)


def test_html_from_results_and_parameters_is_shown_and_not_run(folder: Path) -> None:
    summary = SUMMARY.assign(variant=f"{EVIL}<img src=x onerror=alert(1)>")
    for claim in build.NOTEBOOKS:
        _claim(folder, claim, summary=summary, scheduler=f"tcp://{EVIL}")
    name = folder / "results" / "notebooks" / "claim1_quality.ipynb"
    notebook = _notebook("1", EVIL)
    notebook.cells[2].outputs = [new_output("display_data", {"text/html": f"<b>bold</b>{EVIL}"})]
    _write(notebook, name)
    build.seal_notebooks(folder)
    build.render(folder)
    page = _read(folder, "report.html")
    assert "<script" not in page and "<img src=x" not in page
    assert page.count("&lt;script&gt;alert") >= 2 and "<b>bold</b>" in page


@pytest.mark.parametrize(
    "name",
    ["results/quality_summary.csv", "figures/training_quality.png", "figures/training_quality.csv",
     "results/claim2.json", "results/claim3_verdict.csv", "results/notebooks/claim3_accuracy.ipynb", build.SEAL],
)  # fmt: skip
def test_no_report_is_written_without_one_of_its_files(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ReproError, match=re.escape(Path(name).name)):
        build.render(folder)
    assert not (folder / "report.md").exists() and not (folder / "report.html").exists()


@pytest.mark.parametrize(
    "name",
    ["results/quality_summary.csv", "figures/training_quality.png", "results/claim2.json",
     "results/notebooks/claim3_accuracy.ipynb"],
)  # fmt: skip
@pytest.mark.parametrize("harm", [damage.flip, damage.cut])
def test_no_report_is_written_from_a_damaged_file(folder: Path, name: str, harm: Callable[[Path], None]) -> None:
    harm(folder / name)
    with pytest.raises(ReproError, match=re.escape(Path(name).name)):
        build.render(folder)
    assert not (folder / "report.md").exists()


def test_two_notebooks_that_were_swapped_are_noticed(folder: Path) -> None:
    first, second = (folder / "results" / "notebooks" / f"{build.NOTEBOOKS[c]}.ipynb" for c in ("claim1", "claim2"))
    contents = first.read_bytes(), second.read_bytes()
    second.write_bytes(contents[0])
    first.write_bytes(contents[1])
    with pytest.raises(
        ReproError, match=r"claim1_quality\.ipynb or SHA256SUMS beside it was changed after it was made; run the"
    ):
        build.render(folder)


@pytest.mark.parametrize(
    ("frame", "row"),
    [
        (pd.DataFrame({"a_b": ["x|y"], "c": [1.5]}), "| x\\|y | 1.5 |"),
        (pd.DataFrame({"a_b": [None], "c": [float("nan")]}), "|  |  |"),
        (pd.DataFrame({"a_b": ["one\ntwo"], "c": [1]}), "| one two | 1 |"),
    ],
)
def test_a_markdown_table_keeps_its_columns(frame: pd.DataFrame, row: str) -> None:
    assert build.markdown_table(frame).split("\n") == ["| a b | c |", "|---|---|", row]


def test_numbers_are_printed_as_they_stand_in_the_file(folder: Path) -> None:
    """Even where a column mixes whole numbers, fractions and gaps, which pandas reads as floats."""
    some = pd.DataFrame({"variant": ["a", "b"], "x": [12.0, 12.5], "y": [1234567.0, 2e-9], "n": [1, None]})
    _claim(folder, "claim1", summary=some)
    build.render(folder)
    assert "| a | 12 | 1.23457e+06 | 1 |\n| b | 12.5 | 2e-09 |  |" in _read(folder)


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


def test_rendering_waits_for_no_run_and_disturbs_none(folder: Path) -> None:
    with (
        locked(folder / ".lock"),
        pytest.raises(ReproError, match="another run is writing to"),
    ):
        build.render(folder)
    assert not (folder / "report.md").exists()


def test_every_data_set_has_a_verdict_before_the_claim(folder: Path) -> None:
    """Scenes has a source of its own; where decided data sets disagree the claim is partly supported."""
    for claim in build.NOTEBOOKS:
        run = Results(claim, params.load("smoke"), folder)
        run.table("imagenet_published_quality", pd.DataFrame({"model": ["BigGAN"], "is_gen": [195.9]}))
        values = {
            name: 9.5 if name == "good_digits" else 0.0 if name == "loss_both" else 90.0 for name in CRITERIA[claim]
        }
        run.judge(pd.concat([evidence(claim, values), evidence(claim, values, case="Wildlife MNIST")[:2]]))
        name = f"{claim}_scenes"
        low = {n: -9.0 if "at_least" in bound else 9.0 for n, bound in rules.every()[name]["criteria"].items()}
        if claim == "claim1":
            low = {"own": 9.0, "residue": 0.8, "entanglement": 0.8}
        run.judge(pd.concat([evidence(name, low, source, "Scenes") for source in ("CGN shipped", "truth")]), "scenes")
        run.finish()
    build.render(folder)
    text = _read(folder)
    assert "| claim | source | Colored MNIST | Wildlife MNIST | Scenes | the claim |" in text
    mixed = "supported | not decided | not supported (CGN shipped) | partly supported (2 of 3 data sets) |"
    assert f"| 1 | CGN trained here | {mixed}" in text
    assert "| 3 | truth |  |  | not supported | not supported |" in text
    assert text.count("**Verdict, CGN shipped:** Scenes **not supported**") == 3
    assert "ImageNet itself was not run here" in text and "| BigGAN | 195.9 |" in text


def test_the_nulls_of_all_claims_are_in_one_table(folder: Path) -> None:
    build.render(folder)
    nulls = pd.read_csv(folder / "results" / "nulls.csv")
    assert list(nulls) == NULLS and set(nulls["claim"]) == set(build.NOTEBOOKS)
    measured = nulls[nulls["outcome"] != "not measured"]
    assert set(measured["outcome"]) == {"fails"} and set(measured["null"]) == {"untrained", "wrong labels"}


def test_no_report_rests_on_another_rule(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = tmp_path / "claims.yaml"
    changed.write_text("# a comment\n" + rules.RULES.read_text())
    monkeypatch.setattr(rules, "RULES", changed)
    build.render(folder)
    changed.write_text(rules.RULES.read_text().replace("at_least: 60", "at_least: 40"))
    with pytest.raises(ReproError, match=r"claim1 in .* was judged by another rule than params/claims\.yaml has now"):
        build.render(folder)


def test_the_report_names_the_commit_of_its_rules(folder: Path) -> None:
    build.render(folder)
    assert (
        f"| rules commit | {provenance.rules_commit()} | {provenance.rules_commit()} | {provenance.rules_commit()} |"
        in _read(folder)
    )
