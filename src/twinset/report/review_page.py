"""The page on which a person answers the questions of a review: one file, keys, and a table out."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

from PIL import Image

from twinset.data.image_sources import picture_of
from twinset.files import write_bytes
from twinset.report.index_pictures import thumbnail
from twinset.report.page import render
from twinset.search.answer import for_people
from twinset.search.checked import Metadata
from twinset.search.review import Review

SIDE = 256  # pixels of an embedded image


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
        >>> from twinset.search.review import Question, Review
        >>> question = Question("a", "b", 0.5, 0.4, "near the threshold", 0.4)
        >>> write_review(Review((question,), {"a": {}, "b": {"label": "cat"}}, "label"), "r.html")
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
    pixels = thumbnail(picture_of(known), SIDE)
    if pixels is None:
        return ""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
