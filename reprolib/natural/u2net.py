"""U2-Net, the salient object detector behind mask and background loss (docs/imagenet.md, 3.2).

State names are those of the published weights (github.com/xuebinqin/U-2-Net), so they load strictly. The CGN uses the
fused map alone; training from scratch needs the six side maps too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reprolib.run import weights

Channels = tuple[int, int, int]
"""(input, middle, output) of a residual U-block."""


Plan = tuple[tuple[Channels, ...], tuple[Channels, ...]]
"""Channels of the six encoder and the five decoder stages, first to last."""
PLANS: dict[str, Plan] = {
    "u2net": (
        ((3, 32, 64), (64, 32, 128), (128, 64, 256), (256, 128, 512), (512, 256, 512), (512, 256, 512)),
        ((1024, 256, 512), (1024, 128, 256), (512, 64, 128), (256, 32, 64), (128, 16, 64)),
    ),
    "u2net-thin": (((3, 8, 16), *((16, 8, 16),) * 5), ((32, 8, 16),) * 5),
}
"""44,009,869 parameters, as published, and 142,189, for 64-pixel scenes on two cores."""
HEIGHTS = (7, 6, 5, 4)
"""Depths of the first four encoder stages; the last two keep their resolution and dilate instead."""


class ConvNormRelu(nn.Module):
    """3x3 convolution with dilation, batch norm, ReLU; the names are the published ones."""

    def __init__(self, inputs: int, outputs: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv_s1 = nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation)
        self.bn_s1 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn_s1(self.conv_s1(x)))


class ResidualU(nn.Module):
    """A U-net inside one stage, added to its input (RSU-L, or RSU-4F when ``pooled`` is False)."""

    def __init__(self, height: int, channels: Channels, pooled: bool = True) -> None:
        super().__init__()
        inputs, middle, outputs = channels
        self.height, self.pooled = height, pooled
        self.rebnconvin = ConvNormRelu(inputs, outputs)
        for level in range(1, height + 1):
            dilation = (2 if level == height else 1) if pooled else 2 ** (level - 1)
            self.add_module(f"rebnconv{level}", ConvNormRelu(outputs if level == 1 else middle, middle, dilation))
        for level in range(height - 1, 0, -1):
            dilation = 1 if pooled else 2 ** (level - 1)
            block = ConvNormRelu(2 * middle, outputs if level == 1 else middle, dilation)
            self.add_module(f"rebnconv{level}d", block)

    def forward(self, x: Tensor) -> Tensor:
        x = self.rebnconvin(x)
        down: list[Tensor] = []
        level_input = x
        for level in range(1, self.height + 1):
            down.append(self.get_submodule(f"rebnconv{level}")(level_input))
            # The last pooling is left out: the bottom dilates at the resolution of the level above it.
            level_input = _halved(down[-1]) if self.pooled and level < self.height - 1 else down[-1]
        up = down[-1]
        for level in range(self.height - 1, 0, -1):
            up = self.get_submodule(f"rebnconv{level}d")(torch.cat([_resized(up, down[level - 1]), down[level - 1]], 1))
        return up + x


class U2Net(nn.Module):
    """A U-net whose stages are U-nets.

    ``forward``: images (B, 3, H, W) -> saliency (B, 1, H, W) in (0, 1). ``logits``: the fused map and the six side
    maps before the sigmoid, each (B, 1, H, W). The CGN feeds raw images in (-1, 1), without the normalisation and the
    320 pixels of the published detector (docs/imagenet.md, 3.2).
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        encoder, decoder = plan
        stages = [ResidualU(height, channels) for height, channels in zip(HEIGHTS, encoder, strict=False)]
        stages += [ResidualU(4, channels, pooled=False) for channels in encoder[4:]]
        for number, stage in enumerate(stages, 1):
            self.add_module(f"stage{number}", stage)
        self.add_module("stage5d", ResidualU(4, decoder[0], pooled=False))
        for number, height, channels in zip((4, 3, 2, 1), reversed(HEIGHTS), decoder[1:], strict=True):
            self.add_module(f"stage{number}d", ResidualU(height, channels))
        widths = [channels[2] for channels in reversed(decoder)] + [encoder[5][2]]
        for number, width in enumerate(widths, 1):
            self.add_module(f"side{number}", nn.Conv2d(width, 1, 3, padding=1))
        self.outconv = nn.Conv2d(6, 1, 1)

    def logits(self, images: Tensor) -> list[Tensor]:
        down: list[Tensor] = []
        x = images.contiguous(memory_format=torch.channels_last)  # a quarter faster on a CPU
        for number in range(1, 7):
            down.append(self.get_submodule(f"stage{number}")(x))
            x = _halved(down[-1])
        maps = [down[-1]]  # from the bottom up
        for number in range(5, 0, -1):
            skip = down[number - 1]
            maps.append(self.get_submodule(f"stage{number}d")(torch.cat([_resized(maps[-1], skip), skip], 1)))
        sides = [self.get_submodule(f"side{number}")(features) for number, features in enumerate(reversed(maps), 1)]
        sides = [sides[0], *(_resized(side, sides[0]) for side in sides[1:])]
        return [self.outconv(torch.cat(sides, 1)), *sides]

    def forward(self, images: Tensor) -> Tensor:
        return torch.sigmoid(self.logits(images)[0])


def _halved(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 2, stride=2, ceil_mode=True)


def _resized(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear, corners aligned, as the authors of the CGN resize; the published detector does not align them."""
    if x.shape[-2:] == like.shape[-2:]:
        return x
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=True)


def saliency_loss(logits: list[Tensor], masks: Tensor) -> Tensor:
    """Sum of the binary cross entropies of the fused and the six side maps, as the detector is trained."""
    return torch.stack([F.binary_cross_entropy_with_logits(each, masks) for each in logits]).sum()


def load(name: str, state: dict[str, Tensor], source: str) -> U2Net:
    """A frozen detector in eval mode; source: of its state, named if that is of another plan."""
    model = U2Net(PLANS[name])
    weights.load_strictly(model, state, f"{source} for {name}")
    return model.eval().requires_grad_(False)
