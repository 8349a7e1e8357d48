"""What all pages share: pictures, how numbers and facts are written, one set of templates."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinset.errors import DataError, no_drawing
from twinset.files import plain, write_bytes

if TYPE_CHECKING:
    from jinja2 import Environment


@dataclass(frozen=True)
class Picture:
    """One picture of a report."""

    name: str  # of its file, without ".png"; unique in the report, whose page shows it as words
    caption: str  # what to see in it
    png: bytes  # as `twinset.figures.png_bytes` makes them; empty where nothing can be drawn
    notes: tuple[str, ...] = ()  # sentences on what it shows, each a point of a list

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w[\w-]*", self.name, re.ASCII):
            raise DataError(
                "Expected letters, digits, - and _ as the name of a picture, which names its file. "
                f"Received {self.name!r}."
            )
        is_png = self.png[:8] == b"\x89PNG\r\n\x1a\n" and self.png[12:16] == b"IHDR"
        if self.png and not is_png:
            raise DataError(
                f"Expected the bytes of a PNG file as picture {self.name!r}. "
                f"Received {len(self.png)} bytes that begin with {self.png[:8]!r}."
            )

    @property
    def title(self) -> str:
        """The name as people write it."""
        special = {"roc": "ROC curve", "det": "DET curve"}
        return special.get(self.name, re.sub("[_-]+", " ", self.name).strip().capitalize())

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, which the page reserves before the picture is decoded."""
        # the header's first fields
        return int.from_bytes(self.png[16:20]), int.from_bytes(self.png[20:24])

    @property
    def data_uri(self) -> str:
        """The picture as a URI that needs no file beside the page."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode()

    def write(self, folder: str | Path) -> None:
        """Write `<name>.png` into a folder, in one step, if there is one."""
        if self.png:
            write_bytes(Path(folder) / f"{self.name}.png", self.png)


def check_names(pictures: Sequence[Picture]) -> None:
    """Refuse two pictures of one name, which would be one file."""
    names = [picture.name for picture in pictures]
    if len(set(names)) < len(names):
        raise DataError(f"Expected pictures of different names. Received {names}.")


def render(template: str, **values: Any) -> str:
    """Write a page that needs no network, no script and no other file."""
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    # here, as `import twinset.report` need not pay for it
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("twinset.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["no_drawing"] = no_drawing()
    environment.filters |= {"as": number_text, "fact": fact, "percent": percent}
    return environment


def number_text(value: float | None, spec: str) -> str:
    """Write a number for people; one that is not finite is not defined."""
    return "not defined" if value is None or not math.isfinite(value) else format(value, spec)


def percent(rate: float) -> str:
    """Write a share in four significant digits at most."""
    return f"{100 * rate:.4g}%"


def fact(value: Any) -> str:
    """Write a fact for people: thousands apart, four significant digits."""
    value = plain(value)
    if value is None:
        return "not defined"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {fact(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(fact, value))
    if isinstance(value, str | bool):
        return str(value)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def one_line(text: str) -> str:
    """Keep control characters, such as a terminal's escape sequences, out of a line."""
    return "".join(c if c.isprintable() else " " for c in text)
