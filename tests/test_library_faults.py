"""The faults of libraries that this project works around, in their smallest form.

A test that fails here is good news: the library was repaired, and the workaround that the test names can go.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest
import torch
import yaml
from nbformat.v4 import new_code_cell, new_notebook, new_output
from papermill.exceptions import PapermillException
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from pytorch_pretrained_biggan import BigGAN, BigGANConfig
from pytorch_pretrained_biggan.model import BigGANBatchNorm
from torch import Tensor, nn

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


def _write(file: Path, *codes: str, tags: tuple[str, ...] = ()) -> Path:
    cells = [new_code_cell(code, metadata={"tags": list(tags) if i == 0 else []}) for i, code in enumerate(codes)]
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": KERNEL}), file)
    return file


def test_papermill_calls_the_cells_of_a_killed_kernel_completed(tmp_path: Path) -> None:
    """Workaround: reports trust sealed manifests, never what papermill noted (``results.py``)."""
    source = _write(tmp_path / "in.ipynb", "x = 1", "import os; os.kill(os.getpid(), 9)")
    with pytest.raises((RuntimeError, PapermillException)):
        papermill.execute_notebook(source, tmp_path / "out.ipynb", progress_bar=False, kernel_name="python3")
    notes = [cell.metadata["papermill"] for cell in nbformat.read(tmp_path / "out.ipynb", 4).cells]
    assert notes[-1]["status"] == "completed" and not notes[-1]["exception"]


def test_papermill_accepts_an_unknown_parameter(tmp_path: Path) -> None:
    """Workaround: a schema of our own, asked before a kernel starts and again in the first cell (``params.py``)."""
    source = _write(tmp_path / "in.ipynb", "seeds = 1", tags=("parameters",))
    done = papermill.execute_notebook(
        source, tmp_path / "out.ipynb", parameters={"sedes": 3}, progress_bar=False, prepare_only=True
    )
    assert "sedes = 3" in done.cells[1].source


def test_yaml_reads_a_power_of_ten_as_text() -> None:
    """Workaround: strict types, and a hint in the refusal (``params._sentence``)."""
    assert yaml.safe_load("rate: 1e-3")["rate"] == "1e-3" and yaml.safe_load("device: no")["device"] is False


@pytest.mark.slow
def test_nbval_passes_a_notebook_without_its_outputs(tmp_path: Path) -> None:
    """Workaround: ``test_notebooks.py`` asks for an execution count in every cell, and for outputs."""
    file = _write(tmp_path / "stripped.ipynb", "print(1)")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval", "--nbval-current-env"]
    passed = subprocess.run([*command, str(file)], capture_output=True, text=True, cwd=tmp_path)
    assert passed.returncode == 0, passed.stdout
    notebook = nbformat.read(file, 4)
    notebook.cells[0].outputs = [new_output("stream", name="stdout", text="2\n")]
    nbformat.write(notebook, file)
    failed = subprocess.run([*command, str(file)], capture_output=True, text=True, cwd=tmp_path)
    assert failed.returncode == 1  # so it does compare what is there


class _Net(nn.Module):
    def __init__(self, inplace: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.relu, self.head = nn.Conv2d(1, 4, 3), nn.ReLU(inplace=inplace), nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.head(self.relu(self.convolution(images)).mean((2, 3)))
        return scores


def test_gradcam_sees_an_activation_that_the_next_layer_overwrites() -> None:
    """Workaround: the classifier's ReLUs are not in place, and the target is the ReLU (``gradcam.py``)."""
    images = torch.randn(2, 1, 12, 12, generator=torch.Generator().manual_seed(1))
    maps = []
    for inplace in (False, True):
        model = _Net(inplace).eval()
        cam = GradCAM(model=model, target_layers=[model.convolution])
        maps.append(cam(images, [ClassifierOutputTarget(0)] * 2))
        cam.activations_and_grads.release()
    assert abs(maps[0] - maps[1]).max() > 0.05


def test_gradcam_as_a_context_swallows_an_index_error() -> None:
    """Workaround: no ``with`` (``gradcam.py``)."""
    model = _Net(False)
    with GradCAM(model=model, target_layers=[model.convolution]):
        raise IndexError("never seen")


_CONFIG = BigGANConfig(
    output_dim=8, z_dim=4, class_embed_dim=4, channel_width=8, num_classes=3,
    layers=[[False, 16, 16], [True, 16, 8], [False, 8, 4], [False, 4, 2], [False, 2, 1]], attention_layer_position=99,
)  # fmt: skip


def test_biggan_loads_a_file_with_wrong_names_without_a_word(tmp_path: Path) -> None:
    """Workaround: ``weights.load_strictly``."""
    torch.save({"nothing": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(json.dumps(_CONFIG.to_dict()))
    assert isinstance(BigGAN.from_pretrained(str(tmp_path)), BigGAN)


def test_biggan_does_not_initialise_its_last_norm() -> None:
    """Workaround: ``biggan.build`` sets it to 1 and 0. What is seen is whatever lay in memory, so it is tried often."""
    norms = [BigGANBatchNorm(512, conditional=False) for _ in range(20)]
    assert not all(norm.weight.eq(1).all() and norm.bias.eq(0).all() for norm in norms)


def test_joblib_cannot_be_given_the_dask_backend_by_name() -> None:
    """Workaround: ``parallel_config`` around ``Parallel`` (``jobs.py``)."""
    joblib = pytest.importorskip("joblib")
    distributed = pytest.importorskip("distributed")
    with (
        distributed.Client(processes=False, n_workers=1, dashboard_address=None),
        pytest.raises((TypeError, ValueError), match=r"nesting_level|Invalid backend"),
    ):
        joblib.Parallel(n_jobs=2, backend="dask")(joblib.delayed(abs)(i) for i in (-1, -2))
