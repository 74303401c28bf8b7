"""Data sets of Scenes: for training, and the test sets of the real protocols (docs/imagenet.md, 10.2 and 10.3).

Real scenes are wild ones whose texture and background are those of the shape's class only mostly, as in ImageNet; posed
scenes are what the generative models know. Scene i of a set is a function of (set, seed, i) alone.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reprolib.natural import biggan
from reprolib.run import rng
from reprolib.worlds.scenes.render import CLASSES, Scene, render

VERSION = 1
"""Raised when a set of wild scenes looks different; of posed ones the renderer has its own."""
LATENT = 64
BATCH = 500
AGREEMENT = 0.9
"""How often a factor of a real scene is drawn with the class of its shape; else it is that of any class."""
Attributes = Literal["mostly", "random"]
TestSet = Literal["original", "mixed_same", "mixed_rand", "cue_conflict"]


class Labelled(NamedTuple):
    """Images (N, 3, 64, 64) in [-1, 1], and the classes of shape, texture and background, int64 (N, 3)."""

    images: Tensor
    labels: Tensor


def classes(index: Tensor, key: rng.Key, attributes: Attributes) -> Tensor:
    """Classes of shape, texture and background, int64 (N, 3): in agreement ``mostly``, or independent."""
    drawn = rng.uniform(key, index, 5)
    labels = (drawn[:, :3] * len(CLASSES)).long()
    if attributes == "mostly":
        labels[:, 1:] = torch.where(drawn[:, 3:] < AGREEMENT, labels[:, :1], labels[:, 1:])
    return labels


def scenes(count: int, key: rng.Key, attributes: Attributes = "mostly", wild: bool = True) -> tuple[Scene, Tensor]:
    """(scenes with their truth, labels (N, 3)).

    attributes: ``mostly`` are real scenes; with ``random`` all three factors are independent: those are the true
    counterfactuals, and posed ones train and test the readers of single factors.
    """
    index = torch.arange(count)
    u, labels = biggan.noise(index, LATENT, 1.0, ("scene", *key)), classes(index, ("scene classes", *key), attributes)
    return _rendered(u, labels, wild), labels


@lru_cache(maxsize=4)
def labelled(count: int, key: rng.Key, attributes: Attributes = "mostly", wild: bool = True) -> Labelled:
    """Scenes as a classifier sees them; the last few sets are kept, because every evaluation asks for them again."""
    scene, labels = scenes(count, key, attributes, wild)
    return Labelled(scene.image, labels)


@lru_cache(maxsize=4)
def test_set(name: TestSet, count: int, seed: int) -> Labelled:
    """A test set; the objects of ``original``, ``mixed_same`` and ``mixed_rand`` are the same ones.

    ``original``: real scenes. ``mixed_same``: each object before the background of another scene of its class.
    ``mixed_rand``: before the background of a scene of a random class. ``cue_conflict``: the shape of one class with
    the texture of another, posed, before plain grey, so that nothing else gives the class away.
    """
    key = ("test", seed)
    if name == "cue_conflict":
        return _cue_conflict(count, key)
    scene, labels = _test_scenes(count, key)
    if name == "original":
        return Labelled(scene.image, labels)
    index = torch.arange(count)
    other = biggan.noise(index, LATENT, 1.0, ("other background", *key))
    ground = labels[:, 0] if name == "mixed_same" else rng.classes(("other class", *key), index, len(CLASSES))
    backgrounds = _rendered(other, ground[:, None].expand(-1, 3), wild=True).background
    labels = torch.stack([labels[:, 0], labels[:, 1], ground], dim=1)
    return Labelled(scene.mask * scene.texture + (1 - scene.mask) * backgrounds, labels)


_test_scenes = lru_cache(maxsize=1)(scenes)
"""The same for three test sets."""


@torch.inference_mode()
def adversarial(count: int, classifier: nn.Module) -> Labelled:
    """Scenes with independent factors whose shape a plain classifier gets wrong, as ImageNet-A was collected: the
    first ``count`` of twice as many, or fewer if it is too good."""
    images, labels = labelled(2 * count, ("adversarial",), "random")
    read = torch.cat([classifier(batch).argmax(1) for batch in images.split(BATCH)])
    wrong = (read != labels[:, 0]).nonzero()[:count, 0]
    return Labelled(images[wrong], labels[wrong])


def sketches(count: int) -> Labelled:
    """The dark outline of each object on white, as in ImageNet-Sketch; texture and background have no class (-1)."""
    scene, labels = scenes(count, ("sketch",))
    inside = -F.max_pool2d(-scene.mask, 3, stride=1, padding=1)
    outline = F.max_pool2d(scene.mask, 3, stride=1, padding=1) - inside
    labels = torch.cat([labels[:, :1], torch.full_like(labels[:, 1:], -1)], dim=1)
    return Labelled((1 - 2 * outline).expand(-1, 3, -1, -1).contiguous(), labels)


def _cue_conflict(count: int, key: rng.Key) -> Labelled:
    index = torch.arange(count)
    u = biggan.noise(index, LATENT, 1.0, ("conflict", *key))
    shape = rng.classes(("conflict shape", *key), index, len(CLASSES))
    step = 1 + rng.classes(("conflict texture", *key), index, len(CLASSES) - 1)
    texture = (shape + step) % len(CLASSES)  # any class but that of the shape
    scene = _rendered(u, torch.stack([shape, texture, shape], dim=1), wild=False)
    nothing = torch.full_like(shape, -1)
    return Labelled(scene.mask * scene.texture, torch.stack([shape, texture, nothing], dim=1))  # grey is 0


def _rendered(u: Tensor, labels: Tensor, wild: bool) -> Scene:
    """Scenes of the labels (N, 3), in batches that fit into memory."""
    batches = zip(u.split(BATCH), labels.split(BATCH), strict=True)
    scenes = [render(latents, *classes.unbind(1), wild=wild) for latents, classes in batches]
    return Scene(*(torch.cat(each) for each in zip(*scenes, strict=True)))
