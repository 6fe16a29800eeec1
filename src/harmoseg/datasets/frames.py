"""Turning volumes from the frame of their file to slices, and back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Pair
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from numpy.typing import NDArray

from harmoseg.errors import HarmosegError

_AS_ACQUIRED = np.array([[0, 1], [1, 1], [2, 1]])
"""The orientation, as nibabel writes it, that turns nothing."""


@dataclass(frozen=True, eq=False)
class Frame:
    """How the voxels (X, Y, Z) of a file become slices (D, H, W).

    `turn` is an orientation as nibabel writes it; `affine` (4, 4) leads from the turned voxels to
    mm, towards right, anterior and superior.
    """

    turn: NDArray[Any]
    affine: NDArray[np.float64]

    @classmethod
    def of(cls, affine: NDArray[Any], shape: tuple[int, ...], axes: str | None) -> Frame:
        """Turn voxels of `shape` to `axes`, such as ``"LPS"``; leave them as acquired if None."""
        affine = np.asarray(affine, dtype=np.float64)
        if not axes:
            return cls(_AS_ACQUIRED, affine)
        turn = ornt_transform(io_orientation(affine), axcodes2ornt(axes)).astype(int)
        return cls(turn, affine @ inv_ornt_aff(turn, shape[:3]))

    def slices(self, voxels: NDArray[Any]) -> NDArray[Any]:
        """Turn (X, Y, Z) into (D, H, W), slices along the third axis."""
        return np.asarray(apply_orientation(voxels, self.turn)).transpose(2, 1, 0)

    def voxels(self, slices: NDArray[Any]) -> NDArray[Any]:
        """Turn (D, H, W) or (D, H, W, C) back into (X, Y, Z) or (X, Y, Z, C)."""
        turned = slices.transpose(2, 1, 0, *range(3, slices.ndim))
        back = ornt_transform(_AS_ACQUIRED, self.turn).astype(int)
        return np.asarray(apply_orientation(turned, back))

    def spacing(self, zooms: NDArray[Any]) -> tuple[float, ...]:
        """Order voxel sizes along X, Y, Z as (depth, height, width) of the slices."""
        turned = np.empty(3)
        turned[self.turn[:, 0]] = zooms
        # Rounded to a nanometre: a header's numbers are of single precision.
        return tuple(round(float(value), 6) for value in turned[::-1])

    @property
    def rows(self) -> tuple[float, ...]:
        """Return the upper three rows of the affine, as stores keep them."""
        return tuple(map(float, self.affine[:3].ravel()))


def _millimetres(image: Nifti1Pair) -> float:
    """Return the length in mm of the unit that a header gives; a file without a unit is in mm."""
    return {1: 1000.0, 3: 0.001}.get(int(image.header["xyzt_units"]) & 7, 1.0)


def affine_in_mm(image: Nifti1Pair) -> NDArray[np.float64]:
    """Return the affine (4, 4) from voxels to mm, whatever unit the header gives."""
    affine = np.array(image.affine, dtype=np.float64)
    affine[:3] *= _millimetres(image)
    return affine


def zooms_in_mm(image: Nifti1Pair, path: Path) -> NDArray[np.float64]:
    """Return the sizes of an image's voxels along X, Y, Z in mm.

    The header's voxel sizes count. Some releases carry an affine without scale beside them; any
    other contradiction between the two is an error.
    """
    zooms = np.asarray(image.header.get_zooms()[:3], dtype=np.float64)
    scales = np.linalg.norm(np.asarray(image.affine)[:3, :3], axis=0)
    unit = _millimetres(image)
    if not (np.isfinite(zooms).all() and (zooms > 0).all()):
        raise HarmosegError(f"{path}: voxel sizes {zooms.tolist()}, expected positive numbers")
    if not np.allclose(scales, 1, atol=1e-3) and not np.allclose(scales, zooms, rtol=1e-2):
        raise HarmosegError(
            f"{path}: the header says voxels of {_shown(zooms * unit)} mm, the affine "
            f"{_shown(scales * unit)} mm; export the file again"
        )
    return zooms * unit


def _shown(values: NDArray[np.float64]) -> str:
    return " x ".join(f"{value:.3g}" for value in values)
