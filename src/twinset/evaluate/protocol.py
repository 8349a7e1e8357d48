"""The protocol for one model: everything that is said of it, from embeddings and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset import distance as distances
from twinset.decision import Calibrator
from twinset.evaluate import intervals
from twinset.evaluate.all_pairs import AllPairs, PerImage
from twinset.evaluate.calibration import (
    Reliability,
    brier,
    cllr,
    fit_calibrator,
    min_cllr,
    reliability,
)
from twinset.evaluate.curves import Curve, Rates, precision_at_prior
from twinset.evaluate.disjoint_pairs import disjoint_pairs
from twinset.evaluate.health import EmbeddingHealth, embedding_health
from twinset.evaluate.intervals import Interval
from twinset.evaluate.report import plain
from twinset.evaluate.retrieval import bootstrap_interval, retrieve
from twinset.evaluate.thresholds import ChosenThreshold, choose_threshold

RULES = ("balanced accuracy", "EER", "FPR <= 0.01")
FPRS = (0.1, 0.01, 0.001)
PRIORS = (0.1, 0.01)


@dataclass(frozen=True, eq=False)
class Part:
    """Holds one part of the data, embedded.

    Args:
        embeddings: finite numbers of shape (n, ...).
        labels: integers of shape (n,).
    """

    embeddings: NDArray[Any]
    labels: NDArray[np.integer]

    def only(self, classes: Sequence[int]) -> Part:
        """Keep the images of some classes."""
        keep = np.isin(self.labels, classes)
        return Part(self.embeddings[keep], self.labels[keep])


@dataclass(frozen=True, eq=False)
class Calibration:
    """What a calibration part yields: thresholds with their promised rates, and a probability.

    Args:
        thresholds: one for each rule.
        calibrator: distance → evidence, fitted on image-disjoint pairs.
    """

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
    """Who is taken for whom, at one threshold.

    Args:
        classes: the labels, (c,).
        fnmr: share of each class' own pairs that do not match, (c,).
        fmr: share of the pairs between two classes that match, (c, c); NaN on the diagonal.
    """

    classes: NDArray[Any]
    fnmr: NDArray[np.float64]
    fmr: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Judgement:
    """All that the protocol says of one model on one test part.

    Args:
        images: number of test images.
        numbers: name → number with its interval: "auc", "eer", "tpr@fpr=0.01", "near auc",
            "recall@1", "map@r", …
        points: errors at each threshold, the model's own first.
        class_errors: at the first of `points`; None without one.
        scores: "brier", "cllr", "min cllr" of the calibrated probability; empty without one.
        reliability: predicted against observed; None without a calibration.
        health: of the embedding.
        curve: counts at all thresholds.
    """

    images: int
    numbers: Mapping[str, Interval]
    points: tuple[OperatingPoint, ...]
    class_errors: ClassErrors | None
    scores: Mapping[str, float]
    reliability: Reliability | None
    health: EmbeddingHealth
    curve: Curve

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values for JSON; what is not finite is None.

        The curve is thinned to candidates whose rates differ visibly on a logarithmic scale.
        """
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
            }
        )
        return content


def calibrate(part: Part, *, rules: Sequence[str] = RULES, seed: int = 0) -> Calibration:
    """Choose thresholds on all pairs of a calibration part, and fit a probability.

    Args:
        part: images that the model was not fitted on, and that no test will use.
        rules: as `choose_threshold` reads them. Defaults to balanced accuracy, EER, FPR <= 0.01.
        seed: of the image-disjoint pairs that the probability is fitted on.
    """
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
) -> Judgement:
    """Judge a model by its embeddings of a test part, over all pairs and all queries.

    Args:
        test: the test part; self-pairs are excluded by identity.
        calibration: thresholds and probability from another part. Defaults to none.
        fixed: rule → threshold for thresholds that come from no data, such as half the margin.
        near: labels of classes that are alike: different pairs within these groups alone are the
            hard case ("near auc"). Groups without two classes of the test part are left out.
        seed: of the samples that bootstrap and health draw.

    Raises:
        DataError: embeddings are not finite, or there are no pairs of both kinds.
    """
    walk = AllPairs(test.embeddings, test.labels)
    curve = walk.curve()
    chosen = [*_fixed(fixed or {}), *(calibration.thresholds if calibration else ())]
    counts = walk.per_image([threshold.value for threshold in chosen])
    numbers = {
        "auc": intervals.auc_estimate(walk).interval(),
        "eer": intervals.eer_estimate(walk, curve)[0].interval(),
    }
    for fpr in FPRS:
        numbers[f"tpr@fpr={fpr:g}"] = intervals.tpr_estimate(walk, curve, fpr).interval()
    numbers |= _near(test, near) | _retrieval(test, seed)
    points = tuple(_point(threshold, counts, k) for k, threshold in enumerate(chosen))
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
        class_errors=_class_errors(walk.classes, counts, 0) if points else None,
        scores=scores,
        reliability=reliability(curve, calibration.calibrator) if calibration else None,
        health=embedding_health(test.embeddings, test.labels, seed=seed),
        curve=curve,
    )


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


def _point(threshold: ChosenThreshold, counts: PerImage, k: int) -> OperatingPoint:
    rates = counts.rates(k)
    promised = not np.isnan(threshold.fmr)
    errors = _class_errors(np.arange(len(counts.class_pairs)), counts, k)
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


def _class_errors(classes: NDArray[Any], counts: PerImage, k: int) -> ClassErrors:
    with np.errstate(invalid="ignore", divide="ignore"):  # a class of one image has no own pair
        share = counts.class_matches[k] / counts.class_pairs
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
    found = {}
    for name, values in scores.per_query.items():
        low, high = bootstrap_interval(values, seed=seed)
        error = float(np.std(values)) / max(len(values), 1) ** 0.5
        found[name] = Interval(float(np.mean(values)), low, high, error)
    return found
