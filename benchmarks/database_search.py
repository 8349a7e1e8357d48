"""One index in each place that may hold it: time to fill it, and to search it.

./task bench database_search [--items 60000] [--dim 128] [--repeats 5] [--milvus localhost:19530]

The vectors: 200 clusters on a latent of 24 dimensions, noise, unit length. Postgres is the one that
the tests start, on a socket of this machine, without fsync; Milvus Lite runs in this process;
`--milvus` adds a server that is running. The contestants take turns, query by query.
"""

import argparse
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

import ledger
from twinset.search.store import Items, Signature, create_store

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import search_servers

CONDITION = {"tenth": 3}


def clustered(n, dim, rng):
    centres = rng.normal(size=(200, 24))
    latent = centres[rng.integers(0, 200, n)] + 0.3 * rng.normal(size=(n, 24))
    vectors = latent @ rng.normal(size=(24, dim)) + 0.3 * rng.normal(size=(n, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def seconds(action):
    start = time.perf_counter()
    answer = action()
    return time.perf_counter() - start, answer


def fill(place, url, items, figures):
    store = create_store(url, Signature("benchmark", items.vectors.shape[1]), overwrite=True)
    spent = 0.0
    for start in range(0, len(items), 10_000):
        part = slice(start, start + 10_000)
        batch = Items(items.ids[part], items.vectors[part], items.metadata[part])
        spent += seconds(lambda batch=batch: store.add(batch))[0]
    figures[place]["fill"] = [spent]
    return store


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=5_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5, help="of single queries, times 4")
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--milvus", help="host:port of a server")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    vectors = clustered(options.items + options.batch, options.dim, rng)
    queries, vectors = vectors[: options.batch], vectors[options.batch :]
    items = Items(
        [f"photo {i}" for i in range(options.items)],
        vectors,
        [{"tenth": i % 10} for i in range(options.items)],
    )
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        server = stack.enter_context(search_servers.postgres())
        urls = {
            "folder": f"{folder}/items.index",
            "postgres": server.url("exact"),
            "postgres, HNSW": server.url("hnsw"),
            "milvus-lite": f"milvus://{folder}/items.db?index=items",
        }
        if options.milvus:
            urls["milvus"] = f"milvus://{options.milvus}?index=benchmark"
        figures = {place: {} for place in urls}
        stores = {}
        for place, url in urls.items():
            stores[place] = stack.enter_context(fill(place, url, items, figures))
        spent, built = seconds(stores["postgres, HNSW"].build_approximate)
        figures["postgres, HNSW"]["build"] = [spent]
        truth = measure(stores, queries, figures, options)
    report(figures, truth, built, options)


def measure(stores, queries, figures, options):
    """Let them answer in turns; return which share of the folder's answers each one gives."""
    tasks = {
        "single": lambda store, at: store.search(queries[at : at + 1]),
        "filtered": lambda store, at: store.search(queries[at : at + 1], where=CONDITION),
    }
    for store in stores.values():  # what is loaded at the first use
        store.search(queries[:1])
    for name, task in tasks.items():
        for turn in range(4 * options.repeats):
            at = turn % len(queries)
            for place, store in stores.items():
                spent, _ = seconds(lambda s=store, t=task, a=at: t(s, a))
                figures[place].setdefault(name, []).append(1000 * spent)
    found = {}
    for _ in range(max(1, options.repeats // 2)):
        for place, store in stores.items():
            spent, found[place] = seconds(lambda s=store: s.search(queries))
            figures[place].setdefault("batch", []).append(spent)
    shares = {}
    for place, answers in found.items():
        pairs = zip(found["folder"], answers, strict=True)
        shares[place] = statistics.mean(
            len({hit.id for hit in true} & {hit.id for hit in hits}) / len(true)
            for true, hits in pairs
        )
    return shares


def report(figures, shares, built, options):
    print(ledger.machine())
    print(f"{options.items:,} × {options.dim}; HNSW: {built}")
    for place, found in figures.items():
        ledger.say(f"{place}: filled by batches of 10,000, s", ledger.spread(found["fill"]))
        if "build" in found:
            ledger.say(f"{place}: built, s", ledger.spread(found["build"]))
        ledger.say(f"{place}: one query, k = 10, ms", ledger.spread(found["single"]))
        ledger.say(f"{place}: one query, a tenth passes, ms", ledger.spread(found["filtered"]))
        ledger.say(f"{place}: {options.batch} queries at once, s", ledger.spread(found["batch"], 3))
        ledger.say(f"{place}: same neighbours as the folder", f"{shares[place]:.4f}")


if __name__ == "__main__":
    main()
