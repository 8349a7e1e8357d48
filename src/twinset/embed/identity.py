"""The identity of an encoder: equal where the embeddings are, whoever saved it, and when."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import keras
import numpy as np

from twinset.data.decoding.decode import Preprocessing
from twinset.data.features import VectorInput

# What a layer is called, how it began, and how it learns: nothing of it is in the embeddings.
_ASIDE = {
    "activity_regularizer",
    "autocast",
    "batch_shape",
    "dtype",
    "layers",
    "input_layers",
    "momentum",
    "name",
    "network",
    "output_layers",
    "rate",
    "ragged",
    "seed",
    "sparse",
    "synchronized",
    "trainable",
}
_SUFFIXES = ("_initializer", "_regularizer", "_constraint")


def identity(
    encoder: keras.Model, preprocessing: Preprocessing | VectorInput, distance: str
) -> str:
    """Compute the digest of what determines embeddings, and whether they can be compared.

    SHA-256 over the layers in order, their settings, the bytes of the weights, the preprocessing
    and the distance. Names are left out: Keras numbers layers anew in each process. So are dates
    and versions, which a saved file holds as well.

    Args:
        encoder: a built Keras model.
        preprocessing: of the images.
        distance: its name.

    Example:
        >>> from twinset.embed.networks import mlp
        >>> how = Preprocessing((4, 4))
        >>> a, b = (identity(mlp((4, 4), seed=seed), how, "euclidean") for seed in (0, 1))
        >>> len(a), a == b
        (64, False)
    """
    about = {
        "layers": list(_settings(encoder)),
        "preprocessing": [list(preprocessing.shape), preprocessing.resize],
        "background": preprocessing.background,
        "distance": distance,
    }
    sha = hashlib.sha256(json.dumps(about, sort_keys=True, default=_plain).encode())
    for weight in encoder.weights:
        values = np.asarray(keras.ops.convert_to_numpy(weight))
        sha.update(f"{values.shape} {values.dtype}".encode())
        sha.update(np.ascontiguousarray(values).data)
    return sha.hexdigest()


def _settings(layer: Any) -> Any:
    inner = getattr(layer, "layers", None) or [
        each for each in [getattr(layer, "network", None)] if isinstance(each, keras.Model)
    ]
    if inner:
        for each in inner:
            yield from _settings(each)
        return
    if isinstance(layer, keras.layers.InputLayer):
        return
    config = layer.get_config() if isinstance(layer, keras.layers.Layer) else {}
    kept = {
        key: value
        for key, value in config.items()
        if key not in _ASIDE and not key.endswith(_SUFFIXES) and value is not None
    }
    yield [type(layer).__name__, kept]


def _plain(value: Any) -> Any:
    # a setting that is an object of its own: what kind it is says enough, and is stable
    return type(value).__name__
