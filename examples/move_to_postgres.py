"""Move an index from a folder to Postgres, where many programs write and search at once.

Usage: python move_to_postgres.py [postgresql://user@host/database?index=NAME]
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

import twinset
from twinset.search.store import create_store, open_store

train, test = twinset.load_fashion_mnist()
model = twinset.fit(train.subset(np.arange(6000)), recipe="fast", epochs=4)


def move(source: str, target: str) -> int:
    """Copy all items from one store to another: any place can be either."""
    with open_store(source) as old, create_store(target, old.signature) as new:
        for items in old.batches():
            new.add(items)
        return len(new)


with tempfile.TemporaryDirectory() as folder:
    here, there = str(Path(folder, "photos.index")), str(Path(folder, "moved.index"))
    target = sys.argv[1] if len(sys.argv) > 1 else there
    twinset.Index.build(model, test.subset(np.arange(500)), here).close()
    print(move(here, target), "items moved")

    # a database keeps no model: name the one that made the embeddings
    with twinset.Index.open(here) as old, twinset.Index.open(target, model) as new:
        queries = model.embed(test.images[600:610])
        print("the same answers:", old.search(queries) == new.search(queries))
