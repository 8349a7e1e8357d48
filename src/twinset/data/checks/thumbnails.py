"""Small versions of images, and how alike two are whatever was shifted, compressed, brightened."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from twinset.cores import cores
from twinset.data.image_sources import StoredPixels
from twinset.nearest import one_blas_thread

Floats: TypeAlias = NDArray[np.float32]

SIDE = 32  # cells of a thumbnail's longer side, at most
# Lengths in 28ths of the longer side. Finer than the fine blur is what compression changes; coarser
# than the coarse one is what lighting changes, and what all silhouettes share.
_PRINT_BLURS, _VERIFY_BLURS = (0.5, 3.0), (1.0, 3.0)
_FREQUENCIES = 10
_REACH = 3  # cells by which two thumbnails are moved against each other, at most
_TANGENT_LIMITS = (0.75, 0.75, 0.06)  # cells down, cells right, and magnification


def thumbnails(
    images: NDArray[np.uint8] | StoredPixels,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Scale images down to at most 32 pixels a side by averaging areas; smaller ones stay.

    The second array, (n,), has how many gray levels lie between the least and the largest pixel of
    each image, in the channel where these are most.
    """
    # by areas, as a filter that rings would tell apart what only compression changed
    count, height, width, *colours = images.shape
    scale = min(1.0, SIDE / max(height, width, 1))
    rows, columns = (_areas(s, max(1, round(s * scale))) for s in (height, width))
    small = np.empty((count, len(rows), len(columns), *colours), np.uint8)
    spreads = np.empty(count, np.uint8)
    for part in chunks(count, height * width * (3 if colours else 1)):
        block = images[part]
        # whole rows at a time: numpy takes ten times as long over the pixels of a colour
        lines = block.reshape(len(block), height, -1)
        high, low = (found.reshape(len(block), width, -1) for found in (lines.max(1), lines.min(1)))
        spreads[part] = (high.max(1) - low.min(1)).max(1)
        if scale < 1:
            means = rows @ lines.astype(np.float32)  # (b, h', w c)
            means = columns @ means.reshape(len(block) * len(rows), width, -1)
            block = (means + 0.5).astype(np.uint8)
        small[part] = block.reshape(small[part].shape)
    return small, spreads


def signatures(small: NDArray[np.uint8]) -> Floats:
    """Describe thumbnails by vectors that a shift hardly changes.

    s = √|F(w (g₁ x − g₂ x))|, scaled to length 1: the gray image between two blurs, faded out at
    its borders, and the magnitudes of its low frequencies. A shift only turns the phases.
    """
    height, width = small.shape[1:3]
    (fine_rows, fine_columns), (rows, columns) = _blurs(height, width, _size(small), _PRINT_BLURS)
    down = _waves(height, both_signs=True)
    across = _waves(width, both_signs=False).T
    # all of it is linear and separable: the transform of g x gᵀ is (F g) x (F g)ᵀ
    fine, coarse = (down @ fine_rows, fine_columns.T @ across), (down @ rows, columns.T @ across)
    out = np.empty((len(small), down.shape[0] * across.shape[1]), np.float32)
    for part in chunks(len(small), height * width):
        gray = _planes(small[part]).mean(1)
        waves = fine[0] @ gray @ fine[1] - coarse[0] @ gray @ coarse[1]
        # the root: else a few low frequencies, which all silhouettes share, would say it all
        rooted = np.sqrt(np.abs(waves)).reshape(len(gray), -1)
        out[part] = rooted / np.maximum(np.linalg.norm(rooted, axis=1, keepdims=True), 1e-6)
    return out


def aligned_distances(small: NDArray[np.uint8], pairs: NDArray[np.integer]) -> NDArray[np.float64]:
    """Compare pairs of thumbnails after the shift, brightness and contrast that suit them best.

    d = min over shift, magnification of ‖a − b‖ for a, b of mean 0 and length 1: 0 if nothing else
    differs, 0.1 if what differs is a tenth of the contrast, √2 for images that have nothing in
    common. Shifts of up to 3 cells are tried; fractions of a cell and a magnification of up to 6%
    come from the tangents at the middle of both (Simard et al. 1993), where their errors of second
    order cancel. Symmetric in a and b.

    Reference:
        Simard, Le Cun, Denker (1993), Efficient Pattern Recognition Using a New Transformation
        Distance.
    """
    height, width = small.shape[1:3]
    size = _size(small)
    whole = _blurs(height, width, size, _VERIFY_BLURS)
    out = np.empty(len(pairs))

    def measure(part: slice) -> None:
        a, b = (_opponent(_planes(small[pairs[part, side]])) for side in (0, 1))
        shifts = _best_shifts(_band(a, whole), _band(b, whole))
        distances = np.empty(len(a))
        for down, right in np.unique(shifts, axis=0):
            these = np.flatnonzero((shifts == (down, right)).all(1))
            # Cut first and blur then: equal pixels in the overlap must give exactly 0.
            left = _cut(a[these], -down, -right)
            moved = _cut(b[these], down, right)
            blurs = _blurs(*left.shape[2:], size, _VERIFY_BLURS)
            distances[these] = _tangent_distances(_band(left, blurs), _band(moved, blurs))
        out[part] = distances

    parts = chunks(len(pairs), height * width * (3 if small.ndim == 4 else 1))
    with one_blas_thread(), ThreadPoolExecutor(cores()) as pool:
        list(pool.map(measure, parts))  # for the errors
    return out


def chunks(count: int, size: int, budget: int = 1 << 21) -> Iterator[slice]:
    """Cut `count` items of `size` numbers each into slices of about `budget` numbers."""
    step = max(1, budget // max(1, size))
    for start in range(0, count, step):
        yield slice(start, min(count, start + step))


def _areas(size: int, cells: int) -> Floats:
    """Weights (cells, size) that average the pixels of each cell, the cut ones in part."""
    edges = np.linspace(0, size, cells + 1)
    pixels = np.arange(size)
    over = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights: Floats = (np.maximum(over, 0) * (cells / max(size, 1))).astype(np.float32)
    return weights


def _planes(block: NDArray[np.uint8]) -> Floats:
    """Put the channels first: (b, c, h, w)."""
    planes = block[:, None] if block.ndim == 3 else block.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(planes, np.float32)


def _opponent(planes: Floats) -> Floats:
    # the differences of the channels count half: compression is coarse with them
    if planes.shape[1] == 1:
        return planes
    gray = planes.mean(1)
    return np.stack([gray, (planes[:, 0] - gray) / 2, (planes[:, 2] - gray) / 2], 1)


def _size(small: NDArray[np.uint8]) -> int:
    return int(max(small.shape[1:3]))


@lru_cache(maxsize=128)
def _blurs(
    height: int, width: int, size: int, sigmas: tuple[float, float]
) -> list[tuple[Floats, Floats]]:
    """Matrices that blur rows and columns, for both sigmas; each row adds up to 1."""
    return [(_blur(height, sigma * size / 28), _blur(width, sigma * size / 28)) for sigma in sigmas]


def _blur(size: int, sigma: float) -> Floats:
    blur: NDArray[np.float64] = gaussian_filter1d(np.eye(size), sigma, axis=0, mode="nearest")
    return blur.astype(np.float32)


def _band(planes: Floats, blurs: list[tuple[Floats, Floats]]) -> Floats:
    (fine_rows, fine_columns), (rows, columns) = blurs
    fine, coarse = fine_rows @ planes @ fine_columns.T, rows @ planes @ columns.T
    return np.subtract(fine, coarse, dtype=np.float32)


def _fade(size: int) -> NDArray[np.float64]:
    """Rise from the borders to 1 within three tenths, so that borders do not count as edges."""
    place = np.arange(size)
    rise = np.minimum(place + 1, size - place) / (0.3 * size + 1)
    fade: NDArray[np.float64] = np.sin(np.pi / 2 * np.minimum(rise, 1)) ** 2
    return fade


def _waves(size: int, *, both_signs: bool) -> NDArray[np.complex64]:
    """The Fourier matrix of the low frequencies, on a faded axis: (frequencies, size)."""
    top = min(_FREQUENCIES, (size + 1) // 2)
    frequencies = np.arange(1 - top if both_signs else 0, top)
    turns = np.exp(-2j * np.pi / size * np.outer(frequencies, np.arange(size)))
    waves: NDArray[np.complex64] = (turns * _fade(size)).astype(np.complex64)
    return waves


def _best_shifts(a: Floats, b: Floats) -> NDArray[np.int64]:
    """Find by how many cells (down, right) b lies from a: where their overlaps correlate most."""
    # room to move without meeting the other border
    shape = [scipy.fft.next_fast_len(size + _REACH, real=True) for size in a.shape[2:]]
    waves_a, waves_b = (scipy.fft.rfft2(x, s=shape) for x in (a, b))
    products = scipy.fft.irfft2((waves_a.conj() * waves_b).sum(1), s=shape)
    reach = np.arange(-_REACH, _REACH + 1)
    near = products[:, reach[:, None], reach]  # (p, 7, 7)
    # Divided by the lengths of the overlaps: else an object that touches a border stays there.
    lengths = _overlap_squares(a, -reach) * _overlap_squares(b, reach)
    near /= np.sqrt(np.maximum(lengths, 1e-6))
    peaks = near.reshape(len(near), -1).argmax(1)
    return np.stack(np.divmod(peaks, len(reach)), 1) - _REACH


def _overlap_squares(planes: Floats, shifts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sum the squares of what `_cut` leaves, for all shifts down and right: (p, 7, 7)."""
    count, _, height, width = planes.shape
    sums = np.zeros((count, height + 1, width + 1))
    sums[:, 1:, 1:] = np.square(planes).sum(1).cumsum(1, np.float64).cumsum(2)
    top, bottom = np.maximum(shifts, 0)[:, None], height + np.minimum(shifts, 0)[:, None]
    left, right = np.maximum(shifts, 0), width + np.minimum(shifts, 0)
    corners = [sums[:, y, x] for y in (top, bottom) for x in (left, right)]
    return corners[3] - corners[2] - corners[1] + corners[0]


def _cut(planes: Floats, down: int, right: int) -> Floats:
    """Leave out the rows and columns that a shift by this much moves out of the other image."""
    height, width = planes.shape[2:]
    rows = slice(max(down, 0), height + min(down, 0))
    columns = slice(max(right, 0), width + min(right, 0))
    return planes[:, :, rows, columns]


def _tangent_distances(a: Floats, b: Floats) -> Floats:
    """‖a − b‖ of normalised images, less what moving and magnifying both by halves explains."""
    count, _, height, width = a.shape
    a, b = _normalised(a), _normalised(b)
    difference = (a - b).reshape(count, -1)
    plain = np.square(difference).sum(1)
    down, right = np.gradient((a + b) / 2, axis=(2, 3))
    y = (np.arange(height, dtype=np.float32) - (height - 1) / 2)[:, None]
    x = np.arange(width, dtype=np.float32) - (width - 1) / 2
    tangents = np.stack([t.reshape(count, -1) for t in (down, right, y * down + x * right)], 2)
    gram = tangents.transpose(0, 2, 1) @ tangents  # (p, 3, 3)
    # an image of stripes leaves one direction open: a little of the diagonal closes it
    ridge = 1e-4 * np.einsum("pkk->pk", gram) + 1e-9
    gram = gram + ridge[:, :, None] * np.eye(3)
    steps = np.linalg.solve(gram, np.einsum("pd,pdk->pk", difference, tangents)[..., None])
    rest = np.square(difference - (tangents @ steps)[..., 0]).sum(1)
    # beyond the limits a tangent has left the image it touches
    near = (np.abs(steps[..., 0]) <= _TANGENT_LIMITS).all(1)
    best: Floats = np.sqrt(np.where(near, np.minimum(rest, plain), plain)).astype(np.float32)
    return np.minimum(best, 2)


def _normalised(planes: Floats) -> Floats:
    centred = planes - planes.mean((2, 3), keepdims=True)
    length = np.sqrt(np.square(centred).sum((1, 2, 3), keepdims=True))
    unit: Floats = centred / np.maximum(length, 1e-6)
    return unit
