"""The explorer of report.html: sprites and tables inside the page, and a script that composes images from them."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from reprolib import figures
from reprolib.figures import Arrays
from reprolib.mnist.cgn import CLASSES
from reprolib.mnist.explorer import NAMES, READERS, by_cgn
from reprolib.report.takeaways import whose
from reprolib.report.words import listed

FIGURE = "explorer"
"""Its data, and the picture that stands for it where no script runs and on paper."""


def explored(file: Path) -> dict[str, Any]:
    """What ``templates/explorer.html.j2`` puts into the page. file: holds the arrays of ``mnist.explorer.arrays``."""
    data: Any = figures.read(file)
    cgns = [
        {"name": f"{title}, {source}", "latents": len(found["mask"])}
        | {name: sprites(found[name]) for name in NAMES[:3]}
        | {name: base64.b64encode(found[name].tobytes()).decode() for name in NAMES[3:]}
        for (title, source), found in by_cgn(data).items()
    ]
    return {"readers": READERS, "cgns": cgns}


def takeaway(data: Arrays) -> str:
    """data: of ``mnist.explorer.arrays``."""
    shape, texture, background = np.indices((CLASSES, CLASSES, CLASSES))
    apart = (shape != texture) & (shape != background) & (texture != background)
    cgns, told = by_cgn(data), []
    sources = pd.Series([source for _, source in cgns])
    for (title, source), found in cgns.items():
        shares = [100 * (each == shape)[:, apart].mean() for each in found["predicted"]]
        told.append(f"{shares[0]:.1f} and {shares[1]:.1f} % on {title}{whose(source, sources)}")
    first, second = READERS
    return (
        f"The label of the shape, where the three differ, is named by the classifier trained on {first} and by that "
        f"trained on {second} in {listed(told)}."
    )


def sprites(pictures: np.ndarray) -> str:
    """Pictures, uint8 (rows, columns, H, W) or (..., 3), as the address of one PNG that holds them edge to edge."""
    stream = io.BytesIO()
    Image.fromarray(figures.sheet(pictures, gap=0)).save(stream, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
