import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

import oracles
from twinset.data.pairs import tutorial_pairs
from twinset.distance import of_pairs
from twinset.errors import DataError
from twinset.metrics import all_pairs
from twinset.metrics.all_pairs import AllPairs
from twinset.metrics.pairs import auc, curve_of_pairs, eer, tpr_at_fpr


@st.composite
def labelled_points(draw):
    """Points on a coarse grid (many ties) or anywhere, of at least two classes and one pair."""
    n = draw(st.integers(3, 30))
    some = draw(st.sampled_from([st.integers(-2, 2).map(float), st.floats(-5, 5, width=32)]))
    points = draw(st.lists(st.tuples(some, some), min_size=n, max_size=n))
    labels = draw(
        st.lists(st.integers(0, 3), min_size=n, max_size=n).filter(
            lambda chosen: 1 < len(set(chosen)) < n
        )
    )
    return np.array(points, np.float32), np.array(labels)


@pytest.fixture(params=[3, 1024])
def _tile(request, monkeypatch):
    """Small tiles bring every border into small cases."""
    monkeypatch.setattr(all_pairs, "TILE", request.param)


def _loop_of(walk, n):
    """Every pair by the double loop: both images, float32 distance of the walk."""
    found = np.full((n, n), np.nan, np.float32)
    for tile in walk.tiles():
        values = np.where(np.isinf(tile.values), np.nan, tile.values)
        rows, columns = walk.order[tile.rows], walk.order[tile.columns]
        assert np.isnan(found[np.ix_(rows, columns)][~np.isnan(values)]).all()
        found[np.ix_(rows, columns)] = np.fmax(found[np.ix_(rows, columns)], values)
    pairs = []
    for i in range(n):
        for j in range(i + 1, n):
            assert np.isnan(found[i, j]) != np.isnan(found[j, i]), "each pair once"
            pairs.append((i, j, np.fmax(found[i, j], found[j, i])))
    assert np.isnan(np.diag(found)).all(), "no image with itself"
    return pairs


def _loop(walk, points, labels):
    """Every pair by the double loop: both images, float32 distance of the walk, same."""
    pairs = []
    for i, j, d in _loop_of(walk, len(points)):
        exact = oracles.euclidean(points[i].tolist(), points[j].tolist())
        # the matrix product cancels digits where points are close: d² is good to a few ulp
        assert abs(d**2 - exact**2) <= 2e-5 * (1 + np.square(points).sum(axis=1).max())
        pairs.append((i, j, d, bool(labels[i] == labels[j])))
    return pairs


def _counts(pairs, n, threshold):
    true, false = np.zeros(n, int), np.zeros(n, int)
    for i, j, d, same in pairs:
        if d <= threshold:
            for image in (i, j):
                (true if same else false)[image] += 1
    return true, false


@pytest.mark.usefixtures("_tile")
@given(labelled_points(), st.floats(0, 4, width=32))
def test_everything_agrees_with_the_double_loop(case, threshold):
    points, labels = case
    walk = AllPairs(points, labels)
    pairs = _loop(walk, points, labels)
    true, false = _counts(pairs, len(labels), threshold)
    d, same = np.array([p[2] for p in pairs]), np.array([p[3] for p in pairs])
    curve = walk.curve()
    assert (curve.positives, curve.negatives) == (same.sum(), (~same).sum())
    # each candidate threshold has the counts of `distance <= threshold`, to the last pair
    for i in np.linspace(0, len(curve.thresholds) - 1, 5).astype(int):
        match = d <= curve.thresholds[i]
        assert (match & same).sum() == curve.true_matches[i]
        assert (match & ~same).sum() == curve.false_matches[i]
    # within a bin, distances tie
    assert auc(curve) == pytest.approx(oracles.roc_auc(np.floor(d * walk._scale), same))
    counts = walk.per_image([threshold, float(curve.thresholds[-1])])
    assert counts.rates(0).false_matches == (~same & (d <= threshold)).sum()
    assert counts.rates(1).accuracy == pytest.approx(same.mean())
    np.testing.assert_array_equal(counts.true_matches[0], true)
    np.testing.assert_array_equal(counts.false_matches[0], false)
    own = np.array([(labels == label).sum() - 1 for label in labels])
    np.testing.assert_array_equal(counts.positives, own)
    np.testing.assert_array_equal(counts.negatives, len(labels) - 1 - own)
    by_class = walk.per_class([threshold, float(curve.thresholds[-1])])
    for a, first in enumerate(walk.classes):
        for b, second in enumerate(walk.classes):
            within = [p for p in pairs if {labels[p[0]], labels[p[1]]} == {first, second}]
            assert by_class.pairs[a, b] == len(within)
            assert by_class.matches[0, a, b] == sum(p[2] <= threshold for p in within)
            assert by_class.matches[1, a, b] == len(within)


@pytest.mark.usefixtures("_tile")
@settings(max_examples=40)
@given(labelled_points(), st.lists(st.integers(0, 2), min_size=30, max_size=30))
def test_of_blocks_the_pairs_within_each_are_counted(case, blocks):
    """All sums are those over the blocks alone, whose spaces may lie far from each other."""
    points, labels = case
    blocks = np.array(blocks)[: len(labels)]
    moved = points + 2048 * blocks[:, None]  # exact: a power of two
    d, same, left, right = [], [], [], []
    for j in range(len(labels)):
        for i in range(j):
            if blocks[i] == blocks[j]:
                d.append(oracles.euclidean(moved[i].tolist(), moved[j].tolist()))
                same.append(bool(labels[i] == labels[j]))
                left.append(i)
                right.append(j)
    if all(same) or not any(same):
        with pytest.raises(DataError, match="no (same|different) pair"):
            AllPairs(moved, labels, blocks)
        return
    walk, everything = AllPairs(moved, labels, blocks), 1e9
    found = {}
    for tile in walk.tiles():
        for i, j in zip(*np.nonzero(np.isfinite(tile.values)), strict=True):
            pair = walk.order[tile.rows][i], walk.order[tile.columns][j]
            found[min(pair), max(pair)] = tile.values[i, j]
    assert found.keys() == set(zip(left, right, strict=True))
    for i, j, apart in zip(left, right, d, strict=True):
        assert abs(found[i, j] ** 2 - apart**2) < 1e-2
    same = np.array(same)
    curve = walk.curve()
    assert (curve.positives, curve.negatives) == (same.sum(), (~same).sum())
    counts, by_class = walk.per_image([everything]), walk.per_class([everything])
    for kind, mine in ((same, counts.true_matches), (~same, counts.false_matches)):
        each = np.bincount(np.array(left)[kind], minlength=len(labels))
        each += np.bincount(np.array(right)[kind], minlength=len(labels))
        np.testing.assert_array_equal(mine[0], each)
    np.testing.assert_array_equal(counts.positives, counts.true_matches[0])
    np.testing.assert_array_equal(counts.negatives, counts.false_matches[0])
    for a, first in enumerate(walk.classes):
        for b, second in enumerate(walk.classes):
            pairs = [{labels[i], labels[j]} for i, j in zip(left, right, strict=True)]
            assert by_class.pairs[a, b] == pairs.count({first, second})
    np.testing.assert_array_equal(by_class.pairs, by_class.matches[0])


@pytest.mark.usefixtures("_tile")
@settings(max_examples=40)
@given(labelled_points(), st.data())
def test_many_thresholds_at_once_are_counted_like_each_alone(case, data):
    """On the distances, next to them, on the edges of bins, far outside; in any order, twice."""
    points, labels = case
    walk = AllPairs(points, labels)
    pairs = _loop(walk, points, labels)
    occurring = [float(p[2]) for p in pairs]
    nearby = [
        float(np.nextafter(np.float32(d), np.float32(side))) for d in occurring for side in (-1, 99)
    ]
    edges = walk.curve().thresholds.tolist()
    chosen = data.draw(
        st.lists(
            st.sampled_from([*occurring, *nearby, *edges, -1.0, 0.0, 1e30, np.inf, -np.inf]),
            min_size=1,
            max_size=12,
        )
    )
    counts = walk.per_image(chosen)
    assert counts.thresholds.tolist() == chosen
    for k, threshold in enumerate(chosen):
        true, false = _counts(pairs, len(labels), threshold)
        np.testing.assert_array_equal(counts.true_matches[k], true)
        np.testing.assert_array_equal(counts.false_matches[k], false)


@pytest.mark.usefixtures("_tile")
def test_placements_agree_with_the_double_loop():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 25)
    points = rng.normal(size=(25, 2)) + labels[:, None]
    walk = AllPairs(points, labels)
    pairs = _loop(walk, points, labels)
    d, same = np.array([p[2] for p in pairs]), np.array([p[3] for p in pairs])
    area = oracles.roc_auc(d, same)
    sums, squares = np.zeros(25), 0.0
    for i, j, apart, kind in pairs:
        if kind:
            pull = ((d[~same] > apart).mean() + (d[~same] == apart).mean() / 2 - area) / same.sum()
        else:
            pull = ((d[same] < apart).mean() + (d[same] == apart).mean() / 2 - area) / (~same).sum()
        sums[i] += pull
        sums[j] += pull
        squares += pull**2
    found, found_squares = walk.placements()
    np.testing.assert_allclose(found, sums, atol=2e-5)
    assert found_squares == pytest.approx(squares, rel=1e-3)
    assert abs(found.sum()) < 1e-9
    assert np.abs(found).max() > 1e-3, "the comparison must not be of zeros"


def test_a_larger_set_agrees_with_scikit_learn():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 5, 600)
    points = rng.normal(size=(600, 16)) + 0.7 * rng.normal(size=(5, 16))[labels]
    i, j = np.triu_indices(600, 1)
    d = np.linalg.norm(points[i] - points[j], axis=1)
    same = labels[i] == labels[j]
    curve = AllPairs(points, labels).curve()
    assert auc(curve) == pytest.approx(roc_auc_score(same, -d), abs=1e-5)
    for fpr in (0.1, 0.01, 0.001):
        rates = tpr_at_fpr(curve, fpr)
        assert rates.fmr <= fpr
        assert 1 - rates.fnmr == pytest.approx(
            (d[same] <= np.quantile(d[~same], fpr)).mean(), abs=2e-3
        )


@given(labelled_points(), st.randoms(use_true_random=False))
def test_order_and_names_of_classes_change_nothing(case, random):
    points, labels = case
    order = random.sample(range(len(labels)), len(labels))
    names = random.sample(range(100), 4)
    a = AllPairs(points, labels)
    b = AllPairs(points[order], np.array(names)[labels[order]])
    assert (a.curve().positives, a.curve().negatives) == (b.curve().positives, b.curve().negatives)
    np.testing.assert_array_equal(a.per_image([1.0]).positives[order], b.per_image([1.0]).positives)


def test_by_hand():
    # 0 and 1 are same at distance 1; 5 and 5.5 same at 0.5; the four others are far
    walk = AllPairs(np.array([[0.0], [5.0], [1.0], [5.5]]), [3, 7, 3, 7])
    assert auc(walk.curve()) == 1.0
    assert eer(walk.curve()) == 0.0
    counts = walk.per_image([0.75, 100.0])
    assert counts.true_matches.tolist() == [[0, 1, 0, 1], [1, 1, 1, 1]]
    assert counts.false_matches.tolist() == [[0, 0, 0, 0], [2, 2, 2, 2]]
    by_class = walk.per_class([0.75, 1.0])
    assert by_class.matches.tolist() == [[[0, 0], [0, 1]], [[1, 0], [0, 1]]]
    assert by_class.pairs.tolist() == [[1, 4], [4, 1]]


def test_constant_embeddings_are_one_tie():
    walk = AllPairs(np.ones((6, 3)), [0, 0, 0, 1, 1, 1])
    assert auc(walk.curve()) == 0.5
    assert eer(walk.curve()) == 0.5
    rates = walk.per_image([0.0]).rates(0)
    assert (rates.false_matches, rates.negatives, rates.fnmr) == (9, 9, 0)


def test_duplicates_are_pairs_but_an_image_is_none_with_itself():
    rates = AllPairs(np.array([[1.0], [1.0], [9.0]]), [0, 0, 1]).per_image([0.0]).rates(0)
    assert (rates.positives, rates.negatives, rates.false_non_matches) == (1, 2, 0)


def test_edges_are_the_largest_of_their_bins():
    for scale in np.float32([3.7, 65536 / 3.3, 1e-4, 12345.678]):
        edges = all_pairs._edges(scale).astype(np.float32)
        bins = np.arange(len(edges))
        np.testing.assert_array_equal(np.floor(edges[1:] * scale), bins[:-1])
        np.testing.assert_array_equal(
            np.floor(np.nextafter(edges[1:], np.float32(np.inf)) * scale) >= bins[1:], True
        )
        assert edges[0] < 0


@pytest.mark.parametrize(
    ("embeddings", "labels", "words"),
    [
        (np.zeros((3, 2)), [0, 1], r"one label per embedding. Received 3 .* shape \(2,\)"),
        (np.zeros((1, 2)), [0], "at least 2 embeddings. Received 1"),
        (np.zeros((0, 2)), [], "at least 2 embeddings. Received 0"),
        (np.array([[0.0], [np.nan], [1.0]]), [0, 0, 1], "NaN or infinity in row 1 "),
        (np.array([[0.0], [1.0], [np.inf]]), [0, 0, 1], "NaN or infinity in row 2 "),
        (np.zeros((3, 2)), [0, 0, 0], "at least 2 classes. Received 1"),
        (np.zeros((3, 2)), [0, 1, 2], "a class of at least 2 images. Received none"),
    ],
)
def test_what_cannot_be_walked(embeddings, labels, words):
    with pytest.raises(DataError, match=words):
        AllPairs(embeddings, labels)


def test_no_thresholds_and_no_numbers():
    walk = AllPairs(np.array([[0.0], [1.0], [9.0]]), [0, 0, 1])
    assert walk.per_image([]).true_matches.shape == (0, 3)
    assert walk.per_class([]).matches.shape == (0, 2, 2)
    with pytest.raises(DataError, match="numbers as thresholds. Received NaN"):
        walk.per_image([0.0, np.nan])


@pytest.mark.usefixtures("_tile")
@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_rounding_is_bounded(offset, scale):
    rng = np.random.default_rng(4)
    labels = np.arange(40) % 4
    points = offset + scale * rng.normal(size=(40, 24))
    points[20:] = points[:20] + 1e-4 * scale * rng.normal(size=(20, 24))  # nearly equal pairs
    walk = AllPairs(points, labels)
    off = 0.0
    for i, j, d in _loop_of(walk, len(labels)):
        (exact,) = of_pairs(points, np.array([i]), np.array([j]))
        off = max(off, abs(float(d) ** 2 - float(exact) ** 2))
    assert off <= walk.rounding
    # far off and close together, float32 keeps few digits, and all arithmetic is exact
    assert off > 0 or scale < 1e-5 * offset


def _pixels(test, unit):
    pixels = test.images.reshape(len(test), -1) / np.float32(255)
    return pixels / np.linalg.norm(pixels, axis=1, keepdims=True) if unit else pixels


@pytest.mark.parametrize(
    ("unit", "area", "equal", "at"),
    [
        (False, 0.8009, 0.2729, (0.484, 0.141, 0.040)),
        (True, 0.7986, 0.2583, (0.490, 0.117, 0.031)),
    ],
)
def test_published_floors_of_raw_pixels(fashion_mnist, unit, area, equal, at):
    """Published on the tutorial's 19,980 test pairs of seed 0."""
    _, test = fashion_mnist
    pairs = tutorial_pairs(test.labels, seed=0)
    curve = curve_of_pairs(of_pairs(_pixels(test, unit), pairs.left, pairs.right), pairs.same)
    assert round(auc(curve), 4) == area
    assert round(eer(curve), 4) == equal
    assert tuple(round(1 - tpr_at_fpr(curve, f).fnmr, 3) for f in (0.1, 0.01, 0.001)) == at


@pytest.mark.parametrize(("unit", "area", "equal"), [(False, 0.7956, 0.2778), (True, 0.7981, 0.26)])
def test_floors_of_raw_pixels_over_all_pairs(fashion_mnist, unit, area, equal):
    """Checked against scikit-learn on the same 50 million pairs by benchmarks/all_pairs.py."""
    _, test = fashion_mnist
    curve = AllPairs(_pixels(test, unit), test.labels).curve()
    assert curve.positives + curve.negatives == 49_995_000
    assert (round(auc(curve), 4), round(eer(curve), 4)) == (area, equal)
