"""A process that changes an index step by step, says so, and is killed; for tests and benchmark.

What each step does is a function of its number, so that the state after any step can be told.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from twinset.search.store import Items, Signature, Store, create_store, open_store

DIM = 16
SIGNATURE = Signature("digest", DIM)


def batch(step: int) -> Items:
    """Items of a step: of different numbers, most with metadata."""
    rng = np.random.default_rng(step)
    n = int(rng.integers(1, 120))
    return Items(
        [f"{step}/{i}" for i in range(n)],
        rng.normal(size=(n, DIM)).astype(np.float32),
        [{"step": step, "row": i} if i % 3 else {} for i in range(n)],
    )


def changes(step: int) -> tuple[list[str], Items, bool]:
    """Ids that a step removes, or items that it puts in, and whether they replace others."""
    if step % 4 == 3:  # most of what the last three put in
        return [id_ for s in (step - 3, step - 2) for id_ in batch(s).ids], None, False
    if step % 4 == 2 and step > 2:
        again = batch(step - 1)
        return [], Items(again.ids, -again.vectors, [{"again": step}] * len(again)), True
    return [], batch(step), False


def apply(store: Store, step: int) -> None:
    removed, items, replace = changes(step)
    if removed:
        store.remove(removed)
    else:
        store.add(items, replace=replace)


def apply_to_dict(state: dict, step: int) -> dict:
    """The same on a dictionary: id → bytes of the vector, metadata, in order."""
    removed, items, _ = changes(step)
    state = {id_: value for id_, value in state.items() if id_ not in set(removed)}
    if items is not None:
        for id_, vector, known in zip(items.ids, items.vectors, items.metadata, strict=True):
            state.pop(id_, None)
            state[id_] = (vector.tobytes(), dict(known))
    return state


def content(store: Store) -> dict:
    return {
        id_: (vector.tobytes(), dict(known))
        for items in store.batches(500)
        for id_, vector, known in zip(items.ids, items.vectors, items.metadata, strict=True)
    }


def check(folder: Path, before: dict, step: int) -> tuple[dict, int]:
    """Compare an index with what it may hold, with `before` acknowledged; return what it holds.

    Step `step` was in hand when its writer was killed: it is there whole, or not at all.
    """
    with open_store(str(folder)) as store:
        held = content(store)
        assert len(store) == len(held)
        after = apply_to_dict(before, step)
        assert list(held.items()) in (list(before.items()), list(after.items()))
        step += held == after and held != before
        some = list(held)[:: max(1, len(held) // 5)]
        queries = np.array([np.frombuffer(held[id_][0], np.float32) for id_ in some])
        for id_, hits in zip(some, store.search(queries.reshape(-1, DIM), k=1), strict=True):
            assert (hits[0].id, hits[0].distance) == (id_, 0.0)
        for number in range(max(0, step - 4), step):
            found = store.search(np.zeros((1, DIM)), k=10**6, where={"step": number})[0]
            held_of_it = {id_ for id_, (_, known) in held.items() if known.get("step") == number}
            assert {hit.id for hit in found} == held_of_it
    return held, step


def kill_many(folder: Path, times: int, seed: int) -> dict[str, int]:
    """Start a writer, kill it at a random moment, check; so many times. Count what happened."""
    rng = random.Random(seed)
    create_store(str(folder), SIGNATURE).close()
    held, step, unacknowledged = {}, 0, 0
    command = [sys.executable, __file__, str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as nursery:
        for _ in range(times):
            nursery.stdin.write(f"{step}\n")
            writer = int(nursery.stdout.readline())
            for _ in range(rng.randrange(4)):
                assert int(nursery.stdout.readline()) == step
                held, step = apply_to_dict(held, step), step + 1
            time.sleep(rng.random() * 0.02)
            os.kill(writer, signal.SIGKILL)
            while (line := nursery.stdout.readline().strip()) != "killed":
                assert int(line) == step
                held, step = apply_to_dict(held, step), step + 1
            acknowledged = step
            held, step = check(folder, held, step)
            unacknowledged += step - acknowledged
        nursery.stdin.close()
    return {"kills": times, "steps": step, "there though not acknowledged": unacknowledged}


def _nursery(folder: str) -> None:
    """Fork a writer for each line of stdin: importing anew would take longer than the writing."""
    for line in sys.stdin:
        writer = os.fork()
        if not writer:
            step = int(line)
            with open_store(folder) as store:
                while True:
                    apply(store, step)
                    os.write(1, f"{step}\n".encode())
                    step += 1
        os.write(1, f"{writer}\n".encode())
        _, status = os.waitpid(writer, 0)
        os.write(1, b"killed\n" if os.WIFSIGNALED(status) else b"failed\n")


if __name__ == "__main__":
    _nursery(sys.argv[1])
