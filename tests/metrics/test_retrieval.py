import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

import retrieval_oracles as oracles
from twinset.errors import DataError
from twinset.metrics.baselines import raw_pixels, unit_norm
from twinset.metrics.retrieval import retrieve


@st.composite
def items(draw):
    """Whole-numbered rows with many ties and duplicates; a class or more with two members."""
    n, d = draw(st.integers(2, 14)), draw(st.integers(1, 3))
    rows = draw(
        st.lists(st.lists(st.integers(-2, 2), min_size=d, max_size=d), min_size=n, max_size=n)
    )
    labels = draw(
        st.lists(st.integers(0, 4), min_size=n, max_size=n).filter(lambda y: len(set(y)) < len(y))
    )
    return rows, labels


def blobs(n=120, d=5, classes=4, seed=0):
    """Overlapping classes without ties."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    return rng.normal(size=(n, d)) + rng.normal(size=(classes, d))[labels], labels


def assert_equal(a, b):
    assert a.recall_at == b.recall_at
    assert (a.r_precision, a.map_at_r, a.map_at_10) == (b.r_precision, b.map_at_r, b.map_at_10)
    assert a.mean_average_precision == b.mean_average_precision
    assert a.lone.tolist() == b.lone.tolist()
    for name, values in a.per_query.items():
        assert values.tolist() == b.per_query[name].tolist()


# --- against loops, scikit-learn, and by hand


@given(items())
def test_scores_agree_with_the_loops(sample):
    rows, labels = sample
    scores = retrieve(rows, labels, ks=(1, 3))
    lone = [i for i, label in enumerate(labels) if labels.count(label) == 1]
    assert scores.lone.tolist() == lone
    ranked = [oracles.relevance(rows, labels, i) for i in range(len(rows)) if i not in lone]
    assert scores.queries == len(ranked)
    expected = {
        "recall_at_1": [oracles.recall_at(relevant, 1) for relevant in ranked],
        "recall_at_3": [oracles.recall_at(relevant, 3) for relevant in ranked],
        "r_precision": [oracles.r_precision(relevant) for relevant in ranked],
        "map_at_r": [oracles.map_at(relevant, sum(relevant)) for relevant in ranked],
        "map_at_10": [oracles.map_at(relevant, 10) for relevant in ranked],
        "mean_average_precision": [oracles.average_precision(relevant) for relevant in ranked],
    }
    assert list(scores.per_query) == list(expected)
    for name, values in expected.items():
        assert scores.per_query[name] == pytest.approx(np.array(values)), name
        mean = scores.recall_at[int(name[-1])] if name.startswith("rec") else getattr(scores, name)
        assert mean == pytest.approx(np.mean(values))


def test_average_precision_agrees_with_scikit_learn():
    x, y = blobs()
    scores = retrieve(x, y)
    distances = np.linalg.norm(x[:, None] - x, axis=2)
    for i in range(len(x)):
        others = np.arange(len(x)) != i
        expected = average_precision_score(y[others] == y[i], -distances[i, others])
        assert scores.per_query["mean_average_precision"][i] == pytest.approx(expected)


def test_cases_by_hand():
    # from 0: relevant at ranks 1 and 3 of R = 3, the last one at rank 5
    scores = retrieve([[0], [1], [2], [3], [4], [5]], [7, 7, 8, 7, 8, 7], ks=(1, 2))
    first = {name: values[0] for name, values in scores.per_query.items()}
    assert first["map_at_r"] == pytest.approx((1 + 2 / 3) / 3)
    assert first["r_precision"] == pytest.approx(2 / 3)
    assert first["mean_average_precision"] == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    assert first["map_at_10"] == pytest.approx((1 + 2 / 3 + 3 / 5) / 10)
    assert first["recall_at_1"] == 1


def test_self_is_left_out_by_identity_not_by_distance():
    # each has an exact duplicate of another class, which is its nearest
    scores = retrieve([[0], [0], [5], [5]], [0, 1, 0, 1])
    assert scores.recall_at == {1: 0.0, 2: 0.5, 4: 1.0, 8: 1.0}
    # and one of its own class is found, not skipped as if it were the query
    assert retrieve([[0], [0], [5], [5]], [0, 0, 1, 1]).recall_at[1] == 1


def test_equal_distances_rank_by_position():
    # all are equal: the ranking of each is 0, 1, 2, ... without itself
    scores = retrieve(np.ones((5, 3)), [0, 1, 0, 1, 1], ks=(1, 2, 3))
    assert scores.per_query["recall_at_1"].tolist() == [0, 0, 1, 0, 0]
    assert scores.per_query["recall_at_2"].tolist() == [1, 0, 1, 1, 1]
    assert scores.per_query["recall_at_3"].tolist() == [1, 1, 1, 1, 1]


def test_small_sets():
    two = retrieve([[0.0], [1.0]], ["a", "a"])
    assert two.recall_at[1] == two.map_at_r == two.mean_average_precision == 1
    assert two.map_at_10 == pytest.approx(0.1)
    one_class = retrieve(blobs()[0], np.zeros(120))
    assert one_class.recall_at[1] == one_class.map_at_r == one_class.r_precision == 1
    assert one_class.map_at_10 == one_class.mean_average_precision == 1
    # the lone one is nearest to both others
    scores = retrieve([[0.0], [1.0], [2.0]], [0, 1, 0])
    assert (scores.lone.tolist(), scores.queries, scores.recall_at[1]) == ([1], 2, 0)


def test_random_embeddings_score_what_chance_gives():
    rng = np.random.default_rng(0)
    scores = retrieve(rng.normal(size=(10_000, 16)), np.arange(10_000) % 10)
    p, r = 999 / 9999, 999
    harmonic = (1 / np.arange(1, r + 1)).sum()
    assert scores.recall_at[1] == pytest.approx(0.10, abs=0.01)
    assert scores.r_precision == pytest.approx(p, abs=0.001)
    assert scores.map_at_r == pytest.approx(p**2 + p * (1 - p) * harmonic / r, abs=1e-4)
    assert scores.map_at_r == pytest.approx(0.0107, abs=1e-4)


# --- what must change nothing


@given(items(), st.integers(1, 5))
def test_blocks_labels_and_exact_moves_change_nothing(sample, block):
    rows, labels = np.array(sample[0]), np.array(sample[1])
    scores = retrieve(rows, labels)
    assert_equal(retrieve(rows, labels, block=block), scores)
    assert_equal(retrieve(rows, np.array(list("zyxwv"))[labels]), scores)
    assert_equal(retrieve(rows + 10**6, labels), scores)
    assert_equal(retrieve(rows * 2.0**-60, labels), scores)
    assert_equal(retrieve(rows * 2.0**1000, labels), scores)
    assert_equal(retrieve(-rows[:, ::-1], labels), scores)


@pytest.mark.parametrize("seed", range(5))
def test_order_and_rotation_change_nothing(seed):
    x, y = blobs(seed=seed)
    scores = retrieve(x, y)
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    assert_equal(retrieve(x @ rotation, y), scores)
    order = rng.permutation(len(x))
    shuffled = retrieve(x[order], y[order])
    for name, values in shuffled.per_query.items():
        assert values.tolist() == scores.per_query[name][order].tolist()


def test_duplicates_of_any_numbers_tie_exactly():
    """A matrix product of floats gives equal columns unequal last digits, here and there."""
    rng = np.random.default_rng(0)
    once = rng.normal(3, 1, size=(67, 33)).astype(np.float32)
    x, y = np.concatenate([once, once, once]), rng.integers(3, size=201)
    rounded = np.rint(x * 2.0**18)  # the loops sum floats as well
    for block in (1, 7, 512):
        scores = retrieve(rounded, y, block=block)
        for i in range(0, 201, 10):
            expected = oracles.average_precision(oracles.relevance(rounded.tolist(), y, i))
            assert scores.per_query["mean_average_precision"][i] == pytest.approx(expected)
        assert_equal(retrieve(x, y, block=block), retrieve(x, y))


# --- the floors of the protocol, on real data


def test_floors_of_raw_pixels(fashion_mnist):
    test = fashion_mnist[1]
    scores = retrieve(unit_norm(raw_pixels(test.images)), test.labels)
    found = (scores.recall_at[1], scores.r_precision, scores.map_at_r, scores.map_at_10)
    assert tuple(round(value, 4) for value in found) == (0.8146, 0.4525, 0.3308, 0.7079)
    assert (scores.queries, scores.lone.tolist()) == (10_000, [])


@pytest.mark.parametrize(
    ("unseen", "r1", "map_at_r"),
    [
        ((0, 6), 0.8215, 0.4798),
        ((2, 4), 0.8205, 0.3309),
        ((5, 7), 0.9105, 0.4811),
        ((1, 3), 0.9750, 0.6042),
        ((8, 9), 0.9970, 0.6841),
        ((3, 6, 7, 8), 0.9535, 0.5761),
        ((0, 4, 5, 6, 7), 0.8342, 0.3827),
        ((1, 2, 3, 8, 9), 0.9710, 0.5909),
    ],
)
def test_floors_of_unseen_classes(fashion_mnist, unseen, r1, map_at_r):
    test = fashion_mnist[1]
    part = np.isin(test.labels, unseen)
    scores = retrieve(unit_norm(raw_pixels(test.images[part])), test.labels[part])
    assert (round(scores.recall_at[1], 4), round(scores.map_at_r, 4)) == (r1, map_at_r)


# --- errors


@pytest.mark.parametrize(
    ("rows", "labels", "words"),
    [
        ([[0.0], [np.nan]], [0, 0], r"finite vectors. Received nan in row 1 \(1 rows in all\)"),
        ([[np.inf], [1.0]], [0, 0], "Received inf in row 0"),
        ([0.0, 1.0], [0, 0], r"shape \(n, d\), one row each, not empty. Received shape \(2,\)"),
        (np.zeros((0, 3)), [], r"Received shape \(0, 3\)"),
        ([[0.0], [1.0]], [0, 0, 1], r"one label per row, shape \(2,\). Received shape \(3,\)"),
        ([[0.0], [1.0]], [[0], [0]], r"Received shape \(2, 1\)"),
        ([[0.0], [1.0]], [0, 1], "two members or more. Received 2 items of 2 classes"),
        ([[0.0]], [0], "Received 1 items of 1 classes"),
    ],
)
def test_what_cannot_be_ranked(rows, labels, words):
    with pytest.raises(DataError, match=words):
        retrieve(rows, labels)
