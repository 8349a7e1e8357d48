"""A network inside another one that takes no part in its training."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable("twinset")
class Frozen(keras.layers.Layer):
    """Calls a network at rest, also while what is around it trains.

    `trainable = False` stops its weights and its batch normalisation, but not its dropout; and a
    `training=False` that is written into a graph is overruled by the call of the graph.

    Args:
        network: a built Keras model.
        **kwargs: as for any Keras layer.

    Call arguments:
        inputs: of the network.

    Returns:
        What the network returns.

    Example:
        >>> import numpy as np
        >>> network = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5)])
        >>> keras.ops.convert_to_numpy(Frozen(network)(np.ones((1, 4)), training=True)).tolist()
        [[1.0, 1.0, 1.0, 1.0]]
    """

    def __init__(self, network: keras.Model, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.network = network
        self.network.trainable = False

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Call the network, at rest."""
        del training
        return self.network(inputs, training=False)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Ask the network."""
        return self.network.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        network = keras.saving.serialize_keras_object(self.network)
        return {**super().get_config(), "network": network}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Frozen:
        """Make the layer that `get_config` described.

        Args:
            config: as `get_config` returns it.
        """
        network = keras.saving.deserialize_keras_object(config["network"])
        return cls(**{**config, "network": network})
