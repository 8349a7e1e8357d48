import json

import numpy as np
import pytest

import twinset
from twinset.errors import ModelError
from twinset.models.card import Card, Essentials, parse_essentials, read_card


@pytest.fixture(scope="module")
def model():
    images = np.stack([np.full((4, 4), 85 * i, np.uint8) for i in range(4)])
    data = twinset.LabelledImages(images, [0, 0, 1, 1], ("dark", "bright"), "shades")
    return twinset.fit(data, epochs=1, encoder={"units": [4]}, progress=False)


def test_a_card_is_what_was_saved(model, tmp_path):
    model.save(tmp_path)
    card = read_card(tmp_path)
    assert type(card) is Card
    assert card.format == 2
    for name in Essentials.model_fields:
        assert getattr(card, name) == getattr(model, name), name
    assert (card.dim, card.distance, len(card.digest)) == (4, "euclidean", 64)


def test_essentials_survive_text(model):
    essentials = Essentials.of(model)
    text = json.dumps({"format": 2, **essentials.model_dump(mode="json")})
    assert parse_essentials(text, "x.onnx") == essentials


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"format": 1},
            r"x.onnx: expected a model of format 2. Received format 1.*export it again",
        ),
        ({"surprise": 1}, "x.onnx: surprise: Extra inputs are not permitted"),
        ({"dim": "many"}, "x.onnx: dim: Input should be a valid integer"),
    ],
)
def test_essentials_that_are_none(model, change, words):
    values = {"format": 2, **Essentials.of(model).model_dump(mode="json"), **change}
    with pytest.raises(ModelError, match=words):
        parse_essentials(json.dumps(values), "x.onnx")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "3"])
def test_what_is_no_card_at_all(text):
    with pytest.raises(ModelError, match="x.onnx: expected the card of a model in it"):
        parse_essentials(text, "x.onnx")
