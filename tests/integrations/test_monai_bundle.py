"""An exported bundle: what MONAI's own commands say of it, and what it predicts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

import harmoseg
from harmoseg import HarmosegError
from harmoseg.cli.main import main
from harmoseg.datasets.folder import FolderOptions, SplitRule, list_folder
from harmoseg.datasets.preparing import PrepareOptions, prepare_listing
from harmoseg.datasets.sources import Listing, SourceCase, make_listing
from harmoseg.datasets.volumes import read_nifti_pair
from harmoseg.files import sha256_of
from harmoseg.inference.saved_model import ModelInfo, save_model
from harmoseg.integrations import monai_bundle
from harmoseg.integrations.monai_bundle import export_bundle
from harmoseg.store.card import Card
from harmoseg.store.reading import open_store

bundle = pytest.importorskip("monai.bundle", reason="needs MONAI: pip install 'harmoseg[monai]'")
pytest.importorskip("jsonschema", reason="needs jsonschema: pip install 'harmoseg[monai]'")

TENSOR = ("type", "format", "num_channels", "spatial_shape", "dtype", "value_range")
SCHEMA = {
    # What MONAI's own schema of 2024-07-25 requires; it lies on the network, and tests do not.
    "type": "object",
    "required": [
        "schema",
        "version",
        "monai_version",
        "pytorch_version",
        "numpy_version",
        "required_packages_version",
        "task",
        "description",
        "authors",
        "copyright",
        "network_data_format",
    ],
    "properties": {
        "version": {"type": "string"},
        "monai_version": {"type": "string"},
        "task": {"type": "string"},
        "authors": {"type": "string"},
        "required_packages_version": {"type": "object"},
        "references": {"type": "array", "items": {"type": "string"}},
        "network_data_format": {
            "required": ["inputs", "outputs"],
            "additionalProperties": {
                "additionalProperties": {
                    "required": list(TENSOR),
                    "properties": {
                        "num_channels": {"type": "integer"},
                        "spatial_shape": {"items": {"type": ["integer", "string"]}},
                        "value_range": {"items": {"type": "number"}},
                        "is_patch_data": {"type": "boolean"},
                        "channel_def": {"type": "object"},
                    },
                }
            },
        },
    },
}


pytestmark = [
    # MONAI 1.6 says that it has no decoder for DICOM on a GPU, which nobody asked it for;
    pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader:UserWarning"),
    # and of every configuration that it is code, which is why the weights are no pickle.
    pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning"),
]


def make_model(folder: Path, card: Card, *, channels: int, size: int = 32) -> Path:
    """Save an untrained network whose output is not one class all over."""
    torch.manual_seed(3)
    info = ModelInfo(
        "unet",
        "mobilenet_v2",
        card,
        size,
        size,
        channels,
        options={"decoder_channels": [16, 8, 8, 8, 8]},
        trained={"seed": 3},
    )
    network = info.build()
    with torch.no_grad():
        # As after a training: batch norms that know their inputs, outputs on both sides of a half.
        network.train()
        for _ in range(8):
            network(torch.randn(2, channels, size, size) - 1)
        logits = network.eval()(torch.randn(2, channels, size, size) - 1)
        network.segmentation_head[0].bias -= logits.transpose(0, 1).flatten(1).median(1).values
    save_model(folder, info, network.state_dict())
    return folder


def expected_masks(predict_cases, model: Path, store: Path) -> dict[str, np.ndarray]:
    """Predict a store with harmoseg's evaluation: (D, H, W) per case."""
    opened = open_store(store)
    saved = harmoseg.load(model)
    numbers = range(len(opened.cases))
    predicted = predict_cases(saved.network, opened, numbers)
    return {opened.cases[number].case: label for number, label in predicted.items()}


def run_bundle(folder: Path, images: Path, out: Path) -> None:
    bundle.run(
        config_file=str(folder / "configs" / "inference.json"),
        bundle_root=str(folder),
        dataset_dir=str(images),
        output_dir=str(out),
        device="$torch.device('cpu')",
        logging_file=False,
    )


def picture_listing(images: Path, masks: Path) -> Listing:
    options = FolderOptions(images, masks, threshold=127)
    return list_folder(options, SplitRule())


@pytest.mark.parametrize("tile", [0, 24], ids=["whole", "tiles"])
def test_pictures_are_predicted_to_the_pixel_as_harmoseg_predicts_them(
    tile, folder_data, predict_cases, tmp_path
) -> None:
    images, masks = folder_data(count=6)
    # Other sizes and kinds of picture than the network's, and not square.
    grey = Image.open(images / "case0.png").convert("L").resize((50, 40))
    grey.save(images / "case0.png")
    Image.open(masks / "case0.png").resize((50, 40), 0).save(masks / "case0.png")
    store = tmp_path / "store"
    prepare_listing(picture_listing(images, masks), PrepareOptions(store, size=32, tile=tile))
    model = make_model(tmp_path / "model", open_store(store).info.card, channels=3)
    run_bundle(export_bundle(model, tmp_path / "bundle"), images, tmp_path / "out")
    expected = expected_masks(predict_cases, model, store)
    found = {path.stem: np.asarray(Image.open(path)) for path in (tmp_path / "out").iterdir()}
    assert found.keys() == expected.keys()
    for case, label in expected.items():
        np.testing.assert_array_equal(found[case], label[0])
    assert 0.02 < np.mean([label.mean() for label in expected.values()]) < 0.98


CARD = Card(
    name="made",
    title="Made volumes",
    modality="MR",
    mode="multiclass",
    classes=("background", "a", "b"),
    channels=1,
    axes="LPS",
)


@pytest.mark.parametrize("window", [(), (-50.0, 150.0)], ids=["percentiles", "window"])
def test_volumes_are_predicted_to_the_voxel_in_the_geometry_of_their_file(
    window, predict_cases, tmp_path
) -> None:
    card = replace(CARD, window=window)
    images = tmp_path / "images"
    images.mkdir()
    # Axes stored as inferior, right, anterior, with spacings and an origin of their own.
    affine = np.array([[0, 2.0, 0, 5], [0, 0, 1.5, -7], [-4.0, 0, 0, 11], [0, 0, 0, 1]])
    generator = np.random.default_rng(0)
    values = generator.normal(50, 60, (5, 40, 36)).astype(np.int16)
    label = generator.integers(0, 3, values.shape).astype(np.uint8)
    nibabel.Nifti1Image(values, affine).to_filename(images / "scan.nii.gz")
    nibabel.Nifti1Image(label, affine).to_filename(tmp_path / "label.nii.gz")
    files = (images / "scan.nii.gz", tmp_path / "label.nii.gz")

    def read() -> object:
        classes = {0: 0, 1: 1, 2: 2}
        return read_nifti_pair(*files, classes=classes, window=window or None, axes="LPS")

    case = SourceCase("scan", "scan", "train", "", "scan", "label", files, read)
    store = tmp_path / "store"
    prepare_listing(make_listing(card, [case], roots=[tmp_path]), PrepareOptions(store, size=32))
    model = make_model(tmp_path / "model", card, channels=1)
    run_bundle(export_bundle(model, tmp_path / "bundle"), images, tmp_path / "out")
    written = nibabel.load(tmp_path / "out" / "scan.nii.gz")
    np.testing.assert_allclose(written.affine, affine, atol=1e-6)
    found = np.asarray(written.dataobj)
    assert found.shape == values.shape and found.dtype == np.uint8
    # (D, H, W) of LPS is (z, y, x): the file's first axis runs down, the others are x and y.
    turned = found[::-1, ::-1, ::-1].transpose(0, 2, 1)
    (expected,) = expected_masks(predict_cases, model, store).values()
    np.testing.assert_array_equal(turned, expected)
    assert len(np.unique(expected)) > 1


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("monai")
    model = make_model(folder / "model", CARD, channels=1)
    return model, export_bundle(model, folder / "bundle")


def test_monai_verifies_metadata_and_network(exported, tmp_path) -> None:
    _, folder = exported
    metadata, schema = folder / "configs" / "metadata.json", tmp_path / "schema.json"
    schema.write_text(json.dumps(SCHEMA))
    hashed = {"hash_val": sha256_of(schema), "hash_type": "sha256"}
    bundle.verify_metadata(meta_file=str(metadata), filepath=str(schema), **hashed)
    bundle.verify_net_in_out(
        net_id="network_def",
        meta_file=str(metadata),
        config_file=str(folder / "configs" / "inference.json"),
        device="cpu",
        bundle_root=str(folder),
    )
    broken = json.loads(metadata.read_text())
    del broken["network_data_format"]["outputs"]
    (tmp_path / "broken.json").write_text(json.dumps(broken))
    with pytest.raises(ValueError, match="Failed validating"):
        bundle.verify_metadata(
            meta_file=str(tmp_path / "broken.json"), filepath=str(schema), **hashed
        )


def test_monai_finds_all_that_it_looks_for(exported, tmp_path) -> None:
    _, folder = exported
    Image.new("L", (30, 40)).save(tmp_path / "one.png")
    workflow = bundle.ConfigWorkflow(
        config_file=str(folder / "configs" / "inference.json"),
        meta_file=str(folder / "configs" / "metadata.json"),
        workflow_type="inference",
        logging_file=False,
        bundle_root=str(folder),
        dataset_dir=str(tmp_path),
    )
    workflow.initialize()
    assert workflow.check_properties() == []


def test_the_models_are_the_model_folder_and_no_pickle(exported) -> None:
    model, folder = exported
    names = {path.name for path in (folder / "models").iterdir()}
    assert names == {"model.json", "weights.safetensors"}
    for name in names:
        assert (folder / "models" / name).read_bytes() == (model / name).read_bytes()
    assert harmoseg.load(folder / "models").info.card == CARD


def test_the_bundle_can_be_moved_and_run_from_its_folder(exported, tmp_path, monkeypatch) -> None:
    _, folder = exported
    moved = folder.rename(tmp_path / "moved")
    noise = np.random.default_rng(0).integers(0, 255, (40, 30), np.uint8)
    (moved / "images").mkdir()
    Image.fromarray(noise).save(moved / "images" / "one.png")
    monkeypatch.chdir(moved)
    try:
        bundle.run(config_file="configs/inference.json", device="$torch.device('cpu')")
        with Image.open(moved / "predictions" / "one.png") as mask:
            assert mask.size == (30, 40)
    finally:
        moved.rename(folder)


def test_mistakes_are_told_in_a_line(exported, tmp_path, monkeypatch, capsys) -> None:
    model, folder = exported
    out = tmp_path / "out"
    assert main(["export", str(tmp_path), str(out), "--format", "monai"]) == 2
    assert "not a model (model.json is missing)" in capsys.readouterr().err
    assert main(["export", str(model), str(folder), "--format", "monai"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["export", str(model), str(tmp_path), "--format=monai", "--overwrite=true"]) == 2
    assert "holds something else" in capsys.readouterr().err
    assert main(["export", str(model), str(out), "--format", "monai"]) == 0
    assert (out / "docs" / "README.md").is_file()
    with pytest.raises(RuntimeError) as stop:
        run_bundle(out, tmp_path / "nothing", tmp_path / "masks")
    assert isinstance(_innermost(stop.value), HarmosegError)

    def missing(package: str) -> str:
        raise monai_bundle.PackageNotFoundError(package)

    monkeypatch.setattr(monai_bundle, "version", missing)
    assert main(["export", str(model), str(tmp_path / "two"), "--format", "monai"]) == 2
    assert "pip install 'harmoseg[monai]'" in capsys.readouterr().err
    assert not (tmp_path / "two").exists()


def test_what_the_network_does_not_take_is_refused() -> None:
    from monai.data import MetaTensor

    from harmoseg.integrations.monai_components import PrepareAsStored

    prepare = PrepareAsStored(["image"], channels=1)
    image = MetaTensor(torch.zeros(3, 8, 8), meta={"filename_or_obj": "a/b.png"})
    with pytest.raises(HarmosegError, match=r"b\.png: 3 channel\(s\) of 2 dimensions"):
        prepare({"image": image})


def _innermost(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error
