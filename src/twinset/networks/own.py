"""A network of the user's own as encoder, whatever it is made of."""

from __future__ import annotations

import io
import os
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from twinset.errors import ModelError, RecipeError
from twinset.networks.layers import UnitNorm
from twinset.settings import named

# Layers whose embeddings have length 1 already.
_UNIT = (UnitNorm, keras.layers.UnitNormalization)


@named("own")
def own(
    input_shape: Sequence[int],
    network: keras.Model | None = None,
    *,
    path: str = "",
    normalize: bool = True,
    digest: str = "",
) -> keras.Model:
    """Take any Keras model as encoder.

    The layers are the network's own, not copies: to train the encoder trains the network.

    Args:
        input_shape: shape of one image, (h, w) or (h, w, 3), or of one vector, (d,).
        network: a `keras.Model` from floats in [0, 1], (n, *input_shape), to floats (n, d): of
            the functional kind, a `Sequential`, or a subclass. Defaults to the one at `path`.
        path: of a `.keras` file. Defaults to none.
        normalize: make the embeddings' length 1; adds a layer where the network does not see to
            it. Defaults to True.
        digest: of the network as its training began, which `fit` writes into the recipe and
            compares: used again, the recipe wants the same network. Defaults to none.

    Raises:
        RecipeError: there is neither a network nor a path.
        ModelError: the file is missing or no Keras model; or the network takes or returns
            something else.

    Example:
        >>> network = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(5)])
        >>> own((4, 4), network).output_shape
        (None, 5)
    """
    del digest  # what it depends on, the model's preprocessing too, `fit` knows
    if network is None and not path:
        raise RecipeError(
            "Expected a network for encoder.name = 'own'. Received none: give the path of a "
            ".keras file as encoder.path, or the model itself as `fit(..., encoder=model)`."
        )
    model: Any = _read(path) if path else network
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
    # Of a functional model of just this input, whose layers then lie open. What stays shut, a
    # subclass or a model of any size, is one layer of the encoder: it trains and saves as well,
    # but a blend finds no features in it.
    inputs = getattr(model, "inputs", None)
    if not inputs or tuple(inputs[0].shape) != (None, *shape):
        return None
    return inputs[0], model.outputs[0]


def _read(path: str) -> keras.Model:
    if not os.path.isfile(path):  # noqa: PTH113 - False for names that no file can have
        raise ModelError(
            f"Expected the path of a .keras file as encoder.path. Received {path!r}, "
            "and there is no such file."
        )
    return load_encoder(path)


def check_encoder(model: keras.Model, image_shape: Sequence[int]) -> int:
    """Check that a model embeds images: floats in [0, 1], (n, *image_shape), to floats (n, d).

    It is called twice, on black images and on random ones, with the network at rest.

    Args:
        model: any Keras model.
        image_shape: shape of one image, (h, w) or (h, w, 3).

    Returns:
        The size d of its embeddings.

    Raises:
        ModelError: it takes something else, or returns something else.

    Example:
        >>> from twinset.networks import mlp
        >>> check_encoder(mlp((4, 4), units=(3,)), (4, 4))
        3
    """
    if not isinstance(model, keras.Model):
        raise ModelError(f"Expected a keras.Model as encoder. Received {type(model).__name__}.")
    shape = tuple(image_shape)
    given = _input_shape(model)
    if given is not None and not _fits(given, shape):
        raise ModelError(
            f"Expected an encoder of images of shape {shape}. Received one whose input has the "
            f"shape {given}: change the size of the images, or put a layer such as "
            "keras.layers.Reshape in front."
        )
    # black ones too: a network that divides by an image's own brightness fails on them alone
    random = np.random.default_rng(0).random((2, *shape), np.float32)
    black, other = (_embed(model, x) for x in (np.zeros((2, *shape), np.float32), random))
    for found, what in ((black, "black images"), (other, "random images")):
        if not np.isfinite(found).all():
            raise ModelError(
                f"Expected finite embeddings. Received {found[~np.isfinite(found)][0]} for {what}: "
                "look for a division or logarithm of 0."
            )
    return int(other.shape[1])


def _input_shape(model: keras.Model) -> tuple[int | None, ...] | None:
    try:
        inputs = model.inputs
    except AttributeError:  # a subclassed model that was never called
        return None
    if not inputs:
        return None
    if len(inputs) != 1:
        raise ModelError(
            f"Expected an encoder with one input. Received one with {len(inputs)}: "
            f"{[tensor.name for tensor in inputs]}. Of a siamese model, give the shared encoder."
        )
    return tuple(inputs[0].shape)


def _fits(given: tuple[int | None, ...], shape: tuple[int, ...]) -> bool:
    sizes = given[1:]
    return len(sizes) == len(shape) and all(
        size in (None, wanted) for size, wanted in zip(sizes, shape, strict=True)
    )


def _embed(model: keras.Model, images: NDArray[np.float32]) -> NDArray[np.floating]:
    try:
        # one compiled program: JAX would compile each operation of an eager call on its own
        found = model.predict_on_batch(images)
    except Exception as error:
        raise ModelError(
            f"Expected an encoder that can be called on floats of shape {images.shape}. "
            f"{type(error).__name__}: {error}"
        ) from error
    kind = str(getattr(found, "dtype", type(found).__name__))
    size = tuple(getattr(found, "shape", ()))
    if "float" not in kind or len(size) != 2 or size[0] != len(images) or size[1] < 1:
        raise ModelError(
            f"Expected embeddings of shape ({len(images)}, d), floats. Received "
            f"{kind} of shape {size}: end with a pooling or Flatten layer, and a Dense layer."
        )
    return np.asarray(found, np.float32)


def encoder_bytes(encoder: keras.Model) -> bytes:
    """Write an encoder as the content of a .keras file."""
    # Keras would date the parts by the clock, and an archive knows no time before 1980: one that
    # nobody has set, as of a small computer without a battery, would cost a training.
    content = io.BytesIO()
    with tempfile.TemporaryDirectory() as draft, zipfile.ZipFile(content, "w") as archive:
        encoder.save(draft, zipped=False)
        for path in sorted(filter(Path.is_file, Path(draft).rglob("*"))):
            part = zipfile.ZipInfo(path.relative_to(draft).as_posix())
            part.external_attr = 0o644 << 16
            archive.writestr(part, path.read_bytes())
    return content.getvalue()


def load_encoder(path: str | os.PathLike[str]) -> keras.Model:
    """Read an encoder that `SiameseModel.save` wrote, or any Keras model."""
    # Keras looks layers of the user's own up by name: they must have been imported.
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # noqa: BLE001 - zip, HDF5, JSON and Keras each raise their own
        raise ModelError(
            f"{path}: expected a Keras model. {type(error).__name__}: {error}"
        ) from None
