"""Whether a threshold carries over from seen to unseen classes: promised beside realised rates."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from twinset.errors import DataError
from twinset.metrics.intervals import cross_match_estimate
from twinset.metrics.measured import Part
from twinset.metrics.measurements import OperatingPoint


@dataclass(frozen=True)
class Rate:
    """A column of the tables that say whether a threshold carries over."""

    key: str  # in what `transfer` returns
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


def transfer(point: OperatingPoint, unseen: Part, seen: Part) -> dict[str, Any]:
    """Compare what a threshold promised on seen classes with what it does on unseen ones."""
    # The rates are those among images of unseen classes, and, across, of pairs of an image of an
    # unseen and one of a seen class, which are all different. Gaps are realised minus promised.
    both = np.intersect1d(unseen.labels, seen.labels)
    if both.size:
        raise DataError(
            f"Expected parts without a common class. Received class {both[0]} in both: "
            "their pairs would not all be different."
        )
    threshold = point.threshold
    cross = cross_match_estimate(unseen.embeddings, seen.embeddings, threshold.value).interval()
    fmr, fnmr = threshold.fmr, threshold.fnmr
    return {
        "rule": threshold.rule,
        "threshold": threshold.value,
        "promised_fmr": _promised(fmr, threshold.fmr_range),
        "promised_fnmr": _promised(fnmr, threshold.fnmr_range),
        "fmr": asdict(point.fmr),
        "fnmr": asdict(point.fnmr),
        "cross_fmr": asdict(cross),
        "gap_fmr": None if fmr is None else point.fmr.value - fmr,
        "gap_fnmr": None if fnmr is None else point.fnmr.value - fnmr,
        "gap_cross_fmr": None if fmr is None else cross.value - fmr,
    }


def _promised(rate: float | None, ends: tuple[float, ...] | None) -> Any:
    return {"value": rate, "low": ends[0], "high": ends[1]} if rate is not None and ends else rate
