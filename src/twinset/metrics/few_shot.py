"""Few-shot classification: with one example of each of a few classes, which is a new image of?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinset.errors import DataError
from twinset.metrics.intervals import Estimate, Interval
from twinset.metrics.retrieval import checked


@dataclass(frozen=True, eq=False)
class Episodes:
    """Draws of few-shot tasks: w classes, one support and one query image of each."""

    support: NDArray[np.int64]  # positions of the examples, int64 of shape (e, w)
    # positions of the images to classify, (e, w); column i is of the class of the support in column
    # i, and another image
    queries: NDArray[np.int64]


def draw_episodes(
    labels: ArrayLike, *, ways: int = 5, episodes: int = 600, seed: int = 0
) -> Episodes:
    """Draw episodes: classes without repetition, then of each two different images."""
    # The first of the two is the support, the second the query. Classes of one image are never
    # drawn. All is a function of the labels' order and the seed, so two models meet the same tasks.
    values = np.asarray(labels)
    if values.ndim != 1 or ways < 2 or episodes < 1:
        raise DataError(
            "Expected labels of shape (n,), at least 2 ways and 1 episode. "
            f"Received shape {values.shape}, {ways} ways and {episodes} episodes."
        )
    members = [np.flatnonzero(values == label) for label in np.unique(values)]
    members = [each for each in members if len(each) > 1]
    if len(members) < ways:
        raise DataError(
            f"Expected {ways} classes of at least 2 images. Received {len(members)}: "
            "ask for fewer ways."
        )
    rng = np.random.default_rng(seed)
    drawn = np.array(
        [
            [rng.choice(members[k], 2, replace=False) for k in rng.permutation(len(members))[:ways]]
            for _ in range(episodes)
        ],
        np.int64,
    )  # (e, w, 2)
    return Episodes(drawn[:, :, 0], drawn[:, :, 1])


def one_shot_accuracy(
    embeddings: NDArray[Any],
    labels: ArrayLike,
    *,
    ways: int = 5,
    episodes: int = 600,
    seed: int = 0,
) -> Interval:
    """Measure how often the nearest of one example per class is of the query's class."""
    # Of each episode's `ways` queries, one per class, the share whose nearest support (Euclidean)
    # is of their class; of equally near ones the first drawn wins, so that equal embeddings score 1
    # / `ways`, chance. The value is the mean over episodes.
    # The interval takes the episode for the unit, whose queries share their supports. It says how
    # well the episodes tell the mean over all that could be drawn from these images, and with them
    # from others of the same classes as long as few images are drawn twice.
    # Do not read it as an interval for other classes: where there are no more classes than ways,
    # every episode has the same ones. For that compare folds.
    # Vinyals, Blundell, Lillicrap, Kavukcuoglu, Wierstra (2016), Matching Networks for One Shot
    # Learning.
    drawn = draw_episodes(labels, ways=ways, episodes=episodes, seed=seed)
    rows, _ = checked(embeddings.reshape(len(embeddings), -1), labels)
    right = np.array(
        [
            _nearest(rows[queries], rows[support]) == np.arange(ways)
            for support, queries in zip(drawn.support, drawn.queries, strict=True)
        ]
    ).mean(axis=1)  # (e,)
    value = float(right.mean())
    return Estimate(value, (right - value) / episodes, 0.0).interval()


def _nearest(queries: NDArray[np.float64], support: NDArray[np.float64]) -> NDArray[np.intp]:
    """Find the nearest support of each query; argmin takes the first of equals."""
    squares = np.square(queries[:, None] - support[None]).sum(axis=2)  # (w, w)
    return np.asarray(squares.argmin(axis=1))
