"""What is Milvus' own: files and servers, states without transactions, limits, expressions."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

from search_oracles import grid, nearest
from search_writing import check_states, check_what_is_left, kill_a_writer
from twinset.errors import StoreError
from twinset.search.milvus import address as addresses
from twinset.search.milvus import catalogue, rows
from twinset.search.milvus.rows import Rows, expressible, expression
from twinset.search.store import Items, Signature, create_store, open_store
from twinset.search.where import Condition, conditions

SIGNATURE = Signature("digest-of-a-model", 4)


@pytest.fixture
def url(tmp_path):
    pytest.importorskip("pymilvus", reason="needs pymilvus: pip install -e '.[dev]'")
    pytest.importorskip("milvus_lite", reason="needs milvus-lite: pip install -e '.[dev]'")
    return f"milvus://{tmp_path}/photos.db?index=shoes"


@pytest.fixture
def store(url):
    with create_store(url, SIGNATURE) as made:
        yield made


def some(n, seed=0, prefix="item"):
    return Items(
        [f"{prefix} {i}" for i in range(n)],
        grid(np.random.default_rng(seed), n, 4),
        [{"row": i, "odd name/": i % 3} for i in range(n)],
    )


def names(store):
    return [id_ for items in store.batches() for id_ in items.ids]


# --- servers and files that refuse, each in one line


def refused(url, words, make=False):
    with pytest.raises(StoreError, match=words) as caught:
        create_store(url, SIGNATURE) if make else open_store(url)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None
    return str(caught.value)


def test_no_server(capfd):
    pytest.importorskip("pymilvus")
    url = "milvus://me:secret@localhost:1?index=shoes&timeout=0.5"
    said = refused(url, "No answer from .*Is the")
    assert "secret" not in said
    assert capfd.readouterr().err == ""  # pymilvus would log a traceback


def test_no_file(tmp_path):
    refused(f"milvus://{tmp_path}/photos.db?index=shoes", "There is no index .*no file .*photos.db")
    assert list(tmp_path.iterdir()) == []


def test_no_such_index(store, url):
    refused(url.replace("shoes", "shirts"), "There is no index at .*none of this name")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("milvus://host?index=a b", "the name of at most 100 letters, digits and underscores"),
        ("milvus://host?index=1st", "not beginning with a digit"),
        ("milvus://host", "Expected milvus://host:19530.index=NAME or"),
        ('milvus://host?index=a"or"b', "Expected milvus://host:19530.index=NAME or"),
        ("milvus://host:port?index=a", "Received an address that is none: Port could not be cast"),
        ("milvus://host?index=a&nonsense=1", "Received 'index=a&nonsense=1'"),
        ("milvus://host?index=a&timeout=0", "Expected .*timeout={seconds}, .*Received .*timeout=0"),
        ("milvus://host?index=a&vectors=float16", "Expected vectors=float32 or int8 for milvus:"),
        ("milvus://host?index=a&consistency=weak", "Expected consistency=bounded or strong"),
        ("milvus:///tmp/photos?index=a", "where .db marks a file. Received milvus:///tmp/photos"),
    ],
)
def test_addresses_that_are_none(url, words):
    refused(url, words)


def test_addresses():
    place = addresses.address("milvus://me:a%40b@db:1/photos?index=shoes&secure=true")
    assert (place.server, place.token, place.database) == ("https://db:1", "me:a@b", "photos")
    assert place.consistency == "Bounded"
    assert place.shown == "milvus://me@db:1/photos?index=shoes"
    place = addresses.address("milvus://[::1]?index=shoes&consistency=strong")
    assert (place.server, place.token, place.database) == ("http://[::1]:19530", "", "")
    assert place.consistency == "Strong"
    assert addresses.address("milvus:///a%20b/c.db?index=x").server == "/a b/c.db"


def test_another_process_has_the_file(store, url):
    script = (
        "import sys\nfrom twinset.search.store import open_store, StoreError\n"
        "try:\n    open_store(sys.argv[1])\nexcept StoreError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, url], capture_output=True, text=True, check=True
    )
    assert "Another process has the file open" in done.stdout
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""  # milvus-lite would log a traceback


def test_two_stores_share_a_file_and_the_last_one_lets_go(store, url):
    with open_store(url) as other:
        store.add(some(3))
        store.close()
        assert len(other) == 3
    with open_store(url) as again:
        assert len(again) == 3


def test_ids_are_asked_for_unless_all_are_known(url):
    """Who begins with an empty index knows its ids, until somebody else writes."""
    items = some(9)
    with create_store(url, SIGNATURE) as first, open_store(url) as second:
        first.add(items)
        first.add(some(9, prefix="more"))
        for store, prefix in ((first, "more"), (second, "item"), (second, "more")):
            with pytest.raises(StoreError, match=f"'{prefix} 0'"):
                store.add(some(1, prefix=prefix))
        second.add(some(3, prefix="other"))
        with pytest.raises(StoreError, match="'other 2'"):
            first.add(some(3, prefix="other"))
        second.remove(["more 0"])
        first.add(some(1, prefix="more"))
        first.add(some(9, seed=1), replace=True)
        assert len(first) == len(second) == 21
        assert (second.get(items.ids).vectors == some(9, seed=1).vectors).all()


def test_an_index_of_another_format(store, url, monkeypatch):
    monkeypatch.setattr(catalogue, "FORMAT", 99)
    with pytest.raises(StoreError, match="has format 4"):
        store.add(some(1))
    catalogue.write(store._client, store._place, store._state.purged())
    monkeypatch.undo()
    refused(url, "has format 99, and this version of twinset reads format 4. Open it with")
    refused(url, "There is an index at", make=True)
    with create_store(url, SIGNATURE, overwrite=True) as new:
        assert len(new) == 0
    open_store(url).close()


@pytest.mark.parametrize("package", ["pymilvus", "milvus_lite"])
def test_a_package_is_missing(monkeypatch, url, package):
    monkeypatch.setitem(sys.modules, package, None)
    refused(url, r"pip install 'twinset\[milvus\]'", make=True)


# --- limits


def test_what_milvus_does_not_take(store, url):
    store.add(some(2))
    for id_, known, words in (
        ("x" * 65_536, {}, "Milvus takes an id of 65,535 bytes or less"),
        ("ü" * 40_000, {}, "this one has 80,000"),
        ("a", {"text": "x" * 65_536}, "Milvus takes metadata of 'a' of 65,536 bytes or less"),
    ):
        with pytest.raises(StoreError, match=words):
            store.add(Items(["new", id_], np.ones((2, 4)), [{}, known]))
    assert names(store) == ["item 0", "item 1"]
    store.add(Items(["x" * 65_535, "b"], np.ones((2, 4)), [{}, {"text": "x" * 60_000}]))
    assert store.get(["b"]).metadata[0]["text"] == "x" * 60_000
    with pytest.raises(StoreError, match="Milvus takes .* 32,768 or less, and these have 32,769"):
        create_store(url, Signature("m", 32_769), overwrite=True)


def test_embeddings_of_size_1(tmp_path):
    pytest.importorskip("milvus_lite")
    with create_store(f"milvus://{tmp_path}/one.db?index=one", Signature("m", 1)) as store:
        store.add(Items(["a", "b", "c"], [[1], [5], [3]]))
        assert [hit.id for hit in store.search([[4.5]], k=2)[0]] == ["b", "c"]
        assert store.get(["c"]).vectors.tolist() == [[3]]


def test_more_than_one_message_holds(store, monkeypatch):
    """Searches beyond what Milvus returns at once read everything; insertions are cut up."""
    monkeypatch.setattr(rows, "_BYTES", 20 * (4 * 4 + 512))
    monkeypatch.setattr(rows, "_NAMED", 7)
    assert store._rows.at_once == 20
    store.add(some(130))
    store.remove([f"item {i}" for i in range(30, 50)])
    kept = [i for i in range(130) if not 30 <= i < 50]
    vectors, query = some(130).vectors[kept], np.ones(4)
    assert names(store) == [f"item {i}" for i in kept]
    assert [len(items) for items in store.batches(25)] == [25, 25, 25, 25, 10]
    for k, within in ((3, None), (15, None), (100, None), (None, 2.0), (200, 1.5)):
        (hits,) = store.search(query[None], k=k, within=within)
        found = nearest(vectors, query, k=k, within=within)
        assert [hit.id for hit in hits] == [f"item {kept[at]}" for _, at in found]


@pytest.mark.parametrize("offset", [0.0, 1000.0, 1e6])
def test_far_from_the_origin(store, offset):
    vectors = np.float32(np.random.default_rng(0).normal(size=(300, 4)) + offset)
    store.add(Items([str(i) for i in range(300)], vectors))
    for query, hits in zip(vectors[:10], store.search(vectors[:10], k=5), strict=True):
        found = [far for far, _ in nearest(vectors, query, k=5)]
        np.testing.assert_allclose([hit.distance for hit in hits], found, rtol=1e-6)


def test_a_server_that_cancels_digits(store, monkeypatch):
    """Some ways to compute distances are far off, far from the origin: ‖a‖² + ‖b‖² − 2 a·b."""
    vectors = np.float32(np.random.default_rng(0).normal(size=(300, 4)) + 3000)
    store.add(Items([str(i) for i in range(300)], vectors))
    everything = store._rows.page(0, 300, "position >= 0", "Strong")
    squares = (vectors * vectors).sum(axis=1)

    def careless(self, query, filter_, limit, consistency):
        order = np.argsort(query @ query + squares - 2 * (vectors @ query), kind="stable")
        return everything.take(order[:limit]), limit > 300

    monkeypatch.setattr(Rows, "nearest", careless)
    for query, hits in zip(vectors[:10], store.search(vectors[:10], k=5), strict=True):
        found = [str(at) for _, at in nearest(vectors, query, k=5)]
        assert [hit.id for hit in hits] == found


def test_more_equally_far_than_are_asked_for(store):
    names_ = [f"{i:03}" for i in range(200)]
    store.add(Items(names_, np.ones((200, 4))))
    store.add(Items(names_[:100], np.ones((100, 4))), replace=True)
    (hits,) = store.search(np.zeros((1, 4)), k=3)
    assert [hit.id for hit in hits] == ["100", "101", "102"]


def test_rows_that_come_twice(store, monkeypatch):
    """As Milvus Lite returns some after it was killed at a certain moment."""
    store.add(some(30))
    expected = names(store), store.search(np.ones((1, 4)), k=25)
    query, search = store._client.query, store._client.search

    def doubled(collection, filter, output_fields, **rest):  # noqa: A002 - the client's name
        found = query(collection, filter=filter, output_fields=output_fields, **rest)
        if output_fields == ["count(*)"]:
            return [{"count(*)": 2 * found[0]["count(*)"]}]
        return [*found, *found]

    def searched(*arguments, limit, **rest):
        (hits,) = search(*arguments, limit=limit, **rest)
        return [[hit for hit in hits for _ in range(2)][:limit]]

    monkeypatch.setattr(store._client, "query", doubled)
    monkeypatch.setattr(store._client, "search", searched)
    assert (names(store), store.search(np.ones((1, 4)), k=25)) == expected
    assert store.get(["item 7", "item 2"]).ids == ("item 7", "item 2")
    store.add(some(2, prefix="more"))
    store.remove(["item 3"])
    assert len(store) == len(names(store)) == 31


def test_ids_with_the_same_key(store, monkeypatch):
    monkeypatch.setattr(rows, "key", lambda id_: 7)
    store.add(some(5))
    assert store.get(["item 3"]).ids == ("item 3",)
    store.remove(["item 3"])
    assert names(store) == ["item 0", "item 1", "item 2", "item 4"]
    with pytest.raises(StoreError, match="has no 'item 3'"):
        store.get(["item 3"])


# --- conditions


def test_what_is_asked_of_milvus():
    where = conditions(['"a b"<1.5', "t=true", "label='x-1'", "n!=1", "u=null", "'a\"]'=1"])
    assert [expressible(condition) for condition in where] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]
    assert expression(where) == (
        'metadata["a b"] < 1.5 and metadata["t"] == true and metadata["label"] == "x-1"'
    )
    assert expression(()) == ""
    for value in ('a"b', "a\\b", "a\nb", "a%", "{x}", 2**53, -(2.0**60)):
        assert not expressible(Condition("name", "=", value))


@pytest.mark.parametrize("where", [{"odd name/": 1}, ["row!=5"], ["row<90", "row!=5"], {"row": 7}])
def test_conditions_that_milvus_cannot_answer(store, where):
    items = some(100)
    store.add(items)
    asked = conditions(where)
    for k, within in ((5, None), (None, 6.0)):
        (hits,) = store.search(np.ones((1, 4)), k=k, within=within, where=where)
        found = nearest(
            items.vectors, np.ones(4), k=k, within=within, metadata=items.metadata, where=asked
        )
        assert [hit.id for hit in hits] == [items.ids[at] for _, at in found]
        assert hits


# --- whole or not at all


def fails(*_, **__):
    raise RuntimeError("killed here")


def replace_all(store):
    store.add(some(12, seed=1), replace=True)


def breaks_off(change, *changed):
    """Make a change that ends at a step, as one that is killed there would."""
    with pytest.MonkeyPatch.context() as patch:
        for owner, name, value in changed:
            patch.setattr(owner, name, value)
        with pytest.raises(RuntimeError, match="killed here"):
            change()


def second_look_fails():
    # the first one looks for what others have left
    looks = iter([Rows.positions, fails])
    return lambda *arguments: next(looks)(*arguments)


STEPS = {
    "rows": lambda: (Rows, "positions", second_look_fails()),  # are there; no state names them
    "state": lambda: (catalogue, "write", fails),
    "cleaning": lambda: (Rows, "delete", fails),  # no state names rows that are there
}


@pytest.mark.parametrize("step", STEPS)
def test_a_change_that_breaks_off(store, url, step):
    store.add(some(10))
    before = names(store), store.search(np.ones((1, 4)), k=99)
    breaks_off(lambda: replace_all(store), STEPS[step]())
    with open_store(url) as other:
        for reader in (store, other):
            if step == "cleaning":  # it was done, but for the cleaning up
                assert names(reader) == list(some(12).ids)
                assert len(reader) == 12
                assert reader.get(["item 3"]).vectors.tolist() == [some(12, 1).vectors[3].tolist()]
                assert len(reader.search(np.ones((1, 4)), k=99)[0]) == 12
            else:
                assert (names(reader), reader.search(np.ones((1, 4)), k=99)) == before
                assert len(reader) == 10
        other.add(some(3, prefix="more"))
        assert len(store) == len(names(store)) == (15 if step == "cleaning" else 13)
        collection = store._rows.collection
        left = store._client.query(collection, filter="position >= 0", output_fields=["position"])
        assert len(left) == len(store)  # and the rubbish is gone


def test_overwriting_that_breaks_off(store, url):
    store.add(some(3))
    breaks_off(lambda: create_store(url, SIGNATURE, overwrite=True), (catalogue, "write", fails))
    assert names(store) == ["item 0", "item 1", "item 2"]
    with create_store(url, SIGNATURE, overwrite=True) as new:
        assert len(new) == 0
        assert len(new._client.list_collections()) == 2  # the catalogue and this one
        for use in (len, lambda s: s.get(["item 1"]), lambda s: s.add(some(1)), names):
            with pytest.raises(StoreError, match="replaced since it was opened"):
                use(store)


def test_large_removals_take_several_rows_of_state(store, url, monkeypatch):
    monkeypatch.setattr(catalogue, "_RANGES", 4)
    store.add(some(60))
    even = [f"item {i}" for i in range(0, 60, 2)]
    breaks_off(lambda: store.remove(even), (Rows, "delete", fails))
    with open_store(url) as other:
        assert names(other) == [f"item {i}" for i in range(1, 60, 2)]
        assert len(other.search(np.ones((1, 4)), k=99)[0]) == len(other) == 30


def test_half_a_state_does_not_count(store, monkeypatch):
    monkeypatch.setattr(catalogue, "_RANGES", 4)
    store.add(some(60))
    insert = store._client.insert

    def half(name, made, **rest):
        insert(name, made[:-1], **rest)
        fails()

    even = [f"item {i}" for i in range(0, 60, 2)]
    breaks_off(lambda: store.remove(even), (store._client, "insert", half))
    assert len(names(store)) == len(store) == 60


def test_half_an_index_file(store, url, tmp_path):
    """As Milvus Lite leaves it when it is killed while writing one."""
    store.add(some(50))
    store.close()
    files = [*tmp_path.rglob("*.flat.idx")]
    assert len(files) > 1  # of the items and of the catalogue
    for cut, file in enumerate(files):
        file.write_bytes(file.read_bytes()[: 130 * cut])
    with open_store(url) as again:
        assert names(again) == [f"item {i}" for i in range(50)]
        (hits,) = again.search(some(50).vectors[:1], k=50)
        assert len(hits) == 50
        assert hits[0].distance == 0


def test_a_writer_is_killed(url, store):
    store.close()
    last = 0
    for turns, after in ((1, 0.05), (2, 0.15)):
        said = kill_a_writer(url, first=last + 1, turns=turns, after=after)
        last = check_what_is_left(url, said)


def test_readers_see_one_state(store, url):
    stop, seen = threading.Event(), set()
    same = [f"item {i}" for i in range(30)]
    store.add(Items(same, np.zeros((30, 4)), [{"turn": 0}] * 30))
    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(check_states, url, stop, seen) for _ in range(2)]
        for turn in range(1, 12):
            store.add(Items(same, np.full((30, 4), turn), [{"turn": turn}] * 30), replace=True)
        stop.set()
        for reader in readers:
            reader.result()
    assert len(seen) > 3


def test_reading_all_while_another_removes(store, url, monkeypatch):
    monkeypatch.setattr(rows, "_BYTES", 20 * (4 * 4 + 512))
    store.add(some(100))
    batches = store.batches(20)
    assert len(next(batches)) == 20
    with open_store(url) as other:
        other.add(some(5, prefix="more"))  # does no harm
        assert len(next(batches)) == 20
        other.remove(["item 99"])
        with pytest.raises(StoreError, match="were removed or replaced while all"):
            list(batches)


def test_fewer_items_than_there_are_are_no_answer(store, url):
    """A server that restarts may for a while show less than it has."""
    store.add(some(30))
    place = addresses.address(url)
    client = addresses.connect(place, create=False)
    state, _ = catalogue.read(client, place, "Strong")
    client.delete(state.collection, ids=[7])
    addresses.disconnect(place, client)
    with pytest.raises(StoreError, match="fewer items than the 30 of milvus://.*Begin again"):
        names(store)
    with pytest.raises(StoreError, match="fewer items than the 30 of milvus://"):
        list(store.listed())


def test_a_reader_that_is_never_left_in_peace(store, url, monkeypatch):
    monkeypatch.setattr("twinset.search.milvus.store.ATTEMPTS", 4)
    store.add(some(100))
    left = iter(range(100))
    with open_store(url) as writer, pytest.MonkeyPatch.context() as patch:
        search = Rows.nearest

        def disturbed(self, *arguments):
            writer.remove([f"item {next(left)}"])
            return search(self, *arguments)

        patch.setattr(Rows, "nearest", disturbed)
        with pytest.raises(StoreError, match="during each of 4 attempts"):
            store.search(np.ones((1, 4)))
        patch.undo()
        assert len(store.search(np.ones((1, 4)), k=999)[0]) == len(store)


# --- another model

OTHER = Signature("digest-of-another", 3)


def gathered(store, n=10):
    """Put in beside a store what another model says of its items, and name what they are of."""
    with create_store(store.beside(), OTHER, overwrite=True) as side:
        side.add(Items(some(n).ids, np.full((n, 3), 7.0)))
    return store.version()


def of_one_model(url):
    """Tell whose answers an index gives, having seen that all are of this model."""
    with open_store(url) as store:
        mine = store.signature == SIGNATURE
        expected = some(10).vectors if mine else np.full((10, 3), 7.0)
        assert store.signature in (SIGNATURE, OTHER)
        assert names(store) == list(some(10).ids)
        np.testing.assert_array_equal(store.get(some(10).ids).vectors, expected)
        assert len(store.search(expected[:1], k=99)[0]) == len(store) == 10
        return store.signature.model, [one["who"] for one in store.records("decisions")]


CHANGES = ("insert", "delete", "drop_collection")


def breaks_off_at(number, store, change):
    """Make a change that is killed before what it asks for the number-th time; tell if it was."""
    asked = iter(range(number))

    def counted(call):
        return lambda *given, **named: (
            fails() if next(asked, None) is None else call(*given, **named)
        )

    with pytest.MonkeyPatch.context() as patch:
        for name in CHANGES:
            patch.setattr(type(store._client), name, counted(getattr(type(store._client), name)))
        try:
            change()
        except RuntimeError:
            return True
    return False


@pytest.mark.parametrize("back", [False, True], ids=["switch", "back"])
def test_a_switch_that_is_killed_at_any_step(url, back):
    old, new = (OTHER, SIGNATURE) if back else (SIGNATURE, OTHER)
    whose = []
    with create_store(url, SIGNATURE) as store:
        store.add(some(10))
        store.record("decisions", [{"who": "anna"}])
    for number in range(99):
        with open_store(url) as store:
            if store.signature != old and number:
                store.roll_back()
            elif store.signature != old:
                assert store.switch(gathered(store))
            change = store.roll_back if back else partial(store.switch, gathered(store))
            killed = breaks_off_at(number, store, change)
        whose.append(of_one_model(url))
        if not killed:
            break
    models = [model for model, _ in whose]
    # one moment, and before and after it steps at which a kill leaves the one or the other
    moment = models.index(new.model)
    assert 0 < moment < len(models) - 1
    assert models == [old.model] * moment + [new.model] * (len(models) - moment)
    assert all(who == ["anna"] for _, who in whose)
    with open_store(url) as store:
        assert store.switch(gathered(store))
        # the catalogue, these items and those before
        assert len(store._client.list_collections()) == 3


def test_what_a_switch_that_was_killed_has_taken_is_not_filled_again(store, url):
    """It was named beside, and is now named by the index: nobody may change it there."""
    store.add(some(10))
    version = gathered(store)
    breaks_off(lambda: store.switch(version), (catalogue, "tidy", fails))
    with open_store(url) as again:
        assert again.signature == OTHER
        refused(again.beside(), "There is no index at")
        again.roll_back()
    assert of_one_model(url)[0] == SIGNATURE.model


def test_a_search_that_began_before_a_switch_ends(store, url, monkeypatch):
    store.add(some(10))
    version = gathered(store)
    expected = store.search(np.ones((1, 4)), k=5)
    search = Rows.nearest

    def meanwhile(self, *arguments):
        monkeypatch.setattr(Rows, "nearest", search)
        with open_store(url) as other:
            assert other.switch(version)
        return search(self, *arguments)

    monkeypatch.setattr(Rows, "nearest", meanwhile)
    batches = store.batches(4)
    assert len(next(batches)) == 4
    assert store.search(np.ones((1, 4)), k=5) == expected
    assert [len(items) for items in batches] == [4, 2]
    with pytest.raises(StoreError, match="replaced since it was opened"):
        store.search(np.ones((1, 4)), k=5)


def test_a_writer_in_another_process_during_a_switch(store, url, monkeypatch):
    """What it has written is not lost, and whatever comes too late is told."""
    store.add(some(10))
    version = gathered(store)
    writer, insert = open_store(url), catalogue.insert

    def meanwhile(client, place, state):
        monkeypatch.setattr(catalogue, "insert", insert)
        if state.before is not None:  # after the switch has read, before it has written
            writer.add(some(1, prefix="more"))
        insert(client, place, state)

    monkeypatch.setattr(catalogue, "insert", meanwhile)
    assert not store.switch(version)
    assert (len(store), store.signature) == (11, SIGNATURE)

    def too_late(client, place, state):
        monkeypatch.setattr(catalogue, "insert", insert)
        assert store.switch(store.version())
        insert(client, place, state)

    monkeypatch.setattr(catalogue, "insert", too_late)
    with writer, pytest.raises(StoreError, match="replaced since it was opened"):
        writer.add(some(1, prefix="late"))
    store.roll_back()
    assert names(store)[-1] == "more 0"
    assert (len(store), len(names(store))) == (11, 11)


def test_two_that_record_at_once(store, url, monkeypatch):
    query = store._client.query
    with open_store(url) as other:

        def meanwhile(name, **asked):
            found = query(name, **asked)
            if "decisions" in asked["filter"] and other is not None:
                monkeypatch.setattr(store._client, "query", query)
                other.record("decisions", [{"who": "ben"}])
            return found

        monkeypatch.setattr(store._client, "query", meanwhile)
        store.record("decisions", [{"who": "anna"}])
        assert sorted(one["who"] for one in other.records("decisions")) == ["anna", "ben"]


def test_milvus_lite_has_exact_search_only(store):
    assert store.approximation is None
    with pytest.raises(
        StoreError, match="photos.db.index=shoes has exact search only, as a file of Milvus"
    ):
        store.build_approximate()
