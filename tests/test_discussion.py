"""The discussion: every sentence on this run is a takeaway of it, and every verdict says what would change it."""

from __future__ import annotations

import math
import re
from pathlib import Path

import claims
import nbformat
import pandas as pd
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_notebook, new_output

from reprolib import params
from reprolib.report import build, discussion
from reprolib.report.words import CRITERIA
from reprolib.run import rules
from reprolib.run.files import ROOT


def _notebook(*texts: str) -> nbformat.NotebookNode:
    outputs = [new_output("display_data", {"text/markdown": text}) for text in texts]
    return new_notebook(cells=[new_code_cell("x", outputs=outputs)])


def test_takeaways_are_found_by_the_file_behind_them() -> None:
    table = "**Caption.**\n\n| a |\n|---|\n\n**Takeaway.** Best: 3.0 (a). (`results/x.csv`)"
    figure = "*Caption.* **Takeaway.** It rises. (`figures/y.csv`)"
    told = discussion.takeaways([_notebook(table, "no takeaway (`figures/z.npz`)"), _notebook(figure)])
    assert told == {"results/x.csv": "Best: 3.0 (a).", "figures/y.csv": "It rises."}


def test_a_point_says_what_the_run_says_and_changes_with_it() -> None:
    rows = discussion.points({"results/headline.csv": "Best by mean: CGN."})
    helped = rows[rows["topic"].str.contains("out of domain")]
    assert helped["here"].tolist() == [["Best by mean: CGN. (`results/headline.csv`)"]]
    assert all(here == [discussion.ABSENT] for here in rows.drop(helped.index)["here"])
    assert "worse" in str(discussion.points({"results/headline.csv": "worse"})["here"].tolist())


def test_every_file_of_the_discussion_is_made_by_a_notebook() -> None:
    """A name that no notebook makes would be passed over in silence."""
    notebooks = [nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4) for name in build.NOTEBOOKS.values()]
    source = "".join(cell.source for notebook in notebooks for cell in notebook.cells if cell.cell_type == "code")
    for row in yaml.safe_load(discussion.FILE.read_text(encoding="utf-8")):
        for file in row["here"]:
            name = re.sub(r"^(results|figures)/((scenes|imagenet)(?=_))?", "", file.removesuffix(".csv"))
            assert re.search(rf'(figure|table)\(\s*f?"(\{{[\w.]+\}}|scenes)?{name}"', source), file


def test_the_committed_report_answers_every_point_that_its_run_has() -> None:
    committed = [nbformat.read(file, 4) for file in sorted((ROOT / "results" / "notebooks").glob("claim*.ipynb"))]
    told = discussion.takeaways(committed)
    rows = discussion.points(told)
    absent = [row["topic"] for row in rows.to_dict("records") if row["here"] == [discussion.ABSENT]]
    assert absent == ([] if "results/scenes_conjectures.csv" in told else ["Does longer training leave more residue?"])
    text = (ROOT / "report.md").read_text(encoding="utf-8")
    assert all(sentence in text for here in rows["here"] for sentence in here)
    front = text.partition("## Reproducibility summary")[0]
    assert told["results/wrong_labels.csv"] in front
    longer, small = told["results/published_size.csv"] in front, "**This is the smoke profile" in front
    assert longer == small, "what longer runs gave stands before a first look"
    assert front.count(told["results/recipes.csv"]) == 1, "there, or under claim 1"


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


def _row(criterion: str, mean: float, low: float, high: float, outcome: str, n: int = 4) -> pd.Series:
    return pd.Series({"criterion": criterion, "mean": mean, "low": low, "high": high, "outcome": outcome, "n": n})


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (_row("gain_cgn", 40.0, 35.2, 44.0, "holds"), "counterfactuals alone: more than 25.2 points lower"),
        (_row("gain_cgn", 40.0, 10.0, 44.0, "holds"), "counterfactuals alone: anything lower"),
        (_row("gain_cgn", 5.0, 2.0, 8.0, "fails"), "counterfactuals alone: 2.0 points higher"),
        (_row("gain_cgn", 12.0, 6.0, 18.0, "not decided: a bound is within"), "about 17 repetitions, here 4; if mean"),
        (_row("gain_cgn", 12.0, 6.0, 18.0, "not decided: a bound is within"), "stay what they are, it would hold"),
        (_row("gain_cgn", 8.0, 2.0, 14.0, "not decided: a bound is within"), "stay what they are, it would fail"),
        (_row("loss_both", 0.2, 0.1, 0.3, "not testable: both sides reach"), "loss of accuracy: a harder test"),
        (_row("gain_cgn", 10.01, 6.0, 18.0, "not decided: a bound is within"), "more than 200 repetitions"),
        (_row("gain_cgn", 50.0, math.nan, math.nan, "not decided: 2 of 3 repetitions", 2), "is not decided: 2 of 3"),
    ],
)  # fmt: skip
def test_what_would_change_a_verdict(row: pd.Series, said: str) -> None:
    assert said in discussion.turning_point(row, rules.every()["claim2"]["criteria"]["gain_cgn"])


@pytest.mark.parametrize(
    ("row", "looks", "is_open"),
    [
        (_row("loss_both", 0.5, 0.3, 0.9, "holds"), 1, False),
        (_row("loss_both", 0.5, 0.3, 0.9, "holds"), 2, True),  # up to 1.04
        (_row("loss_both", 0.5, 0.3, 0.7, "holds"), 2, False),
        (_row("loss_both", 2.0, 1.2, 3.0, "fails"), 2, True),  # from 0.92
        (_row("loss_both", 2.0, 1.3, 3.0, "fails"), 2, False),
        (_row("loss_both", 0.9, 0.3, 1.5, "not decided: a bound is within"), 2, False),
    ],
)
def test_a_verdict_that_was_looked_at_twice_may_be_open(row: pd.Series, looks: int, is_open: bool) -> None:
    """At four repetitions the one-sided interval of two looks is wider by 3.18 / 2.35."""
    assert discussion.open_if_looked(row, rules.every()["claim3"]["criteria"]["loss_both"], looks) == is_open


def test_open_criteria_are_told_beside_the_one_that_decides() -> None:
    rows = pd.DataFrame(
        {
            "criterion": ["good_digits", "shape_control", "counterfactual_accuracy"],
            "outcome": ["not decided: a bound is within", "holds", "not decided: a bound is within"],
            "measured": ["6.8", "89.2", "63.6 (41.5 to 85.1)"],
        }
    )
    told = f"; not decided: {CRITERIA['counterfactual_accuracy']}: 63.6 (41.5 to 85.1)"
    assert discussion.also_open(rows.iloc[0], rows) == told and discussion.also_open(rows.iloc[0], rows[:2]) == ""


def test_a_bound_from_above_turns_the_other_way() -> None:
    wanted = rules.every()["claim3"]["criteria"]["loss_both"]
    assert "more than 0.6 points higher" in discussion.turning_point(_row("loss_both", 0.1, -0.2, 0.4, "holds"), wanted)
    assert ": 2.0 points lower" in discussion.turning_point(_row("loss_both", 4.0, 3.0, 5.0, "fails"), wanted)


@pytest.mark.parametrize(("one_sided", "share"), [(False, 0.975), (True, 0.95)])
def test_so_many_repetitions_do_decide(one_sided: bool, share: float) -> None:
    """The promise of the table, kept: with that many values of the same spread the interval is beyond the bound."""
    from scipy import stats

    needed = discussion.repetitions(4, 6.0, 2.0, one_sided)
    spread = 6.0 * 2 / stats.t.ppf(share, 3)
    half = {n: stats.t.ppf(share, n - 1) * spread / math.sqrt(n) for n in (needed - 1, needed)}
    assert half[needed] < 2.0 <= half[needed - 1]


def test_the_page_has_the_discussion_between_the_claims_and_the_appendix(tmp_path: Path) -> None:
    claims.finish(tmp_path, params.load("smoke"))
    text = build.render(tmp_path).read_text(encoding="utf-8")
    order = ["# Counterfactual", "\n### Claim 1", "\n### Claim 3", "\n## Title", "\n## Discussion",
             "\n## What would change our mind", "\n## Where the published evidence", "\n## Parameters",
             "\n## References"]  # fmt: skip
    places = [text.index(heading) for heading in order]
    assert places == sorted(places)
