"""What a writer knows of the ids of an index, so that a load need not ask for each of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from twinset.search.milvus.catalogue import State
from twinset.search.milvus.rows import key

# Of so many items keys are kept, 8 bytes each.
_MOST = 10_000_000


class KnownKeys:
    """The keys of all ids that may be in an index, for as long as nobody else writes."""

    def __init__(self) -> None:
        self._state: tuple[str, int] | None = None  # of which this is so
        self._keys = np.empty(0, np.int64)  # sorted

    def maybe(self, ids: Sequence[str], state: State) -> Sequence[str]:
        """Tell which of some ids may be there: all where nothing is known."""
        if state.count == 0:
            return ()
        if self._state != _of(state):
            return ids
        keys = _keys(ids)
        at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return [ids[place] for place in np.flatnonzero(self._keys[at] == keys).tolist()]

    def grown(self, ids: Sequence[str], before: State, after: State) -> None:
        """Note that ids were put in."""
        if before.count == 0:
            self._keys = np.unique(_keys(ids))
        elif self._state == _of(before):
            self._keys = np.union1d(self._keys, _keys(ids))
        else:
            return
        self._state = _of(after)
        if len(self._keys) > _MOST:
            self._state, self._keys = None, self._keys[:0]


def _of(state: State) -> tuple[str, int]:
    return state.collection, state.version


def _keys(ids: Sequence[str]) -> NDArray[np.int64]:
    return np.array([key(id_) for id_ in ids], np.int64)
