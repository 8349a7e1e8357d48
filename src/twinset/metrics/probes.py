"""What simple classifiers read from an embedding: votes, a linear probe, one example of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinset.errors import DataError
from twinset.metrics.baselines import checked, unit_norm
from twinset.metrics.intervals import Estimate, Interval
from twinset.metrics.retrieval import GRID_BITS
from twinset.nearest import Matrix


@dataclass(frozen=True)
class ProbeScores:
    """What a linear classifier reads from an embedding."""

    accuracy: float  # share of right answers on the test part, in [0, 1]
    strength: float


def knn_right(
    gallery: ArrayLike,
    gallery_labels: ArrayLike,
    queries: ArrayLike,
    query_labels: ArrayLike,
    *,
    ks: Sequence[int] = (1, 20),
    block: int = 1024,
) -> dict[int, NDArray[np.bool_]]:
    """Classify queries by a vote of their nearest gallery items, for several numbers of voters."""
    # Nearest is the smallest distance of vectors of length 1, whose coordinates are whole multiples
    # of 2⁻²⁴, so that it is exact; equal ones rank by position. A neighbour's vote weighs
    # max(0, cosine). Of classes with equal votes, the one wins whose first member is nearest. A row
    # of zeros stays one: its vote weighs nothing, and what is nearest to it is left to rounding.
    # Returns for each k, whether each query got the right answer, bool of shape (n,). Do not read
    # their share as accuracy on data of another mix of classes, and let no query be in the gallery:
    # it would find itself.
    # Wu, Xiong, Yu, Lin (2018), Unsupervised Feature Learning via Non-Parametric Instance
    # Discrimination; there a vote weighs exp(cosine / τ).
    (known, classes), (asked, true) = _parts((gallery, gallery_labels), (queries, query_labels))
    depths = list(dict.fromkeys(ks))
    matrix = Matrix(_on_unit_grid(known), precise=True)
    squares = _squares(matrix.vectors)
    del known
    found = {k: np.empty(len(asked), bool) for k in depths}
    for start in range(0, len(asked), block):
        part = slice(start, start + block)
        rows = _on_unit_grid(asked[part])
        hits = matrix.search(rows, k=max(depths))
        nearest, apart = (each.reshape(len(rows), -1) for each in (hits.positions, hits.distances))
        # 2 a·b = ‖a‖² + ‖b‖² − ‖a − b‖², whole numbers but for the root that was squared again
        products = _squares(rows)[:, None] + squares[nearest] - np.rint(apart**2)
        votes, voted = np.maximum(products, 0), classes[nearest]
        agree = voted[:, :, None] == voted[:, None, :]
        for k in depths:
            # for each voter, the votes for its class; argmax finds the first of equals: the nearest
            for_class = np.einsum("qij,qj->qi", agree[:, :k, :k], votes[:, :k])
            answers = voted[np.arange(len(voted)), for_class.argmax(axis=1)]
            found[k][part] = answers == true[part]
    return found


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
    """Train a linear classifier on frozen embeddings, and score it."""
    # Logistic regression with an L2 penalty on standardised coordinates, in float32. The strength
    # is the one with the most right answers on the tune part, the smallest of equals; they are
    # tried from the smallest, until one does worse than the best before. The test part is scored
    # once. No randomness; at most 200 steps of L-BFGS for each strength, converged or not.
    # Do not read it as the model's own accuracy: the probe sees labels that the model's distances
    # do not use, and can pick few informative coordinates out of many noisy ones.
    # Alain, Bengio (2016), Understanding Intermediate Layers Using Linear Classifier Probes.
    from threadpoolctl import threadpool_limits

    (x, y), *others = _parts((fit, fit_labels), (tune, tune_labels), (test, test_labels))
    if y.max() == 0:
        raise DataError("Expected two classes or more to fit a probe. Received 1.")
    mean, spread = x.mean(axis=0), x.std(axis=0)
    spread = np.where(spread > 10 * np.finfo(np.float64).eps * np.abs(mean), spread, 1.0)

    def ready(rows: NDArray[np.float64]) -> NDArray[np.float32]:
        standard = np.append((rows - mean) / spread, np.ones((len(rows), 1)), axis=1)
        return np.asarray(standard, np.float32)

    def score(part: tuple[NDArray[np.float32], NDArray[Any]]) -> float:
        return float(((part[0] @ weights).argmax(axis=1) == part[1]).mean())

    known = ready(x)
    tuning, testing = ((ready(rows), classes) for rows, classes in others)
    weights = np.zeros((known.shape[1], y.max() + 1), np.float32)
    highest, chosen = -1.0, ProbeScores(0.0, 0.0)
    # Hundreds of small products: a second thread gains little, and on a busy machine the two wait
    # for each other most of the time.
    with threadpool_limits(1, "blas"):
        for strength in sorted(strengths):
            # started from the weights of the strength before, which saves half of the steps
            weights = _logistic(known, y, strength, weights)
            on_tune = score(tuning)
            if on_tune < highest:  # a weaker penalty still only fits the noise, and takes longest
                break
            if on_tune > highest:
                highest, chosen = on_tune, ProbeScores(score(testing), strength=float(strength))
    return chosen


def _logistic(
    x: NDArray[np.float32], y: NDArray[Any], strength: float, start: NDArray[np.float32]
) -> NDArray[np.float32]:
    # The minimum of mean cross-entropy + ‖w‖² / (2 · strength · n) over weights (d + 1, classes),
    # of which the last row, the offset, is free; of two classes w is their difference. As
    # scikit-learn's `LogisticRegression`, which would take 60 MB of every installation.
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    rows = np.arange(len(x))
    penalty = (2 if start.shape[1] == 2 else 1) / (strength * len(x))

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = flat.reshape(start.shape)
        logs = log_softmax(x @ weights.astype(np.float32), axis=1)
        wrong = np.exp(logs)
        wrong[rows, y] -= 1
        slope = np.asarray(x.T @ (wrong / len(x)), np.float64)
        slope[:-1] += penalty * weights[:-1]
        cost = 0.5 * penalty * np.square(weights[:-1]).sum() - logs[rows, y].mean(dtype=np.float64)
        return float(cost), slope.ravel()

    # stops as scikit-learn's, converged or not
    options = {"maxiter": 200, "gtol": 1e-4, "ftol": 64 * np.finfo(float).eps}
    flat = start.ravel().astype(np.float64)
    found = minimize(loss, flat, jac=True, method="L-BFGS-B", options=options)
    return np.asarray(found.x.reshape(start.shape), np.float32)


def draw_episodes(
    labels: ArrayLike, *, ways: int = 5, episodes: int = 600, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw episodes: classes without repetition, then of each two different images."""
    # The first of the two is the support, the second the query. Classes of one image are never
    # drawn. All is a function of the labels' order and the seed, so two models meet the same tasks.
    # Returns positions, both of shape (episodes, ways): column i of both is of one class.
    values = np.asarray(labels)
    members = [np.flatnonzero(values == label) for label in np.unique(values)]
    members = [each for each in members if len(each) > 1]
    if len(members) < ways:
        raise DataError(
            f"Expected {ways} classes of at least 2 images. Received {len(members)}: "
            "ask for fewer ways."
        )
    rng = np.random.default_rng(seed)
    drawn = np.array(
        [
            [rng.choice(members[k], 2, replace=False) for k in rng.permutation(len(members))[:ways]]
            for _ in range(episodes)
        ],
        np.int64,
    )  # (e, w, 2)
    return drawn[:, :, 0], drawn[:, :, 1]


def one_shot_accuracy(
    embeddings: NDArray[Any],
    labels: ArrayLike,
    *,
    ways: int = 5,
    episodes: int = 600,
    seed: int = 0,
) -> Interval:
    """Measure how often the nearest of one example per class is of the query's class."""
    # Of each episode's `ways` queries, one per class, the share whose nearest support (Euclidean)
    # is of their class; of equally near ones the first drawn wins, so that equal embeddings score 1
    # / `ways`, chance. The value is the mean over episodes.
    # The interval takes the episode for the unit, whose queries share their supports. It says how
    # well the episodes tell the mean over all that could be drawn from these images, and with them
    # from others of the same classes as long as few images are drawn twice.
    # Do not read it as an interval for other classes: where there are no more classes than ways,
    # every episode has the same ones. For that compare folds.
    # Vinyals, Blundell, Lillicrap, Kavukcuoglu, Wierstra (2016), Matching Networks for One Shot
    # Learning.
    drawn = draw_episodes(labels, ways=ways, episodes=episodes, seed=seed)
    rows, _ = checked(embeddings.reshape(len(embeddings), -1), labels)
    right = np.array(
        [
            _nearest(rows[queries], rows[support]) == np.arange(ways)
            for support, queries in zip(*drawn, strict=True)
        ]
    ).mean(axis=1)  # (e,)
    value = float(right.mean())
    return Estimate(value, (right - value) / episodes, 0.0).interval()


def _nearest(queries: NDArray[np.float64], support: NDArray[np.float64]) -> NDArray[np.intp]:
    """Find the nearest support of each query; argmin takes the first of equals."""
    squares = np.square(queries[:, None] - support[None]).sum(axis=2)  # (w, w)
    return np.asarray(squares.argmin(axis=1))


def _on_unit_grid(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    """Scale rows to length 1, in whole multiples of 2⁻²⁴, and give the multiples."""
    # Whole numbers up to 2²⁴ are exact in float32.
    grid = np.empty(vectors.shape, np.float32)
    for start in range(0, len(vectors), 4096):  # no second copy in float64
        part = slice(start, start + 4096)
        grid[part] = np.rint(np.ldexp(unit_norm(vectors[part]), GRID_BITS))
    return grid


def _squares(grid: NDArray[np.float32]) -> NDArray[np.float64]:
    squares: NDArray[np.float64] = np.einsum("nd,nd->n", grid, grid, dtype=np.float64)
    return squares


def stratified(labels: ArrayLike, count: int, *, seed: int) -> NDArray[np.intp]:
    """Draw a sample that keeps the mix of classes."""
    # Returns positions, ascending; of each class its share, within one, and at least one.
    classes = np.asarray(labels)
    n = len(classes)
    order = np.random.default_rng(seed).permutation(n)
    order = order[np.argsort(classes[order], kind="stable")]  # by class, random within
    count = min(count, n)
    # evenly spaced: each class gives its share
    chosen = order[(np.arange(count) * n + n // 2) // count]
    _, firsts = np.unique(classes[order], return_index=True)
    missed = order[firsts][~np.isin(classes[order[firsts]], classes[chosen])]
    return np.sort(np.concatenate([chosen, missed]))


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
