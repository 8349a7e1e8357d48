"""The rules of joining and their choice, against slow loops and values that a person can check."""

import itertools

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from twinset.errors import DataError
from twinset.metrics.open_set import choose_rule
from twinset.metrics.trials import RULES, jackknifed, join, leave_out, spreads


def joined(query, references, rule):
    """Join one query's images with one identity's vectors, from the vectors themselves."""
    if not len(references):
        return np.inf
    apart = sorted(np.linalg.norm(q - r) for q, r in itertools.product(query, references))
    if rule == "nearest":
        return apart[0]
    if rule == "best two":
        return np.mean(apart[:2])
    if rule == "mean evidence":
        return np.mean(apart)
    return np.linalg.norm(np.mean(query, axis=0) - np.mean(references, axis=0))


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.sampled_from(RULES))
def test_each_rule_is_what_it_says_of_the_vectors(seed, q, rule):
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.concatenate([np.arange(4), rng.integers(0, 4, 6)]))
    references, queries = rng.normal(size=(10, 3)), rng.normal(size=(5, q, 3))
    apart = np.linalg.norm(queries[:, :, None] - references, axis=-1)
    own = np.concatenate([spreads(each, np.zeros(q, int)) for each in queries])
    spread = spreads(references, codes) + own[:, None]
    wanted = [[joined(each, references[codes == k], rule) for k in range(4)] for each in queries]
    np.testing.assert_allclose(join(apart, codes, rule, spread=spread), wanted, atol=1e-9)


def test_distances_that_do_not_count_are_left_out_and_ties_count_twice():
    apart = [[np.inf, 4.0, np.inf, 2.0, 2.0]]
    codes = [0, 0, 1, 2, 2]
    for rule in RULES:
        assert join(apart, codes, rule).tolist() == [[4.0, np.inf, 2.0]]


@pytest.mark.parametrize(
    ("apart", "codes", "rule", "words"),
    [
        ([[1.0]], [0], "worst", "rule out of nearest"),
        ([[1.0, 2.0]], [0], "nearest", "an identity for each"),
        ([[1.0, 2.0]], [0, 2], "nearest", "without a gap"),
        ([[1.0]], [1], "nearest", "without a gap"),
    ],
)
def test_what_cannot_be_joined_is_refused(apart, codes, rule, words):
    with pytest.raises(DataError, match=words):
        join(apart, codes, rule)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("together", "references"), [(1, None), (1, 2), (2, None), (2, 3)])
def test_a_query_is_left_out_of_its_own_references(rule, together, references):
    rng = np.random.default_rng(3)
    labels = np.repeat(["a", "b", "c", "d"], [7, 5, 2, 1])
    vectors = rng.normal([100.0, 0.0], size=(15, 2))
    found = leave_out(vectors, labels, rule, together=together, references=references, seed=5)
    # the same order within the identities as there
    order = np.lexsort((np.random.default_rng(5).random(15), labels))
    row = 0
    for name in "abcd":
        members = order[labels[order] == name]
        for start in range(0, len(members) - together + 1, together):
            query = members[start : start + together]
            wanted = []
            for other in "abcd":
                left = [i for i in order[labels[order] == other] if i not in query]
                wanted.append(joined(vectors[query], vectors[left[:references]], rule))
            own = wanted["abcd".index(name)]
            np.testing.assert_allclose(found.own[row], own, atol=1e-6)
            wanted["abcd".index(name)] = np.inf
            np.testing.assert_allclose(found.others[row], wanted, atol=1e-6)
            row += 1
    assert row == len(found)


def test_a_group_left_out_is_in_no_gallery_and_asks_nothing():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(80), 2)  # more identities than groups
    trials = leave_out(rng.normal(size=(160, 3)), labels, "nearest")
    for group in (0, 59):
        kept = trials.groups != group
        wanted = trials.others[kept][:, trials.columns != group].min(axis=1)
        found = trials.without(group)
        np.testing.assert_array_equal(found.rival, wanted)
        np.testing.assert_array_equal(found.own, trials.own[kept])


def test_the_error_of_a_share_of_single_queries_is_that_of_a_share():
    # references at the identities' places, probes that hit by chance: rank 1 is a coin each
    rng = np.random.default_rng(1)
    places = 100 * np.arange(60.0)
    wrong = rng.random(60) < 0.3
    vectors = np.concatenate([places, places + np.where(wrong, 90, 1)])[:, None]
    trials = leave_out(vectors, np.tile(np.arange(60), 2), "nearest")
    rank_1 = jackknifed(trials, type(trials).rank_1)
    plain = np.sqrt(rank_1.value * (1 - rank_1.value) / 60)
    assert rank_1.error == pytest.approx(plain, rel=0.5)


@pytest.mark.parametrize(
    ("made", "rule"),
    [("around a mean", "mean embedding"), ("in two poses", "nearest")],
)
def test_the_rule_that_fits_how_the_images_are_spread_is_chosen(made, rule):
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(40), 6)
    places = rng.normal(size=(40, 12))[people]
    if made == "in two poses":  # each identity has two places far apart, and its mean is nowhere
        places = rng.normal(size=(80, 12))[2 * people + np.arange(240) % 2]
        faces = places + 0.4 * rng.normal(size=(240, 12))
    else:
        faces = places + 0.9 * rng.normal(size=(240, 12))
    choice = choose_rule(faces, people)
    assert choice.chosen == rule
    best = max(choice.rows, key=lambda row: row.score.value)
    taken = next(row for row in choice.rows if row.rule == rule)
    assert taken.score.value >= best.score.value - taken.error
    assert [row.rule for row in choice.rows] == list(RULES)


def test_without_an_image_to_leave_out_there_is_nothing_to_choose():
    choice = choose_rule(np.eye(4), [0, 1, 2, 3])
    assert (choice.chosen, choice.rows) == ("nearest", ())
    assert "nothing to choose" in choice.reason
