"""Vital signs of a training, from the embeddings of one batch: is it alive, or collapsing?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

NAN = float("nan")


@dataclass(frozen=True)
class Vitals:
    """Describes one batch of embeddings; `evaluate.health` describes a whole set.

    Args:
        positive_distance: mean distance of pairs of one class.
        negative_distance: mean distance of pairs of different classes.
        alignment: mean ‖u − v‖² over pairs of one class, u and v scaled to length 1.
        uniformity: log of the mean exp(−2 ‖u − v‖²) over all pairs, likewise scaled.
        effective_rank: exp of the entropy of the covariance's spectrum, from 1 to d; 0 if all
            embeddings are equal.
        zero_share: share of coordinates that are exactly 0.
        dead_share: share of the d coordinates that are constant over the batch.
    """

    positive_distance: float = NAN
    negative_distance: float = NAN
    alignment: float = NAN
    uniformity: float = NAN
    effective_rank: float = NAN
    zero_share: float = NAN
    dead_share: float = NAN


UNKNOWN = Vitals()


def vitals(embeddings: NDArray[np.floating], labels: NDArray[np.integer]) -> Vitals:
    """Take the vital signs of one batch.

    Args:
        embeddings: of shape (b, d).
        labels: of shape (b,).

    Returns:
        The signs; NaN where the batch has no such pairs, or embeddings that are not finite.

    Reference:
        Wang, Isola (2020), Understanding Contrastive Representation Learning through Alignment
        and Uniformity on the Hypersphere; Roy, Vetterli (2007), The Effective Rank.

    Example:
        >>> import numpy as np
        >>> signs = vitals(np.float32([[1, 0], [1, 0], [0, 2]]), np.array([0, 0, 1]))
        >>> signs.positive_distance, round(signs.negative_distance, 4), signs.alignment
        (0.0, 2.2361, 0.0)
    """
    x = np.asarray(embeddings, np.float64)
    if len(x) < 2 or not np.isfinite(x).all():
        return UNKNOWN
    left, right = np.triu_indices(len(x), 1)
    same = labels[left] == labels[right]
    apart = np.sqrt(_squared(x)[left, right])
    lengths = np.sqrt(np.square(x).sum(axis=1, keepdims=True))
    directions = _squared(x / np.where(lengths > 0, lengths, 1))[left, right]
    offsets = x - x.mean(axis=0)
    return Vitals(
        positive_distance=_mean(apart[same]),
        negative_distance=_mean(apart[~same]),
        alignment=_mean(directions[same]),
        uniformity=float(np.log(np.exp(-2 * directions).mean())),
        effective_rank=_effective_rank(offsets),
        zero_share=float((x == 0).mean()),
        dead_share=float((x == x[0]).all(axis=0).mean()),
    )


def _squared(x: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.square(x).sum(axis=1)
    squared: NDArray[np.float64] = lengths[:, None] + lengths - 2 * (x @ x.T)
    return np.maximum(squared, 0)


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else NAN


def _effective_rank(offsets: NDArray[np.float64]) -> float:
    # the spectrum of the smaller of the two Gram matrices is that of the covariance
    wide = offsets.shape[1] > len(offsets)
    gram = offsets @ offsets.T if wide else offsets.T @ offsets
    variances = np.maximum(np.linalg.eigvalsh(gram), 0)
    if not variances.any():
        return 0.0
    shares = variances[variances > 0] / variances.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


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
        signs: of the epoch's last batch.
    """

    epoch: int
    steps: int
    loss: float
    seconds: float = NAN
    images_per_second: float = NAN
    gradient_norm: float = NAN
    active: float = NAN
    signs: Vitals = UNKNOWN

    def flat(self) -> dict[str, float]:
        """Return all numbers by name, those of the signs among them."""
        values: dict[str, Any] = asdict(self)
        signs: dict[str, float] = values.pop("signs")
        return values | signs

    @classmethod
    def from_flat(cls, values: Mapping[str, float | str]) -> EpochRecord:
        """Rebuild a record from what `flat` returned, or from its texts; what lacks is NaN."""
        own = {name: float(values[name]) for name in _NUMBERS if name in values}
        signs = {f.name: float(values[f.name]) for f in fields(Vitals) if f.name in values}
        return cls(int(values["epoch"]), int(values["steps"]), **own, signs=Vitals(**signs))


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
