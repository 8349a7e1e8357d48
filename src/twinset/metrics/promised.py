"""The error rates that a threshold promises for new images, or for new classes, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from twinset.decision import ErrorCurve, Threshold
from twinset.errors import DataError
from twinset.metrics.all_pairs import AllPairs
from twinset.metrics.intervals import (
    LOWER,
    NORMAL,
    UPPER,
    Interval,
    band_thresholds,
    ratio_estimate,
    student,
)
from twinset.metrics.listed_pairs import ListedPairs
from twinset.metrics.measured import Part
from twinset.metrics.pairs import choose_threshold

Over: TypeAlias = Literal["image", "class"]


def promise(
    part: Part, rules: Sequence[str], *, over: Over = "image", classes: int | None = None
) -> tuple[Threshold, ...]:
    """Choose a threshold by each rule, and say how often it will err on what is new.

    A part with blocks comes from a cross-fit: the images of each block were embedded by a model
    that did not see them, and only pairs within a block count. Thresholds are chosen on all of
    them; promised are the rates that thresholds of the other blocks have on each block, so that no
    pair speaks for a threshold that it helped to choose. Without blocks, promised is what the
    threshold does on the pairs that it was chosen on.

    100,000 pairs of 20 classes are 20 pieces of evidence for a class not seen. Each class pulls a
    rate p by the deviation of its pairs from it; the squares of the pulls sum up to a variance,
    which n = p (1 − p) / variance independent tries would have. The interval is that of Jeffreys,
    the middle 95% of Beta(pn + ½, (1 − p)n + ½). The few classes in which an error was seen tell
    the spread badly: with k of them, n is 2 / (2 + k) of the way from there to the worst case, in
    which all pairs of a class, or of two classes, err together; where none erred, all the way.

    Over images, what is new where the threshold will be used is images of known classes: Wilson's
    interval. For a number of new `classes` the intervals hold 95% of the rates that come out there
    (quantiles of a beta-binomial draw), without it the rates to expect in the long run.

    References:
        Fogliato, Patil, Perona (2024), Confidence Intervals for Error Rates in 1:1 Matching Tasks;
        Bolle, Ratha, Pankanti (2004), Error Analysis of Pattern Recognition Systems: the Subsets
        Bootstrap; Brown, Cai, DasGupta (2001), Interval Estimation for a Binomial Proportion.
    """
    if classes is not None and (classes < 2 or over == "image"):
        raise DataError(
            "Expected 2 new classes or more, and over='class'. Received "
            f"{classes} and over={over!r}: leave the number out for rates in the long run."
        )
    walk = part.pairs
    curve = walk.curve()
    chosen = [choose_threshold(curve, rule) for rule in rules]
    blocks, values = _left_out(part, walk, chosen)
    counts = walk.per_image(values.ravel().tolist())
    units = _Units(part, blocks) if over == "class" else None
    mine = np.arange(len(part))
    found = []
    for k, threshold in enumerate(chosen):
        rows = blocks * len(chosen) + k  # of each image, the threshold of its block
        missed = counts.positives - counts.true_matches[rows, mine]
        matched = counts.false_matches[rows, mine]
        if units is None:
            fmr, fnmr = (
                ratio_estimate(*each).interval()
                for each in ((matched, counts.negatives), (missed, counts.positives))
            )
        else:
            fmr = units.interval(matched, counts.negatives, classes, between=True)
            fnmr = units.interval(missed, counts.positives, classes, between=False)
        threshold = replace(threshold, fmr=fmr.value, fmr_range=(fmr.low, fmr.high))
        found.append(replace(threshold, fnmr=fnmr.value, fnmr_range=(fnmr.low, fnmr.high)))
    return tuple(found)


def error_curve(
    part: Part, chosen: Sequence[Threshold], *, over: Over = "image", points: int = 80
) -> ErrorCurve:
    """Measure both error rates at a grid of thresholds, those that were chosen among them."""
    # Nobody chose one of the grid by its errors, so each is judged by all pairs; at a threshold
    # that was chosen the rates may be a little better than `promise` has them.
    walk = part.pairs
    curve = walk.curve()
    last = len(curve.thresholds) - 1
    # even steps up to where hardly a pair is farther, and finer ones where few pairs match
    tops = (int(np.searchsorted(share, 0.999)) for share in (curve.fmr, 1 - curve.fnmr))
    most = float(curve.thresholds[min(max(tops), last)])
    even = np.linspace(0, most, points).tolist()
    beyond = float(curve.thresholds[last]) * (1 + 1e-4)  # rounded, it holds all pairs still
    grid = {float(f"{each:.5g}") for each in (*even, *band_thresholds(curve), beyond)}
    grid |= {each.value for each in chosen if 0 <= each.value <= beyond}
    thresholds = sorted(grid)
    counts = walk.per_image(thresholds)
    units = _Units(part, _blocks(part)) if over == "class" else None
    told: dict[str, list[float]] = {}
    for k in range(len(thresholds)):
        missed = counts.positives - counts.true_matches[k]
        errors = {
            "fmr": (counts.false_matches[k], counts.negatives),
            "fnmr": (missed, counts.positives),
        }
        for name, each in errors.items():
            found = (
                ratio_estimate(*each).interval()
                if units is None
                else units.interval(*each, None, between=name == "fmr")
            )
            ends = {"": found.value, "_low": found.low, "_high": found.high}
            for end, value in ends.items():
                told.setdefault(name + end, []).append(round(value, 6))
    rates = {name: tuple(values) for name, values in told.items()}
    return ErrorCurve(tuple(thresholds), **rates, over=over)


def _left_out(
    part: Part, walk: AllPairs | ListedPairs, chosen: Sequence[Threshold]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    # the block of each image, and for each block and rule the threshold that its pairs had no part
    # in; that of all pairs where the other blocks have no pairs of both kinds
    values = np.array([each.value for each in chosen])
    blocks = _blocks(part)
    found = np.tile(values, (int(blocks.max()) + 1, 1))
    for block in range(len(found) if part.blocks is not None else 0):
        rest = walk.curve(without=block)
        if rest.positives and rest.negatives:
            found[block] = [choose_threshold(rest, each.rule).value for each in chosen]
    return blocks, found


def _blocks(part: Part) -> NDArray[np.intp]:
    if part.blocks is None:
        return np.zeros(len(part), np.intp)
    codes: NDArray[np.intp] = np.unique(part.blocks, return_inverse=True)[1]
    return codes


class _Units:
    """The classes of a part, as what its pairs are evidence of."""

    def __init__(self, part: Part, blocks: NDArray[np.intp]) -> None:
        names, self._codes = np.unique(part.labels, return_inverse=True)
        sizes = np.bincount(self._codes)
        cells = np.unique(blocks * len(names) + self._codes) // len(names)
        met = np.bincount(cells)  # classes in each block
        self.classes = len(names)
        self.couples = int((met * (met - 1) // 2).sum())
        self.with_pairs = int((sizes > 1).sum())
        if isinstance(part.pairs, ListedPairs):
            known = np.sort(self._codes[part.pairs.couples], axis=1)
            same = part.pairs.same
            self.classes = len(np.unique(known))
            self.couples = len(np.unique(known[~same], axis=0))
            self.with_pairs = len(np.unique(known[same, 0]))

    def interval(
        self,
        errors: NDArray[np.int64],  # of each image, in its pairs
        pairs: NDArray[np.int64],  # of each image
        future: int | None,
        *,
        between: bool,  # whether these are pairs between two classes, and not within one
    ) -> Interval:
        """Bound a rate over classes, each a try of its own."""
        from scipy import special

        total = float(pairs.sum()) / 2
        rate = float(errors.sum()) / 2 / total
        pulls = np.bincount(self._codes, (errors - rate * pairs) / total).astype(np.float64)
        # A pair within a class is in the class' sum twice. One between two is in the sums of both;
        # its own square stays in twice, for the threshold that was chosen on few classes, too.
        pulls *= 1.0 if between else 0.5
        known = self.classes if between else self.with_pairs
        ends = LOWER, UPPER
        wider = student(known) / NORMAL
        variance = float(np.square(pulls).sum()) * wider**2 * known / max(known - 1, 1)
        worst = self.couples if between else self.with_pairs
        told = rate * (1 - rate) / variance if 0 < rate < 1 and variance > 0 else float(worst)
        doubt = 2 / (2 + np.count_nonzero(np.bincount(self._codes, errors)))
        n = 1 / ((1 - doubt) / told + doubt / worst)
        a, b = rate * n + 0.5, (1 - rate) * n + 0.5
        if future is None:
            low, high = special.betaincinv(a, b, ends)
        else:
            share = future / known
            if between:  # of the chance of the draw half is that of classes, half that of couples
                share = 2 / (1 / share + self.couples / math.comb(future, 2))
            from scipy import stats  # a second to import, for who asks for this only

            tries = max(round(told * share), 1)
            low, high = stats.betabinom.ppf(ends, tries, a, b) / tries
        # at 0 and 1 the interval begins at the rate itself (Brown, Cai, DasGupta)
        low = 0.0 if rate == 0 else min(float(low), rate)
        high = 1.0 if rate == 1 else max(float(high), rate)
        return Interval(rate, low, high, math.sqrt(variance))
