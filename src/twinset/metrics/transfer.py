"""Does a threshold that was chosen on some classes hold for classes that the model never saw?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset import distance as distances
from twinset.decision import Threshold
from twinset.errors import DataError
from twinset.metrics.all_pairs import TILE
from twinset.metrics.intervals import Estimate, Interval
from twinset.metrics.measure import OperatingPoint
from twinset.metrics.measured import Part


@dataclass(frozen=True)
class Transfer:
    """What a threshold promised on seen classes, and what it did with unseen ones."""

    threshold: Threshold  # chosen on images of seen classes
    fmr: Interval  # among images of unseen classes
    fnmr: Interval
    # of pairs of an image of an unseen and one of a seen class, which are all different
    cross_fmr: Interval

    def to_dict(self) -> dict[str, Any]:
        """Return plain values: the promises, the rates, and realised minus promised as gaps."""
        fmr, fnmr = self.threshold.fmr, self.threshold.fnmr
        return {
            "rule": self.threshold.rule,
            "threshold": self.threshold.value,
            "promised_fmr": fmr,
            "promised_fnmr": fnmr,
            "fmr": asdict(self.fmr),
            "fnmr": asdict(self.fnmr),
            "cross_fmr": asdict(self.cross_fmr),
            "gap_fmr": None if fmr is None else self.fmr.value - fmr,
            "gap_fnmr": None if fnmr is None else self.fnmr.value - fnmr,
            "gap_cross_fmr": None if fmr is None else self.cross_fmr.value - fmr,
        }


@dataclass(frozen=True)
class Rate:
    """A column of the tables that say whether a threshold carries over."""

    key: str  # in `Transfer.to_dict`
    label: str
    format: str = ".2%"
    promised: bool = False  # and not what came true
    gap: str = ""  # the key of realised minus promised
    seen: str = ""  # the metric that tells the same of seen classes


RATES = (
    Rate("promised_fmr", "FMR promised", promised=True),
    Rate("fmr", "FMR realised", gap="gap_fmr", seen="fmr"),
    Rate("cross_fmr", "FMR unseen with seen", gap="gap_cross_fmr"),
    Rate("promised_fnmr", "FNMR promised", promised=True),
    Rate("fnmr", "FNMR realised", gap="gap_fnmr", seen="fnmr"),
    Rate("cllr", "Cllr", ".4f", seen="cllr"),
    Rate("min_cllr", "Min Cllr", ".4f", seen="min_cllr"),
)


def transfer(point: OperatingPoint, unseen: Part, seen: Part) -> Transfer:
    """Compare an operating point's promise with its errors on unseen classes."""
    both = np.intersect1d(unseen.labels, seen.labels)
    if both.size:
        raise DataError(
            f"Expected parts without a common class. Received class {both[0]} in both: "
            "their pairs would not all be different."
        )
    cross = cross_match_estimate(unseen.embeddings, seen.embeddings, point.threshold.value)
    return Transfer(point.threshold, point.fmr, point.fnmr, cross.interval())


def cross_match_estimate(left: NDArray[Any], right: NDArray[Any], threshold: float) -> Estimate:
    """Estimate the share of all pairs of a left and a right image that match."""
    # With m · n pairs, image i of the left contributes (its share of matches − the rate) / m to the
    # deviation, and one of the right likewise with n: Hoeffding's projection for two samples.
    for name, vectors in (("left", left), ("right", right)):
        if not len(vectors) or not np.isfinite(vectors).all():
            raise DataError(
                f"Expected finite embeddings, at least one on each side. Received {len(vectors)} "
                f"on the {name}, {int((~np.isfinite(vectors)).sum())} numbers not finite."
            )
    m, n = len(left), len(right)
    # one centre for both, or distances would change
    rows, squares = distances.centred(np.concatenate([left, right]))
    of_left, of_right = np.zeros(m), np.zeros(n)
    room = np.empty(TILE * TILE, np.float32)
    for top in range(0, m, TILE):
        height = slice(top, min(top + TILE, m))
        for start in range(0, n, TILE):
            width = slice(start, min(start + TILE, n))
            size = (height.stop - top, width.stop - start)
            there = slice(m + start, m + width.stop)
            values = distances.cross(
                rows[height],
                rows[there],
                squares[height],
                squares[there],
                room[: size[0] * size[1]].reshape(size),
            )
            match = values <= np.float32(threshold)
            of_left[height] += match.sum(axis=1)
            of_right[width] += match.sum(axis=0)
    rate = float(of_left.sum() / (m * n))
    pulls = np.concatenate([(of_left / n - rate) / m, (of_right / m - rate) / n])
    return Estimate(rate, pulls, rate * (1 - rate) / (m * n))
