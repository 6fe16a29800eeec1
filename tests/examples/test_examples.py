"""Every example runs as it stands, and is as short as it says."""

from __future__ import annotations

import runpy
from pathlib import Path

import nbclient
import nbformat
import pytest
import torch

FOLDER = Path(__file__).parents[2] / "examples"
EXAMPLES = sorted(FOLDER.glob("*.py"))
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LIBRARIES = {
    "smp_unet": "segmentation_models_pytorch",
    "monai_volume": "monai",
    "lightning_module": "lightning",
}


def run(path: Path) -> dict[str, object]:
    pytest.importorskip(LIBRARIES.get(path.stem, "torch"))
    return runpy.run_path(str(path))


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")  # Lightning under a newer PyTorch
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs_and_leaves_gradients(path) -> None:
    found = run(path)
    network = found.get("network")
    if "Segmenter" in found:
        module = found["Segmenter"]()
        module.log_dict = lambda _: None  # there is no trainer to log to
        module.training_step([torch.rand(2, 3, 32, 32), torch.zeros(2, 1, 32, 32)]).backward()
        network = module.network
    assert all(
        value.grad is not None and value.grad.isfinite().all() for value in network.parameters()
    )


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_fifteen_lines_or_fewer(path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()[1:]  # the docstring says what it shows
    code = [line for line in lines if line.strip()]
    assert len(code) <= 15


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_and_keeps_small_outputs(path, tmp_path) -> None:
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) < 10
    assert all(cell.execution_count for cell in code), "run it: jupyter execute --inplace"
    kept = path.read_text(encoding="utf-8")
    assert len(kept) < 100_000 and "site-packages" not in kept
    (tmp_path / "results").symlink_to(path.parents[1] / "results")
    client = nbclient.NotebookClient(
        notebook,
        timeout=600,
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()  # raises what a cell raises
