"""The statistics of a batch, against the health of whole sets and values checked by hand."""

import numpy as np
import pytest

from twinset.metrics.baselines import embedding_health
from twinset.models.history import UNKNOWN, batch_statistics


@pytest.mark.parametrize("shape", [(12, 4), (6, 9)])
def test_statistics_equal_the_health_of_the_same_set(shape):
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype(np.float32)
    x[:, 1] = 0
    labels = rng.integers(0, 3, len(x))
    statistics, health = batch_statistics(x, labels), embedding_health(x, labels)
    assert statistics.alignment == pytest.approx(health.alignment)
    assert statistics.uniformity == pytest.approx(health.uniformity)
    assert statistics.effective_rank == pytest.approx(health.effective_rank)
    assert statistics.zero_share == health.zero_share == pytest.approx(1 / shape[1])
    assert statistics.dead_share == health.dead_coordinates / shape[1] == 1 / shape[1]
    pairs = [
        (labels[i] == labels[j], np.linalg.norm(x[i] - x[j]))
        for i in range(len(x))
        for j in range(i)
    ]
    assert statistics.positive_distance == pytest.approx(np.mean([d for same, d in pairs if same]))
    assert statistics.negative_distance == pytest.approx(
        np.mean([d for same, d in pairs if not same])
    )


def test_a_collapsed_batch():
    statistics = batch_statistics(np.full((4, 3), 2.0), np.array([0, 0, 1, 1]))
    assert statistics.positive_distance == statistics.negative_distance == pytest.approx(0)
    assert statistics.effective_rank == 0
    assert statistics.dead_share == 1


def test_what_has_no_statistics():
    one_class = batch_statistics(np.eye(3), np.zeros(3, int))
    assert np.isnan(one_class.negative_distance)
    assert one_class.positive_distance == pytest.approx(2**0.5)
    assert batch_statistics(np.array([[np.nan, 1], [0, 1]]), np.array([0, 1])) is UNKNOWN
    assert batch_statistics(np.ones((1, 2)), np.array([0])) is UNKNOWN
