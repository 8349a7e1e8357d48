"""Two trained models on the same images."""

from dataclasses import replace

import numpy as np
import pytest

import twinset
from twinset.errors import DataError
from twinset.evaluation.evaluate import compare_models
from twinset.metrics.pairs import score_pairs

QUICK = {"encoder": {"units": [16, 8]}, "batch_size": 16, "progress": False}


def shades(seed, count=120, name="shades", shape=(5, 4)):
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(3), count // 3)
    images = np.clip(rng.normal(60 + 45 * labels[:, None, None], 25, (count, *shape)), 0, 255)
    return twinset.LabelledImages(images.astype(np.uint8), labels, tuple("abc"), name)


@pytest.fixture(scope="module")
def models():
    return twinset.fit(shades(0), epochs=8, **QUICK), twinset.fit(shades(0), epochs=1, **QUICK)


@pytest.fixture(scope="module")
def test_part():
    return shades(1, 90, "shades/test")


def test_numbers_are_those_of_each_model(models, test_part):
    found = compare_models(*models, test_part)
    left, right = np.triu_indices(len(test_part), 1)
    pairs = twinset.Pairs(left, right, test_part.labels[left] == test_part.labels[right])
    for model, value in zip(models, ("a", "b"), strict=True):
        scores = score_pairs(model.distances(test_part, pairs), pairs.same, model.threshold.value)
        told = {name: getattr(found[name], value) for name in ("auc", "fmr", "fnmr")}
        assert told["auc"] == pytest.approx(scores.auc, abs=1e-4)
        # a pair may sit on the threshold, and embeddings differ in the last digit between batches
        assert told["fmr"] == pytest.approx(scores.fmr, abs=1e-3)
        assert told["fnmr"] == pytest.approx(scores.fnmr, abs=1e-3)
    assert (found.images, found.pairs) == (90, 4005)
    assert found.facts["A"]["epochs"] == 8
    assert found.facts["Data"]["test digest"] == test_part.digest


def test_a_model_against_itself(models, test_part):
    found = compare_models(models[0], models[0], test_part, names=("one", "the same"))
    assert {each.interval.high - each.interval.low for each in found.differences} == {0}
    assert {each.verdict for each in found.differences} == {"cannot tell"}
    assert found.summary().startswith("A: one (recipe ")


def test_images_that_a_model_has_seen_are_refused(models, test_part):
    with pytest.raises(DataError, match="first has not seen. .* 'shades', on which it was fitted"):
        compare_models(*models, shades(0), names=("first", "second"))
    kept = replace(models[1].threshold, data=test_part.digest)
    other = replace(models[1], threshold=kept)
    with pytest.raises(DataError, match="B has not seen. .*/test', on which it was calibrated"):
        compare_models(models[0], other, test_part)


def test_arrays_without_labels_are_refused(models, test_part):
    with pytest.raises(DataError, match="LabelledImages to compare on, or .* Received ndarray"):
        compare_models(*models, test_part.images)
