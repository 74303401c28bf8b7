"""What a claim hands to the report: files, sealed by a manifest that is written last."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import damage
import numpy as np
import pandas as pd
import PIL.Image
import pytest
from claims import CURVE, evidence

from reprolib import figures, params
from reprolib.report import results
from reprolib.report.results import Results, read_manifest
from reprolib.run import ReproError, rules
from reprolib.run.files import digest, sealed, unsealed

EVIDENCE = pd.concat(
    [evidence("claim3", {"loss_both": 0.1}, case=case) for case in ("Colored MNIST", "Wildlife MNIST")]
)
NULL = evidence("claim3", {"loss_both": 60.0}, null="wrong labels")
TABLE = pd.DataFrame({"name": ["a", "b"], "source": ["", "x"], "value": [1 / 3, 2e-9], "n": [1, 2]})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished claim 3 with a table, a figure and a verdict."""
    some = Results("claim3", params.load({"profile": "smoke", "seeds": 5}), tmp_path)
    some.table("numbers", TABLE, "Numbers.", "Few.")
    some.figure("training_quality", CURVE, "Curve.")
    some.judge(EVIDENCE)
    some.finish()
    return tmp_path


def _files(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def test_everything_is_written_and_sealed(folder: Path) -> None:
    made = {"results/numbers.csv", "figures/training_quality.csv", "figures/training_quality.png",
            "results/claim3_verdict.csv", "results/claim3_nulls.csv"}  # fmt: skip
    assert _files(folder) == made | {"results/claim3.json"}
    manifest = read_manifest(folder, "claim3")
    assert manifest["files"] == {name: digest((folder / name).read_bytes()) for name in made}


def test_the_manifest_says_what_was_run_and_by_which_rule(folder: Path) -> None:
    manifest = read_manifest(folder, "claim3")
    supported = dict.fromkeys(["Colored MNIST", "Wildlife MNIST"], "supported")
    assert manifest["claim"] == "claim3" and manifest["deciding"] == {"mnist": "CGN trained here"}
    assert manifest["verdicts"] == {"mnist": {"CGN trained here": supported}}
    assert manifest["changed"] == ["seeds"] and manifest["params"]["seeds"] == 5
    assert {"commit", "finished", "python", "versions", "rules_commit"} <= set(manifest["provenance"])
    assert manifest["rules"] == {"claim3": rules.hashes()["claim3"]}


def test_every_source_is_judged_and_the_first_decides(tmp_path: Path) -> None:
    some = Results("claim3", params.load({"profile": "smoke"}), tmp_path)
    worse = EVIDENCE.assign(value=EVIDENCE["value"] + 8, source="CGN of the authors")
    said = some.judge(pd.concat([EVIDENCE, worse])).outputs[0][0]["text/markdown"]
    scenes = evidence("claim3_scenes", {"top1": 0.0, "original": 0.0}, "CGN shipped with reprolib", "Scenes")
    some.judge(scenes, "scenes")
    some.finish()
    assert said.splitlines()[:3] == [
        "**Verdict, CGN trained here:** Colored MNIST **supported**, Wildlife MNIST **supported**.",
        "",
        "**Beside it, CGN of the authors:** Colored MNIST **not supported**, Wildlife MNIST **not supported**.",
    ]
    manifest = read_manifest(tmp_path, "claim3")
    assert manifest["deciding"] == {"mnist": "CGN trained here", "scenes": "CGN shipped with reprolib"}
    assert set(manifest["rules"]) == {"claim3", "claim3_scenes"}
    table = pd.read_csv(tmp_path / "results" / "claim3_verdict.csv")
    assert table.groupby("source")["outcome"].unique().to_dict() == {
        "CGN trained here": ["holds"], "CGN of the authors": ["fails"],
    }  # fmt: skip


def test_nulls_are_listed_with_what_they_had(tmp_path: Path) -> None:
    some = Results("claim3", params.load({"profile": "smoke"}), tmp_path)
    some.judge(pd.concat([EVIDENCE, NULL]))
    row = {"claim": "claim3", "world": "mnist", "criterion": "loss_both", "case": "Colored MNIST",
           "null": "wrong labels", "value": 60.0, "outcome": "fails", "measured": "60.0 (59.8 to 60.2)"}  # fmt: skip
    told = some.finish().outputs[0][0]["text/markdown"]
    assert pd.read_csv(tmp_path / "results" / "claim3_nulls.csv").to_dict("records") == [row]
    assert "Of 1 that were measured none passed, 1 failed as they must, and 0 are not decided." in told
    assert "wrong labels" not in (tmp_path / "results" / "claim3_verdict.csv").read_text()
    assert "Not measured" not in told


def test_nulls_that_were_not_measured_are_counted(tmp_path: Path) -> None:
    some = Results("claim3", params.load({"profile": "smoke"}), tmp_path)
    some.judge(EVIDENCE)
    told = some.finish().outputs[0][0]["text/markdown"]
    assert "Of 0 that were measured none passed" in told and "Not measured in this run: 1." in told


def test_a_criterion_that_a_null_passes_is_not_counted(tmp_path: Path) -> None:
    some = Results("claim3", params.load({"profile": "smoke"}), tmp_path)
    passing = NULL.assign(value=NULL["value"] - 60)
    assert "not decided" in some.judge(pd.concat([EVIDENCE, passing])).outputs[0][0]["text/markdown"]
    outcomes = pd.read_csv(tmp_path / "results" / "claim3_verdict.csv")["outcome"]  # on both data sets
    assert len(outcomes) == 2
    assert outcomes.str.startswith("not counted: the null 'wrong labels' passes on Colored MNIST").all()
    assert set(some.verdicts["mnist"]["CGN trained here"].values()) == {"not decided"}
    told = some.finish().outputs[0][0]["text/markdown"]
    assert (
        "1 passed, 0 failed as they must, and 0 are not decided. What they pass says nothing and is not counted: "
        "loss_both." in told
    )


def test_a_null_that_was_not_measured_is_listed_as_such(folder: Path) -> None:
    nulls = pd.read_csv(folder / "results" / "claim3_nulls.csv")
    assert nulls["outcome"].tolist() == ["not measured"] and nulls["case"].tolist() == ["Colored MNIST, Wildlife MNIST"]


def test_a_claim_without_a_verdict_cannot_be_sealed(tmp_path: Path) -> None:
    some = Results("claim3", params.load({"profile": "smoke"}), tmp_path)
    some.table("numbers", TABLE, "Numbers.", "Few.")
    with pytest.raises(ReproError, match="claim3 has no verdict; call judge"):
        some.finish()
    assert not (tmp_path / "results" / "claim3.json").exists()


def test_a_table_is_kept_with_six_digits_and_shown_with_few(tmp_path: Path) -> None:
    some = Results("claim3", params.load({"profile": "smoke"}), tmp_path)
    ((data, metadata),) = some.table("numbers", TABLE, "Numbers.", "Few.").outputs
    content = (tmp_path / "results" / "numbers.csv").read_bytes()
    assert content == b"name,source,value,n\na,,0.333333,1\nb,x,2e-09,2\n"
    assert metadata == {"shows": "results/numbers.csv", "sha256": digest(content)}
    assert data["text/markdown"] == (
        "**Numbers.**\n\n| name | whose CGN | value | n |\n|---|---|---|---|\n| a |  | 0.3 | 1 |\n"
        "| b | x | 0.0 | 2 |\n\n**Takeaway.** Few. (`results/numbers.csv`)"
    )


def test_a_figure_is_shown_as_it_was_kept(tmp_path: Path) -> None:
    some = Results("claim3", params.load({"profile": "smoke"}), tmp_path)
    (picture, metadata), (words, _) = some.figure("training_quality", CURVE, "Curve.", "It rises.").outputs
    kept = (tmp_path / "figures" / "training_quality.png").read_bytes()
    assert base64.b64decode(picture["image/png"]) == kept
    assert metadata == {"shows": "figures/training_quality.png", "sha256": digest(kept), "alt": "Curve."}
    assert words["text/markdown"] == "*Curve.* **Takeaway.** It rises. (`figures/training_quality.csv`)"


def test_empty_cells_stay_empty_strings_in_text_columns(folder: Path) -> None:
    assert results.read_table(folder, "numbers")["source"].tolist() == ["", "x"]


def test_a_figure_is_drawn_from_the_kept_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    first = (folder / "figures" / "training_quality.png").read_bytes()
    kept = figures.to_bytes(CURVE)
    monkeypatch.setattr(figures, "to_bytes", lambda data: kept.replace(b"10,9", b"10,2"))
    Results("claim3", params.load({"profile": "smoke"}), tmp_path).figure("training_quality", CURVE, "Curve.")
    assert (folder / "figures" / "training_quality.png").read_bytes() != first


def test_arrays_are_kept_as_npz(tmp_path: Path) -> None:
    some = Results("claim1", params.load({"profile": "smoke"}), tmp_path)
    some.figure("training_sheets", {"Toy|0,5": np.zeros((2, 10, 32, 32, 3), np.uint8)}, "Sheets.")
    assert set(some.files) == {"figures/training_sheets.npz", "figures/training_sheets.png"} == _files(tmp_path)


def test_an_animation_keeps_its_frames(tmp_path: Path) -> None:
    some, frames = Results("claim1", params.load({"profile": "smoke"}), tmp_path), np.zeros((3, 4, 4, 3), np.uint8)
    frames[1], frames[2] = 100, 200
    some.animation("scenes_animation", {"frames": frames}, "Frames.")
    assert set(some.files) == {"figures/scenes_animation.npz", "figures/scenes_animation.png"} == _files(tmp_path)
    with PIL.Image.open(tmp_path / "figures" / "scenes_animation.png") as picture:
        assert (picture.n_frames, picture.size) == (3, (200, 200))  # type: ignore[attr-defined]
        picture.seek(2)
        assert picture.getpixel((0, 0)) == (200, 200, 200)


def test_a_claim_that_starts_again_is_unfinished_until_it_finishes(folder: Path) -> None:
    again = Results("claim3", params.load({"profile": "smoke"}), folder)
    again.table("numbers", TABLE, "Numbers.", "Few.")
    with pytest.raises(ReproError, match=r"claim3 is not finished: .*claim3\.json does not exist"):
        read_manifest(folder, "claim3")
    again.judge(EVIDENCE)
    again.finish()
    assert read_manifest(folder, "claim3")["changed"] == []


def test_a_manifest_of_another_version_is_refused(folder: Path) -> None:
    file = folder / "results" / "claim3.json"
    manifest = unsealed(file.read_bytes())
    file.write_bytes(sealed(manifest | {"format": manifest["format"] - 1}))
    with pytest.raises(ReproError, match=r"claim3\.json was made by another version of reprolib; run the notebook"):
        read_manifest(folder, "claim3")


def test_a_changed_run_has_a_folder_of_its_own_and_shares_the_store() -> None:
    plain, changed = params.load("smoke"), params.load({"profile": "smoke", "seeds": 1})
    assert results.run_name(plain) == "smoke"
    assert results.run_name(changed) == results.run_name(params.load({"profile": "smoke", "seeds": 1})) != "smoke"
    assert results.run_name(changed).startswith("smoke-")
    assert results.use_store(plain).root == results.use_store(changed).root


def test_results_go_to_the_build_folder_of_their_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPROLIB_BUILD", str(tmp_path / "elsewhere"))
    Results("claim1", params.load({"profile": "smoke"})).table("numbers", TABLE, "Numbers.", "Few.")
    assert (tmp_path / "elsewhere" / "smoke" / "results" / "numbers.csv").is_file()


@pytest.mark.parametrize(
    "name",
    ["results/numbers.csv", "figures/training_quality.csv", "figures/training_quality.png", "results/claim3.json"],
)
@pytest.mark.parametrize("harm", [damage.flip, damage.cut, damage.empty, Path.unlink])
def test_damage_is_refused_with_the_name_of_the_file(folder: Path, name: str, harm: Callable[[Path], None]) -> None:
    harm(folder / name)
    with pytest.raises(ReproError, match=Path(name).name):
        read_manifest(folder, "claim3")


@pytest.mark.parametrize("content", ["[]", "{}", "null", '"text"', '{"sha256": 1, "files": {"a": NaN}}'])
def test_a_manifest_of_another_form_is_refused(folder: Path, content: str) -> None:
    (folder / "results" / "claim3.json").write_text(content)
    with pytest.raises(ReproError, match=r"claim3\.json is damaged"):
        read_manifest(folder, "claim3")


def test_a_number_that_was_changed_in_the_manifest_is_noticed(folder: Path) -> None:
    file = folder / "results" / "claim3.json"
    manifest = json.loads(file.read_text())
    manifest["verdicts"]["mnist"]["CGN trained here"]["Colored MNIST"] = "not supported"
    file.write_text(json.dumps(manifest))
    with pytest.raises(ReproError, match="damaged"):
        read_manifest(folder, "claim3")
