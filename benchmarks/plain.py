"""The straightforward way of every step, written from the specification the way published code does it.

Per-image data sets behind a DataLoader, a shuffler that tiles and indexes, enlarging before convolving, the whole
feature net, targets with a graph, losses read by the host at every step, one full CGN pass per counterfactual, and
GradCAM one image at a time. Nothing here is slow on purpose, and all of it gives the same numbers as reprolib.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pytorch_grad_cam import GradCAM
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision.transforms import functional as transforms

from reprolib import features, losses
from reprolib.mnist import cgn as models
from reprolib.mnist.classifier import Classifier
from reprolib.mnist.digits import Digits
from reprolib.run import rng
from reprolib.vocabulary import VARIANTS

# ---------------------------------------------------------------- data


class WildlifeDataset(Dataset[tuple[Tensor, int]]):
    """Image by image: open both pictures, resize, pad, crop, threshold, compose, normalise (docs/mnist.md, 2.4)."""

    def __init__(self, digits: Digits, objects: list[Path], grounds: list[Path], numbers: Tensor) -> None:
        """objects, grounds: ten picture files each. numbers: (N, 4) uniform, the crops, so that both ways agree."""
        self.digits, self.objects, self.grounds, self.numbers = digits, objects, grounds, numbers

    def __len__(self) -> int:
        return len(self.digits)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        label = int(self.digits.labels[i])
        grey = self.digits.images[i].float()[None, None] / 255
        mask = (F.interpolate(grey, size=32, mode="nearest")[0] > 0.1).float()
        corner = (self.numbers[i] * 125).long().tolist()
        foreground = _crop(self.objects[label], corner[0], corner[1])
        background = _crop(self.grounds[label], corner[2], corner[3])
        return (mask * foreground + (1 - mask) * background - 0.5) / 0.5, label


def _crop(file: Path, row: int, column: int) -> Tensor:
    with Image.open(file) as picture:
        resized = transforms.resize(picture.convert("RGB"), [150, 150], transforms.InterpolationMode.NEAREST)
    padded = transforms.pad(resized, [3], padding_mode="reflect")
    return transforms.to_tensor(transforms.crop(padded, row, column, 32, 32))


# ---------------------------------------------------------------- the CGN


def shuffle_texture(patch: Tensor) -> Tensor:
    """Tile 2x2, unfold every window, index one per image."""
    size = patch.shape[-1]
    rows, columns = torch.randint(0, size + 1, (2, len(patch)))
    windows = patch.repeat(1, 1, 2, 2).unfold(2, size, 1).unfold(3, size, 1)
    return windows[torch.arange(len(patch)), :, rows, columns]


class Enlarged(nn.Module):
    """Nearest-neighbour enlarging, then the 3x3 convolution."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight = convolution.weight

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), self.weight, padding=1)


def plain_cgn(model: models.CGN) -> models.CGN:
    """The same weights, with every layer done the straightforward way."""
    for mechanism in (model.f_shape, model.f_text1, model.f_text2):
        for i, layer in enumerate(mechanism):
            if isinstance(layer, models.UpsampledConv2d):
                mechanism[i] = Enlarged(layer)
            elif isinstance(layer, models.ChannelsLast):
                mechanism[i] = nn.Identity()
            elif isinstance(layer, nn.LeakyReLU):
                mechanism[i] = nn.LeakyReLU(layer.negative_slope)
    return model


def forward(model: models.CGN, *labels: Tensor) -> models.Mechanisms:
    """All three mechanisms: with one label and one noise, or, in counterfactual mode, with three of each."""
    latents = [model.latent(each) for each in labels]
    mask = model.f_shape(latents[0]).clamp(0.0001, 0.9999)
    first, second = model.f_text1(latents[len(latents) // 2]), model.f_text2(latents[-1])
    return models.Mechanisms(mask, shuffle_texture(first), shuffle_texture(second))


class FullFeatures(nn.Module):
    """All of EfficientNet-lite0, of which four taps are used."""

    def __init__(self) -> None:
        super().__init__()
        self.net = features.load("efficientnet_lite0")
        self.rest = nn.Sequential(*list(dict(features.lite0().named_children())["blocks"].children())[3:])

    def forward(self, images: Tensor) -> list[Tensor]:
        x = F.interpolate(images, size=self.net.size, mode="bilinear")
        taps = []
        for stage, scale in zip(self.net.stages, self.net.scales, strict=True):
            x = stage(x)
            taps.append(x * scale)
        self.rest(x)
        return taps


def train_cgn(variant: str, seed: int, batches: Iterator[tuple[Tensor, Tensor]]) -> models.CGN:
    """One epoch over ``batches`` in the published order of things; returns the generator in training mode."""
    fixed = VARIANTS[variant]
    with rng.seeded("cgn initialisation", variant, seed):
        generator, discriminator = models.build(fixed)
    generator, net = plain_cgn(generator).train(), FullFeatures()
    discriminator.train()
    optimisers = [torch.optim.Adam(m.parameters(), 2e-4, (0.5, 0.999)) for m in (generator, discriminator)]
    history: list[dict[str, float]] = []
    for i, (images, labels) in enumerate(batches):
        with rng.seeded("cgn step", variant, seed, i):
            drawn = torch.randint(0, 10, (len(images),))
            optimisers[0].zero_grad()
            parts = forward(generator, drawn)
            generated = parts.mask * parts.foreground + (1 - parts.mask) * parts.background
            taps = list(zip(net(generated), net(images), fixed.style_weights, strict=True))
            terms = {
                "mask": fixed.mask_weight * losses.binary_entropy(parts.mask),
                "style": torch.stack(
                    [5000 * w**2 * F.l1_loss(losses.gram(g), losses.gram(r)) for g, r, w in taps]
                ).sum(),
                "adversarial": F.mse_loss(score := discriminator(generated, drawn), torch.ones_like(score)),
            }
            torch.stack(list(terms.values())).sum().backward()
            optimisers[0].step()
            optimisers[1].zero_grad()
            real, fake = discriminator(images, labels), discriminator(generated.detach(), drawn)
            terms["discriminator"] = (
                F.mse_loss(real, torch.ones_like(real)) + F.mse_loss(fake, torch.zeros_like(fake))
            ) / 2
            terms["discriminator"].backward()
            optimisers[1].step()
            history.append({name: term.item() for name, term in terms.items()})
    return generator


def counterfactuals(model: models.CGN, size: int, ratio: int) -> tuple[Tensor, Tensor]:
    """A full pass per batch of 100 for the mask, and one in counterfactual mode for each of its textures, whose mask is
    thrown away (docs/mnist.md, section 7); images are collected one by one."""
    images, labels = [], []
    for _ in range(size // 100 // ratio):
        shape = torch.randint(0, 10, (100,))
        mask = forward(model, shape).mask
        for _ in range(ratio):
            first, second = shape[torch.randperm(100)], shape[torch.randperm(100)]
            made = forward(model, shape, first, second)
            composed = mask * made.foreground + (1 - mask) * made.background
            images += list(composed.detach().cpu())
            labels += shape.tolist()
    return torch.stack(images), torch.tensor(labels)


# ---------------------------------------------------------------- the classifier


class PlainClassifier(Classifier):
    """The layers one after the other."""

    def forward(self, images: Tensor) -> Tensor:
        return self.cls(self.model(images))


def train_classifier(images: Tensor, labels: Tensor, order: list[int], batch: int, key: rng.Key) -> Classifier:
    """One epoch with a DataLoader; correct predictions are counted by the host at every step."""
    with rng.seeded("classifier initialisation", *key):
        model = PlainClassifier(images.shape[1])
    optimiser, correct = torch.optim.Adadelta(model.parameters(), lr=1.0), 0
    loader: Any = DataLoader(TensorDataset(images, labels), batch_size=batch, sampler=order)
    model.train()
    for x, y in loader:
        optimiser.zero_grad()
        output = model(x)
        loss = F.nll_loss(output, y)
        loss.backward()
        optimiser.step()
        correct += output.argmax(1).eq(y).sum().item()
    return model.eval()


def heatmaps(model: Classifier, target: nn.Module, images: Tensor) -> Tensor:
    """GradCAM, one image and one call at a time."""
    maps = []
    for image in images:
        with GradCAM(model=model, target_layers=[target]) as cam:
            maps.append(cam(input_tensor=image[None].clone().requires_grad_(), targets=None)[0])
    return torch.from_numpy(np.stack(maps))


# ---------------------------------------------------------------- ImageNet: the patch grid


def patch_grid(
    images: Tensor, mask: Tensor, size: int = 128, window: int = 15, best: int = 100, side: int = 6
) -> Tensor:
    """Every window of an image copied out, the best by mean mask drawn with replacement, pasted one by one into a grid,
    resized."""
    grids = []
    drawn = torch.randint(best, (len(images), side * side))
    for image, m, choices in zip(images, mask, drawn.tolist(), strict=True):
        small = F.interpolate(image[None], size=(size, size), mode="bicubic")[0]
        weight = F.interpolate(m[None], size=(size, size), mode="bicubic")[0]
        patches = small.unfold(1, window, 1).unfold(2, window, 1).contiguous()
        weights = weight.unfold(1, window, 1).unfold(2, window, 1).contiguous().mean(dim=(3, 4)).flatten()
        candidates = patches.permute(1, 2, 0, 3, 4).reshape(-1, len(image), window, window)[weights.topk(best).indices]
        grid = torch.zeros(len(image), side * window, side * window)
        for n, choice in enumerate(choices):
            row, column = divmod(n, side)
            grid[:, row * window : (row + 1) * window, column * window : (column + 1) * window] = candidates[choice]
        grids.append(F.interpolate(grid[None], size=images.shape[2:], mode="bicubic")[0])
    return torch.stack(grids)
