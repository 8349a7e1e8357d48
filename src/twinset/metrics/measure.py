"""One model on one test part: measured, calibrated on another part, and as its JSON says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.decision import Calibrator, ErrorCurve, Threshold
from twinset.errors import DataError
from twinset.files import plain
from twinset.metrics import intervals
from twinset.metrics.all_pairs import AllPairs, PerClass
from twinset.metrics.calibration import Reliability, fit_calibrator, reliability
from twinset.metrics.intervals import SHARE, Bands, Ends, Interval, cross_match_estimate
from twinset.metrics.listed_pairs import HardestPairs, hardest_pairs
from twinset.metrics.measured import Measured, Part
from twinset.metrics.open_set import OpenSet, identify_all
from twinset.metrics.pairs import ENOUGH_ERRORS, Curve, Rates, precision_at_prior
from twinset.metrics.promised import Over, error_curve, promise
from twinset.metrics.table import METRICS, Kind, measured_by, of_kind


@dataclass(frozen=True)
class OperatingPoint:
    """The errors at one threshold: what was promised, and what came true on the test part."""

    threshold: Threshold
    rates: Rates
    fmr: Interval
    fnmr: Interval
    precision: Mapping[float, float]  # prior → share of matches that are right
    # standard deviation over the classes of a class' own rate
    fmr_spread: float
    fnmr_spread: float
    even_odds: float | None = None  # the distance at which the probability passes one half

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values for JSON."""
        chosen, told = self.threshold, asdict(self)
        del told["threshold"]
        return told | {
            "rule": chosen.rule,
            "origin": chosen.origin,
            "promised_fmr": chosen.fmr,
            "promised_fnmr": chosen.fnmr,
            "promised_fmr_range": chosen.fmr_range,
            "promised_fnmr_range": chosen.fnmr_range,
            "precision": [{"prior": p, "precision": share} for p, share in self.precision.items()],
            "accuracy": self.rates.accuracy,
            "balanced_accuracy": self.rates.balanced_accuracy,
            "enough_errors": self.rates.enough_errors,
        }


@dataclass(frozen=True)
class NearClasses:
    """A number among the images of classes that are alike: the hard case."""

    key: str
    classes: tuple[int, ...]  # their labels
    interval: Interval


@dataclass(frozen=True, eq=False)
class ClassErrors:
    """Who is taken for whom, at one threshold."""

    classes: NDArray[Any]  # the labels, (c,)
    fnmr: NDArray[np.float64]  # share of each class' own pairs that do not match, (c,)
    # share of the pairs between two classes that match, (c, c); NaN on the diagonal
    fmr: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Histogram:
    """Pairs by their distance; no bar reaches from one side of the threshold to the other."""

    upper: NDArray[np.float64]  # the largest distance of each bar, ascending, (b,)
    same: NDArray[np.int64]
    different: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Measurements:
    """All that is said of one model on one test part; None is what it cannot be asked for."""

    images: int
    numbers: Mapping[str, Interval]  # key of a metric → number, in the order of the table
    few: frozenset[str]  # keys of the numbers that rest on fewer than 30 errors
    near: tuple[NearClasses, ...]
    points: tuple[OperatingPoint, ...]  # the model's own threshold first
    class_errors: ClassErrors | None  # at the first of `points`
    scores: Mapping[str, float]  # key → value, of the calibrated probability
    reliability: Reliability | None
    health: Mapping[str, float]  # key → value, of the embedding
    curve: Curve
    distances: Histogram | None = None  # cut at the first of `points`
    bands: Bands | None = None
    hardest: HardestPairs | None = None
    open_set: OpenSet | None = None  # where there are identities enough

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values for JSON, as `Evaluation.to_dict` tells of them."""
        thin = _thinned(self.curve)
        told = asdict(self)
        told.pop("few")
        content: dict[str, Any] = plain(
            told
            | {
                "pairs": self.curve.positives + self.curve.negatives,
                "positives": self.curve.positives,
                "numbers": {
                    key: {
                        **METRICS[key].fields,
                        **asdict(number),
                        "enough_errors": key not in self.few,
                    }
                    for key, number in self.numbers.items()
                },
                "near": [
                    {"key": each.key, "classes": each.classes, **asdict(each.interval)}
                    for each in self.near
                ],
                "points": [point.to_dict() for point in self.points],
                "curve": {
                    "threshold": self.curve.thresholds[thin],
                    "fmr": self.curve.fmr[thin],
                    "fnmr": self.curve.fnmr[thin],
                },
                "hardest": None if self.hardest is None else self.hardest.to_dict(),
            }
        )
        return content


def _thinned(curve: Curve, steps: int = 200) -> NDArray[np.intp]:
    # candidates at which one of the rates is next to a step of a logarithmic grid
    grid = np.concatenate([np.geomspace(1e-5, 0.1, steps), np.linspace(0.1, 1, steps)])
    by_fmr = np.searchsorted(curve.fmr, grid)
    by_fnmr = len(curve.fnmr) - 1 - np.searchsorted(curve.fnmr[::-1], grid)
    ends = [0, len(curve.thresholds) - 1]
    return np.unique(np.clip(np.concatenate([by_fmr, by_fnmr, ends]), 0, ends[1]))


@dataclass(frozen=True)
class Rate:
    """A column of the tables that say whether a threshold carries over."""

    key: str  # in what `transfer` returns
    label: str
    format: str = ".2%"
    promised: bool = False  # and not what came true
    gap: str = ""  # the key of realised minus promised
    seen: str = ""  # the metric that tells the same of seen classes

    @property
    def ends(self) -> Ends:
        """The least and the largest that it can be."""
        return METRICS[self.seen].ends if self.seen else SHARE


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
    # unseen and one of a seen class, which are all different: None where there are none of these.
    # Gaps are realised minus promised.
    both = np.intersect1d(unseen.labels, seen.labels)
    if both.size:
        raise DataError(
            f"Expected parts without a common class. Received class {both[0]} in both: "
            "their pairs would not all be different."
        )
    threshold = point.threshold
    cross = None
    if len(seen):
        both_sides = unseen.embeddings, seen.embeddings
        cross = cross_match_estimate(*both_sides, threshold.value).interval()
    fmr, fnmr = threshold.fmr, threshold.fnmr
    return {
        "rule": threshold.rule,
        "threshold": threshold.value,
        "promised_fmr": _promised(fmr, threshold.fmr_range),
        "promised_fnmr": _promised(fnmr, threshold.fnmr_range),
        "fmr": asdict(point.fmr),
        "fnmr": asdict(point.fnmr),
        "cross_fmr": None if cross is None else asdict(cross),
        "gap_fmr": None if fmr is None else point.fmr.value - fmr,
        "gap_fnmr": None if fnmr is None else point.fnmr.value - fnmr,
        "gap_cross_fmr": None if fmr is None or cross is None else cross.value - fmr,
    }


def _promised(rate: float | None, ends: tuple[float, ...] | None) -> Any:
    return {"value": rate, "low": ends[0], "high": ends[1]} if rate is not None and ends else rate


RULES = ("balanced accuracy", "EER", "FPR <= 0.01")
PRIORS = (0.1, 0.01)


@dataclass(frozen=True, eq=False)
class Calibration:
    """What decides for a model: thresholds with their promised rates, and a probability."""

    thresholds: tuple[Threshold, ...]
    calibrator: Calibrator | None = None
    error_curve: ErrorCurve | None = None


def calibrate(part: Part, *, rules: Sequence[str] = RULES, over: Over = "image") -> Calibration:
    """Choose thresholds on all pairs of a calibration part, and fit a probability."""
    curve = part.pairs.curve()
    # of n images at most n / 4 pairs of each kind can be drawn that share none
    probability = fit_calibrator(curve, evidence=max(len(part) // 4, 1))
    chosen = promise(part, rules, over=over)
    return Calibration(chosen, probability, error_curve(part, chosen, over=over))


def measure(
    test: Part,
    *,
    calibration: Calibration | None = None,
    near: Sequence[Sequence[int]] = (),
    seed: int = 0,
    gallery: Part | None = None,
    tune: Part | None = None,
    with_bands: bool = True,
    hardest: int = 10,
) -> Measurements:
    """Measure a model by its embeddings of a test part, over all pairs and all queries."""
    # Votes and probe ask what a classifier reads from the embedding; they are left out where the
    # test part has a class that the gallery lacks: no answer could be right. Near classes without
    # two classes in the test part are left out: there is no different pair.
    calibration = calibration or Calibration(())
    m = Measured(
        test,
        thresholds=calibration.thresholds,
        calibrator=calibration.calibrator,
        gallery=gallery,
        tune=tune,
        seed=seed,
        bands=with_bands,
    )
    numbers = measured_by(of_kind("test"), m)
    few = {k for k, n in numbers.items() if METRICS[k].rests_on(m, n.value) < ENOUGH_ERRORS}
    by_class, class_errors = None, None
    if isinstance(m.walk, AllPairs):  # else pairs were judged, and classes are not known
        by_class = m.walk.per_class([each.value for each in m.thresholds])
        class_errors = _class_errors(m.walk.classes, by_class, 0) if m.thresholds else None
    points = tuple(_point(each, m, by_class, k) for k, each in enumerate(m.thresholds))
    known = m.calibrator
    return Measurements(
        images=len(test),
        numbers=numbers,
        few=frozenset(few),
        near=tuple(_near(test, near)),
        points=points,
        class_errors=class_errors,
        scores=_values(m, "probability") if known else {},
        reliability=reliability(m.curve, known) if known else None,
        health=_values(m, "health"),
        curve=m.curve,
        distances=_histogram(m.curve, points[0].rates) if points else None,
        bands=intervals.bands(m.curve, m.counts, m.first_of_bands) if with_bands else None,
        hardest=hardest_pairs(m.walk, hardest) if hardest else None,
        open_set=_open_set(test, seed) if with_bands else None,
    )


def _open_set(test: Part, seed: int) -> OpenSet | None:
    # one gallery needs one space, and classes that are known
    if test.blocks is not None or test.judged is not None:
        return None
    return identify_all(test.embeddings, test.labels, seed=seed)


def _values(m: Measured, kind: Kind) -> dict[str, float]:
    return {key: each.value for key, each in measured_by(of_kind(kind), m).items()}


def _point(threshold: Threshold, m: Measured, by_class: PerClass | None, k: int) -> OperatingPoint:
    counts = m.counts
    rates = counts.rates(k)
    spreads = {"fmr_spread": np.nan, "fnmr_spread": np.nan}
    if by_class is not None:
        errors = _class_errors(np.arange(len(by_class.pairs)), by_class, k)
        # of classes that met another: folds hold some apart
        met = errors.fmr[~np.isnan(errors.fmr).all(axis=1)]
        spreads["fmr_spread"] = float(np.std(np.nanmean(met, axis=1)))
        spreads["fnmr_spread"] = float(np.nanstd(errors.fnmr))
    return OperatingPoint(
        threshold=threshold,
        rates=rates,
        fmr=intervals.fmr_estimate(counts, k).interval(),
        fnmr=intervals.fnmr_estimate(counts, k).interval(),
        precision={prior: precision_at_prior(rates, prior) for prior in PRIORS},
        **spreads,
        even_odds=None if m.calibrator is None else m.calibrator.even_odds,
    )


def _class_errors(classes: NDArray[Any], by_class: PerClass, k: int) -> ClassErrors:
    with np.errstate(invalid="ignore", divide="ignore"):  # a class of one image has no own pair
        share = by_class.matches[k] / by_class.pairs
    fmr = share.copy()
    np.fill_diagonal(fmr, np.nan)
    return ClassErrors(classes, 1 - np.diag(share), fmr)


def _near(test: Part, groups: Sequence[Sequence[int]]) -> list[NearClasses]:
    found = list[NearClasses]()
    for group in groups:
        part = test.only(group)
        if len(np.unique(part.labels)) < 2:
            continue
        labels = tuple(int(label) for label in group)
        numbers = measured_by(of_kind("near"), Measured(part))
        found += [NearClasses(key, labels, number) for key, number in numbers.items()]
    return found


def _histogram(curve: Curve, rates: Rates, bars: int = 1024) -> Histogram:
    # The curve's bins are finer than any picture, but one of them may hold the threshold: it is cut
    # there, at the exact counts.
    cut = int(np.searchsorted(curve.thresholds, rates.threshold, side="right"))
    upper = np.insert(curve.thresholds, cut, rates.threshold)
    same = np.insert(curve.true_matches, cut, rates.positives - rates.false_non_matches)
    different = np.insert(curve.false_matches, cut, rates.false_matches)
    side = upper > rates.threshold
    bar = 2 * np.floor(upper * (bars / upper[-1])).astype(np.int64) + side
    last = np.flatnonzero(np.diff(bar, append=bar[-1] + 1))
    of_same, of_different = (np.diff(matches[last], prepend=0) for matches in (same, different))
    held = (of_same > 0) | (of_different > 0)
    return Histogram(upper[last][held], of_same[held], of_different[held])
