"""Open-set identification: who is found, which strangers are taken for somebody, by which rule.

    found = identify_all(embeddings, identities)
    found.points[0].fpir.value, found.points[0].fnir.value

Every image is left out of its identity and looked for: once with its own identity enrolled, and
once without it, as somebody unknown. As the NIST's evaluations and ISO/IEC 19795-1 have it: the
false positive identification rate (FPIR) is the share of unknown queries with a match, the false
negative identification rate (FNIR) the share of known ones whose own identity is not at rank 1
within the threshold. Intervals are over identities, which are what another collection would differ
in; images of one err together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinset.files import Plain
from twinset.metrics.growth import Growth
from twinset.metrics.intervals import SHARE, Interval, apart, bounded
from twinset.metrics.trials import (
    QUERIES,
    RULES,
    Jackknifed,
    Scores,
    Trials,
    jackknifed,
    leave_out,
)

FOLDS = 5
# The rule is judged by the mean of the identification rate over all thresholds with an FPIR up to
# this: strict enough for use, with errors enough to tell two rules apart.
UP_TO = 0.1


@dataclass(frozen=True)
class JudgedRule:
    """A rule, and how well it identifies images that were left out."""

    rule: str
    score: Interval  # mean identification rate over FPIRs up to 10%
    rank_1: Interval  # share of images whose own identity is the nearest
    behind: float  # how far the score lies below the best one
    error: float  # the standard error of that


@dataclass(frozen=True)
class JoiningChoice:
    """The rules of joining, judged by cross-validation over identities, and the one taken."""

    chosen: str
    rows: tuple[JudgedRule, ...]  # simplest first; none where there was nothing to choose by
    identities: int
    probes: int

    @property
    def reason(self) -> str:
        """Why this one, for people."""
        if not self.rows:
            return "no identity has images enough to leave one out, so there was nothing to choose"
        return (
            "the simplest rule whose mean identification rate over false positive identification "
            f"rates up to {UP_TO:.0%} is within one standard error of the best, cross-validated "
            f"over {self.identities:,} identities ({self.probes:,} queries)"
        )


def choose_rule(
    embeddings: ArrayLike,  # (n, d)
    identities: ArrayLike,  # a label of each, (n,)
    *,
    together: int = 1,  # images of one query
    seed: int = 0,
) -> JoiningChoice:
    """Choose the rule of joining by cross-validation over identities.

    Images are left out of their identity in turn and looked for among all: once with their own
    identity enrolled, and once without it, as somebody unknown. A rule is judged by the mean of the
    identification rate (own identity at rank 1, within the threshold) over all thresholds whose
    false positive identification rate is up to 10%; these come from the other folds' identities.
    The simplest rule within one standard error of the best is taken, the error of the difference
    by a jackknife over identities.

    Reference:
        Breiman, Friedman, Olshen, Stone (1984), Classification and Regression Trees (one standard
        error).
    """
    tried = {
        rule: leave_out(embeddings, identities, rule, together=together, seed=seed)
        for rule in RULES
    }
    first = tried[RULES[0]]
    able = np.unique(first.who[np.isfinite(first.own)])
    if len(able) < 2:
        return JoiningChoice(RULES[0], (), first.identities, len(first))
    scores = {rule: jackknifed(each, _rate) for rule, each in tried.items()}
    best = max(RULES, key=lambda rule: scores[rule].value)
    rows = []
    for rule in RULES:
        gap = scores[best].minus(scores[rule])
        rank_1 = jackknifed(tried[rule], Scores.rank_1).interval()
        rows.append(JudgedRule(rule, scores[rule].interval(), rank_1, gap.value, gap.error))
    # two rules of the same distances have no error of the difference: rounding is no difference
    chosen = next(row.rule for row in rows if row.behind <= row.error + 1e-9)
    return JoiningChoice(chosen, tuple(rows), first.identities, len(first))


def _rate(trials: Scores) -> float:
    """Average the identification rate over FPIRs up to the limit, by folds of identities."""
    known = np.isfinite(trials.own)
    folds = trials.groups % FOLDS
    found = np.zeros(len(trials))
    for fold in range(FOLDS):
        mine, rest = known & (folds == fold), np.sort(trials.rival[folds != fold])
        if not len(rest):
            continue
        fpir = np.searchsorted(rest, trials.own[mine], side="right") / len(rest)
        found[mine] = np.maximum(1 - fpir / UP_TO, 0.0)
    found[trials.own >= trials.rival] = 0.0
    return float(found[known].mean()) if known.any() else np.nan


RANKS = (1, 5, 10)
# False positive identification rates that thresholds are found for; the first is also that at which
# numbers of references are compared.
WANTED = (0.1, 0.03, 0.01)
REFERENCES = (1, 2, 5)
# Draws of the references at most, and the distances of queries to identities that all of them may
# take together, unless one takes more: about a second. The more there are, the less a draw matters.
DRAWS, DRAWN = 30, 800_000
# Galleries of which the errors are told, in units of the one at hand.
SIZES = (0.25, 0.5, 1, 2, 5, 10)
# Identities with two images below which nothing is said: intervals would be as wide as they can be.
LEAST = 20
CURVE = 60


@dataclass(frozen=True)
class OpenSetPoint:
    """Both error rates at a threshold."""

    wanted: float  # FPIR that the threshold was found for
    threshold: float
    fpir: Interval
    fnir: Interval


@dataclass(frozen=True)
class GallerySize:
    """Both error rates at the first point's threshold, in a gallery of another size."""

    identities: int
    measured: bool  # within the gallery at hand, and not extrapolated from it
    fpir: Interval
    fnir: Interval


@dataclass(frozen=True)
class References:
    """The error with so many references for each identity, at the same FPIR."""

    references: int
    fnir: Interval
    gain: Interval  # how much lower it is than with one reference


@dataclass(frozen=True)
class OpenSet(Plain):
    """How well identities are told apart, and strangers from all of them."""

    rule: str  # how several references are joined
    reason: str  # why so
    identities: int
    queries: int
    ranks: tuple[tuple[int, Interval], ...]  # k, and the share whose own identity is among the k
    points: tuple[OpenSetPoint, ...]
    growth: tuple[GallerySize, ...]
    references: tuple[References, ...]
    curve: tuple[tuple[float, float, float], ...]  # threshold, FPIR, FNIR

    def sentences(self) -> list[str]:
        """Say the main numbers, a line each."""
        share = ", ".join(f"rank {k} {number:.1%}" for k, number in self.ranks)
        told = [
            f"Identification among {self.identities:,} identities, {self.queries:,} queries, "
            f"references joined by {self.rule}: {share}"
        ]
        told += [
            f"  threshold {each.threshold:.4f}: takes {each.fpir:.1%} of strangers for "
            f"somebody, misses {each.fnir:.1%} of those known"
            for each in self.points
        ]
        return told


def identify_all(
    embeddings: ArrayLike, identities: ArrayLike, *, rule: str | None = None, seed: int = 0
) -> OpenSet | None:
    """Measure open-set identification on labelled embeddings.

    None where fewer than 20 identities have two images. The rule of joining, of `metrics.trials`,
    is that which cross-validation chooses, unless one is given.

    References:
        Grother, Ngan, Hanaoka, Face Recognition Technology Evaluation, Part 2: Identification (NIST
        IR 8271); ISO/IEC 19795-1:2021, Biometric performance testing and reporting.
    """
    sizes = np.unique(np.asarray(identities), return_counts=True)[1]
    if (sizes > 1).sum() < LEAST:
        return None
    reason = "as asked for"
    if rule is None:
        choice = choose_rule(embeddings, identities, seed=seed)
        rule, reason = choice.chosen, choice.reason
    trials = leave_out(embeddings, identities, rule, seed=seed)
    growth = Growth(trials)
    points = [
        _point(growth, wanted)
        for wanted in WANTED
        if wanted == WANTED[0] or wanted * trials.units >= 1
    ]
    return OpenSet(
        rule,
        reason,
        trials.identities,
        len(trials),
        tuple(zip(RANKS, cmc(trials, RANKS), strict=True)),
        tuple(points),
        tuple(_grown(growth, points[0].threshold)),
        tuple(_by_references(embeddings, identities, rule, sizes, seed)),
        _curve(trials),
    )


def cmc(trials: Trials, ranks: Sequence[int]) -> list[Interval]:
    """Compute the shares of known queries whose own identity is among the k nearest."""
    # Cumulative match characteristic. Others at the very distance of the own one count as nearer.
    nearer = trials.matches(np.where(trials.known, trials.own, -1.0))
    rates = [
        [float((row[kept & trials.known] < k).mean()) for k in ranks]
        for row, kept in zip(nearer, trials.kept, strict=True)
    ]
    whole, *without = np.array(rates)
    return [
        Jackknifed(float(value), column, trials.units).interval()
        for value, column in zip(whole, np.array(without).T, strict=True)
    ]


def fnir_at(scores: Scores, fpir: float) -> float:
    """Compute the share of known queries that are missed at a false positive rate."""
    strangers = np.sort(scores.rival)
    limit = np.nextafter(strangers[int(fpir * len(strangers))], -np.inf)
    found = (scores.own <= limit) & (scores.own < scores.rival)
    return 1 - float(found[scores.known].mean())


def compare_references(
    embeddings: ArrayLike,
    identities: ArrayLike,
    rule: str,
    numbers: Sequence[int] = REFERENCES,
    *,
    fpir: float = WANTED[0],
    seed: int = 0,
) -> list[References]:
    """Compare the error with some numbers of references, at one false positive rate.

    Each is the mean of up to 30 draws of the references, the fewer the more there is to compare.
    """
    size = len(np.unique(identities)) * min(len(np.asarray(identities)), QUERIES)
    draws = min(DRAWS, max(1, DRAWN // size))

    def drawn(number: int, draw: int) -> Jackknifed:
        # two words: (seed, draw) never meets (seed + 1, draw − 1)
        trials = leave_out(embeddings, identities, rule, references=number, seed=[seed, draw])
        return jackknifed(trials, lambda scores: fnir_at(scores, fpir))

    tried = [Jackknifed.mean([drawn(n, draw) for draw in range(draws)]) for n in numbers]
    gains = [tried[0].minus(found) for found in tried]
    return [
        References(
            n,
            found.interval(),
            bounded(gain.value, gain.error, quantile=gain.quantile, ends=apart(SHARE)),
        )
        for n, found, gain in zip(numbers, tried, gains, strict=True)
    ]


def _by_references(
    embeddings: ArrayLike, identities: ArrayLike, rule: str, sizes: NDArray[np.int64], seed: int
) -> list[References]:
    # the query itself is no reference
    numbers = [each for each in REFERENCES if (sizes > each).sum() >= LEAST]
    if len(numbers) < 2:
        return []
    return compare_references(embeddings, identities, rule, numbers, seed=seed)


def _point(growth: Growth, wanted: float) -> OpenSetPoint:
    size = growth.gallery
    limit = growth.threshold(wanted, size)
    return OpenSetPoint(wanted, limit, growth.fpir(limit, size), growth.fnir(limit, size))


def _grown(growth: Growth, threshold: float) -> list[GallerySize]:
    sizes = sorted({max(1, round(growth.gallery * share)) for share in SIZES})
    found = [
        GallerySize(
            size, size <= growth.gallery, growth.fpir(threshold, size), growth.fnir(threshold, size)
        )
        for size in sizes
    ]
    # a rate and its interval cannot fall while the gallery grows: noise of the estimate
    for at in range(1, len(found)):
        before, now = found[at - 1].fpir, found[at].fpir
        value, high = max(now.value, before.value), max(now.high, before.high)
        found[at] = replace(found[at], fpir=replace(now, value=value, high=high))
    return found


def _curve(trials: Trials) -> tuple[tuple[float, float, float], ...]:
    known, strangers = trials.known, np.sort(trials.rival)
    right = np.sort(trials.own[known & (trials.own < trials.rival)])
    every = np.unique(np.concatenate([strangers, right]))
    at = np.unique(np.linspace(0, len(every) - 1, CURVE).astype(int))
    fpir = np.searchsorted(strangers, every[at], side="right") / len(strangers)
    fnir = 1 - np.searchsorted(right, every[at], side="right") / known.sum()
    return tuple(zip(every[at].tolist(), fpir.tolist(), fnir.tolist(), strict=True))
