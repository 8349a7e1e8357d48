"""What a training did, epoch by epoch, in memory and as history.csv."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset import tables
from twinset.errors import ModelError, reason
from twinset.metrics.baselines import (
    alignment,
    effective_rank,
    squared_distances,
    uniformity,
    unit_norm,
)
from twinset.models.card import HISTORY

NAN = float("nan")
_VALIDATION = "validation_"  # before the names of its scores in that file


@dataclass(frozen=True)
class BatchStatistics:
    """Statistics of one batch of embeddings (b, d); `metrics.health` has those of a whole set."""

    positive_distance: float = NAN  # mean, of pairs of one class
    negative_distance: float = NAN
    alignment: float = NAN
    uniformity: float = NAN  # over all pairs of the batch
    effective_rank: float = NAN  # from 1 to d; 0 if all embeddings are equal
    zero_share: float = NAN  # of coordinates that are exactly 0
    dead_share: float = NAN  # of the d coordinates, those that are constant over the batch
    dimensions: float = NAN  # d


UNKNOWN = BatchStatistics()


def batch_statistics(
    embeddings: NDArray[np.floating], labels: NDArray[np.integer]
) -> BatchStatistics:
    """Describe a batch (b, d); NaN where it has no such pairs or no finite numbers."""
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
class ValidationScores:
    """How well a network tells validation images apart, which it does not learn from."""

    recall_at_1: float = NAN  # share of images whose nearest other one is of their class
    auc: float = NAN  # over all pairs
    images: float = NAN  # so many were looked at, of those with another of their class or without


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch did."""

    epoch: int  # counted from 1
    steps: int  # batches trained; fewer than the epoch has if training was interrupted
    loss: float  # mean over the epoch's pairs or images, while the weights moved
    seconds: float = NAN  # of the first epoch with the compilation
    images_per_second: float = NAN  # through the encoder
    gradient_norm: float = NAN  # of the loss at the embeddings, mean over the steps
    active: float = NAN  # mean share of the embeddings of a batch that the loss moves
    statistics: BatchStatistics = UNKNOWN  # of the epoch's last batch
    validation: ValidationScores | None = None  # at its end, where it was asked for

    def flat(self) -> dict[str, float]:
        """Return all numbers by name, those of the statistics and of the validation among them."""
        values: dict[str, Any] = asdict(self)
        statistics: dict[str, float] = values.pop("statistics")
        scores: dict[str, float] = values.pop("validation") or {}
        return values | statistics | {f"{_VALIDATION}{name}": x for name, x in scores.items()}

    @property
    def health(self) -> dict[str, float]:
        """What is known of its health and validation, as a line of progress calls it."""
        batch, scores = self.statistics, self.validation or ValidationScores()
        found = {
            "recall@1": scores.recall_at_1,
            "AUC": scores.auc,
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

        def known(kind: type[Any], before: str = "") -> dict[str, Any]:
            names = [each.name for each in fields(kind) if before + each.name in values]
            return {name: float(values[before + name]) for name in names}

        counts = {name: int(values[name]) for name in ("epoch", "steps")}
        batch = BatchStatistics(**known(BatchStatistics))
        scores = known(ValidationScores, _VALIDATION)
        validation = ValidationScores(**scores) if scores else None
        return cls(**known(cls) | counts, statistics=batch, validation=validation)


def best_epoch(history: Sequence[EpochRecord], by: str = "AUC") -> EpochRecord | None:
    """Find the first epoch that was best by "AUC" or "recall@1"; None without a validation."""
    best = None
    for record in history:
        if by in record.health and (best is None or record.health[by] > best.health[by]):
            best = record
    return best


def to_csv(history: Sequence[EpochRecord]) -> str:
    """Write a row for each epoch, and a column for each number that it has."""
    rows = [record.flat() for record in history]
    names = list(rows[0] if rows else ("epoch", "steps"))
    return tables.csv(names, [[row.get(name) for name in names] for row in rows])


def read_history(folder: Path) -> tuple[EpochRecord, ...]:
    """Read what the epochs of the model in a folder did; a ModelError tells what is wrong."""
    path = folder / HISTORY
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return tuple(map(EpochRecord.from_flat, csv.DictReader(file)))
    except OSError as error:
        raise ModelError(f"{path}: expected the history of a training. {reason(error)}.") from None
    except (ValueError, TypeError, KeyError):
        raise ModelError(
            f"{path}: expected the history of a training, a row of numbers for each epoch. A save "
            "was cut short or the file was changed: restore it."
        ) from None
