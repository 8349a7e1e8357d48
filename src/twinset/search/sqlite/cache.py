"""The approximate index of a folder store: a file that can be built anew at any time."""

from __future__ import annotations

from pathlib import Path

from twinset.nearest import Matrix
from twinset.search.approximate import Approximate, build, load, save
from twinset.search.sqlite.database import State

NAME = "approximate.faiss"


class Cache:
    """The file, read when it is first needed, and again when another took its place."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._key: object = None
        self._held: Approximate | None = None

    def find(self, state: State) -> Approximate | None:
        """Return the index, if it is of these vectors; None if not, or if it is damaged."""
        try:
            file = self._path.stat()
        except OSError:
            self._key = self._held = None
            return None
        key = (file.st_ino, file.st_mtime_ns, file.st_size, state.identity, state.generation)
        if key != self._key:
            self._held = load(self._path, _stamp(state))
            self._key = key
        return self._held

    def build(self, state: State, matrix: Matrix, recall: float) -> Approximate:
        """Build the index and write its file."""
        made = build(matrix, recall)
        save(self._path, made, _stamp(state))
        return made


def _stamp(state: State) -> dict[str, str | int]:
    # vectors of one generation never change: the first so many rows are those that it was built of
    return {"identity": state.identity, "generation": state.generation}
