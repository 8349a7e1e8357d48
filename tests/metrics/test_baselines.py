import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import twinset
from twinset import distance
from twinset.errors import DataError
from twinset.metrics.baselines import fit_pca, raw_pixels, unit_norm
from twinset.metrics.pairs import best_accuracy_threshold, score_pairs
from twinset.metrics.retrieval import retrieve


def eer(distances, same):
    """Half the sum of the two rates where they cross; 9,990 pairs of each kind leave no gap."""
    order = np.argsort(distances)
    missed = 1 - np.cumsum(same[order]) / same.sum()
    matched = np.cumsum(1 - same[order]) / (1 - same).sum()
    crossing = np.argmin(np.abs(missed - matched))
    return (missed[crossing] + matched[crossing]) / 2


# --- the published table


def row_of_pairs(vectors, labels):
    """AUC, best accuracy and EER over the tutorial's pairs, to four digits."""
    pairs = twinset.tutorial_pairs(labels)
    distances = distance.of_pairs(vectors, pairs.left, pairs.right)
    best = score_pairs(distances, pairs.same, best_accuracy_threshold(distances, pairs.same))
    return round(best.auc, 4), round(best.accuracy, 4), round(eer(distances, pairs.same), 4)


def test_raw_pixels_reproduce_their_rows_over_pairs(fashion_mnist):
    test = fashion_mnist[1]
    pixels = raw_pixels(test.images)
    assert row_of_pairs(pixels, test.labels) == (0.8009, 0.7282, 0.2729)
    assert row_of_pairs(unit_norm(pixels), test.labels) == (0.7986, 0.7418, 0.2583)


def test_pca_reproduces_its_row(fashion_mnist):
    """Published for axes of the first 20,000 training images; of all, R@1 is 0.8210."""
    train, test = fashion_mnist
    pca = fit_pca(raw_pixels(train.images[:20_000]))
    vectors = unit_norm(pca.transform(raw_pixels(test.images)))
    assert row_of_pairs(vectors, test.labels) == (0.6434, 0.6476, 0.3932)
    scores = retrieve(vectors, test.labels)
    found = (scores.recall_at[1], scores.r_precision, scores.map_at_r, scores.map_at_10)
    assert tuple(round(value, 4) for value in found) == (0.8214, 0.3408, 0.2163, 0.7185)


# --- pixels and directions


def test_pixels_are_shares_of_white():
    images = np.arange(2 * 2 * 3, dtype=np.uint8).reshape(2, 2, 3) * 20
    vectors = raw_pixels(images)
    assert vectors.dtype == np.float32
    assert vectors.tolist() == (images.reshape(2, 6) / np.float32(255)).tolist()
    assert raw_pixels(np.full((1, 4, 4, 3), 255, np.uint8)).tolist() == [[1.0] * 48]


@given(arrays.arrays(np.float64, (3, 2), elements=st.floats(-1e308, 1e308)))
def test_rows_become_unit_or_stay_zero(rows):
    units = unit_norm(rows)
    zero = (rows == 0).all(axis=1)
    assert (units[zero] == 0).all()
    assert np.linalg.norm(units[~zero], axis=1) == pytest.approx(1)
    assert (np.sign(units) * np.sign(rows) >= 0).all()
    assert unit_norm(units) == pytest.approx(units)


def test_directions_know_no_length():
    assert unit_norm([[3, 4], [-30, -40], [0, 0]]).tolist() == [[0.6, 0.8], [-0.6, -0.8], [0, 0]]


# --- principal components


def skewed(n=200, d=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 7


def test_axes_are_eigenvectors_of_the_covariance():
    x = skewed()
    pca = fit_pca(x, 3)
    z = pca.transform(x)
    assert z.mean(axis=0) == pytest.approx(np.zeros(3), abs=1e-5)
    assert np.cov(z.T) == pytest.approx(np.eye(3), abs=1e-4)
    # each axis keeps its direction, and is as short as the deviation along it is large
    values = np.sort(np.linalg.eigvalsh(np.cov(x.T)))[::-1]
    axes = pca.transform(np.eye(6)) - pca.transform(np.zeros((1, 6)))
    assert np.cov(x.T) @ axes == pytest.approx(axes * values[:3])
    assert np.linalg.norm(axes, axis=0) == pytest.approx(values[:3] ** -0.5)


def test_the_fit_is_repeatable_and_its_signs_are_fixed():
    x = skewed()
    first, again, reversed_ = fit_pca(x, 3), fit_pca(x, 3), fit_pca(x[::-1], 3)
    assert first.axes.tolist() == again.axes.tolist()
    assert reversed_.transform(x) == pytest.approx(first.transform(x))


def test_new_vectors_are_placed_by_the_fitted_mean():
    pca = fit_pca(skewed(), 3)
    assert pca.transform([skewed().mean(axis=0)]) == pytest.approx(np.zeros((1, 3)), abs=1e-9)


# --- errors


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((2, 3, 3)), r"uint8 pixels of shape \(n, ...\).* Received dtype float64"),
        (np.zeros(4, np.uint8), r"Received dtype uint8 and shape \(4,\)"),
        (np.zeros((0, 3, 3), np.uint8), r"shape \(0, 3, 3\)"),
    ],
)
def test_what_are_no_pixels(images, words):
    with pytest.raises(DataError, match=words):
        raw_pixels(images)


@pytest.mark.parametrize(
    ("vectors", "words"),
    [
        (
            [[1.0, np.nan], [np.inf, 0.0]],
            r"finite vectors. Received nan in row 0 \(2 rows in all\)",
        ),
        ([1.0, 2.0], r"shape \(n, d\), one row each, not empty. Received shape \(2,\)"),
        (np.zeros((2, 0)), r"Received shape \(2, 0\)"),
    ],
)
def test_what_are_no_vectors(vectors, words):
    for function in (unit_norm, fit_pca):
        with pytest.raises(DataError, match=words):
            function(vectors)


def test_dimensions_that_are_not_there():
    with pytest.raises(DataError, match=r"from 1 to 6 dimensions .* Received 7"):
        fit_pca(skewed(), 7)
    with pytest.raises(DataError, match="Received 0"):
        fit_pca(skewed(), 0)
    with pytest.raises(DataError, match="vectors that vary. Received 5 equal ones"):
        fit_pca(np.full((5, 3), 0.1), 1)


def test_fewer_dimensions_where_there_are_no_more():
    rng = np.random.default_rng(0)
    x = np.hstack([rng.normal(size=(50, 3)), np.ones((50, 4))])
    found = fit_pca(x, 5).transform(x)
    np.testing.assert_allclose(found, fit_pca(x, 3).transform(x))
