"""A store as somebody else might write one: all items in a JSON file, read and written whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np

from twinset.files import write_bytes
from twinset.search.candidates import Candidates, nearest
from twinset.search.store import (
    Items,
    Neighbour,
    Request,
    Signature,
    Store,
    closed,
    known_ids,
    missing,
    taken,
    unknown_ids,
)


class JsonStore(Store):
    """Items in the file that a URL names: json://path/of/file.json."""

    def __init__(self, path: Path) -> None:
        self._path: Path | None = path
        self.signature = Signature(*self._read()["signature"])

    @classmethod
    def open(cls, url: str) -> Self:
        path = Path(url.removeprefix("json://"))
        if not path.is_file():
            raise missing(path, "no such file")
        return cls(path)

    @classmethod
    def create(cls, url: str, signature: Signature, *, overwrite: bool = False) -> Self:
        path = Path(url.removeprefix("json://"))
        if path.exists() and not overwrite:
            raise taken(path, "file")
        bound = [signature.model, signature.dim]
        write_bytes(path, json.dumps({"signature": bound, "rows": [], "records": []}).encode())
        return cls(path)

    def __len__(self) -> int:
        return len(self._read()["rows"])

    def close(self) -> None:
        self._path = None

    def _read(self) -> dict:
        if self._path is None:
            raise closed()
        return json.loads(self._path.read_text("utf-8"))

    def _change(self, gone: set[str], new: list) -> None:
        kept = self._read()
        kept["rows"] = [row for row in kept["rows"] if row[0] not in gone] + new
        write_bytes(self._path, json.dumps(kept).encode())

    def _held(self) -> Candidates:
        rows = self._read()["rows"]
        vectors = np.array([row[1] for row in rows], np.float32).reshape(-1, self.signature.dim)
        ids, metadata = [row[0] for row in rows], [row[2] for row in rows]
        return Candidates(np.arange(len(rows)), ids, vectors, metadata)

    def _add(self, items: Items, replace: bool) -> None:
        there = set(self._held().ids)
        if again := [id_ for id_ in items.ids if id_ in there and not replace]:
            raise known_ids(again)
        known = map(dict, items.metadata)
        new = zip(items.ids, items.vectors.tolist(), known, strict=True)
        self._change(set(items.ids), [list(row) for row in new])

    def _remove(self, ids: tuple[str, ...]) -> None:
        there = set(self._held().ids)
        if missing := [id_ for id_ in ids if id_ not in there]:
            raise unknown_ids(missing, "remove")
        self._change(set(ids), [])

    def _get(self, ids: tuple[str, ...]) -> Items:
        return self._held().named(ids)

    def _search(self, request: Request) -> list[list[Neighbour]]:
        held = self._held().that_hold(request.where)
        return [nearest(query, held, request.k, request.within) for query in request.queries]

    def _record(self, kind: str, texts: tuple[str, ...]) -> None:
        kept = self._read()
        kept["records"] += [[kind, text] for text in texts]
        write_bytes(self._path, json.dumps(kept).encode())

    def _records(self, kind: str) -> list[str]:
        return [text for own, text in self._read()["records"] if own == kind]

    def _batches(self, size: int) -> Iterator[Items]:
        held = self._held()
        for start in range(0, len(held), size):
            yield held.take(range(start, min(start + size, len(held)))).items()
