"""The options that choose what computes: Keras' back end."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated

import typer

from twinset.errors import RecipeError


class Backend(StrEnum):
    """Keras' back ends."""

    jax = "jax"
    tensorflow = "tensorflow"
    torch = "torch"


BackendOption = Annotated[
    Backend | None,
    typer.Option(help="Keras' back end; default: $KERAS_BACKEND, else jax.", show_default=False),
]


def choose(backend: Backend | None) -> None:
    """Choose Keras' back end, before Keras is imported.

    Args:
        backend: None for that of the environment.

    Raises:
        RecipeError: there is no such back end, or it is not installed.
    """
    if backend is not None:
        os.environ["KERAS_BACKEND"] = backend.value
    wanted = os.environ.get("KERAS_BACKEND", "jax")
    import importlib.util

    if wanted not in list(Backend):
        raise RecipeError(
            f"Expected a back end out of {[str(name) for name in Backend]}. "
            f"Received KERAS_BACKEND={wanted!r}."
        )
    if importlib.util.find_spec(wanted) is None:
        raise RecipeError(
            f"Expected the back end {wanted} to be installed. Install it with "
            f"`pip install 'twinset[{wanted}]'`, or choose another --backend."
        )
