"""How the references of an identity, and several images of one query, are joined to one distance.

    apart = join(distances, identities, "best two")  # a number for each identity

Every rule gives a distance: smaller is closer, one threshold decides. "mean evidence" is the mean
of the log-likelihood ratios of all pairs; as these are linear in the distance (`Calibrator`), it
orders and decides as the mean distance does, and that is what is returned.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinset.errors import DataError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Simplest first: the nearest is what a search finds.
RULES = ("nearest", "mean embedding", "best two", "mean evidence")


def join(
    distances: ArrayLike, identities: ArrayLike, rule: str, *, spread: ArrayLike = 0.0
) -> Floats:
    """Join the distances of queries to references into one distance for each identity.

    With d the distances between the q images of a query and the n references of an identity:

    - "nearest": min d
    - "mean embedding": ‖mean of the query − mean of the references‖ = √(mean d² − spread)
    - "best two": the mean of the two smallest d; of one, that one
    - "mean evidence": mean d, which has the mean log-likelihood ratio

    Args:
        distances: of p queries to c references, (p, c), or (p, q, c) where q images are one query.
            Infinite ones do not count.
        identities: of each reference, whole numbers from 0 to m − 1, (c,), in any order.
        rule: out of `RULES`.
        spread: for "mean embedding": `spreads` of the references plus that of the query, (m,) or
            (p, m). Defaults to 0, which holds for one image against single references.

    Returns:
        Distances of shape (p, m); infinite where an identity has no reference that counts.

    Raises:
        DataError: there is no such rule, or the shapes differ.

    Reference:
        Kittler, Hatef, Duin, Matas (1998), On Combining Classifiers.

    Example:
        >>> join([[1.0, 3.0, 2.0]], [0, 0, 1], "best two").tolist()
        [[2.0, 2.0]]
    """
    d, codes = np.asarray(distances, np.float64), np.asarray(identities)
    if rule not in RULES:
        raise DataError(f"Expected a rule out of {', '.join(RULES)}. Received {rule!r}.")
    if d.ndim not in (2, 3) or codes.shape != d.shape[-1:] or not codes.size:
        raise DataError(
            "Expected distances (p, c) or (p, q, c) and an identity for each of the c references. "
            f"Received shapes {d.shape} and {codes.shape}."
        )
    if (np.diff(codes) < 0).any():
        order = np.argsort(codes, kind="stable")
        d, codes = d[..., order], codes[order]
    if d.ndim == 3:  # each pair of an image and a reference is a column of its own
        codes = np.repeat(codes, d.shape[1])
        d = np.moveaxis(d, 1, 2).reshape(len(d), -1)
    starts = np.flatnonzero(np.diff(codes, prepend=-1))  # of a query's time, searching takes most
    if codes[0] or codes[-1] != len(starts) - 1:
        raise DataError("Expected a reference of each identity, numbered from 0 without a gap.")
    return joined(d, starts, rule, np.asarray(spread, np.float64))


def joined(d: NDArray[np.floating], starts: Ints, rule: str, spread: Floats | float) -> Floats:
    """Join distances (p, c) of references that lie together, an identity's from `starts[i]` on."""
    if rule == "nearest":
        return np.asarray(np.minimum.reduceat(d, starts, axis=1), np.float64)
    sizes = np.diff(starts, append=d.shape[1])
    if rule == "best two":
        return _best_two(d, starts, sizes)
    counts = np.isfinite(d)
    values = d if rule == "mean evidence" else np.square(d)
    number: Ints = sizes
    if not counts.all():
        values = np.where(counts, values, 0.0)
        number = np.add.reduceat(counts, starts, axis=1, dtype=np.int64)
    means = np.add.reduceat(values, starts, axis=1, dtype=np.float64) / np.maximum(number, 1)
    if rule == "mean embedding":
        means = np.sqrt(np.maximum(means - spread, 0.0))
    return np.where(number > 0, means, np.inf)


def spreads(vectors: ArrayLike, identities: ArrayLike) -> Floats:
    """Compute the mean squared distance of each identity's vectors to their mean.

    It is all that "mean embedding" needs beside distances: ‖q − mean‖² = mean ‖q − r‖² − spread.

    Args:
        vectors: (n, d).
        identities: whole numbers from 0 to m − 1, (n,).

    Returns:
        Float64 of shape (m,); 0 for one vector.

    Example:
        >>> spreads([[0.0], [2.0], [7.0]], [0, 0, 1]).tolist()
        [1.0, 0.0]
    """
    x, codes = np.asarray(vectors, np.float64), np.asarray(identities)
    sizes = np.bincount(codes)
    means = np.zeros((len(sizes), x.shape[1]))
    np.add.at(means, codes, x)
    means /= np.maximum(sizes, 1)[:, None]
    found: Floats = np.bincount(codes, np.square(x - means[codes]).sum(axis=1)) / np.maximum(
        sizes, 1
    )
    return found


def _best_two(d: NDArray[np.floating], starts: Ints, sizes: Ints) -> Floats:
    first = np.minimum.reduceat(d, starts, axis=1)
    smallest = d == np.repeat(first, sizes, axis=1)
    second = np.minimum.reduceat(np.where(smallest, np.inf, d), starts, axis=1)
    if np.count_nonzero(smallest) > first.size:  # equal ones count twice
        often = np.add.reduceat(smallest, starts, axis=1, dtype=np.int64) > 1
        second = np.where(often, first, second)
    return np.where(np.isfinite(second), (first + second) / 2, first).astype(np.float64)
