"""The renderer of Scenes: truth behind every image, independence of the factors, determinism, recognisable classes."""

from __future__ import annotations

import pytest
import torch

from reprolib.natural import biggan
from reprolib.run import rng
from reprolib.worlds import appearance, render
from reprolib.worlds.render import CLASSES, Scene

ALL = torch.arange(len(CLASSES))


def _noise(count: int, key: str = "scenes") -> torch.Tensor:
    return biggan.noise(count, 64, 1.0, (key,))


@pytest.fixture(scope="module")
def scenes() -> Scene:
    return render.render(_noise(9), ALL, ALL, ALL)


def test_every_class_has_a_shape_a_texture_and_a_background() -> None:
    assert len(CLASSES) == len(appearance.SHAPES) == len(appearance.TEXTURES) == len(appearance.BACKGROUNDS) == 9


def test_shapes_and_ranges(scenes: Scene) -> None:
    assert [tuple(part.shape) for part in scenes] == [(9, 3, 64, 64), (9, 1, 64, 64), (9, 3, 64, 64), (9, 3, 64, 64)]
    assert all(part.dtype == torch.float32 and part.isfinite().all() for part in scenes)
    assert all(part.abs().max() <= 1 for part in scenes) and scenes.mask.min() == 0 and scenes.mask.max() == 1


def test_the_image_is_the_composition_of_its_truth(scenes: Scene) -> None:
    composed = scenes.mask * scenes.texture + (1 - scenes.mask) * scenes.background
    torch.testing.assert_close(scenes.image, composed)


def test_masks_are_whole_objects_with_sharp_edges() -> None:
    y = ALL.repeat(40)
    mask = render.render(_noise(len(y)), y, y, y).mask
    share = mask.mean(dim=(1, 2, 3))
    assert share.min() > 0.05 and share.max() < 0.45  # never a speck, never the whole picture
    assert ((mask > 0.05) & (mask < 0.95)).float().mean() < 0.08
    border = torch.cat([mask[..., 0, :], mask[..., -1, :], mask[..., 0], mask[..., -1]], dim=-1)
    assert (border > 0).float().mean() < 0.02  # hardly ever cut off


def test_each_label_changes_its_factor_and_nothing_else() -> None:
    u, other = _noise(9), ALL.roll(1)
    base = render.render(u, ALL, ALL, ALL)
    shape, texture, background = (
        render.render(u, *(other if i == changed else ALL for i in range(3))) for changed in range(3)
    )
    torch.testing.assert_close([shape.texture, shape.background], [base.texture, base.background])
    torch.testing.assert_close([texture.mask, texture.background], [base.mask, base.background])
    torch.testing.assert_close([background.mask, background.texture], [base.mask, base.texture])
    changes = [(shape.mask, base.mask), (texture.texture, base.texture), (background.background, base.background)]
    assert all((a - b).abs().mean() > 0.02 for a, b in changes)


def test_a_scene_depends_on_its_own_latent_alone() -> None:
    u = _noise(18)
    y = ALL.repeat(2)
    whole = render.render(u, y, y, y).image
    order = rng.permutation(18, "order")
    torch.testing.assert_close(render.render(u[order], *(y[order],) * 3).image, whole[order])
    torch.testing.assert_close(render.render(u[5:6], *(y[5:6],) * 3).image, whole[5:6])


def test_poses_and_colours_vary_and_further_latents_do_not_matter() -> None:
    u, y = _noise(40), torch.zeros(40, dtype=torch.long)
    made = render.render(u, y, y, y)
    assert made.mask.std(0).mean() > 0.1 and made.image.std(0).mean() > 0.05
    changed = torch.cat([u[:, : render.PARAMETERS], _noise(40, "other")[:, render.PARAMETERS :]], dim=1)
    torch.testing.assert_close(render.render(changed, y, y, y).image, made.image)


def test_clutter_lies_behind_the_object_and_belongs_to_the_background() -> None:
    u, y = _noise(60), ALL.repeat(7)[:60]
    wild = render.render(u, y, y, y, wild=True)
    torch.testing.assert_close(wild.image, wild.mask * wild.texture + (1 - wild.mask) * wild.background)
    assert (
        wild.image[(wild.mask == 1).expand(-1, 3, -1, -1)] == wild.texture[(wild.mask == 1).expand(-1, 3, -1, -1)]
    ).all()
    calm = u.clone()
    calm[:, render.PARAMETERS + 5 :: 5] = calm[:, render.PARAMETERS + 6 :: 5] = -2  # far in the corner
    tidy = render.render(calm, y, y, y, wild=True)
    assert torch.equal(tidy.mask, wild.mask) and torch.equal(tidy.texture, wild.texture)
    changed = (tidy.background != wild.background).any(1).float().mean((1, 2))
    assert changed.min() > 0.001 and 0.02 < changed.mean() < 0.3


def test_strangers_differ_and_are_whole_objects() -> None:
    shape = torch.arange(len(CLASSES), len(CLASSES) + len(appearance.STRANGERS))
    y = shape % len(CLASSES)
    mask = render.render(_noise(1).expand(len(shape), -1), shape, y, y).mask
    assert mask.mean(dim=(1, 2, 3)).min() > 0.01 and mask.mean(dim=(1, 2, 3)).max() < 0.6
    assert len({picture.tobytes() for picture in (mask > 0.5).numpy()}) == len(shape)
    known = render.render(_noise(1).expand(9, -1), ALL, ALL, ALL).mask
    overlap = torch.minimum(mask[:, None], known[None]).sum((2, 3, 4)) / torch.maximum(mask[:, None], known[None]).sum(
        (2, 3, 4)
    )
    assert overlap.max() < 0.85  # none is a shape of a class


def test_a_polygon_is_negative_inside_with_true_distances() -> None:
    x = torch.tensor([0.0, 0.0, 2.0, 0.9])
    y = torch.tensor([0.0, 2.0, 2.0, 0.0])
    square = appearance.polygon(x, y, [(-1, -1), (1, -1), (1, 1), (-1, 1)])
    torch.testing.assert_close(square, torch.tensor([-1.0, 1.0, 2**0.5, -0.1]))
