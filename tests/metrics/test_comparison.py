"""A against B: signs, invariances, and verdicts that are as rarely wrong as they say."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from twinset.errors import DataError
from twinset.metrics.comparison import Comparison, Difference, differences
from twinset.metrics.intervals import Interval
from twinset.metrics.measured import Part

CENTRES, SIZES = np.array([0.0, 2.5, 4.0]), [40, 35, 30]
TRUTH = np.repeat(np.arange(3), SIZES)
THRESHOLDS = (1.2, 1.4)
RNG = np.random.default_rng(0)
SEEN = RNG.normal(CENTRES[TRUTH])[:, None]
BLURRED = SEEN + RNG.normal(scale=0.8, size=SEEN.shape)


def against(a, b, thresholds=THRESHOLDS, labels=TRUTH):
    return differences(Part(a, labels), Part(b, labels), thresholds)


def by_name(found):
    return {each.key: each for each in found}


def test_a_against_a_is_exactly_nothing():
    for each in against(SEEN, SEEN.copy(), (1.2, 1.2)):
        assert each.a == each.b
        assert (each.interval.value, each.interval.low, each.interval.high) == (0, 0, 0)
        assert each.verdict == "cannot tell"


def test_another_threshold_changes_what_depends_on_it():
    found = by_name(against(SEEN, SEEN, (0.8, 1.6)))
    assert found["auc"].verdict == found["map_at_r"].verdict == "cannot tell"
    assert found["fmr"].verdict == "A beats B"
    assert found["fnmr"].verdict == "B beats A"
    half = (found["fmr"].interval.value + found["fnmr"].interval.value) / 2
    assert found["hter"].interval.value == pytest.approx(half)


def test_swapping_flips_signs_and_verdicts():
    swapped = {"A beats B": "B beats A", "B beats A": "A beats B", "cannot tell": "cannot tell"}
    there, back = against(SEEN, BLURRED), against(BLURRED, SEEN, THRESHOLDS[::-1])
    assert Counter(each.verdict for each in there)["A beats B"] > 2
    for one, other in zip(there, back, strict=True):
        assert (one.a, one.b) == (other.b, other.a)
        assert one.interval.value == -other.interval.value
        ends = one.interval.low, one.interval.high
        assert ends == pytest.approx((-other.interval.high, -other.interval.low), rel=1e-12)
        assert one.verdict == swapped[other.verdict]


def test_order_of_images_and_names_of_classes_do_not_matter():
    order = np.random.default_rng(1).permutation(len(TRUTH))
    shuffled = against(SEEN[order], BLURRED[order], labels=(7 - TRUTH)[order])
    for one, other in zip(against(SEEN, BLURRED), shuffled, strict=True):
        assert one.interval.value == pytest.approx(other.interval.value, abs=1e-9)
        assert one.interval.error == pytest.approx(other.interval.error, rel=1e-6)


def test_a_clearly_better_model_is_found():
    perfect = np.eye(3)[TRUTH] + 0.05 * RNG.normal(size=(len(TRUTH), 3))
    found = by_name(against(perfect, RNG.normal(size=(len(TRUTH), 2)), (0.7, 0.7)))
    assert {each.verdict for each in found.values()} == {"A beats B"}
    assert found["auc"].a > 0.999
    assert found["auc"].b == pytest.approx(0.5, abs=0.05)


def test_values_are_counted_by_hand():
    """On a line: a at 0 and 1, b at 3 and 3.5; threshold 2 for A, 0.6 for B, which is A halved."""
    line, labels = np.array([[0.0], [1.0], [3.0], [3.5]]), np.array([0, 0, 1, 1])
    found = by_name(against(line, line / 2, (2.0, 0.3), labels))
    # A: 3 − 1 = 2 matches, of 4 different pairs; both same pairs match. B: 0.5 > 0.3 does not.
    assert (found["fmr"].a, found["fnmr"].a) == (0.25, 0.0)
    assert (found["fmr"].b, found["fnmr"].b) == (0.0, 0.5)
    assert (found["hter"].a, found["hter"].b) == (0.125, 0.25)
    assert found["auc"].a == found["recall_at_1"].b == found["map_at_r"].a == 1


def test_few_errors_are_no_verdict():
    found = by_name(against(SEEN, BLURRED, (0.01, 1.4)))
    assert found["fmr"].enough_errors, "B has enough of them"
    few = by_name(against(SEEN, BLURRED, (0.01, 0.02)))["fmr"]
    assert not few.enough_errors
    assert few.verdict == "cannot tell"


@pytest.mark.parametrize(
    ("low", "high", "key", "verdict"),
    [
        (0.01, 0.03, "auc", "A beats B"),
        (0.01, 0.03, "eer", "B beats A"),
        (-0.03, -0.01, "auc", "B beats A"),
        (-0.03, -0.01, "eer", "A beats B"),
        (-0.01, 0.03, "auc", "cannot tell"),
        (0.0, 0.03, "auc", "cannot tell"),
    ],
)
def test_verdicts(low, high, key, verdict):
    interval = Interval((low + high) / 2, low, high, 0.01)
    one = Difference(key, 0.5, 0.5 - interval.value, interval)
    assert one.verdict == verdict
    assert replace(one, enough_errors=False).verdict == "cannot tell"


# --- how often it is wrong

REPETITIONS = 100
COMPARED = ["auc", "eer", "tpr_at_fpr_0.01", "recall_at_1", "map_at_r", "hter", "fmr", "fnmr"]


@pytest.fixture(scope="module")
def repeated(once):
    return once("repeated_comparisons", repetitions)


def repetitions():
    """Test sets drawn anew: a better model against a worse one, and two that are equally good."""
    rng = np.random.default_rng(3)
    better, equal = [], []
    for _ in range(REPETITIONS):
        x = rng.normal(CENTRES[TRUTH])[:, None]
        one, two = (x + rng.normal(scale=0.6, size=x.shape) for _ in range(2))
        better.append(by_name(against(x, one)))
        equal.append(by_name(against(one, two, (1.4, 1.4))))
    return better, equal


@pytest.mark.parametrize("name", COMPARED)
def test_intervals_cover_the_true_difference(repeated, name):
    """Of 100 repetitions, 95% ± 2 points; recall@1 and TPR@FPR err to the wide side."""
    found = [each[name].interval for each in repeated[0]]
    truth = np.mean([each.value for each in found])
    covered = np.mean([each.low <= truth <= each.high for each in found])
    assert covered >= 0.9
    spread = np.std([each.value for each in found])
    stated = np.sqrt(np.mean([each.error**2 for each in found]))
    assert 0.85 * spread < stated < (2.0 if name == "recall_at_1" else 1.5) * spread


@pytest.mark.parametrize("name", COMPARED)
def test_equally_good_models_are_rarely_told_apart(repeated, name):
    wrong = [each[name].verdict != "cannot tell" for each in repeated[1]]
    assert np.mean(wrong) <= 0.1


def test_the_better_model_is_often_found(repeated):
    verdicts = Counter(each["auc"].verdict for each in repeated[0])
    assert verdicts["A beats B"] > 0.5 * REPETITIONS
    assert verdicts["B beats A"] == 0


# --- what is refused, and what is written


def test_other_images_are_refused():
    with pytest.raises(DataError, match="labels of 105 and of 104 images"):
        differences(Part(SEEN, TRUTH), Part(SEEN[1:], TRUTH[1:]), THRESHOLDS)
    with pytest.raises(DataError, match="the same images in the same order"):
        differences(Part(SEEN, TRUTH), Part(SEEN[::-1], TRUTH[::-1]), THRESHOLDS)


@pytest.fixture
def comparison():
    facts = {
        "A": {"recipe": "tutorial", "seed": 0},
        "B": {"threshold": float("nan")},
        "Data": {"test set": "line"},
    }
    return Comparison(("runs/a", "runs/b"), against(SEEN, BLURRED), 105, 5460, facts)


def test_json_is_plain_and_whole(comparison):
    content = comparison.to_dict()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert content["schema"] == 2
    assert content["a"] == {"name": "runs/a", "recipe": "tutorial", "seed": 0}
    assert content["b"] == {"name": "runs/b", "threshold": None}
    assert list(content["differences"]) == COMPARED
    area = content["differences"]["auc"]
    assert area["difference"] == comparison["auc"].interval.value == area["a"] - area["b"]
    assert area["verdict"] == "A beats B"
    assert (area["better"], content["differences"]["eer"]["better"]) == ("higher", "lower")


def test_the_table_holds_the_numbers(comparison):
    head, second, size, _, _, *rows = comparison.summary().splitlines()
    assert head == "A: runs/a (recipe tutorial, seed 0)"
    assert second == "B: runs/b"
    assert size == "on 105 images, 5,460 pairs"
    area = comparison["auc"].interval
    assert rows[0].startswith("ROC AUC")
    assert f"{area.value:+.4f}  {area.low:+.4f} to {area.high:+.4f}  A beats B" in rows[0]
    assert sum(" * " in row for row in rows[:8]) == 3
    few = replace(comparison["fmr"], enough_errors=False)
    text = replace(comparison, differences=(few,)).summary()
    assert "cannot tell (fewer than 30 errors)" in text
    assert "several seeds" in text
