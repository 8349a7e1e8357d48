import json
from dataclasses import fields

import numpy as np
import pytest

import twinset
from twinset.data.labelled import LabelledFeatures
from twinset.decision import Calibrator
from twinset.errors import ModelError
from twinset.models.card import Card, Essentials, TrainedOn, parse_essentials, read_card


@pytest.fixture(scope="module")
def model():
    images = np.stack([np.full((4, 4), 85 * i, np.uint8) for i in range(4)])
    # a class named by a folder whose bytes are no text
    data = twinset.LabelledImages(images, [0, 0, 1, 1], ("dunkel é", "caf\udce9"), "shades")
    return twinset.fit(data, epochs=1, encoder={"units": [4]}, progress=False)


def test_a_card_is_what_was_saved(model, tmp_path):
    model.save(tmp_path)
    card = read_card(tmp_path)
    assert type(card) is Card
    assert json.loads((tmp_path / "model.json").read_text("utf-8"))["format"] == 2
    for field in fields(Essentials):
        assert getattr(card, field.name) == getattr(model, field.name), field.name
    assert (card.dim, len(card.digest)) == (4, 64)


FULL = Essentials(
    digest="0" * 64,
    dim=3,
    preprocessing=twinset.data.decoding.decode.Preprocessing((5, 4, 3), "crop", 255),
    threshold=twinset.Threshold(1.0, "EER", "digest", 0.5, None),
    alternatives=(twinset.Threshold(0.25, "by hand"),),
    calibrator=Calibrator(-2.0, 1.0, "few images"),
    trained_on=TrainedOn("shades", "1" * 64, 4),
    class_names=("dark", "bright"),
)


def test_essentials_survive_text(model):
    vectors = LabelledFeatures(np.eye(3), [0, 1, 1], ("cat", "dog")).preprocessing
    for essentials in (
        Essentials.of(model),
        FULL,
        Essentials(**{**vars(FULL), "preprocessing": vectors}),
    ):
        assert parse_essentials(json.dumps(essentials.to_dict()), "x.onnx") == essentials


def test_whole_numbers_are_numbers_too():
    values = FULL.to_dict() | {"calibrator": {"slope": -2, "intercept": 1}}
    assert parse_essentials(json.dumps(values), "x.onnx").calibrator == Calibrator(-2.0, 1.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"format": 1},
            r"x.onnx: expected a model of format 2. Received format 1.*export it again",
        ),
        ({"surprise": 1}, "x.onnx: surprise: expected no such field"),
        ({"dim": "many"}, "x.onnx: dim: expected int. Received 'many'"),
        ({"dim": True}, "x.onnx: dim: expected int. Received True"),
        ({"dim": None}, "x.onnx: dim: expected int. Received None"),
        ({"class_names": "ab"}, r"x.onnx: class_names: expected tuple\[str, ...\]. Received 'ab'"),
        ({"class_names": [1]}, "x.onnx: class_names: expected str. Received 1"),
        ({"threshold": 3}, "x.onnx: threshold: expected an object. Received 3"),
        ({"threshold": {"rule": "EER"}}, "x.onnx: threshold: expected a whole card. .*'value'"),
        ({"preprocessing": 3}, "x.onnx: preprocessing: expected an object. Received 3"),
        ({"preprocessing": {"shape": [3]}}, r"x.onnx: preprocessing: Expected a shape \(h, w\)"),
        ({"calibrator": {"slope": 1, "intercept": 0}}, "x.onnx: calibrator: Expected a finite"),
    ],
)
def test_essentials_that_are_none(change, words):
    with pytest.raises(ModelError, match=words):
        parse_essentials(json.dumps(FULL.to_dict() | change), "x.onnx")


def test_essentials_that_lack_something():
    values = FULL.to_dict()
    del values["digest"]
    with pytest.raises(ModelError, match="x.onnx: expected a whole card. .*'digest'"):
        parse_essentials(json.dumps(values), "x.onnx")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "3"])
def test_what_is_no_card_at_all(text):
    with pytest.raises(ModelError, match="x.onnx: expected the card of a model in it|card of a mo"):
        parse_essentials(text, "x.onnx")
