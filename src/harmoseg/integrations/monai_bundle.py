"""Export a model folder as a MONAI bundle.

A bundle is a folder that MONAI's own commands verify and run::

    configs/metadata.json    what the network takes and gives, versions, licence, source
    configs/inference.json   from a folder of images to a folder of masks
    models/                  the model folder itself: model.json and weights.safetensors
    docs/README.md           what it is, and the commands
    docs/data_license.txt    the terms of the data that it was trained on

The network is opened by `harmoseg.load`: whoever runs the bundle has harmoseg installed. There is
no ``model.pt``: such a file is a pickle, which runs code when it is read.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from harmoseg.errors import HarmosegError
from harmoseg.files import folder_in_progress, make_folder, write_json, write_text
from harmoseg.inference.options import MODEL_FILE, WEIGHTS_FILE
from harmoseg.inference.saved_model import ModelInfo, load_model

METADATA_FILE = "configs/metadata.json"
INFERENCE_FILE = "configs/inference.json"

BUNDLE_VERSION = "1.0.0"
"""Of an exported bundle as such; another training is another bundle."""

_SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)
_REQUIRED = ("harmoseg", "segmentation-models-pytorch", "safetensors", "pillow", "nibabel")
_COMPONENTS = "harmoseg.integrations.monai_components"
_NOT_STATED = "not stated; fill in before the bundle is published"


def export_bundle(model: str | Path, out: str | Path, *, overwrite: bool = False) -> Path:
    """Write a model folder, or a finished run, as a MONAI bundle; return the bundle's folder.

    Raises HarmosegError where `model` is no whole model, where `out` exists (unless `overwrite`
    replaces a bundle), and where MONAI is not installed.
    """
    monai = _version("monai")
    saved = load_model(model)
    with folder_in_progress(Path(out), mark=METADATA_FILE, overwrite=overwrite) as folder:
        for name in ("configs", "models", "docs"):
            make_folder(folder / name)
        for name in (MODEL_FILE, WEIGHTS_FILE):
            shutil.copyfile(saved.path / name, folder / "models" / name)
        write_json(folder / METADATA_FILE, _metadata(saved.info, monai))
        write_json(folder / INFERENCE_FILE, _inference(saved.info))
        write_text(folder / "docs" / "README.md", _readme(saved.info))
        write_text(folder / "docs" / "data_license.txt", _licence(saved.info))
    return Path(out)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError as error:
        raise HarmosegError(
            f"a MONAI bundle needs {package}, which is not installed; install it with: "
            "pip install 'harmoseg[monai]'"
        ) from error


def _metadata(info: ModelInfo, monai: str) -> dict[str, Any]:
    card = info.card
    binary = card.mode == "binary"
    shape = [info.height, info.width]
    return {
        "schema": _SCHEMA,
        "version": BUNDLE_VERSION,
        "changelog": {BUNDLE_VERSION: "exported by harmoseg"},
        "monai_version": monai,
        "pytorch_version": _version("torch"),
        "numpy_version": _version("numpy"),
        "required_packages_version": {name: _version(name) for name in _REQUIRED},
        "name": f"{card.title} segmentation ({info.name}, {info.encoder})",
        "task": f"Segmentation of {', '.join(card.classes[1:])} in {card.modality} images",
        "description": (
            f"{info.name} with encoder {info.encoder}, trained by harmoseg on {card.title}. "
            "It sees single planes; volumes are predicted plane by plane."
        ),
        "authors": _NOT_STATED,
        "copyright": _NOT_STATED,
        "data_source": card.source,
        "data_type": "pictures (PNG, JPEG, TIFF, BMP) or NIfTI volumes",
        "image_classes": "intensities as `harmoseg prepare` makes them, 0 to 255",
        "label_classes": _enumerated(card.classes),
        "pred_classes": _enumerated(card.classes),
        "intended_use": "Research. Not a medical device.",
        "references": [card.citation] if card.citation else [],
        "trained": dict(info.trained),
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "magnitude",
                    "modality": card.modality,
                    "num_channels": info.channels,
                    "spatial_shape": shape,
                    "dtype": "float32",
                    # Of intensities less ImageNet's mean, over its deviation.
                    "value_range": [-2.2, 2.7],
                    "is_patch_data": card.tile > 0,
                    "channel_def": _channels(("grey",) if info.channels == 1 else ("R", "G", "B")),
                }
            },
            "outputs": {
                "pred": {
                    "type": "image",
                    "format": "segmentation" if binary else "labels",
                    "num_channels": info.channels_out,
                    "spatial_shape": shape,
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": card.tile > 0,
                    "channel_def": _channels(card.classes[1:] if binary else card.classes),
                }
            },
            "post_processed_outputs": {
                "pred": {
                    "type": "image",
                    "format": "segmentation",
                    "num_channels": 1,
                    "spatial_shape": ["*", "*"],
                    "dtype": "uint8",
                    "value_range": [0, len(card.classes) - 1],
                    "is_patch_data": False,
                    "channel_def": {"0": _enumerated(card.classes)},
                }
            },
        },
    }


def _inference(info: ModelInfo) -> dict[str, Any]:
    """Return MONAI's configuration: its names are those that MONAI's tools look for."""
    card = info.card
    converter = {"_target_": f"{_COMPONENTS}.picture_converter", "channels": info.channels}
    return {
        "imports": ["$import torch"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/images'",
        "output_dir": "$@bundle_root + '/predictions'",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "model": {"_target_": "harmoseg.load", "path": "$@bundle_root + '/models'"},
        "network_def": "$@model.network",
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {
                    "_target_": "LoadImaged",
                    "keys": "image",
                    "reader": [
                        {"_target_": "monai.data.PILReader", "converter": converter},
                        {"_target_": "monai.data.NibabelReader"},
                    ],
                },
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
                {
                    "_target_": f"{_COMPONENTS}.PrepareAsStored",
                    "keys": ["image"],
                    "channels": info.channels,
                    "axes": card.axes,
                    "window": list(card.window),
                },
            ],
        },
        "datalist": {"_target_": f"{_COMPONENTS}.list_inputs", "folder": "@dataset_dir"},
        "dataset": {"_target_": "Dataset", "data": "@datalist", "transform": "@preprocessing"},
        "inferer": {
            "_target_": f"{_COMPONENTS}.PlaneInferer",
            "size": info.height,
            "mode": card.mode,
            "tile": card.tile,
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": f"{_COMPONENTS}.Decide", "keys": ["pred"]},
                {
                    "_target_": f"{_COMPONENTS}.SaveMask",
                    "keys": ["pred"],
                    "output_dir": "@output_dir",
                },
            ],
        },
        # Not MONAI's SupervisedEvaluator, which would need pytorch-ignite for a plain loop.
        "evaluator": {
            "_target_": f"{_COMPONENTS}.Prediction",
            "dataset": "@dataset",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "device": "@device",
        },
        "run": ["$@evaluator.run()"],
    }


def _channels(names: Sequence[str]) -> dict[str, str]:
    return {str(number): name for number, name in enumerate(names)}


def _enumerated(names: Sequence[str]) -> str:
    return ", ".join(f"{number} is {name}" for number, name in enumerate(names))


def _readme(info: ModelInfo) -> str:
    card = info.card
    return f"""\
# {card.title} segmentation

{info.name} with encoder {info.encoder}, trained by harmoseg
on {card.title}: {_enumerated(card.classes)}. Exported as a MONAI bundle.

It needs MONAI and harmoseg: `pip install 'harmoseg[monai]'`. The weights are
`models/weights.safetensors`, described by `models/model.json`; no file is a pickle.

From this folder:

    python -m monai.bundle run --config-file configs/inference.json \\
        --dataset-dir IMAGES --output-dir MASKS

IMAGES holds pictures or NIfTI volumes. MASKS then holds a mask of class indices for each, under
the image's name: PNG for a picture, NIfTI in the geometry of the file for a volume.

    python -m monai.bundle verify_metadata --meta-file configs/metadata.json \\
        --filepath schema.json
    python -m monai.bundle verify_net_in_out network_def --device cpu \\
        --meta-file configs/metadata.json --config-file configs/inference.json

The first downloads MONAI's schema to `schema.json`, unless it is there already.

## Licence

Before this is passed on: add the LICENSE that the weights are under, and state authors and
copyright in `configs/metadata.json`. The terms of the data are in `data_license.txt`.

Research. Not a medical device.
"""


def _licence(info: ModelInfo) -> str:
    card = info.card
    return (
        f"Trained on: {card.title}\n"
        f"Source: {card.source or 'not stated'}\n"
        f"Licence of the data: {card.licence or 'not stated'}\n"
        f"To be cited: {card.citation or 'not stated'}\n"
    )
