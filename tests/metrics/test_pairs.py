import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

import oracles
from strategies import scored_pairs
from twinset.errors import DataError
from twinset.metrics.pairs import (
    auc,
    best_accuracy_threshold,
    curve_of_pairs,
    hardest_mistakes,
    score_pairs,
)


def roc_auc(distances, same):
    return auc(curve_of_pairs(distances, same))


@given(scored_pairs(), st.floats(-1, 11))
def test_scores_agree_with_the_loop(pairs, threshold):
    distances, same = pairs
    scores = score_pairs(distances, same, threshold)
    assert scores.accuracy == pytest.approx(oracles.accuracy(distances, same, threshold))
    assert scores.auc == pytest.approx(oracles.roc_auc(distances, same))
    assert scores.auc == pytest.approx(roc_auc_score(same, -np.array(distances)))
    assert scores.positives + scores.negatives == scores.pairs == len(same)
    wrong = scores.false_matches + scores.false_non_matches
    assert scores.accuracy == pytest.approx(1 - wrong / scores.pairs)
    assert scores.fmr == scores.false_matches / scores.negatives
    assert scores.fnmr == scores.false_non_matches / scores.positives


@given(scored_pairs())
def test_no_threshold_beats_the_best(pairs):
    distances, same = pairs
    best = best_accuracy_threshold(distances, same)
    reached = oracles.accuracy(distances, same, best)
    candidates = [-1.0, *distances, 100.0]
    assert reached == max(oracles.accuracy(distances, same, t) for t in candidates)


@given(scored_pairs())
def test_order_and_monotone_maps_change_nothing(pairs):
    distances, same = np.array(pairs[0]), np.array(pairs[1], bool)
    assert roc_auc(distances[::-1], same[::-1]) == roc_auc(distances, same)
    # ranks keep order and ties, where exp() and the like would round some apart ones together
    ranks = np.unique(distances, return_inverse=True)[1] ** 2
    assert roc_auc(ranks, same) == roc_auc(distances, same)


def test_cases_by_hand():
    assert roc_auc([3, 3, 3, 3], [1, 0, 1, 0]) == 0.5
    assert roc_auc([1, 2, 3, 4], [1, 1, 0, 0]) == 1.0
    assert roc_auc([1, 2, 3, 4], [0, 0, 1, 1]) == 0.0
    # a match is at the threshold too: 0.5 is a false match, 0.6 a false non-match
    scores = score_pairs([0.5, 0.6, 0.1, 0.9], [0, 1, 1, 0], 0.5)
    assert (scores.false_matches, scores.false_non_matches, scores.accuracy) == (1, 1, 0.5)


def test_the_best_threshold_may_match_nothing():
    threshold = best_accuracy_threshold([1.0, 1.0, 2.0], [0, 0, 1])
    assert score_pairs([1.0, 1.0, 2.0], [0, 0, 1], threshold).accuracy == pytest.approx(2 / 3)
    assert threshold < 1


def test_ties_give_no_false_perfection():
    # .5 and .5, one of each kind: no threshold does better than one half
    assert (
        score_pairs([0.5, 0.5], [1, 0], best_accuracy_threshold([0.5, 0.5], [1, 0])).accuracy == 0.5
    )


@given(scored_pairs(), st.floats(0, 10), st.integers(1, 10))
def test_hardest_mistakes_are_mistakes_and_worst_first(pairs, threshold, count):
    distances, same = np.array(pairs[0]), np.array(pairs[1], bool)
    worst = hardest_mistakes(distances, same, threshold, count)
    wrong = (distances <= threshold) != same
    assert wrong[worst].all()
    assert len(set(worst.tolist())) == len(worst) == min(count, wrong.sum())
    for kind in (True, False):
        chosen = worst[same[worst] == kind]
        margins = np.abs(distances[chosen] - threshold)
        assert (np.diff(margins) <= 0).all()
        left_out = np.setdiff1d(np.flatnonzero(wrong & (same == kind)), chosen)
        if len(chosen) and len(left_out):
            assert np.abs(distances[left_out] - threshold).max() <= margins.min()


@pytest.mark.parametrize(
    ("distances", "same", "words"),
    [
        ([], [], "pairs of both kinds. Received 0 same and 0 different"),
        ([1.0, 2.0], [1, 1], "Received 2 same and 0 different"),
        ([1.0, 2.0], [1], r"one shape \(p,\). Received \(2,\) and \(1,\)"),
        ([[1.0, 2.0]], [[1, 0]], r"Received \(1, 2\)"),
        ([1.0, np.nan], [1, 0], "finite distances. Received nan at position 1"),
        ([np.inf, 1.0], [1, 0], "Received inf at position 0"),
    ],
)
def test_what_cannot_be_scored(distances, same, words):
    for function in (roc_auc, best_accuracy_threshold):
        with pytest.raises(DataError, match=words):
            function(distances, same)
    with pytest.raises(DataError, match=words):
        score_pairs(distances, same, 0.5)
