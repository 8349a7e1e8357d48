"""A writer to be killed, and what must hold after it."""

import signal
import subprocess
import sys

import numpy as np

from twinset.search.store import open_store

# Puts in, or replaces, 3 × 40 items a turn; says when a turn is over.
_WRITER = """
import sys
import numpy as np
from twinset.search.store import Items, open_store
store = open_store(sys.argv[1])
first = int(sys.argv[2])
print("ready", flush=True)
for turn in range(first, first + 1000):
    new = [f"{turn} {i}" for i in range(40)]
    vectors = np.full((40, 4), turn, np.float32)
    store.add(Items(new, vectors, [{"turn": turn}] * 40))
    store.add(Items([f"same {i}" for i in range(40)], vectors, [{"turn": turn}] * 40), replace=True)
    print(turn, flush=True)
"""


def kill_a_writer(url, *, first, turns, after=0.0):
    """Let a process write, kill it soon after it has said `turns` turns; return the last said."""
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, url, str(first)], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout.readline() == "ready\n"
        said = first - 1
        for _ in range(turns):
            said = int(process.stdout.readline())
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        later = process.stdout.read().split()
        return int(later[-1]) if later else said


def check_what_is_left(url, last):
    """Each batch is there whole or not at all, and all that was said to be there is."""
    with open_store(url) as store:
        items = [
            (id_, vector, known)
            for batch in store.batches(97)
            for id_, vector, known in zip(batch.ids, batch.vectors, batch.metadata, strict=True)
        ]
        assert len(items) == len(store)
        turns = {}
        for id_, vector, known in items:
            assert (vector == known["turn"]).all()
            turns.setdefault("same" if id_.startswith("same") else known["turn"], []).append(known)
        assert {len(batch) for batch in turns.values()} <= {40}
        same = turns.pop("same", [{"turn": 0}])
        assert len({known["turn"] for known in same}) == 1
        assert sorted(turns) == list(range(min(turns), max(turns) + 1))
        # the kill may have come within the next turn: before, between or behind its two writes
        assert max(turns) in (last, last + 1)
        assert same[0]["turn"] in (last, last + 1)
        hits = store.search(np.zeros((1, 4)), k=len(items) + 1)[0]
        assert sorted(hit.id for hit in hits) == sorted(id_ for id_, _, _ in items)
        return max(turns)


def check_states(url, stop, seen):
    """Read until told to stop: all items must be of one turn, whole."""
    with open_store(url) as store:
        while not stop.is_set():
            answers = store.search(np.zeros((8, 4)), k=1000)
            turns = {hit.metadata["turn"] for hits in answers for hit in hits}
            assert len(turns) == 1, turns
            assert [len(hits) for hits in answers] == [30] * 8
            seen |= turns
