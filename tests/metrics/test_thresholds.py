from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import calibration_oracles as oracles
from strategies import scored_pairs
from twinset.distance import of_pairs
from twinset.errors import DataError
from twinset.metrics.all_pairs import AllPairs
from twinset.metrics.pairs import Curve, choose_threshold, curve_of_pairs, parse_rule

BADNESS = {
    "balanced accuracy": lambda fmr, fnmr: fmr + fnmr,
    "EER": lambda fmr, fnmr: abs(fmr - fnmr),
    "cost 10:1": lambda fmr, fnmr: 10 * fmr + fnmr,
    "cost 1:3": lambda fmr, fnmr: fmr + 3 * fnmr,
    "cost 0.3:1.7": lambda fmr, fnmr: 3 * fmr + 17 * fnmr,
}


def midway(distances, candidate):
    """From a candidate to the next distance; both ends are where they are."""
    more = [d for d in distances if d > candidate]
    return (candidate + min(more)) / 2 if more and candidate >= min(distances) else candidate


@pytest.mark.parametrize("rule", BADNESS)
@given(pairs=scored_pairs())
def test_the_best_and_smallest_candidate_is_chosen(rule, pairs):
    chosen = choose_threshold(curve_of_pairs(*pairs), rule)
    best = oracles.threshold(*pairs, BADNESS[rule])
    assert chosen.value == pytest.approx(midway(pairs[0], best))
    assert oracles.errors_at(*pairs, chosen.value) == oracles.errors_at(*pairs, best)
    assert chosen.rule == rule


@given(scored_pairs(), st.sampled_from(["0.01", "0.1", "0.29", "0.3", "0.5", "1e-3", "0.999"]))
def test_the_largest_threshold_within_the_limit_is_chosen(pairs, limit):
    chosen = choose_threshold(curve_of_pairs(*pairs), f"FPR <= {limit}")
    fmr, fnmr = oracles.errors_at(*pairs, chosen.value)
    assert fmr <= Fraction(limit)
    if (fmr, fnmr) == (0, 0):  # no same pair is left to win
        return
    for d in pairs[0]:
        if d > chosen.value:
            assert oracles.errors_at(*pairs, d)[0] > Fraction(limit)


@given(scored_pairs(), st.sampled_from([*BADNESS, "FPR <= 0.2"]))
def test_the_promise_is_what_the_threshold_does(pairs, rule):
    chosen = choose_threshold(curve_of_pairs(*pairs), rule)
    distances, same = np.array(pairs[0]), np.array(pairs[1], bool)
    match = distances <= chosen.value
    assert chosen.fmr == match[~same].mean()
    assert chosen.fnmr == (~match)[same].mean()


def test_rules_by_hand():
    curve = curve_of_pairs([1, 2, 5, 3, 4, 6, 7], [1, 1, 1, 0, 0, 0, 0])
    # FMR, FNMR at 1, 2, …, 7: 0 ⅔, 0 ⅓, ¼ ⅓, ½ ⅓, ½ 0, ¾ 0, 1 0
    for rule, expected in {
        "balanced accuracy": (2.5, 0, 1 / 3),
        "EER": (3.5, 1 / 4, 1 / 3),
        "cost 1:2": (5.5, 1 / 2, 0),
        "cost 1:100": (5.5, 1 / 2, 0),
        "FPR <= 0.3": (3.5, 1 / 4, 1 / 3),
        "FPR <= 0.25": (3.5, 1 / 4, 1 / 3),
        "FPR <= 0.24": (2.5, 0, 1 / 3),
        "FPR <= 0.99": (6.5, 3 / 4, 0),
    }.items():
        chosen = choose_threshold(curve, rule)
        assert (chosen.value, chosen.fmr, chosen.fnmr) == pytest.approx(expected), rule


@pytest.mark.parametrize("different", [20, 2000])
@pytest.mark.parametrize("rule", [*BADNESS, "FPR <= 0.01", "FPR <= 0.5"])
def test_a_gap_between_the_kinds_is_parted_in_its_middle(rule, different):
    """Same pairs up to 0.018, different ones from 1.03 on: a noisy copy at 0.1 is the same."""
    apart = np.append(np.linspace(0.001, 0.018, 30), np.linspace(1.03, 1.4, different))
    same = np.arange(30 + different) < 30
    chosen = choose_threshold(curve_of_pairs(apart, same), rule)
    assert chosen.value == pytest.approx((0.018 + 1.03) / 2)
    assert (chosen.fmr, chosen.fnmr) == (0, 0)


def test_a_threshold_within_bins_keeps_their_counts():
    """All pairs are counted in bins: midway from the end of one to the begin of the next."""
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 4
    for spread in (1.0, 0.01):
        x = spread * rng.normal(size=(40, 3)) + 5 * np.eye(4, 3)[labels]
        walk = AllPairs(x.astype(np.float32), labels)
        for rule in ("balanced accuracy", "EER", "FPR <= 0.01", "cost 10:1"):
            chosen = choose_threshold(walk.curve(), rule)
            counted = walk.per_image([chosen.value]).rates(0)
            assert (chosen.fmr, chosen.fnmr) == (counted.fmr, counted.fnmr)
    left, right = np.triu_indices(40, 1)
    apart, kinds = of_pairs(x, left, right), labels[left] == labels[right]
    middle = (apart[kinds].max() + apart[~kinds].min()) / 2
    assert chosen.value == pytest.approx(middle, abs=1e-3)


def test_both_ends_are_candidates():
    worst = curve_of_pairs([1.0, 2.0], [0, 1])
    nothing = choose_threshold(worst, "cost 2:1")
    assert (nothing.fmr, nothing.fnmr) == (0, 1)
    assert nothing.value < 1
    everything = choose_threshold(worst, "cost 1:2")
    assert (everything.value, everything.fmr, everything.fnmr) == (2.0, 1, 0)
    # equally bad: the smaller one, which matches nothing
    assert choose_threshold(worst, "balanced accuracy").value < 1


def test_constant_distances_leave_all_or_nothing():
    constant = curve_of_pairs([0.5] * 4, [1, 1, 0, 0])
    for rule in ("balanced accuracy", "EER", "FPR <= 0.5", "cost 10:1"):
        chosen = choose_threshold(constant, rule)
        assert (chosen.fmr, chosen.fnmr) == (0, 1), rule
    assert choose_threshold(constant, "cost 1:10").value == 0.5


def test_ties_are_exact_where_rates_are_not():
    # 0.1 + 0.7 < 0.3 + 0.5 in floats, though both are 0.8: the smaller threshold must win
    curve = Curve(np.arange(4.0), np.array([0, 3, 5, 10]), np.array([0, 1, 3, 10]))
    assert curve.fmr[1] + curve.fnmr[1] != curve.fmr[2] + curve.fnmr[2]
    assert choose_threshold(curve, "balanced accuracy").value == pytest.approx(1.5)


def test_a_histogram_of_many_pairs():
    thresholds = np.linspace(0, 2, 65_537)
    true_matches = np.round(5e8 * (thresholds / 2) ** 0.25).astype(np.int64)
    false_matches = np.round(4.5e9 * (thresholds / 2) ** 4).astype(np.int64)
    curve = Curve(thresholds, true_matches, false_matches)
    chosen = choose_threshold(curve, "FPR <= 0.01")
    assert chosen.value == pytest.approx(2 * 0.01**0.25, abs=4e-5)
    assert chosen.fmr <= 0.01
    # FMR = u⁴ and FNMR = 1 − u^¼: equal slopes where 4 u³ = ¼ u^−¾
    u = 16 ** (-4 / 15)
    assert choose_threshold(curve, "balanced accuracy").value == pytest.approx(2 * u, abs=1e-3)


@pytest.mark.parametrize(
    ("text", "name", "costs", "limit"),
    [
        ("balanced accuracy", "balanced accuracy", (1, 1), 0),
        (" Balanced   Accuracy", "balanced accuracy", (1, 1), 0),
        ("eer", "EER", (1, 1), 0),
        ("FPR <= 0.01", "FPR <= 0.01", (1, 1), 0.01),
        ("fmr<=.5", "FPR <= .5", (1, 1), 0.5),
        ("FPR ≤ 1E-3", "FPR <= 1e-3", (1, 1), 0.001),
        ("cost 10:1", "cost 10:1", (10, 1), 0),
        ("COST 0.5 : 2.", "cost 0.5:2.", (1, 4), 0),
    ],
)
def test_rules_are_read(text, name, costs, limit):
    rule = parse_rule(text)
    assert (rule.name, rule.costs, rule.limit) == (name, costs, limit)
    assert parse_rule(rule.name) == rule


@pytest.mark.parametrize(
    "text",
    [
        *("", "best", "accuracy", "FPR", "FPR <= 0", "FPR <= 1", "FPR <= 1%", "FPR <= -0.1"),
        *("FPR < 0.1", "FPR >= 0.1", "FPR <= nan", "FNR <= 0.1", "EER 0.1", "cost 1", "cost 1:0"),
        *("cost 0:1", "cost -1:1", "cost 1:2:3", "cost a:b", "cost 1e9:1", "cost 10000000:1"),
    ],
)
def test_what_is_no_rule(text):
    with pytest.raises(DataError, match=r"Expected a rule 'balanced accuracy', .* Received '"):
        choose_threshold(curve_of_pairs([1, 2], [1, 0]), text)
