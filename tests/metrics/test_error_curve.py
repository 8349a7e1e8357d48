"""Error rates over all thresholds: counted by hand, with intervals, and kept by a card."""

import json

import numpy as np
import pytest

import twinset
from twinset.decision import ErrorCurve
from twinset.metrics.measure import calibrate
from twinset.metrics.measured import Part
from twinset.metrics.promised import error_curve, promise
from twinset.models.card import read_card
from twinset.models.onnx_model import load_model


def some(seed=0, classes=8, images=5):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), images)
    return rng.normal(size=(classes, 3))[labels] + 0.4 * rng.normal(size=(len(labels), 3)), labels


@pytest.mark.parametrize("blocks", [None, np.arange(40) // 5 % 2])
@pytest.mark.parametrize("over", ["image", "class"])
def test_rates_are_those_of_a_count_by_hand(blocks, over):
    x, labels = some()
    part = Part(x.astype(np.float32), labels, blocks)
    found = error_curve(part, promise(part, ["EER"]), over=over)
    left, right = np.triu_indices(len(x), 1)
    if blocks is not None:
        left, right = left[blocks[left] == blocks[right]], right[blocks[left] == blocks[right]]
    apart, same = np.linalg.norm(x[left] - x[right], axis=1), labels[left] == labels[right]
    for at, threshold in enumerate(found.distance):
        match = apart <= threshold + 1e-6
        assert found.fmr[at] == pytest.approx(match[~same].mean(), abs=1e-6)
        assert found.fnmr[at] == pytest.approx((~match)[same].mean(), abs=1e-6)
    assert (found.fmr[-1], found.fnmr[-1], found.over) == (1, 0, over)
    assert len(found.distance) <= 200


def test_intervals_hold_the_rates_and_are_those_of_a_promise():
    part = Part(*some(1))
    (threshold,) = promise(part, ["EER"], over="class")
    found = error_curve(part, [threshold], over="class")
    for name in ("fmr", "fnmr"):
        low, rate, high = (np.array(getattr(found, name + end)) for end in ("_low", "", "_high"))
        assert (low <= rate).all()
        assert (rate <= high).all()
    assert threshold.value in found.distance
    there = found.at(threshold.value)
    assert there["fmr"] == pytest.approx(threshold.fmr, abs=1e-6)
    assert (there["fnmr_low"], there["fnmr_high"]) == pytest.approx(threshold.fnmr_range, abs=1e-6)


def test_densities_hold_all_pairs():
    found = calibrate(Part(*some(2))).error_curve
    bars = found.densities(30)
    for name in ("same", "different"):
        assert np.sum(np.diff(bars["edges"]) * bars[name]) == pytest.approx(1)
        assert min(bars[name]) >= 0
    middle = np.array(bars["edges"])[:-1]
    mean = {name: np.average(middle, weights=bars[name]) for name in ("same", "different")}
    assert mean["same"] < mean["different"]


def test_equal_embeddings_have_a_curve():
    found = error_curve(Part(np.zeros((4, 2)), np.array([0, 0, 1, 1])), ())
    assert (found.fmr[-1], found.fnmr[-1]) == (1, 0)
    bars = found.densities(2)
    for name in ("same", "different"):
        assert np.sum(np.diff(bars["edges"]) * bars[name]) == pytest.approx(1)


def test_a_card_keeps_it_and_one_of_before_has_none(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 4, 4), np.uint8)
    data = twinset.LabelledImages(pixels[:12], np.arange(12) // 6, ("dark", "bright"))
    others = twinset.LabelledImages(pixels[12:], np.arange(12) // 6, ("dark", "bright"))
    model = twinset.fit(data, epochs=1, encoder={"units": [4]})
    assert model.error_curve is None
    model = model.calibrate(others)
    model.save(tmp_path)
    card = read_card(tmp_path)
    assert isinstance(card.error_curve, ErrorCurve)
    assert card.error_curve == model.error_curve == load_model(tmp_path).error_curve
    path = tmp_path / "model.json"
    assert path.stat().st_size < 16_000
    kept = json.loads(path.read_text("utf-8"))
    del kept["error_curve"]
    path.write_text(json.dumps(kept), "utf-8")
    assert load_model(tmp_path).error_curve is None
