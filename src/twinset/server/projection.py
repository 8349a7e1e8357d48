"""The arithmetic of the map: many dimensions as two, and where model and labels disagree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.errors import without
from twinset.nearest import Matrix, one_blas_thread
from twinset.server.child import Arrays, ChildError, in_child

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
    """Find the axes of a PCA (Pearson, 1901), exactly, with signs that do not hang on luck."""
    n, dim = vectors.shape
    mean = vectors.mean(axis=0, dtype=np.float64) if n else np.zeros(dim)
    scatter = np.zeros((dim, dim))
    with one_blas_thread():  # the other cores answer requests
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
    """Choose at most so many of n positions, evenly over all."""
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
        if reason := without("sklearn", "sklearn", "t-SNE"):
            raise ChildError(reason)
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
        return in_child(what, _tsne, self.seconds, vectors=vectors)["points"]


def _tsne(vectors: Vectors) -> Arrays:
    # what the process does; van der Maaten, Hinton (2008), by scikit-learn
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(vectors) - 1) / 3)
    flat = TSNE(init="pca", perplexity=perplexity, max_iter=750, random_state=0, n_jobs=1)
    points = flat.fit_transform(vectors).astype(np.float64)
    middle, scale = _frame(points)
    return {"points": ((points - middle) * scale).astype(np.float32)}


# Of more items the search takes longer than a process needs to start, up to minutes of all cores.
AT_ONCE = 5_000
MISTAKES_SECONDS = 3600


@dataclass(frozen=True, eq=False)
class Mistakes:
    """Items that the model would get wrong, by the labels; rows and those they are nearest to.

    `mistaken`: the nearest of all is within the threshold and of another kind, closest first.
    `missed`: the nearest of its own kind is beyond the threshold, farthest first; an item that is
    the only one of its kind is none.
    """

    mistaken: NDArray[np.int64]  # (m, 2): item, and its nearest
    mistaken_distances: NDArray[np.float32]  # (m,)
    missed: NDArray[np.int64]  # (o, 2): item, and the nearest of its own kind
    missed_distances: NDArray[np.float32]  # (o,)


def mistakes_of(
    vectors: NDArray[np.float32],
    kinds: NDArray[np.int64],
    threshold: float,
    *,
    at_once: int = AT_ONCE,
) -> Mistakes:
    """Find mistakes as `find_mistakes` does; of many items in a process of its own."""
    if len(vectors) <= at_once:
        return find_mistakes(vectors, kinds, threshold)
    what = f"The search for mistakes among {len(vectors):,} items"
    given = {"vectors": vectors, "kinds": kinds, "threshold": np.float64(threshold)}
    return Mistakes(**in_child(what, _mistakes, MISTAKES_SECONDS, **given))


def find_mistakes(
    vectors: NDArray[np.float32],  # (n, d)
    kinds: NDArray[np.int64],  # (n,); -1 where it is not known
    threshold: float,
) -> Mistakes:
    """Find what is nearest to each item, exactly, and compare it with the labels."""
    known = np.flatnonzero(kinds >= 0)
    every = Matrix(vectors)
    among = None if len(known) == len(vectors) else known  # none to leave out is the faster search
    nearest = np.full(len(vectors), -1)
    far = np.full(len(vectors), np.inf, np.float32)
    for start in range(0, len(known), _BLOCK):
        rows = known[start : start + _BLOCK]
        # two, as an item finds itself; of equal ones another may come first
        hits = every.search(vectors[rows], k=2, rows=among)
        own = np.repeat(rows, np.diff(hits.starts))
        other = hits.positions != own
        order = np.flatnonzero(other)[::-1]  # the first is written last
        nearest[own[order]] = hits.positions[order]
        far[own[order]] = hits.distances[order]
    found = known[nearest[known] >= 0]
    wrong = found[kinds[nearest[found]] != kinds[found]]
    mistaken = wrong[far[wrong] <= threshold]
    mistaken = mistaken[np.argsort(far[mistaken], kind="stable")]

    # Whose nearest is of its own kind and near is not missed; of the others the own kind is asked.
    own_far, own_near = far.copy(), nearest.copy()
    own_far[wrong], own_near[wrong] = np.inf, -1
    for kind in np.unique(kinds[wrong]):
        asked, members = wrong[kinds[wrong] == kind], np.flatnonzero(kinds == kind)
        if len(members) < 2:
            continue
        hits = every.search(vectors[asked], k=2, rows=members)
        for number, row in enumerate(asked.tolist()):
            positions, distances = hits.of(number)
            at = int(positions[0] == row)
            own_near[row], own_far[row] = positions[at], distances[at]
    missed = found[(own_near[found] >= 0) & (own_far[found] > threshold)]
    missed = missed[np.argsort(-own_far[missed], kind="stable")]
    return Mistakes(
        np.stack([mistaken, nearest[mistaken]], axis=1),
        far[mistaken],
        np.stack([missed, own_near[missed]], axis=1),
        own_far[missed],
    )


def _mistakes(
    vectors: NDArray[np.float32], kinds: NDArray[np.int64], threshold: NDArray[np.float64]
) -> Arrays:
    return vars(find_mistakes(vectors, kinds, float(threshold)))
