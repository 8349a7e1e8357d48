"""Who it is, as probabilities: of each identity in a gallery, and of nobody known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from twinset.decision import Calibrator, check_prior

if TYPE_CHECKING:
    from twinset.metrics.trials import Trials

Floats = NDArray[np.float64]

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
