"""What simple classifiers read from an embedding: a vote of neighbours, and a linear probe."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinset.errors import DataError
from twinset.evaluate.baselines import unit_norm
from twinset.evaluate.retrieval import GRID_BITS, checked


@dataclass(frozen=True)
class ProbeScores:
    """What a linear classifier reads from an embedding.

    Args:
        accuracy: share of right answers on the test part, in [0, 1].
        strength: the chosen one out of `strengths`.
    """

    accuracy: float
    strength: float


def knn_accuracy(
    gallery: ArrayLike,
    gallery_labels: ArrayLike,
    queries: ArrayLike,
    query_labels: ArrayLike,
    *,
    k: int = 1,
    block: int = 512,
) -> float:
    """Classify queries by a vote of their k nearest gallery items, and count the right answers.

    Nearest is the highest cosine, without rounding, on unit vectors whose coordinates are whole
    multiples of 2⁻²⁴; equal ones rank by position. A neighbour's vote weighs max(0, cosine). Of
    classes with equal votes, the one wins whose first member is nearest. A row of zeros has
    cosine 0 to all.

    Do not read it as accuracy on data of another mix of classes, and let no query be in the
    gallery: it would find itself.

    Args:
        gallery: finite numbers of shape (m, d).
        gallery_labels: classes of shape (m,).
        queries: finite numbers of shape (n, d).
        query_labels: classes of shape (n,), each one of the gallery's.
        k: neighbours that vote, from 1 to m. Defaults to 1.
        block: queries at a time; memory grows with block · m. Defaults to 512.

    Returns:
        A share in [0, 1].

    Raises:
        DataError: NaN or infinite numbers, wrong shapes, k out of range, or a query's class that
            the gallery does not have.

    Reference:
        Wu, Xiong, Yu, Lin (2018), Unsupervised Feature Learning via Non-Parametric Instance
        Discrimination; there a vote weighs exp(cosine / τ).

    Example:
        >>> knn_accuracy([[1, 0], [0, 1], [1, 1]], [0, 1, 1], [[4, 1], [1, 4]], [0, 1], k=3)
        0.5
    """
    (known, classes), (asked, truth) = _parts((gallery, gallery_labels), (queries, query_labels))
    if not 1 <= k <= len(known) or block < 1:
        raise DataError(
            f"Expected k from 1 to {len(known)}, the size of the gallery, and a block of 1 or "
            f"more. Received k = {k} and block = {block}."
        )
    known, asked = (np.rint(np.ldexp(unit_norm(x), GRID_BITS)) for x in (known, asked))
    right = 0
    for start in range(0, len(asked), block):
        cosines = asked[start : start + block] @ known.T  # times 4²⁴; a few dozen add up exactly
        nearest = np.stack([_highest(row, k) for row in cosines])
        votes = np.maximum(np.take_along_axis(cosines, nearest, axis=1), 0)
        voted = classes[nearest]
        # for each voter, the votes for its class; argmax finds the first of equals: the nearest
        for_class = np.einsum("qij,qj->qi", voted[:, :, None] == voted[:, None, :], votes)
        answers = voted[np.arange(len(voted)), for_class.argmax(axis=1)]
        right += int((answers == truth[start : start + block]).sum())
    return right / len(asked)


def linear_probe(
    fit: ArrayLike,
    fit_labels: ArrayLike,
    tune: ArrayLike,
    tune_labels: ArrayLike,
    test: ArrayLike,
    test_labels: ArrayLike,
    *,
    strengths: Sequence[float] = (0.01, 0.1, 1, 10, 100),
) -> ProbeScores:
    """Train a linear classifier on frozen embeddings, and score it.

    Logistic regression with an L2 penalty on standardised coordinates. The strength is the one
    with the most right answers on the tune part, the smallest of equals; the test part is
    scored once. No randomness; at most 200 steps of L-BFGS for each strength, converged or not.

    Do not read it as the model's own accuracy: the probe sees labels that the model's distances
    do not use, and can pick few informative coordinates out of many noisy ones.

    Args:
        fit: finite numbers of shape (n, d), to learn from.
        fit_labels: classes of shape (n,), two or more.
        tune: finite numbers of shape (m, d), to choose the strength by.
        tune_labels: classes of shape (m,), out of those of `fit_labels`.
        test: finite numbers of shape (q, d), to score.
        test_labels: classes of shape (q,), out of those of `fit_labels`.
        strengths: candidates for scikit-learn's C, the inverse of the penalty, each above 0.
            Defaults to (0.01, 0.1, 1, 10, 100).

    Raises:
        DataError: NaN or infinite numbers, wrong shapes, fewer than two classes, a class that
            `fit_labels` does not have, or strengths that are not above 0.

    Reference:
        Alain, Bengio (2016), Understanding Intermediate Layers Using Linear Classifier Probes.

    Example:
        >>> line, side = [[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 1, 1]
        >>> linear_probe(line, side, line, side, [[-0.5], [3.0]], [0, 1])
        ProbeScores(accuracy=1.0, strength=0.01)
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    (x, y), *others = _parts((fit, fit_labels), (tune, tune_labels), (test, test_labels))
    if not strengths or min(strengths) <= 0:
        raise DataError(f"Expected strengths above 0, one or more. Received {tuple(strengths)}.")
    if y.max() == 0:
        raise DataError("Expected two classes or more to fit a probe. Received 1.")
    # started from the weights of the strength before, which saves half of the steps
    classifier = LogisticRegression(max_iter=200, warm_start=True)
    probe = make_pipeline(StandardScaler(), classifier)
    highest, chosen = -1.0, probe
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for strength in sorted(strengths):
            classifier.set_params(C=strength)
            probe.fit(x, y)
            if (score := float(probe.score(*others[0]))) > highest:
                highest, chosen = score, copy.deepcopy(probe)
    return ProbeScores(float(chosen.score(*others[1])), strength=float(chosen[-1].C))


def _highest(row: NDArray[np.float64], k: int) -> NDArray[np.intp]:
    """Find the positions of the k highest values, highest first, equal ones by position."""
    # Of the highest of many groups, the k-th is no higher than the k-th of all: a bound in one
    # pass, where a partition of the row takes five times as long.
    width = max(1, len(row) // (8 * k))
    groups = len(row) // width
    tops = row[: width * groups].reshape(width, groups).max(axis=0)
    bound = np.partition(tops, groups - k)[groups - k]
    candidates = np.flatnonzero(row >= bound)
    return candidates[np.argsort(-row[candidates], kind="stable")[:k]]


def _parts(
    *parts: tuple[ArrayLike, ArrayLike],
) -> list[tuple[NDArray[np.float64], NDArray[np.intp]]]:
    """Check the parts of a data set, and number the classes by those of the first part."""
    (first, labels), *_ = pairs = [checked(*part) for part in parts]
    known = np.unique(labels)
    for x, classes in pairs:
        if x.shape[1] != first.shape[1]:
            raise DataError(
                f"Expected vectors of one length. Received {first.shape[1]} and {x.shape[1]}."
            )
        strange = np.setdiff1d(classes, known)
        if strange.size:
            raise DataError(
                f"Expected classes out of {known.tolist()}, those to learn from. "
                f"Received {strange[0]}, which no answer could be."
            )
    return [(x, np.searchsorted(known, classes)) for x, classes in pairs]
