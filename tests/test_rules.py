"""What proves that the rules came before the numbers: hashes, stamps, seeds and commits."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from reprolib.run import rules
from reprolib.run.store import Result, Store

RULES = "claim1: {title: A, repetitions: 3, criteria: {a: {text: t, at_least: 8, nulls: [n]}}}\n"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "params" / "claims.yaml"
    file.parent.mkdir()
    file.write_text(RULES)
    monkeypatch.setattr(rules, "RULES", file)
    return file


def test_comments_and_form_do_not_change_a_hash(file: Path) -> None:
    before = rules.hashes()
    file.write_text(
        "# a comment\nclaim1:\n  repetitions: 3\n  title: A\n  criteria:\n    a: {at_least: 8, text: t, nulls: [n]}\n"
    )
    assert rules.hashes() == before


@pytest.mark.parametrize(("old", "new"), [("8", "7"), ("at_least", "at_most"), ("text: t", "text: u"), ("3", "4")])
def test_what_a_rule_says_changes_its_hash(file: Path, old: str, new: str) -> None:
    before = rules.hashes()["claim1"]
    file.write_text(RULES.replace(old, new))
    assert rules.hashes()["claim1"] != before


def test_a_result_records_the_rules_that_held(file: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    stamp = rules.stamp(store.get("step", {"seed": 100}, lambda _: Result({"x": 1})).made)
    assert stamp == f"claim1:{rules.hashes()['claim1']} claim2:unknown claim3:unknown"
    assert rules.holds_still("claim1", stamp) and rules.holds_still("claim1", f"{stamp} {stamp}")
    file.write_text(RULES.replace("8", "9"))
    assert rules.stamp(store.get("step", {"seed": 100}, lambda _: Result({"x": 2})).made) == stamp
    assert not rules.holds_still("claim1", stamp) and not rules.holds_still("claim1", "")


def test_results_from_before_there_were_hashes_count_for_no_rule(file: Path) -> None:
    assert not rules.holds_still("claim1", rules.stamp({"commit": "abc"}))


def test_no_null_of_the_committed_report_passes_and_every_criterion_has_one() -> None:
    nulls = pd.read_csv(rules.RULES.parent.parent / "results" / "nulls.csv")
    assert not nulls["outcome"].eq("holds").any()
    measured = nulls[nulls["outcome"] != "not measured"]
    for name, rule in rules.every().items():
        claim, _, world = name.partition("_")
        here = measured[(measured["claim"] == claim) & (measured["world"] == (world or "mnist"))]
        if world != "imagenet":  # which the committed run leaves out
            assert set(here["criterion"]) == set(rule["criteria"])


def test_seeds_start_where_no_result_was_seen() -> None:
    assert list(rules.seeds(3)) == [200, 201, 202]
    assert [rules.one_of(2, seed) for seed in rules.seeds(3)] == [200, 201, 200]
    assert rules.one_of(1, 207) == 200
