"""An index in Milvus switched to another model: one new state that names another collection."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from twinset.search.milvus import catalogue
from twinset.search.milvus.address import Address
from twinset.search.milvus.catalogue import LEAP, State


def exchange(client: Any, place: Address, state: State, other: State) -> State | None:
    """Put other items in the place of those of a state; None if another has written meanwhile."""
    catalogue.load(client, place, other.collection)  # those before may not be, on a server
    new = replace(
        other,
        version=state.version + LEAP,
        keeper=state.records,
        before=replace(state, keeper="", before=None, since=0.0),
        since=time.time(),
    )
    return catalogue.supersede(client, place, state, new)


def let_go(client: Any, place: Address, state: State) -> None:
    """Remove what no longer counts: the state beside, once its items are taken, and the rest."""
    # a switch that was killed has left it: whoever went on to fill it would change our items
    named = {each.collection for each in (state, state.before) if each is not None}
    if named & catalogue.collections(client, place.beside):
        catalogue.withdraw(client, place.beside)
    catalogue.sweep(client, place)
