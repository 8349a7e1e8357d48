"""The protocol for one model: everything that is said of it, from embeddings and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset import distance as distances
from twinset.decision import Calibrator
from twinset.files import plain
from twinset.metrics import intervals
from twinset.metrics.all_pairs import AllPairs, PerClass, PerImage
from twinset.metrics.bands import Bands, band_thresholds, bands
from twinset.metrics.calibration import (
    Reliability,
    brier,
    cllr,
    disjoint_pairs,
    fit_calibrator,
    min_cllr,
    reliability,
)
from twinset.metrics.curves import Curve, Rates, precision_at_prior, tpr_at_fpr
from twinset.metrics.hardest import HardestPairs, hardest_pairs
from twinset.metrics.health import EmbeddingHealth, embedding_health
from twinset.metrics.intervals import Interval, share_interval
from twinset.metrics.pairs import ChosenThreshold, choose_threshold
from twinset.metrics.probes import knn_right, linear_probe, stratified
from twinset.metrics.retrieval import bootstrap_interval, retrieval_estimates, retrieve

RULES = ("balanced accuracy", "EER", "FPR <= 0.01")
FPRS = (0.1, 0.01, 0.001)
PRIORS = (0.1, 0.01)
NEIGHBOURS = (1, 20)
# The probe's cost grows with images × coordinates: 10,000 × 784 take ten seconds.
PROBE_IMAGES, PROBE_WIDTH = 10_000, 1024
PROBE_STRENGTHS = (0.001, 0.01, 0.1, 1)


@dataclass(frozen=True, eq=False)
class Part:
    """Holds one part of the data, embedded."""

    # finite numbers of shape (n, ...).
    embeddings: NDArray[Any]
    # integers of shape (n,)
    labels: NDArray[np.integer]

    def only(self, classes: Sequence[int] | NDArray[np.integer]) -> Part:
        """Keep the images of some classes."""
        keep = np.isin(self.labels, classes)
        return Part(self.embeddings[keep], self.labels[keep])


@dataclass(frozen=True, eq=False)
class Calibration:
    """What a calibration part yields: thresholds with their promised rates, and a probability."""

    thresholds: tuple[ChosenThreshold, ...]
    calibrator: Calibrator


@dataclass(frozen=True)
class OperatingPoint:
    """The errors at one threshold: what was promised, and what came true.

    Args:
        rule: how the threshold was chosen.
        promised_fmr: false match rate on the calibration part; None for a fixed threshold.
        promised_fnmr: likewise the false non-match rate.
        rates: counts on the test part.
        fmr: false match rate on the test part.
        fnmr: false non-match rate on the test part.
        precision: share of matches that are right, by prior.
        fmr_spread: standard deviation over the classes of a class' false match rate.
        fnmr_spread: likewise of the false non-match rate.
    """

    rule: str
    promised_fmr: float | None
    promised_fnmr: float | None
    rates: Rates
    fmr: Interval
    fnmr: Interval
    precision: Mapping[float, float]
    fmr_spread: float
    fnmr_spread: float


@dataclass(frozen=True, eq=False)
class ClassErrors:
    """Who is taken for whom, at one threshold."""

    # the labels, (c,)
    classes: NDArray[Any]
    # share of each class' own pairs that do not match, (c,)
    fnmr: NDArray[np.float64]
    # share of the pairs between two classes that match, (c, c); NaN on the diagonal
    fmr: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Judgement:
    """All that the protocol says of one model on one test part."""

    images: int
    # name → number with its interval. Over pairs: "auc", "eer", "tpr@fpr=0.01", "near auc 5-7-9",
    # …; over queries: "recall_at_1", "r_precision", "map_at_r", "map_at_10", …; with a gallery
    # "1-nn accuracy" and "20-nn accuracy", with a tune part as well "linear probe accuracy".
    numbers: Mapping[str, Interval]
    # errors at each threshold, the model's own first
    points: tuple[OperatingPoint, ...]
    # at the first of `points`; None without one
    class_errors: ClassErrors | None
    # "brier", "cllr", "min cllr" of the calibrated probability; empty without one
    scores: Mapping[str, float]
    # predicted against observed; None without a calibration
    reliability: Reliability | None
    health: EmbeddingHealth
    curve: Curve
    # the ROC curve with an interval at each of some false match rates, or None
    bands: Bands | None = None
    # the closest different and the farthest same pairs, or None
    hardest: HardestPairs | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values for JSON; what is not finite is None."""
        # The fields, and `pairs` and `positives`, how many there are. `curve` is thinned to
        # candidates whose rates differ visibly on a logarithmic scale; `hardest` is as
        # `HardestPairs.to_dict` returns it.
        thin = _thinned(self.curve)
        content: dict[str, Any] = plain(
            {
                "images": self.images,
                "pairs": self.curve.positives + self.curve.negatives,
                "positives": self.curve.positives,
                "numbers": {name: asdict(number) for name, number in self.numbers.items()},
                "points": [_point_dict(point) for point in self.points],
                "class_errors": None if self.class_errors is None else asdict(self.class_errors),
                "scores": dict(self.scores),
                "reliability": None if self.reliability is None else asdict(self.reliability),
                "health": asdict(self.health),
                "curve": {
                    "threshold": self.curve.thresholds[thin],
                    "fmr": self.curve.fmr[thin],
                    "fnmr": self.curve.fnmr[thin],
                },
                "bands": None if self.bands is None else asdict(self.bands),
                "hardest": None if self.hardest is None else self.hardest.to_dict(),
            }
        )
        return content


def calibrate(part: Part, *, rules: Sequence[str] = RULES, seed: int = 0) -> Calibration:
    """Choose thresholds on all pairs of a calibration part, and fit a probability."""
    curve = AllPairs(part.embeddings, part.labels).curve()
    left, right, same = disjoint_pairs(part.labels, seed=seed)
    apart = distances.of_pairs(part.embeddings, left, right)
    return Calibration(
        tuple(choose_threshold(curve, rule) for rule in rules), fit_calibrator(apart, same)
    )


def judge(
    test: Part,
    *,
    calibration: Calibration | None = None,
    fixed: Mapping[str, float] | None = None,
    near: Sequence[Sequence[int]] = (),
    seed: int = 0,
    gallery: Part | None = None,
    tune: Part | None = None,
    with_bands: bool = True,
    hardest: int = 10,
) -> Judgement:
    """Judge a model by its embeddings of a test part, over all pairs and all queries."""
    # kNN and probe ask what a classifier reads from the embedding. The probe is fitted on 10,000
    # images of the gallery at the most, drawn class by class, with C out of 0.001, 0.01, 0.1, 1 by
    # accuracy on those images of `tune` whose class the gallery has. Both are left out where the
    # test part has a class that the gallery lacks: no answer could be right; the probe as well for
    # embeddings of more than 1,024 coordinates: it would take minutes.
    walk = AllPairs(test.embeddings, test.labels)
    curve = walk.curve()
    chosen = [*_fixed(fixed or {}), *(calibration.thresholds if calibration else ())]
    values = [threshold.value for threshold in chosen]
    # everything that needs counts per image, in one walk
    read = [intervals.eer_threshold(curve), *(tpr_at_fpr(curve, fpr).threshold for fpr in FPRS)]
    grid = band_thresholds(curve) if with_bands else []
    counts = walk.per_image([*values, *read, *grid])
    by_class = walk.per_class(values)
    at_eer = len(values)
    numbers = {
        "auc": intervals.auc_estimate(walk).interval(),
        "eer": intervals.eer_at(curve, counts, at_eer).interval(),
    }
    for k, fpr in enumerate(FPRS, at_eer + 1):
        numbers[f"tpr@fpr={fpr:g}"] = intervals.tpr_at(curve, counts, k).interval()
    numbers |= _near(test, near) | _retrieval(test, seed)
    numbers |= _classified(test, gallery, tune, seed) if gallery else {}
    points = tuple(_point(threshold, counts, by_class, k) for k, threshold in enumerate(chosen))
    scores = {}
    if calibration:
        scores = {
            "brier": brier(curve, calibration.calibrator),
            "cllr": cllr(curve, calibration.calibrator),
            "min cllr": min_cllr(curve),
        }
    return Judgement(
        images=len(test.labels),
        numbers=numbers,
        points=points,
        class_errors=_class_errors(walk.classes, by_class, 0) if points else None,
        scores=scores,
        reliability=reliability(curve, calibration.calibrator) if calibration else None,
        health=embedding_health(test.embeddings, test.labels, seed=seed),
        curve=curve,
        bands=bands(curve, counts, at_eer + len(read)) if with_bands else None,
        hardest=hardest_pairs(walk, hardest) if hardest else None,
    )


def query_interval(per_query: NDArray[np.float64], *, seed: int) -> Interval:
    """Bound the mean over queries by a bootstrap over them, with the gallery fixed."""
    low, high = bootstrap_interval(per_query, seed=seed)
    error = float(np.std(per_query)) / max(len(per_query), 1) ** 0.5
    return Interval(float(np.mean(per_query)), low, high, error)


def _point_dict(point: OperatingPoint) -> dict[str, Any]:
    return asdict(point) | {
        "accuracy": point.rates.accuracy,
        "balanced_accuracy": point.rates.balanced_accuracy,
        "enough_errors": point.rates.enough_errors,
    }


def _thinned(curve: Curve, steps: int = 200) -> NDArray[np.intp]:
    """Pick candidates at which one of the rates is next to a step of a logarithmic grid."""
    grid = np.concatenate([np.geomspace(1e-5, 0.1, steps), np.linspace(0.1, 1, steps)])
    by_fmr = np.searchsorted(curve.fmr, grid)
    by_fnmr = len(curve.fnmr) - 1 - np.searchsorted(curve.fnmr[::-1], grid)
    ends = [0, len(curve.thresholds) - 1]
    return np.unique(np.clip(np.concatenate([by_fmr, by_fnmr, ends]), 0, ends[1]))


def _fixed(thresholds: Mapping[str, float]) -> list[ChosenThreshold]:
    nan = float("nan")
    return [ChosenThreshold(value, rule, nan, nan) for rule, value in thresholds.items()]


def _point(
    threshold: ChosenThreshold, counts: PerImage, by_class: PerClass, k: int
) -> OperatingPoint:
    rates = counts.rates(k)
    promised = not np.isnan(threshold.fmr)
    errors = _class_errors(np.arange(len(by_class.pairs)), by_class, k)
    return OperatingPoint(
        rule=threshold.rule,
        promised_fmr=threshold.fmr if promised else None,
        promised_fnmr=threshold.fnmr if promised else None,
        rates=rates,
        fmr=intervals.fmr_estimate(counts, k).interval(),
        fnmr=intervals.fnmr_estimate(counts, k).interval(),
        precision={prior: precision_at_prior(rates, prior) for prior in PRIORS},
        fmr_spread=float(np.std(np.nanmean(errors.fmr, axis=1))),
        fnmr_spread=float(np.nanstd(errors.fnmr)),
    )


def _class_errors(classes: NDArray[Any], by_class: PerClass, k: int) -> ClassErrors:
    with np.errstate(invalid="ignore", divide="ignore"):  # a class of one image has no own pair
        share = by_class.matches[k] / by_class.pairs
    fmr = share.copy()
    np.fill_diagonal(fmr, np.nan)
    return ClassErrors(classes, 1 - np.diag(share), fmr)


def _near(test: Part, groups: Sequence[Sequence[int]]) -> dict[str, Interval]:
    """Area under the ROC curve where different pairs are of one group of near classes."""
    areas = []
    for group in groups:
        part = test.only(group)
        if len(np.unique(part.labels)) > 1:
            walk = AllPairs(part.embeddings, part.labels)
            name = "near auc " + "-".join(str(label) for label in group)
            areas.append((name, intervals.auc_estimate(walk).interval()))
    return dict(areas)


def _retrieval(test: Part, seed: int) -> dict[str, Interval]:
    scores = retrieve(test.embeddings, test.labels)
    found = {name: query_interval(values, seed=seed) for name, values in scores.per_query.items()}
    # these two from images left out both as query and as neighbour, which the bootstrap cannot do
    estimates = retrieval_estimates(test.embeddings, test.labels)
    return found | {name: estimate.interval() for name, estimate in estimates.items()}


def _classified(test: Part, gallery: Part, tune: Part | None, seed: int) -> dict[str, Interval]:
    """Accuracy of a vote of neighbours and of a linear probe, with intervals over the queries."""
    if np.setdiff1d(test.labels, gallery.labels).size:
        return {}
    known, asked = _rows(gallery), _rows(test)
    found = {}
    ks = [k for k in NEIGHBOURS if k <= len(known)]
    for k, right in knn_right(known, gallery.labels, asked, test.labels, ks=ks).items():
        found[f"{k}-nn accuracy"] = share_interval(float(right.mean()), len(right))
    chooser = None if tune is None else tune.only(np.unique(gallery.labels))
    if chooser is not None and len(chooser.labels) and known.shape[1] <= PROBE_WIDTH:
        drawn = stratified(gallery.labels, PROBE_IMAGES, seed=seed)
        probe = linear_probe(
            known[drawn],
            gallery.labels[drawn],
            _rows(chooser),
            chooser.labels,
            asked,
            test.labels,
            strengths=PROBE_STRENGTHS,
        )
        found["linear probe accuracy"] = share_interval(probe.accuracy, len(asked))
    return found


def _rows(part: Part) -> NDArray[Any]:
    return part.embeddings.reshape(len(part.embeddings), -1)
