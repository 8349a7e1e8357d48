"""How an encoder's images are prepared: by settings, or by a preprocessor_config.json beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from twinset.errors import ModelError, RecipeError

# as Hugging Face names it
CONFIG = "preprocessor_config.json"


def configurations(path: Path) -> list[Path]:
    """Name the files that may say how the images of a graph are prepared."""
    # exporters put the graph into a folder "onnx" below the configuration
    return [path.parent / CONFIG, path.absolute().parent.parent / CONFIG]


def configured(path: Path) -> Mapping[str, Any]:
    """Read the first configuration that is there; empty where there is none."""
    for config in configurations(path):
        if config.is_file():
            try:
                values = json.loads(config.read_text("utf-8"))
            except ValueError as error:
                raise ModelError(f"{config}: expected JSON. {error}.") from None
            if not isinstance(values, dict):
                raise ModelError(f"{config}: expected an object. Received {values!r}.")
            return values
    return {}


def size_of(
    path: Path, told: Mapping[str, Any], fixed: tuple[int | None, int | None], wanted: int
) -> tuple[int, int]:
    """Choose the size (h, w) that a graph sees: its own, the one that is asked for, or told of."""
    height, width = fixed
    if height and width:
        if wanted and (wanted, wanted) != (height, width):
            raise RecipeError(
                f"{path}: expected encoder.size = 0, as it takes {height} × {width} pixels and no "
                f"others. Received {wanted}."
            )
        return height, width
    if wanted:
        return wanted, wanted
    crops = told.get("do_center_crop", "crop_size" in told) and told.get("crop_size")
    size = crops or (told.get("size") if told.get("do_resize", True) else None)
    if isinstance(size, Mapping):
        side = size.get("shortest_edge")
        size = (size.get("height", side), size.get("width", side))
    sides = size if isinstance(size, tuple | list) else (size, size)
    if len(sides) == 2 and all(isinstance(n, int) and n > 0 for n in sides):
        return int(sides[0]), int(sides[1])
    raise RecipeError(
        f"{path}: expected a size of images in the graph or in a {CONFIG} beside it. Received "
        f"neither: give encoder.size, such as 224."
    )


def normalisation_of(
    path: Path,
    told: Mapping[str, Any],
    mean: Sequence[float],
    std: Sequence[float],
    rescale: float,
    *,
    raw: bool,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Give scale and offset for pixels from 0 to 1, of all channels or of each.

    `raw` tells that the graph takes whole numbers, and so scales them itself.
    """
    known = bool(mean or std or rescale)
    if raw and not known:
        return (255.0,), (0.0,)
    if not told and not known:
        raise RecipeError(
            f"{path}: expected to know how pixels are scaled. Received no {CONFIG} beside it and "
            "no settings: give encoder.mean and encoder.std, for pixels from 0 to 1, as the "
            "network was trained with."
        )
    factor = rescale
    if not factor:
        factor = told.get("rescale_factor", 1 / 255) if told.get("do_rescale", True) else 1.0
    normal = told.get("do_normalize", True)
    means = tuple(mean) or (_numbers(told.get("image_mean"), path) if normal else ()) or (0.0,)
    stds = tuple(std) or (_numbers(told.get("image_std"), path) if normal else ()) or (1.0,)
    if {len(means), len(stds)} - {1, 3}:
        raise RecipeError(
            f"{path}: expected one number or three for encoder.mean and encoder.std. Received "
            f"{list(means)} and {list(stds)}."
        )
    a, b = np.broadcast_arrays(np.asarray(means), np.asarray(stds))
    return tuple((255 * factor / b).tolist()), tuple((-a / b).tolist())


def _numbers(values: Any, path: Path) -> tuple[float, ...]:
    found = values if isinstance(values, list) else [] if values is None else [values]
    if not all(isinstance(value, int | float) for value in found):
        raise ModelError(f"{path.parent / CONFIG}: expected numbers. Received {values!r}.")
    return tuple(map(float, found))
