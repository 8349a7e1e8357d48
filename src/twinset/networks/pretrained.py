"""Networks that others trained on millions of photos, with a new embedding on top."""

from __future__ import annotations

import importlib
import inspect
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import keras
from keras import ops
from pydantic import Field

from twinset.errors import DownloadError, ModelError, RecipeError
from twinset.networks.dense import embed
from twinset.networks.layers import Frozen, Preprocess, expect_images, from_function
from twinset.networks.seeded import Seeds, redraw, reseed
from twinset.registry import suggestion
from twinset.settings import Count, Share, named

HUB = "keras_hub:"


@named("pretrained")
def pretrained(
    input_shape: Sequence[int],
    model: Annotated[str, Field(min_length=1)] = "MobileNetV3Small",
    *,
    weights: Annotated[str, Field(min_length=1)] = "imagenet",
    embedding: Count = 128,
    freeze: bool = True,
    pooling: Literal["avg", "max"] = "avg",
    units: tuple[Count, ...] = (),
    dropout: Share = 0.0,
    normalize: bool = True,
    seed: int | None = None,
) -> keras.Model:
    """Put an embedding on a network of `keras.applications` or KerasHub.

    Takes floats in [0, 1] of shape (n, *input_shape), returns (n, embedding). The network's own
    preprocessing is a layer of the graph; gray images become three equal channels.

    Args:
        input_shape: shape of one image, (h, w) or (h, w, 3); most networks want 32 × 32 at least,
            and do well from 96 × 96 on.
        model: "MobileNetV3Small", "EfficientNetV2B0", "ResNet50V2" or another of `names()`; or
            "keras_hub:" and a preset, where KerasHub is installed. Defaults to
            "MobileNetV3Small".
        weights: "imagenet" (for KerasHub: the preset's), from Keras' cache or its download; the
            path of a file that `save_weights` wrote for this network without its top; or "none"
            for random ones. Defaults to "imagenet".
        embedding: size d. Defaults to 128.
        freeze: train the embedding alone, so that each image is encoded once; the network then
            does not learn, and its normalisation and dropout are at rest. Defaults to True.
        pooling: "avg" or "max", over all places of the image. Defaults to "avg".
        units: size of each hidden layer between the network and the embedding. Defaults to none.
        dropout: share of the last features dropped while training. Defaults to 0.
        normalize: make the embeddings' length 1. Defaults to True.
        seed: of the weights that are drawn. Defaults to random.

    Raises:
        RecipeError: a value out of range, no such network, or not for images of this shape.
        ModelError: the file is missing or holds other weights.
        DownloadError: the weights are not there and cannot be downloaded.

    Example:
        >>> encoder = pretrained((32, 32), "VGG16", weights="none", embedding=8, seed=0)
        >>> encoder.output_shape, len(encoder.trainable_variables)
        ((None, 8), 3)
    """
    expect_images(input_shape, "pretrained")
    shape = tuple(input_shape)
    colour = (*shape[:2], 3)
    if weights not in ("imagenet", "none") and not Path(weights).is_file():
        raise ModelError(
            f'Expected "imagenet", "none" or the path of a file of weights. Received {weights!r}, '
            "and there is no such file."
        )
    if model.startswith(HUB):
        preprocess, backbone = _from_hub(model.removeprefix(HUB), colour, weights)
    else:
        preprocess, backbone = _from_keras(model, colour, weights)
    reseed(backbone, seed)
    if weights == "none":  # what Keras drew differs between back ends
        redraw(backbone, seed)
    elif weights != "imagenet":
        _load(backbone, weights, model)
    image = keras.Input(shape, name="image")
    network = Frozen(backbone, name="network") if freeze else backbone
    x = _pooled(network(preprocess(image)), pooling)
    x = embed(
        x,
        Seeds(seed),
        embedding=embedding,
        dropout=dropout,
        normalize=normalize,
        units=units,
    )
    return keras.Model(image, x, name="pretrained")


def names() -> list[str]:
    """List the networks of `keras.applications`."""
    functions = inspect.getmembers(keras.applications, inspect.isfunction)
    return [name for name, make in functions if "include_top" in inspect.signature(make).parameters]


def _from_keras(name: str, shape: tuple[int, ...], weights: str) -> tuple[Preprocess, keras.Model]:
    if name not in names():
        hint = suggestion(name, names()) or f": take one of {names()}"
        raise RecipeError(f"Expected a network of keras.applications. Received {name!r}{hint}.")
    make = getattr(keras.applications, name)
    family = sys.modules[make.__module__]
    downloaded = "imagenet" if weights == "imagenet" else None
    try:
        with warnings.catch_warnings():
            # that weights of 224 × 224 are taken for other sizes: meant so
            warnings.filterwarnings("ignore", message=".*`input_shape` is undefined")
            backbone = make(include_top=False, weights=downloaded, input_shape=shape)
    except ValueError as error:  # of the shape, before any weight is looked for
        raise RecipeError(
            f"Expected a shape of images that {name} takes. Received {shape[:2]}: {error}"
        ) from None
    except Exception as error:
        if downloaded is None:
            raise
        raise _no_download(name, error) from error
    return from_function(family.preprocess_input, name="preprocess"), backbone


def _from_hub(preset: str, shape: tuple[int, ...], weights: str) -> tuple[Preprocess, keras.Model]:
    try:
        hub = importlib.import_module("keras_hub")
    except ImportError:
        raise RecipeError(
            "Expected the package keras_hub for an encoder whose name begins with 'keras_hub:'. "
            "Received an installation without it: `pip install keras-hub`."
        ) from None
    try:
        backbone = hub.models.Backbone.from_preset(
            preset, load_weights=weights == "imagenet", image_shape=shape
        )
        converter = hub.layers.ImageConverter.from_preset(preset)
    except ValueError as error:
        raise RecipeError(
            f"Expected a preset of a KerasHub backbone for images of {shape[:2]}. "
            f"Received {preset!r}: {error}"
        ) from None
    except Exception as error:
        raise _no_download(HUB + preset, error) from error
    return from_function(converter, name="preprocess"), backbone


def _no_download(name: str, error: Exception) -> DownloadError:
    return DownloadError(
        f"Expected the weights of {name} in Keras' cache or from its download. {error}: connect "
        "to the network once, or copy ~/.keras from a machine that has them, or give the path of "
        "a file as `weights`."
    )


def _load(backbone: keras.Model, path: str, name: str) -> None:
    try:
        backbone.load_weights(path)
    except Exception as error:  # noqa: BLE001 - HDF5, zip and Keras each raise their own
        raise ModelError(
            f"{path}: expected weights of {name} without its top, as its "
            f"`save_weights` writes them. {type(error).__name__}: {error}"
        ) from None


def _pooled(x: Any, pooling: str) -> Any:
    # (n, h, w, c) of convolutions, (n, tokens, c) of transformers; a KerasHub backbone may have
    # pooled already
    places = tuple(range(1, len(x.shape) - 1))
    if not places:
        return x
    return ops.mean(x, axis=places) if pooling == "avg" else ops.max(x, axis=places)
