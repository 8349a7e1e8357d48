"""What is Postgres' own: servers that refuse, connections that break, others who write, HNSW."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest

from search_oracles import grid, nearest
from search_writing import check_states, check_what_is_left, kill_a_writer
from twinset.errors import StoreError
from twinset.search.postgresql import catalogue, hnsw
from twinset.search.postgresql.table import mapping_json, sql_of
from twinset.search.store import Items, Signature, create_store, open_store
from twinset.search.where import Condition, conditions

SIGNATURE = Signature("digest-of-a-model", 4)


@pytest.fixture
def server(postgres_server):
    return postgres_server


@pytest.fixture
def administrator(server):
    import psycopg

    with psycopg.connect(server.database("owner", "postgres"), autocommit=True) as connection:
        yield connection


@pytest.fixture
def url(server, request):
    return server.url(request.node.name)


@pytest.fixture
def store(url):
    with create_store(url, SIGNATURE) as made:
        yield made


def some(n, seed=0, dim=4, prefix="item"):
    return Items([f"{prefix} {i}" for i in range(n)], grid(np.random.default_rng(seed), n, dim))


# --- servers that refuse, each in one line


def refused(url, words, make=False):
    with pytest.raises(StoreError, match=words) as caught:
        create_store(url, SIGNATURE) if make else open_store(url)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None
    return str(caught.value)


def test_no_server(tmp_path):
    said = refused(
        f"postgresql://me:secret@/photos?host={tmp_path}&index=shoes",
        r"Cannot connect to postgresql://me@/photos\?index=shoes: .*No such file",
    )
    assert "secret" not in said


def test_a_wrong_password(server, administrator):
    administrator.execute("CREATE ROLE guarded LOGIN PASSWORD 'right'")
    said = refused(server.url("shoes", "guarded:wr0ng"), "password authentication failed")
    assert "wr0ng" not in said
    with pytest.raises(StoreError, match="There is no index at postgresql://guarded@/template1"):
        open_store(server.url("shoes", "guarded:right", "template1"))


def test_no_such_database(server):
    refused(server.url("shoes", database="nowhere"), 'database "nowhere" does not exist')


def test_no_such_index_names_those_that_are_there(server):
    with create_store(server.url("! the first"), SIGNATURE) as store:
        create_store(store.beside(), SIGNATURE).close()
        said = refused(server.url("nothing"), "There is no index at .*this database has")
    assert "'! the first'" in said
    assert "(next)" not in said


@pytest.mark.parametrize("name", ['"; DROP TABLE twinset_indexes; --', "größer {x} %s", "x" * 200])
def test_any_text_is_a_name(server, name):
    with create_store(server.url(name), SIGNATURE) as store:
        store.add(some(3))
    with open_store(server.url(name)) as store:
        assert len(store) == 3


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (
            "postgresql://me@host/photos",
            r"Expected the name of one index.*Received postgresql://me",
        ),
        ("postgresql://me@host/photos?index=", "Expected the name of one index"),
        ("postgresql://me@host/photos?index=a&index=b", "Expected the name of one index"),
        ("postgresql://me@host:port/photos?index=a", "Cannot connect to .*port"),
        ("postgresql://me@host/photos?index=a&nonsense=b", "invalid URI query parameter"),
        ("postgresql://me@host/photos?index", "Expected postgresql://user@host/database"),
        ("postgresql://me@host/photos?index=a&partitions=0", "Expected partitions={1 to 1,024}"),
        ("postgresql://me@host/photos?index=a&vectors=int8", "Expected vectors=float32 or float16"),
        (
            "postgresql://me@host/photos?index=a&timeout=long",
            "Expected timeout={seconds}, more than 0, for",
        ),
    ],
)
def test_addresses_that_are_none(url, words):
    refused(url, words)


def test_a_database_without_pgvector(server, administrator):
    administrator.execute("CREATE ROLE plain LOGIN")
    administrator.execute("CREATE DATABASE bare OWNER plain")
    url = server.url("shoes", "plain", "bare")
    refused(url, "this database has none")
    refused(url, "Let a superuser run CREATE EXTENSION vector there", make=True)
    create_store(server.url("shoes", "owner", "bare"), SIGNATURE).close()
    refused(url, "The database refuses access to .*: permission denied for table twinset_indexes")


def test_an_index_of_another_format(administrator, store, url):
    administrator.execute(
        "UPDATE twinset_indexes SET format = 99 WHERE name = %s", [url.rpartition("=")[2]]
    )
    refused(url, "has format 99, and this version of twinset reads format 3. Open it with")


def test_embeddings_too_large(url):
    with pytest.raises(StoreError, match="pgvector takes .* 16,000 or less, and these have 16,001"):
        create_store(url, Signature("m", 16_001))
    with create_store(url, Signature("m", 16_000)) as store:
        store.add(some(1, dim=16_000))
        assert store.search(some(1, dim=16_000).vectors)[0][0].distance == 0


@pytest.mark.parametrize("package", ["psycopg", "pgvector"])
def test_a_package_is_missing(monkeypatch, url, package):
    for name in list(sys.modules):
        if name.split(".")[0] == package:
            monkeypatch.setitem(sys.modules, name, None)
    refused(url, "pip install 'twinset")


# --- connections that break


TERMINATE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND application_name = 'twinset'
"""


def test_a_lost_connection_is_made_anew(store, administrator):
    store.add(some(3))
    for call, answer in (
        (lambda: len(store), 3),
        (lambda: len(store.search(np.zeros((1, 4)))[0]), 3),
        (lambda: store.add(Items(["new"], np.ones((1, 4)))), None),
        (lambda: store.update_metadata(["new"], [{"a": 1}]), None),
        (lambda: store.get(["new"]).metadata[0], {"a": 1}),
        (lambda: store.remove(["new"]), None),
        (lambda: [len(batch) for batch in store.batches(2)], [2, 1]),
    ):
        administrator.execute(TERMINATE)
        assert call() == answer


def test_a_reading_of_all_that_is_cut_says_so(store, administrator):
    store.add(some(30))
    batches = store.batches(10)
    next(batches)
    administrator.execute(TERMINATE)
    with pytest.raises(StoreError, match="terminating connection.* the next call connects anew"):
        list(batches)


# --- others who write


def list_all(store):
    return list(store.batches())


def test_an_index_that_was_made_anew(store, url):
    store.add(some(3))
    with create_store(url, SIGNATURE, overwrite=True):
        for use in (
            len,
            lambda s: s.get(["item 1"]),
            lambda s: s.add(some(1)),
            lambda s: [*s.batches()],
        ):
            with pytest.raises(StoreError, match="replaced since it was opened"):
                use(store)


def test_a_second_writer_waits_and_then_says_so(store, url, administrator):
    store.add(some(3))
    with open_store(f"{url}&timeout=0.05") as hasty:
        with administrator.transaction():
            administrator.execute(
                "SELECT pg_advisory_xact_lock_shared(hashtext('twinset_items'), %s::int)",
                [store._table.number],
            )
            for write in (
                lambda: hasty.remove(["item 1"]),
                lambda: hasty.add(some(1), replace=True),
                lambda: hasty.update_metadata(["item 1"], [{}]),
                hasty.build_approximate,
            ):
                with pytest.raises(StoreError, match="Others have held .* for 0.05 s. Nothing was"):
                    write()
            assert len(hasty) == 3  # readers wait for nobody
            hasty.add(some(1, prefix="new"))  # nor do those who put in what is new
        hasty.remove(["item 1"])
    assert len(store) == 3


def test_writers_put_in_side_by_side(store, url):
    """Each item once, whoever puts it in, and in the order of each."""

    def write(own):
        with open_store(url) as mine:
            for turn in range(10):
                mine.add(Items([f"again {i}" for i in range(3)], np.ones((3, 4))), replace=True)
                first = own * 1000 + turn * 10
                new = Items([f"{first + i}" for i in range(10)], np.zeros((10, 4)))
                mine.add(new, replace=turn % 2 == 0)
                with suppress(StoreError):  # one of the two is too late
                    mine.add(Items([f"same {turn}", f"too {own} {turn}"], np.ones((2, 4))))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, range(2)))
    found = [id_ for batch in list_all(store) for id_ in batch.ids]
    assert len(found) == len(set(found)) == 2 * 100 + 2 * 10 + 3
    for own in range(2):
        mine = [int(id_) for id_ in found if id_.isdigit() and int(id_) // 1000 == own]
        assert mine == sorted(mine)


# --- how items are kept


LAYOUTS = {
    "parts": "partitions=4",
    "column": "partition_by=label&partitions=3",
    "halves": "vectors=float16",
    "all": "partition_by=label&vectors=float16",
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_layouts_answer_as_a_folder_does(url, layout, tmp_path):
    items = some(40)
    metadata = [{"label": ("a", "b", 1, 1.0, None)[i % 5], "row": i} for i in range(35)] + [{}] * 5
    items = Items(items.ids, items.vectors, metadata)
    with (
        create_store(f"{url}&{layout}", SIGNATURE) as store,
        create_store(str(tmp_path / "a.index"), SIGNATURE) as folder,
    ):
        for each in (store, folder):
            each.add(items)
            with pytest.raises(StoreError, match="has 'item 7' already"):
                each.add(Items(["other", "item 7"], np.ones((2, 4))))
            each.update_metadata(["item 3", "item 4"], [{"label": "a"}, {"label": "moved"}])
            each.add(Items(["item 5", "new"], np.ones((2, 4))), replace=True)
            each.remove(["item 6"])
        with open_store(url) as again:  # without a word of how
            queries = grid(np.random.default_rng(1), 5, 4)
            for where in ((), ["label=a"], ["label=1"], ["label=moved", "row=4"], ["label!=a"]):
                asked = {"k": 7, "where": where}
                assert again.search(queries, **asked) == folder.search(queries, **asked)
                assert again.page(2, 5, where=where) == folder.page(2, 5, where=where)
            assert again.search(queries, k=None, within=2.0) == folder.search(
                queries, k=None, within=2.0
            )
            assert again.columns(2) == folder.columns(2)
            before = again.version()
            again.remove(["new"])
            assert again.version() != before
            assert [b.ids for b in again.batches(9)] != [b.ids for b in folder.batches(9)]
            folder.remove(["new"])
            assert [b.ids for b in again.batches(9)] == [b.ids for b in folder.batches(9)]
            with create_store(again.beside(), SIGNATURE) as side:
                assert side._table.layout == store._table.layout


def test_writing_between_two_batches(store):
    items = some(10)
    store.add(items)
    read = []
    for batch in store.batches(3):
        store.remove(batch.ids)
        read += batch.ids
    assert read == list(items.ids)  # as they were when it began
    assert len(store) == 0


def test_readers_see_one_state(store, url):
    stop, seen = threading.Event(), set()
    names = [f"item {i}" for i in range(30)]
    store.add(Items(names, np.zeros((30, 4)), [{"turn": 0}] * 30))
    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(check_states, url, stop, seen) for _ in range(2)]
        for turn in range(1, 40):
            store.add(Items(names, np.full((30, 4), turn), [{"turn": turn}] * 30), replace=True)
        stop.set()
        for reader in readers:
            reader.result()
    assert len(seen) > 3


def test_a_writer_is_killed(store, url):
    last = 0
    for turns, after in ((1, 0.004), (3, 0.011), (2, 0.0)):
        said = kill_a_writer(url, first=last + 1, turns=turns, after=after)
        last = check_what_is_left(url, said)


# --- search


def test_more_equally_far_than_are_asked_for(store, administrator):
    same = np.ones((200, 4), np.float32)
    store.add(Items([f"{i:03}" for i in range(200)], same))
    # moves them behind the others in the table, where a plain scan finds them last
    administrator.execute(
        f"UPDATE {catalogue.table_name(store._table.number)} SET id = id WHERE position < 100"
    )
    (hits,) = store.search(np.zeros((1, 4)), k=3)
    assert [hit.id for hit in hits] == ["000", "001", "002"]


@pytest.mark.parametrize("offset", [0.0, 1000.0, 1e6])
def test_far_from_the_origin(store, offset):
    rng = np.random.default_rng(0)
    vectors = np.float32(rng.normal(size=(300, 4)) + offset)
    store.add(Items([str(i) for i in range(300)], vectors))
    for query, hits in zip(vectors[:20], store.search(vectors[:20], k=5), strict=True):
        found = [far for far, _ in nearest(vectors, query, k=5)]
        np.testing.assert_allclose([hit.distance for hit in hits], found, rtol=1e-6)


def test_texts_are_compared_by_code_points():
    """Read from the SQL: this server knows no language, in whose order it would show."""
    for sign in ("<", "<=", ">", ">="):
        text, parameters = sql_of(Condition("name", sign, "B"))
        assert f'(metadata ->> %s) COLLATE "C" {sign} %s' in text
        assert parameters == ["name", "name", "B"]


def test_whole_floats_are_written_with_all_their_digits():
    assert mapping_json({"a": 1e23, "b": 10**15, "c": -0.5}) == (
        '{"a": 99999999999999991611392.0, "b": 1000000000000000, "c": -0.5}'
    )
    assert mapping_json({'q"': None, "t": True, "x": "ü"}) == (
        '{"q\\"": null, "t": true, "x": "\\u00fc"}'
    )


# --- HNSW


@pytest.fixture
def clusters():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(20, 16))[rng.integers(0, 20, 1500)] + rng.normal(size=(1500, 16)) / 9
    return Items(
        [str(i) for i in range(1500)],
        vectors,
        [{"even": i % 2 == 0, "rare": i % 500 == 0} for i in range(1500)],
    )


def index_scans(administrator, store):
    administrator.execute("SELECT pg_stat_clear_snapshot()")
    return administrator.execute(
        "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = %s",
        [f"twinset_hnsw_{store._table.number}"],
    ).fetchone()[0]


def flush_statistics(store):
    with store._transactions.connection() as connection:
        connection.execute("SELECT pg_stat_force_next_flush()")


def test_approximate_search(url, clusters, administrator):
    with create_store(url, Signature("m", 16)) as store:
        store.add(clusters)
        assert store.approximation is None
        truth = store.search(clusters.vectors[:20])
        built = store.build_approximate(recall=0.9)
        assert built.kind.startswith("pgvector HNSW, ef_search ")
        assert (built.items, built.queries) == (1500, 100)
        assert 0.9 <= built.recall <= 1
        flush_statistics(store)
        before = index_scans(administrator, store)
        assert store.search(clusters.vectors[:20], exact=True) == truth
        assert store.search(clusters.vectors[:20], k=None, within=0.5)
        flush_statistics(store)
        assert index_scans(administrator, store) == before  # exact search leaves it alone
        found = store.search(clusters.vectors[:20])
        flush_statistics(store)
        assert index_scans(administrator, store) == before + 20
        ids = [{hit.id for hit in hits} for hits in truth]
        share = np.mean(
            [hit.id in true for true, hits in zip(ids, found, strict=True) for hit in hits]
        )
        assert share > 0.85
        with open_store(url) as again:
            assert again.approximation == built
            assert again.search(clusters.vectors[:3]) == found[:3]
            alone = [again.search(query[None])[0] for query in clusters.vectors[:20]]
            assert alone == found
            flush_statistics(again)
            assert index_scans(administrator, store) == before + 43
            # what another has changed is noticed, and what is gone as well
            store.build_approximate(recall=0.9999)
            assert again.search(clusters.vectors[:20]) == truth
            administrator.execute(store._table.sql("DROP INDEX {hnsw}"))
            assert again.search(clusters.vectors[:20]) == truth
            store.build_approximate(recall=0.9)
        # the server keeps it up to date
        store.add(Items(["new"], clusters.vectors[:1] + 1e-4))
        store.remove(["0"])
        assert store.search(clusters.vectors[:1])[0][0].id == "new"


def test_as_many_are_found_where_the_nearest_were_taken_out(url, clusters):
    """The index keeps what is deleted until a vacuum, and its own candidates may all be that."""
    with create_store(url, Signature("m", 16)) as store:
        store.add(clusters)
        effort = int(store.build_approximate(recall=0.9).kind.split()[-1])
        query = clusters.vectors[:1]
        nearest = store.search(query, k=effort + 20, exact=True)[0]
        store.remove([hit.id for hit in nearest])
        truth = {hit.id for hit in store.search(query, exact=True)[0]}
        for _ in range(2):  # the second one knows the index
            found = {hit.id for hit in store.search(query)[0]}
            assert len(found) == 10
            assert len(found & truth) > 5
        # more than the index keeps in mind, and more than there are
        for k in (1200, 5000):
            assert len(store.search(query, k=k)[0]) == min(k, len(store))
        assert store.search(query, k=5000) == store.search(query, k=5000, exact=True)


def test_statements_that_the_server_has_forgotten_or_has_already(url, clusters):
    """As behind a pool, where the next transaction may be on another server's connection."""
    with create_store(url, Signature("m", 16)) as store:
        store.add(clusters)
        store.build_approximate(recall=0.9)
        queries = clusters.vectors[:3]
        found = store.search(queries)  # from here on it knows the index

        def prepared():
            with store._transactions.connection() as connection:
                return connection.execute(
                    "SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'twinset%'"
                ).fetchone()[0]

        assert store.search(queries) == found
        assert prepared() > 0
        with store._transactions.connection() as connection:
            connection.execute("DEALLOCATE ALL")
        assert store.search(queries) == found
        assert [store.search(query[None])[0] for query in queries] == found
        assert prepared() == 0  # not again on this connection


def test_conditions_with_hnsw(url, clusters):
    with create_store(url, Signature("m", 16)) as store:
        store.add(clusters)
        store.build_approximate()
        query = clusters.vectors[:1]
        assert len(store.search(query, where={"even": False})[0]) == 10
        with open_store(f"{url}&options=-c%20hnsw.max_scan_tuples%3D1") as hasty:
            # so few that HNSW gives up: all three are found all the same
            (hits,) = hasty.search(query, where={"rare": True})
            assert sorted(hit.id for hit in hits) == ["0", "1000", "500"]
        assert store.search(query, within=1e-9) == store.search(query, within=1e-9, exact=True)


def test_conditions_use_the_index_on_metadata_and_one_part(url, clusters, administrator):
    def plan(store, where):
        text, parameters = store._table._where(conditions(where))
        statement = store._table.sql(f"EXPLAIN SELECT id FROM {{table}}{text}")
        return "\n".join(row[0] for row in administrator.execute(statement, parameters))

    with create_store(f"{url}&partition_by=even&partitions=3", Signature("m", 16)) as store:
        store.add(clusters)
        administrator.execute(store._table.sql("ANALYZE {table}"))
        assert plan(store, {"rare": True}).count("Seq Scan on twinset_items") == 3
        assert plan(store, {"even": True}).count("Scan on twinset_items") == 1
        store.build_approximate(recall=0.9)
        # one part is empty
        assert plan(store, {"rare": True}).count("Bitmap Index Scan") == 2
        (hits,) = store.search(clusters.vectors[:1], where={"rare": True})
        assert sorted(hit.id for hit in hits) == ["0", "1000", "500"]


def test_halves_keep_the_neighbours(url, clusters):
    """What is lost by two bytes a number, and that HNSW answers over them."""
    with create_store(f"{url}&vectors=float16", Signature("m", 16)) as store:
        with pytest.raises(
            StoreError, match="within ±65,504, as this index keeps float16. Received"
        ):
            store.add(Items(["far"], np.full((1, 16), 1e5)))
        store.add(clusters)
        kept = np.float32(np.float16(clusters.vectors))
        assert (store.get(clusters.ids).vectors == kept).all()
        store.build_approximate(recall=0.9)
        for answers in (store.search(clusters.vectors[:20], exact=True), store.search(kept[:20])):
            truth = [nearest(clusters.vectors, query, k=10) for query in clusters.vectors[:20]]
            shares = [
                len({int(hit.id) for hit in hits} & {at for _, at in true}) / 10
                for hits, true in zip(answers, truth, strict=True)
            ]
            assert np.mean(shares) > 0.9


def test_tight_classes_put_in_one_after_the_other_are_found(url, monkeypatch):
    """As from a folder for each class: by pgvector's own settings 1 in 30 neighbours is missed."""
    rng = np.random.default_rng(0)
    centres = np.repeat(rng.normal(size=(200, 32)), 15, axis=0)
    rows = (centres + 0.02 * rng.normal(size=centres.shape)).astype(np.float32)
    with create_store(url, Signature("m", 32)) as store:
        store.add(Items([str(at) for at in range(len(rows))], rows))
        built = store.build_approximate(recall=0.995)
        assert (built.kind, built.recall) == ("pgvector HNSW, ef_search 40", 1)
        # where few candidates are not enough, it is built again with more
        monkeypatch.setattr(hnsw, "EFFORTS", (40,))
        monkeypatch.setattr(hnsw, "BREADTHS", (32, 256))
        assert store.build_approximate(recall=0.995) == built
        monkeypatch.setattr(hnsw, "BREADTHS", (32,))
        with pytest.raises(StoreError, match=r"HNSW finds [89]\d.\d% of .*, and not 99.5%"):
            store.build_approximate(recall=0.995)
        assert store.approximation == built


def test_hnsw_over_nothing(store):
    built = store.build_approximate()
    assert np.isnan(built.recall)
    assert (built.items, built.queries) == (0, 0)
    assert np.isnan(store.approximation.recall)
    store.add(some(30))
    assert len(store.search(np.zeros((1, 4)))[0]) == 10


@pytest.mark.parametrize("recall", [0, 1, -0.5, float("nan")])
def test_recalls_that_cannot_be_asked_for(store, recall):
    with pytest.raises(StoreError, match=r"Expected a recall between 0 and 1. Received"):
        store.build_approximate(recall=recall)


def test_a_recall_that_is_not_reached_changes_nothing(store, monkeypatch):
    monkeypatch.setattr("twinset.search.postgresql.hnsw.nearest", lambda *_: [])
    store.add(some(30))
    with pytest.raises(StoreError, match="HNSW finds 0.0% of the true 10 nearest at its best"):
        store.build_approximate()
    assert store.approximation is None


def test_embeddings_too_large_for_hnsw(url):
    with (
        create_store(url, Signature("m", 2001)) as store,
        pytest.raises(StoreError, match="HNSW takes embeddings of size 2,000 or less"),
    ):
        store.build_approximate()
