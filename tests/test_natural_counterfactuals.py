"""Counterfactual sets on disk: modes, layout, resuming, parts of a set, and how an ensemble draws from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from reprolib.natural import datasets
from reprolib.natural.cgn import CGN
from reprolib.natural.datasets import Sampling
from reprolib.natural.u2net import PLANS, U2Net
from reprolib.run import AssetError

INDEX = torch.arange(2000)


@pytest.fixture(scope="module")
def cgn() -> CGN:
    torch.manual_seed(0)
    return CGN("scenes-64-tiny", U2Net(PLANS["u2net-thin"])).eval()


@pytest.fixture
def folder(cgn: CGN, tmp_path: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "BATCH", 2)
        datasets.write_set(lambda: cgn, 9, Sampling(), tmp_path / "run", 5)
    return tmp_path / "run"


def test_random_classes_are_independent_and_uniform() -> None:
    drawn = datasets.draw_classes(Sampling(), INDEX, 9)
    assert drawn.shape == (2000, 3) and drawn.min() == 0 and drawn.max() == 8
    assert abs(float((drawn[:, 0] == drawn[:, 1]).float().mean()) - 1 / 9) < 0.03
    assert torch.equal(drawn[100:103], datasets.draw_classes(Sampling(), INDEX[100:103], 9))
    assert not torch.equal(drawn, datasets.draw_classes(Sampling(seed=1), INDEX, 9))


def test_the_other_published_modes() -> None:
    same = datasets.draw_classes(Sampling(same=True), INDEX, 9)
    assert (same[:, 0] == same[:, 1]).all() and (same[:, 0] == same[:, 2]).all() and len(same.unique()) == 9
    best = datasets.draw_classes(Sampling(classes=((1, 2), (3,), (4, 5, 6))), INDEX, 9)
    assert [column.unique().tolist() for column in best.unbind(1)] == [[1, 2], [3], [4, 5, 6]]
    fixed = datasets.draw_classes(Sampling(classes=((1,), (2,), (3,))), INDEX, 9)
    assert (fixed == torch.tensor([1, 2, 3])).all()
    half = datasets.draw_classes(Sampling(classes=((1,), (), ())), INDEX, 9)
    assert (half[:, 0] == 1).all() and torch.equal(half[:, 1:], datasets.draw_classes(Sampling(), INDEX, 9)[:, 1:])


def test_the_layout_is_the_released_one(folder: Path) -> None:
    assert sorted(file.name for file in (folder / "ims").iterdir()) == [f"run_{i:07d}_x_gen.jpg" for i in range(5)]
    lines = (folder / "labels.csv").read_text().splitlines()
    assert lines[0] == ",im_name,shape_cls,texture_cls,bg_cls" and lines[1].startswith(",run_0000000,")
    classes = [[int(value) for value in line.split(",")[2:]] for line in lines[1:]]
    assert classes == datasets.draw_classes(Sampling(), INDEX[:5], 9).tolist()


def test_an_image_is_the_composition_that_its_number_names(cgn: CGN, folder: Path) -> None:
    images, _ = datasets.generate(cgn, Sampling(), torch.tensor([3]))
    with Image.open(folder / "ims" / "run_0000003_x_gen.jpg") as picture:
        stored = np.asarray(picture).astype(float) / 127.5 - 1
    assert np.abs(stored - images[0].permute(1, 2, 0).numpy()).mean() < 0.03  # JPEG


def test_an_interrupted_set_goes_on_and_keeps_what_is_there(
    cgn: CGN, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = {file.name: file.read_bytes() for file in (folder / "ims").iterdir()}
    for lost in ("run_0000001_x_gen.jpg", "run_0000004_x_gen.jpg"):
        (folder / "ims" / lost).unlink()
    made: list[int] = []
    generate = datasets.generate
    monkeypatch.setattr(datasets, "generate", lambda c, r, i: (made.extend(i.tolist()), generate(c, r, i))[1])
    datasets.write_set(lambda: cgn, 9, Sampling(), folder, 5)
    assert made == [1, 4]
    found = {file.name: file.read_bytes() for file in (folder / "ims").iterdir()}
    assert found.keys() == whole.keys()
    assert all(found[name] == whole[name] for name in ("run_0000000_x_gen.jpg", "run_0000002_x_gen.jpg"))


def test_processes_that_share_a_set_write_the_set(
    cgn: CGN, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each writes every other image; every image is what it is in the whole set, whatever the batch."""
    monkeypatch.setattr(datasets.distributed, "size", lambda: 2)
    monkeypatch.setattr(datasets.distributed, "wait", lambda: None)
    for rank, there in ((1, [1, 3]), (0, [0, 1, 2, 3, 4])):  # process 0 looks again: what is missing, it would share
        monkeypatch.setattr(datasets.distributed, "rank", lambda rank=rank: rank)
        for _ in range(4):  # until process 1 has no share left
            datasets.write_set(lambda: cgn, 9, Sampling(), tmp_path / "shared" / "run", 5)
        names = sorted(file.name for file in (tmp_path / "shared" / "run" / "ims").iterdir())
        if rank == 0:
            assert names == [f"run_{number:07d}_x_gen.jpg" for number in there]
    transform = transforms.ToTensor()
    whole, shared = (datasets.counterfactuals(root / "run", transform) for root in (tmp_path, tmp_path / "shared"))
    assert len(whole) == len(shared) == 5
    for i in range(5):
        (image, labels), (other, other_labels) = whole[i], shared[i]
        assert torch.equal(labels, other_labels) and (image - other).abs().mean() < 0.02


def test_a_whole_set_needs_no_network(folder: Path) -> None:
    def fail() -> CGN:
        raise AssertionError("nothing is missing")

    (folder / "labels.csv").write_text("damaged")
    datasets.write_set(fail, 9, Sampling(), folder, 5)
    assert (folder / "labels.csv").read_text().startswith(",im_name,shape_cls")


def test_a_broken_image_is_named_and_made_again(cgn: CGN, folder: Path) -> None:
    broken = folder / "ims" / "run_0000002_x_gen.jpg"
    broken.write_bytes(broken.read_bytes()[:100])
    data = datasets.counterfactuals(folder, transforms.ToTensor())
    assert data[1][0].shape == (3, 64, 64)
    with pytest.raises(AssetError, match=r"run_0000002_x_gen\.jpg is missing or broken; remove it, then"):
        data[2]
    broken.unlink()
    datasets.write_set(lambda: cgn, 9, Sampling(), folder, 5)
    assert data[2][0].shape == (3, 64, 64)


@pytest.mark.parametrize("content", [None, "", "a,b\n1,2\n"])
def test_a_folder_without_good_labels_is_refused(content: str | None, folder: Path) -> None:
    (folder / "labels.csv").unlink()
    if content is not None:
        (folder / "labels.csv").write_text(content)
    with pytest.raises(AssetError, match=r"labels\.csv is (missing|not a label file)"):
        datasets.counterfactuals(folder, datasets.EVALUATION)


def test_an_epoch_draws_without_replacement_and_repeats_a_short_table() -> None:
    first, second = (datasets.counterfactual_order(100, 60, 0, epoch) for epoch in (0, 1))
    assert len(first.unique()) == 60 and not torch.equal(first, second)
    counts = datasets.counterfactual_order(10, 25, 0, 0).bincount(minlength=10)
    assert len(datasets.counterfactual_order(10, 25, 0, 0)) == 25 and counts.max() <= 3
    assert datasets.counterfactual_order(10, 30, 0, 0).bincount().eq(3).all()


@pytest.fixture
def walk(cgn: CGN) -> dict[str, torch.Tensor]:
    return datasets.interpolation(cgn, cgn.noise(1, ("walk",)), (1, 2, 3), (4, 2, 3), midpoints=3)


def test_an_interpolation_moves_only_the_factor_whose_class_changes(walk: dict[str, torch.Tensor], cgn: CGN) -> None:
    assert {name: len(parts) for name, parts in walk.items()} == dict.fromkeys(walk, 5)
    for name in ("foreground", "background"):
        torch.testing.assert_close(walk[name], walk[name][:1].expand(5, -1, -1, -1))
    assert (walk["mask"][0] - walk["mask"][-1]).abs().max() > 0
