"""Opening an index, against loading the same vectors with numpy; each in a fresh process.

./task bench open_index [--items 60000] [--rounds 15]

Modules are imported beforehand, in both. The files were written just before and are in the
system's cache: nothing is dropped from it. The first search maps the vectors in and measures their
lengths; it is told beside.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import ledger
from exact_search import clustered
from twinset.search.store import Items, Signature, create_store

OURS = """
import json, sys, time
import numpy as np
from twinset.search import sqlite
from twinset.search.store import open_store
query = np.full((1, 128), 128**-0.5, np.float32)
started = time.perf_counter()
store = open_store(sys.argv[1])
opened = time.perf_counter()
store.search(query)
searched = time.perf_counter()
print(json.dumps({"opening": opened - started, "first search": searched - opened}))
"""
NUMPY = """
import json, sys, time
import numpy as np
started = time.perf_counter()
np.load(sys.argv[1])
print(json.dumps({"numpy.load": time.perf_counter() - started}))
"""


def run(script, path):
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    vectors = clustered(options.items)
    seconds = {"opening": [], "first search": [], "numpy.load": []}
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, "vectors.npy"), vectors)
        with create_store(f"{folder}/photos.index", Signature("digest", 128)) as store:
            ids = [f"photos/{i:07}.jpg" for i in range(options.items)]
            store.add(Items(ids, vectors, [{"path": id_, "label": id_[-5]} for id_ in ids]))
        for _ in range(options.rounds):
            for script, name in ((OURS, "photos.index"), (NUMPY, "vectors.npy")):
                for what, took in run(script, Path(folder, name)).items():
                    seconds[what].append(took)
    print(ledger.machine())
    for what, times in seconds.items():
        ledger.say(f"{options.items:,} items, {what}, ms", ledger.spread([1000 * t for t in times]))
    ratio = statistics.median(seconds["opening"]) / statistics.median(seconds["numpy.load"])
    ledger.say(f"{options.items:,} items, opening / numpy.load", f"{ratio:.2f}")


if __name__ == "__main__":
    main()
