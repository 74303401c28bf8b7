"""The MNIST CGN: three independent mechanisms, an analytic composition, and the authors' weights.

Layer for layer as the authors released it (docs/mnist.md, section 3), with their state names, so that their
three checkpoints load strictly into this class. Where paper and code disagree the code is followed: the mask is an
instance norm that is clamped, not a sigmoid; the "shuffler" is a toroidal shift.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

from reprolib.losses import exact
from reprolib.mnist.gan import CLASSES, LATENT, ConvDiscriminator, LinearDiscriminator, initialise
from reprolib.run import AssetError, assets, weights
from reprolib.vocabulary import Variant

WIDTH = 32


class Mechanisms(NamedTuple):
    """What the three mechanisms of a CGN give for a batch; compose them with :func:`compose`."""

    mask: Tensor
    foreground: Tensor
    background: Tensor


def compose(mask: Tensor, foreground: Tensor, background: Tensor) -> Tensor:
    """x = m * f + (1 - m) * b (equation 1 of the reproduction study). The mask broadcasts over the colour channels."""
    return mask * foreground + (1 - mask) * background


def shift(patch: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Cut a window of a patch that repeats in all directions: image i starts at (rows[i], columns[i]).

    The same as tiling 2x2 and cropping, at a tenth of the cost. patch: (B, C, H, W); rows, columns: int64 (B,).
    """
    _, channels, height, width = patch.shape
    row = (torch.arange(height, device=patch.device) + rows[:, None]) % height
    column = (torch.arange(width, device=patch.device) + columns[:, None]) % width
    patch = patch.gather(2, row[:, None, :, None].expand(-1, channels, -1, width))
    return patch.gather(3, column[:, None, None, :].expand(-1, channels, height, -1))


def shuffle_texture(patch: Tensor) -> Tensor:
    """The "shuffler": shift every texture by its own offset, drawn from 0..32 inclusive (docs/mnist.md, section 3)."""
    rows, columns = torch.randint(0, patch.shape[-1] + 1, (2, len(patch)), device=patch.device)
    return shift(patch, rows, columns)


class UpsampledConv2d(nn.Conv2d):
    """A 3x3 convolution of the image enlarged twice by nearest neighbour, without ever enlarging it.

    Each output pixel sees only four distinct input pixels, so the two steps equal one transposed 4x4 convolution of
    stride 2 whose kernel is the 3x3 kernel smeared by 2x2 ones: 4/9 of the multiplications, same numbers.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, 2H, 2W)."""
        return F.conv_transpose2d(input, _smeared(self.weight), stride=2, padding=1)


def _smeared(weight: Tensor) -> Tensor:
    """The kernel of the transposed convolution: (outputs, inputs, 3, 3) -> (inputs, outputs, 4, 4)."""
    kernel = F.pad(weight.transpose(0, 1).flip(2, 3), (1, 1, 1, 1))
    kernel = kernel[..., :-1] + kernel[..., 1:]
    return kernel[..., :-1, :] + kernel[..., 1:, :]


class ChannelsLast(nn.Module):
    """The same numbers in the memory order in which convolutions of few channels run fastest.

    It stands where the published model enlarges; the state names count this layer.
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last)


def _shape_mechanism() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(LATENT + CLASSES, 64 * 8 * 8),
        nn.Unflatten(1, (64, 8, 8)),
        nn.InstanceNorm2d(64),
        ChannelsLast(),
        UpsampledConv2d(64, WIDTH),
        nn.BatchNorm2d(WIDTH),
        nn.LeakyReLU(0.2, inplace=True),
        nn.InstanceNorm2d(WIDTH),
        ChannelsLast(),
        UpsampledConv2d(WIDTH, 1),
        nn.BatchNorm2d(1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.InstanceNorm2d(1),
    )


def _texture_mechanism() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(LATENT + CLASSES, 64 * 8 * 8),
        nn.Unflatten(1, (64, 8, 8)),
        ChannelsLast(),
        UpsampledConv2d(64, 64),
        nn.BatchNorm2d(64),
        nn.LeakyReLU(0.2, inplace=True),
        ChannelsLast(),
        UpsampledConv2d(64, WIDTH),
        nn.BatchNorm2d(WIDTH),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(WIDTH, 3, 3, padding=1),
        nn.BatchNorm2d(3),
        nn.Tanh(),
    )


class CGN(nn.Module):
    """Counterfactual generative network for 32x32 images of ten classes; 659,992 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.label_emb = nn.Embedding(CLASSES, CLASSES)
        self.f_shape = _shape_mechanism()
        self.f_text1 = _texture_mechanism()
        self.f_text2 = _texture_mechanism()

    def latent(self, labels: Tensor, noise: Tensor | None = None) -> Tensor:
        """(B, 42): noise u ~ N(0, 1), drawn here unless given as (B, 32), and the embedding of labels, int64 (B,)."""
        if noise is None:
            noise = torch.randn(len(labels), LATENT, device=labels.device)
        return torch.cat([noise, self.label_emb(labels)], dim=1)

    def mask(self, latent: Tensor) -> Tensor:
        """Shape mechanism: (B, 42) -> (B, 1, 32, 32) in [1e-4, 0.9999]; clamped pixels carry no gradient."""
        return exact(self.f_shape(latent)).clamp(0.0001, 0.9999)

    def foreground(self, latent: Tensor) -> Tensor:
        """Texture mechanism of the digit: (B, 42) -> (B, 3, 32, 32) in (-1, 1)."""
        return shuffle_texture(self.f_text1(latent))

    def background(self, latent: Tensor) -> Tensor:
        """Texture mechanism of the ground: (B, 42) -> (B, 3, 32, 32) in (-1, 1)."""
        return shuffle_texture(self.f_text2(latent))

    def forward(self, labels: Tensor) -> Mechanisms:
        """Normal mode, used in training: all three mechanisms see the same noise and the same label."""
        latent = self.latent(labels)
        return Mechanisms(self.mask(latent), self.foreground(latent), self.background(latent))


class FoldedTexture(nn.Module):
    """A texture mechanism that has been trained: the same images up to rounding, in half the time.

    All before the first LeakyReLU is one affine map of the latent, so its convolution is done once and for all. The
    other batch norms move into the convolutions before them. The last convolution has three channels, which fill a
    vector register badly; as one of stride 2 it gives the twelve values of 2x2 pixels at once.
    """

    def __init__(self, mechanism: nn.Sequential) -> None:
        super().__init__()
        layers: Any = copy.deepcopy(mechanism).double().eval()
        size = layers[0].in_features
        unit = torch.eye(size + 1, size, dtype=torch.float64, device=layers[0].weight.device)  # its last row is 0
        with torch.no_grad():
            affine = layers[:5](unit).permute(0, 2, 3, 1)
            self.shape = affine.shape[1:]
            affine[:-1] -= affine[-1]
            self.matrix = affine.flatten(1).float()
            kernel, bias = _without_norm(layers[7], layers[8])
            self.kernel, self.bias = _channels_last(_smeared(kernel)), bias.float()
            kernel, bias = _without_norm(layers[10], layers[11])
            moved = [F.pad(kernel, (column, 1 - column, row, 1 - row)) for row in (0, 1) for column in (0, 1)]
            self.last_kernel = _channels_last(torch.stack(moved, dim=1).flatten(0, 1))
            self.last_bias = bias.repeat_interleave(4).float()

    def forward(self, latent: Tensor) -> Tensor:
        """(B, 42) -> (B, 3, 32, 32) in (-1, 1), before the shuffler; in batches whose layers fit into a cache."""
        return torch.cat([self._images(batch) for batch in latent.split(50)])

    def _images(self, latent: Tensor) -> Tensor:
        x = (F.pad(latent, (0, 1), value=1.0) @ self.matrix).unflatten(1, self.shape).permute(0, 3, 1, 2)
        x = F.conv_transpose2d(F.leaky_relu_(x, 0.2), self.kernel, self.bias, stride=2, padding=1)
        x = F.conv2d(F.leaky_relu_(x, 0.2), self.last_kernel, self.last_bias, stride=2, padding=1)
        return F.pixel_shuffle(x, 2).tanh_()


def _without_norm(convolution: Any, norm: Any) -> tuple[Tensor, Tensor]:
    """Kernel and bias of a convolution that does the work of the batch norm behind it, in eval mode."""
    statistics = norm.running_mean, norm.running_var, norm.eps
    return fuse_conv_bn_weights(convolution.weight, convolution.bias, *statistics, norm.weight, norm.bias)


def _channels_last(kernel: Tensor) -> Tensor:
    return kernel.float().contiguous(memory_format=torch.channels_last)


def folded(cgn: CGN) -> CGN:
    """A copy that only generates, in eval mode, with folded texture mechanisms; mechanisms of other kinds stay."""
    model = copy.deepcopy(cgn).eval()
    for name in ("f_text1", "f_text2"):
        if isinstance(mechanism := getattr(model, name), nn.Sequential):
            setattr(model, name, FoldedTexture(mechanism))
    return model


def build(settings: Variant) -> tuple[CGN, nn.Module]:
    """(CGN, discriminator) of a variant, freshly initialised from torch's global generator."""
    cgn = CGN()
    initialise(cgn, settings.initialisation, settings.gain)
    return cgn, discriminator(settings)


def discriminator(settings: Variant) -> nn.Module:
    """The published discriminator of a variant."""
    return LinearDiscriminator() if settings.discriminator == "linear" else ConvDiscriminator()


def authors_asset(variant: str) -> str:
    """The name of the asset with the authors' CGN. Raises AssetError if they released none for a variant."""
    name = f"authors_cgn/{variant}.pth"
    if name not in assets.ASSETS:
        raise AssetError(f"the authors released no CGN for {variant}; take 'authors' out of 'cgn.sources'")
    return name


def authors_cgn(variant: str) -> CGN:
    """The CGN that Sauer & Geiger released for a variant, loaded strictly and without unpickling any code."""
    return cgn_from(weights.read_pth(assets.path(authors_asset(variant))))


def cgn_from(tensors: dict[str, Tensor], prefix: str = "") -> CGN:
    """A CGN in eval mode from the tensors whose names start with ``prefix``, loaded strictly."""
    model = CGN()
    state = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    model.load_state_dict(state, strict=True)
    return model.eval()
