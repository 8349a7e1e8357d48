"""Names that a recipe or a command line uses, and the code behind them, ours and other people's."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Callable, Collection
from functools import cached_property, lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from twinset.errors import RecipeError, TwinsetError


class Registry:
    """Names of one kind of thing, each with the place that it is loaded from.

    Built-in names are places in a table, `"module:attribute"`, so that nothing is imported before
    it is used. Others come from packages that declare an entry point in the group.
    """

    def __init__(
        self,
        kind: str,  # of thing, for messages: "loss"
        group: str,  # of entry points: "twinset.losses"
        builtin: Callable[[], dict[str, str]],  # name → "module:attribute"
        error: type[TwinsetError] = RecipeError,  # of a name that is unknown or cannot be loaded
    ) -> None:
        self.kind = kind
        self.group = group
        self._builtin = builtin
        self._error = error

    @cached_property
    def _ours(self) -> dict[str, EntryPoint]:
        return {
            name: EntryPoint(name, place, self.group) for name, place in self._builtin().items()
        }

    @property
    def _places(self) -> dict[str, EntryPoint]:
        # ours win: a package that shadows "triplet" would change what every saved recipe means
        return _installed(self.group, tuple(sys.path)) | self._ours

    def names(self) -> list[str]:
        """List all names, sorted."""
        return sorted(self._places)

    def __contains__(self, name: object) -> bool:
        # theirs are looked for only where ours do not do: that reads a file of each package
        return name in self._ours or name in self._places

    def load(self, name: str) -> Any:
        """Import what a name stands for; errors are of this registry's class."""
        if name not in self:
            hint = suggestion(str(name), self._places)
            raise self._error(
                f"Expected a {self.kind} out of {self.names()}. Received {name!r}{hint}."
            )
        entry = self._ours[name] if name in self._ours else self._places[name]
        try:
            return getattr(importlib.import_module(entry.module), entry.attr)
        except (ImportError, AttributeError) as error:
            raise self._error(
                f"The {self.kind} {name!r} is declared as {entry.value!r} but cannot be loaded: "
                f"{error}. Install or upgrade the package that declares it."
            ) from error


@lru_cache
def _installed(group: str, path: tuple[str, ...]) -> dict[str, EntryPoint]:
    # by the path, as notebooks and tests add folders to it after the first look
    del path
    return {entry.name: entry for entry in entry_points(group=group)}


def suggestion(word: str, known: Collection[str]) -> str:
    """Guess what a misspelt word was meant to be, for the end of a message; "" without an idea."""
    near = difflib.get_close_matches(word, known, 1)
    return f" (did you mean {near[0]!r}?)" if near else ""
