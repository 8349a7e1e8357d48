"""One writer of an index at a time, over all processes and machines: tickets in the catalogue.

Lamport (1974), A New Solution of Dijkstra's Concurrent Programming Problem: who wants to write says
that it chooses, takes a number above all that it sees, and waits for those with smaller ones. It
needs no more than that a read sees all that was written before it, which Milvus calls Strong. Who
sees nobody else takes no number: all who come later see that it chooses, and wait.

A ticket that has not changed for as long as the time-out is of a writer that died. The next one
passes it over, and makes good what the dead one may still do: see `State.fenced`.
"""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from twinset.errors import StoreError
from twinset.search.milvus.address import Address
from twinset.search.milvus.catalogue import CATALOGUE, named

# Numbers of tickets: one is being chosen, or its writer saw nobody else; and its writer broke off,
# so nobody need wait.
_CHOOSING, _BROKEN = 0, -1


@dataclass
class Lease:
    """What the one writer holds."""

    client: Any
    place: Address
    writer: str = field(default_factory=lambda: secrets.token_hex(4))
    number: int = _CHOOSING
    beat: int = 0  # grows with each renewal: others see that this writer lives
    told: float = -1e9  # when it was renewed, by this machine's clock
    dead: tuple[str, ...] = ()  # keys of the tickets that were passed over

    @property
    def name(self) -> str:
        """By what tickets are found in the catalogue; no index has such a name."""
        return f"{self.place.main.index}/writers"

    def renew(self) -> None:
        """Say that this writer lives, where it is time to."""
        if not self.place.local and time.monotonic() - self.told > self.place.timeout / 4:
            self.tell(self.number)

    def tell(self, number: int) -> None:
        """Put the ticket in anew."""
        before = self._key
        self.number, self.beat = number, self.beat + 1
        row = {
            "key": self._key,
            "name": self.name,
            "embedding": [0.0, 0.0],
            "content": {"writer": self.writer, "beat": self.beat, "number": number},
        }
        self.client.insert(CATALOGUE, [row])
        self.told = time.monotonic()
        if self.beat > 1:
            self.drop(before)

    def drop(self, *keys: str) -> None:
        """Delete tickets; this writer's own where none is named."""
        gone = list(keys) or [self._key]
        self.client.delete(CATALOGUE, ids=gone)

    @property
    def _key(self) -> str:
        return f"{self.name}/{self.writer}/{self.beat}"


# Of an index: what the threads of this process wait for, and the lease of the one that writes.
_turns: defaultdict[tuple[str, str, str], threading.RLock] = defaultdict(threading.RLock)
_held: dict[tuple[str, str, str], Lease] = {}
_lock = threading.Lock()


@contextmanager
def writing(client: Any, place: Address) -> Iterator[Lease]:
    """Be the one writer of an index and of the one beside it; within itself, the same one."""
    this = place.server, place.database, place.main.index
    with _lock:
        turn = _turns[this]
    with turn:
        if this in _held:
            yield _held[this]
            return
        # a file of Milvus Lite serves one process at a time
        _held[this] = lease = Lease(client, place)
        try:
            if not place.local:
                _wait(lease)
            yield lease
        except StoreError:  # we broke off, and know what was sent
            _release(lease)
            raise
        except BaseException:
            # a request may still arrive: the next writer is to treat us as dead
            with suppress(Exception):
                if not place.local:
                    lease.tell(_BROKEN)
            raise
        else:
            _release(lease)
        finally:
            del _held[this]


def _release(lease: Lease) -> None:
    if not lease.place.local:
        lease.drop()


def _wait(lease: Lease) -> None:
    lease.tell(_CHOOSING)
    mine, tickets = _others(lease)
    if not mine:
        return _again(lease)
    if not tickets:
        return None
    lease.tell(1 + max([number for number, _ in tickets.values()], default=0))
    began, seen = time.monotonic(), dict[str, float]()
    patience = lease.place.timeout
    while True:
        mine, tickets = _others(lease)
        if not mine:
            return _again(lease)
        now = time.monotonic()
        seen = {key: seen.get(key, now) for _, key in tickets.values()}
        dead = {
            key
            for number, key in tickets.values()
            if number == _BROKEN or now - seen[key] > patience
        }
        before = [
            writer
            for writer, (number, key) in tickets.items()
            if key not in dead and (number, writer) < (lease.number, lease.writer)
        ]
        if not before:
            lease.dead = tuple(dead)
            return None
        if now - began > 1.5 * patience:
            raise StoreError(
                f"Another writer has held {lease.place.shown} for {1.5 * patience:g} seconds. "
                "Nothing was changed: try again when it is done."
            )
        lease.renew()
        time.sleep(random.uniform(0.02, 0.1))


def _again(lease: Lease) -> None:
    # we slept for so long that another took us for dead
    lease.writer, lease.beat = secrets.token_hex(4), 0
    _wait(lease)


def _others(lease: Lease) -> tuple[bool, dict[str, tuple[int, str]]]:
    # Read the newest ticket of each other writer: its number and key; and whether ours is there.
    rows = named(lease.client, lease.name, "Strong")
    newest: dict[str, tuple[int, int, str]] = {}
    for key, row in rows.items():
        found = int(row["beat"]), int(row["number"]), key
        newest[row["writer"]] = max(found, newest.get(row["writer"], found))
    mine = newest.pop(lease.writer, None)
    return mine is not None, {writer: each[1:] for writer, each in newest.items()}
