"""What a network is: the digest of its embeddings, and that of how it begins to learn."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from twinset.data.decoding.decode import Preprocessing
from twinset.data.labelled import VectorInput

# What a layer is called, how it began, and how it learns: nothing of it is in the embeddings.
_ASIDE = {
    *("activity_regularizer", "autocast", "batch_shape", "dtype", "layers", "input_layers"),
    *("momentum", "name", "network", "output_layers", "rate", "ragged", "seed", "sparse"),
    *("synchronized", "trainable"),
}
_SUFFIXES = ("_initializer", "_regularizer", "_constraint")


def identity(
    encoder: keras.Model, preprocessing: Preprocessing | VectorInput, distance: str
) -> str:
    """Compute the digest of what determines embeddings, and whether they can be compared."""
    # Names are left out: Keras numbers layers anew in each process. So are dates and versions,
    # which a saved file holds as well.
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
        sha.update(values.tobytes())  # .data knows no 16-bit type but numpy's own
    return sha.hexdigest()


def beginning(network: keras.Model) -> Callable[[], str]:
    """Compute the digest of how a network learns, before it does: values now, the rest if asked."""
    # to list settings Keras imports TensorFlow where it is installed, which takes seconds
    sha = hashlib.sha256()
    for variable in network.variables:
        values = np.asarray(keras.ops.convert_to_numpy(variable))
        sha.update(f"{values.shape} {values.dtype} {variable.trainable}".encode())
        sha.update(values.tobytes())

    def digest() -> str:
        layers = list(network._flatten_layers())
        places = {id(layer): place for place, layer in enumerate(layers)}
        about = [[type(layer).__name__, _nameless(_config(layer))] for layer in layers]
        about += [_wiring(layer, places) for layer in layers if isinstance(layer, keras.Model)]
        whole = sha.copy()
        whole.update(json.dumps(about, sort_keys=True, default=_plain).encode())
        return whole.hexdigest()

    return digest


def _config(layer: Any) -> dict[str, Any]:
    if isinstance(layer, keras.Model):  # lists its layers anew, by name
        return {}
    try:
        found: dict[str, Any] = layer.get_config()
    except NotImplementedError:  # a layer of the user's own that says nothing of itself
        return {}
    return found


def _wiring(model: Any, places: dict[int, int]) -> list[Any]:
    # the calls of a graph: of what, on what came of what; none of a subclass
    calls = getattr(model, "_nodes_by_depth", {})

    def place(operation: Any) -> list[Any]:
        return [type(operation).__name__, places.get(id(operation))]

    return [
        [place(call.operation), [place(x._keras_history.operation) for x in call.input_tensors]]
        for depth in sorted(calls, reverse=True)
        for call in calls[depth]
    ]


def _nameless(config: Any) -> Any:
    if isinstance(config, dict):
        if "output_layers" in config:  # a network within: its layers are listed themselves
            return None
        return {key: _nameless(value) for key, value in config.items() if key != "name"}
    if isinstance(config, list | tuple):
        return [_nameless(value) for value in config]
    return config


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
