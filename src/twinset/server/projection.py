"""Many dimensions as two: PCA at once, t-SNE in a process of its own, and where a new one goes."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.nearest import Matrix
from twinset.server.child import Arrays, ChildError, as_child, in_child

Vectors = NDArray[np.float32]  # (n, d)
Points = NDArray[np.float32]  # (n, 2), in [-1, 1]

# t-SNE is computed on so many items at most, a minute or two of one core; the others are placed
# between those of them that are nearest.
COMPUTED = 5_000
NEAREST = 8
SECONDS = 600
_BLOCK = 4096


@dataclass(frozen=True, eq=False)
class Axes:
    """The two directions in which vectors vary most: x ↦ scale · ((x − mean) W − middle)."""

    mean: NDArray[np.float64]  # (d,)
    directions: NDArray[np.float64]  # W, (d, 2), orthonormal; a column of zeros where d is 1
    middle: NDArray[np.float64]  # (2,)
    scale: float  # one for both, so that distances keep their proportions
    share: float  # of the variance that the two directions hold, in [0, 1]

    def place(self, vectors: NDArray[Any]) -> Points:
        """Project vectors (q, d) to (q, 2): of those that the axes are from, into [-1, 1]."""
        blocks = [np.empty((0, 2), np.float32)]
        for start in range(0, len(vectors), _BLOCK):
            centred = vectors[start : start + _BLOCK] - self.mean
            flat = self.scale * (centred @ self.directions - self.middle)
            blocks.append(flat.astype(np.float32))
        return np.concatenate(blocks)


def principal_axes(vectors: Vectors) -> Axes:
    """Find the axes of a PCA (Pearson, 1901), exactly and with a sign that does not depend on luck.

    Example:
        >>> axes = principal_axes(np.float32([[0, 0, 1], [4, 0, 1], [0, 2, 1], [4, 2, 1]]))
        >>> axes.place(np.float32([[2, 1, 1], [4, 1, 1]])).tolist(), round(axes.share, 6)
        ([[0.0, 0.0], [1.0, 0.0]], 1.0)
    """
    n, dim = vectors.shape
    mean = vectors.mean(axis=0, dtype=np.float64) if n else np.zeros(dim)
    scatter = np.zeros((dim, dim))
    for start in range(0, n, _BLOCK):
        centred = vectors[start : start + _BLOCK] - mean
        scatter += centred.T @ centred
    worth, found = np.linalg.eigh(scatter)  # ascending
    directions = found[:, ::-1][:, :2]
    if dim < 2:
        directions = np.pad(directions, ((0, 0), (0, 2 - dim)))
    # an eigenvector is one in either direction: the largest entry is to be positive
    largest = directions[np.abs(directions).argmax(axis=0), range(2)]
    directions = directions * np.where(largest < 0, -1.0, 1.0)
    share = float(worth[-2:].sum() / total) if (total := worth.sum()) > 0 else 1.0
    flat = Axes(mean, directions, np.zeros(2), 1.0, share).place(vectors).astype(np.float64)
    middle, scale = _frame(flat)
    return Axes(mean, directions, middle, scale, share)


def _frame(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    # what brings points into [-1, 1], without changing the proportions of distances
    if not len(points):
        return np.zeros(2), 1.0
    low, high = points.min(axis=0), points.max(axis=0)
    reach = float((high - low).max()) / 2
    return (low + high) / 2, 1 / reach if reach > 0 else 1.0


def spread(n: int, most: int) -> NDArray[np.int64]:
    """Choose at most so many of n positions, evenly over all.

    Example:
        >>> spread(10, 4).tolist()
        [0, 2, 5, 7]
    """
    return np.arange(n) if n <= most else (np.arange(most) * n) // most


def between(points: Points, distances: NDArray[Any]) -> Points:
    """Place items among their nearest: the mean of their points, weighed by 1 / distance.

    `points` is (q, k, 2), `distances` (q, k), nearest first. What is at no distance of one is
    there.
    """
    weights = 1 / np.maximum(distances.astype(np.float64), 1e-12)
    exact = distances[:, :1] == 0
    weights = np.where(exact, distances == 0, weights)
    weights /= weights.sum(axis=1, keepdims=True)
    placed: Points = np.einsum("qk,qkc->qc", weights, points).astype(np.float32)
    return placed


class Tsne:
    """t-SNE of many vectors, in a process of its own: the server keeps its memory and its time."""

    def __init__(self, *, most: int = COMPUTED, seconds: float = SECONDS) -> None:
        self.most, self.seconds = most, seconds

    def points(self, vectors: Vectors) -> Points:
        """Compute the points of vectors (n, d), n ≥ 4, or raise a `ChildError`."""
        if find_spec("sklearn") is None:
            raise ChildError("t-SNE needs scikit-learn, which is not installed here.")
        chosen = spread(len(vectors), self.most)
        own = self._computed(vectors[chosen])
        if len(chosen) == len(vectors):
            return own
        points = np.empty((len(vectors), 2), np.float32)
        matrix = Matrix(np.ascontiguousarray(vectors[chosen]))
        for start in range(0, len(vectors), _BLOCK):
            hits = matrix.search(vectors[start : start + _BLOCK], k=min(NEAREST, len(chosen)))
            near = hits.positions.reshape(len(hits), -1)
            points[start : start + _BLOCK] = between(own[near], hits.distances.reshape(near.shape))
        return points

    def _computed(self, vectors: Vectors) -> Points:
        what = f"t-SNE of {len(vectors):,} items"
        return in_child(what, __name__, self.seconds, vectors=vectors)["points"]


def _compute(vectors: Vectors) -> Arrays:
    # what the process does; van der Maaten, Hinton (2008), by scikit-learn
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(vectors) - 1) / 3)
    flat = TSNE(init="pca", perplexity=perplexity, max_iter=750, random_state=0, n_jobs=1)
    points = flat.fit_transform(vectors).astype(np.float64)
    middle, scale = _frame(points)
    return {"points": ((points - middle) * scale).astype(np.float32)}


if __name__ == "__main__":
    as_child(_compute)
