"""The study of natural images on Scenes, with its shipped networks: ratings, classifiers, sets and figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import stdev
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

from reprolib import params, worlds
from reprolib.features import load as load_features
from reprolib.figures import to_pixels
from reprolib.natural import classify, criteria, datasets, experiments, figures, plan, quality, tables
from reprolib.natural.cgn import compose
from reprolib.natural.classify import HEADS
from reprolib.natural.datasets import Classes, Sampling
from reprolib.natural.plan import CgnChoice, WorldRun
from reprolib.run import ReproError, rng, rules, store
from reprolib.run.store import Store
from reprolib.worlds.imagenet import ImageNet

TINY = {
    "profile": "smoke",
    "n_jobs": 1,
    "scenes": {
        "sources": ["trained"], "cgns": 2, "seeds": 2, "updates": 2, "micro_batch": 2, "accumulation": 1, "rated": 18,
        "targets": ["patches", "fill"], "ablations": ["bg"], "images": 50, "counterfactuals": 40, "validation": 18,
        "epochs": 2, "batch": 16, "search_rates": [0.001], "search_ratios": [0.0, 1.0], "classifier_rate": 0.002,
    },
}  # fmt: skip
FOLLOWED = 9


@pytest.fixture
def run(kept: Path, monkeypatch: pytest.MonkeyPatch) -> WorldRun:
    monkeypatch.setattr(experiments, "FOLLOWED", FOLLOWED)
    store.use(Store(kept))
    return worlds.runs(params.load(TINY))[0]


def test_a_run_has_the_worlds_it_asks_for() -> None:
    assert [run.world.name for run in worlds.runs(params.load("smoke"))] == ["scenes"]
    both = {"profile": "smoke", "imagenet": {"run": True, "sources": ["trained"]}}
    assert [run.world.name for run in worlds.runs(params.load(both))] == ["scenes", "imagenet"]


def test_a_run_says_what_it_leaves_out() -> None:
    assert worlds.told(params.load("gpu")) == "Worlds of this run: Scenes, ImageNet."
    assert "check gpu` names them" in worlds.told(params.load("smoke"))


def test_every_cgn_of_the_study_is_rated(run: WorldRun) -> None:
    rows = tables.quality(run)
    nulls = ["none", "all; texture and background exchanged"]
    assert rows["losses"].tolist() == ["all"] * 3 + ["without background loss", "all; true mask", *nulls]
    assert rows["target"].tolist() == ["patches", "patches", "fill", *["patches"] * 4]
    assert rows["seed"].tolist() == [200, 201, *[200] * 5]
    assert rows["mask_iou"][4] > 0.999 > rows["mask_iou"].drop(4).max()
    assert rows["is_gen"].between(1, 9).all() and rows["is_gt"].between(1, 9).all()
    for name in ("mean_mask", "mask_iou", "residue", "entanglement"):
        assert rows[name].between(0, 1).all()
    evidence = criteria.quality_evidence(run, rows)
    assert evidence[evidence["null"] == ""].groupby("criterion").size().to_dict() == dict.fromkeys(
        ["inception_score", "mean_mask", "own", "residue", "entanglement"], 2
    )
    own = evidence[evidence["criterion"] == "own"].set_index("null")
    assert (
        own.loc["untrained", "value"] == rows["own"][5] and own.loc["mechanisms exchanged", "value"] == rows["own"][6]
    )
    assert own.loc["shuffled labels", "value"] == rows["own_shuffled"][0] < 40 and own.loc[[""], "low"].isna().all()
    half = 1.96 * rows["own_error"][5]
    assert own.loc["untrained", ["low", "high"]].tolist() == pytest.approx(
        [rows["own"][5] - half, rows["own"][5] + half]
    )
    assert (evidence["source"] == "CGN trained here").all()
    halves = {"inception_score": 196 * rows["is_gen_error"][5] / rows["is_gt"][5]}
    halves["mean_mask"] = 1.96 * rows["mean_mask_sd"][5] / 18**0.5
    for name, value in (("inception_score", rows["is_share"][5]), ("mean_mask", rows["mean_mask"][5])):
        null = evidence[(evidence["criterion"] == name) & (evidence["null"] == "untrained")].iloc[0]
        assert [null["low"], null["high"]] == pytest.approx([value - halves[name], value + halves[name]])
    shares = tables.control(run)
    assert len(shares) == 9 and shares["share"].between(0, 100).all()


def test_the_same_cgn_decides_whatever_the_order_of_sources(run: WorldRun) -> None:
    chosen = TINY | {"scenes": TINY["scenes"] | {"sources": ["shipped", "trained"]}}  # type: ignore[operator]
    other = worlds.runs(params.load(chosen))[0]
    evidence = criteria.quality_evidence(other, tables.quality(other))
    assert list(dict.fromkeys(evidence["source"])) == ["CGN trained here", "CGN shipped with reprolib"]
    assert other.deciding.source == "trained"


def test_a_rating_is_of_the_composed_and_of_the_generated_images(run: WorldRun) -> None:
    model, rater = run.world.new_cgn().eval(), run.world.rater()
    found = quality.score(model, rater, 20)
    y, u = model.one_hot(quality.classes_of(20, 9)), model.noise(20, ("rated",))
    with torch.no_grad():
        maps = model(u, y, y, y)
    pictures = compose(maps.mask, maps.foreground, maps.background), maps.truth
    composed, truth = (quality.probabilities(images, rater) for images in pictures)
    scores = [quality.inception_score(each)[0] for each in (composed, truth)]
    assert scores == pytest.approx([found["is_gen"], found["is_gt"]], rel=1e-4)
    assert found["is_gen_error"] == pytest.approx(stdev(quality.inception_score(composed, 10)) / 10**0.5, rel=1e-3)
    assert found["mean_mask"] == pytest.approx(float(maps.mask.mean()), rel=1e-4)


@pytest.mark.parametrize("perfect", [0.05, 0.5])
def test_conjectures_are_told_from_both_masks(perfect: float) -> None:
    rows = pd.DataFrame({"mask": ["own"] * 3 + ["true"] * 3, "update": [0, 1, 2] * 2})
    rows = rows.assign(residue=[0.8, 0.2, 0.3, 0.7, 0.7, 0.7], entanglement=[0.9, 0.5, 0.4, 0.9, 0.1, perfect])
    told = tables.told_conjectures(rows)
    assert "lowest, 0.20, at update 1 and 0.30 at the last, 2: it grows" in told
    removes = "removes" if perfect < 0.09 else "does not remove"
    assert told.endswith(
        f"went from 0.90 to 0.40, and with the true mask to {perfect:.2f}: a perfect mask {removes} it."
    )
    assert "it does not grow" in tables.told_conjectures(rows.assign(residue=[0.8, 0.3, 0.2, 0.7, 0.7, 0.7]))


@pytest.mark.parametrize("ratio", [0.5, 2.0])
def test_the_cf_ratio_is_that_of_counterfactuals_in_a_batch(
    ratio: float, run: WorldRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[classify.Batches] = []

    def train(model: Any, real: Any, counterfactual: Any, *_: Any) -> Any:
        seen[:] = [real, counterfactual]
        raise KeyboardInterrupt

    monkeypatch.setattr(classify, "train", train)
    with pytest.raises(KeyboardInterrupt):
        plan.classifier(run, "cgn", CgnChoice(), 200, ratio=ratio).result()
    assert seen[1].batch == ratio * seen[0].batch and seen[1].per_epoch == seen[0].per_epoch


def test_a_cgn_is_rated_at_every_truncation(run: WorldRun) -> None:
    model, rater = run.world.new_cgn().eval(), run.world.rater()
    whole, half = (quality.score(model, rater, 18, truncation) for truncation in (1.0, 0.5))
    assert set(whole) == {"is_gen", "is_gen_error", "is_gt", "mean_mask", "mean_mask_sd"}
    assert set(half) == {f"{name}_0.5" for name in whole} and whole["is_gt"] != half["is_gt_0.5"]


def test_no_null_of_a_cgn_is_a_good_one() -> None:
    """What the criteria of claim 1 on Scenes must tell apart, on the shipped CGN, by the rules themselves."""
    chosen = params.load("smoke")
    world = worlds.world_of("scenes", chosen)
    shipped, exchanged, untrained = world.given_cgn(), world.given_cgn(), world.new_cgn().eval()
    exchanged.f_text, exchanged.f_bg = exchanged.f_bg, exchanged.f_text
    good, *nulls = (world.against_truth(model, 45) for model in (shipped, untrained, exchanged))
    criteria = rules.every()["claim1_scenes"]["criteria"]
    for name, bound in ((name, each.get("at_least", each.get("at_most"))) for name, each in criteria.items()):
        sign = 1 if "at_least" in criteria[name] else -1
        assert sign * (good[name] - bound) > 0
        assert all(sign * (null[name] - bound) < -1.96 * null[f"{name}_error"] for null in nulls)
    assert abs(good["own_shuffled"] - 100 / 9) < 10
    shares = [good["control"][factor][factor] for factor in ("shape", "texture", "background")]
    assert good["own"] == pytest.approx(sum(shares) / 3)


def test_a_trained_cgn_keeps_its_sheets_and_its_weights(run: WorldRun) -> None:
    which = CgnChoice()
    found = plan.trained_cgn(run, which).result()
    assert found.numbers["updates"] == [0, 1, 2]
    untrained, truth = run.world.new_cgn().eval(), found.numbers["truth"]
    assert truth[0] == run.world.against_truth(untrained, FOLLOWED) and truth[2] != truth[0]
    rows = tables.conjectures(run)
    assert rows["mask"].tolist() == ["own"] * 3 + ["true"] * 3 and rows["update"].tolist() == [0, 1, 2] * 2
    assert rows["residue"].tolist()[:3] == [each["residue"] for each in truth]
    assert found.tensors["sheet/2"].shape == (9, 6, 3, 64, 64) and found.tensors["sheet/2"].dtype == torch.uint8
    state = experiments.load(plan.cgn(run, which)).state_dict()
    fresh = run.world.new_cgn().state_dict()
    assert torch.equal(state["biggan_GT.embeddings.weight"], fresh["biggan_GT.embeddings.weight"])
    assert not torch.equal(state["f_text.embeddings.weight"], fresh["f_text.embeddings.weight"])


def test_classifiers_with_and_without_counterfactuals(run: WorldRun) -> None:
    rows = tables.classifiers(run)
    titles = ["real images", "real images + CGN trained here", "real images + true counterfactuals"]
    plain, repeated = "plain classifier (scene reader)", [title for title in titles for _ in range(2)]
    assert rows["trained_on"].tolist() == [plain, *repeated]
    accuracy = tables.accuracy(rows)
    assert accuracy["trained on"].tolist() == titles and (accuracy[["top-1, texture", "top-5, bg"]] != "").all(None)
    assert rows["top1/shape"].isna().tolist() == [True] + [False] * 6  # the plain classifier has no heads
    for table in (tables.challenge(rows), tables.gaps(rows), tables.bias(rows), tables.out_of_distribution(rows)):
        assert table["trained on"].tolist() == [plain, *titles]
    assert list(tables.out_of_distribution(rows).columns[1:]) == ["cue conflict", "hard scenes", "sketches"]
    assert tables.factors(rows)["trained on"].tolist() == titles[1:] and rows["factor/bg"][3:].between(0, 100).all()
    first = rows.iloc[0]
    assert 60 < first["top1"] < 100 and first["out_of_distribution/hard scenes"] == 0
    assert first["gap/avg"] == first["gap/shape_texture"] and tables.gaps(rows).loc[0, "bg"] == ""
    assert tables.bias_points(rows)["shape_bias"].notna().sum() == 4 * 6 + 1
    evidence = criteria.robustness_evidence(run, rows)
    expected = rows.set_index(["trained_on", "seed"])["gap/shape_texture"]
    found = evidence[(evidence["criterion"] == "gap") & (evidence["source"] == "true counterfactuals")]["value"]
    assert found.tolist() == pytest.approx(
        [expected[titles[0], seed] - expected[titles[2], seed] for seed in (200, 201)]
    )
    assert set(evidence["null"]) == {"", "real images again", "real images twice"}
    again = evidence[(evidence["criterion"] == "gap") & (evidence["null"] == "real images again")]["value"].tolist()
    others = [plan.classifier(run, "real", CgnChoice(), seed).result().numbers["scores"] for seed in (202, 203)]
    real = [expected[titles[0], seed] for seed in (200, 201)]
    assert again == pytest.approx([a - b["gap/shape_texture"] for a, b in zip(real, others, strict=True)])
    accuracy = criteria.accuracy_evidence(run, rows)
    assert set(accuracy["criterion"]) == {"top1", "original"} and set(accuracy["null"]) == {
        "",
        "untrained",
        "wrong labels",
    }
    ensemble, before = (
        plan.classifier(run, "real", CgnChoice(), 200),
        experiments.untrained_ensemble(run.world, 200, run.machine),
    )
    untouched, scores = ensemble.result().numbers["history"][0], before.result().numbers["scores"]
    assert untouched.items() < scores.items() and {"top1", "top5/shape"} <= set(untouched)
    worse = accuracy.query("null == 'untrained' and criterion == 'original'")["worse"].iloc[0]
    assert worse == min(scores["original/avg"], rows.set_index(["trained_on", "seed"])["original/avg"][titles[0], 200])
    assert accuracy["rules"].map(lambda text: rules.holds_still("claim3_scenes", text)).all()
    factors = criteria.factor_evidence(run, rows)
    made = rows[rows["trained_on"] == titles[1]]
    assert factors.query("null == ''")["value"].tolist() == made[[f"factor/{h}" for h in HEADS]].min(axis=1).tolist()
    assert factors.query("null == 'shuffled labels'")["value"].between(0, 100).all()


@pytest.mark.parametrize(
    ("change", "which", "same"),
    [({"images": 60}, "cgn", True), ({"images": 60}, "classifier", False), ({"updates": 3}, "cgn", False),
     ({"validation": 20}, "rating", True), ({"rated": 20}, "rating", False),
     ({"rated": 20}, "cgn", True), ({"mask_low": 0.03}, "cgn", False), ({"epochs": 3}, "classifier", False),
     ({"decay_every": 15}, "classifier", False), ({"selection": "real_top1"}, "classifier", False),
     ({"search_seeds": 5}, "classifier", True)],
)  # fmt: skip
def test_a_result_is_named_by_what_it_depends_on(
    change: dict[str, Any], which: str, same: bool, tmp_path: Path
) -> None:
    store.use(Store(tmp_path))
    names = set()
    for more in ({}, change):
        (run,) = worlds.runs(params.load(TINY | {"scenes": TINY["scenes"] | more}))  # type: ignore[operator]
        made = {
            "cgn": plan.trained_cgn(run, CgnChoice()),
            "rating": plan.quality(run, CgnChoice()),
            "classifier": plan.classifier(run, "real", CgnChoice(), 100),
        }
        names.add(made[which].file)
    assert (len(names) == 1) == same


def test_nulls_are_the_same_images_with_other_labels(run: WorldRun) -> None:
    which = CgnChoice()
    written, world = plan.counterfactuals(run, which), run.world
    made, wrong = (experiments.beside_real(world, kind, written, "train") for kind in ("cgn", "wrong"))  # type: ignore[arg-type]
    again, real = experiments.beside_real(world, "again", None, "train"), world.real("train")
    assert made is not None and wrong is not None and again is not None and len(wrong) == len(made)  # type: ignore[arg-type]
    for number in (0, 7):
        assert torch.equal(made[number][0], wrong[number][0]) and torch.equal(real[number][0], again[number][0])
        assert torch.equal((made[number][1] + 1) % 9, wrong[number][1])
        assert again[number][1].tolist() == [int(real[number][1])] * 3


def test_failures_are_those_with_the_most_entanglement(run: WorldRun, monkeypatch: pytest.MonkeyPatch) -> None:
    model = experiments.load(plan.cgn(run, run.deciding))
    classes, u = quality.classes_of(60, 9), model.noise(60, ("rated",))
    found = run.world.entanglement(model, u, classes)
    y = model.one_hot(classes)
    assert found.mean().item() == pytest.approx(run.world.against_truth(model, 60)["entanglement"], abs=1e-5)
    worst = model.counterfactual(u, y, y, y)[2][found.topk(2).indices]
    assert (figures.failures(run, 60, 2)["entanglement"][:, 0] == to_pixels(worst)).all()


def test_the_ratio_of_styles_tells_entangled_texture_maps(run: WorldRun) -> None:
    """On Scenes, where the truth is known: the untrained CGN's texture maps are whole images, the shipped one's not."""
    world, net = run.world, load_features("efficientnet_lite0", size=64)
    ratios = []
    for model in (world.new_cgn().eval(), world.given_cgn()):
        u, y = model.noise(9, ("ratio",)), model.one_hot(torch.arange(9))
        with rng.seeded("ratio"):
            ratios.append(quality.gram_ratio(model, u, y, net, world.patches).median())
    assert ratios[0] > 1.5 * ratios[1]


def test_counterfactual_sets_are_written_once_and_by_cgn(run: WorldRun) -> None:
    sets = [plan.counterfactuals(run, CgnChoice(seed=seed)) for seed in (200, 201, 200)]
    folders = [each.folder(run.world) for each in sets]
    assert folders[0] != folders[1] and folders[0] == folders[2]
    assert len(list((folders[0] / "train" / "ims").glob("*.jpg"))) == 40
    image, labels = sets[0].images(run.world, "val")[0]
    assert image.shape == (3, 64, 64) and image.min() >= -1 and labels.shape == (3,)


def test_the_search_has_a_row_for_every_cell(run: WorldRun) -> None:
    rows = tables.search(run)
    cells = [(0.001, 0.0), (0.002, 0.0), (0.001, 1.0), (0.002, 1.0)]  # the rate of the study is among them
    assert list(zip(rows["rate"], rows["ratio"], strict=True))[1:] == [cell for cell in cells for _ in range(2)]
    assert rows["seed"].tolist() == [0] + [*rules.seeds(2)] * 4
    own = tables.classifiers(run).set_index(["trained_on", "seed"])["gap/shape_texture"]
    found = rows[rows["rate"] == 0.002].set_index(["trained_on", "seed"])["gap"]
    assert found.tolist() == own[found.index].tolist()
    shown = tables.search_shown(rows)
    assert shown["trained_on"].tolist() == ["plain classifier (scene reader)", *["real images"] * 2,
                                            *["real images + CGN trained here"] * 2]  # fmt: skip
    assert (shown[["epoch", "original", "gap", "top-1"]] != "").all(None)


def test_the_search_is_that_of_the_seed() -> None:
    """Reproduction Table 7: the authors' CGN at both rates, the own one only at the smaller."""
    chosen = params.load("gpu")
    cases = plan.search(WorldRun(chosen, ImageNet(chosen.imagenet)))
    assert [seed for _, _, seed, _, _ in cases] == [*rules.seeds(2)] * 8
    cases = cases[::2]
    assert [(which.source, rate, ratio) for kind, which, _, rate, ratio in cases if kind == "cgn"] == [
        ("authors", 1e-4, 1.0), ("authors", 1e-4, 2.0), ("authors", 1e-3, 1.0), ("authors", 1e-3, 2.0),
        ("trained", 1e-4, 1.0), ("trained", 1e-4, 2.0),
    ]  # fmt: skip
    assert [(rate, ratio) for kind, _, _, rate, ratio in cases if kind == "real"] == [(1e-4, 0.0), (1e-3, 0.0)]


def test_one_command_trains_all_that_the_tables_read(run: WorldRun) -> None:
    worlds.train_together(run)
    trained = [sorted((store.current().root / step).glob("*.json")) for step in ("natural_cgn", "ensemble")]
    assert [len(files) for files in trained] == [5, 6 + 6 + 4]
    tables.classifiers(run), tables.search(run)
    assert [sorted((store.current().root / step).glob("*.json")) for step in ("natural_cgn", "ensemble")] == trained


@pytest.mark.parametrize("classes", [((), (), ()), ((1, 2), (3,), (4, 5)), ((1,), (2,), (3,))])
def test_sets_are_written_of_any_classes(run: WorldRun, classes: Classes, tmp_path: Path) -> None:
    sampling = Sampling(classes=classes)
    file = worlds.write_counterfactuals(run, tmp_path, "val", 6, sampling)
    data = datasets.counterfactuals(file.parent, run.world.transform("val"))
    drawn = torch.stack([labels for _, labels in data])  # type: ignore[attr-defined]
    assert torch.equal(drawn, datasets.draw_classes(sampling, torch.arange(6), 9))
    worlds.write_counterfactuals(run, tmp_path, "val", 8, sampling)
    assert len(list((tmp_path / "val" / "ims").iterdir())) == 8
    with pytest.raises(ReproError, match="holds counterfactuals made otherwise"):
        worlds.write_counterfactuals(run, tmp_path, "val", 8, replace(sampling, seed=1))


@pytest.mark.parametrize(
    ("classes", "message"),
    [(((1,), (2,), (9,)), "no class 9 for background"), (((-1, 1), (), ()), "no class -1 for shape")],
)
def test_classes_that_there_are_not_are_refused(run: WorldRun, classes: Classes, message: str, tmp_path: Path) -> None:
    with pytest.raises(ReproError, match=message):
        worlds.write_counterfactuals(run, tmp_path, "val", 6, Sampling(classes=classes))
    assert not list(tmp_path.iterdir())


def test_pictures_of_the_study(run: WorldRun) -> None:
    grid = figures.counterfactual_grid(run)
    assert grid["images"].shape == (16, 64, 64, 3) and grid["labels"][0].count(" / ") == 2
    assert figures.training_sheets(run)["sheets"].shape == (3, 3, 6, 64, 64, 3)
    assert figures.training_sheets(run)["classes"].tolist() == ["fish", "butterfly", "moon"]
    assert {
        kind: worst.shape for kind, worst in figures.failures(run, candidates=12, shown=2).items()
    } == dict.fromkeys(("entanglement", "residue", "realism"), (2, 2, 64, 64, 3))
    followed = figures.samples(run, count=3)
    assert followed["sheets"].shape == (2, 5, 3, 64, 64, 3) and followed["classes"].tolist() == ["butterfly", "moon"]
    walk = figures.interpolations(run)
    assert walk["images"].shape == (7, 8, 64, 64, 3) and walk["ends"].tolist() == ["class fish", "class moon"]
    composed = walk["images"][::2]
    assert (composed[:, 0] == composed[0, 0]).all() and not (composed[0] == composed[3]).all()
    assert all((row[0] != row[-1]).any() for row in walk["images"])
    frames = figures.tour(run, midpoints=1)["frames"]
    assert frames.shape == (12, 64, 64, 3) and not (frames[0] == frames[6]).all()
    heads = figures.heads(run)
    assert len(heads) == 5 and heads["real images"].shape == (3, 8, 64, 64)


def test_results_are_found_again(run: WorldRun, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Tensor:
        raise AssertionError("this was computed already")

    first = tables.quality(run)
    monkeypatch.setattr("reprolib.natural.quality.score", fail)
    store.use(Store(store.current().root))
    assert tables.quality(run).equals(first)
