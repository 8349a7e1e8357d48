"""LiteRT against Keras, where its packages are installed; and what is said where they are not."""

import importlib.util
import json
import sys

import numpy as np
import pytest

import twinset
from twinset.errors import DataError, ModelError
from twinset.exporters import graph

ENCODERS = {
    "mlp": {"name": "mlp", "units": [16, 8], "linear": True, "normalize": True},
    "conv": {"name": "conv", "widths": [8, 16], "embedding": 8},
}
needed = ("ai_edge_litert", "tensorflow")
installed = all(importlib.util.find_spec(name) for name in needed)


def trained(fashion_mnist, name):
    few = fashion_mnist[0].subset(np.arange(512))
    return twinset.fit(few, "fast", encoder=ENCODERS[name], epochs=2, batch_size=64, progress=False)


@pytest.mark.skipif(not installed, reason="needs LiteRT: pip install -e '.[litert]'")
@pytest.mark.parametrize("name", ENCODERS)
def test_the_embeddings_are_those_of_keras(fashion_mnist, tmp_path, monkeypatch, name):
    from ai_edge_litert.interpreter import Interpreter

    model = trained(fashion_mnist, name)
    monkeypatch.delenv("XLA_FLAGS", raising=False)  # they are JAX's; here TensorFlow converts
    done = twinset.export(model, tmp_path / "out", format="litert")
    assert done.graph == tmp_path / "out" / "encoder.tflite"
    assert done.difference < 1e-5
    interpreter = Interpreter(str(done.graph))
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert taken["dtype"] == np.uint8
    images = fashion_mnist[1].images[:500]
    interpreter.resize_tensor_input(taken["index"], images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(taken["index"], images)
    interpreter.invoke()
    expected = model.embed(images)
    np.testing.assert_allclose(interpreter.get_tensor(given["index"]), expected, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 0.1, "the comparison must not be of a constant"
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["graph"]["file"] == "encoder.tflite"
    assert card["digest"] == model.digest


def test_what_is_missing_is_named(fashion_mnist, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(ModelError, match=r"Expected ai_edge_litert .*'twinset\[litert\]'"):
        graph.export_litert(trained(fashion_mnist, "mlp"))


def test_formats_that_there_are_not(tmp_path):
    for wrong in ({"format": "tflite"}, {"format": "litert", "int8": True}):
        with pytest.raises(
            DataError, match=r"format out of \['litert', 'onnx'\], and int8 with onnx"
        ):
            twinset.export(tmp_path, **wrong)
