"""Copies of an image that are no longer equal byte for byte, found among very many.

Two criteria, taken from two bands of frequencies that do not overlap, have to agree. Both are
coefficients of the discrete cosine transform of the grey image at 64 x 64 pixels:

- the *hash*: the signs of the 16 x 16 lowest, 256 bits, nearly the perceptual hash of Zauner
  (2010). It tells layouts apart, and comparing it is one matrix product;
- the *detail*: the correlation of the coefficients of index 16 to 31, structures of a sixteenth to
  a thirty-second of the image's side, after the image was brought to one contrast everywhere. All
  slices of one body part share a layout, so that the hash alone would call look-alike anatomy a
  copy; and without the evening out one bright outline that all images share (a skull, the frame
  of an endoscope) would count for more than all that is inside it.

Built to find: recompression (JPEG of quality 30 or more), smooth resizing to 64 pixels or more
whether or not the aspect changes, brightness or contrast changed by a quarter, a blur of a
hundredth of the side, noise of 4 % of the range, and all eight flips and right-angle turns of
these. Not built to find: crops or shifts of more than half a hundredth of the side, other
rotations, changes of colour that change the grey picture. Frames of one video are usually too
different too: whether one patient is on both sides only a list of patients can tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from scipy.fft import dctn

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

SIDE = 64
_LOW, _HIGH = 16, 32
BITS = _LOW * _LOW

MOST_BITS = 40
"""Largest number of differing bits, of 256. Unrelated images differ in 128 with a deviation of 8:
40 lie eleven deviations off. The strongest of the changes named above flips about 30."""
LEAST_CORRELATION = 0.87
"""Unrelated images have 0 with a deviation below 0.1, images with one outline and another inside
stay below 0.8. The strongest of the changes named above leaves 0.92."""
LEAST_DETAIL = 0.25
"""Grey levels (of 255), root mean square over the detail before it is evened out: below it
rounding and compression are all there is, and neither criterion means anything."""

_NEIGHBOURHOOD = 3.0
"""Deviation of the Gaussian window, in pixels of 64, over which contrast is evened out."""
_FLOOR = 3.0
"""Grey levels added to the local contrast, so that noise is not made as large as structure."""
_CHUNK = 2048
_CONFIRMED_AT_ONCE = 4096

_ROWS, _COLUMNS = np.divmod(np.arange(_HIGH * _HIGH), _HIGH)
_IS_LOW = (_ROWS < _LOW) & (_COLUMNS < _LOW)


@dataclass(frozen=True)
class Fingerprint:
    """Fingerprint of a slice: its hash, (32,) bytes, and its detail, (768,) int8."""

    hash: Bytes
    detail: NDArray[np.int8]


@dataclass(frozen=True)
class SlicePair:
    """Two slices taken for copies: their places in the two sets, and how alike they are."""

    left: int
    right: int
    bits: int
    correlation: float


class Fingerprints:
    """The fingerprints of many slices, with who owns each, in two growing blocks of memory."""

    def __init__(self) -> None:
        self.owners: list[tuple[int, int]] = []
        self._hashes = bytearray()
        self._details = bytearray()

    def __len__(self) -> int:
        """Count the slices."""
        return len(self.owners)

    def add(self, owner: tuple[int, int], item: Fingerprint) -> None:
        """Add the fingerprint of a slice; `owner` is the number of its case, and its own in it."""
        self.owners.append(owner)
        self._hashes += item.hash.tobytes()
        self._details += item.detail.tobytes()

    def signs(self, start: int) -> Floats:
        """Return the hashes of a chunk that begins at `start` as (n, 256) of -1 and 1."""
        packed = np.frombuffer(self._hashes, np.uint8).reshape(-1, BITS // 8)
        bits = np.unpackbits(packed[start : start + _CHUNK], axis=1)
        return np.asarray(2 * bits.astype(np.float32) - 1)

    def details(self, places: NDArray[np.intp]) -> Floats:
        """Return details as (n, 768) of length one."""
        values = np.frombuffer(self._details, np.int8).reshape(len(self), -1)[places]
        floats = values.astype(np.float32)
        return np.asarray(floats / np.linalg.norm(floats, axis=1, keepdims=True))


def fingerprint(image: Bytes) -> Fingerprint | None:
    """Take the fingerprint of an image (H, W, C); None where it shows too little to compare."""
    picture = Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[2] == 1 else image))
    grey = picture.convert("L")
    # In two steps: bytes for the large one, floating point for the small one, where rounding
    # would drown faint detail. Pillow's filters widen with the scale, so nothing aliases.
    grey = grey.resize(
        (min(grey.width, 4 * SIDE), min(grey.height, 4 * SIDE)), Image.Resampling.BILINEAR
    )
    small = grey.convert("F").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    values = np.asarray(small)
    waves = _waves(values)
    if np.linalg.norm(waves[~_IS_LOW]) / SIDE < LEAST_DETAIL:
        return None
    # Against zero, not against their median as Zauner has it: there is next to no difference, as
    # waves are up as often as down, and the hash of a mirror image is then known without it.
    bits = np.packbits(waves[_IS_LOW] > 0)
    detail = _waves(_evened(values))[~_IS_LOW]
    scaled = np.rint(detail * (127 / np.abs(detail).max())).astype(np.int8)
    return Fingerprint(bits, scaled)


def find_copies(left: Fingerprints, right: Fingerprints) -> Iterator[SlicePair]:
    """Return the pairs of a slice of `left` and a slice of `right` that are copies of one another.

    Takes time with the product of their numbers (50,000 against 10,000 in well under a minute on
    two cores) but memory only for one chunk. A pair comes once, in its best of eight positions.
    """
    for start in range(0, len(left), _CHUNK):
        signs = left.signs(start)
        for other in range(0, len(right), _CHUNK):
            yield from _copies_of_block(left, right, start, other, signs)


def _copies_of_block(
    left: Fingerprints, right: Fingerprints, start: int, other: int, signs: Floats
) -> Iterator[SlicePair]:
    compared = right.signs(other)
    best: dict[tuple[int, int], SlicePair] = {}
    for (order, flips), (place, signed) in zip(_HASH_POSITIONS, _DETAIL_POSITIONS, strict=True):
        alike = signs @ (compared[:, order] * flips).T
        rows, columns = np.nonzero(alike >= BITS - 2 * MOST_BITS)
        bits = (BITS - alike[rows, columns]) / 2
        for first in range(0, len(rows), _CONFIRMED_AT_ONCE):
            batch = slice(first, first + _CONFIRMED_AT_ONCE)
            ours = left.details(rows[batch] + start)
            theirs = right.details(columns[batch] + other)[:, place] * signed
            correlations = np.einsum("nk,nk->n", ours, theirs)
            for i in np.flatnonzero(correlations >= LEAST_CORRELATION):
                pair = SlicePair(
                    int(rows[batch][i]) + start,
                    int(columns[batch][i]) + other,
                    int(bits[batch][i]),
                    float(correlations[i]),
                )
                key = (pair.left, pair.right)
                if key not in best or best[key].correlation < pair.correlation:
                    best[key] = pair
    yield from best.values()


def _waves(values: Floats) -> Floats:
    """Return the coefficients of index 0 to 31 in both directions, (1024,)."""
    return np.asarray(dctn(values, norm="ortho")[:_HIGH, :_HIGH].ravel())


def _evened(values: Floats) -> Floats:
    """Take the local mean away and bring the local contrast to about one."""
    rest = values - ndimage.gaussian_filter(values, _NEIGHBOURHOOD)
    contrast = np.sqrt(ndimage.gaussian_filter(rest**2, _NEIGHBOURHOOD) + _FLOOR**2)
    return np.asarray(rest / contrast)


def _positions(chosen: NDArray[np.bool_]) -> list[tuple[NDArray[np.intp], Floats]]:
    """Return for each flip and turn which coefficient takes whose place, and with what sign.

    Mirrored, a wave of odd index changes its sign; transposed, the two indices change places.
    """
    rows, columns = _ROWS[chosen], _COLUMNS[chosen]
    numbers = np.zeros((_HIGH, _HIGH), dtype=np.intp)
    numbers[rows, columns] = np.arange(len(rows))
    return [
        (order, (1 - 2 * ((up * rows + across * columns) % 2)).astype(np.float32))
        for order in (numbers[rows, columns], numbers[columns, rows])
        for up, across in ((0, 0), (0, 1), (1, 0), (1, 1))
    ]


_HASH_POSITIONS = _positions(_IS_LOW)
_DETAIL_POSITIONS = _positions(~_IS_LOW)
