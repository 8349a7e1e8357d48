"""How far apart two embeddings are: smaller is closer; one formula for all stages."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinset.errors import DataError


def euclidean(left: Any, right: Any, *, xp: Any = np) -> Any:
    """Measure the Euclidean distance of row i of `left` to row i of `right`.

    d(a, b) = ‖a − b‖₂ = √(Σ_k (a_k − b_k)²)

    Exactly 0 for equal rows. There the norm has a corner: the gradient 0 is chosen, so that
    coincident embeddings never yield the 0/0 = NaN of the plain formula, while embeddings that
    are merely close keep the full unit gradient (a − b)/d. Clamping the sum from below, as the
    tutorial does, would silence those as well.

    Both are floats of shape (..., d), of the array library `xp`: `numpy` or `keras.ops`.

    Reference:
        Hadsell, Chopra, LeCun (2006), Dimensionality Reduction by Learning an Invariant Mapping.
    """
    squared = xp.sum(xp.square(left - right), axis=-1)  # (...)
    if xp is np:  # which has no gradient
        return np.sqrt(squared)
    # where() differentiates both branches: without the inner one, √'(0) = ∞ meets 0 and gives NaN
    apart = squared > 0
    return xp.where(apart, xp.sqrt(xp.where(apart, squared, 1.0)), 0.0)


def to_cosine(distance: ArrayLike) -> Any:
    """Turn distances of embeddings of length 1 into cosine similarities.

    cos(a, b) = 1 − d(a, b)² / 2, as ‖a − b‖² = 2 − 2 a·b where both have length 1, which the
    embeddings have of every recipe with encoder.normalize = true. So the nearest by distance is
    the most similar by cosine, and a threshold of one is a threshold of the other.

    Args:
        distance: Euclidean, in [0, 2], of any shape.

    Returns:
        Similarities in [−1, 1] of the same shape; 1 is equal.

    Raises:
        DataError: a distance out of range, which no two such embeddings have.

    Example:
        >>> to_cosine([0.0, 2**0.5, 2.0]).round(6).tolist(), float(to_cosine(0.75))
        ([1.0, -0.0, -1.0], 0.71875)
    """
    return 1 - _within(distance, 0, 2, "distances of embeddings of length 1") ** 2 / 2


def from_cosine(similarity: ArrayLike) -> Any:
    """Turn cosine similarities into distances of embeddings of length 1: d = √(2 − 2 cos).

    Args:
        similarity: in [−1, 1], of any shape.

    Returns:
        Euclidean distances in [0, 2] of the same shape, for `within` and thresholds.

    Raises:
        DataError: a similarity out of range.

    Example:
        >>> from_cosine([1.0, 0.5, -1.0]).tolist()
        [0.0, 1.0, 2.0]
    """
    return np.sqrt(2 - 2 * _within(similarity, -1, 1, "cosine similarities"))


def _within(values: ArrayLike, low: float, high: float, what: str) -> Any:
    found = np.asarray(values, np.float64)
    # the tiny term: float32 makes 1.0000001 of what is 1
    wrong = ~((found >= low - 1e-5) & (found <= high + 1e-5))
    if wrong.any():
        raise DataError(
            f"Expected {what}, from {low} to {high}. Received {found[wrong].ravel()[0]:g}."
        )
    return np.clip(found, low, high)


def cross(
    left: NDArray[np.float32],
    right: NDArray[np.float32],
    left_squares: NDArray[np.float32],
    right_squares: NDArray[np.float32],
    out: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Measure the Euclidean distance of each of m rows to each of n rows, into `out` of (m, n).

    ‖a − b‖² = ‖a‖² + ‖b‖² − 2 a·b, so that one matrix product does nearly all the work. The
    subtraction cancels digits where a and b are close and long: the error of d² is a few units in
    the last place of ‖a‖² + ‖b‖². Centre the rows first (`centred`), which gives the squares, too.
    """
    # a tile that is used again and again stays in the cache
    np.matmul(left, right.T, out=out)
    out *= -2
    out += left_squares[:, None]
    out += right_squares
    np.maximum(out, 0, out=out)
    return np.sqrt(out, out=out)


def centred(vectors: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Move rows so that their mean is 0, which changes no distance, and square their lengths."""
    rows = vectors.reshape(len(vectors), -1).astype(np.float32)
    rows -= rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    squares = np.einsum("nd,nd->n", rows, rows, dtype=np.float64)
    return rows, squares.astype(np.float32)


def of_pairs(
    vectors: NDArray[Any],
    left: NDArray[np.integer],
    right: NDArray[np.integer],
    *,
    chunk: int = 8192,
) -> NDArray[np.float32]:
    """Measure the distance of each pair of rows, given by their positions, in float32."""
    # Gathered a chunk at a time: 119,980 pairs of raw pixels would take 0.75 GB at once.
    rows = vectors.reshape(len(vectors), -1)
    result = np.empty(len(left), np.float32)
    for start in range(0, len(left), chunk):
        part = slice(start, start + chunk)
        result[part] = euclidean(
            rows[left[part]].astype(np.float32), rows[right[part]].astype(np.float32)
        )
    return result
