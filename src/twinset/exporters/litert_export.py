"""A Keras encoder as a LiteRT (TensorFlow Lite) model, for telephones and small machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from numpy.typing import NDArray

from twinset.errors import ModelError
from twinset.exporters.onnx_export import agreement
from twinset.exporters.onnx_traced import from_uint8
from twinset.exporters.other_backend import under

if TYPE_CHECKING:
    from twinset.models.keras_model import SiameseModel

INSTALL = "`pip install 'twinset[litert]'`"

_SCRIPT = """
import sys
from twinset.embed.litert import convert
from twinset.embed.encoder_file import load_encoder
convert(load_encoder(sys.argv[1]), [int(size) for size in sys.argv[3:]], sys.argv[2])
"""


def export_litert(model: SiameseModel) -> tuple[bytes, float]:
    """Write a model for LiteRT: scaling, encoder and normalisation in one.

    It takes uint8 images of shape (batch, h, w) or (batch, h, w, 3), for any batch, and gives
    float32 embeddings of shape (batch, d). Keras converts on TensorFlow alone, so a process of its
    own does, whatever the back end of this one.

    Args:
        model: a trained model of images.

    Returns:
        The content of a .tflite file, and how far its embeddings were from Keras' at most.

    Raises:
        ModelError: TensorFlow or ai-edge-litert is not installed, the encoder cannot be
            converted, or the result gives other embeddings.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise ModelError(
            f"Expected the package ai-edge-litert, to export for LiteRT: {INSTALL}."
        ) from None
    try:
        shape = model.preprocessing.shape
        content = under("tensorflow", _SCRIPT, model.encoder, shape, ".tflite")
    except ModelError as error:
        raise ModelError(f"Expected Keras to convert the encoder: {INSTALL}. {error}.") from None
    interpreter = Interpreter(model_content=content)

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
        interpreter.resize_tensor_input(taken["index"], images.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(taken["index"], images)
        interpreter.invoke()
        found: NDArray[np.float32] = interpreter.get_tensor(given["index"])
        return found

    return content, agreement(run, model, "LiteRT")


def convert(encoder: Any, image_shape: list[int], path: str) -> None:
    """Convert an encoder, under TensorFlow.

    Args:
        encoder: takes floats in [0, 1] of shape (n, *image_shape), returns (n, d).
        image_shape: (h, w) or (h, w, 3).
        path: of the .tflite file to write.
    """
    assert keras.backend.backend() == "tensorflow", "the only one that Keras converts on"
    from_uint8(encoder, image_shape).export(path, format="litert", verbose=False)
