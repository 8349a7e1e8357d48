"""What a model has to beat: raw pixels, their directions, and their principal components."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinset.errors import DataError

if TYPE_CHECKING:
    from sklearn.decomposition import PCA


def raw_pixels(images: ArrayLike, *, side: int | None = None) -> NDArray[np.float32]:
    """Flatten images to vectors in [0, 1]: the embedding that has learned nothing."""
    pixels = np.asarray(images)
    if pixels.dtype != np.uint8 or pixels.ndim < 2 or not pixels.size:
        raise DataError(
            "Expected images as uint8 pixels of shape (n, ...), none of it 0. "
            f"Received dtype {pixels.dtype} and shape {pixels.shape}."
        )
    for axis in (1, 2) if side is not None and pixels.ndim > 2 else ():
        pixels = _shrunk(pixels, axis, side or 0)
    return pixels.reshape(len(pixels), -1).astype(np.float32) / np.float32(255)


def _shrunk(pixels: NDArray[Any], axis: int, side: int) -> NDArray[Any]:
    length = pixels.shape[axis]
    if length <= side:
        return pixels
    cuts = np.linspace(0, length, side + 1).round().astype(np.intp)
    sums = np.add.reduceat(pixels, cuts[:-1], axis=axis, dtype=np.float32)
    sizes = np.diff(cuts).astype(np.float32)
    shrunk: NDArray[Any] = sums / sizes.reshape([-1 if k == axis else 1 for k in range(sums.ndim)])
    return shrunk


def unit_norm(vectors: ArrayLike) -> NDArray[np.float64]:
    """Scale each row to length 1, so that only its direction counts."""
    # x / ‖x‖₂; then ‖a − b‖² = 2 − 2 cos(a, b), and distances order pairs as cosines do. A row of
    # zeros has no direction and stays as it is: at distance 1 of every other row, cosine 0.
    x = checked_vectors(vectors)
    # the largest coordinate first: squares of the largest and smallest floats are ∞ and 0
    largest = np.abs(x).max(axis=1, keepdims=True)
    x = x / np.where(largest > 0, largest, 1.0)
    length = np.sqrt(np.square(x).sum(axis=1, keepdims=True))
    return np.asarray(x / np.where(length > 0, length, 1.0))


def fit_pca(vectors: ArrayLike, dimensions: int = 64) -> PCA:
    """Fit a principal component analysis: the best linear embedding that ignores the labels."""
    # The axes are the first eigenvectors of the covariance, found exactly, with fixed signs: no
    # randomness. Whitening divides each dimension by its standard deviation, so that all count
    # alike; there are fewer where the vectors vary in fewer. Fit it on what a model may be fitted
    # on, never on test images.
    # Do not read a whitened projection's recall@1 as its quality: it rises above raw pixels, while
    # pair AUC and MAP@R fall far below.
    # Pearson (1901), On Lines and Planes of Closest Fit to Systems of Points in Space.
    from sklearn.decomposition import PCA

    x = checked_vectors(vectors)
    if not 1 <= dimensions <= min(x.shape):
        raise DataError(
            f"Expected from 1 to {min(x.shape)} dimensions for vectors of shape {x.shape}. "
            f"Received {dimensions}."
        )
    if (x == x[0]).all():
        raise DataError(f"Expected vectors that vary. Received {len(x)} equal ones.")
    pca = PCA(dimensions, whiten=True, svd_solver="covariance_eigh").fit(x)
    variances = pca.explained_variance_
    rank = int((variances > variances[0] * len(pca.mean_) * np.finfo(np.float64).eps).sum())
    return pca if rank == dimensions else fit_pca(x, rank)


def checked_vectors(vectors: ArrayLike) -> NDArray[np.float64]:
    """Check that vectors can be measured, and give them as float64."""
    x = np.asarray(vectors, dtype=np.float64)
    if x.ndim != 2 or not x.size:
        raise DataError(
            f"Expected vectors of shape (n, d), one row each, not empty. Received shape {x.shape}."
        )
    wrong = np.argwhere(~np.isfinite(x))
    if wrong.size:
        row = wrong[0][0]
        raise DataError(
            f"Expected finite vectors. Received {x[tuple(wrong[0])]} in row {row} "
            f"({len(np.unique(wrong[:, 0]))} rows in all): the embeddings are broken, train again."
        )
    return x
