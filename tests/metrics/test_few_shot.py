"""One-shot episodes against a loop, and against what chance and perfection must give."""

import math

import numpy as np
import pytest

from twinset.errors import DataError
from twinset.metrics.probes import draw_episodes, one_shot_accuracy


def blobs(spread, classes=5, each=30, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(classes), each))
    return np.eye(classes, 6)[labels] + spread * rng.normal(size=(classes * each, 6)), labels


def by_loops(points, drawn):
    """The share of right answers of each episode, in plain Python."""
    shares = []
    for support, queries in zip(*drawn, strict=True):
        right = 0
        for i, query in enumerate(queries):
            best, answer = math.inf, None
            for j, example in enumerate(support):
                d = sum((a - b) ** 2 for a, b in zip(points[query], points[example], strict=True))
                if d < best:
                    best, answer = d, j
            right += answer == i
        shares.append(right / len(queries))
    return shares


@pytest.mark.parametrize("ways", [2, 5])
def test_it_agrees_with_the_loop(ways):
    points, labels = blobs(0.6)
    found = one_shot_accuracy(points, labels, ways=ways, episodes=80, seed=3)
    shares = by_loops(points.tolist(), draw_episodes(labels, ways=ways, episodes=80, seed=3))
    assert found.value == pytest.approx(np.mean(shares))
    assert 1 / ways + 0.1 < found.value < 0.95, "neither chance nor perfect"
    assert found.error == pytest.approx(np.std(shares) / math.sqrt(80))
    assert found.low < found.value < found.high


def test_episodes_are_what_they_are_said_to_be():
    labels = np.array([7, 7, 7, 3, 3, 9, 4, 4, 4, 4])  # 9 has one image only
    support, queries = draw_episodes(labels, ways=2, episodes=300, seed=0)
    assert support.shape == queries.shape == (300, 2)
    assert (labels[support] == labels[queries]).all()
    assert (support != queries).all()
    assert (labels[support[:, 0]] != labels[support[:, 1]]).all()
    # each class, and within a class each image, about equally often
    shares = {label: (labels[support] == label).mean() for label in (3, 4, 7, 9)}
    assert shares[9] == 0
    assert all(0.27 < shares[label] < 0.4 for label in (3, 4, 7))
    of_seven = np.bincount(queries[labels[queries] == 7], minlength=3)[:3]
    assert (of_seven / of_seven.sum() > 0.25).all()


def test_the_draw_is_a_function_of_the_seed():
    labels = np.tile(np.arange(6), 5)
    first, again, other = (draw_episodes(labels, episodes=20, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first[0] != other[0]).any()


def test_chance_and_perfection():
    points, labels = blobs(0.0)
    perfect = one_shot_accuracy(points, labels)
    assert (perfect.value, perfect.high) == (1, 1)
    assert 0.98 < perfect.low < 1, "600 episodes prove no perfection"
    collapsed = one_shot_accuracy(np.ones((150, 3)), labels)
    assert collapsed.value == pytest.approx(0.2), "the first drawn of equally near ones wins"
    _, labels = blobs(0.0, each=500)
    noise = one_shot_accuracy(np.random.default_rng(5).normal(size=(2500, 4)), labels)
    assert noise.value == pytest.approx(0.2, abs=0.03)


def test_coverage_of_the_mean_over_all_episodes():
    """200 draws of 100 episodes from one set of images: 95% is seen with an SD of 1.5 points."""
    points, labels = blobs(0.6)
    truth = one_shot_accuracy(points, labels, episodes=8000, seed=10**6).value
    found = [one_shot_accuracy(points, labels, episodes=100, seed=seed) for seed in range(200)]
    assert 0.9 <= np.mean([each.low <= truth <= each.high for each in found]) <= 0.99


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ways": 4}, "Expected 4 classes of at least 2 images. Received 3: ask for fewer ways"),
        ({"embeddings": np.full((7, 2), np.nan)}, "finite vectors. Received nan in row 0"),
        ({"embeddings": np.zeros((6, 2))}, r"one label per row, shape \(6,\)"),
    ],
)
def test_what_cannot_be_drawn(change, words):
    given = {
        "embeddings": np.zeros((7, 2)),
        "labels": [0, 0, 1, 1, 2, 2, 3],
        "ways": 2,
        "episodes": 5,
    }
    one_shot_accuracy(given["embeddings"], given["labels"], ways=2, episodes=5)
    given |= change
    with pytest.raises(DataError, match=words):
        one_shot_accuracy(**given)
