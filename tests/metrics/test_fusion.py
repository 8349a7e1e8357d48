"""Several scores as one: no worse than the best of them, in evidence that can be believed."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from twinset.errors import DataError
from twinset.metrics.fusion import fuse


def pairs(count=600, seed=0, k=2, noise=0.6):
    rng = np.random.default_rng(seed)
    same = rng.random(count) < 0.3
    return np.where(same, 0.0, 1.0)[:, None] + noise * rng.normal(size=(count, k)), same


def test_it_is_the_regression_that_others_compute():
    scores, same = pairs()
    found = fuse(scores, same)
    weights = np.where(same, 0.5 / same.sum(), 0.5 / (~same).sum())
    other = LogisticRegression(C=np.inf, tol=1e-10).fit(scores, same, weights)
    # ours has labels softened as by one more pair of each kind
    np.testing.assert_allclose(found.slopes, other.coef_[0], rtol=0.1)
    np.testing.assert_allclose(found.intercept, other.intercept_[0], rtol=0.1)
    assert found.cllr < min(found.single) - 0.1
    assert found.llr([[0.0, 0.0]])[0] > 0 > found.llr([[1.0, 1.0]])[0]
    assert found.probability([[0.0, 0.0]], prior=0.5) > found.probability([[0.0, 0.0]], prior=0.1)
    assert found.sentence().startswith("Cllr 0.")
    assert found.sentence().endswith("(600 pairs, cross-validated in 5 parts)")
    assert found.to_dict()["names"] == ("score 1", "score 2")


def test_the_cost_is_that_of_new_pairs():
    scores, same = pairs(200)
    found = fuse(scores, same)
    new, truly = pairs(20_000, seed=1)
    llr = found.llr(new)
    bits = np.logaddexp(0, np.where(truly, -llr, llr)) / np.log(2)
    assert (bits[truly].mean() + bits[~truly].mean()) / 2 == pytest.approx(found.cllr, abs=0.1)


def test_a_score_may_speak_for_same_by_being_large_and_noise_gets_no_say():
    scores, same = pairs(2000)
    noise = np.random.default_rng(5).normal(size=2000)
    found = fuse(np.column_stack([scores[:, 0], -scores[:, 1], noise]), same, names="abc")
    plain = fuse(scores, same)
    np.testing.assert_allclose(found.slopes[:2], [plain.slopes[0], -plain.slopes[1]], rtol=0.05)
    assert abs(found.slopes[2]) < 0.2
    assert found.cllr == pytest.approx(plain.cllr, abs=0.01)


def test_a_copy_of_a_score_adds_no_evidence():
    """Two models that say the same must not be believed twice."""
    scores, same = pairs(k=1)
    alone = fuse(scores, same)
    twice = fuse(np.repeat(scores, 2, axis=1), same)
    assert sum(twice.slopes) == pytest.approx(alone.slopes[0], rel=0.05)
    assert twice.cllr == pytest.approx(alone.cllr, abs=0.01)


def test_scores_that_separate_stay_finite():
    scores, same = pairs(noise=0.01)
    found = fuse(scores, same)
    assert np.isfinite([*found.slopes, found.intercept]).all()
    assert found.cllr < 0.1


def test_pairs_of_one_group_are_left_out_together():
    scores, same = pairs(60)
    assert fuse(scores, same, groups=np.zeros(60)).across == "on the pairs it was fitted to"
    assert fuse(scores, same, groups=np.arange(60) % 4).across == "cross-validated in 4 parts"


@pytest.mark.parametrize(
    ("scores", "same", "words"),
    [
        (np.zeros(4), [1, 0, 1, 0], r"Expected scores of shape \(p, k\). Received \(4,\)"),
        (np.zeros((2, 1)), [1, 0, 1], r"Received shapes \(2, 1\) and \(3,\)"),
        (np.zeros((2, 1)), [1, 1], "of both kinds"),
        ([[0.0], [np.nan]], [1, 0], "Expected finite scores. Received nan of pair 1"),
    ],
)
def test_what_makes_no_sense(scores, same, words):
    with pytest.raises(DataError, match=words):
        fuse(scores, same)
    with pytest.raises(DataError, match=r"Expected scores of shape \(p, 2\)"):
        fuse(*pairs(50)).llr([[1.0]])
    for groups in (np.zeros(3, int), np.arange(3)):
        with pytest.raises(DataError, match=r"group of each of 600 pairs. Received shape \(3,\)"):
            fuse(*pairs(), groups=groups)
    with pytest.raises(DataError, match="Expected a name of each of 2 scores. Received 1"):
        fuse(*pairs(50), names=["a"])
