"""Evaluating a model end to end, on data small enough to recount by hand."""

import inspect
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import twinset
from twinset.errors import DataError
from twinset.evaluation import baselines, folds
from twinset.evaluation.evaluate import Evaluation
from twinset.files import plain
from twinset.metrics.baselines import raw_pixels, unit_norm
from twinset.metrics.measure import calibrate, measure
from twinset.metrics.measured import PROBE_STRENGTHS, Part
from twinset.metrics.probes import knn_right, linear_probe
from twinset.recipe import Recipe
from twinset.training.frozen_trunk import features_of

QUICK = {"encoder": {"units": [16, 8]}, "batch_size": 16, "epochs": 12}


def _shades(seed, count, name="shades"):
    """Four gray levels with noise: easy, but not perfect."""
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(4), count // 4)
    images = np.clip(rng.normal(40 + 50 * labels[:, None, None], 18, (count, 5, 4)), 0, 255)
    return twinset.LabelledImages(images.astype(np.uint8), labels, tuple("abcd"), name)


@pytest.fixture(scope="module")
def model():
    fitted = twinset.fit(_shades(0, 120), **QUICK)
    return fitted.calibrate(_shades(1, 80, "kept"))


@pytest.fixture(scope="module")
def found(model):
    return twinset.evaluate(
        model, _shades(2, 80, "test"), fitted=_shades(0, 120), tune=_shades(3, 40)
    )


def test_a_test_on_whole_classes_is_called_one(model, found):
    """As `train` divides collections of many classes."""
    assert "unseen classes" not in found.facts["Data"]
    fit, test = _shades(0, 120), _shades(2, 80)
    seen, rest = (
        np.flatnonzero((each.labels < 2) == low) for each, low in ((fit, True), (test, False))
    )
    parts = {"fitted": fit.subset(seen), "baselines": False}
    assert twinset.evaluate(model, test.subset(rest), **parts).facts["Data"]["unseen classes"] == 2
    assert "unseen classes" not in twinset.evaluate(model, test, **parts).facts["Data"]


def test_calibration_is_stored_named_and_kept(model, tmp_path):
    model.save(tmp_path / "model")
    again = twinset.SiameseModel.load(tmp_path / "model")
    assert again.threshold == model.threshold
    assert again.alternatives == model.alternatives
    assert again.calibrator == model.calibrator
    assert model.threshold.origin == "balanced accuracy on 80 images kept out"
    assert model.threshold.data == _shades(1, 80).digest
    assert [each.rule for each in model.alternatives] == ["EER", "FPR <= 0.01"]
    images = _shades(2, 8).images
    verdict = again.compare(images[0], images[4], prior=0.25)
    assert "balanced accuracy on 80 images kept out" in verdict.sentence()
    assert 0 < verdict.probability < 1
    assert verdict.to_dict()["prior"] == 0.25
    assert again.compare(images[0], images[4]).probability > verdict.probability


def test_promises_are_the_rates_on_the_calibration_part(model):
    kept = _shades(1, 80)
    i, j = np.triu_indices(80, 1)
    apart = model.distances(kept, twinset.Pairs(i, j, kept.labels[i] == kept.labels[j]))
    same = kept.labels[i] == kept.labels[j]
    for threshold in (model.threshold, *model.alternatives):
        match = apart <= threshold.value
        assert threshold.fmr == pytest.approx(match[~same].mean(), abs=2e-3)
        assert threshold.fnmr == pytest.approx(1 - match[same].mean(), abs=2e-3)
    assert model.alternatives[1].fmr <= 0.01


def test_realised_rates_are_recounted(model, found):
    test = _shades(2, 80)
    i, j = np.triu_indices(80, 1)
    same = test.labels[i] == test.labels[j]
    apart = model.distances(test, twinset.Pairs(i, j, same))
    assert [point.rates.threshold for point in found.model.points] == [
        each.value for each in (model.threshold, *model.alternatives)
    ]
    for point in found.model.points:
        match = apart <= point.rates.threshold
        # embeddings differ in the last digit between batches: a pair may sit on the threshold
        assert abs(point.rates.false_matches - (match & ~same).sum()) <= 1
        assert abs(point.rates.false_non_matches - (~match & same).sum()) <= 1
        assert point.fmr.low <= point.fmr.value <= point.fmr.high
        assert point.threshold.fmr is not None


def test_the_model_beats_its_baselines(found):
    assert list(found.results) == ["model", "raw pixels", "PCA-64", "untrained"]
    areas = {name: each.numbers["auc"].value for name, each in found.results.items()}
    assert areas["model"] > 0.9
    assert areas["model"] > areas["raw pixels"]


def test_json_is_whole_and_summary_reads(found, tmp_path):
    found.write_json(tmp_path / "evaluation.json")
    content = json.loads((tmp_path / "evaluation.json").read_text())
    assert content["schema"] == 3
    own = content["results"]["model"]
    assert own["numbers"]["auc"]["value"] == found.model.numbers["auc"].value
    assert own["pairs"] == 80 * 79 // 2
    curve = own["curve"]
    assert curve["fmr"][0] == 0
    assert curve["fmr"][-1] == 1
    assert sorted(curve["fmr"]) == curve["fmr"]
    assert own["class_errors"]["fmr"][0][0] is None
    assert set(own["scores"]) == {"brier", "cllr", "min_cllr"}
    assert set(content["facts"]["Seconds to embed and measure"]) == set(content["results"])
    card = found.to_markdown()
    area = found.model.numbers["auc"]
    assert f"| ROC AUC | {area.value:.4f} [{area.low:.4f}, {area.high:.4f}] |" in card
    assert found.facts["Data"]["test digest"] in card
    text = found.summary()
    assert f"{found.model.numbers['auc'].value:.4f} [" in text
    assert "promised" in text


VOTES = ("knn_accuracy_1", "knn_accuracy_20", "linear_probe")


def test_all_contestants_are_classified_on_the_same_images(model, found):
    fitted, tune, test = _shades(0, 120), _shades(3, 40), _shades(2, 80)
    embedders = {
        "model": lambda data: model.embed(data),
        "raw pixels": lambda data: unit_norm(raw_pixels(data.images)),
    }
    for name, embed in embedders.items():
        known, asked = embed(fitted), embed(test)
        numbers = found.results[name].numbers
        for k in (1, 20):
            right = knn_right(known, fitted.labels, asked, test.labels, ks=(k,))[k]
            assert numbers[f"knn_accuracy_{k}"].value == pytest.approx(right.mean(), abs=0.02)
        probe = linear_probe(
            *(known, fitted.labels, embed(tune), tune.labels, asked, test.labels),
            strengths=PROBE_STRENGTHS,
        )
        assert numbers["linear_probe"].value == pytest.approx(probe.accuracy, abs=0.02)
    for own in found.results.values():
        assert all(0 < own.numbers[name].low < 1 for name in VOTES)
    text, card = found.summary(), found.to_markdown()
    for label in ("1-NN accuracy", "20-NN accuracy", "Linear probe"):
        assert f"\n{label}  " in text
        assert f"\n| {label} | " in card


def test_a_network_that_others_trained_is_no_untrained_one(tmp_path, monkeypatch):
    """What it finds, in the parts that the head takes, is to be beaten, and needs no Keras."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = _shades(0, 4)
    head = {"kind": "plain", "weights": [1.0, 0.0]}
    recipe = Recipe.load("auto", head=head, choice={"candidates": "none"})
    model = SimpleNamespace(recipe=recipe, preprocessing=SimpleNamespace(shape=data.row_shape))
    assert not baselines.left_out(model, None, "raw pixels")
    found = baselines.baselines_of(model, data, None)
    assert list(found) == ["raw pixels", "pretrained"]
    features = features_of(recipe.encoder, data, lambda _: None)
    assert features.shape == (4, 320 + 9 * 320)
    np.testing.assert_allclose(found["pretrained"](data), unit_norm(features[:, :320]), atol=1e-6)


def test_where_nothing_learns_nothing_is_untrained(model):
    recipe = Recipe.load("auto", encoder={"name": "pixels"}, choice={"candidates": "none"})
    told = baselines.left_out(SimpleNamespace(recipe=recipe), None, "raw pixels")
    assert told == {"untrained": "there is nothing to train in it"}
    assert not baselines.left_out(model, None, "raw pixels")


@pytest.mark.parametrize(
    ("limit", "names", "votes"),
    [
        (("LARGEST", 120 * 20), ["model", "raw pixels", "PCA-64", "untrained"], True),
        (("LARGEST", 120 * 20 - 1), ["model", "raw pixels", "untrained"], False),
        (("WIDEST", 19), ["model", "raw pixels", "untrained"], True),
    ],
)
def test_baselines_that_would_cost_too_much_are_left_out_and_named(
    model, monkeypatch, limit, names, votes
):
    monkeypatch.setattr(baselines, *limit)
    found = twinset.evaluate(model, _shades(2, 40), fitted=_shades(0, 120))
    assert list(found.results) == names
    assert ("knn_accuracy_1" in found.results["raw pixels"].numbers) == votes
    assert "knn_accuracy_1" in found.model.numbers
    told = found.facts.get("Left out", {})
    assert ("PCA-64" in told) == ("PCA-64" not in names)
    assert ("votes on raw pixels" in told) == (not votes)
    assert all(reason in found.to_markdown() for reason in told.values())


def test_rows_that_nobody_has_are_not_shown(model):
    bare = twinset.evaluate(model, _shades(2, 80), baselines=False)
    assert not set(VOTES) & set(bare.model.numbers)
    assert "accuracy" not in bare.summary().split("threshold")[0]
    assert "Linear probe" not in bare.to_markdown()
    votes = twinset.evaluate(model, _shades(2, 80), baselines=False, fitted=_shades(0, 120))
    assert set(VOTES) & set(votes.model.numbers) == set(VOTES[:2])


def test_bands_and_hardest_pairs_are_the_models_alone(found, model):
    told = {name: each.to_dict() for name, each in found.results.items()}
    assert [name for name, each in told.items() if each["bands"]] == ["model"]
    assert [name for name, each in told.items() if each["hardest"]] == ["model"]
    test = _shades(2, 80)
    hardest = found.model.hardest
    for positions, distances, kind in (
        (hardest.closest_different, hardest.closest_distances, False),
        (hardest.farthest_same, hardest.farthest_distances, True),
    ):
        left, right = positions.T
        assert ((test.labels[left] == test.labels[right]) == kind).all()
        pairs = twinset.Pairs(left, right, test.labels[left] == test.labels[right])
        np.testing.assert_allclose(model.distances(test, pairs), distances, atol=1e-5)


def test_the_docstring_names_every_field_of_the_json(found):
    told = inspect.getdoc(Evaluation.to_dict)
    content = found.to_dict()
    own = content["results"]["model"]
    names = [*content, *own, *own["points"][0], *own["distances"]]
    names += [*own["bands"], *own["hardest"], *own["curve"]]
    names += [*own["reliability"], *own["class_errors"], *own["numbers"]["auc"]]
    assert [name for name in names if f"`{name}`" not in told and f'"{name}"' not in told] == []
    assert f"- `schema`: {content['schema']}." in told


def test_a_model_without_calibration_says_so():
    plain_model = twinset.fit(_shades(0, 120), **QUICK | {"epochs": 2})
    found = twinset.evaluate(plain_model, _shades(2, 40), baselines=False)
    (point,) = found.model.points
    assert point.threshold.fmr is None
    assert "not calibrated" in point.threshold.rule
    assert found.model.reliability is None
    assert list(found.results) == ["model"]


def test_near_classes_are_the_harder_case(model):
    test = _shades(2, 80)
    found = twinset.evaluate(model, test, baselines=False, near=((0, 1), (2, 9))).model
    # of the second group one class is there: no different pair, left out
    (near,) = found.near
    assert (near.key, near.classes) == ("near_auc", (0, 1))
    assert near.interval.value <= found.numbers["auc"].value + 0.02
    assert found.to_dict()["near"][0]["classes"] == [0, 1]


def test_a_folder_of_the_same_name_is_not_fashion_mnist(model):
    """What is done by default hangs on what the data is, never on what it is called."""
    test = _shades(2, 80, "fashion-mnist/test")
    assert twinset.evaluate(model, test, baselines=False).model.near == ()
    assert not folds.is_fashion_mnist(test)


def test_the_real_fashion_mnist_is_known_by_its_content(fashion_mnist):
    from twinset.evaluation.folds import near_classes

    _, test = fashion_mnist
    renamed = replace(test, name="clothes")
    assert [[test.class_names[k] for k in group] for group in near_classes(renamed)] == [
        ["T-shirt/top", "Pullover", "Dress", "Coat", "Shirt"],
        ["Sandal", "Sneaker", "Ankle boot"],
    ]


def test_an_exported_model_is_evaluated_as_well(model, found, tmp_path):
    model.save(tmp_path / "model")
    twinset.export(tmp_path / "model")
    loaded = twinset.load_model(tmp_path / "model", engine="onnx")
    whole = twinset.evaluate(loaded, _shades(2, 40))
    assert list(whole.results) == ["model", "raw pixels", "untrained"]
    assert whole.facts["Model"]["recipe"] == "tutorial"
    # a graph alone does not know what trained it
    (tmp_path / "model" / "encoder.onnx").rename(tmp_path / "alone.onnx")
    loaded = twinset.load_model(tmp_path / "alone.onnx")
    own = twinset.evaluate(loaded, _shades(2, 80, "test"), fitted=_shades(0, 120))
    assert list(own.results) == ["model", "raw pixels", "PCA-64"]
    assert "untrained" in own.facts["Left out"]
    area = own.model.numbers["auc"].value
    assert area == pytest.approx(found.model.numbers["auc"].value, abs=1e-3)
    assert own.model.points[0].threshold == model.threshold
    assert twinset.compare_models(loaded, model, _shades(2, 80))["auc"].verdict == "cannot tell"


def test_images_that_the_model_was_fitted_or_calibrated_on_are_refused(model):
    for seen, verb in ((_shades(0, 120), "fitted"), (_shades(1, 80, "kept"), "calibrated")):
        with pytest.raises(DataError, match=f"the model has not seen. .* on which it was {verb}"):
            twinset.evaluate(model, seen)
    allowed = twinset.evaluate(model, _shades(0, 120), baselines=False, allow_seen=True)
    assert allowed.model.images == 120


def test_progress_counts_model_and_baselines(model):
    told = []
    twinset.evaluate(model, _shades(2, 40), progress=told.append)
    assert [(each.done, each.total) for each in told] == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_wrong_data(model):
    with pytest.raises(DataError, match="Expected LabelledImages to evaluate on, or .* Rec"):
        twinset.evaluate(model, _shades(2, 8).images)
    with pytest.raises(DataError, match="at least 2 classes. Received 1"):
        twinset.evaluate(model, _shades(2, 8).subset(np.array([0, 4])))


def test_broken_embeddings_are_named():
    vectors = np.zeros((8, 3))
    vectors[5, 1] = np.nan
    with pytest.raises(DataError, match="NaN or infinity in row 5"):
        measure(Part(vectors, np.tile([0, 1], 4)))


def test_perfect_and_useless_models():
    labels = np.repeat([0, 1, 2], 20)
    perfect = measure(Part(np.eye(3)[labels] + 1e-6 * np.arange(60)[:, None], labels))
    assert perfect.numbers["auc"].value == 1
    assert perfect.numbers["map_at_r"].value == 1
    assert perfect.numbers["auc"].low < 1, "sixty images prove no perfection"
    rng = np.random.default_rng(0)
    noise = Part(rng.normal(size=(300, 8)), rng.integers(0, 3, 300))
    useless = measure(noise, calibration=calibrate(noise))
    assert useless.numbers["auc"].value == pytest.approx(0.5, abs=0.03)
    assert useless.scores["cllr"] == pytest.approx(1.0, abs=0.03)


def test_plain_values():
    assert plain({"x": (np.float32(1.5), math.inf, None, "t", np.bool_(True))}) == {
        "x": [1.5, None, None, "t", True]
    }
