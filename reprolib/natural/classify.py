"""The invariant classifier ensemble, its training on real images and counterfactuals, and its accuracy
(docs/imagenet.md, sections 3.4, 9 and 10.1).

One step: a real batch, whose loss is that of the mean of the heads; a counterfactual batch, whose loss is that of each
head on its own factor; one update. An epoch is one pass over the real data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD
from torch.utils.data import DataLoader, Dataset

from reprolib import gradcam
from reprolib.natural.datasets import Images
from reprolib.run import distributed, rng, training
from reprolib.run.store import Checkpoint
from reprolib.schema import ASIDE, NaturalParams
from reprolib.vocabulary import PUBLISHED_FACTORS

HEADS = PUBLISHED_FACTORS
STUDY = NaturalParams()
Selection = Literal["four_top1", "real_top1"]
"""Which row of a training is reported, see :func:`best_row`."""
Order = Callable[[int], Tensor]
"""epoch -> which images it shows, in order; always the same number."""


class Ensemble(nn.Module):
    """``forward``: images (B, 3, H, W), normalised as the backbone wants -> head name -> logits (B, classes)."""

    def __init__(self, backbone: nn.Module, features: int, classes: int, target: str = "") -> None:
        """backbone: a pretrained one, images -> (B, features); its norms keep their running statistics, but their
        affine parameters train. target: the layer of the backbone that GradCAM looks at."""
        super().__init__()
        self.backbone, self.target = backbone, target
        self.heads = nn.ModuleDict({name: nn.Linear(features, classes) for name in HEADS})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = self.backbone(images.contiguous(memory_format=torch.channels_last))
        return {name: head(features) for name, head in self.heads.items()}

    def train(self, mode: bool = True) -> Ensemble:
        super().train(mode)
        for module in self.backbone.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


class Plain(nn.Module):
    """A pretrained classifier with its own last layer, which answers for all three heads: the row to compare with."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return dict.fromkeys(HEADS, self.network(images))


def predictions(logits: dict[str, Tensor]) -> dict[str, Tensor]:
    """All five: the three heads, their mean ``avg``, and ``shape_texture``, which leaves the background head out."""
    mean = torch.stack([logits[name] for name in HEADS]).mean(0)
    without = (logits["shape"] + logits["texture"]) / 2
    return {**logits, "avg": mean, "shape_texture": without}


def real_loss(logits: dict[str, Tensor], labels: Tensor) -> Tensor:
    """Cross entropy of the mean of the heads: on a real image they vote together."""
    return F.cross_entropy(predictions(logits)["avg"], labels)


def counterfactual_loss(logits: dict[str, Tensor], labels: dict[str, Tensor]) -> Tensor:
    """Sum of the cross entropies of the heads, each with the label of its own factor."""
    return torch.stack([F.cross_entropy(logits[name], labels[name]) for name in HEADS]).sum()


@dataclass(frozen=True)
class ClassifierSettings:
    """The reproduction study's settings; 0.001 and a ratio of 1 are those of the released code and of Bagad et al."""

    epochs: int = STUDY.epochs
    batch: int = STUDY.batch
    cf_ratio: float = STUDY.cf_ratio
    """Counterfactuals per real image; 0 trains on real images alone."""
    learning_rate: float = STUDY.classifier_rate
    momentum: float = 0.9
    weight_decay: float = 1e-4
    decay_every: int = STUDY.decay_every
    """Epochs after which the learning rate falls to a tenth; 15 in the authors' code."""
    selection: Selection = STUDY.selection
    device: str = field(default="cpu", metadata=ASIDE)
    """Named in the recipe of a result by ``Machine``."""


class Batches:
    """Batches of a data set in an order that depends on the epoch alone; any step can be the first.

    Random augmentation draws from a stream of (seed, epoch, image), so that batches depend neither on the number of
    worker processes nor on where a resumed run starts.
    """

    def __init__(self, data: Images, order: Order, batch: int, seed: int, workers: int = 0) -> None:
        self.data, self.order, self.batch, self.seed, self.workers = data, order, batch, seed, workers
        self.count = len(order(0))
        self.per_epoch = -(-self.count // batch)
        self._next = -1
        self._batches: Iterator[Any] = iter(())

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """The batch of a step; asking for one step after the other is what is fast."""
        epoch, position = divmod(step, self.per_epoch)
        if step != self._next or position == 0:
            self._batches = self._from(epoch, position)
        self._next = step + 1
        return next(self._batches)

    def _from(self, epoch: int, position: int) -> Iterator[Any]:
        batches = [chosen.tolist() for chosen in self.order(epoch)[position * self.batch :].split(self.batch)]
        mine = [distributed.part(batch) for batch in batches]
        augmented = _Keyed(self.data, (self.seed, epoch))
        return iter(DataLoader(augmented, batch_sampler=mine, num_workers=self.workers))

    def weight(self, step: int) -> float:
        """How much this process's part of the batch of a step counts; 1 for a process alone."""
        before = step % self.per_epoch * self.batch
        return distributed.weight(min(self.batch, self.count - before))


class _Keyed(Dataset[tuple[Tensor, ...]]):
    """A data set whose item i is augmented with the randomness of (key, i)."""

    def __init__(self, data: Images, key: rng.Key) -> None:
        self.data, self.key = data, key

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        with rng.seeded("augmentation", *self.key, index):
            return self.data[index]


def train(
    ensemble: Ensemble,
    real: Batches,
    counterfactual: Batches | None,
    evaluate: Callable[[Ensemble], dict[str, float]],
    settings: ClassifierSettings,
    checkpoint: Checkpoint,
    title: str,
) -> tuple[Ensemble, list[dict[str, float]]]:
    """Train in place; return the ensemble as it was at the best row, in eval mode on the CPU, and all rows.

    ``evaluate`` is called before training (row 0, the untouched network) and after every epoch, and gives one row of
    numbers, of which some decide; see ``best_row``. Under torchrun every process takes a part of each batch.
    """
    ensemble = ensemble.to(settings.device)
    optimiser = SGD(
        ensemble.parameters(), settings.learning_rate, settings.momentum, weight_decay=settings.weight_decay
    )
    memory = training.Memory(history=[], best={})

    def measure() -> None:
        history = memory.values["history"]
        history.append(evaluate(ensemble.eval()))
        if best_row(history, settings.selection) == len(history) - 1:
            memory.values["best"] = {name: value.cpu().clone() for name, value in ensemble.state_dict().items()}
        ensemble.train()

    def step(i: int) -> dict[str, Tensor]:
        epoch, position = divmod(i, real.per_epoch)
        if i == 0:
            measure()
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * 0.1 ** (epoch // settings.decay_every)
        optimiser.zero_grad(set_to_none=True)
        images, labels = (each.to(settings.device) for each in real(i))
        terms = {"real": real_loss(ensemble(images), labels) * real.weight(i)}
        terms["real"].backward()
        if counterfactual is not None:
            images, labels = (each.to(settings.device) for each in counterfactual(i))
            by_head = dict(zip(HEADS, labels.unbind(1), strict=True))
            terms["counterfactual"] = counterfactual_loss(ensemble(images), by_head) * counterfactual.weight(i)
            terms["counterfactual"].backward()
        distributed.add_gradients(ensemble.parameters())
        optimiser.step()
        if position == real.per_epoch - 1:
            measure()
        return terms

    ensemble.train()
    states: dict[str, training.Stateful] = {"ensemble": ensemble, "optimiser": optimiser, "memory": memory}
    training.run(title, settings.epochs * real.per_epoch, step, states, checkpoint, every=max(real.per_epoch, 500))
    ensemble.load_state_dict(memory.values["best"])
    return ensemble.cpu().eval(), memory.values["history"]


def best_row(history: list[dict[str, float]], selection: Selection) -> int:
    """The row that is reported: the first with the best ``top1`` on real images (``real_top1``, Bagad et al.), or with
    the best sum of that and of ``factor/<head>``, the top-1 of each head on its own factor of validation
    counterfactuals (``four_top1``, the reproduction study's code). Without counterfactuals both are the same."""
    names = ["top1"] if selection == "real_top1" else ["top1", *(f"factor/{head}" for head in HEADS)]
    return max(range(len(history)), key=lambda row: sum(history[row].get(name, 0.0) for name in names))


@torch.inference_mode()
def scores(ensemble: nn.Module, data: Images, workers: int = 0, batch: int = 64) -> tuple[dict[str, Tensor], Tensor]:
    """Predictions of an ensemble in eval mode for a data set, (N, classes) each, and its labels; on the CPU."""
    device = next(ensemble.parameters()).device
    rows: list[dict[str, Tensor]] = []
    for images, labels in DataLoader(data, batch, num_workers=workers):
        rows.append({name: each.cpu() for name, each in predictions(ensemble(images.to(device))).items()})
        rows[-1]["labels"] = labels
    whole = {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
    return whole, whole.pop("labels")


def top_k(scores: Tensor, labels: Tensor, k: int) -> float:
    """Share of images whose label is among the k largest scores, or all if there are fewer, in percent."""
    among = (scores.topk(min(k, scores.shape[1]), dim=1).indices == labels[:, None]).any(1)
    return 100 * float(among.double().mean())


def head_heatmaps(ensemble: Ensemble, images: Tensor) -> dict[str, Tensor]:
    """Heatmaps of every head for images (N, 3, H, W), all uint8 on the CPU: ``seen`` (N, 3, H, W), each image stretched
    to the full range, and ``heatmaps/<head>`` (N, H, W)."""
    target, there = ensemble.backbone.get_submodule(ensemble.target), images.to(next(ensemble.parameters()).device)
    maps = {f"heatmaps/{name}": gradcam.heatmaps(ensemble, target, there, name).cpu() for name in HEADS}
    low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    maps["seen"] = (images - low) / (high - low)
    return {name: (255 * each).round().byte() for name, each in maps.items()}
