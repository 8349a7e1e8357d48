"""A model whose network is frozen: ONNX Runtime finds the features, Keras the embedding of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from twinset.backbones.backbone import Backbone
from twinset.errors import ModelError
from twinset.networks.layers import Frozen
from twinset.networks.onnx_network import OnnxTrunk
from twinset.recipe import ENCODERS
from twinset.settings import Section, parameters

NETWORK = "network"  # what the layer is called that others trained


@dataclass(frozen=True, eq=False)
class Halves:
    """The frozen network, and all that follows it, from features (n, f) to embeddings (n, d)."""

    backbone: Backbone
    head: keras.Model


def halves_of(encoder: keras.Model, section: Section) -> Halves | None:
    """Cut an encoder behind its frozen network; None where there is none, or none with a graph."""
    layer = next((each for each in encoder.layers if each.name == NETWORK), None)
    backbone = _backbone(layer, section, encoder.input_shape[1:])
    if layer is None or backbone is None:
        return None
    try:
        return Halves(backbone, keras.Model(layer.output, encoder.outputs, name="head"))
    except (AttributeError, ValueError):
        return None  # a blend looks at the pixels as well, or twice


def _backbone(layer: Any, section: Section, shape: tuple[int, ...]) -> Backbone | None:
    if isinstance(layer, OnnxTrunk):
        return layer.backbone
    return declared(section, shape) if isinstance(layer, Frozen) else None


def declared(section: Section, shape: tuple[int, ...]) -> Backbone | None:
    """Make the graph that a network of a recipe brings along; None where it has none."""
    make = getattr(ENCODERS.load(section.name), "backbone", None)
    if make is None:
        return None
    settings = {key: value for key, value in section if key in parameters(make)}
    try:
        found: Backbone = make(shape, **settings)
    except ModelError:  # the package or the file is gone, but a saved model has the weights
        return None
    return found
