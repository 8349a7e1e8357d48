"""The table of metrics: what each is called, how it is written, read and computed.

Terminal, HTML page, JSON, Markdown, the comparison of two models and the study all read this table.
To add a metric, add a row here, or call `register` before the evaluation:

    register(Metric("gini", "Gini", "Twice the area above chance.", gini, ends=(-1, 1)))

where `ends` is the range of the number, in which its intervals stay (a share's unless told), and
`gini` takes a `Measured` and returns an `Estimate` (a number with what each image pulls, so
that two models can be compared on it), an `Interval`, a plain number, or None where the data does
not have it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from twinset.errors import DataError
from twinset.metrics import intervals
from twinset.metrics.calibration import brier, cllr, min_cllr
from twinset.metrics.intervals import SHARE, Ends, Estimate, Interval
from twinset.metrics.measured import FPRS, NEIGHBOURS, Measured
from twinset.metrics.pairs import tpr_at_fpr
from twinset.metrics.probes import one_shot_accuracy
from twinset.metrics.retrieval import recall_key

WAYS = 5
POSITIVE: Ends = (0.0, math.inf)

Found: TypeAlias = Estimate | Interval | float | None
Kind: TypeAlias = Literal["test", "near", "unseen", "threshold", "probability", "health"]


@dataclass(frozen=True)
class Metric:
    """A number that models are judged by."""

    key: str  # in the JSON files
    label: str  # what people call it
    meaning: str  # what it is, in one sentence
    measure: Callable[[Measured], Found]  # computes it
    format: str = ".4f"  # of a finite value
    better: Literal[-1, 0, 1] = 1  # 1 if higher is, −1 if lower is, 0 if neither by itself
    ends: Ends = SHARE  # the least and the largest that it can be, which no interval passes
    # "test", of the test part; "near", among classes that are alike; "unseen", of unseen classes
    # alone; "threshold", at the model's own; "probability", of the calibrated one; "health", of the
    # embedding
    kind: Kind = "test"
    headline: bool = True  # whether the short tables of terminal and Markdown show it
    compared: bool = True  # whether two models are compared on it, if it comes as an `Estimate`
    folds: bool = False  # whether the tables of unseen classes show it
    # the number of errors that a value rests on, where few make it worthless
    errors: Callable[[Measured, float], float] | None = None
    fields: Mapping[str, float] = field(default_factory=dict)  # what else the JSON says of it
    # whether pairs are all it looks at; else it has no value where only images of one fold can be
    # compared, or where only some pairs were judged
    pairwise: bool = True

    @property
    def sentence(self) -> str:
        """The meaning, and which way is better."""
        way = {1: " Higher is better.", -1: " Lower is better.", 0: ""}
        return self.meaning + way[self.better]

    def rests_on(self, measured: Measured, value: float) -> float:
        """Count the errors behind a value; infinite where they do not matter."""
        return math.inf if self.errors is None else self.errors(measured, value)


METRICS: dict[str, Metric] = {}


def register(metric: Metric) -> None:
    """Add a metric to the table."""
    if metric.key in METRICS:
        raise DataError(
            f"Expected a key that no metric has. Received {metric.key!r}: choose another."
        )
    METRICS[metric.key] = metric


def of_kind(kind: Kind) -> list[Metric]:
    """List the metrics of a kind, in the order of the table."""
    return [metric for metric in METRICS.values() if metric.kind == kind]


def as_interval(found: Estimate | Interval | float, ends: Ends = SHARE) -> Interval:
    """Take what a metric returned as a number with an interval; NaN where none is known."""
    if isinstance(found, Interval):
        return found
    if isinstance(found, Estimate):
        return found.interval(ends=ends)
    return Interval(float(found), math.nan, math.nan, math.nan)


def measured_by(metrics: Iterable[Metric], m: Measured) -> dict[str, Interval]:
    """Measure what the data has of some metrics: key → number with its interval."""
    whole = m.test.blocks is None and m.test.judged is None
    found = ((each, each.measure(m)) for each in metrics if each.pairwise or whole)
    return {each.key: as_interval(n, each.ends) for each, n in found if n is not None}


# --- The built-in rows, in the order in which everything shows them.


def _rarer(m: Measured) -> int:
    return min(m.curve.positives, m.curve.negatives)


def _eer(m: Measured) -> Estimate:
    return intervals.eer_at(m.curve, *m.at(intervals.eer_threshold(m.curve)))


def _tpr(fpr: float) -> Metric:
    def measure(m: Measured) -> Estimate:
        return intervals.tpr_at(m.curve, *m.at(tpr_at_fpr(m.curve, fpr).threshold))

    def errors(m: Measured, tpr: float) -> float:
        return min(fpr * m.curve.negatives, (1 - tpr) * m.curve.positives)

    return Metric(
        f"tpr_at_fpr_{fpr:g}",
        f"TPR at FPR {100 * fpr:g}%",
        f"Same pairs that match where {100 * fpr:g}% of the different ones do.",
        measure,
        ".2%",
        compared=fpr == 0.01,  # each further row of a comparison is one more chance to be wrong
        errors=errors,
        fields={"fpr": fpr},
    )


def _recall(k: int, words: str) -> Metric:
    key = recall_key(k)
    return Metric(
        key,
        f"Recall@{k}",
        words,
        lambda m: m.retrieval[key],
        ".2%",
        headline=k == 1,
        compared=k == 1,
        folds=k == 1,
        errors=(lambda m, value: (1 - value) * len(m.test)) if k == 1 else None,
        fields={"k": k},
        pairwise=False,
    )


def _ranking(
    key: str, label: str, words: str, *, folds: bool = False, headline: bool = True
) -> Metric:
    return Metric(
        key,
        label,
        words,
        lambda m: m.retrieval[key],
        headline=headline,
        compared=folds,
        folds=folds,
        pairwise=False,
    )


def _map_at_10(m: Measured) -> Estimate | None:
    # Divided by 10 as in the literature: of a class of five a perfect ranking has 0.4, which people
    # take for a bad one. MAP@R says the same of classes of any size.
    classes = np.unique(m.test.labels, return_counts=True)[1]
    return None if ((classes > 1) & (classes <= 10)).any() else m.retrieval["map_at_10"]


def _vote(k: int, words: str) -> Metric:
    return Metric(
        f"knn_accuracy_{k}",
        f"{k}-NN accuracy",
        words,
        lambda m: m.vote(k),
        ".2%",
        compared=False,
        fields={"k": k},
    )


def _score(
    key: str, label: str, words: str, measure: Callable[[Measured], float], ends: Ends = SHARE
) -> Metric:
    return Metric(
        key, label, words, measure, better=-1, ends=ends, kind="probability", compared=False
    )


def _health(key: str, label: str, words: str, spec: str = ".3f", ends: Ends = SHARE) -> Metric:
    return Metric(
        key,
        label,
        words,
        lambda m: getattr(m.health, key),
        spec,
        better=0,
        ends=ends,
        kind="health",
        compared=False,
        pairwise=False,
    )


def _one_shot(m: Measured) -> Interval | None:
    classes = np.unique(m.test.labels, return_counts=True)[1]
    if (classes > 1).sum() < WAYS:
        return None
    return one_shot_accuracy(m.test.rows, m.test.labels, ways=WAYS)


def _fmr(m: Measured) -> Estimate:
    return intervals.fmr_estimate(m.counts, 0)


def _fnmr(m: Measured) -> Estimate:
    return intervals.fnmr_estimate(m.counts, 0)


def _larger(m: Measured, _: float) -> float:
    # of the mean of two rates, the larger one decides
    rates = m.own_rates
    return rates.false_matches if rates.fmr > rates.fnmr else rates.false_non_matches


def _calibrated(score: Callable[..., float]) -> Callable[[Measured], float]:
    return lambda m: score(m.curve, m.calibrator)


for _metric in (
    Metric(
        "auc",
        "ROC AUC",
        "Chance that a same pair is closer than a different one; 0.5 is guessing.",
        lambda m: intervals.auc_estimate(m.walk),
        folds=True,
    ),
    Metric(
        "eer",
        "Equal error rate",
        "Both errors at the threshold that evens them.",
        _eer,
        ".2%",
        better=-1,
        folds=True,
        errors=lambda m, value: value * _rarer(m),
    ),
    *map(_tpr, FPRS),
    Metric(
        "near_auc",
        "ROC AUC of near classes",
        "The same among classes that are alike.",
        lambda m: intervals.auc_estimate(m.walk),
        kind="near",
    ),
    _recall(1, "The nearest other image is of the same class."),
    _recall(2, "One of the two nearest is."),
    _recall(4, "One of the four nearest is."),
    _recall(8, "One of the eight nearest is."),
    _ranking("r_precision", "R-precision", "Share of the R nearest, of R in the class."),
    _ranking("map_at_r", "MAP@R", "The same, where early ranks count more.", folds=True),
    Metric(
        "one_shot",
        "5-way 1-shot",
        "Class of the nearest of five examples, one of each class; 0.2 is chance.",
        _one_shot,
        kind="unseen",
        folds=True,
    ),
    Metric(
        "map_at_10",
        "MAP@10",
        "Average precision over the ten nearest.",
        _map_at_10,
        compared=False,
        pairwise=False,
    ),
    _ranking("mean_average_precision", "Mean average precision", "Over all ranks.", headline=False),
    _vote(NEIGHBOURS[0], "Class of the nearest training image."),
    _vote(NEIGHBOURS[1], "By a vote of the twenty nearest."),
    Metric(
        "linear_probe",
        "Linear probe",
        "Accuracy of a linear classifier.",
        lambda m: m.probe(),
        ".2%",
        compared=False,
    ),
    Metric(
        "accuracy",
        "Accuracy",
        "Right verdicts among all pairs.",
        lambda m: m.own_rates.accuracy,
        ".2%",
        kind="threshold",
        compared=False,
    ),
    Metric(
        "hter",
        "Half total error rate",
        "Mean of false match and false non-match rate.",
        lambda m: _fmr(m).plus(_fnmr(m)).times(0.5),
        ".2%",
        better=-1,
        kind="threshold",
        errors=_larger,
    ),
    Metric(
        "fmr",
        "False match rate",
        "Different pairs taken for the same.",
        _fmr,
        ".2%",
        better=-1,
        kind="threshold",
        errors=lambda m, _: m.own_rates.false_matches,
    ),
    Metric(
        "fnmr",
        "False non-match rate",
        "Same pairs taken for different.",
        _fnmr,
        ".2%",
        better=-1,
        kind="threshold",
        errors=lambda m, _: m.own_rates.false_non_matches,
    ),
    Metric(
        "threshold",
        "Threshold",
        "Two images match at this distance or less.",
        lambda m: m.thresholds[0].value,
        ",.6g",
        better=0,
        ends=POSITIVE,
        kind="threshold",
        compared=False,
    ),
    _score("brier", "Brier score", "Mean squared error of the probability.", _calibrated(brier)),
    _score(
        "cllr",
        "Cllr",
        "Cost of its log-odds, in bits; 1 is knowing nothing.",
        _calibrated(cllr),
        POSITIVE,
    ),
    _score(
        "min_cllr",
        "Min Cllr",
        "What the best monotone calibration would leave of it.",
        lambda m: min_cllr(m.curve),
    ),
    _health(
        "alignment", "Alignment", "Mean squared distance of same pairs; 0 to 4.", ends=(0.0, 4.0)
    ),
    _health(
        "uniformity",
        "Uniformity",
        "0: all point one way; near −3.9: spread evenly.",
        ends=(-math.inf, 0.0),
    ),
    _health(
        "effective_rank",
        "Effective rank",
        "Directions in which the variance lies.",
        ".1f",
        POSITIVE,
    ),
    _health("zero_share", "Zero coordinates", "Share that is exactly 0.", ".1%"),
    _health("dead_coordinates", "Dead coordinates", "The same for all images.", ",.0f", POSITIVE),
    _health(
        "within_between", "Within / between", "Variance in over between classes.", ends=POSITIVE
    ),
):
    register(_metric)
