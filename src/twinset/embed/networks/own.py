"""A network of the user's own as encoder, whatever it is made of."""

from __future__ import annotations

import os
from collections.abc import Sequence

import keras

from twinset.embed.encoder_file import load_encoder
from twinset.embed.networks.check import check_encoder
from twinset.embed.networks.unit_norm import UnitNorm
from twinset.errors import ModelError, RecipeError

# Layers whose embeddings have length 1 already.
_UNIT = (UnitNorm, keras.layers.UnitNormalization)


def own(
    network: keras.Model | str | os.PathLike[str] | None,
    input_shape: Sequence[int],
    *,
    normalize: bool = True,
) -> keras.Model:
    """Take any Keras model as encoder.

    The layers are the network's own, not copies: to train the encoder trains the network.

    Args:
        network: a `keras.Model` from floats in [0, 1], (n, *input_shape), to floats (n, d): of
            the functional kind, a `Sequential`, or a subclass; or the path of a `.keras` file.
        input_shape: shape of one image, (h, w) or (h, w, 3), or of one vector, (d,).
        normalize: make the embeddings' length 1. Defaults to True.

    Returns:
        A functional `keras.Model` of this input shape.

    Raises:
        RecipeError: there is neither a network nor a path.
        ModelError: the file is missing or no Keras model; or the network takes or returns
            something else.

    Example:
        >>> network = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(5)])
        >>> own(network, (4, 4)).output_shape
        (None, 5)
    """
    if network is None:
        raise RecipeError(
            "Expected a network for encoder.name = 'own'. Received none: give the path of a "
            ".keras file as encoder.path, or the model itself as `fit(..., encoder=model)`."
        )
    model = network if isinstance(network, keras.Model) else _read(network)
    shape = tuple(input_shape)
    if isinstance(model, keras.Sequential) and not model.built:
        model.build((None, *shape))  # else the first images would fix the size of its batches
    check_encoder(model, shape)
    image = keras.Input(shape, name="image")
    found = _graph(model, shape)
    image, x = found if found is not None else (image, model(image))
    if normalize and not (found and isinstance(model.layers[-1], _UNIT)):
        names = {layer.name for layer in model.layers}
        x = UnitNorm(name=None if "unit" in names else "unit")(x)
    return keras.Model(image, x, name="own")


def _graph(model: keras.Model, shape: tuple[int, ...]) -> tuple[object, object] | None:
    """Find the graph of a functional model of just this input, so that its layers lie open.

    What stays shut, a subclass or a model of any size, is one layer of the encoder: it trains and
    saves as well, but a blend finds no features in it.
    """
    inputs = getattr(model, "inputs", None)
    if not inputs or tuple(inputs[0].shape) != (None, *shape):
        return None
    return inputs[0], model.outputs[0]


def _read(path: str | os.PathLike[str]) -> keras.Model:
    if not os.path.isfile(path):  # noqa: PTH113 - False for names that no file can have
        raise ModelError(
            f"Expected the path of a .keras file as encoder.path. Received {os.fspath(path)!r}, "
            "and there is no such file."
        )
    return load_encoder(path)
