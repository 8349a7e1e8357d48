"""How false positives of identification grow with the gallery: measured, then extrapolated."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from twinset.metrics.intervals import LOWER, UPPER, Interval
from twinset.metrics.trials import Floats, Ints, Jackknifed, Trials

LEVELS = 24
# Between this share of the gallery and all of it the trend is measured.
PART = 4
# Standard error of the trend beyond what was measured, as a share of the decline that it says.
DOUBT = 0.25


class Growth:
    """False positive identification rates of unknown queries, in galleries of any size.

    FPIR(N) = E[1 − (1 − p)^N], where p is the chance that a query matches one random identity. It
    differs from query to query (Doddington's sheep and goats), so that FPIR(N) grows more slowly
    than 1 − (1 − mean p)^N: the same few queries match again and again. With y = −log(1 − FPIR)
    and x = N · mean p, the share y / x falls with N, along a straight line in log N where x is the
    same. So the rate of R times the gallery is that at a larger threshold, with R times the false
    matches, lowered by the trend from a quarter of the gallery to all of it.

    Up to the gallery that was measured nothing is assumed: the rate is the mean over all galleries
    of that size within it (hypergeometric).

    References:
        Doddington et al. (1998), Sheep, Goats, Lambs and Wolves; Grother, Ngan, Hanaoka, Face
        Recognition Technology Evaluation, Part 2: Identification (NIST IR 8271).
    """

    def __init__(self, trials: Trials) -> None:
        self._trials = trials
        self.gallery = trials.identities - 1  # a query's own identity is not enrolled
        # a query of a group that is left out is not counted, any other has lost the whole group
        self._sizes = np.concatenate([[0], np.bincount(trials.columns)])
        self._sizes = self.gallery - self._sizes
        self._apart = trials.others[np.isfinite(trials.others)]
        shares = np.geomspace(1 / len(self._apart), 0.6, LEVELS)
        at = np.unique(np.minimum((shares * len(self._apart)).astype(int), len(self._apart) - 1))
        counts = [trials.matches(step) for step in np.unique(np.partition(self._apart, at)[at])]
        # over these thresholds, of all queries and without each group, (groups + 1, levels)
        self._matches = np.stack([self._false_matches(each) for each in counts], axis=1)
        self._whole, self._part = (
            np.stack([self._unmatched(each, share) for each in counts], axis=1)
            for share in (1.0, 1 / PART)
        )

    def fpir(self, threshold: float, gallery: int) -> Interval:
        """Estimate how often somebody unknown matches someone in a gallery of this size."""
        found, doubt = self._grown(self._trials.matches(threshold), gallery)
        return self._interval(found, doubt, self._couples(threshold), gallery)

    def fnir(self, threshold: float, gallery: int) -> Interval:
        """Estimate how often somebody known is not at rank 1 within the threshold."""
        # Those within the threshold that another one outruns grow along a power of the gallery's
        # size; measured from a quarter to all of it, this power only falls: nothing is hidden.
        trials, times = self._trials, gallery / self.gallery
        known, closer = trials.known, trials.matches(np.where(trials.known, trials.own, -1.0))
        found = trials.own <= threshold
        rates = np.empty(len(closer))
        doubt = 0.0
        for row, size in enumerate(self._sizes.tolist()):
            queries = trials.kept[row] & known
            hits = closer[row][queries & found]
            share = len(hits) / max(queries.sum(), 1)
            if not len(hits):
                rates[row] = 1.0
                continue
            ahead, part = (
                -math.log(max(float(_free(size, max(round(size * each), 1))[hits].mean()), 1e-9))
                for each in (min(times, 1.0), 1 / PART)
            )
            if times > 1 and part > 0:
                power = min(max(math.log(ahead / part) / math.log(PART), 0.0), 1.0)
                ahead *= times**power
                doubt = doubt or DOUBT * power * math.log(times) * ahead * share * math.exp(-ahead)
            rates[row] = 1 - share * math.exp(-ahead)
        return Jackknifed(float(rates[0]), rates[1:], trials.units).interval(extra_error=doubt)

    def threshold(self, fpir: float, gallery: int) -> float:
        """Find the largest threshold whose estimated FPIR in such a gallery is at most `fpir`."""
        low, high = 0.0, float(self._apart.max())
        for _ in range(40):
            middle = (low + high) / 2
            y = self._grown(self._trials.matches(middle)[:1], gallery)[0][0]
            low, high = (middle, high) if -math.expm1(-y) <= fpir else (low, middle)
        # midway from the last distance that matches to the first that does not
        below, above = self._apart[self._apart <= low], self._apart[self._apart > low]
        return float((below.max(initial=0.0) + above.min(initial=high)) / 2)

    def _false_matches(self, counts: Ints) -> Floats:
        kept = self._trials.kept[: len(counts)]
        pairs = kept.sum(axis=1) * self._sizes[: len(counts)]
        return np.asarray((counts * kept).sum(axis=1) / pairs)

    def _unmatched(self, counts: Ints, share: float) -> Floats:
        # −log of the chance that a query matches nobody in a part of the gallery
        found = np.empty(len(counts))
        for row, counted in enumerate(counts):
            size = int(self._sizes[row])
            free = _free(size, max(round(size * share), 1))
            found[row] = free[counted[self._trials.kept[row]]].mean()
        with np.errstate(divide="ignore"):
            return np.asarray(-np.log(found))

    def _grown(self, counts: Ints, size: int) -> tuple[Floats, float]:
        # y of all and without each group, and the share of it by which the trend may be wrong
        times = size / self.gallery
        own = self._unmatched(counts, min(times, 1.0))
        if times <= 1:
            return own, 0.0
        found, doubt = np.empty(len(own)), 0.0
        for row, share in enumerate(self._false_matches(counts)):
            whole = _along(self._matches[row], self._whole[row], share * times)
            part = _along(self._matches[row], self._part[row], share * times * PART)
            trend = min(max((whole - part) / math.log(PART), -1.0), 0.0) if share else 0.0
            found[row] = math.exp(whole + trend * math.log(times))
            doubt = doubt or DOUBT * -trend * math.log(times)
        return np.clip(found, own, own * times), doubt

    def _interval(self, found: Floats, doubt: float, hits: Floats, size: int) -> Interval:
        # As if y had been counted from so many independent events as its error is worth: the
        # exact interval of Poisson's distribution, scaled (Fay, Feuer, 1997).
        from scipy import stats

        y, without = float(found[0]), found[1:]
        if y == 0:
            events = float(stats.gamma.ppf(UPPER, 1))
            couples = len(np.unique(self._trials.who)) * self.gallery / 2
            return Interval(0.0, 0.0, -math.expm1(-size * events / couples), math.nan)
        spread = (1 - 1 / len(without)) * float(np.square(without - without.mean()).sum()) / y**2
        # a match of two identities is left out with either of them, so it is counted twice
        own = float(np.square(hits).sum() / hits.sum() ** 2)
        spread = max(spread - own, spread / 2) + doubt**2
        n = 1 / spread
        low = float(stats.gamma.ppf(LOWER, n)) / n
        high = float(stats.gamma.ppf(UPPER, n + 1)) / n
        rate, low, high = (-math.expm1(-y * each) for each in (1.0, low, high))
        return Interval(rate, low, high, math.sqrt(spread) * y * (1 - rate))

    def _couples(self, threshold: float) -> Floats:
        # how many matches each two identities have that match at all
        rows, columns = np.nonzero(self._trials.others <= threshold)
        ends = np.sort([self._trials.who[rows], columns], axis=0)
        couples = ends[0] * self._trials.identities + ends[1]
        return np.unique(couples, return_counts=True)[1].astype(np.float64)


@lru_cache(maxsize=256)  # of one collection: a process may judge many
def _free(gallery: int, size: int) -> Floats:
    """Compute the chance that none of k matches is among `size` of a gallery, for all k."""
    from scipy.special import gammaln

    k = np.arange(gallery + 1)
    left = np.maximum(gallery - k - size, -1)
    with np.errstate(invalid="ignore"):
        found = gammaln(gallery - k + 1) - gammaln(left + 1)
        found += gammaln(gallery - size + 1) - gammaln(gallery + 1)
    return np.where(left >= 0, np.exp(found), 0.0)


def _along(matches: Floats, survival: Floats, at: float) -> float:
    """Read log y off a curve over the share of false matches."""
    known = (matches > 0) & np.isfinite(survival) & (survival > 0)
    if not known.any() or not at > 0:
        return -math.inf
    return float(np.interp(math.log(at), np.log(matches[known]), np.log(survival[known])))
