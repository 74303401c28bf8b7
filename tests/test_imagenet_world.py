"""ImageNet as a world, on small folders of the real layout."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from reprolib import params
from reprolib.natural import classify, plan, robustness
from reprolib.natural.classify import Ensemble
from reprolib.run import AssetError, assets, store
from reprolib.worlds import imagenet as imagenet_world
from reprolib.worlds.imagenet import CATEGORIES, ImageNet

IDS, SUPERCLASSES, SIXTEEN, TWO_HUNDRED = (
    assets.FOLDERS[f"imagenet/{name}"].classes
    for name in ("imagenet-mini", "backgrounds_challenge", "cue_conflict", "imagenet-a")
)


def _picture(file: Path, grey: int = 128, size: int = 24) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), (grey, 0, 255 - grey)).save(file)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data sets of ImageNet in their real layout, one picture a class."""
    root = tmp_path_factory.mktemp("assets") / "imagenet"
    for split in ("train", "val"):
        for number, name in enumerate(IDS):
            _picture(root / "imagenet-mini" / split / name / "a.JPEG", number % 256)
    for variant in ("original", "mixed_same", "mixed_rand"):
        for name in SUPERCLASSES:
            _picture(root / "backgrounds_challenge" / variant / "val" / name / "a.JPEG", size=224)
    for shape in SIXTEEN:
        _picture(root / "cue_conflict" / shape / f"{shape}1-cat2.png")
    for name in TWO_HUNDRED:
        _picture(root / "imagenet-a" / name / "a.jpg")
    for name in IDS:
        _picture(root / "imagenet-sketch" / name / "a.JPEG")
    return root.parent


@pytest.fixture
def imagenet(folders: Path, monkeypatch: pytest.MonkeyPatch) -> ImageNet:
    monkeypatch.setenv("REPROLIB_ASSETS", str(folders))
    monkeypatch.setenv("REPROLIB_CACHE", str(folders / "none"))
    return ImageNet(params.load("gpu").imagenet)


def test_imagenet_reads_folders_in_the_real_layout(imagenet: ImageNet) -> None:
    image, label = imagenet.real("val")[7]
    assert image.shape == (3, 224, 224) and int(label) == 7
    assert [int(imagenet.challenge(name)[8][1]) for name in ("original", "mixed_rand")] == [8, 8]
    conflict, groups = imagenet.conflict()
    names = [[tuple(CATEGORIES)[int(category)] for category in conflict[number][1]] for number in (0, 1)]
    assert names == [["airplane", "cat"], ["bear", "cat"]] and len(conflict) == len(groups) == 16  # type: ignore[arg-type]
    out_of_distribution = imagenet.out_of_distribution()
    assert {name: len(classes) for name, (_, classes) in out_of_distribution.items()} == {
        "imagenet-a": 200,
        "imagenet-sketch": 1000,
    }
    hard, classes = out_of_distribution["imagenet-a"]
    assert [IDS[classes[int(hard[number][1])]] for number in (0, 199)] == [TWO_HUNDRED[0], TWO_HUNDRED[199]]


def test_the_known_classes_are_those_that_the_labels_mean() -> None:
    assert (IDS[281], IDS[999], len(IDS)) == ("n02123045", "n15075141", 1000) and list(IDS) == sorted(
        IDS
    )  # tabby, paper
    assert [name[3:] for name in SUPERCLASSES] == list(imagenet_world.SUPERCLASSES)
    assert tuple(CATEGORIES) == SIXTEEN
    assert set(TWO_HUNDRED) < set(IDS) and list(TWO_HUNDRED) == sorted(TWO_HUNDRED)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_picture_ends_a_run_with_one_sentence(workers: int, imagenet: ImageNet, folders: Path) -> None:
    file = folders / "imagenet" / "cue_conflict" / "bear" / "bear1-cat2.png"
    whole = file.read_bytes()
    file.write_bytes(whole[:40])
    with pytest.raises(AssetError) as caught:
        classify.scores(Small(), imagenet.conflict()[0], workers)
    assert re.fullmatch(r"\S*/bear1-cat2.png is missing or broken; put a whole copy .*", str(caught.value))
    file.write_bytes(whole)


def test_missing_weights_are_named(imagenet: ImageNet) -> None:
    for ask, word in (
        (imagenet.new_cgn, "u2net.pth"),
        (imagenet.given_cgn, "u2net.pth"),
        (imagenet.rater, "inception_v3"),
        (imagenet.ensemble, "resnet50"),
        (imagenet.identity, "biggan-deep-256"),
        (imagenet.given_identity, "cgn.pth"),
        (imagenet.rater_identity, "inception_v3"),
        (imagenet.data_identity, "resnet50"),
    ):
        with pytest.raises(AssetError, match=word):
            ask()


class Small(Ensemble):
    """An ensemble of 1,000 classes whose backbone is one layer."""

    def __init__(self) -> None:
        backbone = nn.Sequential(nn.Conv2d(3, 4, 32, stride=32), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        super().__init__(backbone, 4, 1000, target="0")


def test_an_ensemble_is_scored_on_all_of_imagenets_sets(
    imagenet: ImageNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    chosen = params.load({"profile": "gpu", "device": "cpu", "imagenet": {"workers": 0, "epochs": 1, "batch": 500}})
    store.use(store.Store(tmp_path))
    monkeypatch.setattr(imagenet, "ensemble", Small)
    monkeypatch.setattr(imagenet, "data_identity", lambda: {"world": "imagenet"})
    monkeypatch.setattr(imagenet, "identity", lambda: {"world": "imagenet"})
    made = plan.classifier(plan.WorldRun(chosen, imagenet), "real", plan.CgnChoice(), 0).result()
    numbers, best = made.numbers, Small()
    best.load_state_dict(made.tensors)
    assert len(numbers["history"]) == 2
    assert set(robustness.out_of_distribution(imagenet, best.eval())) == {
        "imagenet-a",
        "imagenet-sketch",
        "cue conflict",
    }
    row = numbers["scores"]
    assert robustness.evaluate(imagenet, best) == pytest.approx(row)
    assert numbers["history"][numbers["best"]].items() < row.items()
    assert {"top1", "top5", "original/avg", "gap/shape_texture", "shape_bias/bg", "decided/avg"} <= set(row)
    assert all(0 <= value <= 100 for name, value in row.items() if not name.startswith("gap"))
