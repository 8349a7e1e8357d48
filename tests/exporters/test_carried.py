"""A threshold of a graph in 8 bits, on collections whose truth is known."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

import twinset
from twinset.decision import Calibrator, ErrorCurve, Threshold
from twinset.exporters.carried import NOTE, decided
from twinset.metrics.all_pairs import AllPairs
from twinset.metrics.measure import calibrate
from twinset.metrics.measured import Part
from twinset.metrics.pairs import rates_at


@dataclass
class Model:
    """What decides, and vectors that are scaled and blurred as by a quantisation."""

    threshold: Threshold
    alternatives: tuple[Threshold, ...] = ()
    calibrator: Calibrator | None = None
    error_curve: ErrorCurve | None = None
    scale: float = 1.0
    noise: float = 0.0

    def embed(self, data):
        rows = np.asarray(data.rows, np.float64)
        rng = np.random.default_rng(int(1e6 * abs(float(rows.sum()))))
        return (self.scale * rows + rng.normal(scale=self.noise, size=rows.shape)).astype("f4")


def collection(rng, classes, images, spread):
    labels = np.repeat(np.arange(classes), images)
    centres = np.random.default_rng(classes).normal(size=(classes, 4))
    rows = (centres[labels] + rng.normal(scale=spread, size=(len(labels), 4))).astype(np.float32)
    return twinset.LabelledFeatures(rows, labels, tuple(map(str, range(classes))))


def calibrated(data):
    found = calibrate(Part(np.asarray(data.rows), data.labels))
    own = [replace(each, data="d", images=len(data)) for each in found.thresholds]
    return Model(own[0], tuple(own[1:]), found.calibrator, found.error_curve)


@pytest.mark.parametrize(
    ("classes", "images", "spread", "scale"),
    [(6, 20, 0.3, 1.15), (40, 5, 0.45, 0.9), (12, 12, 0.15, 1.3)],
    ids=["some classes", "many classes", "far apart"],
)
def test_what_is_promised_in_8_bits_comes_true(classes, images, spread, scale):
    rng = np.random.default_rng(classes)
    held, kept, fair = [], [], []
    for _ in range(40):
        whole = calibrated(collection(rng, classes, images, spread))
        small = replace(whole, scale=scale, noise=0.1 * spread)
        seen, new = (collection(rng, classes, count, spread) for count in (images, 30))
        found, how = decided(small, whole, seen, None, rule="balanced accuracy")
        assert how.startswith(NOTE)
        curve = AllPairs(found.embed(new), new.labels).curve()
        rates = rates_at(curve, found.threshold.value)
        for name in ("fmr", "fnmr"):
            low, high = getattr(found.threshold, f"{name}_range")
            assert low <= getattr(found.threshold, name) <= high
            held.append(low <= getattr(rates, name) <= high)
        as_it_was = rates_at(
            AllPairs(np.asarray(new.rows), new.labels).curve(), whole.threshold.value
        )
        fair.append(as_it_was.balanced_accuracy - rates.balanced_accuracy)
        kept.append(
            as_it_was.balanced_accuracy - rates_at(curve, whole.threshold.value).balanced_accuracy
        )
        # where the probability was even, it is so for the pairs that are there now
        even = whole.calibrator.even_odds
        assert found.calibrator.even_odds == pytest.approx(scale * even, rel=0.05)
        told = found.error_curve
        assert list(told.distance) == sorted(told.distance)
        at = told.at(found.threshold.value)
        assert at["fmr_low"] <= at["fmr"] <= at["fmr_high"]
        assert at["fmr"] == pytest.approx(found.threshold.fmr, abs=0.01)
    assert np.mean(held) >= 0.9
    assert np.mean(fair) < 0.01, "but for the noise as good as before"
    assert np.mean(kept) > 2 * abs(np.mean(fair)), "which the old threshold is not"


def test_no_label_chooses_a_threshold_that_was_never_calibrated():
    data = collection(np.random.default_rng(0), 6, 10, 0.3)
    whole = Model(Threshold(0.5, "fixed by the recipe"))
    found, _ = decided(replace(whole, scale=2.0), whole, data, None, rule="EER")
    assert found.threshold == replace(whole.threshold, value=pytest.approx(1.0))
    assert found.calibrator is found.error_curve is None
    far = replace(whole, threshold=Threshold(99.0, "all of them"))
    found, _ = decided(replace(far, scale=2.0), far, data, None, rule="EER")
    assert found.threshold.value == pytest.approx(198.0)


def test_across_says_that_it_was_carried_over():
    data = collection(np.random.default_rng(0), 6, 10, 0.3)
    whole = Model(Threshold(0.5, "EER", data="d", images=48, across="12 classes (48 images)"))
    found, _ = decided(whole, whole, data, None, rule="EER")
    assert found.threshold.origin == f"EER, cross-fitted over 12 classes (48 images), {NOTE}"
    assert found.threshold.value == pytest.approx(0.5)
