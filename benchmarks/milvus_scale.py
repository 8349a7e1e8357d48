"""An index in a Milvus server at a million items: its load, its search, and many programs at once.

./task bench milvus_scale load    [--items 1000000] [--dim 128]
./task bench milvus_scale search  [--items 1000000] [--queries 300] [--vectors int8]
./task bench milvus_scale mixed   [--seconds 60]

The server is the one that the tests start, version 2.3.5, on this machine. Vectors: 200 clusters on
a latent of 24 dimensions, noise, unit length.

load: `store.add` by as many items as `twinset index` gathers, each acknowledged, against
`client.insert` by 10,000 rows into a collection with the same columns, until a read sees them all;
in turns by as many.
search: HNSW (or the index of bytes) built for a recall of 0.95; each query by `store.search` and by
`client.search` over the same index with the same effort, in turns; recall of new queries against
exact search.
mixed: as in `postgres_scale`; a writer that was killed counts as dead after 3 s.
"""

import argparse
import random
import statistics
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import ledger
import postgres_scale
from postgres_scale import made, parts, share
from twinset.search.store import Items, Signature, create_store

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import search_servers

BATCH = 10_000


def load(server, options):
    from twinset.search.milvus.catalogue import State
    from twinset.search.milvus.rows import Rows, key

    names, vectors, known = made(options.items, options.dim)
    signature = Signature("m", options.dim)
    store = create_store(server.url("ours"), signature)
    client = store._client
    plain = Rows(client, store._place, State(1, "plain", signature))
    plain.create()

    def insert(turn):
        for part in parts(turn.start, turn.stop - turn.start, BATCH):
            rows = [
                {
                    "position": at,
                    "key": key(names[at]),
                    "item": names[at],
                    "embedding": vectors[at],
                    "metadata": known[at],
                }
                for at in range(part.start, part.stop)
            ]
            client.insert("plain", rows)
        assert plain.count("position >= 0", "Strong") == turn.stop

    def add(turn):
        store.add(Items(names[turn], vectors[turn], known[turn]))

    rates = {"ours": [], "client.insert": []}
    for turn in parts(0, options.items, store.best_batch):
        ways = [("ours", add), ("client.insert", insert)]
        random.Random(turn.start).shuffle(ways)
        for name, way in ways:
            began = time.perf_counter()
            way(turn)
            rates[name].append((turn.stop - turn.start) / (time.perf_counter() - began))
    for name, found in rates.items():
        ledger.say(
            f"Milvus, load {options.items:,} × {options.dim}: {name}, rows/s",
            ledger.spread(found, 0),
        )
    ours, plainly = (sum(1 / rate for rate in rates[name]) for name in ("ours", "client.insert"))
    ledger.say("Milvus, load: ours over client.insert, all of it", f"{plainly / ours:.2f}")
    assert len(store) == options.items
    store.close()


def search(server, options):
    names, vectors, known = made(options.items + options.queries, options.dim)
    queries = vectors[options.items :]
    url = f"{server.url('searched')}&vectors={options.vectors}"
    store = create_store(url, Signature("m", options.dim))
    for part in parts(0, options.items, store.best_batch):
        store.add(Items(names[part], vectors[part], known[part]))
    sample = queries[:100]
    truth = [[hit.id for hit in hits] for hits in store.search(sample)]
    began = time.perf_counter()
    built = store.build_approximate(recall=options.recall)
    print(built)
    kind = built.kind.split()[1].rstrip(",")
    ledger.say(
        f"Milvus {kind} over {options.items:,}: built and set, s",
        f"{time.perf_counter() - began:.0f}",
    )
    _, name, effort = built.kind.rsplit(maxsplit=2)
    asked = {"metric_type": "L2", "params": {name: int(effort)}}

    def plain(query):
        (hits,) = store._client.search(
            store._rows.collection,
            data=[query],
            limit=10,
            search_params=asked,
            output_fields=["item", "metadata"],
        )
        return [hit["entity"]["item"] for hit in hits]

    ways = {"ours": lambda q: [hit.id for hit in store.search(q[None])[0]], "client.search": plain}
    for query in queries[: options.queries // 3]:  # so that both find what they need in memory
        for way in ways.values():
            way(query)
    spent, answers = ({name: [] for name in ways} for _ in range(2))
    for at, query in enumerate(queries):
        for way in sorted(ways, reverse=at % 2 == 0):
            began = time.perf_counter()
            answers[way].append(ways[way](query))
            spent[way].append(1000 * (time.perf_counter() - began))
    for way, found in spent.items():
        ledger.say(f"Milvus {kind}, one query, k = 10: {way}, ms", ledger.spread(found))
        ledger.say(
            f"Milvus {kind}, recall at 10 of {len(sample)} new queries: {way}",
            share(truth, answers[way]),
        )
    ratio = statistics.median(spent["ours"]) / statistics.median(spent["client.search"])
    ledger.say(f"Milvus {kind}, time of a query over client.search", f"{ratio:.2f}")
    store.close()


def mixed(server, options):
    place = SimpleNamespace(
        folder=server.folder, url=lambda index: f"{server.url(index)}&timeout=3"
    )
    postgres_scale.mixed(place, options)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ways = {each.__name__: each for each in (load, search, mixed)}
    parser.add_argument("part", choices=ways)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--recall", type=float, default=0.95)
    parser.add_argument("--vectors", default="float32")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--every", type=float, default=5)
    options = parser.parse_args()
    print(ledger.machine())
    with search_servers.milvus() as server:
        ways[options.part](server, options)


if __name__ == "__main__":
    main()
