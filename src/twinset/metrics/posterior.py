"""Who it is, as probabilities: of each identity in a gallery, and of nobody known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from twinset.decision import Calibrator, check_prior

if TYPE_CHECKING:
    from twinset.metrics.trials import Trials

Floats = NDArray[np.float64]

# Of the other identities so many of the nearest are weighed; what farther ones add is lost in them.
NEAREST = 50


def fit_posterior(trials: Trials) -> Calibrator:
    """Fit the weight of an identity by its joined distance, at the size of this gallery."""
    # The conditional logit of McFadden (1974): out of all identities, each weighing
    # exp(slope · d + intercept), and nobody known, weighing 1, it says how likely each is. Each
    # query was looked for twice, with its own identity in the gallery and without it, both weighing
    # one half. The likelihood is concave in both numbers. Answers that are right without exception
    # would make the slope infinite: as in Platt (1999), each counts as right to (p + 1) / (p + 2).
    from scipy.optimize import minimize

    count = min(NEAREST, trials.others.shape[1] - 1)
    others = np.partition(trials.others, count - 1, axis=1)[:, :count]
    known = trials.known
    own, beside = trials.own[known], others[known]
    centre, scale = float(np.median(trials.rival)), max(float(np.std(others[:, 0])), 1e-9)
    x_own, x_beside, x_others = ((d - centre) / scale for d in (own, beside, others))
    sure = (len(own) + 1) / (len(own) + 2)

    def cost(at: Floats) -> float:
        a, b = at
        rest = np.logaddexp.reduce(np.column_stack([a * x_others + b, np.zeros(len(others))]), 1)
        options = np.column_stack([a * x_own + b, a * x_beside + b, np.zeros(len(own))])
        all_ = np.logaddexp.reduce(options, axis=1)
        right = all_ - sure * options[:, 0]
        nobody = rest - (1 - sure) * (a * x_others + b).max(axis=1)
        return float(right.mean() + nobody.mean())

    found = minimize(cost, [-1.0, -1.0], bounds=[(None, -1e-9), (None, None)]).x
    slope = float(found[0] / scale)
    return Calibrator(slope, float(found[1] - slope * centre))


def posterior(
    distances: Floats, weight: Calibrator, *, prior: float = 0.5, per_known: float = 1.0
) -> tuple[Floats, float]:
    """Weigh the identities of a gallery: the probability of each, (m,), and of nobody known.

    `prior` is the share of queries that show somebody known, and `per_known` by how much fewer
    identities there are than when the weight was fitted.
    """
    check_prior(prior)
    odds = weight.llr(distances) + np.log(per_known) + np.log(prior) - np.log1p(-prior)
    total = np.logaddexp.reduce(np.append(odds, 0.0))
    return np.exp(odds - total), float(np.exp(-total))
