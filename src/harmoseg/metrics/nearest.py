"""Distance of each pixel of one surface to the nearest pixel of another.

Exact in every strategy; which one runs is a matter of time alone. Two surfaces that follow each
other are compared through a k-d tree. A surface that is everywhere, as a noisy prediction's is, has
so many pixels so far from the other surface that a distance transform is faster.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

Points = NDArray[np.float64]
Pixels = tuple[NDArray[np.intp], ...]  # one array of indices per axis, as numpy.nonzero gives

# Measured: a query of a tree takes 0.5 us near the other surface and 3 to 9 us far from it, a
# transform 25 to 40 ns per pixel. Two surfaces that follow each other stay below this share of
# queries, where both take the same time; noise lies far above it.
_QUERIES_PER_PIXEL = 1 / 40
_FEW_QUERIES = 5_000  # below, a transform's fixed costs decide
_MANY_SEEDS = 50_000
_DENSE = 1 / 5  # share of a plane's pixels above which picking them costs more than taking all
_PART = 2**15  # pixels of all planes at a time: they stay in cache, a tenth faster


def nearest_distances(
    points: NDArray[np.bool_], seeds: NDArray[np.bool_], pitch: Sequence[float]
) -> NDArray[np.float64]:
    """Measure from every pixel of one surface to the nearest of another, in units of `pitch`.

    `points` and `seeds` are (*S), both with at least one pixel set. Returns (n,), in the order of
    the n pixels of `points`.
    """
    at = np.flatnonzero(points)
    apart = ~seeds.ravel()[at]
    distances = np.zeros(at.size)
    queries = at[apart]
    if not queries.size:
        return distances
    axis = _fewest_planes(seeds)
    planes = np.flatnonzero(seeds.any(axis=tuple(i for i in range(seeds.ndim) if i != axis)))
    pixels = planes.size * (seeds.size // seeds.shape[axis])
    if queries.size > max(_FEW_QUERIES, _QUERIES_PER_PIXEL * pixels):
        found = _by_transform(queries, seeds, pitch, axis, planes)
    else:
        found = _by_tree(np.unravel_index(queries, points.shape), seeds, pitch)
    distances[apart] = found
    return distances


def _scaled(pixels: Pixels, pitch: Sequence[float]) -> Points:
    """Turn pixels into places (n, d)."""
    return np.stack([i * d for i, d in zip(pixels, pitch, strict=True)], axis=1)


def _by_tree(
    queries: Pixels, seeds: NDArray[np.bool_], pitch: Sequence[float]
) -> NDArray[np.float64]:
    """Measure from pixels to the nearest seed by a k-d tree of the seeds."""
    places = _scaled(queries, pitch)
    corner: tuple[int, ...] = (0,) * seeds.ndim
    if np.count_nonzero(seeds) > max(_MANY_SEEDS, 4 * len(places)):
        # Building a tree of millions costs more than asking it. The distances to a few seeds bound
        # how far around the queries the nearest ones can lie.
        at = np.flatnonzero(seeds)
        few = np.unravel_index(at[:: at.size // 10_000 + 1], seeds.shape)
        reach = _ask(_scaled(few, pitch), places).max()
        margin = [math.ceil(reach / d) for d in pitch]
        box = tuple(
            slice(max(0, int(i.min()) - m), int(i.max()) + m + 1)
            for i, m in zip(queries, margin, strict=True)
        )
        seeds, corner = seeds[box], tuple(s.start for s in box)
    held = tuple(i + c for i, c in zip(np.nonzero(seeds), corner, strict=True))
    return _ask(_scaled(held, pitch), places)


def _ask(seeds: Points, places: Points) -> NDArray[np.float64]:
    # A tree that is asked once is not worth balancing.
    tree = cKDTree(seeds, leafsize=32, balanced_tree=False, compact_nodes=False)
    return np.asarray(tree.query(places)[0])


def _fewest_planes(seeds: NDArray[np.bool_]) -> int:
    """Name the axis along which the fewest planes hold a seed."""
    axes = range(seeds.ndim)
    held = [seeds.any(axis=tuple(i for i in axes if i != axis)).sum() for axis in axes]
    return int(np.argmin(held))


def _by_transform(
    queries: NDArray[np.intp],
    seeds: NDArray[np.bool_],
    pitch: Sequence[float],
    axis: int,
    planes: NDArray[np.intp],
) -> NDArray[np.float64]:
    """Measure from pixels, flat indices, by distance transforms of the planes that hold seeds.

    The planes are those across `axis`. By Pythagoras the squared distance is the least, over them,
    of the squared distance within the plane plus the squared distance to the plane. A transform of
    the whole volume takes several times as long: it costs more per pixel and covers planes that
    hold no seed.
    """
    if seeds.ndim == 2:
        return np.ravel(ndimage.distance_transform_edt(~seeds, sampling=pitch))[queries]
    order = None
    if axis:  # turn the volume, so that queries of one plane follow one another
        places = np.unravel_index(queries, seeds.shape)
        seeds = np.moveaxis(seeds, axis, 0)
        rest = [i for j, i in enumerate(places) if j != axis]
        queries = np.ravel_multi_index((places[axis], *rest), seeds.shape)
        order = np.argsort(queries, kind="stable")
        queries = queries[order]
    sampling = [d for i, d in enumerate(pitch) if i != axis]
    size = seeds[0].size
    squared = np.empty((planes.size, size))
    for row, plane in zip(squared, planes, strict=True):
        row[:] = np.ravel(ndimage.distance_transform_edt(~seeds[plane], sampling=sampling))
    np.square(squared, out=squared)
    found = np.empty(queries.size)
    # Fresh arrays of this size would be mapped and cleared by the system at every step.
    work = np.empty((2, min(size, _PART)))
    for first in range(0, size, _PART):
        part = squared[:, first : first + _PART]
        for z in range(len(seeds)):
            offset = z * size + first
            start, end = np.searchsorted(queries, (offset, offset + part.shape[1]))
            if start < end:
                to_plane = np.square((planes - z) * pitch[axis])
                _least(part, to_plane, queries[start:end] - offset, work, out=found[start:end])
    np.sqrt(found, out=found)
    if order is not None:
        found[order] = found.copy()
    return found


def _least(
    squared: NDArray[np.float64],
    to_plane: NDArray[np.float64],
    within: NDArray[np.intp],
    work: NDArray[np.float64],
    *,
    out: NDArray[np.float64],
) -> None:
    """Write the least over planes of `squared` (planes, pixels) plus `to_plane`, at some pixels."""
    everywhere = within.size > _DENSE * squared.shape[1]
    least, here = work[:, : squared.shape[1] if everywhere else within.size]
    least.fill(np.inf)
    largest = np.inf
    for plane in np.argsort(to_plane, kind="stable"):
        if to_plane[plane] >= largest:  # nor can any plane further off
            break
        if everywhere:
            np.add(squared[plane], to_plane[plane], out=here)
        else:
            # Clipping changes nothing here; it spares numpy a buffer for the case of an error.
            squared[plane].take(within, out=here, mode="clip")
            here += to_plane[plane]
        np.minimum(least, here, out=least)
        largest = least.max()
    out[:] = least[within] if everywhere else least
