"""The separate conditional GAN of Bagad et al. (2022), for their "GAN" rows (docs/mnist.md, section 8)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reprolib.mnist.cgn import CLASSES, LATENT


class DCGAN(nn.Module):
    """Generator, 831,460 parameters; its discriminator is ``cgn.LinearDiscriminator`` for all variants."""

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
