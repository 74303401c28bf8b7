"""The CGN and its discriminators against naive versions of the layer lists in sections 3 and 4 of the specification."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reprolib.mnist import cgn
from reprolib.run import assets
from reprolib.vocabulary import VARIANTS

LABELS = torch.arange(10)


def _enlarged(inputs: int, outputs: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return [nn.Upsample(scale_factor=2), convolution, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2)]


def _published_shape() -> nn.Sequential:
    start = [nn.Linear(42, 4096), nn.Unflatten(1, (64, 8, 8)), nn.InstanceNorm2d(64)]
    return nn.Sequential(*start, *_enlarged(64, 32), nn.InstanceNorm2d(32), *_enlarged(32, 1), nn.InstanceNorm2d(1))


def _published_texture() -> nn.Sequential:
    start = [nn.Linear(42, 4096), nn.Unflatten(1, (64, 8, 8))]
    end = [nn.Conv2d(32, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Tanh()]
    return nn.Sequential(*start, *_enlarged(64, 64), *_enlarged(64, 32), *end)


def _published_conv_discriminator() -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs, kernel, stride in [(4, 32, 3, 1), (32, 64, 3, 1), (64, 128, 4, 2), (128, 128, 4, 2)]:
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, bias=False)
        layers += [convolution, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.AvgPool2d(3), nn.Conv2d(128, 1, 1, bias=False))


@pytest.fixture
def model() -> cgn.CGN:
    torch.manual_seed(0)
    return cgn.build(VARIANTS["double_colored_MNIST"])[0]


@pytest.mark.parametrize(
    ("variant", "count"),
    [("colored_MNIST", 2_104_421), ("double_colored_MNIST", 2_104_421), ("wildlife_MNIST", 413_642)],
)
def test_parameter_counts(variant: str, count: int) -> None:
    generator, discriminator = cgn.build(VARIANTS[variant])
    parts = (generator, generator.f_shape, generator.f_text1, generator.f_text2, discriminator)
    counts = [sum(p.numel() for p in part.parameters()) for part in parts]
    assert counts == [659_992, 194_914, 232_489, 232_489, count]


def test_state_dict_has_the_published_names_and_shapes(model: cgn.CGN) -> None:
    expected: dict[str, tuple[int, ...]] = {"label_emb.weight": (10, 10)}
    mechanisms = {"f_shape": _published_shape(), "f_text1": _published_texture(), "f_text2": _published_texture()}
    for prefix, published in mechanisms.items():
        expected |= {f"{prefix}.{name}": tuple(value.shape) for name, value in published.state_dict().items()}
    assert {name: tuple(value.shape) for name, value in model.state_dict().items()} == expected
    assert len(expected) == 57
    assert expected["f_shape.9.weight"] == (1, 32, 3, 3)  # two rows of the table in section 3.1
    assert expected["f_text1.8.running_var"] == (32,)


@pytest.mark.parametrize(("inputs", "outputs", "height", "width"), [(3, 5, 4, 4), (2, 1, 3, 6), (1, 2, 1, 1)])
def test_upsampled_convolution_equals_two_steps(inputs: int, outputs: int, height: int, width: int) -> None:
    layer = cgn.UpsampledConv2d(inputs, outputs).double()
    image = torch.randn(2, inputs, height, width, dtype=torch.float64, requires_grad=True)
    naive = F.conv2d(F.interpolate(image, scale_factor=2, mode="nearest"), layer.weight, padding=1)
    fast = layer(image)
    torch.testing.assert_close(fast, naive)
    direction = torch.randn_like(naive)
    torch.testing.assert_close(*(torch.autograd.grad(y, (image, layer.weight), direction) for y in (fast, naive)))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["f_shape", "f_text1", "f_text2"])
def test_mechanism_equals_the_published_layers(model: cgn.CGN, name: str, training: bool) -> None:
    fast = getattr(model, name).double().train(training)
    naive = (_published_shape() if name == "f_shape" else _published_texture()).double().train(training)
    naive.load_state_dict(fast.state_dict())
    latent = torch.randn(6, 42, dtype=torch.float64)
    outputs = [net(latent) for net in (fast, naive)]
    torch.testing.assert_close(*outputs)
    direction = torch.randn_like(outputs[0])
    for out in outputs:
        out.backward(direction)
    torch.testing.assert_close([p.grad for p in fast.parameters()], [p.grad for p in naive.parameters()])
    torch.testing.assert_close(fast.state_dict(), naive.state_dict())  # the running statistics moved alike


def test_folded_cgn_gives_the_same_images(model: cgn.CGN) -> None:
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):  # as after training: no statistic and no parameter is 0 or 1
            for values, low, high in ((layer.running_mean, -1, 1), (layer.bias, -1, 1), (layer.running_var, 0.2, 2)):
                nn.init.uniform_(values, low, high)  # type: ignore[arg-type]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fast, labels = cgn.folded(model), torch.arange(10).repeat(5)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    outputs = []
    for network in (model.eval(), fast):
        torch.manual_seed(1)
        with torch.no_grad():
            outputs.append(network(labels))
    torch.testing.assert_close(*outputs, atol=1e-5, rtol=0)
    assert not fast.training and all(part.is_contiguous() for part in outputs[1])


def test_shift_equals_tiling_and_cropping_and_offset_0_and_32_coincide() -> None:
    patch = torch.randn(33, 3, 32, 32)
    rows, columns = torch.arange(33), torch.randint(0, 33, (33,))
    tiled = patch.repeat(1, 1, 2, 2)
    cropped = [tiled[i, :, r : r + 32, c : c + 32] for i, (r, c) in enumerate(zip(rows, columns, strict=True))]
    assert torch.equal(cgn.shift(patch, rows, columns), torch.stack(cropped))
    assert torch.equal(cgn.shift(patch, rows * 0 + 32, columns), cgn.shift(patch, rows * 0, columns))


@pytest.mark.parametrize(("size", "count"), [(4, 50_000), (32, 3_000)])
def test_shuffler_draws_rows_and_columns_independently_from_0_to_size(size: int, count: int) -> None:
    torch.manual_seed(0)
    patch = torch.arange(size * size).reshape(1, 1, size, size).expand(count, -1, -1, -1)
    corner = cgn.shuffle_texture(patch)[:, 0, 0, 0]
    marginal = torch.full((size,), 1 / (size + 1))
    marginal[0] = 2 / (size + 1)  # offsets 0 and size give the same picture
    drawn = torch.bincount(corner, minlength=size * size).reshape(size, size) / count
    for axis in (0, 1):
        torch.testing.assert_close(drawn.sum(axis), marginal, atol=0.016, rtol=0)
        assert drawn.sum(axis).min() > 0
    if size == 4:
        torch.testing.assert_close(drawn, marginal[:, None] * marginal, atol=0.01, rtol=0)


def test_foreground_and_background_have_their_own_offsets_in_eval_mode_too(model: cgn.CGN) -> None:
    model.f_text1 = model.f_text2 = nn.Sequential(nn.Unflatten(1, (3, 32, 32)))
    pictures = torch.randn(8, 3 * 32 * 32)
    foreground, background = model.eval().foreground(pictures), model.background(pictures)
    assert not torch.equal(foreground, background)
    assert torch.equal(foreground.flatten(1).sort().values, background.flatten(1).sort().values)


def test_mask_is_clamped_and_clamped_pixels_carry_no_gradient(model: cgn.CGN) -> None:
    model.f_shape = nn.Sequential(nn.Identity())
    raw = torch.tensor([-3.0, 0.0, 0.00005, 0.3, 0.99, 0.99995, 15.0], requires_grad=True)
    mask = model.mask(raw)
    mask.sum().backward()
    torch.testing.assert_close(mask.detach(), torch.tensor([0.0001, 0.0001, 0.0001, 0.3, 0.99, 0.9999, 0.9999]))
    assert torch.equal(raw.grad, torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]))


def test_forward_gives_one_mask_channel_and_colours_inside_tanh(model: cgn.CGN) -> None:
    mask, foreground, background = model(LABELS)
    assert [part.shape[1:] for part in (mask, foreground, background)] == [(1, 32, 32), (3, 32, 32), (3, 32, 32)]
    assert [mask.min().item(), mask.max().item()] == pytest.approx([0.0001, 0.9999])
    assert max(foreground.abs().max(), background.abs().max()) < 1


def test_normal_mode_gives_all_mechanisms_the_same_noise_and_label(model: cgn.CGN) -> None:
    seen: list[Tensor] = []
    for mechanism in (model.f_shape, model.f_text1, model.f_text2):
        mechanism.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    model(LABELS.repeat(40))
    assert all(torch.equal(seen[0], latent) for latent in seen[1:])
    assert torch.equal(seen[0][:, 32:], model.label_emb.weight.repeat(40, 1))
    assert [seen[0][:, :32].mean().item(), seen[0][:, :32].std().item()] == pytest.approx([0, 1], abs=0.03)


def test_composition_blends_pixel_by_pixel() -> None:
    mask, foreground, background = torch.rand(2, 1, 4, 4), torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    made = cgn.compose(mask, foreground, background)
    for channel in range(3):
        m, f, b = mask[:, 0], foreground[:, channel], background[:, channel]
        torch.testing.assert_close(made[:, channel], m * f + (1 - m) * b)


@pytest.mark.parametrize(
    ("part", "reached"),
    [("mask", "f_shape"), ("foreground", "f_text1"), ("background", "f_text2"), ("all", "f_shape f_text1 f_text2")],
)
def test_a_loss_reaches_only_the_mechanisms_it_sees(model: cgn.CGN, part: str, reached: str) -> None:
    parts = model(LABELS)
    seen = cgn.compose(*parts) if part == "all" else getattr(parts, part)
    seen.square().sum().backward()
    with_gradient = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert with_gradient == {"label_emb", *reached.split()}


@pytest.mark.parametrize("training", [True, False])
def test_linear_discriminator_equals_the_published_layers(training: bool) -> None:
    model = cgn.LinearDiscriminator().train(training)
    images, labels = torch.randn(4, 3, 32, 32), torch.tensor([3, 1, 4, 1])
    first, second, third, last = (layer for layer in model.model if isinstance(layer, nn.Linear))
    hidden = F.leaky_relu(first(torch.cat([images.reshape(4, 3072), model.label_emb.weight[labels]], dim=1)), 0.2)
    torch.manual_seed(0)
    for layer in (second, third):
        hidden = F.leaky_relu(F.dropout(layer(hidden), 0.4, training), 0.2)
    torch.manual_seed(0)
    torch.testing.assert_close(model(images, labels), last(hidden).reshape(4))


@pytest.mark.parametrize("training", [True, False])
def test_conv_discriminator_equals_the_published_layers(training: bool) -> None:
    model = cgn.ConvDiscriminator().train(training)
    naive = _published_conv_discriminator().train(training)
    naive.load_state_dict(model.model.state_dict())
    images, labels = torch.randn(4, 3, 32, 32), torch.tensor([3, 1, 4, 1])
    label = torch.ones(4, 1, 32, 32) * model.label_emb.weight[labels].reshape(4, 1, 1, 1)
    torch.testing.assert_close(model(images, labels), naive(torch.cat([images, label], dim=1)).reshape(4))


@pytest.mark.parametrize("kind", [cgn.LinearDiscriminator, cgn.ConvDiscriminator])
def test_discriminators_depend_on_the_label(kind: type[nn.Module]) -> None:
    model = kind().eval()
    images = torch.randn(1, 3, 32, 32).expand(10, -1, -1, -1)
    assert len(model(images, LABELS).unique()) == 10
    assert model(images[:1], LABELS[:1]).shape == (1,)


@pytest.mark.parametrize("variant", VARIANTS)
def test_cgn_initialisation(variant: str) -> None:
    torch.manual_seed(0)
    settings = VARIANTS[variant]
    model = cgn.build(settings)[0]
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    others = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert len(others) == 11
    for layer in others:
        assert layer.bias is None or not layer.bias.any()
        if settings.initialisation == "orthogonal":
            rows = layer.weight.flatten(1)
            rows = rows if len(rows) <= rows.shape[1] else rows.T
            torch.testing.assert_close(rows @ rows.T, settings.gain**2 * torch.eye(len(rows)), atol=1e-6, rtol=0)
        else:
            assert layer.weight.std().item() == pytest.approx(settings.gain, rel=0.15)
            assert abs(layer.weight.mean()) < 0.15 * settings.gain
    assert all(not layer.bias.any() for layer in norms)
    deviation = torch.cat([layer.weight for layer in norms]) - 1
    assert deviation.square().mean().sqrt().item() == pytest.approx(settings.gain, rel=0.2)
    assert model.label_emb.weight.std().item() == pytest.approx(1, abs=0.25)


def test_discriminator_initialisation() -> None:
    torch.manual_seed(0)
    conv, linear = cgn.ConvDiscriminator(), cgn.LinearDiscriminator()
    for layer in conv.model:
        if isinstance(layer, nn.Conv2d | nn.BatchNorm2d):
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.4)
            assert layer.weight.mean().item() == pytest.approx(float(isinstance(layer, nn.BatchNorm2d)), abs=0.01)
    assert conv.label_emb.weight.std() > 0.3  # N(0, 1), not 0.02
    for layer in linear.model:
        if isinstance(layer, nn.Linear):  # torch's default, not re-initialised
            assert layer.weight.abs().max().item() == pytest.approx(layer.in_features**-0.5, rel=0.01)


@pytest.mark.assets
@pytest.mark.parametrize(("variant", "mean"), list(zip(VARIANTS, (0.118, 0.164, 0.166), strict=True)))
def test_published_checkpoint_loads_strictly_and_gives_its_masks(variant: str, mean: float) -> None:
    torch.manual_seed(0)
    model = cgn.CGN().eval()
    model.load_state_dict(torch.load(assets.path(f"authors_cgn/{variant}.pth"), map_location="cpu", weights_only=True))
    with torch.inference_mode():
        masks = model.mask(model.latent(LABELS.repeat(50)))
    assert masks.mean().item() == pytest.approx(mean, abs=0.01)
