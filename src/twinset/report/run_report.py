"""What a run achieved: one JSON file for machines, one self-contained HTML file for people."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from twinset import files as atomic
from twinset import tables
from twinset.errors import DataError
from twinset.files import plain

if TYPE_CHECKING:
    from twinset.metrics.pairs import PairScores

Fact: TypeAlias = str | int | float


@dataclass(frozen=True)
class Picture:
    """Holds one picture of the report.

    Args:
        name: its file's name without ".png", such as "test_pairs"; unique in the report. The page
            shows it as words.
        caption: what to see in it.
        png: the file's bytes, as `twinset.figures.png_bytes` makes them.
        notes: sentences on what it shows, each a point of a list. Defaults to none.

    Raises:
        DataError: the name does not fit a file, or the bytes are no PNG.
    """

    name: str
    caption: str
    png: bytes
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w[\w-]*", self.name, re.ASCII):
            raise DataError(
                "Expected letters, digits, - and _ as the name of a picture, which names its file. "
                f"Received {self.name!r}."
            )
        if self.png[:8] != b"\x89PNG\r\n\x1a\n" or self.png[12:16] != b"IHDR":
            raise DataError(
                f"Expected the bytes of a PNG file as picture {self.name!r}. "
                f"Received {len(self.png)} bytes that begin with {self.png[:8]!r}."
            )

    @property
    def title(self) -> str:
        """The name as people write it."""
        return re.sub("[_-]+", " ", self.name).strip().capitalize()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, which the page reserves before the picture is decoded."""
        return int.from_bytes(self.png[16:20]), int.from_bytes(self.png[20:24])

    @property
    def data_uri(self) -> str:
        """The picture as a URI that needs no file beside the page."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode()

    def write(self, folder: str | Path) -> None:
        """Write `<name>.png` into a folder, in one step."""
        atomic.write_bytes(Path(folder) / f"{self.name}.png", self.png)


@dataclass(frozen=True)
class Measure:
    """Says how one field of `PairScores` is called, written and explained.

    Args:
        field: name of the field.
        label: what people call it.
        format: format specification of a finite value.
        meaning: what it is and which way is better.
        counts: fields of the numerator and the denominator, for a rate. Defaults to none.
    """

    field: str
    label: str
    format: str
    meaning: str
    counts: tuple[str, str] | None = None

    def text(self, scores: PairScores) -> str:
        """Write the value as page and terminal show it."""
        value = getattr(scores, self.field)
        return format(value, self.format) if math.isfinite(value) else "not defined"

    def fraction(self, scores: PairScores) -> str:
        """Write a rate as "part of whole", so that it is plain how much it rests on."""
        if self.counts is None:
            return ""
        part, whole = (getattr(scores, field) for field in self.counts)
        return f"{part:,} of {whole:,}"


ACCURACY = Measure(
    "accuracy", "Accuracy", ".2%", "Right verdicts among all pairs; higher is better."
)
MEASURES = (
    ACCURACY,
    Measure(
        "false_match_rate",
        "False match rate",
        ".2%",
        "Different pairs taken for the same; lower is better.",
        ("false_matches", "negatives"),
    ),
    Measure(
        "false_non_match_rate",
        "False non-match rate",
        ".2%",
        "Same pairs taken for different; lower is better.",
        ("false_non_matches", "positives"),
    ),
    Measure(
        "auc",
        "ROC AUC",
        ".4f",
        "Chance that a same pair is closer than a different pair, both picked at random: 0.5 is "
        "guessing, 1 is perfect. No threshold plays a part.",
    ),
    Measure("threshold", "Threshold", ",.6g", "Two images match at this distance or less."),
)


@dataclass(frozen=True)
class Report:
    """Gathers the scores of a run, the floor they stand on, and how they came about.

    Args:
        title: names the run, such as "twinset run: tutorial on fashion-mnist".
        scores: the model's scores on the test pairs.
        floor: the scores of raw pixels on the same pairs; a model that does not beat them has
            learned nothing.
        threshold_rule: a sentence that says where the model's threshold comes from.
        pictures: in the order of the page.
        facts: sections of keys and values (data, recipe, training, versions), in the order of
            the page.
        floor_name: what the floor is. Defaults to "raw pixels".
        schema: version of the JSON file.

    Raises:
        DataError: two pictures have one name, or a fact is neither text nor number.
    """

    title: str
    scores: PairScores
    floor: PairScores
    threshold_rule: str
    pictures: tuple[Picture, ...]
    facts: Mapping[str, Mapping[str, Fact]]
    floor_name: str = "raw pixels"
    schema: int = 1

    def __post_init__(self) -> None:
        names = [picture.name for picture in self.pictures]
        if len(set(names)) < len(names):
            raise DataError(f"Expected pictures of different names. Received {names}.")
        for section, facts in self.facts.items():
            for key, value in facts.items():
                if not isinstance(value, str | int | float | np.number):
                    raise DataError(
                        f"Expected text or a number as fact {key!r} of {section!r}. "
                        f"Received {type(value).__name__}."
                    )

    def to_dict(self) -> dict[str, Any]:
        """Return what the JSON file holds: everything but the pixels, in plain Python types.

        Schema 1:

        - `schema`: 1.
        - `title`, `threshold_rule`, `floor_name`: text.
        - `scores`, `floor`: objects with the fields of `PairScores`; rates are in [0, 1].
        - `pictures`: list of objects with `name`, `caption` and `notes`, in the order of the page.
        - `facts`: object of sections, each an object of text and numbers.

        A number that is not finite is None, in JSON null.
        """
        content: dict[str, Any] = plain(
            {
                "schema": self.schema,
                "title": self.title,
                "threshold_rule": self.threshold_rule,
                "scores": asdict(self.scores),
                "floor": asdict(self.floor),
                "floor_name": self.floor_name,
                "pictures": [
                    {"name": each.name, "caption": each.caption, "notes": each.notes}
                    for each in self.pictures
                ],
                "facts": self.facts,
            }
        )
        return content

    def to_json(self) -> str:
        """Write `to_dict` as JSON with sorted keys."""
        return json.dumps(
            self.to_dict(), ensure_ascii=False, allow_nan=False, indent=2, sort_keys=True
        )

    def write_json(self, path: str | Path) -> None:
        """Write the JSON file in one step."""
        # half a character of a broken file name becomes \udcXX, which is how JSON spells it
        atomic.write_bytes(path, f"{self.to_json()}\n".encode(errors="backslashreplace"))

    def to_html(self) -> str:
        """Write the report as one page that needs no network, no script and no other file."""
        # here, as `import twinset.metrics` need not pay for it
        from jinja2 import Environment, PackageLoader, StrictUndefined

        environment = Environment(
            loader=PackageLoader("twinset.report", "."),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters["fact"] = _fact
        page = environment.get_template("report.html.j2")
        return page.render(report=self, accuracy=ACCURACY, measures=MEASURES)

    def write_html(self, path: str | Path) -> None:
        """Write the page in one step."""
        atomic.write_bytes(path, self.to_html().encode(errors="replace"))

    def summary(self) -> str:
        """Lay the scores out as an aligned table of plain text, for a terminal."""
        rows = [(each.label, each.text(self.scores), each.text(self.floor)) for each in MEASURES]
        return "\n".join(
            [
                _one_line(self.title),
                f"* Accuracy on test set: {ACCURACY.text(self.scores)} "
                f"({self.right:,} of {self.scores.pairs:,} pairs)",
                "",
                tables.text(("", ">model", f">{self.floor_name}"), rows),
                "",
                f"Threshold of the model: {_one_line(self.threshold_rule)}",
            ]
        )

    @property
    def right(self) -> int:
        """The number of right verdicts."""
        return self.scores.pairs - self.scores.false_matches - self.scores.false_non_matches

    @property
    def guessing(self) -> float:
        """The accuracy of giving the commoner answer to every pair."""
        return max(self.scores.positives, self.scores.negatives) / self.scores.pairs


def _fact(value: Fact) -> str:
    """Write a fact for people: thousands apart, four significant digits."""
    value = plain(value)
    if value is None:
        return "not defined"
    if isinstance(value, str | bool):
        return str(value)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _one_line(text: str) -> str:
    """Keep control characters, such as a terminal's escape sequences, out of a line."""
    return "".join(c if c.isprintable() else " " for c in text)
