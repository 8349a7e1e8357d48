"""What turns a distance into an answer: a threshold, a probability, and the verdict they give."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinset.errors import DataError

Floats = NDArray[np.float64]


def check_prior(prior: float) -> None:
    """Refuse what cannot be the share of same pairs, such as 0.1 of ten balanced classes."""
    if not 0 < prior < 1:
        raise DataError(f"Expected a prior between 0 and 1. Received {prior}.")


def truth(same: ArrayLike) -> NDArray[np.bool_]:
    """Check what pairs truly are, 1 or True for same and 0 or False for different, as booleans."""
    # never by astype(bool), to which NaN, −1 and "0" are all the same
    found = np.asarray(same)
    if found.dtype == bool:
        return found
    if found.dtype.kind in "iuf":
        good = (found == 0) | (found == 1)
    else:  # objects may hold booleans; texts never do
        flat = [isinstance(v, bool | int | float) and v in (0, 1) for v in found.ravel().tolist()]
        good = np.array(flat, bool).reshape(found.shape)
    if not good.all():
        at = np.unravel_index(int(np.argmin(good)), found.shape)
        place = f" at position {', '.join(map(str, at))}" if at else ""
        raise DataError(
            "Expected 1 or True for each pair that is the same, 0 or False for one that is not. "
            f"Received {found[at]!r}{place}: make booleans of other labels, such as "
            "`same = labels == 1`, and leave out pairs that nobody has judged."
        )
    return found.astype(bool)


@dataclass(frozen=True)
class Threshold:
    """The largest distance that counts as a match, and where it comes from.

    Args:
        value: a match is `distance <= value`.
        rule: how it was chosen: "balanced accuracy", "FPR <= 0.01", or a sentence of its own.
        data: digest of the data it was chosen on. Defaults to None: it was not chosen on data.
        fmr: false match rate promised, as `metrics.promised` counts it. Defaults to None.
        fnmr: likewise the false non-match rate. Defaults to None.
        images: number of images it was chosen on. Defaults to None.
        across: what was left out in turn, such as "12 classes (48 images)", where the threshold
            was chosen on distances under models fitted without it. Defaults to "": on images kept
            out for that.
        fmr_range: 95% interval of the promised false match rate, low and high. Defaults to None.
        fnmr_range: likewise of the false non-match rate. Defaults to None.

    Example:
        >>> print(Threshold(0.5, "EER", images=1200).origin)
        EER on 1,200 images kept out
        >>> print(Threshold(0.5, "EER", images=48, across="12 classes (48 images)").origin)
        EER, cross-fitted over 12 classes (48 images)
        >>> Threshold(0.5, "EER", fmr=0.0, fnmr=0.1, fmr_range=(0.0, 0.03)).promise
        'promised 0.00% [0.00%, 3.00%] / 10.00%'
    """

    value: float
    rule: str
    data: str | None = None
    fmr: float | None = None
    fnmr: float | None = None
    images: int | None = None
    across: str = ""
    fmr_range: tuple[float, ...] | None = None
    fnmr_range: tuple[float, ...] | None = None

    @property
    def origin(self) -> str:
        """Where it comes from, for people: the rule, and the images it was chosen on."""
        if self.across:
            return f"{self.rule}, cross-fitted over {self.across}"
        kept = "" if self.images is None else f" on {self.images:,} images kept out"
        return f"{self.rule}{kept}"

    @property
    def promise(self) -> str:
        """Both promised rates with their intervals, for people; "" without such."""
        if self.fmr is None or self.fnmr is None:
            return ""
        told = [f"{rate:.2%}" for rate in (self.fmr, self.fnmr)]
        for k, ends in enumerate((self.fmr_range, self.fnmr_range)):
            told[k] += f" [{ends[0]:.2%}, {ends[1]:.2%}]" if ends else ""
        return f"promised {' / '.join(told)}"

    @property
    def calibrated(self) -> bool:
        """Whether the threshold was chosen on data."""
        return self.data is not None


@dataclass(frozen=True)
class Calibrator:
    """A map from distance to evidence: log P(distance | same) / P(distance | different).

    llr(d) = slope · d + intercept, in natural logarithms; at a prior π,
    P(same | d) = 1 / (1 + exp(−llr(d) − log(π / (1 − π)))).
    """

    slope: float  # at most 0, since smaller is closer; 0 if the distance says nothing
    intercept: float  # the evidence at distance 0
    note: str = ""  # what a reader must know of the fit

    def __post_init__(self) -> None:
        if not (np.isfinite([self.slope, self.intercept]).all() and self.slope <= 0):
            raise DataError(
                "Expected a finite slope of at most 0 and a finite intercept. "
                f"Received {self.slope} and {self.intercept}: smaller distances are closer."
            )

    @property
    def even_odds(self) -> float | None:
        """The distance that speaks for neither; None where there is none."""
        even = -self.intercept / self.slope if self.slope else -1.0
        return even if even >= 0 else None

    def llr(self, distance: ArrayLike) -> Floats:
        """Weigh the evidence: above 0 it speaks for "same", below 0 for "different"."""
        d = np.asarray(distance, dtype=np.float64)
        if not np.isfinite(d).all():
            raise DataError(f"Expected finite distances. Received {d[~np.isfinite(d)][0]}.")
        return np.asarray(self.slope * d + self.intercept)

    def probability(self, distance: ArrayLike, prior: float = 0.5) -> Floats:
        """Compute the probability that a pair is same, at a prior share of same pairs."""
        check_prior(prior)
        odds = self.llr(distance) + np.log(prior) - np.log1p(-prior)
        return np.asarray(np.exp(-np.logaddexp(0, -odds)))


@dataclass(frozen=True)
class ErrorCurve:
    """The error rates to expect of each threshold on what is new, with their 95% intervals.

    Args:
        distance: thresholds, ascending, b of them.
        fmr: false match rate at each: share of different pairs within it; b numbers in [0, 1].
        fmr_low: lower end of its interval.
        fmr_high: upper end of its interval.
        fnmr: false non-match rate at each: share of same pairs beyond it.
        fnmr_low: lower end of its interval.
        fnmr_high: upper end of its interval.
        over: what is new where the rates are to hold: "image", of known classes, or "class".

    Example:
        >>> ends = (0.0, 0.0), (1.0, 1.0)
        >>> line = ErrorCurve((0.0, 2.0), (0.0, 1.0), *ends, (1.0, 0.0), *ends)
        >>> line.at(0.5)["fmr"], line.at(0.5)["fnmr"]
        (0.25, 0.75)
        >>> line.densities(2)["different"]
        [0.5, 0.5]
    """

    distance: tuple[float, ...]
    fmr: tuple[float, ...]
    fmr_low: tuple[float, ...]
    fmr_high: tuple[float, ...]
    fnmr: tuple[float, ...]
    fnmr_low: tuple[float, ...]
    fnmr_high: tuple[float, ...]
    over: str = "image"

    def at(self, threshold: float) -> dict[str, float]:
        """Read all six rates at a threshold, by name; between two by a straight line."""
        rates = [each.name for each in fields(self) if each.name not in ("distance", "over")]
        return {
            name: float(np.interp(threshold, self.distance, getattr(self, name))) for name in rates
        }

    def densities(self, bars: int = 60) -> dict[str, list[float]]:
        """Share of pairs by unit of distance: "edges", bars + 1; "same" and "different", bars."""
        edges = np.linspace(0, self.distance[-1], bars + 1)
        found = {}
        for name, within in (("same", 1 - np.asarray(self.fnmr)), ("different", self.fmr)):
            share = np.interp(edges, self.distance, within)
            share[0] = 0.0  # what is at 0 belongs to the first bar
            found[name] = np.diff(share) / np.diff(edges)
        return {"edges": edges.tolist()} | {name: each.tolist() for name, each in found.items()}


@dataclass(frozen=True)
class Verdict:
    """The answer to the question whether two images show the same.

    Args:
        same: whether `distance <= threshold.value`.
        distance: of the two embeddings.
        threshold: that was applied, with its rule.
        probability: that the images are of one class, at the prior; None without a calibration.
        prior: share of same pairs that the probability assumes.
        measure: what `distance` is, where it is not that of two embeddings. Defaults to "distance".

    Example:
        >>> verdict = Verdict(True, 0.25, Threshold(0.5, "EER"), probability=0.9)
        >>> verdict.same, verdict.to_dict()["probability"]
        (True, 0.9)
    """

    same: bool
    distance: float
    threshold: Threshold
    probability: float | None = None
    prior: float = 0.5
    measure: str = "distance"

    def sentence(self) -> str:
        """Say it for people: the verdict first, then why.

        Example:
            >>> print(Verdict(True, 0.25, Threshold(0.5, "fixed by hand")).sentence())
            same: distance 0.2500 <= threshold 0.5000 (fixed by hand)
        """
        word, relation = ("same", "<=") if self.same else ("different", ">")
        limit = f"threshold {self.threshold.value:.4f} ({self.threshold.origin})"
        found = f"{word}: {self.measure} {self.distance:.4f} {relation} {limit}"
        if self.probability is None:
            return found
        found += f"; probability of same {self.probability:.3f} at a prior of {self.prior:g}"
        return f"{found} ({self.note})" if self.note else found

    @property
    def note(self) -> str:
        """Why threshold and probability disagree; "" where they do not.

        Example:
            >>> strict = Threshold(0.25, "FPR <= 0.01")
            >>> Verdict(False, 0.3, strict, probability=0.555).note.split(", but ")
            ['more likely the same than not', 'the threshold follows its rule: FPR <= 0.01']
        """
        likely = self.probability is not None and self.probability > 0.5
        unlikely = self.probability is not None and self.probability < 0.5
        if not (unlikely if self.same else likely):
            return ""
        word = "different" if self.same else "the same"
        says = f"more likely {word} than not"
        return f"{says}, but the threshold follows its rule: {self.threshold.rule}"

    def to_dict(self) -> dict[str, Any]:
        """Say it for programs."""
        # not by `asdict`, which copies every value: a twentieth of what a server does for a verdict
        own = vars(self) | {"threshold": dict(vars(self.threshold))}
        return own | {"calibrated": self.threshold.calibrated, "note": self.note}


def judge(
    distance: float, threshold: Threshold, calibrator: Calibrator | None, prior: float = 0.5
) -> Verdict:
    """Turn a distance into a verdict; the probability is None without a calibrator."""
    check_prior(prior)
    probability = None if calibrator is None else float(calibrator.probability(distance, prior))
    return Verdict(bool(distance <= threshold.value), distance, threshold, probability, prior)
