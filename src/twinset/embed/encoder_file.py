"""Read a network from a `.keras` file, of this library or of anybody."""

from __future__ import annotations

import os

import keras

from twinset.errors import ModelError


def load_encoder(path: str | os.PathLike[str]) -> keras.Model:
    """Read an encoder that `SiameseModel.save` wrote, or any Keras model.

    Layers of the user's own must have been imported, and registered with Keras.

    Args:
        path: of the .keras file.

    Raises:
        ModelError: it is no Keras model.
    """
    # Keras looks custom layers up by name: they must have been imported.
    from twinset.embed import dropout, networks, siamese  # noqa: F401

    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # noqa: BLE001 - zip, HDF5, JSON and Keras each raise their own
        raise ModelError(
            f"{path}: expected a Keras model. {type(error).__name__}: {error}"
        ) from None
