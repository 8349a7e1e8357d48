"""`measure`: what it adds up from the parts, each against the part itself."""

import json

import numpy as np
import pytest

from twinset.metrics import measured as parts
from twinset.metrics.all_pairs import AllPairs
from twinset.metrics.intervals import band_thresholds, bands, eer_at, eer_threshold, tpr_at
from twinset.metrics.listed_pairs import hardest_pairs
from twinset.metrics.measure import calibrate, measure
from twinset.metrics.measured import FPRS, PROBE_STRENGTHS, Part
from twinset.metrics.pairs import rates_at, tpr_at_fpr
from twinset.metrics.probes import knn_right, linear_probe


def part(seed, count, classes=4, width=6):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % classes)
    centres = np.random.default_rng(99).normal(size=(classes, width))
    return Part(1.5 * centres[labels] + rng.normal(size=(count, width)), labels)


@pytest.fixture(scope="module")
def test_part():
    return part(2, 160)


@pytest.fixture(scope="module")
def measurements(test_part):
    return measure(
        test_part, calibration=calibrate(part(1, 120)), gallery=part(0, 200), tune=part(3, 80)
    )


def test_votes_and_probe_are_those_of_the_parts(measurements, test_part):
    known, tune, asked = part(0, 200), part(3, 80), test_part
    for k in (1, 20):
        right = knn_right(known.embeddings, known.labels, asked.embeddings, asked.labels, ks=(k,))
        found = measurements.numbers[f"knn_accuracy_{k}"]
        assert found.value == right[k].mean()
        assert 0.4 < found.low < found.value < found.high < 1
    probe = linear_probe(
        *(known.embeddings, known.labels, tune.embeddings, tune.labels),
        *(asked.embeddings, asked.labels),
        strengths=PROBE_STRENGTHS,
    )
    assert measurements.numbers["linear_probe"].value == probe.accuracy


def test_votes_need_a_gallery_the_probe_a_tune_part_as_well(test_part):
    def added(**parts):
        return {
            name
            for name in measure(test_part, with_bands=False, hardest=0, **parts).numbers
            if "accuracy" in name or "probe" in name
        }

    votes = {"knn_accuracy_1", "knn_accuracy_20"}
    assert added() == added(tune=part(3, 80)) == set()
    assert added(gallery=part(0, 200)) == votes
    assert added(gallery=part(0, 200), tune=part(3, 80)) == {*votes, "linear_probe"}
    assert added(gallery=part(0, 19)) == {"knn_accuracy_1"}, "19 images cannot cast 20 votes"
    assert added(gallery=part(0, 200, classes=3)) == set(), "one class has no right answer"


@pytest.mark.parametrize(("size", "told"), [(10, False), (11, True)])
def test_precision_divided_by_ten_is_left_out_where_no_ranking_reaches_1(size, told):
    found = measure(part(2, 4 * size), with_bands=False, hardest=0).numbers
    assert ("map_at_10" in found) == told
    assert "map_at_r" in found


def test_what_the_probe_cannot_use_is_left_out(test_part, monkeypatch):
    def probed(**parts):
        return measure(test_part, with_bands=False, hardest=0, **parts).numbers.get("linear_probe")

    known, tune, other = part(0, 200), part(3, 80), part(3, 80, classes=5)
    some = other.only((0, 1, 2, 3))
    assert len(some.labels) < len(other.labels)
    assert probed(gallery=known, tune=other) == probed(gallery=known, tune=some) is not None
    strange = Part(tune.embeddings, tune.labels + 10)
    assert probed(gallery=known, tune=strange) is None
    monkeypatch.setattr(parts, "PROBE_WIDTH", 5)
    assert probed(gallery=known, tune=tune) is None


def test_the_probe_is_fitted_on_a_sample_of_a_large_gallery(test_part, monkeypatch):
    sizes = []

    def spy(fit, fit_labels, *others, **options):
        sizes.append((len(fit), np.bincount(fit_labels).tolist()))
        return linear_probe(fit, fit_labels, *others, **options)

    monkeypatch.setattr(parts, "linear_probe", spy)
    monkeypatch.setattr(parts, "PROBE_IMAGES", 100)
    measure(test_part, gallery=part(0, 200), tune=part(3, 80))
    assert sizes == [(100, [25, 25, 25, 25])]


def test_one_walk_finds_what_each_estimate_finds_alone(measurements, test_part):
    walk = AllPairs(test_part.embeddings, test_part.labels)
    curve = walk.curve()
    counts = walk.per_image([eer_threshold(curve)])
    assert measurements.numbers["eer"] == eer_at(curve, counts, 0).interval()
    for fpr in FPRS:
        counts = walk.per_image([tpr_at_fpr(curve, fpr).threshold])
        found = measurements.numbers[f"tpr_at_fpr_{fpr:g}"]
        assert found == tpr_at(curve, counts, 0).interval()
    alone = bands(curve, walk.per_image(band_thresholds(curve)))
    for name in ("fmr", "tpr", "low", "high"):
        np.testing.assert_array_equal(getattr(measurements.bands, name), getattr(alone, name))
    d = np.linalg.norm(test_part.embeddings[:, None] - test_part.embeddings[None], axis=2)
    same = test_part.labels[:, None] == test_part.labels
    pairs = np.triu(np.ones_like(same), 1)
    for point in measurements.points:
        match = d <= point.rates.threshold
        assert abs(point.rates.false_matches - (match & ~same & pairs).sum()) <= 1
        near = rates_at(curve, point.rates.threshold)
        assert abs(point.rates.false_non_matches - near.false_non_matches) <= 2


def test_bands_and_hardest_pairs_are_in_the_json(measurements, test_part):
    told = json.loads(json.dumps(measurements.to_dict(), allow_nan=False))
    assert told["bands"] == {
        name: getattr(measurements.bands, name).tolist() for name in ("fmr", "tpr", "low", "high")
    }
    walk = AllPairs(test_part.embeddings, test_part.labels)
    assert told["hardest"] == hardest_pairs(walk, 10).to_dict()
    assert len(told["hardest"]["false_matches"]) == 10
    plain = measure(test_part, with_bands=False, hardest=0)
    assert plain.bands is None
    assert plain.hardest is None
    told = plain.to_dict()
    assert (told["bands"], told["hardest"]) == (None, None)
    for name, number in plain.numbers.items():
        assert number == measurements.numbers[name], "numbers do not depend on what else is counted"
