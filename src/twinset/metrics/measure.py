"""One model on one test part, measured from embeddings and labels, and calibrated on another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.decision import Calibrator, ErrorCurve, Threshold
from twinset.metrics import intervals
from twinset.metrics.all_pairs import AllPairs, PerClass
from twinset.metrics.calibration import fit_calibrator, reliability
from twinset.metrics.hardest import hardest_pairs
from twinset.metrics.measured import Measured, Part
from twinset.metrics.measurements import (
    ClassErrors,
    Histogram,
    Measurements,
    NearClasses,
    OperatingPoint,
)
from twinset.metrics.open_set import OpenSet, identify_all
from twinset.metrics.pairs import ENOUGH_ERRORS, Curve, Rates, precision_at_prior
from twinset.metrics.promised import Over, error_curve, promise
from twinset.metrics.table import METRICS, Kind, measured_by, of_kind

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
