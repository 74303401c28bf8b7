"""Run by torchrun in a test: train a small ensemble, a small CGN and a tiny study on one or two processes, into a
folder."""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from reprolib import params, worlds
from reprolib.natural import classify, train
from reprolib.natural.cgn import CGN
from reprolib.natural.classify import Batches, ClassifierSettings, Ensemble
from reprolib.natural.plan import WorldRun
from reprolib.natural.train import CgnSettings, LossWeights, Patches
from reprolib.natural.u2net import PLANS, U2Net
from reprolib.run import distributed, rng
from reprolib.run.store import Checkpoint, Result, use

SCENES = {
    "profile": "smoke",
    "scenes": {
        "sources": ["trained"], "cgns": 1, "seeds": 1, "updates": 1, "micro_batch": 2, "accumulation": 2, "rated": 10,
        "targets": ["patches"], "ablations": [], "images": 50, "counterfactuals": 40, "validation": 18, "batch": 16,
        "epochs": 1, "search_rates": [],
    },
}  # fmt: skip
"""A CGN, one with the true mask, classifiers of real images, counterfactuals and true ones, and those of two nulls."""
COUNT = 11  # 4 + 4 + 3: the last batch cannot be parted evenly


def _order(epoch: int) -> Tensor:
    return rng.permutation(COUNT, "order", epoch)


def ensemble(checkpoint: Checkpoint) -> Result:
    torch.manual_seed(0)
    model = Ensemble(nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.ReLU()), 8, 3)
    images, labels = torch.randn(COUNT, 3, 4, 4), torch.randint(3, (COUNT, 3))
    settings = ClassifierSettings(epochs=2, batch=4, learning_rate=0.1)
    real, made = (
        Batches(TensorDataset(images, each), _order, 4, seed=1)  # type: ignore[arg-type]
        for each in (labels[:, 0], labels)
    )
    rising = count()
    model, history = classify.train(model, real, made, lambda _: {"top1": next(rising)}, settings, checkpoint, "Toy")
    return Result({"epochs": len(history)}, dict(model.state_dict()))


def cgn(checkpoint: Checkpoint) -> Result:
    torch.manual_seed(0)
    model = CGN("scenes-64-tiny", U2Net(PLANS["u2net-thin"]))
    weights = LossWeights(perceptual=(0.0,) * 4, texture=(0.0,) * 4)
    settings = CgnSettings(2, 2, 4, weights, patches=Patches(32, 5, 16), features="efficientnet_lite0")
    train.train_cgn(model, 7, settings, checkpoint, "Toy")
    return Result({}, {name: value for name, value in model.mechanisms().items() if name.endswith("weight_orig")})


if __name__ == "__main__":
    torch.set_num_threads(1)
    with distributed.processes("cpu"):
        store = distributed.SharedStore(Path(sys.argv[1]))
        for name, make in (("ensemble", ensemble), ("cgn", cgn)):
            for _ in range(2):  # the second time every process finds it
                made = store.get(name, {"name": name}, make, with_tensors=True)
        chosen = params.load(SCENES)
        use(distributed.SharedStore(Path(sys.argv[1]) / "study"))
        worlds.train_together(WorldRun(chosen, worlds.world_of("scenes", chosen)))
        (Path(sys.argv[1]) / f"process {distributed.rank()} of {distributed.size()}").touch()
