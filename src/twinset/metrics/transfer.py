"""Does a threshold that was chosen on some classes hold for classes that the model never saw?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset import distance as distances
from twinset.errors import DataError
from twinset.metrics import intervals
from twinset.metrics.all_pairs import TILE, AllPairs
from twinset.metrics.intervals import Estimate, Interval
from twinset.metrics.judge import OperatingPoint, Part
from twinset.metrics.retrieval import retrieval_estimates


@dataclass(frozen=True)
class Transfer:
    """What a threshold promised on seen classes, and what it did with unseen ones."""

    # how the threshold was chosen, on images of seen classes
    rule: str
    threshold: float
    # false match rate where it was chosen; None for a fixed threshold
    promised_fmr: float | None
    promised_fnmr: float | None
    # false match rate among images of unseen classes
    fmr: Interval
    fnmr: Interval
    # false match rate of pairs of an image of an unseen and one of a seen class; all of them are
    # different
    cross_fmr: Interval

    @property
    def gaps(self) -> dict[str, float | None]:
        """Realised minus promised, by the names of `to_dict`; above 0 is worse than promised."""
        a, b = self.promised_fmr, self.promised_fnmr
        return {
            "gap fmr": None if a is None else self.fmr.value - a,
            "gap fnmr": None if b is None else self.fnmr.value - b,
            "gap unseen x seen fmr": None if a is None else self.cross_fmr.value - a,
        }

    def values(self) -> dict[str, float | None]:
        """Return the rates and gaps alone, by name."""
        return {
            "promised fmr": self.promised_fmr,
            "promised fnmr": self.promised_fnmr,
            "fmr": self.fmr.value,
            "fnmr": self.fnmr.value,
            "unseen x seen fmr": self.cross_fmr.value,
            **self.gaps,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return plain values: rule, threshold, promises, gaps, and rates with their intervals."""
        return {
            "rule": self.rule,
            "threshold": self.threshold,
            **self.values(),
            "fmr": asdict(self.fmr),
            "fnmr": asdict(self.fnmr),
            "unseen x seen fmr": asdict(self.cross_fmr),
        }


def transfer(point: OperatingPoint, unseen: Part, seen: Part) -> Transfer:
    """Compare an operating point's promise with its errors on unseen classes."""
    both = np.intersect1d(unseen.labels, seen.labels)
    if both.size:
        raise DataError(
            f"Expected parts without a common class. Received class {both[0]} in both: "
            "their pairs would not all be different."
        )
    threshold = point.rates.threshold
    cross = cross_match_estimate(unseen.embeddings, seen.embeddings, threshold)
    return Transfer(
        rule=point.rule,
        threshold=threshold,
        promised_fmr=point.promised_fmr,
        promised_fnmr=point.promised_fnmr,
        fmr=point.fmr,
        fnmr=point.fnmr,
        cross_fmr=cross.interval(),
    )


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


def headline(part: Part) -> dict[str, Interval]:
    """Measure AUC, EER, recall@1 and MAP@R of a part, with intervals; a short `judge`."""
    # Returns "auc", "eer", "recall_at_1" and "map_at_r".
    walk = AllPairs(part.embeddings, part.labels)
    found = {
        "auc": intervals.auc_estimate(walk).interval(),
        "eer": intervals.eer_estimate(walk, walk.curve())[0].interval(),
    }
    each = retrieval_estimates(part.embeddings.reshape(len(part.labels), -1), part.labels)
    return found | {name: estimate.interval() for name, estimate in each.items()}
