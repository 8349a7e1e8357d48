"""A real Milvus server: writers in many places, layouts, restarts."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from search_oracles import grid, nearest
from search_writing import check_what_is_left, kill_a_writer
from twinset.errors import StoreError
from twinset.search.milvus import catalogue
from twinset.search.milvus.rows import Rows
from twinset.search.store import Items, Signature, create_store, open_store
from twinset.search.where import Condition, conditions, holds

pytestmark = pytest.mark.clusters

SIGNATURE = Signature("digest-of-a-model", 4)


def some(n, seed=0, prefix="item"):
    vectors = grid(np.random.default_rng(seed), n, 4)
    known = [{"row": i, "label": ("hat", "shoe", 7, True, None)[i % 5]} for i in range(n)]
    return Items([f"{prefix} {i}" for i in range(n)], vectors, known)


def names(store):
    return [id_ for items in store.batches() for id_ in items.ids]


def fails(*_, **__):
    raise RuntimeError("killed here")


def test_on_a_server(milvus_server):
    """A short walk; TWINSET_TEST_MILVUS=host:port lets all tests of the contract run there."""
    url = milvus_server.url("walk")
    items = some(300)
    with (
        create_store(url, SIGNATURE, overwrite=True) as store,
        open_store(f"{url}&consistency=strong") as reader,
    ):
        store.add(items)
        assert names(reader) == list(items.ids)
        store.remove(items.ids[:7])
        store.add(Items(["item 8"], items.vectors[8:9], [{"row": -1}]), replace=True)
        kept = [*range(7, 8), *range(9, 300), 8]
        for k, within, where in ((5, None, ()), (None, 1.5, ()), (5, None, {"row": {">": 150}})):
            (hits,) = reader.search(np.ones((1, 4)), k=k, within=within, where=where)
            found = nearest(
                items.vectors[kept],
                np.ones(4),
                k=k,
                within=within,
                metadata=[{"row": i if i != 8 else -1} for i in kept],
                where=conditions(where),
            )
            assert [hit.id for hit in hits] == [f"item {kept[at]}" for _, at in found]
        with pytest.raises(StoreError, match="'item 7', 'item 8', 'item 9' and 290 more"):
            store.add(items)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(catalogue, "write", fails)
            with pytest.raises(RuntimeError, match="killed here"):
                store.add(some(12, seed=1), replace=True)
        assert len(reader) == len(names(reader)) == 293
    with create_store(url, SIGNATURE, overwrite=True) as new:
        assert len(new) == 0


@pytest.mark.parametrize("asked", ["partitions=4", "partitions=3&partition_by=label"])
def test_partitions(milvus_server, asked):
    url = milvus_server.url("parts")
    items = some(60)
    create_store(f"{url}&{asked}", SIGNATURE, overwrite=True).close()
    with open_store(url) as store:
        parts = store._client.list_partitions(store._rows.collection)
        assert len(parts) == int(asked.partition("=")[2][0])
        store.add(items)
        store.add(Items(["none"], np.zeros((1, 4))))
        store.update_metadata(["item 1"], [{"label": "hat"}])
        moved = [*items.ids[:1], *items.ids[2:], "none", "item 1"]
        assert names(store) == moved
        known = {
            row: each for b in store.batches() for row, each in zip(b.ids, b.metadata, strict=True)
        }
        for value in ("hat", 7, 7.0, True, None, "it's"):
            (hits,) = store.search(np.ones((1, 4)), k=99, where={"label": value})
            condition = Condition("label", "=", value)
            expected = {name for name, each in known.items() if holds(condition, each)}
            assert {hit.id for hit in hits} == expected
            assert bool(expected) == (value != "it's")
        store.remove(["item 2", *(f"item {i}" for i in range(20, 40))])
        left = [
            (own, known)
            for batch in store.batches()
            for own, known in zip(batch.ids, batch.metadata, strict=True)
        ]
        for offset, limit, where in (
            (0, 5, {}),
            (17, 7, {}),
            (35, 99, {}),
            (50, 9, {}),
            (0, 0, {}),
            (1, 3, {"label": "hat"}),
            (2, 9, ["row>50"]),
            (0, 9, {"label": "none"}),
        ):
            page = store.page(offset, limit, where=where)
            expected = [e for e in left if all(holds(c, e[1]) for c in conditions(where))]
            assert (
                list(zip(page.ids, page.metadata, strict=True)) == expected[offset : offset + limit]
            )
            assert page.total == len(expected)
        assert f"&{asked}" in store.beside()
    with pytest.raises(StoreError, match="Received partitions=5: leave such parameters out"):
        open_store(f"{url}&partitions=5")


# --- writers in two places: the same server by two names, as two machines would have it


@pytest.fixture
def two(milvus_server):
    near, far = (milvus_server.url("two", host) for host in ("localhost", "127.0.0.1"))
    create_store(near, SIGNATURE, overwrite=True).close()
    with open_store(near) as one, open_store(f"{far}&timeout=1") as other:
        yield one, other


def test_two_writers_take_turns(two):
    def write(store, name):
        for turn in range(3):
            store.add(some(5, prefix=f"{name} {turn}"))

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(write, store, str(at)) for at, store in enumerate(two)]:
            done.result()
    assert sorted(names(two[0])) == sorted(
        f"{at} {turn} {i}" for at in range(2) for turn in range(3) for i in range(5)
    )
    assert len(two[1]) == 30


@pytest.fixture
def pausing(monkeypatch):
    """The first insertion of items waits, before or after it has put them in."""
    reached, go_on = threading.Event(), threading.Event()
    insert = Rows.insert

    def pause(when):
        def paused(self, *items, renew):
            monkeypatch.setattr(Rows, "insert", insert)
            if when == "after":
                insert(self, *items, renew=renew)
            reached.set()
            while not go_on.wait(0.05):
                if when == "alive":
                    renew()
            if when != "after":
                insert(self, *items, renew=renew)

        monkeypatch.setattr(Rows, "insert", paused)
        return reached, go_on

    return pause


def test_a_writer_that_lives_keeps_others_out(two, pausing):
    one, other = two
    object.__setattr__(one._place, "timeout", 1)
    reached, go_on = pausing("alive")
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(one.add, some(5))
        assert reached.wait(30)
        with pytest.raises(StoreError, match="Another writer has held .* for 1.5 seconds. Nothing"):
            other.add(some(3, prefix="other"))
        go_on.set()
        done.result()
    assert names(other) == list(some(5).ids)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_writer_that_was_taken_for_dead(two, pausing, when):
    """Whatever it still does counts no more, and it is told."""
    one, other = two
    one.add(some(5))
    reached, go_on = pausing(when)
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(one.add, some(5, prefix="late"))
        assert reached.wait(30)
        other.add(some(3, prefix="other"))
        expected = [*some(5).ids, *some(3, prefix="other").ids]
        assert names(other) == expected
        go_on.set()
        with pytest.raises(StoreError, match="took the place of this one, .* Nothing was ch"):
            done.result()
    for store in two:
        assert names(store) == expected
        assert len(store.search(np.ones((1, 4)), k=99)[0]) == len(store) == 8
    one.remove(["item 0"])
    assert names(other) == expected[1:]


def test_one_writer_alone_waits_for_three_ticks(two, monkeypatch):
    """Each read that sees all that was written before waits for the server's next tick."""
    (store, _), levels = two, []
    query = store._client.query

    def asked(*arguments, consistency_level, **more):
        levels.append(consistency_level)
        return query(*arguments, consistency_level=consistency_level, **more)

    store.add(some(5))
    monkeypatch.setattr(store._client, "query", asked)
    store.add(some(5, prefix="more"))
    # nobody else writes; all items are there; and the state that names them
    assert levels.count("Strong") == 3
    assert names(store) == [*some(5).ids, *some(5, prefix="more").ids]


def test_rows_that_no_state_names_are_no_items(two, monkeypatch):
    """Whether the server kept some of them only, or the writer ended between rows and state."""
    store, other = two
    store.add(some(5))
    beside = create_store(store.beside(), SIGNATURE)
    insert = Rows.insert

    def part(self, items, keys, first, *, renew):
        insert(self, Items(items.ids[:1], items.vectors[:1]), keys[:1], first, renew=renew)

    def breaks_off(writer, owner, name, instead, error, said):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, instead)
            with pytest.raises(error, match=said):
                writer.add(some(3, prefix="lost"))

    breaks_off(store, Rows, "insert", part, StoreError, "took the place of this one")
    other.add(some(3, prefix="one"))
    breaks_off(store, catalogue, "write", fails, RuntimeError, "killed here")
    other.add(some(3, prefix="two"))
    breaks_off(beside, catalogue, "write", fails, RuntimeError, "killed here")
    store.add(some(3, prefix="three"))  # which passes the ticket of both over
    beside.add(some(3, prefix="four"))
    kept = [*some(5).ids, *(f"{one} {i}" for one in ("one", "two", "three") for i in range(3))]
    with beside:
        for each, expected in ((other, kept), (beside, list(some(3, prefix="four").ids))):
            assert names(each) == expected
            assert sorted(each.get(expected).ids) == sorted(expected)
            (hits,) = each.search(np.ones((1, 4)), k=99)
            assert sorted(hit.id for hit in hits) == sorted(expected)


def test_a_writer_is_killed(milvus_server):
    url = milvus_server.url("killed")
    create_store(url, SIGNATURE, overwrite=True).close()
    last = 0
    for after in (0.1, 0.6):
        said = kill_a_writer(f"{url}&timeout=1", first=last + 1, turns=1, after=after)
        last = check_what_is_left(f"{url}&consistency=strong", said)
    with open_store(f"{url}&timeout=1") as store:
        store.add(some(5))
        assert len(names(store)) == len(store)


# --- approximate indexes


@pytest.mark.parametrize(("vectors", "kind"), [("float32", "HNSW"), ("int8", "IVF_SQ8")])
def test_an_approximate_index(milvus_server, vectors, kind):
    url = milvus_server.url("near")
    rng = np.random.default_rng(0)
    places, query = rng.normal(size=(600, 8)).astype(np.float32), np.ones(8, np.float32)
    known = [{"row": i, "tenth": i % 10} for i in range(600)]
    items = Items([str(i) for i in range(600)], places, known)
    with create_store(f"{url}&vectors={vectors}", Signature("m", 8), overwrite=True) as store:
        store.add(items)
        assert store.approximation is None
        built = store.build_approximate(recall=0.9)
        assert kind in built.kind
        assert (built.items, built.queries, built.recall >= 0.9) == (600, 100, True)
        # what cannot come from the index is exact
        for k, within, where, exact in (
            (10, None, (), True),
            (None, 2.0, (), False),
            (5, None, ["row<3"], False),
            (5, None, ["tenth!=3", "row<100"], False),
        ):
            (hits,) = store.search(query[None], k=k, within=within, where=where, exact=exact)
            asked = {"k": k, "within": within, "metadata": known, "where": conditions(where)}
            assert [int(hit.id) for hit in hits] == [
                at for _, at in nearest(places, query, **asked)
            ]
        store.add(Items(["new"], query[None]))
        (hits,) = store.search(query[None], k=3)
        assert (hits[0].id, hits[0].distance) == ("new", 0)
        with open_store(url) as other:
            assert other.approximation == built
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store._client, "create_index", fails)
            with pytest.raises(RuntimeError, match="killed here"):
                store.build_approximate()
    with open_store(f"{url}&consistency=strong&timeout=1") as store:
        assert store.approximation is None
        (hits,) = store.search(query[None], k=10)
        true = [at for _, at in nearest(places, query, k=9)]
        assert [hit.id for hit in hits] == ["new", *map(str, true)]
