"""The classifier of Kim et al. (2019) at 32x32, its training, and how it is scored (docs/mnist.md, section 9)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adadelta

from reprolib.run import rng, training
from reprolib.run.store import Checkpoint

TEST_BATCH = 1000
Precision = Literal["float32", "bfloat16"]
"""What convolutions are computed in while training; weights, head and tests are float32 always."""


class Classifier(nn.Module):
    """67,760 parameters; the state names are those of the released classifiers of Bagad et al. (2022)."""

    last_relu = 9
    """Index in ``model`` of the ReLU behind the last convolution: the GradCAM target."""

    def __init__(self, channels: int = 3, classes: int = 10) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, 32, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.ReLU(),  # not in place: GradCAM would see an overwritten activation on the CPU
            nn.AvgPool2d(7),
            nn.Flatten(),
        )
        self.cls = nn.Sequential(nn.Linear(64, classes), nn.LogSoftmax(dim=1))

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, 32, 32) in [-1, 1] -> log-probabilities (B, classes)."""
        pooled = self.model[3](self._first_convolution(images))  # before its ReLU: the same, on a quarter of the pixels
        features = self.model[4:](self.model[2](pooled))
        # log-probabilities need more than the 8 bits of bfloat16
        with torch.autocast(images.device.type, enabled=False):
            log_probabilities: Tensor = self.cls(features.to(self.cls[0].weight.dtype))
        return log_probabilities

    def _first_convolution(self, images: Tensor) -> Tensor:
        """Batch norm and convolution, with the affine part of the norm moved into the convolution.

        The same function, but no gradient with respect to the images is needed, which is the dearest of the whole
        network: the gain scales the kernel, and the bias becomes the kernel of one more channel that is 1 everywhere.
        """
        norm, convolution = self.model[0], self.model[1]
        assert isinstance(norm, nn.BatchNorm2d) and isinstance(convolution, nn.Conv2d)
        if self.training and norm.num_batches_tracked is not None:
            norm.num_batches_tracked += 1
        normal = F.batch_norm(images, norm.running_mean, norm.running_var, training=self.training, eps=norm.eps)
        gain, bias = norm.weight[:, None, None], norm.bias[:, None, None]
        kernel = torch.cat([convolution.weight * gain, (convolution.weight * bias).sum(1, keepdim=True)], dim=1)
        with_ones = torch.cat([normal, torch.ones_like(normal[:, :1])], dim=1)
        return F.conv2d(with_ones.contiguous(memory_format=torch.channels_last), kernel, convolution.bias, padding=2)


class Stacked(nn.Module):
    """K classifiers that never see each other as one network: convolutions of K groups, norms and heads side by side.

    One launch of a GPU's kernel then serves all of them. An optimiser that works element by element, such as
    Adadelta, trains them as it would train each alone, up to the order of sums.
    """

    def __init__(self, classifiers: Sequence[Classifier]) -> None:
        super().__init__()
        self.count = len(classifiers)
        self.model = nn.Sequential(*(self._grouped(layer) for layer in classifiers[0].model))
        self.head = nn.Linear(64, 10 * self.count)
        states = [some.state_dict() for some in classifiers]
        for name, value in self.state_dict().items():
            theirs = [state[name.replace("head", "cls.0")] for state in states]
            value.copy_(torch.cat(theirs) if value.ndim else theirs[0])

    def _grouped(self, layer: nn.Module) -> nn.Module:
        k = self.count
        if isinstance(layer, nn.BatchNorm2d):
            return nn.BatchNorm2d(k * layer.num_features)
        if isinstance(layer, nn.Conv2d):
            sizes = k * layer.in_channels, k * layer.out_channels, layer.kernel_size[0], layer.stride[0]
            return nn.Conv2d(*sizes, padding=layer.padding, groups=k)  # type: ignore[arg-type]
        return layer

    def forward(self, images: Tensor) -> Tensor:
        """(K, B, C, 32, 32) in [-1, 1] -> log-probabilities (K, B, 10)."""
        side_by_side = images.transpose(0, 1).flatten(1, 2).contiguous(memory_format=torch.channels_last)
        features = self.model(side_by_side).unflatten(1, (self.count, -1))
        with torch.autocast(images.device.type, enabled=False):
            weight = self.head.weight.unflatten(0, (self.count, -1))
            logits = torch.einsum("bki,koi->kbo", features.to(weight.dtype), weight)
            return F.log_softmax(logits + self.head.bias.view(self.count, 1, -1), dim=-1)

    def split(self) -> list[Classifier]:
        """The classifiers, each with its own weights, in training mode."""
        channels = len(self.model[0].weight) // self.count  # type: ignore[arg-type]
        made = [Classifier(channels) for _ in range(self.count)]
        for name, value in self.state_dict().items():
            parts = value.chunk(self.count) if value.ndim else [value] * self.count
            for model, part in zip(made, parts, strict=True):
                model.state_dict()[name.replace("head", "cls.0")].copy_(part)
        return [model.to(self.head.weight.device) for model in made]


@torch.inference_mode()
def predict(model: Classifier, images: Tensor) -> Tensor:
    """Predicted classes, int64 (N,), in eval mode; the mode of the model is put back."""
    mode, device = model.training, next(model.parameters()).device
    model.eval()
    parts = [model(batch.to(device)).argmax(1).cpu() for batch in images.split(TEST_BATCH)]
    model.train(mode)
    return torch.cat(parts)


def accuracy(predicted: Tensor, labels: Tensor) -> float:
    """Share of correct predictions in percent."""
    return 100.0 * int((predicted == labels).sum()) / len(labels)


@dataclass(frozen=True)
class Task:
    """What one classifier is trained and tested on."""

    images: Tensor
    """(N, C, 32, 32) in [-1, 1]; stays in memory."""
    labels: Tensor
    """int64 (N,)."""
    tests: dict[str, tuple[Tensor, Tensor]]
    """name -> (images, labels)."""
    key: rng.Key
    """Names its randomness: initialisation and the order of the images."""
    classes: int = 10
    """Of a classifier that is trained alone; networks side by side have ten."""


History = list[dict[str, float]]


def train(task: Task, **how: Any) -> tuple[Classifier, History]:
    """:func:`train_together` for one classifier."""
    return train_together([task], **how)[0]


def train_together(
    tasks: Sequence[Task],
    *,
    epochs: int,
    batch: int,
    checkpoint: Checkpoint,
    title: str,
    device: str = "cpu",
    precision: Precision = "float32",
) -> list[tuple[Classifier, History]]:
    """Train a classifier per task, in one network if there are several, and score it on its tests after every epoch.

    An epoch is one random permutation and indexing. NLL loss, Adadelta with learning rate 1 x 0.7**epoch. Returns the
    models of the last epoch and one row per epoch: ``train`` (share of correct predictions *while* the epoch ran, as
    published) and one accuracy per test set, all in percent. All tasks must have equally many images.
    """
    models = []
    for task in tasks:
        with rng.seeded("classifier initialisation", *task.key):
            models.append(Classifier(task.images.shape[1], task.classes))
    network = (models[0] if len(tasks) == 1 else Stacked(models)).to(device).to(memory_format=torch.channels_last)
    optimiser, count = Adadelta(network.parameters(), lr=1.0), len(tasks[0].labels)
    memory = training.Memory(correct=torch.zeros(len(tasks), dtype=torch.long), history=[[] for _ in tasks])
    per_epoch = -(-count // batch)

    @lru_cache(maxsize=1)
    def orders(epoch: int) -> list[Tensor]:
        return [rng.permutation(count, "classifier order", *task.key, epoch) for task in tasks]

    def step(i: int) -> dict[str, Tensor]:
        epoch, position = divmod(i, per_epoch)
        if position == 0:
            memory.values["correct"] = torch.zeros(len(tasks), dtype=torch.long)
            for group in optimiser.param_groups:
                group["lr"] = 0.7**epoch
        chosen = [order[position * batch : (position + 1) * batch] for order in orders(epoch)]
        images = torch.stack([task.images[index] for task, index in zip(tasks, chosen, strict=True)]).to(device)
        labels = torch.stack([task.labels[index] for task, index in zip(tasks, chosen, strict=True)]).to(device)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bfloat16"):
            output = network(images) if len(tasks) > 1 else network(images[0])[None]
        loss = F.nll_loss(output.flatten(0, 1), labels.flatten()) * len(tasks)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        right = (output.detach().argmax(2) == labels).sum(1)  # stays on the device: reading it would stop that
        memory.values["correct"] = memory.values["correct"].to(device) + right
        if position == per_epoch - 1:
            shares = [100.0 * correct / count for correct in memory.values["correct"].tolist()]
            for task, model, share, rows in zip(tasks, _parts(network), shares, memory.values["history"], strict=True):
                tests = task.tests.items()
                scores = {name: accuracy(predict(model, shown), truth) for name, (shown, truth) in tests}
                rows.append({"train": share} | scores)
        return {"loss": loss / len(tasks)}

    network.train()
    states: dict[str, training.Stateful] = {"model": network, "optimiser": optimiser, "memory": memory}
    training.run(title, epochs * per_epoch, step, states, checkpoint, every=max(per_epoch, 2000))
    return [(model.cpu().eval(), rows) for model, rows in zip(_parts(network), memory.values["history"], strict=True)]


def _parts(network: nn.Module) -> list[Classifier]:
    return network.split() if isinstance(network, Stacked) else [network]  # type: ignore[list-item]


def select(history: list[dict[str, float]], selection: str, by: str = "test") -> dict[str, float]:
    """The row that is reported: ``last``, or ``best_test``, the first epoch with the highest accuracy on ``by``.

    ``best_test`` chooses on the test set and so flatters it; the reproduction study's tables were made that way.
    """
    if selection == "last":
        return history[-1]
    return max(history, key=lambda row: row[by])


def classifier_from(tensors: dict[str, Tensor]) -> Classifier:
    """A classifier in eval mode, loaded strictly; channels and classes follow from the tensors."""
    model = Classifier(tensors["model.0.weight"].numel(), tensors["cls.0.bias"].numel())
    model.load_state_dict(tensors, strict=True)
    return model.eval()
