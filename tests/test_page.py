"""The rendered pages: report.md and report.html, written from sealed results alone, the same bytes each time."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import PIL.Image
import pytest
from claims import CRITERIA, SUMMARY, evidence, executed, finish_one
from nbformat.v4 import new_output

from reprolib import figures, params
from reprolib.report import build, render
from reprolib.report.results import NULLS, Results
from reprolib.report.words import markdown_table
from reprolib.run import provenance, rules

EVIL = "<script>alert('evil')</script>"


def _rendered(folder: Path) -> tuple[str, str]:
    """report.md and report.html."""
    text = build.render(folder)
    assert text == folder / "report.md"
    return text.read_bytes().decode(), (folder / "report.html").read_bytes().decode()


def test_rendering_twice_gives_the_same_bytes(finished: Path) -> None:
    assert _rendered(finished) == _rendered(finished)


def test_the_report_is_a_front_page_and_the_notebooks(finished: Path) -> None:
    text, page = _rendered(finished)
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


def test_every_data_set_has_a_verdict_before_the_claim(finished: Path) -> None:
    """Scenes has a source of its own; where decided data sets disagree the claim is partly supported."""
    for claim in build.NOTEBOOKS:
        run = Results(claim, params.load("smoke"), finished)
        holding = {"good_digits": 9.5, "loss_both": 0.0}
        values = {name: holding.get(name, 90.0) for name in CRITERIA[claim]}
        shown = [run.judge(pd.concat([evidence(claim, values), evidence(claim, values, case="Wildlife MNIST")[:2]]))]
        name = f"{claim}_scenes"
        low = {n: -9.0 if "at_least" in bound else 9.0 for n, bound in rules.every()[name]["criteria"].items()}
        if claim == "claim1":
            low = {"own": 9.0, "residue": 0.8, "entanglement": 0.8}
        scenes = pd.concat([evidence(name, low, source, "Scenes") for source in ("CGN shipped", "truth")])
        executed(finished, claim, [*shown, run.judge(scenes, "scenes"), run.finish()])
    build.seal_notebooks(finished)
    text, _ = _rendered(finished)
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


def test_code_is_left_out_of_the_text_and_folded_in_the_page(finished: Path) -> None:
    text, page = _rendered(finished)
    folded = "<details><summary>code</summary><pre><code>print(&#x27;code of claim2&#x27;)\n</code></pre></details>"
    assert "code of claim2" not in text and folded in page


def test_appendices_come_last(finished: Path) -> None:
    finish_one(finished, "claim1", markdown="# claim1\n\n## Verdict\n\n## Appendix to claim 1\n\nTables.")
    text, _ = _rendered(finished)
    assert text.index("## claim3") < text.index("## Appendix\n") < text.index("### Appendix to claim 1\n\nTables.")


def test_a_number_that_changes_in_a_run_changes_in_the_report(finished: Path) -> None:
    before, _ = _rendered(finished)
    finish_one(finished, "claim2", level=72.25)
    after, _ = _rendered(finished)
    assert "| 72.2 (" in after and "| 72.2 (" not in before


def test_changed_sizes_are_said_in_the_report(finished: Path) -> None:
    for claim in build.NOTEBOOKS:
        finish_one(finished, claim, seeds=5)
    text, _ = _rendered(finished)
    assert "Changed for this run: seeds." in text and "every classifier of claims 2 and 3 on MNIST 5 times" in text
    assert "| repetitions | 1 | 1 | 1 | 5 |" in text


def test_numbers_of_cgns_and_repetitions_are_told_by_variant_where_they_differ(finished: Path) -> None:
    counted = {"colored_MNIST": 4, "double_colored_MNIST": 7, "wildlife_MNIST": 9}
    repeated = {"colored_MNIST": 2, "double_colored_MNIST": 6, "wildlife_MNIST": 3}
    for seeds, cgns, classifiers_told, cgns_told in (
        (3, 4, "on MNIST 3 times, each time", "CGNs trained here, 4 per data set"),
        (repeated, counted, "several times (Colored MNIST 2, Wildlife MNIST 3; where more",
         "Colored MNIST 4, Wildlife MNIST 9 (where more"),
    ):  # fmt: skip
        for claim in build.NOTEBOOKS:
            cgn = {"sources": ["stable"], "seeds": cgns}
            finish_one(finished, claim, seeds=seeds, cgn=cgn, variants=["colored_MNIST", "wildlife_MNIST"])
        text, _ = _rendered(finished)
        assert classifiers_told in text and cgns_told in text
    absent = ("Double-colored MNIST 6", "Double-colored MNIST 7")
    assert not any(each in text for each in absent), "a variant that the run does not have"
    assert ":* \n" not in text and "\n*By the rule" not in text


@pytest.mark.parametrize(
    ("most", "before", "looked"),
    [(8, None, [False, True]), (3, None, [False, False]), (8, 3, [False, True]), (8, 8, [False, False])],
)
def test_repetitions_that_a_data_set_has_more_than_another_or_than_before_count_as_looks(
    tmp_path: Path, most: int, before: int | None, looked: list[bool]
) -> None:
    row = {"source": "CGN", "criterion": "loss_both", "mean": 0.66, "low": 0.4, "high": 0.94, "outcome": "holds"}
    table = pd.DataFrame([row | {"case": "few", "n": 3}, row | {"case": "many", "n": most}]).assign(measured="0.7")
    (tmp_path / "results").mkdir()
    table.to_csv(tmp_path / "results" / "claim3_verdict.csv")
    verdicts = {"mnist": {"CGN": {"few": "supported", "many": "supported"}}}
    manifest = {"claim": "claim3", "rules": rules.hashes(), "verdicts": verdicts, "deciding": {"mnist": "CGN"}}
    found = render._judged(tmp_path, manifest, "mnist", before)
    assert [row["why"].endswith(render.LOOKED) for row in found] == looked


@pytest.mark.parametrize("sources", [["shipped"], ["stable", "authors"], ["authors"]])
def test_the_front_page_says_whose_cgn_decides_and_whether_others_are_there(finished: Path, sources: list[str]) -> None:
    for claim in build.NOTEBOOKS:
        finish_one(finished, claim, cgn={"sources": sources, "seeds": 4}, digits={"textures": "dtd", "source": "mnist"})
    text, _ = _rendered(finished)
    assert (
        "The verdicts on MNIST are those of the CGN trained here" in text
    )  # the evidence of these tests is of that one
    assert ("other CGNs stand beside it" in text) == (len(sources) > 1)


def test_the_origin_of_shipped_weights_is_told(finished: Path) -> None:
    text, _ = _rendered(finished)
    first = r"shipped CGN of Double-colored MNIST is the first run of the stable recipe, seed 200: [\d,]+ steps on all"
    assert re.search(first, text)


def test_the_report_names_the_commit_of_its_rules(finished: Path) -> None:
    text, _ = _rendered(finished)
    assert f"| rules commit |{f' {provenance.rules_commit()} |' * 3}" in text


def test_the_nulls_of_all_claims_are_in_one_table(finished: Path) -> None:
    build.render(finished)
    nulls = pd.read_csv(finished / "results" / "nulls.csv")
    assert list(nulls) == NULLS and set(nulls["claim"]) == set(build.NOTEBOOKS)
    measured = nulls[nulls["outcome"] != "not measured"]
    assert set(measured["outcome"]) == {"fails"} and set(measured["null"]) == {"untrained", "wrong labels"}


def test_the_page_holds_every_picture_pixel_by_pixel(finished: Path) -> None:
    _, page = _rendered(finished)
    (content,) = re.findall(r'src="data:image/webp;base64,([^"]+)"', page)
    shown = PIL.Image.open(io.BytesIO(base64.b64decode(content)))
    kept = PIL.Image.open(finished / "figures" / "training_quality.png")
    assert np.array_equal(shown.convert("RGB"), kept.convert("RGB"))
    assert 'src="figures/' not in page and not re.search(r"src=\"https?:", page)


def test_the_page_holds_an_animation_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "animation.png"
    file.write_bytes(figures.animated(np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3)))
    kind, content = render._embedded(file).split(",")
    assert kind == "data:image/png;base64" and base64.b64decode(content) == file.read_bytes()


def test_html_from_results_and_parameters_is_shown_and_not_run(finished: Path) -> None:
    summary = SUMMARY.assign(variant=f"{EVIL}<img src=x onerror=alert(1)>")
    for claim in build.NOTEBOOKS:
        finish_one(finished, claim, summary=summary, markdown=EVIL, scheduler=f"tcp://{EVIL}")
    file = finished / "results" / "notebooks" / "claim2_robustness.ipynb"
    notebook = nbformat.read(file, as_version=4)
    notebook.cells[1].outputs.append(new_output("display_data", {"text/html": EVIL, "text/plain": EVIL}))
    nbformat.write(notebook, file)
    build.seal_notebooks(finished)
    _, page = _rendered(finished)
    assert "<script" not in page and "<img src=x" not in page
    assert page.count("&lt;script&gt;alert") >= 4


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
