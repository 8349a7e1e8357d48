"""What an index found, to look at: pictures of answers and duplicates, the page of a review."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from twinset.data.decoding.decode import Preprocessing
from twinset.data.image_sources import FileSource, TableSource, picture_of
from twinset.errors import DataError
from twinset.files import write_bytes
from twinset.report.page import render
from twinset.search.answer import Answer, for_people
from twinset.search.checked import Metadata
from twinset.search.duplicates import Duplicates
from twinset.search.identification import Identification, and_more
from twinset.search.items import Neighbour
from twinset.search.review import Review

if TYPE_CHECKING:
    from matplotlib.figure import Figure


SIDE = 160
GROUPS = 30


def draw_answers(answers: Sequence[Answer]) -> Figure:
    """Draw queries and what was found for each."""
    found = [[(one, _label(one.metadata), one.distance) for one in answer] for answer in answers]
    return _drawn(answers, found, answers[0].threshold.value if answers else 0.0)


def draw_identities(answers: Sequence[Identification]) -> Figure:
    """Draw queries and the identities nearest to each, by their nearest references."""
    found = [
        [(one.nearest, str(one.name), one.distance) for one in answer.identities]
        for answer in answers
    ]
    return _drawn(answers, found, answers[0].settings.threshold)


def _drawn(
    answers: Sequence[Answer | Identification],
    found: Sequence[Sequence[tuple[Neighbour, str, float]]],
    threshold: float,
) -> Figure:
    from twinset import figures  # here, as the commands that draw nothing need no matplotlib

    # images are read from the paths in query and metadata; one that is not there is hatched
    rows = [
        figures.Row(
            answer.query,
            _thumbnail(FileSource(_first(answer), answer.query)),
            [_name(one) for one, _, _ in own],
            [_thumbnail(picture_of(one.metadata)) for one, _, _ in own],
            [label for _, label, _ in own],
            [distance for _, _, distance in own],
            answer.sentence().removeprefix(f"{answer.query}: "),
        )
        for answer, own in zip(answers, found, strict=True)
    ]
    return figures.neighbours(rows, threshold=threshold)


def _first(answer: Answer | Identification) -> str:
    images = answer.images if isinstance(answer, Identification) else 1
    return answer.query.removesuffix(and_more(images))


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
        [f"{group.kind}, {group.diameter:.2g} wide" for group in drawn],
        [[_name(one) for one in group.members] for group in drawn],
        [[f"{one.distance:.4f} {_label(one.metadata)}" for one in g.members] for g in drawn],
    )


def _name(one: Neighbour) -> str:
    # the label is written already, and there is little room
    return one.id.removeprefix(f"{_label(one.metadata)}/")


def _label(metadata: Mapping[str, Any]) -> str:
    label = metadata.get("label")
    return "" if label is None else str(label)


def _thumbnail(
    source: FileSource | TableSource | None, size: int = SIDE
) -> NDArray[np.uint8] | None:
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


EMBEDDED = 256  # pixels of an image in a page


def write_review(review: Review, path: str | Path, *, title: str = "Review") -> None:
    """Write a page that shows both images of each question, and takes the answers.

    It needs no network and no other file. S is the same, D different, the space bar skips, U takes
    the last answer back; "Save decisions" downloads a table for `Index.decide`. What was answered
    is kept in the browser until then.

    Args:
        review: as `Index.review` made it.
        path: of the page. Images are read from the paths in the metadata; of one that is not there
            the id is shown.
        title: of the page. Defaults to "Review".

    Example:
        >>> import tempfile
        >>> from twinset.search.review import Question, Review
        >>> question = Question("a", "b", 0.5, 0.4, "near the threshold", 0.4)
        >>> doubts = Review((question,), {"a": {}, "b": {"label": "cat"}}, "label")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_review(doubts, f"{folder}/doubts.html")
        ...     "near the threshold" in Path(folder, "doubts.html").read_text("utf-8")
        True
    """
    items = {own: _told(own, known) for own, known in review.known.items()}
    questions = [
        {
            "left": one.left,
            "right": one.right,
            "distance": f"{one.distance:.6f}",
            "probability": "" if one.probability is None else f"{one.probability:.4f}",
            "why": one.why,
        }
        for one in review.questions
    ]
    page = render("review.html.j2", report={"title": title}, items=items, questions=questions)
    write_bytes(path, page.encode(errors="backslashreplace"))


def _told(own: str, known: Metadata) -> dict[str, Any]:
    # the id says it already, or nearly so
    told = for_people({name: value for name, value in known.items() if name != "path"})
    facts = {name: str(value) for name, value in told.items() if value is not None}
    return {"id": own, "facts": facts, "image": _image(known)}


def _image(known: Metadata) -> str:
    pixels = _thumbnail(picture_of(known), EMBEDDED)
    if pixels is None:
        return ""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
