"""Small datasets that the tests make for themselves."""

from __future__ import annotations

import gc
import importlib.util
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from PIL import Image

from harmoseg.datasets.phantom import PhantomOptions, prepare_phantom
from harmoseg.evaluation.measuring import predict_store
from harmoseg.inference.predictor import Predictor
from harmoseg.messages import show_messages
from harmoseg.store.reading import Store

# A pool of compilers would import PyTorch in every one of its processes.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")

# The same examples every time, however long they take: a change is not held up by what is drawn on
# the day it lands, nor by another program.
settings.register_profile(
    "harmoseg", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("harmoseg")


@pytest.fixture(scope="session", autouse=True)
def _messages() -> None:
    """Show messages of the library on stderr, as the command line does."""
    show_messages()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module", autouse=True)
def _collected() -> Iterator[None]:
    """Free what a file's networks leave in cycles, which grows to gigabytes before Python does."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def in_two_processes() -> Callable[..., None]:
    """Give a function that calls another with 0 and with 1, each in a process of its own."""
    # One server imports everything, and its children need not.
    multiprocessing.get_context("forkserver").set_forkserver_preload(["harmoseg.training.run"])

    def run(target: Callable[..., None], *arguments: object) -> None:
        torch.multiprocessing.start_processes(
            target, arguments, nprocs=2, start_method="forkserver"
        )

    return run


@pytest.fixture
def folder_data(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Make a folder of images and one of masks: discs of changing size on noise."""

    def make(
        count: int = 8, size: int = 40, suffix: str = "", name: str = "case"
    ) -> tuple[Path, Path]:
        images, masks = tmp_path / "images", tmp_path / "masks"
        images.mkdir()
        masks.mkdir()
        random = np.random.default_rng(0)
        y, x = np.mgrid[:size, :size]
        for i in range(count):
            disc = np.hypot(x - size / 2, y - size / 2 - i % 3) < size / 6 + i % 5
            noise = random.integers(0, 80, (size, size, 3))
            image = (noise + 120 * disc[..., None]).astype(np.uint8)
            Image.fromarray(image).save(images / f"{name}{i}.png")
            Image.fromarray((disc * 255).astype(np.uint8)).save(masks / f"{name}{i}{suffix}.png")
        return images, masks

    return make


@pytest.fixture(scope="session")
def phantom_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepare a small multiclass phantom once for all tests that only read it."""
    out = tmp_path_factory.mktemp("stores") / "phantom"
    prepare_phantom(PhantomOptions(out, count=20, size=32))
    return out


@pytest.fixture(scope="session")
def binary_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepare a small binary phantom once for all tests that only read it."""
    out = tmp_path_factory.mktemp("stores") / "phantom-binary"
    prepare_phantom(PhantomOptions(out, mode="binary", count=20, size=32))
    return out


@pytest.fixture(scope="session")
def predict_cases() -> Callable[..., dict[int, np.ndarray]]:
    """Predict cases as an evaluation does: their label maps (D, H, W) by the cases' numbers."""

    def predict(
        network: torch.nn.Module, store: Store, cases: Sequence[int], *, flips: bool = False
    ) -> dict[int, np.ndarray]:
        predictor = Predictor([network], store.info.card.mode, "cpu", flips=flips)
        planes: dict[int, list[np.ndarray]] = {}
        for plane in predict_store(predictor, store, cases):
            planes.setdefault(plane.item, []).append(plane.label)
        return {number: np.stack(found) for number, found in planes.items()}

    return predict


@pytest.fixture(scope="session")
def made() -> ModuleType:
    """Give the module that makes scores of plain arrays, to tests of any folder."""
    name = "made_scores"
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def write_series() -> Callable[..., list[Path]]:
    """Give a function that writes voxels (X, Y, Z) with a RAS+ affine as a DICOM series."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    def write(folder: Path, voxels: np.ndarray, affine: np.ndarray, **fields: Any) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
        zooms = np.linalg.norm(lps[:3, :3], axis=0)
        uid = fields.pop("SeriesInstanceUID", None) or generate_uid(entropy_srcs=[str(folder)])
        ending = fields.pop("ending", ".dcm")
        files = []
        # The order of the names is not that of the positions.
        for k in np.random.default_rng(0).permutation(voxels.shape[2]):
            slice_ = Dataset()
            slice_.file_meta = FileMetaDataset()
            slice_.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            slice_.file_meta.MediaStorageSOPClassUID = CTImageStorage
            slice_.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[uid, str(k)])
            slice_.SOPClassUID = CTImageStorage
            slice_.SOPInstanceUID = slice_.file_meta.MediaStorageSOPInstanceUID
            slice_.SeriesInstanceUID = uid
            slice_.Rows, slice_.Columns = voxels.shape[1], voxels.shape[0]
            slice_.SamplesPerPixel, slice_.PhotometricInterpretation = 1, "MONOCHROME2"
            slice_.BitsAllocated = slice_.BitsStored = 16
            slice_.HighBit, slice_.PixelRepresentation = 15, 1
            slice_.PixelSpacing = [float(zooms[1]), float(zooms[0])]
            directions = (lps[:3, :2] / zooms[:2]).T.ravel()
            slice_.ImageOrientationPatient = [round(float(value), 9) for value in directions]
            place = lps @ [0, 0, k, 1]
            slice_.ImagePositionPatient = [round(float(value), 6) for value in place[:3]]
            slice_.RescaleSlope, slice_.RescaleIntercept = 2, -1000
            stored = np.rint((voxels[:, :, k].T + 1000) / 2).astype("<i2")
            slice_.PixelData = stored.tobytes()
            for name, value in fields.items():
                setattr(slice_, name, value)
            files.append(folder / f"{len(files):04d}{ending}")
            slice_.save_as(files[-1], enforce_file_format=True)
        return files

    return write
