"""The words of the field, once: the ingredients of the stable recipe, the three factors, and the MNIST variants with
what the authors fix for each (docs/mnist.md, section 6).

Nothing heavy is imported here, so that a profile can be checked before torch is loaded. A new variant starts with an
entry here (``register``) and a rule in ``mnist/variants.py``; docs/add-a-variant.md walks through it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Ingredient = Literal[
    "start", "edge", "balance", "labels", "colours", "critic", "pack", "contrast", "noise", "clamp", "rise", "fall",
    "mean",
]  # fmt: skip
INGREDIENTS: tuple[Ingredient, ...] = get_args(Ingredient)
"""Of the stable recipe; ``stable.py`` says what each is."""

FACTORS = ("shape", "texture", "background")
"""What a counterfactual is composed of, each by a mechanism of its own."""
PUBLISHED_FACTORS = ("shape", "texture", "bg")
"""The same in label files and in the names of heads, as published."""

STUDIES = {"sauer2021": "Sauer & Geiger", "reproduction": "reproduction study", "bagad2022": "Bagad et al."}
"""What was published before, by its key in ``published/*.csv``."""


@dataclass(frozen=True)
class Variant:
    """One variant's name and the hyper-parameters of its CGN."""

    title: str
    discriminator: Literal["linear", "conv"]
    initialisation: Literal["orthogonal", "normal"]
    gain: float
    mask_weight: float
    """lambda of the mask-entropy loss, the term ``mask`` of a training; the stable recipe raises it over its second
    half, ``stable.Constants.entropy_rise`` times."""
    style_weights: tuple[float, float, float, float]
    """w of the four taps of the style loss; a tap enters with the factor 5000 w**2."""
    max_ratio: int = 1000
    """The largest CF ratio that makes sense: Colored MNIST has ten colours per shape."""
    textured: bool = False
    """Whether the data use the textures, so that their source belongs to the identity of a result."""
    held_out: Literal["test_file", "end_of_train_file"] = "end_of_train_file"
    """Which digits are held out: MNIST's test file, or the last 10,000 of its training file."""


VARIANTS: dict[str, Variant] = {
    "colored_MNIST": Variant(
        "Colored MNIST", "linear", "orthogonal", 0.1, 0.1, (0.05, 0.1, 0.01, 0.0), max_ratio=10, held_out="test_file"
    ),
    "double_colored_MNIST": Variant("Double-colored MNIST", "linear", "orthogonal", 0.2, 0.3, (0.0, 0.05, 0.0, 0.05)),
    "wildlife_MNIST": Variant("Wildlife MNIST", "conv", "normal", 0.03, 0.3, (0.01, 0.05, 0.0, 0.01), textured=True),
}


def shipped_name(variant: str, textures: str) -> str:
    """The file in ``reprolib/weights`` with the CGN of a variant; a textured one has a file per kind of texture."""
    kind = f"_{textures}" if VARIANTS[variant].textured else ""
    return f"cgn_{variant}{kind}.safetensors"


def register(name: str, settings: Variant) -> None:
    """Add a variant; its name is then accepted by profiles. Raises ValueError for a name that is taken."""
    if name in VARIANTS:
        raise ValueError(f"a variant named {name!r} exists already; choose another name")
    VARIANTS[name] = settings
