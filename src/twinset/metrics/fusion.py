"""Several scores of a pair as one: calibrated log-likelihood ratios, joined by logistic regression.

    fusion = fuse(scores, same, names=["distance", "distance 2", "price gap"])
    fusion.llr(scores_of_new_pairs)

The distances of two models, and any other number that says something of a pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinset.decision import Calibrator, Threshold, check_prior, truth
from twinset.errors import DataError
from twinset.files import Plain
from twinset.metrics.calibration import fit_calibrator
from twinset.metrics.pairs import choose_threshold, curve_of_pairs

if TYPE_CHECKING:
    from twinset.metrics.trials import Trials


Floats = NDArray[np.float64]
FOLDS = 5


@dataclass(frozen=True)
class Fusion(Plain):
    """A map from the scores of a pair to evidence: llr(s) = Σ_k slope_k · s_k + intercept.

    Args:
        names: of the k scores.
        slopes: of each; one has the sign that the score has alone, or is 0.
        intercept: the evidence where all scores are 0.
        cllr: cost of the joined evidence in bits, on pairs that it was not fitted to; 0 is perfect,
            1 is what knowing nothing costs.
        single: the same of each score alone, calibrated.
        pairs: how many it was fitted to.
        across: what was left out in turn for `cllr`, for people.
        threshold: of minus the evidence, chosen on pairs left out in turn.

    Example:
        >>> found = Fusion(("distance",), (-4.0,), 2.0, 0.3, (0.3,), 60, "5 folds")
        >>> found.llr([[0.5], [0.25]]).tolist(), found.probability([[0.5]], prior=0.1).round(3)
        ([0.0, 1.0], array([0.1]))
        >>> found.to_dict()["pairs"]
        60
    """

    names: tuple[str, ...]
    slopes: tuple[float, ...]
    intercept: float
    cllr: float
    single: tuple[float, ...]
    pairs: int
    across: str
    threshold: Threshold = Threshold(0.0, "even odds")  # noqa: RUF009 - frozen

    def llr(self, scores: ArrayLike) -> Floats:
        """Weigh the evidence of pairs, (p,), by their scores, (p, k); above 0 is for "same"."""
        return np.asarray(_checked(scores, len(self.names)) @ self.slopes + self.intercept)

    def probability(self, scores: ArrayLike, prior: float = 0.5) -> Floats:
        """Compute the probability that pairs are same, at a prior share of same pairs."""
        check_prior(prior)
        odds = self.llr(scores) + np.log(prior) - np.log1p(-prior)
        return np.asarray(np.exp(-np.logaddexp(0, -odds)))

    def sentence(self) -> str:
        """Say what each score tells alone, and what all tell together.

        Example:
            >>> Fusion(("a", "b"), (-1.0, 0.0), 0.5, 0.31, (0.31, 1.0), 60, "5 folds").sentence()
            'Cllr 0.310 joined; a alone 0.310, b alone 1.000 (60 pairs, 5 folds)'
        """
        alone = ", ".join(
            f"{n} alone {each:.3f}" for n, each in zip(self.names, self.single, strict=True)
        )
        return f"Cllr {self.cllr:.3f} joined; {alone} ({self.pairs:,} pairs, {self.across})"


def fuse(
    scores: ArrayLike,
    same: ArrayLike,
    *,
    names: Sequence[str] | None = None,
    groups: ArrayLike | None = None,
    rule: str = "balanced accuracy",
) -> Fusion:
    """Fit how several scores of a pair are joined, on pairs that people have judged.

    Each score is turned into a log-likelihood ratio of its own, and these are joined by a logistic
    regression with weights of 0 or more: a score that contradicts itself once the others are known
    is left out. Same and different pairs weigh one half together, so that the joined number is
    evidence, fit for any prior.

    Args:
        scores: finite numbers of shape (p, k): distances, or any other, of which more or less says
            "same".
        same: 1 or True for each pair that is the same, (p,).
        names: of the scores. Defaults to "score 1", …
        groups: pairs with equal numbers are left out together, such as those that share an image,
            (p,). Defaults to each pair by itself.
        rule: how the threshold is chosen, as for `Embedder.calibrate`. Defaults to "balanced
            accuracy".

    Returns:
        The fusion, with its Cllr by cross-validation over groups.

    Raises:
        DataError: shapes that differ, numbers that are not finite, or not both kinds of pairs.

    Reference:
        Brümmer, du Preez (2006), Application-Independent Evaluation of Speaker Detection.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> same = np.repeat([True, False], 200)
        >>> scores = np.where(same, 0.0, 1.0)[:, None] + 0.7 * rng.normal(size=(400, 2))
        >>> found = fuse(scores, same)
        >>> found.cllr < min(found.single)
        True
    """
    x, y = _checked(scores), truth(same)
    if y.shape != x.shape[:1] or y.all() or not y.any():
        raise DataError(
            "Expected scores (p, k) and for each pair whether it is the same, of both kinds. "
            f"Received shapes {x.shape} and {y.shape}, {int(y.sum()):,} pairs that are the same."
        )
    k = x.shape[1]
    told = tuple(names) if names is not None else tuple(f"score {i + 1}" for i in range(k))
    if len(told) != k:
        raise DataError(f"Expected a name of each of {k} scores. Received {len(told)}.")
    if groups is not None and np.shape(groups) != y.shape:
        raise DataError(
            f"Expected the group of each of {len(x):,} pairs. Received shape {np.shape(groups)}."
        )
    number = np.arange(len(x)) if groups is None else np.unique(groups, return_inverse=True)[1]
    found, parts = _left_out(x, y, number)
    slopes, intercept, _, _ = _fit(x, y)
    costs = [_cost(each, y) for each in found.T]
    across = f"cross-validated in {parts} parts" if parts else "on the pairs it was fitted to"
    chosen = choose_threshold(curve_of_pairs(-found[:, 0], y), rule)
    single = tuple(costs[1:])
    return Fusion(told, tuple(slopes.tolist()), intercept, costs[0], single, len(x), across, chosen)


def _left_out(x: Floats, y: NDArray[np.bool_], groups: NDArray[np.int64]) -> tuple[Floats, int]:
    # the evidence of all scores, then of each alone, from fits to the other folds
    count = int(groups.max()) + 1
    folds = np.random.default_rng(0).permutation(count)[groups] % min(FOLDS, count)
    kept = [folds != fold for fold in range(min(FOLDS, count))]
    if count < 2 or not all(y[k].any() and not y[k].all() for k in kept):
        kept = [np.ones(len(x), bool)]  # nothing can be left out
    found = np.empty((len(x), x.shape[1] + 1))
    for keep in kept:
        out = ~keep if len(kept) > 1 else keep
        slopes, intercept, a, b = _fit(x[keep], y[keep])
        found[out] = np.column_stack([x[out] @ slopes + intercept, x[out] * a + b])
    return found, len(kept) if len(kept) > 1 else 0


def _fit(x: Floats, y: NDArray[np.bool_]) -> tuple[Floats, float, Floats, Floats]:
    # slopes and intercept of all together, then slope and intercept of each alone
    from scipy.optimize import minimize

    # each alone, in the direction in which it speaks for "same"
    sign = np.where(x[y].mean(axis=0) > x[~y].mean(axis=0), -1.0, 1.0)
    single = [
        fit_calibrator(curve_of_pairs(s * column, y), evidence=len(y))
        for s, column in zip(sign, x.T, strict=True)
    ]
    a = np.array([each.slope for each in single]) * sign
    b = np.array([each.intercept for each in single])
    if len(a) == 1:
        return a, float(b[0]), a, b
    evidence = x * a + b
    p, n = y.sum(), (~y).sum()
    # as for one score: where a line separates the kinds, labels softened after Platt (1999)
    target = np.where(y, (p + 1) / (p + 2), 1 / (n + 2))
    mass = np.where(y, 0.5 / p, 0.5 / n)

    def cost(at: Floats) -> tuple[float, Floats]:
        odds = evidence @ at[:-1] + at[-1]
        wrong = mass * (1 / (1 + np.exp(-np.clip(odds, -700, 700))) - target)
        value = mass @ (np.logaddexp(0, odds) - target * odds)
        return float(value), np.append(wrong @ evidence, wrong.sum())

    start = np.append(np.full(len(a), 1 / len(a)), 0.0)
    bounds = [(0.0, None)] * len(a) + [(None, None)]
    at = minimize(cost, start, jac=True, method="L-BFGS-B", bounds=bounds, tol=1e-12).x
    return at[:-1] * a, float(at[:-1] @ b + at[-1]), a, b


def _cost(llr: Floats, y: NDArray[np.bool_]) -> float:
    bits = np.logaddexp(0, np.where(y, -llr, llr)) / np.log(2)
    return float((bits[y].mean() + bits[~y].mean()) / 2)


def _checked(scores: ArrayLike, columns: int | None = None) -> Floats:
    x = np.asarray(scores, np.float64)
    if x.ndim != 2 or not x.size or x.shape[1] != (columns or x.shape[1]):
        wanted = "k" if columns is None else columns
        raise DataError(f"Expected scores of shape (p, {wanted}). Received {x.shape}.")
    if not np.isfinite(x).all():
        row, column = np.argwhere(~np.isfinite(x))[0]
        raise DataError(f"Expected finite scores. Received {x[row, column]} of pair {row}.")
    return x


# Of the other identities so many of the nearest are weighed; what farther ones add is lost in them.
NEAREST = 50


def fit_posterior(views: Sequence[Trials]) -> tuple[Floats, Calibrator]:
    """Fit the weight of an identity by its joined distance, at the size of this gallery.

    Of several views of the same trials, by several models, the shares that each has in the joined
    distance are fitted with it.
    """
    # The conditional logit of McFadden (1974): out of all identities, each weighing
    # exp(Σ slope · d + intercept), and nobody known, weighing 1, it says how likely each is. Each
    # query was looked for twice, with its own identity in the gallery and without it, both weighing
    # one half. The likelihood is concave in all numbers. Answers that are right without exception
    # would make a slope infinite: as in Platt (1999), each counts as right to (p + 1) / (p + 2).
    from scipy.optimize import minimize

    known = views[0].known
    scales = [max(float(np.std(view.rival)), 1e-9) for view in views]
    centres = [float(np.median(view.rival)) for view in views]
    own, others = (
        np.stack([(d - c) / s for d, c, s in zip(each, centres, scales, strict=True)])
        for each in ([view.own[known] for view in views], [view.others for view in views])
    )
    count = min(NEAREST, others.shape[2] - 1)
    nearest = np.argsort(others.sum(axis=0), axis=1)[:, :count]
    others = np.take_along_axis(others, nearest[None], axis=2)  # (views, p, count)
    sure = (len(own[0]) + 1) / (len(own[0]) + 2)

    def cost(at: Floats) -> tuple[float, Floats]:
        found = []
        for options, right in ((others, None), (others[:, known], own)):
            x = options if right is None else np.concatenate([right[..., None], options], axis=2)
            odds = np.tensordot(at[:-1], x, 1) + at[-1]  # (p, options)
            total = np.logaddexp.reduce(odds, axis=1, initial=0.0)
            shares = np.exp(odds - total[:, None])
            if right is None:  # nobody is right; the nearest gets what is doubted
                shares[:, 0] -= 1 - sure
                told = total - (1 - sure) * odds[:, 0]
            else:
                shares[:, 0] -= sure
                told = total - sure * odds[:, 0]
            slopes = (x * shares).sum(axis=(1, 2))
            found.append(np.concatenate([[told.sum()], slopes, [shares.sum()]]) / len(told))
        both = found[0] + found[1]
        return float(both[0]), both[1:]

    bounds = [(None, -1e-9)] * len(views) + [(None, None)]
    start = np.append(np.full(len(views), -1.0 / len(views)), -1.0)
    at = minimize(cost, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    slopes = at[:-1] / scales
    slope = float(slopes.sum())
    return slopes / slope, Calibrator(slope, float(at[-1] - slopes @ centres))


def posterior(
    distances: Floats, weight: Calibrator, *, prior: float = 0.5, per_known: float = 1.0
) -> tuple[Floats, float]:
    """Weigh the identities of a gallery: the probability of each, (m,), and of nobody known.

    `prior` is the share of queries that show somebody known, and `per_known` by how much fewer
    identities there are than when the weight was fitted.
    """
    check_prior(prior)
    odds = weight.llr(distances) + (np.log(per_known) + np.log(prior) - np.log1p(-prior))
    largest = max(float(odds.max()), 0.0)
    shares, nobody = np.exp(odds - largest), np.exp(-largest)
    total = shares.sum() + nobody
    return shares / total, float(nobody / total)
