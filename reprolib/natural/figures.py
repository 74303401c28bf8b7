"""The image figures of the natural-image half, one name per world: for each the arrays that show it, and how they are
drawn (see ``reprolib/figures.py``). What is drawn from a table is in ``tables.py``."""

from __future__ import annotations

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure

from reprolib.figures import Arrays, figure, show, show_sheet, to_pixels
from reprolib.natural import datasets, experiments, plan, quality, train
from reprolib.natural.cgn import CGN
from reprolib.natural.classify import HEADS
from reprolib.natural.datasets import Sampling, generate, interpolation
from reprolib.natural.plan import CgnChoice, WorldRun
from reprolib.run import rules

FIGURE_7 = (
    (883, 207, 72), (907, 145, 337), (351, 271, 97), (894, 454, 979), (947, 992, 460), (859, 607, 955),
    (876, 407, 979), (97, 649, 693), (872, 555, 337), (841, 936, 972), (97, 852, 460), (9, 207, 974),
    (872, 728, 119), (9, 323, 147), (950, 409, 888), (966, 207, 9),
)  # fmt: skip
"""Classes of shape, texture and background in reproduction Fig 7, row by row (docs/imagenet.md, section 18.4)."""


def _own(run: WorldRun) -> CGN:
    """The deciding CGN of a run, where it computes."""
    return experiments.load(plan.cgn(run, run.deciding)).to(run.params.device)


def data_sheets(run: WorldRun, count: int = 10) -> dict[str, np.ndarray]:
    """What classifiers are trained and tested on: ``images`` (5, count, H, W, 3) and ``rows`` (5,), their names."""
    world = run.world
    sets = {"training images": world.real("train"), "unchanged test images": world.challenge("original")}
    sets |= {"background of the class": world.challenge("mixed_same")}
    sets |= {"background of a random class": world.challenge("mixed_rand"), "cue conflict": world.conflict()[0]}
    rows = []
    for images in (datasets.examples(data, count) for data in sets.values()):
        least, most = images.min(), images.max()  # transforms of ImageNet standardise
        rows.append(to_pixels(2 * (images - least) / (most - least) - 1))
    return {"images": np.stack(rows), "rows": np.array(list(sets))}


@figure("scenes_data", "imagenet_data")
def _draw_data(data: Arrays) -> Figure:
    drawn, ax = plt.subplots(figsize=(8.6, 0.85 * len(data["images"]) + 0.2))
    show_sheet(ax, data["images"], list(data["rows"]))
    return drawn


@torch.inference_mode()
def counterfactual_grid(run: WorldRun) -> dict[str, np.ndarray]:
    """Reproduction Fig 7: ``images`` (16, H, W, 3) and ``labels`` (16,), text of shape, texture and background."""
    model, world = _own(run), run.world
    if world.name == "imagenet":
        truncation = run.chosen.truncation
        u, classes = model.noise(16, ("figure 7",), truncation), torch.tensor(FIGURE_7)
        shape, texture, ground = (model.one_hot(column) for column in classes.unbind(1))
        images = model.counterfactual(u, shape, texture, ground, truncation)[0].cpu()
    else:
        images, classes = generate(model, Sampling(seed=7), torch.arange(16))
    names = [" / ".join(world.class_names[number] for number in row) for row in classes.tolist()]
    return {"images": to_pixels(images), "labels": np.array(names)}


@figure("scenes_counterfactuals", "imagenet_counterfactuals")
def _draw_counterfactuals(data: Arrays) -> Figure:
    drawn, axes = plt.subplots(2, 8, figsize=(10.8, 3.7))
    for ax, image, label in zip(axes.flat, data["images"], data["labels"], strict=True):
        show(ax, image)
        ax.set_title(str(label).replace(" / ", "\n"), fontsize=7)
    for ax in axes[:, 0]:
        ax.set_ylabel(
            "shape\ntexture\nbackground", rotation=0, ha="right", va="bottom", y=1.04, fontsize=7, style="italic"
        )
    return drawn


def training_sheets(run: WorldRun) -> dict[str, np.ndarray]:
    """Reproduction Figs 8 and 9: ``updates`` (T,), ``classes`` (C,) and ``sheets`` (T, C, 6, H, W, 3) of the first run,
    for the classes that the world follows."""
    trained = plan.trained_cgn(run, CgnChoice("trained", target=run.chosen.targets[0]))
    found = trained.result(with_tensors=True).tensors
    sheets = {int(name.removeprefix("sheet/")): value for name, value in found.items() if name.startswith("sheet/")}
    updates = sorted(sheets)
    followed = run.world.followed
    rows = [run.world.shown.index(number) for number in followed]
    stacked = torch.stack([sheets[update][rows] for update in updates]).permute(0, 1, 2, 4, 5, 3)
    names = np.array([run.world.class_names[number] for number in followed])
    return {"updates": np.array(updates), "classes": names, "sheets": stacked.numpy()}


@figure("scenes_training", "imagenet_training")
def _draw_training(data: Arrays) -> Figure:
    sheets, rows = data["sheets"], ["m", "premask", "f", "b", "x_gen", "x_gt"]
    drawn, axes = plt.subplots(1, 3, figsize=(10.5, 3.6))
    updates = [str(update) for update in data["updates"]]
    for number, ax in enumerate(axes):
        shown, title = sheets[:, number].swapaxes(0, 1), str(data["classes"][number])
        show_sheet(ax, shown, rows if ax is axes[0] else [""] * 6, updates, title, size=7)
        ax.set_xlabel("optimiser update")
    return drawn


def samples(run: WorldRun, count: int = 6) -> dict[str, np.ndarray]:
    """Reproduction Fig 8: what the mechanisms make of several latents: ``classes`` (C,), two that the world follows,
    and ``sheets`` (C, 5, count, H, W, 3) with the rows premask, mask, texture map, background and composed image."""
    model, world = _own(run), run.world
    u, sheets = model.noise(count, ("samples",), run.chosen.truncation), []
    for number in world.followed[1:]:
        made = train.sheet(model, [number] * count, u, run.chosen.truncation)[:, [1, 0, 2, 3, 4]]
        sheets.append(made.permute(1, 0, 3, 4, 2).numpy())
    names = [world.class_names[number] for number in world.followed[1:]]
    return {"classes": np.array(names), "sheets": np.stack(sheets)}


@figure("scenes_samples", "imagenet_samples")
def _draw_samples(data: Arrays) -> Figure:
    rows = ["shape image", "mask m", "texture f", "background b", "m⊙f + (1-m)⊙b"]
    drawn, axes = plt.subplots(1, len(data["classes"]), figsize=(5.0 * len(data["classes"]), 4.2), squeeze=False)
    for ax, name, each in zip(axes[0], data["classes"], data["sheets"], strict=True):
        show_sheet(ax, each, rows if ax is axes[0, 0] else [""] * len(rows), title=str(name))
    return drawn


WALKS = {"shape": "mask", "texture": "foreground", "background": "background"}
"""The factor whose label changes, and the map that its mechanism makes."""


@torch.inference_mode()
def interpolations(run: WorldRun) -> dict[str, np.ndarray]:
    """A walk between two classes by one label at a time, then by all three, with u fixed: ``images``
    (7, 8, H, W, 3), the composed images and below them the map that changes, ``walks`` (7,) what a row shows, ``ends``
    (2,) the classes."""
    model, world = _own(run), run.world
    first, last, truncation = world.shown[0], world.shown[-1], world.walk_truncation
    u = model.noise(1, ("interpolation",), truncation)
    rows, names = [], []
    for number, (factor, part) in enumerate(WALKS.items()):
        end = [last if number == moved else first for moved in range(3)]
        walk = interpolation(model, u, [first] * 3, end, truncation=truncation)
        varied = 2 * walk[part].expand_as(walk["image"]) - 1 if part == "mask" else walk[part]
        rows += [to_pixels(walk["image"]), to_pixels(varied)]
        names += [factor, f"its {'mask' if part == 'mask' else 'map'}"]
    rows.append(to_pixels(interpolation(model, u, [first] * 3, [last] * 3, truncation=truncation)["image"]))
    ends = [f"class {world.class_names[number]}" for number in (first, last)]
    return {"images": np.stack(rows), "walks": np.array([*names, "all three"]), "ends": np.array(ends)}


@figure("scenes_interpolation", "imagenet_interpolation")
def _draw_interpolation(data: Arrays) -> Figure:
    walks, (first, last) = data["images"], data["ends"]
    drawn, ax = plt.subplots(figsize=(7.6, 0.85 * len(walks) + 0.4))
    show_sheet(ax, walks, list(data["walks"]), [first, *[""] * (walks.shape[1] - 2), last])
    ax.set_ylabel("label that changes")
    return drawn


@torch.inference_mode()
def tour(run: WorldRun, midpoints: int = 4) -> dict[str, np.ndarray]:
    """The animation: from one class to another by shape, texture and background in turn, and back; ``frames``
    (6 * (midpoints + 1), H, W, 3)."""
    model, world = _own(run), run.world
    truncation, here = world.walk_truncation, [world.shown[0]] * 3
    u = model.noise(1, ("interpolation",), truncation)
    legs = []
    for goal in (world.shown[-1], world.shown[0]):
        for factor in range(3):
            there = [goal if number <= factor else here[number] for number in range(3)]
            legs.append(interpolation(model, u, here, there, midpoints, truncation)["image"][:-1])
            here = there
    return {"frames": to_pixels(torch.cat(legs))}


@torch.inference_mode()
def failures(run: WorldRun, candidates: int = 200, shown: int = 6) -> dict[str, np.ndarray]:
    """Reproduction Figs 10 to 12, chosen by a number and not by hand: the worst images of three kinds.

    ``entanglement``: texture maps that show most of the background (``World.entanglement``), of the classes that the
    reproduction study shows if the world names them; ``residue``: backgrounds with the most saliency; ``realism``:
    composed images whose own class the rater gives the least probability, and their masks. Each (shown, 2, H, W,
    3): the map and the composed image.
    """
    model = _own(run)
    classes, u = quality.classes_of(candidates, model.architecture.classes), model.noise(candidates, ("rated",))
    if entangled := run.world.entangled:  # the first third, enough to choose from
        known = torch.tensor(entangled)
        classes[: candidates // 3] = known[torch.arange(candidates // 3) % len(known)]
    rows, rater = [], run.world.rater().to(model.device)
    for part in torch.arange(candidates).split(quality.BATCH):
        y = model.one_hot(classes[part])
        image, mask, front, ground = model.counterfactual(u[part], y, y, y)
        spread = run.world.entanglement(model, u[part], classes[part])
        probability = rater(image).softmax(1).gather(1, classes[part][:, None].to(model.device))[:, 0]
        scores = {"spread": spread, "found": model.u2net(ground).mean(dim=(1, 2, 3)), "doubt": -probability}
        maps = {"image": image, "mask": 2 * mask.expand_as(image) - 1, "front": front, "ground": ground}
        rows.append(maps | scores)
    whole = {name: torch.cat([row[name].cpu() for row in rows]) for name in rows[0]}
    if entangled:
        whole["spread"][candidates // 3 :] = -1  # the others come last
    kinds = {"entanglement": ("spread", "front"), "residue": ("found", "ground"), "realism": ("doubt", "mask")}
    result = {}
    for kind, (score, picture) in kinds.items():
        worst = whole[score].topk(shown).indices
        pair = [to_pixels(whole[name][worst]) for name in (picture, "image")]
        result[kind] = np.stack(pair, axis=1)
    return result


@figure("scenes_failures", "imagenet_failures")
def _draw_failures(data: Arrays) -> Figure:
    titles = {
        "entanglement": "texture-background entanglement:\ntexture maps with the most background",
        "residue": "background residue:\nbackgrounds with the most salient object",
        "realism": "reduced realism:\nleast like their class to the rater, and masks",
    }
    drawn, axes = plt.subplots(1, 3, figsize=(10.5, 1.65))
    for ax, (kind, title) in zip(axes, titles.items(), strict=True):
        show_sheet(ax, data[kind].swapaxes(0, 1), ["map", "image"] if ax is axes[0] else [])
        ax.set_title(title, fontsize=8.5)
    return drawn


def heads(run: WorldRun) -> dict[str, np.ndarray]:
    """GradCAM of every head: ``images`` (N, H, W, 3), ``kinds`` (2,), real ones first and then counterfactuals, as many
    of each, and per training set ``<title>`` (3, N, H, W)."""
    arrays: dict[str, np.ndarray] = {"kinds": np.array(["real images", "counterfactuals"])}
    for kind, source, title in plan.training_sets(run):
        which = CgnChoice(source, target=run.chosen.targets[0])
        found = plan.examined(run, kind, which, rules.FIRST_SEED).result(with_tensors=True).tensors
        arrays["images"] = found["seen"].permute(0, 2, 3, 1).numpy()
        arrays[title] = torch.stack([found[f"heatmaps/{head}"] for head in HEADS]).numpy()
    return arrays


@figure("scenes_heads", "imagenet_heads")
def _draw_heads(data: Arrays) -> Figure:
    sets = [name for name in data if name not in ("images", "kinds")]
    drawn, axes = plt.subplots(len(sets), 1, figsize=(7.2, 2.9 * len(sets)), squeeze=False)
    for ax, name in zip(axes[:, 0], sets, strict=True):
        heat = matplotlib.colormaps["turbo"](data[name])[..., :3] * 255
        over = np.concatenate([data["images"][None], (0.5 * heat + 0.5 * data["images"]).astype(np.uint8)])
        show_sheet(ax, over, ["image", "shape head", "texture head", "background head"], title=f"trained on {name}")
        half = (data["images"].shape[1] + 2) * (len(data["images"]) // 2)
        ax.set_xticks([half / 2, half * 1.5], list(data["kinds"]))
    return drawn
