"""Pictures of what an index found: answers to queries, and groups of duplicates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twinset.data.decoding.decode import Preprocessing
from twinset.data.image_sources import FileSource, TableSource, picture_of
from twinset.errors import DataError
from twinset.search.answer import Answer
from twinset.search.duplicates import Duplicates
from twinset.search.identification import Identification
from twinset.search.items import Neighbour

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE = 160
GROUPS = 30


def draw_answers(answers: Sequence[Answer]) -> Figure:
    """Draw queries and what was found for each."""
    from twinset import figures  # here, as the commands that draw nothing need no matplotlib

    # images are read from the paths in query and metadata; one that is not there is hatched
    rows = [
        figures.Row(
            answer.query,
            _thumbnail(FileSource(answer.query, answer.query)),
            [_name(one) for one in answer],
            [_thumbnail(picture_of(one.metadata)) for one in answer],
            [_label(one.metadata) for one in answer],
            [one.distance for one in answer],
            answer.sentence().removeprefix(f"{answer.query}: "),
        )
        for answer in answers
    ]
    threshold = answers[0].threshold.value if answers else 0.0
    return figures.neighbours(rows, threshold=threshold)


def draw_identities(answers: Sequence[Identification]) -> Figure:
    """Draw queries and the identities nearest to each, by their nearest references."""
    from twinset import figures

    rows = [
        figures.Row(
            answer.query,
            _thumbnail(FileSource(answer.query, answer.query)),
            [_name(one.nearest) for one in answer.identities],
            [_thumbnail(picture_of(one.nearest.metadata)) for one in answer.identities],
            [str(one.name) for one in answer.identities],
            [one.distance for one in answer.identities],
            answer.sentence().removeprefix(f"{answer.query}: "),
        )
        for answer in answers
    ]
    return figures.neighbours(rows, threshold=answers[0].settings.threshold)


def draw_duplicates(found: Duplicates) -> Figure:
    """Draw groups of duplicates, in their order, each with its first five members."""
    from twinset import figures

    if not found.groups:
        raise DataError("Expected groups of duplicates to draw. Received none.")
    drawn = found.groups[:GROUPS]
    shown = [group.members[:5] for group in drawn]
    tiles, groups = list[NDArray[np.uint8] | None](), list[list[int]]()
    for group, members in zip(drawn, shown, strict=True):
        start = len(tiles)
        tiles += [_thumbnail(picture_of(one.metadata)) for one in members]
        # of the others only the number is told
        groups.append([start + min(k, 4) for k in range(len(group))])
    blank = np.full((SIDE, SIDE, 3), 244, np.uint8)
    return figures.look_alikes(
        np.stack([blank if tile is None else tile for tile in tiles]),
        groups,
        [f"{group.kind}: {len(group):,} items, {group.diameter:.3g} wide" for group in drawn],
        [[_name(one) for one in group.members] for group in drawn],
        [[f"{one.distance:.4f} {_label(one.metadata)}" for one in g.members] for g in drawn],
    )


def _name(one: Neighbour) -> str:
    # the label is written already, and there is little room
    return one.id.removeprefix(f"{_label(one.metadata)}/")


def _label(metadata: Mapping[str, Any]) -> str:
    label = metadata.get("label")
    return "" if label is None else str(label)


def _thumbnail(source: FileSource | TableSource | None) -> NDArray[np.uint8] | None:
    return thumbnail(source, SIDE)


def thumbnail(source: FileSource | TableSource | None, size: int) -> NDArray[np.uint8] | None:
    """Read an image as a square with white borders; None where there is none to read."""
    if source is None:
        return None
    try:
        width, height, _ = source.probe()
        side = min(size, max(width, height))
        pixels = Preprocessing((side, side, 3), "pad", 255).pixels(source.encoded())
    except DataError:
        return None
    # small images keep their pixels, as squares
    rows = np.arange(size) * side // size
    return pixels[rows][:, rows]
