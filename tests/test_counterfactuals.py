"""Generated training sets: how many, which masks they share, which labels they carry, and the published mechanisms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from reprolib.mnist import counterfactuals as cf
from reprolib.mnist.cgn import CGN, LATENT
from reprolib.mnist.gan import DCGAN
from reprolib.run import rng

KEY = ("test", 3)


class Flat(nn.Module):
    """A mechanism whose whole output is one value per channel and label; it ignores the noise."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = values

    def forward(self, latent: Tensor) -> Tensor:
        return (latent[:, LATENT:] @ self.values)[:, :, None, None].expand(-1, -1, 32, 32)


@pytest.fixture
def cgn() -> CGN:
    torch.manual_seed(0)
    return CGN().eval()


@pytest.fixture
def readable() -> CGN:
    """A CGN whose images show all three labels: each mechanism paints the flat value of its label."""
    model = CGN().eval()
    model.label_emb.weight.data = torch.eye(10)
    model.f_shape = Flat(torch.linspace(0.05, 0.95, 10)[:, None])
    model.f_text1, model.f_text2 = Flat(_colours(1)), Flat(_colours(2))
    return model


def _colours(seed: int) -> Tensor:
    return torch.rand(10, 3, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def _constant(texture: nn.Sequential, value: float) -> None:
    """Make a texture mechanism paint one value: its last norm loses its gain and gets a bias."""
    texture[11].weight.data.zero_()
    texture[11].bias.data.fill_(torch.tensor(value).atanh())


@pytest.mark.parametrize(
    ("size", "ratio", "expected"),
    [(100, 1, 100), (199, 1, 100), (1000, 3, 900), (2050, 10, 2000), (100_000, 20, 100_000), (99, 1, 0), (400, 5, 0)],
)
def test_total_counts_whole_batches_times_the_ratio(size: int, ratio: int, expected: int) -> None:
    assert cf.total(size, ratio) == expected


@pytest.mark.parametrize(("size", "ratio"), [(250, 1), (1250, 3), (1100, 1)])
def test_as_many_images_come_out_as_total_says(readable: CGN, size: int, ratio: int) -> None:
    made = cf.counterfactuals(readable, size, ratio, KEY)
    assert made.images.shape == (cf.total(size, ratio), 3, 32, 32) and made.images.dtype == torch.float32
    assert made.labels.shape == made.foreground.shape == made.background.shape == made.images.shape[:1]
    assert made.labels.unique().tolist() == list(range(10))


@pytest.mark.parametrize("ratio", [1, 3])
def test_every_mask_is_shared_by_ratio_images_of_its_label(cgn: CGN, ratio: int) -> None:
    _constant(cgn.f_text1, 0.5)
    _constant(cgn.f_text2, -0.5)  # now an image is m - 0.5
    made = cf.counterfactuals(cgn, 600, ratio, KEY)
    masks, which, count = made.images[:, 0].unique(dim=0, return_inverse=True, return_counts=True)
    assert len(masks) == 600 // ratio and (count == ratio).all()
    for group in range(len(masks)):
        assert len(made.labels[which == group].unique()) == 1


@pytest.mark.parametrize("how", ["permuted", "independent"])
def test_labels_are_those_that_each_mechanism_saw(readable: CGN, how: str) -> None:
    made = cf.counterfactuals(readable, 1200, 2, KEY, how)
    mask = torch.linspace(0.05, 0.95, 10)[made.labels, None]
    expected = mask * _colours(1)[made.foreground] + (1 - mask) * _colours(2)[made.background]
    torch.testing.assert_close(made.images[:, :, 5, 7], expected)


def test_permuted_texture_labels_are_a_permutation_of_each_batch(readable: CGN) -> None:
    made = cf.counterfactuals(readable, 1200, 2, KEY)
    shape, foreground, background = (x.reshape(-1, 100) for x in (made.labels, made.foreground, made.background))
    for texture in (foreground, background):
        assert torch.equal(texture.sort(1).values, shape.sort(1).values)
        assert (texture != shape).any(1).all()
    assert (foreground != background).any(1).all()


def test_independent_texture_labels_are_fresh_draws(readable: CGN) -> None:
    made = cf.counterfactuals(readable, 1200, 1, KEY, "independent")
    shape, foreground = (x.reshape(-1, 100).sort(1).values for x in (made.labels, made.foreground))
    assert (shape != foreground).any(1).all()
    assert made.foreground.unique().tolist() == made.background.unique().tolist() == list(range(10))


@pytest.mark.parametrize(("how", "agree"), [("permuted", 0.109), ("independent", 0.1)])
def test_share_of_texture_labels_that_equal_the_shape(how: str, agree: float) -> None:
    """A permuted label is its own with 1 / 100 and that of a random other image with 99 / 100: 0.01 + 0.099."""
    torch.manual_seed(1)
    labels = torch.randint(0, 10, (3000, 100))
    shuffled = cf.shuffled_labels(labels, how)
    assert float((shuffled == labels).float().mean()) == pytest.approx(agree, abs=0.003)


def _shifted(patch: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Tile 2x2 and crop, image by image, as published."""
    tiled = patch.tile(1, 1, 2, 2)
    return torch.stack([t[:, r : r + 32, c : c + 32] for t, r, c in zip(tiled, rows, columns, strict=True)])


def _slow(cgn: CGN, rows: int, ratio: int, cf_mode: bool = True) -> tuple[Tensor, Tensor]:
    """The mechanisms one batch of 100 at a time, with the random numbers drawn in the same order."""
    with rng.seeded("generate", *KEY, 0), torch.no_grad():
        labels, images, n = torch.randint(0, 10, (rows, 100)), [], 100 * rows
        mask_noise = torch.randn(n, 32)
        for _ in range(ratio):
            given = [torch.stack([y[p.argsort()] for y, p in zip(labels, torch.rand(rows, 100), strict=True)])
                     for _ in range(2)] if cf_mode else [labels, labels]  # fmt: skip
            draws = []
            for _ in range(2):  # foreground, background
                noise = torch.randn(n, 32) if cf_mode or not draws else draws[0][0]
                draws.append((noise, torch.randint(0, 33, (2, n))))
            for b in range(rows):
                part = slice(100 * b, 100 * b + 100)
                m = cgn.f_shape(torch.cat([mask_noise[part], cgn.label_emb(labels[b])], 1)).clamp(1e-4, 0.9999)
                f, g = (
                    _shifted(net(torch.cat([noise[part], cgn.label_emb(y[b])], 1)), *(o[part] for o in offsets))
                    for net, y, (noise, offsets) in zip((cgn.f_text1, cgn.f_text2), given, draws, strict=True)
                )
                images.append(m * f + (1 - m) * g)
    return torch.cat(images), labels.flatten()


@pytest.fixture
def three_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``_slow`` does: three batches whose random numbers are drawn together."""
    monkeypatch.setattr(cf, "AT_ONCE", 3)


@pytest.mark.usefixtures("three_at_once")
def test_counterfactuals_equal_the_mechanisms_run_batch_by_batch(cgn: CGN) -> None:
    made = cf.counterfactuals(cgn, 600, 2, KEY)
    images, labels = _slow(cgn, rows=3, ratio=2)
    torch.testing.assert_close(made.images, images, atol=1e-5, rtol=0)
    assert torch.equal(made.labels, labels.repeat(2))


@pytest.mark.usefixtures("three_at_once")
def test_non_counterfactuals_equal_the_mechanisms_with_one_label_and_shared_texture_noise(cgn: CGN) -> None:
    made = cf.non_counterfactuals(cgn, 300, KEY)
    images, labels = _slow(cgn, rows=3, ratio=1, cf_mode=False)
    torch.testing.assert_close(made.images, images, atol=1e-5, rtol=0)
    assert torch.equal(made.labels, labels)


def test_non_counterfactuals_have_one_label_throughout(readable: CGN) -> None:
    made = cf.non_counterfactuals(readable, 250, KEY)
    assert len(made.images) == 200
    assert torch.equal(made.labels, made.foreground) and torch.equal(made.labels, made.background)
    mask = torch.linspace(0.05, 0.95, 10)[made.labels, None]
    expected = mask * _colours(1)[made.labels] + (1 - mask) * _colours(2)[made.labels]
    torch.testing.assert_close(made.images[:, :, 0, 0], expected)


def test_gan_samples_are_conditioned_on_their_label() -> None:
    gan = DCGAN().eval()
    gan.label_emb.weight.data = torch.eye(10)
    gan.model = nn.Sequential(nn.Flatten(), Flat(_colours(4)))
    made = cf.gan_samples(gan, 350, KEY)
    assert len(made.images) == 300 and made.labels.unique().tolist() == list(range(10))
    assert torch.equal(made.labels, made.foreground) and torch.equal(made.labels, made.background)
    torch.testing.assert_close(made.images[:, :, 3, 3], _colours(4)[made.labels])


def test_a_real_dcgan_gives_images_in_range() -> None:
    images = cf.gan_samples(DCGAN().eval(), 100, KEY).images
    assert images.shape == (100, 3, 32, 32) and images.abs().max() <= 1 and images.std() > 0


def test_key_alone_decides_what_is_made(cgn: CGN) -> None:
    first = cf.counterfactuals(cgn, 200, 1, KEY)
    torch.manual_seed(99)  # the state outside must not matter, and must not be disturbed
    state = torch.get_rng_state()
    second = cf.counterfactuals(cgn, 200, 1, KEY)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first.images, second.images) and torch.equal(first.background, second.background)
    assert not torch.equal(first.images, cf.counterfactuals(cgn, 200, 1, ("test", 4)).images)


def test_images_can_be_written_where_there_is_room_for_them(cgn: CGN) -> None:
    room = torch.zeros(500, 3, 32, 32)
    made = cf.counterfactuals(cgn, 300, 1, KEY, into=room[100:400])
    assert made.images.data_ptr() == room[100:].data_ptr() and not room[:100].any() and not room[400:].any()
    assert torch.equal(room[100:400], cf.counterfactuals(cgn, 300, 1, KEY).images)


def test_passes_of_a_large_set_differ(readable: CGN) -> None:
    labels = cf.counterfactuals(readable, 2000, 1, KEY).labels
    assert not torch.equal(labels[:1000], labels[1000:])


@pytest.mark.parametrize(("size", "ratio"), [(99, 1), (0, 1), (900, 10)])
def test_a_size_without_images_is_refused(cgn: CGN, size: int, ratio: int) -> None:
    with pytest.raises(ValueError, match=f"at least {100 * ratio}"):
        cf.counterfactuals(cgn, size, ratio, KEY)


def test_generation_leaves_an_evaluated_network_as_it_was(cgn: CGN) -> None:
    before = {name: value.clone() for name, value in cgn.state_dict().items()}
    made = cf.counterfactuals(cgn, 200, 2, KEY)
    assert not cgn.training
    assert all(torch.equal(value, before[name]) for name, value in cgn.state_dict().items())
    assert not made.images.requires_grad and not made.images.is_inference()  # a classifier can train on them


def test_masks_come_in_order_of_their_digit(readable: CGN) -> None:
    masks, labels = cf.masks(readable, 3, KEY)
    assert masks.shape == (30, 1, 32, 32) and labels.tolist() == [digit for digit in range(10) for _ in range(3)]
    torch.testing.assert_close(masks[:, 0, 0, 0], torch.linspace(0.05, 0.95, 10).repeat_interleave(3))
