"""An index in Postgres at a million items: its load, its search, and many programs at once.

./task bench postgres_scale load    [--items 1000000] [--dim 128]
./task bench postgres_scale search  [--items 1000000] [--queries 300]
./task bench postgres_scale kinds   [--items 50000]
./task bench postgres_scale mixed   [--seconds 60]

The server is the one that the tests start, on a socket of this machine, without fsync. Vectors: 200
clusters on a latent of 24 dimensions, noise, unit length.

load: `store.add` by 10,000 items, each acknowledged, against COPY of bytes that were made before
the clock started, into a table with the same columns and keys, and against COPY by psycopg's
`write_row`; the three take turns by 50,000 rows.
search: HNSW built for a recall of 0.95; each query by `store.search` and in plain SQL over the same
index with the same effort, in turns; recall against exact search over new queries. Work is the
processor's time of both the client and its server, for machines that are not quiet (Linux).
kinds: recall of exact search over float16, and of HNSW over both kinds, against float32.
mixed: two writers and four readers, each a process; a writer is killed every 5 s and another takes
its place. Each batch that was acknowledged must be there once and whole, and each answer be that of
one state.
"""

import argparse
import json
import random
import signal
import statistics
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psycopg
from pgvector.psycopg import register_vector

import ledger
from database_search import clustered
from twinset.search.store import Items, Signature, create_store, open_store

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import search_servers

BATCH, TURN = 10_000, 50_000
COLUMNS = "(id, embedding, metadata)"


def made(n, dim, seed=0):
    vectors = clustered(n, dim, np.random.default_rng(seed))
    return [f"photo {i}" for i in range(n)], vectors, [{"tenth": i % 10} for i in range(n)]


def parts(start, count, size):
    for at in range(start, start + count, size):
        yield slice(at, min(at + size, start + count))


def load(server, options):
    names, vectors, known = made(options.items, options.dim)
    store = create_store(server.url("ours"), Signature("m", options.dim))
    plain = psycopg.connect(server.database("owner", "postgres"), autocommit=True)
    register_vector(plain)
    for table in ("bytes", "rows"):
        plain.execute(
            f"CREATE TABLE plain_{table} (position bigserial PRIMARY KEY, "
            f'id text COLLATE "C" NOT NULL UNIQUE, embedding vector({options.dim}) NOT NULL, '
            "metadata jsonb NOT NULL)"
        )
    loaders = {
        "ours": lambda s: store.add(Items(names[s], vectors[s], known[s])),
        "COPY of bytes": lambda s: copy_bytes(plain, ready[s.start]),
        "COPY by write_row": lambda s: copy_rows(plain, names[s], vectors[s], known[s]),
    }
    rates = {name: [] for name in loaders}
    for turn in parts(0, options.items, TURN):
        count = turn.stop - turn.start
        batches = list(parts(turn.start, count, BATCH))
        ready = {s.start: encoded(names[s], vectors[s], known[s]) for s in batches}
        order = list(loaders)
        random.Random(turn.start).shuffle(order)
        for name in order:
            began = time.perf_counter()
            for batch in batches:
                loaders[name](batch)
            rates[name].append(count / (time.perf_counter() - began))
    for name, found in rates.items():
        ledger.say(
            f"load {options.items:,} × {options.dim}: {name}, rows/s", ledger.spread(found, 0)
        )
    for name in list(rates)[1:]:
        shares = [ours / other for ours, other in zip(rates["ours"], rates[name], strict=True)]
        ledger.say(f"load: ours over {name}", ledger.spread(shares))
    assert len(store) == options.items
    store.close()


def encoded(names, vectors, known):
    dim = vectors.shape[1]
    rows = [b"PGCOPY\n\xff\r\n\0" + bytes(8)]
    for name, vector, each in zip(names, vectors, known, strict=True):
        own, text = name.encode(), json.dumps(each).encode()
        rows.append(struct.pack(">hi", 3, len(own)) + own)
        rows.append(struct.pack(">ihh", 4 + 4 * dim, dim, 0) + vector.astype(">f4").tobytes())
        rows.append(struct.pack(">ib", len(text) + 1, 1) + text)
    return b"".join([*rows, b"\xff\xff"])


def copy_bytes(plain, data):
    with plain.cursor().copy(f"COPY plain_bytes {COLUMNS} FROM STDIN (FORMAT BINARY)") as copy:
        copy.write(data)


def copy_rows(plain, names, vectors, known):
    from pgvector import Vector
    from psycopg.types.json import Jsonb

    with plain.cursor().copy(f"COPY plain_rows {COLUMNS} FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(["text", "vector", "jsonb"])
        for name, vector, each in zip(names, vectors, known, strict=True):
            copy.write_row((name, Vector(vector), Jsonb(each)))


def filled(url, vectors, names, known):
    store = create_store(url, Signature("m", vectors.shape[1]), overwrite=True)
    for part in parts(0, len(names), BATCH):
        store.add(Items(names[part], vectors[part], known[part]))
    return store


def search(server, options):
    names, vectors, known = made(options.items + options.queries, options.dim)
    queries = vectors[options.items :]
    names, vectors, known = (each[: options.items] for each in (names, vectors, known))
    store = filled(server.url("searched"), vectors, names, known)
    began = time.perf_counter()
    built = store.build_approximate(recall=options.recall)
    ledger.say(
        f"HNSW over {options.items:,}: built and set, s", f"{time.perf_counter() - began:.0f}"
    )
    effort = int(built.kind.split()[-1])
    plain = psycopg.connect(server.database("owner", "postgres"), autocommit=True)
    register_vector(plain)
    plain.execute(f"SET hnsw.ef_search = {effort}")
    table, graph = (store._table.sql(name).decode() for name in ("{table}", "{hnsw}"))
    sizes = "SELECT pg_total_relation_size(%s::regclass), pg_relation_size(%s::regclass)"
    whole, hnsw = plain.execute(sizes, [table, graph]).fetchone()
    ledger.say("bytes of an item, without HNSW", f"{(whole - hnsw) / options.items:.0f}")
    ledger.say("bytes of an item in HNSW", f"{hnsw / options.items:.0f}")
    # what `store.search` returns of each: id, distance and metadata
    statement = f"SELECT id, metadata, embedding <-> %s AS far FROM {table} ORDER BY far LIMIT 10"
    ways = {
        "ours": lambda q: [hit.id for hit in store.search(q[None])[0]],
        "plain SQL": lambda q: [row[0] for row in plain.execute(statement, [q])],
    }
    for query in queries[: options.queries // 3]:  # so that both find the pages in memory
        for way in ways.values():
            way(query)
    with store._transactions.connection() as connection:
        asked = {"ours": connection.info.backend_pid, "plain SQL": plain.info.backend_pid}
    spent, worked, answers = ({name: [] for name in ways} for _ in range(3))
    for at, query in enumerate(queries):
        for name in sorted(ways, reverse=at % 2 == 0):
            there, here, began = at_work(asked[name]), time.process_time(), time.perf_counter()
            answers[name].append(ways[name](query))
            spent[name].append(1000 * (time.perf_counter() - began))
            worked[name].append(1000 * (time.process_time() - here + at_work(asked[name]) - there))
    sample = queries[:100]
    truth = [[hit.id for hit in hits] for hits in store.search(sample, exact=True)]
    print(built)
    for name, found in spent.items():
        ledger.say(f"HNSW, one query, k = 10: {name}, ms", ledger.spread(found))
        ledger.say(
            f"HNSW, recall at 10 of {len(sample)} new queries: {name}", share(truth, answers[name])
        )
        ledger.say(f"HNSW, the same: {name}, ms at work", ledger.spread(worked[name]))
    for what, found in (("time", spent), ("work", worked)):
        ratio = statistics.median(found["ours"]) / statistics.median(found["plain SQL"])
        ledger.say(f"HNSW, {what} of a query over plain SQL", f"{ratio:.2f}")
    store.close()


def at_work(process):
    """Tell how many seconds of a processor a process has had."""
    return int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) / 1e9


def share(truth, answers):
    pairs = zip(truth, answers, strict=False)
    return f"{statistics.mean(len(set(a) & set(b)) / len(a) for a, b in pairs):.4f}"


def kinds(server, options):
    for dim in (128, 768):
        names, vectors, known = made(options.items + 200, dim)
        queries = vectors[options.items :]
        names, vectors, known = (each[: options.items] for each in (names, vectors, known))
        truth = None
        for kind in ("float32", "float16"):
            url = f"{server.url(f'kind {dim} {kind}')}&vectors={kind}"
            with filled(url, vectors, names, known) as store:
                exact = [[hit.id for hit in hits] for hits in store.search(queries)]
                truth = truth or exact
                ledger.say(f"{kind}, {dim}: recall at 10 of exact search", share(truth, exact))
                store.build_approximate(recall=options.recall)
                near = [[hit.id for hit in hits] for hits in store.search(queries)]
                ledger.say(f"{kind}, {dim}: recall at 10 of HNSW", share(truth, near))
                number = store._table.number
                with psycopg.connect(server.database("owner", "postgres")) as plain:
                    (size,) = plain.execute(
                        f"SELECT pg_total_relation_size('twinset_items_{number}')"
                    ).fetchone()
                ledger.say(
                    f"{kind}, {dim}: bytes of an item, HNSW included", f"{size / len(names):.0f}"
                )


# --- two writers, four readers


def batch(writer, turn, dim=32):
    rng = np.random.default_rng([writer, turn])
    names = [f"{writer}/{turn}/{i}" for i in range(100)]
    return Items(names, rng.normal(size=(100, dim)), [{"batch": f"{writer}/{turn}"}] * 100)


def write(url, writer):
    """Put in a batch, say so; remove every third one again, say so."""
    with open_store(url) as store:
        print("ready", flush=True)
        for turn in range(10**6):
            print("putting", writer, turn, flush=True)
            store.add(batch(writer, turn))
            print("put", writer, turn, flush=True)
            if turn % 3 == 2:
                print("removing", writer, turn - 1, flush=True)
                store.remove(batch(writer, turn - 1).ids)
                print("removed", writer, turn - 1, flush=True)


def read(url, seed):
    """Ask until stdin ends; a batch is seen whole or not at all, and answers are measured right."""
    rng = np.random.default_rng(seed)
    asked = wrong = 0
    with open_store(url) as store:
        while not sys.stdin.closed and not Path(sys.argv[4]).exists():
            query = rng.normal(size=32).astype(np.float32)
            (hits,) = store.search(query[None], k=10)
            far = [hit.distance for hit in hits]
            wrong += far != sorted(far) or len({hit.id for hit in hits}) != len(hits)
            for hit in hits[:2]:
                writer, turn, at = map(int, hit.id.split("/"))
                true = batch(writer, turn).vectors[at]
                wrong += not np.isclose(hit.distance, np.linalg.norm(query - true), rtol=1e-5)
                page = store.page(0, 1000, where={"batch": f"{writer}/{turn}"})
                wrong += page.total not in (0, 100)  # removed meanwhile, or whole
            asked += 1
    print(asked, wrong, flush=True)


def mixed(server, options):
    url = server.url("mixed")
    create_store(url, Signature("m", 32)).close()
    stop = server.folder / "stop"
    program = [sys.executable, __file__]

    def start(*arguments):
        command = [*program, *map(str, arguments)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    readers = [start("read", url, seed, stop) for seed in range(4)]
    numbers = iter(range(10**6))

    def ready():
        writer = start("write", url, next(numbers))
        assert writer.stdout.readline() == "ready\n"
        return writer

    writers = [ready(), ready()]
    said, kills, ends = [], 0, time.monotonic() + options.seconds
    while time.monotonic() < ends:
        time.sleep(min(options.every, max(0, ends - time.monotonic())))
        writers.append(ready())
        victim = writers.pop(0)
        victim.send_signal(signal.SIGKILL)
        kills += 1
        said += victim.stdout.read().splitlines()
        victim.wait()
    for writer in writers:
        writer.send_signal(signal.SIGKILL)
        said += writer.stdout.read().splitlines()
        writer.wait()
    stop.touch()
    asked, wrong = np.sum([[int(n) for n in one.stdout.read().split()] for one in readers], axis=0)
    for reader in readers:
        assert reader.wait() == 0
    judge(url, said, kills, asked, wrong, options)


def judge(url, said, kills, asked, wrong, options):
    steps = {}
    for line in said:
        verb, writer, turn = line.split()
        steps.setdefault((int(writer), int(turn)), []).append(verb)
    held = {}
    double = 0
    with open_store(url) as store:
        for items in store.batches():
            for own in items.ids:
                writer, turn, at = map(int, own.split("/"))
                seen = held.setdefault((writer, turn), set())
                double += at in seen
                seen.add(at)
    half = sum(len(seen) != 100 for seen in held.values())
    lost = sum(verbs[-1] == "put" and key not in held for key, verbs in steps.items())
    undead = sum(verbs[-1] == "removed" and key in held for key, verbs in steps.items())
    unknown = sum(key not in steps for key in held)
    put = sum("put" in verbs for verbs in steps.values())
    ledger.say(
        f"mixed, {options.seconds} s, a writer killed every {options.every} s",
        f"{kills} kills, {put:,} batches of 100 acknowledged, {asked:,} searches: {lost} lost, "
        f"{double + undead + unknown} double or back again, {half} half, {wrong} wrong answers",
    )


def main():
    if sys.argv[1:2] == ["write"]:
        write(sys.argv[2], int(sys.argv[3]))
    if sys.argv[1:2] == ["read"]:
        read(sys.argv[2], int(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ways = {each.__name__: each for each in (load, search, kinds, mixed)}
    parser.add_argument("part", choices=ways)
    parser.add_argument("--items", type=int, default=None)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--recall", type=float, default=0.95)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--every", type=float, default=5)
    options = parser.parse_args()
    options.items = options.items or (50_000 if options.part == "kinds" else 1_000_000)
    print(ledger.machine())
    with search_servers.postgres() as server:
        ways[options.part](server, options)


if __name__ == "__main__":
    main()
