"""Judging a model end to end, on data small enough to recount by hand."""

import json
import math

import numpy as np
import pytest

import twinset
from twinset import holdout, study
from twinset.data.split import UnseenFold
from twinset.errors import DataError
from twinset.evaluate.protocol import Part, calibrate, judge
from twinset.evaluate.report import plain

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
    return holdout.calibrated(fitted, _shades(1, 80, "kept"))


@pytest.fixture(scope="module")
def found(model):
    return twinset.evaluate(model, _shades(2, 80, "test"), fitted=_shades(0, 120))


def test_calibration_is_stored_named_and_kept(model, tmp_path):
    model.save(tmp_path / "model")
    again = twinset.SiameseModel.load(tmp_path / "model")
    assert again.threshold == model.threshold
    assert again.alternatives == model.alternatives
    assert again.calibrator == model.calibrator
    assert model.threshold.rule == "balanced accuracy on 80 images kept out"
    assert model.threshold.data == _shades(1, 80).digest
    assert [each.rule.split(" on ")[0] for each in model.alternatives] == ["EER", "FPR <= 0.01"]
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
        assert point.promised_fmr is not None


def test_the_model_beats_its_baselines(found):
    assert list(found.judgements) == ["model", "raw pixels", "PCA-64", "untrained"]
    areas = {name: each.numbers["auc"].value for name, each in found.judgements.items()}
    assert areas["model"] > 0.9
    assert areas["model"] > areas["raw pixels"]


def test_json_is_whole_and_summary_reads(found, tmp_path):
    found.write_json(tmp_path / "evaluation.json")
    content = json.loads((tmp_path / "evaluation.json").read_text())
    assert content["schema"] == 1
    judgement = content["judgements"]["model"]
    assert judgement["numbers"]["auc"]["value"] == found.model.numbers["auc"].value
    assert judgement["pairs"] == 80 * 79 // 2
    curve = judgement["curve"]
    assert curve["fmr"][0] == 0
    assert curve["fmr"][-1] == 1
    assert sorted(curve["fmr"]) == curve["fmr"]
    assert judgement["class_errors"]["fmr"][0][0] is None
    assert set(judgement["scores"]) == {"brier", "cllr", "min cllr"}
    assert set(content["facts"]["Seconds to embed and judge"]) == set(content["judgements"])
    card = found.to_markdown()
    area = found.model.numbers["auc"]
    assert f"| ROC AUC | {area.value:.4f} [{area.low:.4f}, {area.high:.4f}] |" in card
    assert found.facts["Data"]["test digest"] in card
    text = found.summary()
    assert f"{found.model.numbers['auc'].value:.4f} [" in text
    assert "promised" in text


def test_a_model_without_calibration_says_so():
    plain_model = twinset.fit(_shades(0, 120), **QUICK | {"epochs": 2})
    found = twinset.evaluate(plain_model, _shades(2, 40), baselines=False)
    (point,) = found.model.points
    assert point.promised_fmr is None
    assert "not calibrated" in point.rule
    assert found.model.reliability is None
    assert list(found.judgements) == ["model"]


def test_near_classes_are_the_harder_case(model):
    test = _shades(2, 80)
    numbers = twinset.evaluate(model, test, baselines=False, near=((0, 1), (2, 9))).model.numbers
    # of the second group one class is there: no different pair, left out
    assert [name for name in numbers if name.startswith("near")] == ["near auc 0-1"]
    assert numbers["near auc 0-1"].value <= numbers["auc"].value + 0.02


def test_wrong_data(model):
    with pytest.raises(DataError, match="Expected LabelledImages to evaluate on. Received ndarray"):
        twinset.evaluate(model, _shades(2, 8).images)
    with pytest.raises(DataError, match="at least 2 classes. Received 1"):
        twinset.evaluate(model, _shades(2, 8).subset(np.array([0, 4])))


def test_broken_embeddings_are_named():
    vectors = np.zeros((8, 3))
    vectors[5, 1] = np.nan
    with pytest.raises(DataError, match="NaN or infinity in row 5"):
        judge(Part(vectors, np.tile([0, 1], 4)))


def test_perfect_and_useless_models():
    labels = np.repeat([0, 1, 2], 20)
    perfect = judge(Part(np.eye(3)[labels] + 1e-6 * np.arange(60)[:, None], labels))
    assert perfect.numbers["auc"].value == 1
    assert perfect.numbers["map_at_r"].value == 1
    assert perfect.numbers["auc"].low < 1, "sixty images prove no perfection"
    rng = np.random.default_rng(0)
    noise = Part(rng.normal(size=(300, 8)), rng.integers(0, 3, 300))
    useless = judge(noise, calibration=calibrate(noise))
    assert useless.numbers["auc"].value == pytest.approx(0.5, abs=0.03)
    assert useless.scores["cllr"] == pytest.approx(1.0, abs=0.03)


def test_plain_values():
    assert plain({"x": (np.float32(1.5), math.inf, None, "t", np.bool_(True))}) == {
        "x": [1.5, None, None, "t", True]
    }


@pytest.fixture
def small_protocol(monkeypatch):
    """The protocol on small data: its split and its folds, not its size."""
    from twinset.data.split import split

    def parts(labels):
        return split(labels, {"fit": 0.7, "tune": 0.1, "calib": 0.2}, seed=0)

    monkeypatch.setattr(study, "protocol_split", parts)
    units = (
        study.Unit("seed-0", 0),
        study.Unit("seed-1", 1),
        study.Unit("U1-01", 0, UnseenFold("U1-01", (0, 1))),
        study.Unit("U1-23", 0, UnseenFold("U1-23", (2, 3))),
    )
    # folds name the ten labels of Fashion-MNIST; these data have four
    monkeypatch.setattr(
        UnseenFold, "seen", property(lambda self: tuple({0, 1, 2, 3} - set(self.unseen)))
    )
    return _shades(0, 160, "s/train"), _shades(5, 80, "s/test"), twinset.Recipe.load(**QUICK), units


def test_a_study_can_be_stopped_and_resumed(small_protocol, tmp_path):
    train, test, recipe, units = small_protocol
    whole = study.run_study(train, test, recipe, tmp_path / "whole", units=units)
    told = []

    def stop(text):
        told.append(text)
        if text.startswith("U1-01"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study.run_study(train, test, recipe, tmp_path / "cut", units=units, progress=stop)
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == [
        "seed-0.json",
        "seed-1.json",
    ]
    told.clear()
    resumed = study.run_study(
        train, test, recipe, tmp_path / "cut", units=units, progress=told.append
    )
    assert told[:2] == ["seed-0 (1 of 4): done before", "seed-1 (2 of 4): done before"]
    assert json.dumps(resumed) == json.dumps(whole)
    assert json.loads((tmp_path / "cut" / "protocol.json").read_text()) == json.loads(
        json.dumps(resumed)
    )


def test_the_summary_of_a_study(small_protocol, tmp_path):
    train, test, recipe, units = small_protocol
    summary = study.run_study(train, test, recipe, tmp_path / "all", units=units)
    area = summary["seen"]["auc"]
    assert area["value"] == pytest.approx(np.mean(area["values"]))
    assert area["low"] <= area["min"] <= area["value"] <= area["max"] <= area["high"]
    gain = summary["U1"]["map_at_r"]["gain"]["values"]
    for unit, value in zip(("U1-01", "U1-23"), gain, strict=True):
        result = summary["units"][unit]
        assert value == result["numbers"]["map_at_r"] - result["floor"]["map_at_r"]
        assert result["judgement"]["images"] == 40
    text = study.markdown(summary)
    assert f"| auc | {area['value']:.4f} |" in text
    assert "| U1-23 |" in text


def test_a_study_refuses_results_of_another_recipe(small_protocol, tmp_path):
    train, test, recipe, units = small_protocol
    study.run_study(train, test, recipe, tmp_path / "all", units=units[:1])
    other = twinset.Recipe.load(recipe, epochs=1)
    with pytest.raises(DataError, match=r"seed-0.json: .* It is of another one"):
        study.run_study(train, test, other, tmp_path / "all", units=units[:1])
    (tmp_path / "all" / "seed-0.json").write_text("{")
    with pytest.raises(DataError, match=r"seed-0.json: expected a unit of the protocol"):
        study.run_study(train, test, recipe, tmp_path / "all", units=units[:1])
