"""Which recipe serves a collection best: candidates, cross-validated, the simplest good one taken.

    found = choose(parts.fit, recipe)
    model = fit(parts.fit, found.recipe)

Each candidate is fitted on most of the images, and judged on what was left out: whole classes where
the model is for things that it has not seen, else images of each class. It is judged by the mean of
AUC and MAP@R. The simplest candidate within one standard error of the best is taken: pixels (of 32
× 32 cells at most) are among them, so the choice is never worse than doing nothing, as far as the
images can tell.

Reference:
    Breiman, Friedman, Olshen, Stone (1984), Classification and Regression Trees (one standard
    error).
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.cores import cores
from twinset.data.labelled import Labelled
from twinset.data.pair_parts import pairs_of, too_few, turns_of_pairs
from twinset.data.purpose import MANY_CLASSES, left_out_by, settled
from twinset.data.split import Turns, take_turns
from twinset.errors import DataError, TwinsetError
from twinset.evaluation.candidates import Candidate, Features, candidates_for
from twinset.evaluation.chosen import Choice, Judged
from twinset.evaluation.crossfit import CrossFitted, crossfit
from twinset.metrics.intervals import Estimate, Interval, auc_estimate, bounded
from twinset.metrics.retrieval import recall_key, retrieve
from twinset.progress import Progress, Wanted, reporting
from twinset.recipe import Recipe

# Images that candidates are fitted to, and that they are compared on: more cost time, and say no
# more of which is best.
JUDGED, COMPARED = 6_000, 3_000
# Two candidates of the same distances, up to a rotation, have no error of the difference at all.
ROUNDING = 1e-6


def _no_time(candidate: Candidate) -> str:
    takes = f", which takes {candidate.seconds / 60:,.0f} min" if candidate.seconds else ""
    return f"it has to be trained{takes}: allow the time with --budget"


def choose(
    data: Labelled,
    recipe: str | Path | Recipe = "auto",
    *,
    turns: Turns | None = None,
    progress: Wanted = False,
    **overrides: Any,
) -> Choice:
    """Cross-validate the candidates for a collection, and take the simplest good one.

    Args:
        data: the training images, or features that another model made of them.
        recipe: as for `train`; its `choice`, `images`, `split`, `rule` and `seed` count. Defaults
            to "auto".
        turns: what is left out in turn. Defaults to turns by the recipe's `choice.purpose`.
        progress: as for `fit`. Defaults to False.
        **overrides: fields of the recipe to replace, as in `Recipe.load`.

    Returns:
        The table of candidates, and the recipe of the one that was taken, for `fit`.

    Raises:
        DataError: too few images to leave any out, or no candidate could be fitted.

    Example:
        >>> import numpy as np, twinset
        >>> rng = np.random.default_rng(0)
        >>> vectors = rng.normal(size=(8, 6))[np.arange(64) % 8] + rng.normal(size=(64, 6)) / 99
        >>> names = tuple("abcdefgh")
        >>> data = twinset.LabelledFeatures(vectors, np.arange(64) % 8, names)
        >>> found = choose(data)
        >>> found.chosen  # as good as any other
        'features, as they are'
        >>> list(found.facts())
        ['Candidates']
        >>> found.to_dict()["chosen"] == found.chosen, found.chosen in found.summary()
        (True, True)
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found.write(Path(folder))
        ...     again = Choice.read(Path(folder), data, found.asked)
        ...     sorted(path.name for path in Path(folder).iterdir()), again.chosen == found.chosen
        (['choice.json', 'choice.npz'], True)
    """
    chosen = Recipe.load(recipe, **overrides)
    by = left_out_by(chosen, data.labels) or "image" if turns is None else turns.by
    if data.judged is None:  # of which pairs are left out
        chosen = settled(chosen, by)
    rows_of = _sampled(data, chosen.seed)
    sample = data if len(rows_of) == len(data) else data.subset(rows_of)
    if data.judged is not None and (turns is None or sample is not data):
        turns = turns_of_pairs(sample, seed=chosen.seed)
        if turns is None:
            raise DataError(too_few(data))
    if turns is None or (sample is not data and data.judged is None):
        turns = take_turns(sample.labels, by=by, units=sample.groups, seed=chosen.seed)
    candidates = candidates_for(chosen, sample)
    started = time.perf_counter()
    rows: list[Judged] = []
    with reporting(progress) as report:
        known = Features(sample, report)
        for number, candidate in enumerate(candidates):
            report(Progress(f"try {candidate.name}", number, len(candidates), "candidates"))
            left = _budget(chosen, len(data)) - (time.perf_counter() - started)
            if candidate.trains and left <= candidate.seconds:
                rows.append(Judged(candidate.name, 0.0, left_out=_no_time(candidate)))
            else:
                rows.append(_judged(candidate, sample, known, turns))
        report(Progress("try candidates", len(candidates), len(candidates), "candidates"))
    scored = [row for row in rows if row.score is not None]
    if not scored:
        raise DataError(f"{data.name}: no candidate could be fitted. {rows[0].left_out}")
    best = max(scored, key=_value)
    assert best.found is not None
    clusters = _clusters(_thinned(best.found), turns.by)
    good = next(row for row in scored if _as_good(row, best, clusters))
    # Errors of differences differ, so a simpler and better one may have missed it by a hair.
    taken = next(row for row in scored if _value(row) >= _value(good))
    assert taken.found is not None
    return Choice(
        rows=tuple(rows),
        chosen=taken.name,
        best=best.name,
        recipe=next(each.recipe for each in candidates if each.name == taken.name),
        across=turns.across,
        by=turns.by,
        asked=chosen,
        found=replace(taken.found, data=data.digest, positions=rows_of[taken.found.positions]),
    )


def _budget(recipe: Recipe, images: int) -> float:
    # of few images little can be learned, and their owner waits for seconds and not for minutes
    allowed = recipe.choice.budget
    return min(max(images - 1000, 0) / 50, 300.0) if allowed == "auto" else float(allowed)


def _sampled(data: Labelled, seed: int) -> NDArray[np.int64]:
    # as many images of each class as there is room for, ten at least; else fewer classes
    labels = data.labels
    if len(labels) <= JUDGED:
        return np.arange(len(labels))
    rng = np.random.default_rng(seed)
    if data.judged is not None:  # so many pairs, whose images come with them
        known = pairs_of(data)
        order = rng.permutation(len(known))
        both = np.stack([known.left[order], known.right[order]], axis=1).ravel()
        _, first = np.unique(both, return_index=True)
        return np.unique(both[: int(np.sort(first)[:JUDGED][-1]) + 1])
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    kinds, first, counts = np.unique(labels[order], return_index=True, return_counts=True)
    most = max(JUDGED // len(kinds), 10)
    taken = np.arange(len(order)) - np.repeat(first, counts) < most
    if taken.sum() > JUDGED:
        few = rng.permutation(kinds)[: JUDGED // most]
        taken &= np.isin(labels[order], few)
    return np.sort(order[taken])


def _judged(candidate: Candidate, data: Labelled, known: Features, turns: Turns) -> Judged:
    started = time.perf_counter()
    try:
        # A head in closed form is numpy alone, a fold for each core: on a busy machine BLAS' own
        # threads, which wait for one another, took ten times as long.
        threads = 1 if candidate.trains else cores()
        found = crossfit(*candidate.fitter(data, known), turns=turns, seed=0, threads=threads)
    except TwinsetError as error:  # one that cannot be fitted is no reason not to try the others
        return Judged(candidate.name, time.perf_counter() - started, left_out=str(error))
    compared = _thinned(found)
    auc = auc_estimate(compared.part.pairs)
    # nobody knows which of the nearest are the same, where pairs were judged
    ranked, recall = (None, math.nan) if found.judged.size else _map_at_r(compared)
    judged = Judged(
        candidate.name,
        time.perf_counter() - started,
        dim=found.embeddings.shape[1],
        recall_at_1=recall,
        score=auc.times(0.5).plus(ranked or auc, 0.5),
        found=found,
    )
    clusters = _clusters(compared, turns.by)
    return replace(
        judged,
        auc=_interval(auc, clusters),
        map_at_r=None if ranked is None else _interval(ranked, clusters),
    )


def _map_at_r(found: CrossFitted) -> tuple[Estimate | None, float]:
    # Each turn ranks its own images; queries without a partner there are in no mean. The pulls are
    # those of the queries alone, as what is compared has the same gallery: as intervals they are
    # too narrow where images are left out (see `retrieval_estimates`).
    pulls = np.zeros(len(found.labels))
    values = np.full((2, len(found.labels)), np.nan)
    for turn in np.unique(found.turns):
        rows = np.flatnonzero(found.turns == turn)
        counts = np.unique(found.labels[rows], return_inverse=True, return_counts=True)
        asks = counts[2][counts[1]] > 1
        if asks.any():
            scores = retrieve(found.embeddings[rows], found.labels[rows], ks=(1,))
            for place, name in enumerate(("map_at_r", recall_key(1))):
                values[place, rows[asks]] = scores.per_query[name]
    scored = ~np.isnan(values[0])
    if not scored.any():
        return None, math.nan
    mean = float(values[0, scored].mean())
    pulls[scored] = (values[0, scored] - mean) / scored.sum()
    return Estimate(mean, pulls, 0.0), float(values[1, scored].mean())


def _thinned(found: CrossFitted) -> CrossFitted:
    # the same images of every candidate: all pairs of three thousand take a third of a second
    count = len(found.labels)
    if count <= COMPARED or found.judged.size:
        return found
    rows = np.sort(np.random.default_rng(0).permutation(count)[:COMPARED])
    return replace(
        found,
        embeddings=found.embeddings[rows],
        labels=found.labels[rows],
        positions=found.positions[rows],
        turns=found.turns[rows],
    )


def _clusters(found: CrossFitted, by: str) -> NDArray[np.int64]:
    # Another collection would hold other classes, and not only other images, where these are what
    # is left out: the images of one then count as one observation. Of few classes such an error is
    # hardly known itself (Cameron, Miller, 2015), and would take the simplest of all.
    if found.judged.size:  # whose pulls are of things already
        return np.arange(len(auc_estimate(found.part.pairs).pulls))
    kinds, codes = np.unique(found.labels, return_inverse=True)
    if by == "class" and len(kinds) >= MANY_CLASSES:
        return codes.astype(np.int64)
    return np.arange(len(codes))


def _error(pulls: NDArray[np.float64], clusters: NDArray[np.int64]) -> float:
    return float(np.linalg.norm(np.bincount(clusters, pulls)))


def _interval(number: Estimate, clusters: NDArray[np.int64]) -> Interval:
    # where no error was seen, each cluster is one try
    error = _error(number.pulls, clusters)
    return bounded(number.value, error, tries=len(np.unique(clusters)))


def _value(row: Judged) -> float:
    return -math.inf if row.score is None else row.score.value


def _as_good(row: Judged, best: Judged, clusters: NDArray[np.int64]) -> bool:
    # the error of the difference: what both find hard cancels out
    assert row.score is not None
    assert best.score is not None
    error = _error(best.score.pulls - row.score.pulls, clusters)
    return best.score.value - row.score.value <= error + ROUNDING
