"""BigGAN-deep through pytorch-pretrained-biggan, with faults of that package mended (docs/imagenet.md, 3.1).

Published weights load by the package's state names. Mended: the last batch norm of a new model holds uninitialised
memory; statistics between two stored truncations are interpolated with swapped weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pytorch_pretrained_biggan import BigGANConfig
from pytorch_pretrained_biggan.model import BigGAN, BigGANBatchNorm
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.spectral_norm import SpectralNorm

from reprolib.run import rng

Layers = tuple[tuple[bool, int, int], ...]


@dataclass(frozen=True)
class Architecture:
    """A BigGAN-deep: its layers are (up-sample?, input channels, output channels), channels in multiples of width."""

    layers: Layers
    width: int
    latent: int
    classes: int
    attention: int
    """A self-attention block stands before the layer of this index."""

    @property
    def size(self) -> int:
        """Side of the images in pixels."""
        return 4 * 2 ** sum(up for up, _, _ in self.layers)


def _layers(text: str) -> Layers:
    """``"F16-16 T16-8"`` -> ((False, 16, 16), (True, 16, 8)), the notation of the specification."""
    words = [(word[0] == "T", word[1:].split("-")) for word in text.split()]
    return tuple((up, int(channels[0]), int(channels[1])) for up, channels in words)


_DEEP_256 = _layers("F16-16 T16-16 F16-16 T16-8 F8-8 T8-8 F8-8 T8-4 F4-4 T4-2 F2-2 T2-1")
_SMALL = _layers("F16-16 T16-8 F8-8 T8-4 F4-4 T4-2 F2-2 T2-1")
ARCHITECTURES = {
    "biggan-deep-256": Architecture(_DEEP_256, 128, 128, 1000, 8),
    "scenes-64": Architecture(_SMALL, 16, 64, 9, 6),
    "scenes-64-tiny": Architecture(_SMALL, 8, 32, 9, 6),
}
"""The published model, and two of its kind for the embedded size (docs/imagenet.md, 16.1: g64-s, g64-xs)."""


class BatchNorm(BigGANBatchNorm):
    """The package's conditional batch norm on stored statistics, interpolated the right way round."""

    def forward(self, x: Tensor, truncation: float, condition: Tensor | None = None) -> Tensor:
        mean, variance = self.statistics(truncation)
        if condition is None:
            return F.batch_norm(x, mean, variance, self.weight, self.bias, training=False, eps=self.eps)
        gain = (1 + self.scale(condition)) / torch.sqrt(variance + self.eps)
        offset = self.offset(condition) - mean * gain
        return torch.addcmul(offset[:, :, None, None], x, gain[:, :, None, None])

    def statistics(self, truncation: float) -> tuple[Tensor, Tensor]:
        """(mean, variance) of the channels at a truncation in (0, 1], linear between the stored ones."""
        position = truncation / self.step_size
        if abs(position - round(position)) < 1e-6:  # 0.58 / 0.02 is 28.999999999999996
            position = round(position)
        low = int(position)
        share = position - low
        if not share:
            return self.running_means[low], self.running_vars[low]
        means, variances = self.running_means, self.running_vars
        return torch.lerp(means[low], means[low + 1], share), torch.lerp(variances[low], variances[low + 1], share)


def build(name: str) -> BigGAN:
    """A new generator: ``model(u, y, truncation)``, u (B, latent), y (B, classes) floats that sum to 1, truncation in
    (0, 1] -> images (B, 3, size, size) in (-1, 1). Random weights give finite images: spectral norms settled."""
    chosen = ARCHITECTURES[name]
    config = BigGANConfig(
        output_dim=chosen.size,
        z_dim=chosen.latent,
        class_embed_dim=chosen.latent,
        channel_width=chosen.width,
        num_classes=chosen.classes,
        layers=[list(layer) for layer in chosen.layers],
        attention_layer_position=chosen.attention,
    )
    model = BigGAN(config)
    for module in model.modules():
        if isinstance(module, BigGANBatchNorm):
            module.__class__ = BatchNorm  # the package builds its own; only forward differs
    nn.init.ones_(model.generator.bn.weight)
    nn.init.zeros_(model.generator.bn.bias)
    settle(model)
    return model.eval()


@torch.no_grad()
def settle(model: nn.Module) -> None:
    """Run as many power iterations of every spectral norm as random weights need, without running the model."""
    for module in model.modules():
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, SpectralNorm):
                for _ in range(15):
                    hook.compute_weight(module, do_power_iteration=True)


def noise(index: Tensor | int, latent: int, truncation: float, key: rng.Key) -> Tensor:
    """u of the samples of these numbers (an int n: 0..n-1), float32 (samples, latent): normal, truncated to [-2, 2],
    then times truncation. Each sample has its own stream, so u does not depend on batch size or order."""
    index = torch.arange(index) if isinstance(index, int) else index
    return truncation * rng.truncated_normal(rng.uniform(key, index, latent), -2.0, 2.0).float()


def one_hot(classes: Tensor, count: int) -> Tensor:
    """Class ids (B,) -> y, float32 (B, count)."""
    return F.one_hot(classes, count).float()
