"""The classifier of Kim et al. (2019) at 32x32, its training, and how it is scored (spec/mnist.md, section 9)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adadelta

from reprolib import rng, training
from reprolib.store import Checkpoint

TEST_BATCH = 1000
Precision = Literal["float32", "bfloat16"]
"""What convolutions are computed in while training; weights, head and tests are float32 always."""


class Classifier(nn.Module):
    """67,760 parameters; the state names are those of the released classifiers of Bagad et al. (2022)."""

    last_relu = 9
    """Index in ``model`` of the ReLU behind the last convolution: the GradCAM target."""

    def __init__(self, channels: int = 3) -> None:
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
        self.cls = nn.Sequential(nn.Linear(64, 10), nn.LogSoftmax(dim=1))

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, 32, 32) in [-1, 1] -> log-probabilities (B, 10)."""
        features = self.model[2:](self._first_convolution(images))
        with torch.autocast(
            images.device.type, enabled=False
        ):  # log-probabilities need more than the 8 bits of bfloat16
            log_probabilities: Tensor = self.cls(features.to(self.cls[0].weight.dtype))
        return log_probabilities

    def _first_convolution(self, images: Tensor) -> Tensor:
        """Batch norm and convolution, with the affine part of the norm moved into the convolution.

        The same function, but no gradient with respect to the images is needed: the gain scales the kernel, and the
        bias gives one image that is added to all. That gradient is the dearest of the whole network.
        """
        norm, convolution = self.model[0], self.model[1]
        assert isinstance(norm, nn.BatchNorm2d) and isinstance(convolution, nn.Conv2d)
        if self.training and norm.num_batches_tracked is not None:
            norm.num_batches_tracked += 1
        normal = F.batch_norm(images, norm.running_mean, norm.running_var, training=self.training, eps=norm.eps)
        kernel = convolution.weight * norm.weight[:, None, None]
        flat = norm.bias[None, :, None, None].expand(1, -1, *images.shape[2:])
        offset = F.conv2d(flat, convolution.weight, convolution.bias, padding=2)
        return F.conv2d(normal, kernel, padding=2) + offset


@torch.inference_mode()
def predict(model: Classifier, images: Tensor) -> Tensor:
    """Predicted classes, int64 (N,), in eval mode; the mode of the model is put back."""
    mode, device = model.training, next(model.parameters()).device
    model.eval()
    parts = [model(_layout(batch.to(device))).argmax(1).cpu() for batch in images.split(TEST_BATCH)]
    model.train(mode)
    return torch.cat(parts)


def accuracy(predicted: Tensor, labels: Tensor) -> float:
    """Share of correct predictions in percent."""
    return 100.0 * int((predicted == labels).sum()) / len(labels)


def _layout(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)


def train(
    images: Tensor,
    labels: Tensor,
    tests: dict[str, tuple[Tensor, Tensor]],
    *,
    epochs: int,
    batch: int,
    key: rng.Key,
    checkpoint: Checkpoint,
    title: str,
    device: str = "cpu",
    precision: Precision = "float32",
) -> tuple[Classifier, list[dict[str, float]]]:
    """Train a classifier and score it on every test set after every epoch.

    images (N, C, 32, 32) and labels (N,) stay in memory; an epoch is one random permutation and indexing. NLL loss,
    Adadelta with learning rate 1 x 0.7**epoch. tests: name -> (images, labels). Returns the model of the last epoch
    and one row per epoch: ``train`` (share of correct predictions *while* the epoch ran, as published) and one
    accuracy per test set, all in percent.
    """
    with rng.seeded("classifier initialisation", *key):
        model = Classifier(images.shape[1]).to(device).to(memory_format=torch.channels_last)
    optimiser = Adadelta(model.parameters(), lr=1.0)
    memory = training.Memory(correct=torch.zeros((), dtype=torch.long), history=[])
    per_epoch = -(-len(labels) // batch)
    order: dict[int, Tensor] = {}

    def step(i: int) -> dict[str, Tensor]:
        epoch, position = divmod(i, per_epoch)
        if epoch not in order:
            order.clear()
            order[epoch] = rng.permutation(len(labels), "classifier order", *key, epoch)
        if position == 0:
            memory.values["correct"] = torch.zeros((), dtype=torch.long)
            for group in optimiser.param_groups:
                group["lr"] = 0.7**epoch
        index = order[epoch][position * batch : (position + 1) * batch]
        target = labels[index].to(device)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bfloat16"):
            output = model(_layout(images[index].to(device)))
        loss = F.nll_loss(output, target)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        memory.values["correct"] = memory.values["correct"] + (output.detach().argmax(1) == target).sum().cpu()
        if position == per_epoch - 1:
            row = {"train": 100.0 * int(memory.values["correct"]) / len(labels)}
            memory.values["history"].append(row | _scores(model, tests))
        return {"loss": loss}

    model.train()
    states: dict[str, training.Stateful] = {"model": model, "optimiser": optimiser, "memory": memory}
    training.run(title, epochs * per_epoch, step, states, checkpoint, every=max(per_epoch, 2000))
    history: list[dict[str, Any]] = memory.values["history"]
    return model.cpu().eval(), history


def _scores(model: Classifier, tests: dict[str, tuple[Tensor, Tensor]]) -> dict[str, float]:
    return {name: accuracy(predict(model, images), labels) for name, (images, labels) in tests.items()}


def select(history: list[dict[str, float]], selection: str, by: str = "test") -> dict[str, float]:
    """The row that is reported: ``last``, or ``best_test``, the first epoch with the highest accuracy on ``by``.

    ``best_test`` chooses on the test set and so flatters it; the seed's tables were made that way.
    """
    if selection == "last":
        return history[-1]
    return max(history, key=lambda row: row[by])
