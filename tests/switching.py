"""A process that switches an index to another model and back, and is killed; test and benchmark."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from halves import Halves, write
from twinset.models import onnx_model
from twinset.search.index import Index
from twinset.search.store import open_store, scheme_of

ITEMS = 200


class Left(Halves):
    """Another model: the lower half counts a tenth."""

    def encode(self, pixels):
        return super().encode(pixels) * np.float32([1, 0.1])


def loaded(folder):
    """Load either model from the copy that an index keeps."""
    held = Halves.load(folder)
    return Left(held.digest, held.threshold.value) if held.digest == "left" else held


MODELS = {"left": lambda: Left("left"), "halves": Halves}


def opened(place):
    """Open an index with the model that made what it holds, as a database keeps none."""
    with open_store(place) as store:
        made = MODELS[store.signature.model]()
    return Index.open(place, made if scheme_of(place) else None)


def kill_many(folder, times, seed, place=None):
    """Kill a switching process so many times; count by whom the index answered afterwards.

    The caller has `loaded` in the place of `load_model`.
    """
    place = place or str(folder / "photos.index")
    for number in range(ITEMS):
        write(folder / f"photos/{number}.png", number / ITEMS, 1 - number / ITEMS)
    with Index.build(Halves(), folder / "photos", place) as index:
        index.decide([("0.png", "1.png", True)], who="first")
    rng, seen = random.Random(seed), {"halves": 0, "left": 0, "half embedded": 0}
    longest = 0.0
    for turn in range(times):
        command = [sys.executable, __file__, place]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "ready\n"
            if not longest:  # the first one tells how long a switch takes here
                began = time.perf_counter()
                assert process.stdout.readline() == "switched\n"
                longest = 1.4 * (time.perf_counter() - began)
            time.sleep(rng.random() * longest)
            process.kill()
        seen["half embedded"] += Path(place, "next").exists()
        with opened(place) as index:
            seen[index.store.signature.model] += 1
            check(index)
            who = [one.who for one in index.decisions(all=True)]
            assert who == ["first", *map(str, range(turn))]
            index.decide([("0.png", "1.png", bool(turn % 2))], who=str(turn))
            if index.store.signature.model == "left":
                index.roll_back()
    return seen


def check(index):
    """Every answer is that of the model that is named, and of no other."""
    paths = {own: known["path"] for own, known in index.items()}
    assert len(paths) == len(index) == ITEMS
    made = MODELS[index.model.digest]()
    expected = made.embed(list(paths.values()))
    np.testing.assert_array_equal(index.get(list(paths)).vectors, expected)
    for own, hits in zip(paths, index.store.search(expected, k=1), strict=True):
        assert (hits[0].id, hits[0].distance) == (own, 0)


if __name__ == "__main__":
    onnx_model.load_model = loaded
    with opened(sys.argv[1]) as index:
        os.write(1, b"ready\n")
        index.switch(Left("left"), sample=10)
        os.write(1, b"switched\n")
        while True:
            index.roll_back()
