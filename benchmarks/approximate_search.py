"""Approximate search beside faiss' HNSW and hnswlib: build, memory, recall@10, queries per second.

./task bench approximate_search [--items 1000000] [--recall 0.95]

Vectors as in exact_search.py, around 2,000 centres, and 1,000 others as queries. Each contestant
is built in a process of its own; memory is what that grew by, over the vectors themselves, which
ours leaves where they are (faiss and hnswlib copy them). Each is set, by doubling its width of
search, to the least that reaches the recall, measured against exact search. Queries are asked one
by one on one thread, and as one batch on all. Ours includes the exact distances it returns.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import ledger
from exact_search import clustered

K = 10
CONTESTANTS = ("ours", "faiss HNSW", "hnswlib")


def resident():
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1000


def ours(vectors, recall):
    from twinset.nearest import Matrix
    from twinset.search import approximate

    matrix = Matrix(vectors)
    approximate.package()
    before = resident()
    started = time.perf_counter()
    made = approximate.build(matrix, recall)
    seconds = time.perf_counter() - started

    def search(queries, width):
        made.faiss.nprobe = width
        return made.search(matrix, queries, K, None).positions.reshape(-1, K)

    return search, seconds, resident() - before, 1


def faiss_hnsw(vectors, recall):
    import faiss

    index = faiss.IndexHNSWFlat(vectors.shape[1], 16)
    before = resident()
    started = time.perf_counter()
    index.add(vectors)
    seconds = time.perf_counter() - started

    def search(queries, width):
        faiss.omp_set_num_threads(1 if len(queries) == 1 else THREADS)
        index.hnsw.efSearch = width
        return index.search(queries, K)[1]

    return search, seconds, resident() - before, K


def hnswlib_(vectors, recall):
    import hnswlib

    index = hnswlib.Index("l2", vectors.shape[1])
    before = resident()
    started = time.perf_counter()
    index.init_index(len(vectors), ef_construction=200, M=16)
    index.add_items(vectors)
    seconds = time.perf_counter() - started

    def search(queries, width):
        index.set_ef(width)
        return index.knn_query(queries, K, num_threads=1 if len(queries) == 1 else THREADS)[0]

    return search, seconds, resident() - before, K


BUILDERS = dict(zip(CONTESTANTS, (ours, faiss_hnsw, hnswlib_), strict=True))
THREADS = len(__import__("os").sched_getaffinity(0))


def agreement(found, truth):
    rows = zip(found.tolist(), truth.tolist(), strict=True)
    return sum(len(set(a) & set(b)) for a, b in rows) / truth.size


def measure(name, folder, recall):
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    vectors = np.asarray(vectors)
    float(vectors[::8].sum())  # the pages are there, and counted, before anything is built
    vectors.sum()
    queries, truth = np.load(folder / "queries.npy"), np.load(folder / "truth.npy")
    search, seconds, memory, width = BUILDERS[name](vectors, recall)
    while (found := agreement(search(queries, width), truth)) < recall and width < 4096:
        width *= 2
    batches, singles = [], []
    for _ in range(7):
        started = time.perf_counter()
        search(queries, width)
        batches.append(len(queries) / (time.perf_counter() - started))
    for query in queries:
        started = time.perf_counter()
        search(query[None], width)
        singles.append(1000 * (time.perf_counter() - started))
    return {
        "build, s": f"{seconds:.1f}",
        "memory over the vectors, MB": f"{memory:.0f}",
        "recall@10": f"{found:.4f} at width {width}",
        "queries per second, batch of 1,000": ledger.spread(batches, 0),
        "one query, ms": ledger.spread(singles, 3),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--recall", type=float, default=0.95)
    parser.add_argument("--one", choices=CONTESTANTS)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.folder, options.recall)))
        return
    from twinset.nearest import Matrix

    print(ledger.machine())
    with tempfile.TemporaryDirectory() as folder:
        both = clustered(options.items + 1000, centres=2000)
        vectors, queries = both[: options.items], both[options.items :]
        truth = Matrix(vectors).search(queries, k=K).positions.reshape(-1, K)
        for name, array in (("vectors", vectors), ("queries", queries), ("truth", truth)):
            np.save(Path(folder, f"{name}.npy"), array)
        del both, vectors
        for name in CONTESTANTS:
            done = subprocess.run(
                [sys.executable, __file__, *sys.argv[1:], "--one", name, "--folder", folder],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            for what, value in json.loads(done.stdout.splitlines()[-1]).items():
                ledger.say(f"{options.items:,} × 128, {name}: {what}", value)


if __name__ == "__main__":
    main()
