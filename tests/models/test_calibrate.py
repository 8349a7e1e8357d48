"""`calibrate`: thresholds and a probability from images that a model was not fitted on."""

import numpy as np
import pytest

import twinset
from twinset.errors import DataError
from twinset.metrics.measure import calibrate
from twinset.metrics.measured import Part


def shades(offset, count=40, name="shades"):
    labels = np.arange(count) % 4
    levels = (40 * labels + np.arange(count) // 4 + offset).astype(np.uint8)
    pixels = np.repeat(levels, 16).reshape(count, 4, 4)
    return twinset.LabelledImages(pixels, labels, tuple("abcd"), name)


TRAIN, OTHERS, NEW = shades(0), shades(12, name="others"), shades(30, name="new")


@pytest.fixture(scope="module")
def model():
    return twinset.fit(TRAIN, epochs=2, encoder={"units": [6]}, progress=False)


@pytest.fixture(scope="module", params=["keras", "onnx"])
def used(request, model, tmp_path_factory):
    if request.param == "keras":
        return model
    folder = tmp_path_factory.mktemp("exported")
    twinset.export(model, folder)
    return twinset.load_model(folder, engine="onnx")


def test_either_engine_gives_a_new_model_with_the_rule_s_threshold(used):
    found = used.calibrate(OTHERS, rule="FPR <= 0.1")
    assert type(found) is type(used)
    expected = calibrate(Part(used.embed(OTHERS), OTHERS.labels), rules=["FPR <= 0.1"])
    assert found.threshold.value == expected.thresholds[0].value
    assert found.threshold.origin == "FPR <= 0.1 on 40 images kept out"
    assert found.threshold.data == OTHERS.digest
    assert found.threshold.fmr <= 0.1
    assert [each.rule for each in found.alternatives] == [
        "balanced accuracy",
        "EER",
        "FPR <= 0.01",
    ]
    assert found.calibrator == expected.calibrator
    # the encoder is the same, and with it every index that was made with it
    assert found.digest == used.digest
    np.testing.assert_array_equal(found.embed(NEW), used.embed(NEW))
    assert found.compare(NEW.images[0], NEW.images[4]).probability is not None
    # the model that it came from stays as it was
    assert not used.threshold.calibrated
    assert used.calibrator is None


def test_without_a_rule_it_is_the_recipe_s_or_the_one_before(used):
    assert used.calibrate(OTHERS).threshold.rule == "balanced accuracy"
    again = used.calibrate(OTHERS, rule="cost 10:1").calibrate(NEW)
    # a graph alone does not know its recipe
    assert again.threshold.rule == ("cost 10:1" if used.recipe is None else "balanced accuracy")


def test_the_calibrated_model_is_saved_and_judged_by_what_is_promised(model, tmp_path):
    found = model.calibrate(OTHERS, rule="EER")
    found.save(tmp_path)
    again = twinset.load_model(tmp_path)
    assert (again.threshold, again.calibrator) == (found.threshold, found.calibrator)
    shown = twinset.evaluate(found, NEW, baselines=False, progress=False)
    assert shown.model.points[0].threshold.fmr == found.threshold.fmr
    with pytest.raises(DataError, match="Received 'others', on which it was calibrated"):
        twinset.evaluate(found, OTHERS, baselines=False, progress=False)


def test_its_own_training_images_are_refused(used):
    with pytest.raises(DataError, match="Received 'shades', on which it was fitted"):
        used.calibrate(TRAIN)


@pytest.mark.parametrize(
    ("images", "rule", "message"),
    [
        (OTHERS.images, None, "Expected LabelledImages to calibrate on, or .* Received ndarray"),
        (OTHERS, "luck", "Expected a rule 'balanced accuracy', .* Received 'luck'"),
        (OTHERS.subset(np.arange(4)), None, "a class of at least 2 images. Received none"),
        (OTHERS.subset(np.arange(0, 40, 4)), None, "at least 2 classes. Received 1"),
    ],
)
def test_what_cannot_be_calibrated_on(model, images, rule, message):
    with pytest.raises(DataError, match=message):
        model.calibrate(images, rule=rule)
