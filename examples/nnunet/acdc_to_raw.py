"""Bring patients of ACDC, both frames of each, into nnU-Net's raw format.

    python examples/nnunet/acdc_to_raw.py ACDC/training "$nnUNet_raw" 8

Files are copied as they are. Give all patients, or so many of the first.
"""

import json
import shutil
import sys
from pathlib import Path

from harmoseg.datasets.catalogue import load_card

source, raw = Path(sys.argv[1]), Path(sys.argv[2])
patients = sorted(path for path in source.glob("patient*") if path.is_dir())
patients = patients[: int(sys.argv[3])] if len(sys.argv) > 3 else patients
out = raw / "Dataset027_ACDC"
(out / "imagesTr").mkdir(parents=True)
(out / "labelsTr").mkdir()
labels = sorted(path for patient in patients for path in patient.glob("*_gt.nii.gz"))
for label in labels:
    case = label.name.removesuffix("_gt.nii.gz")
    shutil.copyfile(label.with_name(f"{case}.nii.gz"), out / "imagesTr" / f"{case}_0000.nii.gz")
    shutil.copyfile(label, out / "labelsTr" / f"{case}.nii.gz")
description = {
    "channel_names": {"0": "cineMRI"},
    "labels": {name: number for number, name in enumerate(load_card("acdc").classes)},
    "numTraining": len(labels),
    "file_ending": ".nii.gz",
}
(out / "dataset.json").write_text(json.dumps(description, indent=2), encoding="utf-8")
print(f"wrote {len(labels)} volumes of {len(patients)} patients to {out}")
