import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import retrieval_oracles as oracles
from twinset.errors import DataError
from twinset.metrics.baselines import embedding_health


@st.composite
def items(draw):
    n, d = draw(st.integers(2, 12)), draw(st.integers(1, 4))
    rows = draw(
        st.lists(st.lists(st.integers(-3, 3), min_size=d, max_size=d), min_size=n, max_size=n)
    )
    return rows, draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))


@given(items())
def test_health_agrees_with_the_loops(sample):
    rows, labels = sample
    health = embedding_health(rows, labels)
    alignment = oracles.alignment(rows, labels)
    assert health.alignment == pytest.approx(alignment, abs=1e-12, nan_ok=True)
    assert health.uniformity == pytest.approx(oracles.uniformity(rows), abs=1e-12)
    assert health.zero_share == np.mean(np.array(rows) == 0)
    assert health.dead_coordinates == sum(
        len(set(column)) == 1 for column in zip(*rows, strict=True)
    )
    expected = oracles.within_between(rows, labels)
    if math.isinf(expected):  # means that coincide on paper
        assert health.within_between > 1e12
    else:
        assert health.within_between == pytest.approx(expected)


@given(items())
def test_what_changes_nothing(sample):
    rows, labels = np.array(sample[0]), np.array(sample[1])
    health = embedding_health(rows, labels)
    order = np.random.default_rng(0).permutation(len(rows))
    for other in (
        embedding_health(rows[order], labels[order]),
        embedding_health(rows, np.array(list("zyxw"))[labels]),
        embedding_health(rows * 2.0**700, labels),
        embedding_health(-rows[:, ::-1], labels),
    ):
        for name in ("alignment", "uniformity", "effective_rank", "zero_share"):
            assert getattr(other, name) == pytest.approx(
                getattr(health, name), abs=1e-9, nan_ok=True
            )
        assert other.dead_coordinates == health.dead_coordinates
        assert min(other.within_between, 1e12) == pytest.approx(min(health.within_between, 1e12))


# --- values by hand


def test_effective_rank_counts_equal_directions():
    for d in (1, 2, 5):
        cross = np.concatenate([np.eye(d), -np.eye(d)])
        assert embedding_health(cross, np.zeros(2 * d)).effective_rank == pytest.approx(d)
    # variances 3 : 1, entropy of (3/4, 1/4)
    rows = np.array([[3, 0], [-3, 0], [0, 3**0.5], [0, -(3**0.5)]])
    expected = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert embedding_health(rows, [0, 0, 1, 1]).effective_rank == pytest.approx(expected)


def test_collapse_is_seen():
    health = embedding_health(np.full((10, 3), 0.1), np.arange(10) % 2)
    assert health.alignment == pytest.approx(0, abs=1e-12)
    assert health.uniformity == pytest.approx(0, abs=1e-12)
    assert (health.effective_rank, health.dead_coordinates) == (0, 3)
    assert health.within_between == math.inf
    nothing = embedding_health(np.zeros((10, 3)), np.arange(10) % 2)
    assert (nothing.zero_share, nothing.alignment, nothing.uniformity) == (1, 0, 0)


def test_classes_of_one_point_each():
    rows = np.repeat(np.eye(4) * 5, 3, axis=0)
    health = embedding_health(rows, np.repeat(np.arange(4), 3))
    assert health.alignment == pytest.approx(0, abs=1e-12)
    assert health.effective_rank == pytest.approx(3)  # four corners of a tetrahedron
    assert health.within_between == pytest.approx(0, abs=1e-12)
    assert (health.zero_share, health.dead_coordinates) == (0.75, 0)


def test_no_pair_of_one_class_leaves_the_alignment_open():
    assert math.isnan(embedding_health([[0.0], [1.0]], [0, 1]).alignment)


def test_directions_spread_evenly_over_the_sphere():
    rows = np.random.default_rng(0).normal(size=(4000, 64))
    labels = np.arange(4000) % 10
    health = embedding_health(rows, labels)
    assert health.alignment == pytest.approx(2, abs=0.01)
    assert health.uniformity == pytest.approx(-4 + 8 / 64, abs=0.02)
    assert health.effective_rank == pytest.approx(64, abs=1)
    assert health.within_between == pytest.approx((4000 - 10) / 9, rel=0.2)


# --- the sample


def test_the_sample_tells_the_uniformity_of_all_pairs():
    rows = np.random.default_rng(0).normal(size=(600, 3)) + 1
    labels = np.zeros(600)
    exact = embedding_health(rows, labels, pairs=600 * 599 // 2).uniformity
    drawn = [embedding_health(rows, labels, pairs=20_000, seed=seed).uniformity for seed in (0, 1)]
    assert drawn == pytest.approx([exact, exact], abs=0.02)
    assert drawn[0] != drawn[1]
    assert drawn[0] == embedding_health(rows, labels, pairs=20_000).uniformity


def test_no_item_is_paired_with_itself():
    # one pair with itself, and the mean would be above exp(−8)
    assert embedding_health([[1.0], [-1.0]], [0, 1], pairs=1).uniformity == pytest.approx(-8)
    three = np.exp(1j * np.pi * np.arange(3) * 2 / 3)
    rows = np.stack([three.real, three.imag], axis=1)
    assert embedding_health(rows, [0, 0, 0], pairs=2).uniformity == pytest.approx(-6)


@pytest.mark.parametrize(
    ("rows", "labels", "words"),
    [
        ([[0.0], [np.nan]], [0, 0], "finite vectors. Received nan in row 1"),
        ([[0.0], [1.0]], [0], r"one label per row, shape \(2,\). Received shape \(1,\)"),
        ([[0.0]], [0], "two embeddings or more. Received 1"),
    ],
)
def test_what_cannot_be_examined(rows, labels, words):
    with pytest.raises(DataError, match=words):
        embedding_health(rows, labels)
