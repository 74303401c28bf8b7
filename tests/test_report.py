"""The report: written from sealed results alone, the same bytes each time, and never after something failed."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from itertools import count
from pathlib import Path

import damage
import nbformat
import numpy as np
import pandas as pd
import PIL.Image
import pytest
from claims import CRITERIA, evidence, executed, finish
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from reprolib import figures, params
from reprolib.report import build, discussion, render
from reprolib.report.results import NULLS, Results
from reprolib.report.words import markdown_table
from reprolib.run import ReproError, provenance, rules
from reprolib.run.files import locked
from reprolib.schema import Params

EVIL = "<script>alert('evil')</script>"


SUMMARY = pd.DataFrame({"variant": ["Colored MNIST"], "good_digits": [7]})


CURVE = pd.DataFrame(
    {"variant": ["a"] * 2, "source": ["b"] * 2, "seed": [0, 0], "step": [0, 10], "good_digits": [0, 9]}
)


def _claim(
    folder: Path, claim: str, level: float = 90.5, summary: pd.DataFrame = SUMMARY, leave: str = "", markdown: str = "",
    **changes: object,
) -> None:  # fmt: skip
    """Finish a claim with made-up numbers, one table, one figure, one verdict, and write its notebook.

    leave: a file that the notebook does not show.
    """
    some, shown = Results(claim, params.load({"profile": "smoke"} | changes), folder), []
    if claim == "claim1":
        shown.append(some.table("quality_summary", summary, "Good digits.", "Seven are good."))
        shown.append(some.figure("training_quality", CURVE, "Good digits over training.", "They rise."))
    values = {name: level / 10 if name == "good_digits" else level for name in CRITERIA[claim]}
    null = dict.fromkeys(CRITERIA[claim], 95.0 if claim == "claim3" else 1.0)
    parts = [
        evidence(claim, values),
        evidence(claim, dict.fromkeys(CRITERIA[claim], 4.0), "CGN of the authors"),
        evidence(claim, null, null="wrong labels" if claim != "claim1" else "untrained"),
    ]
    shown += [some.judge(pd.concat(parts)), some.finish()]
    shown = [each for each in shown if leave not in [metadata.get("shows") for _, metadata in each.outputs]]
    executed(folder, claim, shown, f"print('code of {claim}')", markdown or f"# {claim}\n\n## Part\n\nWords.")
    if all((folder / "results" / "notebooks" / f"{name}.ipynb").exists() for name in build.NOTEBOOKS.values()):
        build.seal_notebooks(folder)


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
    for claim in build.NOTEBOOKS:
        _claim(tmp_path, claim)
    return tmp_path


def _read(folder: Path, name: str = "report.md") -> str:
    return (folder / name).read_text(encoding="utf-8")


def test_rendering_twice_gives_the_same_bytes(folder: Path) -> None:
    assert build.render(folder) == folder / "report.md"
    first = [(folder / name).read_bytes() for name in ("report.md", "report.html")]
    build.render(folder)
    assert [(folder / name).read_bytes() for name in ("report.md", "report.html")] == first


def test_the_report_is_a_front_page_and_the_notebooks(folder: Path) -> None:
    build.render(folder)
    text, page = _read(folder), _read(folder, "report.html")
    assert text.startswith("# Counterfactual Generative Networks") and "smoke profile" in text
    assert "<title>Counterfactual Generative Networks" in page
    row = r"\| Colored MNIST \| \*\*supported\*\* \| CGN trained here \| .*: 90\.5 \(.*\), asked ≥ \d+ \|"
    assert re.search(row, text) and re.search(r"\| Colored MNIST \| not supported \| CGN of the authors \|", text)
    assert text.count("**Verdict, CGN trained here:** Colored MNIST **") == 3
    assert "| data set | good digits of ten ↑ |\n|---|---|\n| Colored MNIST | 7 |" in text
    nulls = r"labels agree not measured; wrong labels 1\.0 .*"
    measured = rf"90\.5 \(\d\d\.\d to \d\d\.\d\) \| 3 \| holds \| {nulls}"
    gain = r"\| gain of counterfactuals alone, points \| Colored MNIST \| ≥ 10 \|"
    assert re.search(f"{gain} {measured} \\|", text)
    assert "![Good digits over training.](figures/training_quality.png)" in text and "**Takeaway.** They rise." in text
    assert text.index("# Counterfactual") < text.index("\n## claim1\n\n### Part\n") < text.index("\n## claim3\n")
    assert "±" not in text


def test_code_is_left_out_of_the_text_and_folded_in_the_page(folder: Path) -> None:
    build.render(folder)
    assert "code of claim2" not in _read(folder)
    folded = "<details><summary>code</summary><pre><code>print(&#x27;code of claim2&#x27;)\n</code></pre></details>"
    assert folded in _read(folder, "report.html")


def test_appendices_come_last(folder: Path) -> None:
    _claim(folder, "claim1", markdown="# claim1\n\n## Verdict\n\n## Appendix to claim 1\n\nTables.")
    build.render(folder)
    text = _read(folder)
    assert text.index("## claim3") < text.index("## Appendix\n") < text.index("### Appendix to claim 1\n\nTables.")


@pytest.mark.parametrize(
    "name", ["results/quality_summary.csv", "figures/training_quality.png", "results/claim1_verdict.csv"]
)
def test_what_a_claim_seals_is_shown_or_there_is_no_report(folder: Path, name: str) -> None:
    _claim(folder, "claim1", leave=name)
    with pytest.raises(ReproError, match=rf"claim1_quality shows {re.escape(name)} nowhere; display what Results"):
        build.render(folder)
    assert not (folder / "report.md").exists()


def test_a_notebook_of_another_execution_is_refused(folder: Path) -> None:
    """The claim was run again by hand, and the notebook beside it shows older numbers."""
    file = folder / "results" / "notebooks" / "claim2_robustness.ipynb"
    older = file.read_bytes()
    _claim(folder, "claim2", level=72.25)
    file.write_bytes(older)
    build.seal_notebooks(folder)
    with pytest.raises(ReproError, match=r"claim2_robustness shows another results/claim2_verdict\.csv than claim2"):
        build.render(folder)


def _verdicts(*rows: tuple[str, float, float, str]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["criterion", "low", "high", "outcome"])
    return frame.assign(measured=[f"{low} to {high}" for low, high in frame[["low", "high"]].to_numpy()])


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        (("holds", "holds"), "shape control, % of the reader: 81.0 to 84.0, asked ≥ 80"),  # the nearest to its bound
        (("holds", "fails"), "good digits of ten: 9.0 to 9.5, asked ≥ 8"),
        (("not decided: few", "holds"), "shape control, % of the reader: 81.0 to 84.0, asked ≥ 80 (few)"),
    ],
)
def test_the_number_that_decides_is_named(outcomes: tuple[str, str], said: str) -> None:
    criteria = rules.every()["claim1"]["criteria"]
    rows = _verdicts(("shape_control", 81.0, 84.0, outcomes[0]), ("good_digits", 9.0, 9.5, outcomes[1]))
    assert discussion.reason(discussion.decisive(rows, criteria), criteria) == said


def test_nearness_to_a_bound_is_a_share_of_the_range() -> None:
    rows = _verdicts(("good_digits", 9.0, 9.5, "holds"), ("shape_control", 81.0, 84.0, "holds"))
    criteria = rules.every()["claim1"]["criteria"]
    assert discussion.decisive(rows, criteria)["criterion"] == "shape_control"  # 1 of 100 is nearer than 1 of 10


def test_a_number_that_changes_in_a_run_changes_in_the_report(folder: Path) -> None:
    build.render(folder)
    before = _read(folder)
    _claim(folder, "claim2", level=72.25)
    build.render(folder)
    assert "| 72.2 (" in _read(folder) and "| 72.2 (" not in before


def test_changed_sizes_are_said_in_the_report(folder: Path) -> None:
    for claim in build.NOTEBOOKS:
        _claim(folder, claim, seeds=5)
    build.render(folder)
    assert "Changed for this run: seeds." in _read(
        folder
    ) and "every classifier of claims 2 and 3 on MNIST 5 times" in _read(folder)
    assert "| repetitions | 1 | 1 | 1 | 5 |" in _read(folder)


def test_claims_with_different_parameters_make_no_report(folder: Path) -> None:
    _claim(folder, "claim3", seeds=5)
    with pytest.raises(ReproError, match=r"claim3 in .* was run with other parameters than claim1; run all"):
        build.render(folder)


def test_the_origin_of_shipped_weights_is_told(folder: Path) -> None:
    build.render(folder)
    first = r"shipped CGN of Double-colored MNIST is the first run of the stable recipe, seed 200: [\d,]+ steps on all"
    assert re.search(first, _read(folder))


def test_numbers_of_cgns_and_repetitions_are_told_by_variant_where_they_differ(folder: Path) -> None:
    counted = {"colored_MNIST": 4, "double_colored_MNIST": 7, "wildlife_MNIST": 9}
    repeated = {"colored_MNIST": 2, "double_colored_MNIST": 6, "wildlife_MNIST": 3}
    for seeds, cgns, told in (
        (3, 4, ("on MNIST 3 times, each time", "CGNs trained here, 4 per data set")),
        (
            repeated,
            counted,
            (
                "several times (Colored MNIST 2, Wildlife MNIST 3; more where",
                "Colored MNIST 4, Wildlife MNIST 9 (where more",
            ),
        ),
    ):
        for claim in build.NOTEBOOKS:
            cgn = {"sources": ["stable"], "seeds": cgns}
            _claim(folder, claim, seeds=seeds, cgn=cgn, variants=["colored_MNIST", "wildlife_MNIST"])
        build.render(folder)
        assert all(each in _read(folder) for each in told)
    absent = ("Double-colored MNIST 6", "Double-colored MNIST 7")
    assert not any(each in _read(folder) for each in absent), "a variant that the run does not have"
    assert ":* \n" not in _read(folder) and "\n*By the rule" not in _read(folder)


def test_the_page_holds_every_picture_pixel_by_pixel(folder: Path) -> None:
    build.render(folder)
    page = _read(folder, "report.html")
    (content,) = re.findall(r'src="data:image/webp;base64,([^"]+)"', page)
    shown, kept = (
        PIL.Image.open(io.BytesIO(base64.b64decode(content))),
        PIL.Image.open(folder / "figures" / "training_quality.png"),
    )
    assert np.array_equal(shown.convert("RGB"), kept.convert("RGB"))
    assert 'src="figures/' not in page and not re.search(r"src=\"https?:", page)


def test_the_page_holds_an_animation_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "animation.png"
    file.write_bytes(figures.animated(np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3)))
    kind, content = render._embedded(file).split(",")
    assert kind == "data:image/png;base64" and base64.b64decode(content) == file.read_bytes()


def test_html_from_results_and_parameters_is_shown_and_not_run(folder: Path) -> None:
    summary = SUMMARY.assign(variant=f"{EVIL}<img src=x onerror=alert(1)>")
    for claim in build.NOTEBOOKS:
        _claim(folder, claim, summary=summary, markdown=EVIL, scheduler=f"tcp://{EVIL}")
    file = folder / "results" / "notebooks" / "claim2_robustness.ipynb"
    notebook = nbformat.read(file, as_version=4)
    notebook.cells[1].outputs.append(new_output("display_data", {"text/html": EVIL, "text/plain": EVIL}))
    nbformat.write(notebook, file)
    build.seal_notebooks(folder)
    build.render(folder)
    page = _read(folder, "report.html")
    assert "<script" not in page and "<img src=x" not in page
    assert page.count("&lt;script&gt;alert") >= 4


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
        (pd.DataFrame({"a_b": ["x|y"], "c": [1.25]}), "| x\\|y | 1.2 |"),
        (pd.DataFrame({"a_b": [None], "c": [float("nan")]}), "|  |  |"),
        (pd.DataFrame({"a_b": ["one\ntwo"], "c": [12345]}), "| one two | 12,345 |"),
    ],
)
def test_a_markdown_table_keeps_its_columns(frame: pd.DataFrame, row: str) -> None:
    assert markdown_table(frame).split("\n") == ["| a b | c |", "|---|---|", row]


def test_columns_have_titles_and_digits_that_fit_them() -> None:
    frame = pd.DataFrame({"residue": [0.1234], "good_digits": [7], "top-1": [91.26]})
    title, _, row = markdown_table(frame).split("\n")
    assert title == "| background residue ↓ | good digits of ten ↑ | top-1, % ↑ |" and row == "| 0.12 | 7 | 91.3 |"


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
        values = {
            name: 9.5 if name == "good_digits" else 0.0 if name == "loss_both" else 90.0 for name in CRITERIA[claim]
        }
        shown = [run.judge(pd.concat([evidence(claim, values), evidence(claim, values, case="Wildlife MNIST")[:2]]))]
        name = f"{claim}_scenes"
        low = {n: -9.0 if "at_least" in bound else 9.0 for n, bound in rules.every()[name]["criteria"].items()}
        if claim == "claim1":
            low = {"own": 9.0, "residue": 0.8, "entanglement": 0.8}
        scenes = pd.concat([evidence(name, low, source, "Scenes") for source in ("CGN shipped", "truth")])
        executed(folder, claim, [*shown, run.judge(scenes, "scenes"), run.finish()])
    build.seal_notebooks(folder)
    build.render(folder)
    text = _read(folder)
    assert text.count(": partly supported (2 of 3 data sets decided), at a first look\n") == 3
    for case, verdict, source in (
        ("Colored MNIST", "**supported**", "CGN trained here"),
        ("Wildlife MNIST", "**not decided**", "CGN trained here"),
        ("Scenes", "**not supported**", "CGN shipped"),
        ("Scenes", "not supported", "truth"),
    ):
        assert text.count(f"| {case} | {verdict} | {source} | ") == 3
    assert text.count("**Verdict, CGN shipped:** Scenes **not supported**") == 3
    assert "ImageNet, which needs a GPU" in text


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
