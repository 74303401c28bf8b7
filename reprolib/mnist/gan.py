"""What the MNIST CGN shares with any conditional GAN: discriminators, with the state names of the authors, how they
initialise networks, and the separate GAN of Bagad et al. (docs/mnist.md, sections 3, 4 and 8).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

CLASSES, LATENT = 10, 32
"""Digits, and the length of the noise."""


class LinearDiscriminator(nn.Module):
    """Conditional LSGAN discriminator of Colored and Double-colored MNIST; 2,104,421 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.label_emb = nn.Embedding(CLASSES, CLASSES)
        self.model = nn.Sequential(
            nn.Linear(3 * 32 * 32 + CLASSES, 512),
            nn.LeakyReLU(0.2),
            nn.Linear(512, 512),
            nn.Dropout(0.4),
            nn.LeakyReLU(0.2),
            nn.Linear(512, 512),
            nn.Dropout(0.4),
            nn.LeakyReLU(0.2),
            nn.Linear(512, 1),
        )

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """images (B, 3, 32, 32), labels int64 (B,) -> score (B,), 1 for real and 0 for generated."""
        return self.model(torch.cat([images.flatten(1), self.label_emb(labels)], dim=1)).squeeze(1)


class ConvDiscriminator(nn.Module):
    """Conditional LSGAN discriminator of Wildlife MNIST: the label enters as a constant fourth channel."""

    def __init__(self) -> None:
        super().__init__()
        self.label_emb = nn.Embedding(CLASSES, 1)
        layers: list[nn.Module] = []
        channels = [4, 32, 64, 128, 128]
        for i, (kernel, stride) in enumerate([(3, 1), (3, 1), (4, 2), (4, 2)]):
            layers += [
                nn.Conv2d(channels[i], channels[i + 1], kernel, stride, bias=False),
                nn.BatchNorm2d(channels[i + 1]),
                nn.LeakyReLU(0.2),
            ]
        self.model = nn.Sequential(*layers, nn.AvgPool2d(3), nn.Conv2d(128, 1, 1, bias=False), nn.Flatten(0))
        initialise(self, "normal", 0.02)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """images (B, 3, 32, 32), labels int64 (B,) -> score (B,), 1 for real and 0 for generated."""
        label = self.label_emb(labels)[:, :, None, None].expand(-1, 1, *images.shape[2:])
        return self.model(torch.cat([images, label], dim=1))


def initialise(module: nn.Module, scheme: str, gain: float) -> None:
    """Initialise convolutions, linear layers and batch norms in place (docs/mnist.md, section 3, "Initialisation").

    scheme: ``orthogonal`` with the given gain, or ``normal`` with it as standard deviation. Biases become 0, batch
    norm weights N(1, gain**2); embeddings keep their N(0, 1).
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            if scheme == "orthogonal":
                nn.init.orthogonal_(layer.weight, gain)
            else:
                nn.init.normal_(layer.weight, 0.0, gain)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, gain)
            nn.init.zeros_(layer.bias)


class DCGAN(nn.Module):
    """The conditional GAN of Bagad et al. (2022), for their "GAN" rows: its generator, 831,460 parameters.

    Its discriminator is the linear one for all variants.
    """

    def __init__(self) -> None:
        super().__init__()
        self.label_emb = nn.Embedding(CLASSES, CLASSES)
        channels = [LATENT + CLASSES, 256, 128, 64]
        layers: list[nn.Module] = []
        for i in range(3):
            stride, padding = (1, 0) if i == 0 else (2, 1)
            layers += [
                nn.ConvTranspose2d(channels[i], channels[i + 1], 4, stride, padding, bias=False),
                nn.BatchNorm2d(channels[i + 1]),
                nn.LeakyReLU(0.2),
            ]
        self.model = nn.Sequential(*layers, nn.ConvTranspose2d(64, 3, 4, 2, 1, bias=False), nn.Tanh())

    def forward(self, labels: Tensor) -> Tensor:
        """labels int64 (B,) -> images (B, 3, 32, 32) in (-1, 1); the noise is drawn here."""
        noise = torch.randn(len(labels), LATENT, device=labels.device)
        return self.model(torch.cat([noise, self.label_emb(labels)], dim=1)[:, :, None, None])
