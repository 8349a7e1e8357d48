"""An embedding by itself: the baselines a model has to beat, and whether it is healthy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinset.errors import DataError


@dataclass(frozen=True, eq=False)
class PCA:
    """A whitened projection on principal components."""

    mean: NDArray[np.float64]  # (d,)
    axes: NDArray[np.float64]  # (d, k), each of length 1 over its standard deviation

    def transform(self, vectors: ArrayLike) -> NDArray[np.float64]:
        """Project vectors (n, d) to (n, k)."""
        projected: NDArray[np.float64] = (np.asarray(vectors) - self.mean) @ self.axes
        return projected


def raw_pixels(images: ArrayLike, *, side: int | None = None) -> NDArray[np.float32]:
    """Flatten images to vectors in [0, 1]: the embedding that has learned nothing."""
    pixels = np.asarray(images)
    if pixels.dtype != np.uint8 or pixels.ndim < 2 or not pixels.size:
        raise DataError(
            "Expected images as uint8 pixels of shape (n, ...), none of it 0. "
            f"Received dtype {pixels.dtype} and shape {pixels.shape}."
        )
    if side is not None and pixels.ndim > 2 and max(pixels.shape[1:3]) > side:
        pixels = _shrunk(pixels, side)
    return pixels.reshape(len(pixels), -1).astype(np.float32) / np.float32(255)


def _shrunk(pixels: NDArray[Any], side: int) -> NDArray[Any]:
    # Means of boxes by two products with matrices of 0 and 1, in a third of `np.add.reduceat`'s
    # time. Exact: the sums are whole numbers below 2²⁴, up to boxes of 256 × 256 pixels.
    n, height, width, *channels = pixels.shape
    rows, columns = _boxes(height, side), _boxes(width, side)
    sums = rows @ pixels.reshape(n, height, -1).astype(np.float32)
    sums = columns @ sums.reshape(n * len(rows), width, -1)
    areas = np.outer(rows.sum(axis=1), columns.sum(axis=1)).reshape(len(rows), -1, 1)
    means: NDArray[Any] = sums.reshape(n, len(rows), len(columns), -1) / areas
    return means.reshape(n, len(rows), len(columns), *channels)


def _boxes(length: int, side: int) -> NDArray[np.float32]:
    # which of the pixels in a line are in which box, (boxes, pixels)
    cuts = np.linspace(0, length, min(length, side) + 1).round().astype(np.intp)
    return np.repeat(np.eye(len(cuts) - 1, dtype=np.float32), np.diff(cuts), axis=1)


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
    x = checked_vectors(vectors)
    if not 1 <= dimensions <= min(x.shape):
        raise DataError(
            f"Expected from 1 to {min(x.shape)} dimensions for vectors of shape {x.shape}. "
            f"Received {dimensions}."
        )
    if (x == x[0]).all():
        raise DataError(f"Expected vectors that vary. Received {len(x)} equal ones.")
    mean = x.mean(axis=0)
    covariance = (x.T @ x - len(x) * np.outer(mean, mean)) / (len(x) - 1)
    variances, axes = np.linalg.eigh(covariance)
    variances, axes = variances[: -dimensions - 1 : -1], axes[:, : -dimensions - 1 : -1]
    kept = variances > variances[0] * x.shape[1] * np.finfo(np.float64).eps
    axes = axes[:, kept] / np.sqrt(variances[kept])
    # the largest coordinate of each points up, so that no library's choice of sign is seen
    return PCA(mean, axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]))


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


def checked(vectors: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Check that vectors can be measured and that each has a label."""
    x, classes = checked_vectors(vectors), np.asarray(labels)
    if classes.shape != x.shape[:1]:
        raise DataError(
            f"Expected one label per row, shape ({len(x)},). Received shape {classes.shape}."
        )
    return x, classes


@dataclass(frozen=True)
class EmbeddingHealth:
    """Signs of collapse and of waste in n embeddings of d coordinates."""

    # mean ‖u − v‖² over all pairs of one class, u and v scaled to length 1; in [0, 4], 0 if each
    # class is one direction. Do not read it as separation: an embedding that maps everything to one
    # point has 0 as well. NaN if no class has two members.
    alignment: float
    # log of the mean exp(−2 ‖u − v‖²) over pairs of any class; in [−8, 0], 0 if all point one way,
    # about −3.9 if spread evenly over a sphere of many dimensions. Do not read it as "lower is
    # better" alone: noise is lowest. Read it beside the alignment.
    uniformity: float
    # exp of the entropy of the covariance's eigenvalues as shares, in [1, d]; 0 if all are equal.
    # Do not read it as the number of dimensions needed: ten well-parted classes fill about nine.
    effective_rank: float
    # of coordinates that are exactly 0. No sparseness worth having: rows of zeros are collapsed.
    zero_share: float
    # of the d coordinates, constant over the set; one that repeats another counts as alive
    dead_coordinates: int
    # variance within classes over that between their means, Σ_c Σ_{x ∈ c} ‖x − μ_c‖² / Σ_c n_c
    # ‖μ_c − μ‖², in [0, ∞]. Do not read it across widths or data sets: chance alone gives about n
    # over the number of classes less one, and one stretched coordinate outweighs all others.
    within_between: float


def embedding_health(
    embeddings: ArrayLike, labels: ArrayLike, *, pairs: int = 200_000, seed: int = 0
) -> EmbeddingHealth:
    """Examine embeddings for collapse and waste."""
    # Everything is exact but the uniformity of a large set, which is that of random pairs.
    # Wang, Isola (2020), Understanding Contrastive Representation Learning through Alignment and
    # Uniformity on the Hypersphere; Roy, Vetterli (2007), The Effective Rank.
    x, classes = checked(embeddings, labels)
    if len(x) < 2:
        raise DataError(f"Expected two embeddings or more. Received {len(x)}.")
    y = np.unique(classes, return_inverse=True)[1]
    directions = unit_norm(x)
    # from here on, differences to the first row and of size 1: equal rows give exact zeros
    offsets = x - x[0]
    offsets = np.ldexp(offsets, -np.frexp(np.abs(offsets).max())[1])
    return EmbeddingHealth(
        alignment=alignment(directions, y),
        uniformity=uniformity(directions, pairs, seed),
        effective_rank=effective_rank(offsets),
        zero_share=float((x == 0).mean()),
        dead_coordinates=int((offsets == 0).all(axis=0).sum()),
        within_between=_within_between(offsets, y),
    )


def alignment(directions: NDArray[np.float64], classes: NDArray[np.intp]) -> float:
    """Average ‖u − v‖² over the pairs of one class; classes count from 0."""
    # a class's ordered pairs sum to 2 n_c Σ ‖u − μ_c‖²: no pair need be visited
    sizes, means = _class_means(directions, classes)
    scatter = np.bincount(classes, np.square(directions - means[classes]).sum(axis=1))
    ordered_pairs = float((sizes * (sizes - 1)).sum())
    return float((2 * sizes * scatter).sum() / ordered_pairs) if ordered_pairs else float("nan")


def uniformity(
    directions: NDArray[np.float64], pairs: int, seed: int = 0, chunk: int = 8192
) -> float:
    """Take the log of the mean exp(−2 ‖u − v‖²), over all pairs or so many random ones."""
    n = len(directions)
    if n * (n - 1) // 2 <= pairs:
        apart = squared_distances(directions)[np.triu_indices(n, 1)]
        return float(np.log(np.exp(-2 * apart).mean()))
    rng = np.random.default_rng(seed)
    left, right = rng.integers(n, size=pairs), rng.integers(1, n, size=pairs)
    right = (left + right) % n  # any other
    total = 0.0
    for start in range(0, pairs, chunk):
        part = slice(start, start + chunk)
        apart = np.square(directions[left[part]] - directions[right[part]]).sum(axis=1)
        total += float(np.exp(-2 * apart).sum())
    return float(np.log(total / pairs))


def effective_rank(x: NDArray[np.float64]) -> float:
    """Take exp of the entropy of the covariance's spectrum; 0 if all rows are equal."""
    centred = x - x.mean(axis=0)
    # the smaller of the two Gram matrices has the same spectrum, but for zeros
    wide = centred.shape[1] > len(centred)
    gram = centred @ centred.T if wide else centred.T @ centred
    variances = np.maximum(np.linalg.eigvalsh(gram), 0)
    if not variances.any():
        return 0.0
    shares = variances[variances > 0] / variances.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def squared_distances(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Measure ‖x_i − x_j‖² of all rows, (n, n), by one product."""
    lengths = np.square(x).sum(axis=1)
    squared: NDArray[np.float64] = lengths[:, None] + lengths - 2 * (x @ x.T)
    return np.maximum(squared, 0)


def _within_between(x: NDArray[np.float64], y: NDArray[np.intp]) -> float:
    sizes, means = _class_means(x, y)
    within = float(np.square(x - means[y]).sum())
    between = float((sizes * np.square(means - x.mean(axis=0)).sum(axis=1)).sum())
    return within / between if between else float("inf")


def _class_means(
    x: NDArray[np.float64], y: NDArray[np.intp]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Count each class and average its rows: (classes,) and (classes, d)."""
    sizes = np.bincount(y).astype(np.int64)
    order = np.argsort(y, kind="stable")
    starts = np.cumsum(sizes) - sizes
    return sizes, np.add.reduceat(x[order], starts, axis=0) / sizes[:, None]
