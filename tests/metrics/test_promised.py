"""Promised rates: counted on what the threshold was not chosen on, with intervals that hold."""

import itertools

import numpy as np
import pytest
from scipy import stats

from twinset.distance import of_pairs
from twinset.errors import DataError
from twinset.metrics.measured import Part
from twinset.metrics.pairs import choose_threshold, curve_of_pairs, rates_at
from twinset.metrics.promised import promise


def people(rng, classes, images):
    """Classes of which some are alike and some are wide: centres and spreads of their own."""
    centres = rng.normal(size=(classes, 1, 6))
    spreads = 0.35 * np.exp(0.3 * rng.normal(size=(classes, 1, 1)))
    x = centres + spreads * rng.normal(size=(classes, images, 6))
    return x.reshape(classes * images, 6), np.repeat(np.arange(classes), images)


def folds(x, labels, count):
    """As a cross-fit leaves them: whole classes in each block."""
    return Part(x, labels, labels % count)


def pairs_of(part, keep):
    """Distances and truth of all pairs within a block, of the blocks to keep."""
    blocks = np.zeros(len(part), int) if part.blocks is None else part.blocks
    left, right = np.triu_indices(len(part), 1)
    used = (blocks[left] == blocks[right]) & np.isin(blocks[left], keep)
    left, right = left[used], right[used]
    same = part.labels[left] == part.labels[right]
    return of_pairs(part.embeddings, left, right), same, left, right


def wrong(apart, same, threshold):
    match = apart <= threshold
    return match[~same].sum(), (~match)[same].sum()


@pytest.mark.parametrize("rule", ["EER", "balanced accuracy", "FPR <= 0.05", "cost 3:1"])
@pytest.mark.parametrize("over", ["class", "image"])
def test_no_block_speaks_for_a_threshold_that_it_helped_to_choose(rule, over):
    part = folds(*people(np.random.default_rng(0), 12, 5), 3)
    (found,) = promise(part, [rule], over=over)
    apart, same, *_ = pairs_of(part, [0, 1, 2])
    assert found.value == pytest.approx(
        choose_threshold(curve_of_pairs(apart, same), rule).value, abs=0.01
    )
    errors = np.zeros(2)
    for block in range(3):
        others = pairs_of(part, [b for b in range(3) if b != block])[:2]
        own = pairs_of(part, [block])[:2]
        errors += wrong(*own, choose_threshold(curve_of_pairs(*others), rule).value)
    assert (found.fmr, found.fnmr) == pytest.approx(
        (errors[0] / (~same).sum(), errors[1] / same.sum())
    )
    for rate, ends in ((found.fmr, found.fmr_range), (found.fnmr, found.fnmr_range)):
        assert 0 <= ends[0] < rate < ends[1] <= 1


def test_the_variance_is_that_of_the_classes_by_a_double_loop():
    part = folds(*people(np.random.default_rng(1), 10, 4), 2)
    (found,) = promise(part, ["EER"], over="class")
    half = {}
    for block in range(2):
        rest = pairs_of(part, [1 - block])[:2]
        half[block] = choose_threshold(curve_of_pairs(*rest), "EER").value
    apart, same, left, right = pairs_of(part, [0, 1])
    match = apart <= np.array([half[b] for b in part.blocks[left]])
    for kind, error, rate, ends, worst in (
        (~same, match, found.fmr, found.fmr_range, 2 * 10),
        (same, ~match, found.fnmr, found.fnmr_range, 10),
    ):
        total = kind.sum()
        pulls = []
        for c in range(10):
            its = kind & ((part.labels[left] == c) | (part.labels[right] == c))
            pulls.append((error[its].sum() - rate * its.sum()) / total)
        student = stats.t.ppf(0.975, 9) / stats.norm.ppf(0.975)
        told = rate * (1 - rate) / (sum(p**2 for p in pulls) * student**2 * 10 / 9)
        wrong_ones = kind & error
        erred = set(part.labels[left[wrong_ones]]) | set(part.labels[right[wrong_ones]])
        doubt = 2 / (2 + len(erred))
        n = 1 / ((1 - doubt) / told + doubt / worst)
        expected = stats.beta.ppf([0.025, 0.975], rate * n + 0.5, (1 - rate) * n + 0.5)
        assert ends == pytest.approx(expected)


@pytest.mark.parametrize("over", ["class", "image"])
def test_a_rate_of_zero_is_promised_with_what_the_data_allow(over):
    """No error in 20 classes, and in 10: 0% is never bare, and the fewer the less certain."""
    ends = []
    for classes in (20, 10):
        x = np.repeat(np.eye(20)[:classes], 4, axis=0)
        x = x + 0.01 * np.random.default_rng(0).normal(size=x.shape)
        (found,) = promise(folds(x, np.repeat(np.arange(classes), 4), 2), ["EER"], over=over)
        assert (found.fmr, found.fnmr) == (0, 0)
        assert 0.4 < found.value < 1  # the middle of the gap from 0.05 to 1.4
        assert found.fmr_range[0] == found.fnmr_range[0] == 0
        ends.append((found.fmr_range[1], found.fnmr_range[1]))
    if over == "class":
        # of 20 classes: Beta(½, 20½); of two times 10 · 9 / 2 couples: Beta(½, 90½)
        assert ends[0] == pytest.approx([stats.beta.ppf(0.975, 0.5, n + 0.5) for n in (90, 20)])
    assert all(0.005 < few < 0.25 for few in itertools.chain(*ends))
    assert all(few > many for few, many in zip(ends[1], ends[0], strict=True))


def test_without_blocks_it_is_what_the_threshold_does():
    x, labels = people(np.random.default_rng(2), 8, 6)
    for over in ("image", "class"):
        (found,) = promise(Part(x, labels), ["EER"], over=over)
        apart, same, *_ = pairs_of(Part(x, labels), [0])
        rates = rates_at(curve_of_pairs(apart, same), found.value)
        assert (found.fmr, found.fnmr) == pytest.approx((rates.fmr, rates.fnmr))
        assert found.fmr_range[0] < found.fmr < found.fmr_range[1]


def test_the_promise_is_kept_for_classes_never_seen():
    """95% intervals hold the rate in the long run, and that which comes out on 16 new classes."""
    rng = np.random.default_rng(0)
    held = {key: [] for key in ("long run", "16 classes", "pairs as independent")}
    for _ in range(40):
        part = folds(*people(rng, 24, 5), 4)
        (found,) = promise(part, ["EER"], over="class")
        (next_,) = promise(part, ["EER"], over="class", classes=16)
        pairs = pairs_of(part, range(4))[1]
        for classes, threshold in ((60, found), (16, next_)):
            apart, same, *_ = pairs_of(Part(*people(rng, classes, 5)), [0])
            true = rates_at(curve_of_pairs(apart, same), threshold.value)
            key = "long run" if classes == 60 else "16 classes"
            for rate, (low, high) in (
                (true.fmr, threshold.fmr_range),
                (true.fnmr, threshold.fnmr_range),
            ):
                held[key].append(low <= rate <= high)
            if classes == 60:
                n = (~pairs).sum()
                error = 1.96 * (found.fmr * (1 - found.fmr) / n) ** 0.5
                held["pairs as independent"].append(abs(true.fmr - found.fmr) <= error)
    shares = {key: np.mean(each) for key, each in held.items()}
    assert 0.90 <= shares["long run"] <= 0.99, shares
    assert 0.90 <= shares["16 classes"] <= 0.99, shares
    assert shares["pairs as independent"] < 0.7  # what makes it worth the trouble


def test_a_rate_on_few_new_classes_is_less_certain_than_in_the_long_run():
    part = folds(*people(np.random.default_rng(3), 24, 5), 4)
    widths = []
    for classes in (None, 1000, 20, 5):
        (found,) = promise(part, ["EER"], over="class", classes=classes)
        widths.append(found.fnmr_range[1] - found.fnmr_range[0])
    assert widths[1] == pytest.approx(widths[0], rel=0.1)
    assert widths[1] < widths[2] < widths[3]


def test_a_block_without_pairs_of_both_kinds_takes_the_threshold_of_all():
    x, labels = people(np.random.default_rng(4), 5, 4)
    part = Part(x, labels, (labels == 4).astype(int))  # one class alone in a block
    (found,) = promise(part, ["EER"], over="class")
    assert np.isfinite([found.fmr, *found.fmr_range, found.fnmr, *found.fnmr_range]).all()


@pytest.mark.parametrize(("over", "classes"), [("class", 1), ("image", 30)])
def test_what_is_no_number_of_classes(over, classes):
    part = folds(*people(np.random.default_rng(5), 8, 3), 2)
    with pytest.raises(DataError, match=rf"2 new classes or more, and over='class'.*{classes}"):
        promise(part, ["EER"], over=over, classes=classes)
