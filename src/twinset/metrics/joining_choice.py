"""Which rule of joining serves a collection best: cross-validated over identities.

choice = choose_rule(embeddings, identities)
join(distances, codes, choice.chosen)
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from twinset import tables
from twinset.metrics.intervals import Interval
from twinset.metrics.joining import RULES
from twinset.metrics.trials import Scores, jackknifed, leave_out

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
    """The rules of joining, judged by cross-validation over identities, and the one taken.

    Args:
        chosen: name of the rule to use.
        rows: one for each rule, simplest first; empty where there was nothing to choose by.
        identities: how many there are.
        probes: how many queries were left out in turn.
        together: images of one query.
    """

    chosen: str
    rows: tuple[JudgedRule, ...]
    identities: int
    probes: int
    together: int = 1

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

    def summary(self) -> str:
        """Lay the rules out as a table for a terminal."""
        rows = [
            ["->" if row.rule == self.chosen else "", row.rule, _cell(row.score), _cell(row.rank_1)]
            for row in self.rows
        ]
        table = [tables.text(["", "rule", ">identified", ">rank 1"], rows)] if rows else []
        return "\n".join([*table, f"{self.chosen}: {self.reason}."])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self) | {"reason": self.reason}


def choose_rule(
    embeddings: ArrayLike, identities: ArrayLike, *, together: int = 1, seed: int = 0
) -> JoiningChoice:
    """Choose the rule of joining by cross-validation over identities.

    Images are left out of their identity in turn and looked for among all: once with their own
    identity enrolled, and once without it, as somebody unknown. A rule is judged by the mean of the
    identification rate (own identity at rank 1, within the threshold) over all thresholds whose
    false positive identification rate is up to 10%; these come from the other folds' identities.
    The simplest rule within one standard error of the best is taken, the error of the difference
    by a jackknife over identities.

    Args:
        embeddings: (n, d).
        identities: a label of each, (n,).
        together: images that are one query. Defaults to 1.
        seed: of the folds, and of the draw where there are more than enough images. Defaults to 0.

    Returns:
        The rule with the table of all. "nearest" with no table where fewer than two identities have
        more than `together` images.

    Raises:
        DataError: embeddings are not finite, or not one label for each.

    Reference:
        Breiman, Friedman, Olshen, Stone (1984), Classification and Regression Trees (one standard
        error).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> people = np.repeat(np.arange(30), 6)
        >>> faces = rng.normal(size=(30, 16))[people] + 0.5 * rng.normal(size=(180, 16))
        >>> choose_rule(faces, people).chosen
        'mean embedding'
    """
    tried = {
        rule: leave_out(embeddings, identities, rule, together=together, seed=seed)
        for rule in RULES
    }
    first = tried[RULES[0]]
    able = np.unique(first.who[np.isfinite(first.own)])
    if len(able) < 2:
        return JoiningChoice(RULES[0], (), first.identities, len(first), together)
    scores = {rule: jackknifed(each, _rate) for rule, each in tried.items()}
    best = max(RULES, key=lambda rule: scores[rule].value)
    rows = []
    for rule in RULES:
        gap = scores[best].minus(scores[rule])
        rank_1 = jackknifed(tried[rule], Scores.rank_1).interval()
        rows.append(JudgedRule(rule, scores[rule].interval(), rank_1, gap.value, gap.error))
    # two rules of the same distances have no error of the difference: rounding is no difference
    chosen = next(row.rule for row in rows if row.behind <= row.error + 1e-9)
    return JoiningChoice(chosen, tuple(rows), first.identities, len(first), together)


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


def _cell(number: Interval) -> str:
    return f"{number.value:.1%} ({number.low:.1%} to {number.high:.1%})"
