"""What a training did, epoch by epoch, and the statistics of a batch of its embeddings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.metrics.baselines import unit_norm
from twinset.metrics.health import alignment, effective_rank, squared_distances, uniformity

NAN = float("nan")


@dataclass(frozen=True)
class BatchStatistics:
    """Statistics of one batch of embeddings; `twinset.metrics.health` has those of a whole set.

    Args:
        positive_distance: mean distance of pairs of one class.
        negative_distance: mean distance of pairs of different classes.
        alignment: as in `EmbeddingHealth`, like the next three.
        uniformity: over all pairs of the batch.
        effective_rank: from 1 to d; 0 if all embeddings are equal.
        zero_share: share of coordinates that are exactly 0.
        dead_share: share of the d coordinates that are constant over the batch.
        dimensions: d.
    """

    positive_distance: float = NAN
    negative_distance: float = NAN
    alignment: float = NAN
    uniformity: float = NAN
    effective_rank: float = NAN
    zero_share: float = NAN
    dead_share: float = NAN
    dimensions: float = NAN


UNKNOWN = BatchStatistics()


def batch_statistics(
    embeddings: NDArray[np.floating], labels: NDArray[np.integer]
) -> BatchStatistics:
    """Describe a batch of embeddings (b, d); NaN where it has no such pairs or no finite numbers.

    Example:
        >>> import numpy as np
        >>> found = batch_statistics(np.float32([[1, 0], [1, 0], [0, 2]]), np.array([0, 0, 1]))
        >>> found.positive_distance, round(found.negative_distance, 4), found.alignment
        (0.0, 2.2361, 0.0)
    """
    x = np.asarray(embeddings, np.float64)
    if len(x) < 2 or not np.isfinite(x).all():
        return UNKNOWN
    left, right = np.triu_indices(len(x), 1)
    same = labels[left] == labels[right]
    apart = np.sqrt(squared_distances(x)[left, right])
    directions = unit_norm(x)
    return BatchStatistics(
        positive_distance=_mean(apart[same]),
        negative_distance=_mean(apart[~same]),
        alignment=alignment(directions, np.unique(labels, return_inverse=True)[1]),
        uniformity=uniformity(directions, pairs=len(left)),
        effective_rank=effective_rank(x),
        zero_share=float((x == 0).mean()),
        dead_share=float((x == x[0]).all(axis=0).mean()),
        dimensions=float(x.shape[1]),
    )


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else NAN


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch did.

    Args:
        epoch: counted from 1.
        steps: batches trained; fewer than the epoch has if training was interrupted.
        loss: mean over the epoch's pairs or images, while the weights moved.
        seconds: wall-clock time of the epoch; the first holds the compilation.
        images_per_second: images through the encoder.
        gradient_norm: mean over the steps of the norm of the loss' gradient at the embeddings.
        active: mean share of the embeddings of a batch that the loss moves.
        statistics: of the epoch's last batch.
    """

    epoch: int
    steps: int
    loss: float
    seconds: float = NAN
    images_per_second: float = NAN
    gradient_norm: float = NAN
    active: float = NAN
    statistics: BatchStatistics = UNKNOWN

    def flat(self) -> dict[str, float]:
        """Return all numbers by name, those of the statistics among them."""
        values: dict[str, Any] = asdict(self)
        statistics: dict[str, float] = values.pop("statistics")
        return values | statistics

    @property
    def health(self) -> dict[str, float]:
        """What is known of its health, under the short names of a line of progress."""
        batch = self.statistics
        found = {
            "same": batch.positive_distance,
            "different": batch.negative_distance,
            "active": self.active,
            "alignment": batch.alignment,
            "uniformity": batch.uniformity,
            "rank": batch.effective_rank,
            "gradient": self.gradient_norm,
        }
        return {name: value for name, value in found.items() if math.isfinite(value)}

    @classmethod
    def from_flat(cls, values: Mapping[str, float | str]) -> EpochRecord:
        """Rebuild a record from what `flat` returned, or from its texts; what lacks is NaN."""
        own = {name: float(values[name]) for name in _NUMBERS if name in values}
        names = [each.name for each in fields(BatchStatistics)]
        batch = BatchStatistics(**{name: float(values[name]) for name in names if name in values})
        return cls(int(values["epoch"]), int(values["steps"]), **own, statistics=batch)


@dataclass(frozen=True)
class Guards:
    """States how near to their limits the guards are, between two steps.

    Args:
        flat: steps in a row with all embeddings in one point.
        idle: steps in a row with a gradient of 0.
        high: steps in a row with a loss far above the first ones.
        first: these.
    """

    flat: int = 0
    idle: int = 0
    high: int = 0
    first: tuple[float, ...] = ()


_NUMBERS = ("loss", "seconds", "images_per_second", "gradient_norm", "active")


@dataclass(frozen=True, eq=False)
class Steps:
    """What some steps in a row did, as an engine tells it.

    Args:
        loss: mean loss of each batch, of shape (steps,).
        spread: how far apart the batch's embeddings are on average, (steps,).
        gradient_norm: of the loss at the embeddings, (steps,).
        active: share of the embeddings with a gradient, (steps,).
    """

    loss: NDArray[np.floating]
    spread: NDArray[np.floating]
    gradient_norm: NDArray[np.floating]
    active: NDArray[np.floating]
