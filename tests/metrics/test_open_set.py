"""Open-set identification: rates against loops, growth against larger galleries, coverage."""

import numpy as np
import pytest

from twinset.metrics.growth import Growth
from twinset.metrics.open_set import cmc, compare_references, fnir_at, identify_all
from twinset.metrics.trials import Scores, Trials, leave_out


def people(rng, identities, images, noise=0.6, size=12):
    who = np.repeat(np.arange(identities), images)
    return rng.normal(size=(identities, size))[who] + noise * rng.normal(size=(len(who), size)), who


def little(own, others, who):
    others = np.array(others, float)
    return Trials(
        np.array(own, float),
        others.min(axis=1),
        np.array(who),
        np.array(who),
        others,
        np.arange(others.shape[1]),
    )


INF = np.inf


def test_ranks_a_person_can_count():
    # of three people: found first, found second, found third
    trials = little([1, 2, 3], [[INF, 2, 3], [1, INF, 4], [1, 2, INF]], [0, 1, 2])
    assert [round(each.value, 4) for each in cmc(trials, (1, 2, 3))] == [0.3333, 0.6667, 1.0]
    for each in cmc(trials, (1, 2)):
        assert each.low <= each.value <= each.high


def test_missed_are_those_beyond_the_threshold_and_those_whom_another_outruns():
    scores = Scores(np.array([1.0, 2.0, 6.0, 3.5]), np.array([5.0, 4.0, 7.0, 3.0]), np.arange(4))
    # a quarter of the strangers at most: below 4, so 1 and 2 are found, 3.5 is outrun
    assert fnir_at(scores, 0.25) == 0.5
    # none: below 3
    assert fnir_at(scores, 0.0) == 0.5
    assert fnir_at(scores, 0.75) == 0.25  # below 7: 6 is found as well


def test_within_the_gallery_a_rate_is_the_mean_over_all_smaller_ones():
    rng = np.random.default_rng(3)
    others = rng.random((6, 6))
    np.fill_diagonal(others, INF)
    growth = Growth(little(rng.random(6), others, np.arange(6)))
    drawn = []
    for query in range(6):
        rest = np.delete(others[query], query)
        pairs = [(i, j) for i in range(5) for j in range(i)]
        drawn += [min(rest[i], rest[j]) <= 0.3 for i, j in pairs]
    assert growth.fpir(0.3, 2).value == pytest.approx(np.mean(drawn))
    assert growth.fpir(0.3, 5).value == pytest.approx((others.min(axis=1) <= 0.3).mean())


def test_strangers_grow_as_in_the_larger_gallery():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(10):
        images, who = people(rng, 1500, 1)
        growth = Growth(leave_out(images[:150], who[:150], "nearest"))
        apart = np.linalg.norm(images[:300, None] - images[None], axis=2)
        apart[np.arange(300), np.arange(300)] = INF
        threshold = np.quantile(apart.min(axis=1), 0.3)
        found = growth.fpir(threshold, 1499)
        held += found.low <= 0.3 <= found.high
    assert held >= 8


def test_intervals_of_both_rates_hold_the_truth_of_a_simulation():
    rng = np.random.default_rng(1)
    known, strangers, truth = [], [], []
    for _ in range(60):
        images, who = people(rng, 60, 3, noise=0.5)
        growth = Growth(leave_out(images, who, "nearest"))
        known.append(growth.fnir(2.6, 59))
        strangers.append(growth.fpir(2.6, 59))
    for found in (known, strangers):
        truth = np.mean([each.value for each in found])
        held = np.mean([each.low <= truth <= each.high for each in found])
        assert held >= 0.88  # 500 repetitions: ./task bench open_set


def test_the_threshold_of_a_rate_keeps_it():
    images, who = people(np.random.default_rng(2), 80, 3)
    growth = Growth(leave_out(images, who, "nearest"))
    for wanted in (0.05, 0.2):
        threshold = growth.threshold(wanted, growth.gallery)
        assert wanted - 0.02 <= growth.fpir(threshold, growth.gallery).value <= wanted
        # a gallery ten times as large takes a smaller one
        assert growth.threshold(wanted, 10 * growth.gallery) < threshold


def test_more_references_miss_fewer():
    images, who = people(np.random.default_rng(4), 60, 6)
    one, five = compare_references(images, who, "mean embedding", (1, 5))
    assert one.gain.value == 0
    assert five.fnir.value < one.fnir.value
    assert 0 < five.gain.low < five.gain.value == pytest.approx(one.fnir.value - five.fnir.value)


def test_it_hangs_little_on_which_images_are_the_references():
    rng = np.random.default_rng(6)
    gains = []
    for _ in range(20):
        images, who = people(rng, 30, 4)
        gains += [compare_references(images, who, "nearest", (1, 3), seed=s)[1] for s in (0, 1)]
    truth = np.mean([each.gain.value for each in gains])
    assert np.mean([each.gain.low <= truth <= each.gain.high for each in gains]) >= 0.88
    first, second = (np.array([each.gain.value for each in gains[i::2]]) for i in range(2))
    width = np.mean([each.gain.high - each.gain.low for each in gains])
    assert np.abs(first - second).mean() < width / 8


def test_all_of_it_for_people_and_for_programs():
    images, who = people(np.random.default_rng(5), 40, 4)
    found = identify_all(images, who)
    said = "\n".join(found.sentences())
    assert said.startswith("Identification among 40 identities, 160 queries")
    assert "of strangers for somebody" in said
    told = found.to_dict()
    assert [size["measured"] for size in told["growth"]] == [True, True, True, False, False, False]
    assert [each["references"] for each in told["references"]] == [1, 2]
    rates = np.array([each["fpir"]["value"] for each in told["growth"]])
    assert (np.diff(rates) >= 0).all()
    curve = np.array(found.curve)
    assert (np.diff(curve[:, 1]) >= 0).all()
    assert (np.diff(curve[:, 2]) <= 0).all()
    assert identify_all(images[:40], who[:40]) is None  # ten identities


def test_rates_do_not_hang_on_names_or_on_turning_the_space():
    images, who = people(np.random.default_rng(6), 30, 3)
    turned = images @ np.linalg.qr(np.random.default_rng(7).normal(size=(12, 12)))[0]
    names = np.array([f"person {k:03}" for k in who])
    one, other = (identify_all(*each, rule="nearest") for each in ((images, who), (turned, names)))
    assert [k.value for _, k in one.ranks] == [k.value for _, k in other.ranks]
    for a, b in zip(one.points, other.points, strict=True):
        assert a.threshold == pytest.approx(b.threshold)
        assert (a.fpir.value, a.fnir.value) == pytest.approx((b.fpir.value, b.fnir.value))
