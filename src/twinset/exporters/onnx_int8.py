"""A graph whose weights and activations are whole numbers of 8 bits: smaller, and often faster."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from twinset.data.stored import StoredPixels
from twinset.models.onnx_model import INPUT

# Images to see ranges on: of a few hundred on, more change little.
SAMPLE, BATCH = 256, 32


def quantised(graph: bytes, images: NDArray[np.uint8] | StoredPixels) -> Any:
    """Quantise a graph: weights for each channel, activations by what some images give.

    Both are scaled to whole numbers, x ≈ scale · (q − zero), of 8 bits for activations and of 7 for
    weights, in bytes. What is no matrix product, convolution or pooling stays as it is. The images
    are such as the encoder was trained on. Gives an `onnx.ModelProto`.

    Reference:
        Jacob et al. (2018), Quantization and Training of Neural Networks for Efficient
        Integer-Arithmetic-Only Inference.
    """
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    chosen = np.random.default_rng(0).permutation(len(images))[:SAMPLE]
    sample = images[np.sort(chosen)]

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            starts = range(0, len(sample), BATCH)
            self._parts: Iterator[Any] = iter(sample[start : start + BATCH] for start in starts)

        def get_next(self) -> dict[str, Any] | None:
            part = next(self._parts, None)
            return None if part is None else {INPUT: np.ascontiguousarray(part)}

    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)  # it advises on what was done above already
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plain, folded, target = (
                str(Path(folder) / f"{name}.onnx") for name in ("plain", "folded", "int8")
            )
            Path(plain).write_bytes(graph)
            # normalisations go into the convolutions before them, or they would stay floats
            quant_pre_process(plain, folded, skip_symbolic_shape=True)
            quantization.quantize_static(
                folded,
                target,
                Reader(),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=["Conv", "MatMul", "Gemm", "Relu", "Add", "MaxPool"],
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                # Weights of 7 bits. Of 8, processors without VNNI instructions get the products
                # of two neighbours that no 16 bits hold, and cut them off without a word: a
                # distance was wrong by up to 0.7. Unsigned weights are safe and take twice as long.
                reduce_range=True,
            )
            return onnx.load(target)
    finally:
        logger.setLevel(before)
