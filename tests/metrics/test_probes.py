import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

import retrieval_oracles as oracles
from twinset.errors import DataError
from twinset.metrics.baselines import raw_pixels, unit_norm
from twinset.metrics.probes import knn_right, linear_probe, stratified


def blobs(n=300, d=5, classes=4, seed=0, spread=1.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    centres = np.random.default_rng(99).normal(size=(classes, d))
    return spread * rng.normal(size=(n, d)) + centres[labels], labels


# Lengths and cosines of these are exact: ties on paper are ties in the computer.
AXES = st.sampled_from([[1, 0], [2, 0], [0, 1], [-1, 0], [0, -3], [3, 4], [-4, 3]])


# --- neighbours


def knn_accuracy(*parts, k=1, **options):
    return float(knn_right(*parts, ks=(k,), **options)[k].mean())


@st.composite
def votes(draw):
    gallery = draw(st.lists(AXES | st.just([0, 0]), min_size=1, max_size=12))
    labels = draw(st.lists(st.integers(0, 3), min_size=len(gallery), max_size=len(gallery)))
    queries = draw(st.lists(AXES, min_size=1, max_size=5))
    truth = draw(st.lists(st.sampled_from(labels), min_size=len(queries), max_size=len(queries)))
    return gallery, labels, queries, truth, draw(st.integers(1, len(gallery)))


@given(votes(), st.integers(1, 3))
def test_the_vote_agrees_with_the_loop(sample, block):
    gallery, labels, queries, truth, k = sample
    answers = [oracles.knn_answer(gallery, labels, query, k) for query in queries]
    expected = np.mean([answer == label for answer, label in zip(answers, truth, strict=True)])
    assert knn_accuracy(gallery, labels, queries, truth, k=k, block=block) == expected
    names = np.array(list("zyxw"))  # renamed, in reverse order
    renamed = knn_accuracy(gallery, names[labels], queries, names[truth], k=k)
    assert renamed == expected


@pytest.mark.parametrize("k", [1, 5, 20, 300])
def test_the_vote_agrees_with_scikit_learn(k):
    x, y = blobs()
    queries, truth = blobs(seed=1)
    peer = KNeighborsClassifier(
        k, weights=lambda distances: np.maximum(1 - distances**2 / 2, 0), algorithm="brute"
    )
    expected = peer.fit(unit_norm(x), y).score(unit_norm(queries), truth)
    assert knn_accuracy(x, y, queries, truth, k=k) == expected
    assert 0.4 < expected < 1  # neither perfect nor chance


def test_the_vote_on_real_images_agrees_with_scikit_learn(fashion_mnist):
    train, test = fashion_mnist
    gallery, queries = raw_pixels(train.images[:3000]), raw_pixels(test.images[:500])
    for k in (1, 20):
        peer = KNeighborsClassifier(k, weights=lambda d: 1 - d**2 / 2, algorithm="brute")
        expected = peer.fit(unit_norm(gallery), train.labels[:3000]).score(
            unit_norm(queries), test.labels[:500]
        )
        found = knn_accuracy(gallery, train.labels[:3000], queries, test.labels[:500], k=k)
        assert found == expected


def test_votes_by_hand():
    gallery, labels = [[1, 0], [0, 1], [0, 1], [-1, 0]], [0, 1, 1, 2]
    # one vote of 1 against two of 0
    assert knn_accuracy(gallery, labels, [[1, 0]], [0], k=4) == 1
    # opposite directions do not vote against their class: nobody votes, the nearest wins
    assert knn_accuracy([[-1, 0], [-1, 0]], [1, 0], [[1, 0]], [1], k=2) == 1
    # equal cosines: the first in the gallery wins, whatever its label
    for first, second in ((0, 1), (1, 0)):
        assert knn_accuracy([[1, 0], [2, 0]], [first, second], [[3, 0]], [first]) == 1
    # 0.8 + 0.8 beats 1
    assert knn_accuracy([[1, 0], [4, 3], [4, -3]], [0, 1, 1], [[1, 0]], [1], k=3) == 1


@pytest.mark.parametrize("block", [1, 1024])
def test_neighbours_closer_than_float32_can_tell(block):
    """3,000 cosines within 10⁻⁶: rough distances tie and misorder them."""
    rng = np.random.default_rng(7)
    middle, asked = rng.normal(size=(2, 8))
    gallery = middle + 2e-7 * rng.normal(size=(3000, 8))
    vectors = [*unit_norm(gallery), *unit_norm([asked])]
    *rows, query = [[round(x * 2**24) for x in row] for row in vectors]
    # Python's integers do not round
    exact = [sum((x - y) ** 2 for x, y in zip(query, row, strict=True)) for row in rows]
    nearest = sorted(range(3000), key=lambda i: (exact[i], i))
    labels = np.isin(np.arange(3000), nearest[:20]).astype(int)
    rough = np.square(np.float32(rows) - np.float32(query)).sum(axis=1)
    assert set(np.argsort(rough, kind="stable")[:20]) != set(nearest[:20]), "a case that matters"
    found = knn_right(gallery, labels, [asked, asked], [1, 0], ks=(1, 20, 41), block=block)
    # of 41 votes 20 are for class 1
    expected = [[True, False], [True, False], [False, True]]
    assert [found[k].tolist() for k in (1, 20, 41)] == expected


def test_a_row_of_zeros_has_no_vote_and_gets_some_answer():
    assert knn_accuracy([[0, 0], [1, 0]], [1, 0], [[2, 0]], [0], k=2) == 1
    right = [knn_accuracy([[3, 4], [1, 0]], [1, 0], [[0, 0]], [label]) for label in (0, 1)]
    assert sorted(right) == [0, 1]


def test_the_share_of_right_votes_is_the_accuracy():
    x, y = blobs()
    queries, truth = blobs(seed=1)
    found = knn_right(x, y, queries, truth, ks=(20, 1, 20))
    assert list(found) == [20, 1]
    for k, right in found.items():
        assert right.shape == (300,)
        assert right.mean() == knn_accuracy(x, y, queries, truth, k=k)


# --- samples


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(1, 70), st.integers(0, 9))
def test_a_stratified_sample_keeps_the_mix(labels, count, seed):
    labels = np.array(labels)
    chosen = stratified(labels, count, seed=seed)
    assert (np.diff(chosen) > 0).all()
    assert set(labels[chosen]) == set(labels)
    share = min(count, len(labels)) / len(labels)
    rare = sum(share * (labels == label).sum() < 1 for label in set(labels))
    assert 0 <= len(chosen) - min(count, len(labels)) <= rare
    for label in np.unique(labels):
        assert abs((labels[chosen] == label).sum() - share * (labels == label).sum()) < 1
    np.testing.assert_array_equal(chosen, stratified(labels, count, seed=seed))


def test_a_stratified_sample_is_random_within_a_class():
    labels = np.repeat([0, 1], 500)
    first, second = (stratified(labels, 100, seed=seed) for seed in (0, 1))
    assert 2 < len(np.intersect1d(first, second)) < 25  # 10 by chance


# --- a linear classifier


def test_the_probe_is_scikit_learns_with_the_strength_that_tune_prefers():
    (x, y), (tune, tune_y), (test, test_y) = (blobs(seed=seed, spread=2.0) for seed in range(3))
    strengths = (1e-4, 0.1, 10)
    found = linear_probe(x, y, tune, tune_y, test, test_y, strengths=strengths)
    scaler = StandardScaler().fit(x)
    x, tune, test = (scaler.transform(part) for part in (x, tune, test))
    peers = {c: LogisticRegression(C=c, max_iter=2000, tol=1e-8).fit(x, y) for c in strengths}
    scores = {c: peer.score(tune, tune_y) for c, peer in peers.items()}
    assert len(set(scores.values())) > 1
    assert scores[found.strength] == max(scores.values())
    assert found.accuracy == pytest.approx(peers[found.strength].score(test, test_y), abs=0.01)


def test_the_probe_chooses_on_tune_alone_and_the_smallest_of_equals():
    (x, y), (test, test_y) = blobs(), blobs(seed=1)
    chosen = linear_probe(x, y, x, y, test, test_y)
    wrong = linear_probe(x, y, x, y, test, (test_y + 1) % 4)
    assert wrong.strength == chosen.strength
    assert wrong.accuracy < 0.5 < chosen.accuracy
    assert linear_probe(x, y, x, y, test, test_y) == chosen
    assert linear_probe(x, y, x, y, test, test_y, strengths=(3, 3.0001)).strength == 3
    names = np.array(["d", "c", "b", "a"])
    renamed = linear_probe(x, names[y], x, names[y], test, names[test_y])
    assert renamed.accuracy == pytest.approx(chosen.accuracy, abs=0.01)


def test_the_probe_stops_where_a_weaker_penalty_does_worse():
    """Few images of many noisy coordinates: the weaker the penalty, the worse."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2

    def noisy():
        return np.append(
            labels[:, None] + 0.8 * rng.normal(size=(60, 1)), rng.normal(size=(60, 50)), 1
        )

    fit, tune, test = noisy(), noisy(), noisy()
    strengths = (1e-3, 1e-2, 0.1, 1, 1e3)
    alone = {
        c: linear_probe(fit, labels, tune, labels, tune, labels, strengths=[c]).accuracy
        for c in strengths
    }
    scores = list(alone.values())
    assert scores[-1] < max(scores)
    found = linear_probe(fit, labels, tune, labels, test, labels, strengths=strengths)
    before_the_fall = next(i for i in range(1, 5) if scores[i] < max(scores[:i]))
    assert alone[found.strength] == max(scores[:before_the_fall])


def test_scale_and_offset_of_coordinates_do_not_matter_to_the_probe():
    (x, y), (test, test_y) = blobs(), blobs(seed=1)
    scale, offset = np.array([1e-3, 1, 10, 1e3, 1]), np.array([0, 5, 0, -1e3, 1])
    plain = linear_probe(x, y, x, y, test, test_y)
    scaled = linear_probe(
        x * scale + offset, y, x * scale + offset, y, test * scale + offset, test_y
    )
    assert scaled.accuracy == pytest.approx(plain.accuracy, abs=0.01)


# --- errors


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"queries": [[1.0, 2.0]]}, "vectors of one length. Received 1 and 2"),
        ({"queries": [[np.nan]]}, "finite vectors. Received nan in row 0"),
        ({"query_labels": [5]}, r"out of \[0, 1\], those to learn from. Received 5"),
        ({"query_labels": []}, r"one label per row, shape \(1,\). Received shape \(0,\)"),
    ],
)
def test_what_cannot_vote(change, words):
    arguments = {
        "gallery": [[0.0], [1.0]],
        "gallery_labels": [0, 1],
        "queries": [[1.0]],
        "query_labels": [1],
    }
    assert knn_accuracy(**arguments) == 1
    with pytest.raises(DataError, match=words):
        knn_accuracy(**(arguments | change))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fit_labels": [1, 1]}, "two classes or more to fit a probe. Received 1"),
        ({"test_labels": [7, 1]}, r"out of \[0, 1\], those to learn from. Received 7"),
        ({"tune": [[np.inf], [0.0]]}, "finite vectors. Received inf in row 0"),
    ],
)
def test_what_cannot_be_probed(change, words):
    rows = [[0.0], [1.0]]
    arguments = {"fit": rows, "tune": rows, "test": rows}
    arguments |= {f"{part}_labels": [0, 1] for part in arguments}
    if "fit_labels" in change:
        arguments |= {f"{part}_labels": [1, 1] for part in ("fit", "tune", "test")}
    with pytest.raises(DataError, match=words):
        linear_probe(**(arguments | change))
