"""Slow, plain answers for what a store finds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.search.where import Condition, holds


def distance(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Euclid's, in float64, a coordinate at a time."""
    return math.sqrt(sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True)))


def nearest(
    vectors: NDArray[Any],
    query: NDArray[Any],
    *,
    k: int | None = None,
    within: float | None = None,
    metadata: Sequence[dict[str, Any]] = (),
    where: Sequence[Condition] = (),
) -> list[tuple[float, int]]:
    """Distance and position of the nearest, nearest first, ties by position."""
    found = []
    for position, vector in enumerate(vectors):
        if all(holds(condition, metadata[position]) for condition in where):
            found.append((distance(query, vector), position))
    found.sort()
    if within is not None:
        found = [pair for pair in found if pair[0] <= within]
    return found if k is None else found[:k]


def grid(rng: np.random.Generator, n: int, d: int, steps: int = 4) -> NDArray[np.float32]:
    """Vectors of small whole numbers: float32 computes their distances² exactly, ties abound."""
    return rng.integers(0, steps, (n, d)).astype(np.float32)
