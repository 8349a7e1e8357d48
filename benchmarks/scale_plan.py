"""What 10^6 to 10^9 images cost in training, embedding, storage and search, and where engines end.

./task bench scale_plan                           the tables of docs/scale.md, computed
./task bench scale_plan --set cores=64            with other assumptions or constants
./task bench scale_plan --measure 100000          measure the folder's constants on this machine

Each figure is a formula of the number of items over the constants of scale_plan.toml, which are
measured with 100,000 items or fewer. What was measured with a million stands there too, and the
last table says how far the formulas are from it.
"""

import argparse
import math
import statistics
import tempfile
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twinset.tables import markdown

TABLE = Path(__file__).with_suffix(".toml")
SIZES = (10**6, 10**7, 10**8, 10**9)
# Where a figure does not grow in proportion, its constant is of so many items.
BASE = 100_000
BLOCK = 10_000
HOURS_OF_A_MONTH = 730
DAY = 24 * 3600


def table() -> dict[str, Any]:
    """Read the table of constants, assumptions, and what was measured beside."""
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))


def constants(**changes: float) -> SimpleNamespace:
    """Read constants and assumptions, with some of them changed."""
    read = table()
    values = {name: entry[0] for name, entry in (read["constants"] | read["assumptions"]).items()}
    if unknown := changes.keys() - values.keys():
        raise SystemExit(f"Expected one of {', '.join(values)}. Received {', '.join(unknown)}.")
    return SimpleNamespace(**values | changes)


# --- Formulas: of n items and c, the constants and assumptions by name.


def _products(count, c):
    # s for so many multiplications and additions, on all cores of a machine
    return count / (c.flops * c.cores / c.measured_cores)


def _inverted_file(n, c):
    # search/approximate.py: k-means in ten rounds over 40 vectors of each list, then each vector
    # to the nearest of all lists
    lists = 2 ** round(math.log2(2 * math.sqrt(n)))
    products = _products(2 * c.dim * (10 * 40 * lists**2 + n * lists), c)
    return products + n / c.folder_added * c.measured_cores / c.cores


def _steps(n, c):
    # HNSW: a search and an insertion take about log n steps (Malkov, Yashunin 2018), each of which
    # takes longer the less of the graph a cache holds
    return max(1.0, (n / BASE) ** c.growth)


@dataclass(frozen=True)
class Figure:
    """What so many items take, in one respect."""

    about: str
    unit: str  # s, B or money
    of: Callable[[int, Any], float]


@dataclass(frozen=True)
class Engine:
    """A place for an index, and what it must hold in memory to be quick."""

    about: str
    memory: Callable[[int, Any], float]  # B
    disk: Callable[[int, Any], float]  # B
    load: Callable[[int, Any], float]  # s
    build: Callable[[int, Any], float]  # s
    query: Callable[[int, Any], float]  # s


def _server(name, about):
    def value(c, what):
        return getattr(c, f"{name}_{what}")

    def disk(n, c):
        return n * (value(c, "row") + value(c, "graph") + 4 * (c.dim - c.measured_dim))

    return Engine(
        about,
        lambda n, c: n * (value(c, "graph") + 4 * (c.dim - c.measured_dim)),
        disk,
        # the key of an item is put into a tree
        lambda n, c: n / value(c, "write") * max(1.0, math.log(n) / math.log(BASE)),
        lambda n, c: n / value(c, "build") * _steps(n, c) * c.measured_cores / c.cores,
        lambda n, c: value(c, "query") * _steps(n, c),
    )


def _folder_disk(n, c):
    return n * (4 * c.dim + c.folder_row)


def _folder_load(n, c):
    return n / c.folder_write


ENGINES = {
    "folder": Engine(
        "folder, exact",
        lambda n, c: 4 * n * c.dim,
        _folder_disk,
        _folder_load,
        lambda n, c: 0.0,
        lambda n, c: 4 * n * c.dim / c.scan,
    ),
    "approximate": Engine(
        "folder, approximate",
        lambda n, c: n * c.dim,
        lambda n, c: _folder_disk(n, c) + n * c.dim,
        _folder_load,
        _inverted_file,
        lambda n, c: c.folder_fixed + c.folder_probe * math.sqrt(n / BASE),
    ),
    "postgres": _server("postgres", "Postgres, HNSW"),
    "milvus": _server("milvus", "Milvus, HNSW"),
}

FIGURES = {
    "embed": Figure(
        "read and embed photos, one machine",
        "s",
        lambda n, c: n * (1 / c.decode + 1 / c.network) / c.cores,
    ),
    "embed_money": Figure(
        "its price", "money", lambda n, c: FIGURES["embed"].of(n, c) / 3600 * c.machine_hour
    ),
    "accelerator": Figure("the same, one accelerator", "s", lambda n, c: n / c.accelerator),
    "accelerator_money": Figure(
        "its price", "money", lambda n, c: n / c.accelerator / 3600 * c.accelerator_hour
    ),
    "head": Figure(
        "a head in closed form on what was found",
        "s",
        lambda n, c: _products(4 * n * c.features**2, c),
    ),
    "train": Figure(
        "`conv` from pixels of 28 x 28, one machine",
        "s",
        lambda n, c: n * c.epochs / (c.train * c.cores),
    ),
    "photos": Figure("the photos", "B", lambda n, c: n * c.photo),
    "pixels": Figure("their pixels in the cache, 224 x 224", "B", lambda n, c: n * 224 * 224 * 3),
    "features": Figure("what the network found", "B", lambda n, c: 4 * n * c.features),
    "vectors": Figure("embeddings", "B", lambda n, c: 4 * n * c.dim),
    "disk_money": Figure(
        "photos, features and embeddings on disk, a month",
        "money",
        lambda n, c: n * (c.photo + 4 * c.features + 4 * c.dim) / 1e12 * c.terabyte_month,
    ),
}
for _name, _engine in ENGINES.items():
    for _what, _unit in (("disk", "B"), ("load", "s"), ("build", "s"), ("query", "s")):
        FIGURES[f"{_name}_{_what}"] = Figure(
            f"{_engine.about}: {_what}", _unit, getattr(_engine, _what)
        )


def machines(engine: Engine, n: int, c: Any) -> int:
    """Count the machines over which the vectors are spread, half of each one's memory for them."""
    return max(1, math.ceil(engine.memory(n, c) / (c.memory / 2)))


def ends(engine: Engine, c: Any) -> tuple[int, str]:
    """Find the largest power of ten times 1, 2 or 5 that one machine serves, and what ends it."""
    last = 0
    for size in (factor * 10**power for power in range(4, 11) for factor in (1, 2, 5)):
        if engine.query(size, c) > c.patience:
            return last, f"{text(engine.query(size, c), 's')} a query"
        if engine.memory(size, c) > c.memory / 2:
            return last, f"{text(engine.memory(size, c), 'B')} of memory"
        if engine.load(size, c) + engine.build(size, c) > DAY:
            return last, f"{text(engine.load(size, c) + engine.build(size, c), 's')} to build"
        last = size
    return last, "nothing up to here"


# --- Tables.

_TIMES = ((1e-3, "ms"), (1, "s"), (60, "min"), (3600, "h"), (DAY, "days"), (365 * DAY, "years"))
_BYTES = ((1e6, "MB"), (1e9, "GB"), (1e12, "TB"))


def text(value: float, unit: str) -> str:
    """Write a number of seconds, bytes or money with two digits, in a unit that suits it."""
    if unit == "money":
        return f"{float(f'{value:.2g}'):,.10g}"
    scales = _TIMES if unit == "s" else _BYTES
    size, name = next((each for each in reversed(scales) if value >= each[0]), scales[0])
    return f"{float(f'{value / size:.2g}'):,.10g} {name}"


def costs(c: Any) -> str:
    """Write the table of what each size takes."""
    rows = [
        [figure.about, *(text(figure.of(n, c), figure.unit) for n in SIZES)]
        for name, figure in FIGURES.items()
        if name.split("_")[0] not in ENGINES
    ]
    return markdown(["", *(f">{n:,}" for n in SIZES)], rows)


def searches(c: Any) -> str:
    """Write the table of the engines: time to fill, to answer, machines, and where one ends."""
    rows = []
    for engine in ENGINES.values():
        for n in SIZES:
            count = machines(engine, n, c)
            share = math.ceil(n / count)  # each machine holds its part, and all are asked
            rows.append(
                [
                    engine.about if n == SIZES[0] else "",
                    f"{n:,}",
                    text(engine.load(share, c) + engine.build(share, c), "s"),
                    text(engine.query(share, c), "s"),
                    text(engine.disk(n, c), "B"),
                    f"{count}",
                    text(count * c.machine_hour * HOURS_OF_A_MONTH, "money"),
                ]
            )
    return markdown(
        ["", ">items", ">load and build", ">a query", ">disk", ">machines", ">price of a month"],
        rows,
    )


def limits(c: Any) -> str:
    """Write the table of where one machine ends."""
    rows = []
    for engine in ENGINES.values():
        most, why = ends(engine, c)
        rows.append([engine.about, f"{most:,}", why])
    return markdown(["one machine", ">up to", "then"], rows)


def against() -> list[tuple[str, int, float, float, str]]:
    """Hold the formulas against what was measured: name, items, measured, computed, command."""
    c = constants()
    c.dim, c.cores = c.measured_dim, c.measured_cores
    return [
        (
            each["figure"],
            each["items"],
            each["value"],
            FIGURES[each["figure"]].of(each["items"], c),
            each["command"],
        )
        for each in table()["measured"]
    ]


def checks() -> str:
    """Write the table of the formulas against what was measured."""
    rows = [
        [
            FIGURES[name].about,
            f"{n:,}",
            text(value, FIGURES[name].unit),
            text(computed, FIGURES[name].unit),
            f"{computed / value:.2f}",
            f"`{command}`",
        ]
        for name, n, value, computed, command in against()
    ]
    return markdown(
        ["", ">items", ">measured", ">computed", ">computed / measured", "command"], rows
    )


def tables(c: Any) -> tuple[str, ...]:
    """Write all tables."""
    return costs(c), searches(c), limits(c), checks()


# --- Measuring.


def measure(items, dim=128):
    """Fill an index in a folder and search it, exactly and not; yield one figure at a time."""
    from exact_search import clustered
    from twinset.search.store import Items, Signature, create_store, open_store

    vectors, queries = clustered(items, dim=dim), clustered(1000, seed=1, dim=dim)
    ids = [f"photos/{i:09}.jpg" for i in range(items)]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "photos.index")
        with create_store(place, Signature("digest", dim)) as store:
            started = time.perf_counter()
            for first in range(0, items, BLOCK):
                part = slice(first, first + BLOCK)
                rows = [{"path": id_, "label": id_[-6:-4]} for id_ in ids[part]]
                store.add(Items(ids[part], vectors[part], rows))
            yield "folder_load", time.perf_counter() - started
        yield "folder_disk", sum(each.stat().st_size for each in place.rglob("*") if each.is_file())
        with open_store(place) as store:
            yield "folder_query", _median(store, queries[:20], exact=True)
            started = time.perf_counter()
            store.search(queries)
            yield "folder_batch", time.perf_counter() - started
            started = time.perf_counter()
            store.build_approximate()
            yield "approximate_build", time.perf_counter() - started
            yield "approximate_query", _median(store, queries[:200], exact=False)


def _median(store, queries, *, exact):
    # one at a time, as people ask; the first maps the vectors in
    took = []
    store.search(queries[:1], exact=exact)
    for query in queries:
        started = time.perf_counter()
        store.search(query[None], exact=exact)
        took.append(time.perf_counter() - started)
    return statistics.median(took)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=NUMBER")
    parser.add_argument("--measure", type=int, metavar="ITEMS")
    options = parser.parse_args()
    if options.measure:
        import ledger

        for name, value in measure(options.measure):
            ledger.say(f"{options.measure:,} items, {name}", f"{value:.4g}")
        return
    changes = dict(each.split("=", 1) for each in options.set)
    c = constants(**{name: float(value) for name, value in changes.items()})
    print("\n\n".join(tables(c)))


if __name__ == "__main__":
    main()
