"""The vital signs of a batch, against the judgement of whole sets and values checked by hand."""

import numpy as np
import pytest

from twinset.metrics.health import embedding_health
from twinset.models.history import UNKNOWN, vitals


@pytest.mark.parametrize("shape", [(12, 4), (6, 9)])
def test_signs_equal_the_health_of_the_same_set(shape):
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype(np.float32)
    x[:, 1] = 0
    labels = rng.integers(0, 3, len(x))
    signs, health = vitals(x, labels), embedding_health(x, labels)
    assert signs.alignment == pytest.approx(health.alignment)
    assert signs.uniformity == pytest.approx(health.uniformity)
    assert signs.effective_rank == pytest.approx(health.effective_rank)
    assert signs.zero_share == health.zero_share == pytest.approx(1 / shape[1])
    assert signs.dead_share == health.dead_coordinates / shape[1] == 1 / shape[1]
    pairs = [
        (labels[i] == labels[j], np.linalg.norm(x[i] - x[j]))
        for i in range(len(x))
        for j in range(i)
    ]
    assert signs.positive_distance == pytest.approx(np.mean([d for same, d in pairs if same]))
    assert signs.negative_distance == pytest.approx(np.mean([d for same, d in pairs if not same]))


def test_a_collapsed_batch():
    signs = vitals(np.full((4, 3), 2.0), np.array([0, 0, 1, 1]))
    assert signs.positive_distance == signs.negative_distance == signs.alignment == 0
    assert signs.effective_rank == 0
    assert signs.dead_share == 1


def test_what_has_no_signs():
    one_class = vitals(np.eye(3), np.zeros(3, int))
    assert np.isnan(one_class.negative_distance)
    assert one_class.positive_distance == pytest.approx(2**0.5)
    assert vitals(np.array([[np.nan, 1], [0, 1]]), np.array([0, 1])) is UNKNOWN
    assert vitals(np.ones((1, 2)), np.array([0])) is UNKNOWN
