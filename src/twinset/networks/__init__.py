"""Encoders: networks that turn one image into one embedding.

In: floats in [0, 1] of shape (n, h, w) or (n, h, w, 3). Out: (n, d). All are ordinary
`keras.Model`s, and any other one that passes `check_encoder` will do (`own`). `head` embeds
vectors.

Public are all layers that the modules of this folder define, and the functions that are `named`
there, which recipes can name too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from twinset.backbones.session import Provenance
from twinset.networks.own import check_encoder as check_encoder
from twinset.recipe import ENCODERS
from twinset.settings import Section, absent, defined_in


def _public(value: Any) -> bool:
    if isinstance(value, type):
        return issubclass(value, keras.layers.Layer)
    return hasattr(value, "recipe_name")


_PUBLIC = defined_in(__name__, _public)
globals().update(_PUBLIC)

__all__ = sorted([*_PUBLIC, "ENCODERS", "build", "check_encoder", "provenance"])


def __getattr__(name: str) -> Any:  # what is missing; and type checkers take it for the rest
    raise absent(__name__, name, __all__)


def __dir__() -> list[str]:
    return list(__all__)


def provenance(section: Section) -> tuple[Provenance, ...]:
    """Tell whose weights a network of a recipe begins with; none where it learns from nothing."""
    origin = getattr(ENCODERS.load(section.name), "provenance", None)
    found = origin(section) if callable(origin) else origin
    return () if found is None else (found,)


def build(
    encoder: str | Section,
    input_shape: Sequence[int],
    *,
    seed: int | None = None,
    network: keras.Model | None = None,
    **settings: Any,
) -> keras.Model:
    """Build an encoder as a recipe does.

    Args:
        encoder: its name, out of `ENCODERS.names()`, or the section of a recipe.
        input_shape: shape of one image, (h, w) or (h, w, 3), or of one vector, (d,).
        seed: of the initial weights and the dropout. Defaults to random.
        network: for "own" without a path. Defaults to none.
        **settings: those of the encoder, when it is named; see `ENCODERS.section(name)`.

    Raises:
        RecipeError: an unknown name or setting, a value out of range, or not for this shape.
        ModelError: a file of weights or of a network is missing or holds others.
        DownloadError: weights are not there and cannot be downloaded.

    Example:
        >>> build("conv", (28, 28), embedding=16, seed=0).output_shape
        (None, 16)
    """
    section = ENCODERS.parse(encoder, settings) if isinstance(encoder, str) else encoder
    built: keras.Model = ENCODERS.make(
        section, input_shape=tuple(input_shape), seed=seed, network=network
    )
    return built
