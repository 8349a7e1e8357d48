"""Operating points: thresholds that people named and keep with an index."""

from __future__ import annotations

import getpass
import re
import threading
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from twinset.decision import Threshold
from twinset.errors import StoreError
from twinset.search.store import Store

KIND = "points"  # of the store's records; of each name the last one counts
_NAME = re.compile(r"\w[\w .-]{0,59}")


@dataclass(frozen=True)
class Point:
    """A threshold with a name."""

    name: str
    threshold: float | None  # None: the point was taken away
    who: str  # saved it; "" where nobody is named
    when: str  # UTC, ISO 8601
    model: str  # digest of the model whose distances it is about

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return asdict(self)


class Pointing:
    """The part of `Index` that is about operating points."""

    store: Store
    _turn: threading.RLock

    if TYPE_CHECKING:

        @property
        def threshold(self) -> Threshold:
            """At most this distance is a match."""

    def points(self) -> dict[str, Point]:
        """List the operating points by name; those of another model are left out."""
        found = dict[str, Point]()
        known = {each.name for each in fields(Point)}
        for record in self.store.records(KIND):
            one = Point(**{name: value for name, value in record.items() if name in known})
            found.pop(one.name, None)
            if one.threshold is not None and one.model == self.store.signature.model:
                found[one.name] = one
        return found

    def threshold_at(self, point: str | None) -> Threshold:
        """Return the threshold of an operating point; the index's own for None.

        Raises:
            StoreError: no such point; the message lists those there are.
        """
        if point is None:
            return self.threshold
        found = self.points()
        if point not in found:
            known = ", ".join(map(repr, found)) or "none yet"
            raise StoreError(
                f"Expected the name of an operating point ({known}). Received {point!r}: leave it "
                "out for the threshold of the index, or save a point of this name."
            )
        return Threshold(float(found[point].threshold or 0.0), f"operating point {point}")

    def save_point(self, name: str, threshold: float, *, who: str | None = None) -> Point:
        """Name a threshold, so that later questions can ask by it; one of the name is replaced.

        Args:
            name: up to 60 letters, digits, spaces, dots, "-" and "_"; a letter or digit first.
            threshold: the largest distance that is a match there, 0 or more.
            who: saves it. Defaults to the name of the user who runs this.

        Raises:
            StoreError: another kind of name or number, or the store keeps no records.

        Example:
            >>> import numpy as np, twinset
            >>> pixels = np.stack([np.full((4, 4), 85 * i, np.uint8) for i in range(4)])
            >>> grays = twinset.LabelledImages(pixels, [0, 0, 1, 1], ("dark", "light"), "grays")
            >>> model = twinset.fit(grays, epochs=1, encoder={"units": [8]})
            >>> with twinset.Index.build(model, grays) as index:
            ...     _ = index.save_point("strict", 0.25, who="anna")
            ...     answer = index.search(pixels[2], k=1, point="strict")
            >>> answer.threshold.value, answer.threshold.rule
            (0.25, 'operating point strict')
        """
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name != name.strip():
            raise StoreError(
                "Expected a name of 1 to 60 letters, digits, spaces, dots, hyphens and "
                f"underscores, a letter or digit first. Received {name!r}."
            )
        number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
        if not (number and 0 <= threshold < float("inf")):
            raise StoreError(f"Expected a threshold of 0 or more. Received {threshold!r}.")
        return self._record_point(name, float(threshold), who)

    def remove_point(self, name: str, *, who: str | None = None) -> None:
        """Take an operating point away.

        Raises:
            StoreError: no such point.
        """
        self.threshold_at(name)
        self._record_point(name, None, who)

    def _record_point(self, name: str, threshold: float | None, who: str | None) -> Point:
        when = datetime.now(UTC).isoformat(timespec="seconds")
        made = Point(name, threshold, this_user() if who is None else who, when, self._digest())
        with self._turn:
            self.store.record(KIND, [made.to_dict()])
        return made

    def _digest(self) -> str:
        return self.store.signature.model


def this_user() -> str:
    """Name the user who runs this; "" where there is none."""
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # a container without users, Windows without a name
        return ""
