"""What every store promises, asked of each: `conftest.PLACES` lists them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from search_oracles import grid, nearest
from twinset import distance
from twinset.errors import StoreError
from twinset.search.store import Items, Neighbour, Signature, create_store, open_store
from twinset.search.where import Condition

SIGNATURE = Signature("digest-of-a-model", 4)

# Texts that would break out of quotes, paths, patterns or encodings.
WILD = [
    "'; DROP TABLE items; --",
    'a"b',
    "a'b",
    "a\\b",
    "a\\'b",
    'a\\"b',
    "100%_[x]",
    "$.a.b",
    "a]b",
    "{x}",
    ":x ?1 $1 %s",
    "line\nbreak\ttab",
    "größer → 字 🙂",
    " blank ends ",
    "null",
    "true",
    "1",
    "\x01",
    "\u2028",
    "Ünïcode",
    "e\u0301",
    "é",
    "x" * 300,
]
VALUES = [
    "shoe",
    "Shoe",
    "shoe ",
    "",
    "10",
    "true",
    "null",
    10,
    10.0,
    9.5,
    -3,
    0,
    0.1,
    1 / 3,
    0.1 + 0.2,
    2**53 + 1,
    2**53,
    -(2**63),
    2**63 - 1,
    1e300,
    5e-324,
    True,
    False,
    None,
    "größer",
    "z",
    "\U0001f642",
    "\uffff",
]


@pytest.fixture
def store(url):
    with create_store(url, SIGNATURE) as made:
        yield made


def some(n=6, seed=0, prefix="item"):
    """Items on a grid of whole numbers, where many distances are equal."""
    rng = np.random.default_rng(seed)
    return Items(
        [f"{prefix} {i}" for i in range(n)],
        grid(rng, n, 4),
        [{"row": i, "label": ("shoe", "shirt")[i % 2]} for i in range(n)],
    )


def everything(store, size=10_000):
    return [
        (id_, vector.tolist(), dict(known))
        for items in store.batches(size)
        for id_, vector, known in zip(items.ids, items.vectors, items.metadata, strict=True)
    ]


def listed(items):
    return [
        (id_, vector.tolist(), dict(known))
        for id_, vector, known in zip(items.ids, items.vectors, items.metadata, strict=True)
    ]


def ids(hits):
    return [[hit.id for hit in row] for row in hits]


# --- what is put in comes out


def test_a_new_store_is_empty(store):
    assert len(store) == 0
    assert store.signature == SIGNATURE
    assert store.search(np.zeros((2, 4))) == [[], []]
    assert everything(store) == []
    assert store.get([]).vectors.shape == (0, 4)


def test_items_come_back_as_they_were(store, url):
    items = some()
    store.add(items)
    assert len(store) == 6
    assert everything(store) == listed(items)
    back = store.get(["item 4", "item 1"])
    assert back.ids == ("item 4", "item 1")
    assert listed(back) == [listed(items)[4], listed(items)[1]]
    store.close()
    with open_store(url) as again:
        assert again.signature == SIGNATURE
        assert len(again) == 6
        assert everything(again) == listed(items)


def test_vectors_come_back_to_the_last_bit(store):
    vectors = np.random.default_rng(0).normal(size=(50, 4)) * 10.0 ** np.arange(-25, 25, 1)[:, None]
    vectors = np.clip(vectors, -1e15, 1e15).astype(np.float32)
    vectors[0] = [0.0, -0.0, 1e-45, 1e15]
    store.add(Items([str(i) for i in range(50)], vectors))
    assert store.get([str(i) for i in range(50)]).vectors.tobytes() == vectors.tobytes()


def test_metadata_keep_their_kinds(store):
    known = {f"name {i}": value for i, value in enumerate(VALUES)}
    store.add(Items(["a", "b"], np.eye(2, 4), [known, {}]))
    back = dict(store.get(["a"]).metadata[0])
    assert back == known
    assert [type(back[name]) for name in known] == [type(value) for value in known.values()]
    (hits,) = store.search(np.eye(1, 4), k=1)
    assert hits == [Neighbour("a", 0.0, known)]


def test_any_text_is_an_id_a_name_and_a_value(store):
    items = Items(
        WILD,
        np.eye(len(WILD), 4) + np.arange(len(WILD))[:, None],
        [{text: i, "same": text} for i, text in enumerate(WILD)],
    )
    store.add(items)
    assert everything(store) == listed(items)
    for i, text in enumerate(WILD):
        assert store.get([text]).vectors.tolist() == [items.vectors[i].tolist()]
        assert ids(store.search(np.zeros((1, 4)), where={text: i})) == [[text]]
        assert ids(store.search(np.zeros((1, 4)), where={"same": text})) == [[text]]
    store.remove(WILD[:3])
    assert [row[0] for row in everything(store)] == WILD[3:]


def test_more_items_than_a_statement_has_room_for(store):
    items = some(4000)
    store.add(items)
    assert store.get(items.ids).vectors.tobytes() == items.vectors.tobytes()
    store.add(items, replace=True)
    assert len(store) == 4000
    assert [row[0] for row in everything(store, 999)] == list(items.ids)
    store.remove(items.ids[:3999])
    assert [row[0] for row in everything(store)] == ["item 3999"]


def test_batches(store):
    store.add(some(7))
    assert [len(items) for items in store.batches(3)] == [3, 3, 1]
    assert [len(items) for items in store.batches(7)] == [7]
    with pytest.raises(StoreError, match="Expected batches of 1 item or more. Received 0"):
        store.batches(0)


# --- changes, whole or not at all


def test_an_id_that_is_there_already(store):
    store.add(some(3))
    before = everything(store)
    with pytest.raises(StoreError, match="This index has 'item 1' already"):
        store.add(Items(["new", "item 1"], np.ones((2, 4))))
    assert everything(store) == before


def test_replace_puts_in_anew(store):
    store.add(some(3))
    store.add(Items(["new", "item 1"], np.full((2, 4), 9.0), [{"a": 1}, {"b": 2}]), replace=True)
    assert len(store) == 4
    kept = listed(some(3))
    assert everything(store) == [
        kept[0],
        kept[2],
        ("new", [9.0] * 4, {"a": 1}),
        ("item 1", [9.0] * 4, {"b": 2}),
    ]
    assert ids(store.search(np.full((1, 4), 9.0), k=2)) == [["new", "item 1"]]
    # what was known of the old one is forgotten
    assert ids(store.search(np.zeros((1, 4)), where=["row=1"])) == [[]]
    assert ids(store.search(np.zeros((1, 4)), where=["b=2"])) == [["item 1"]]


def test_remove(store):
    store.add(some(5))
    store.remove(["item 3", "item 0"])
    kept = [row for row in listed(some(5)) if row[0] not in ("item 3", "item 0")]
    assert everything(store) == kept
    found = store.search(np.zeros((1, 4)), k=10)
    assert sorted(ids(found)[0]) == ["item 1", "item 2", "item 4"]
    assert ids(store.search(np.zeros((1, 4)), where=["row=3"])) == [[]]
    store.add(Items(["item 3"], np.ones((1, 4))))
    assert [row[0] for row in everything(store)] == ["item 1", "item 2", "item 4", "item 3"]


def test_metadata_are_replaced_and_embeddings_stay(store):
    store.add(some(5))
    before = {row[0]: row for row in everything(store)}
    version = store.version()
    store.update_metadata(["item 3", "item 0"], [{"label": "hat", "new": None}, {}])
    assert store.version() != version or not version
    after = {row[0]: row for row in everything(store)}
    assert after == before | {
        "item 3": ("item 3", before["item 3"][1], {"label": "hat", "new": None}),
        "item 0": ("item 0", before["item 0"][1], {}),
    }
    near = np.zeros((1, 4))
    assert ids(store.search(near, where={"label": "hat"})) == [["item 3"]]
    assert ids(store.search(near, where=["row=3"])) == ids(store.search(near, where=["row=0"]))
    assert ids(store.search(near, where=["row=0"])) == [[]]


def test_metadata_of_what_is_not_there(store):
    store.add(some(3))
    before = everything(store)
    with pytest.raises(StoreError, match="this index has no 'no'"):
        store.update_metadata(["item 1", "no"], [{}, {}])
    with pytest.raises(StoreError, match="Expected as many metadata as ids. Received 1 and 2 ids"):
        store.update_metadata(["item 1", "item 2"], [{}])
    with pytest.raises(StoreError, match="Expected metadata 'a' of 'item 1' to be"):
        store.update_metadata(["item 1"], [{"a": [1]}])
    store.update_metadata([], [])
    assert everything(store) == before


def test_an_id_that_is_not_there(store):
    store.add(some(3))
    before = everything(store)
    with pytest.raises(StoreError, match="Nothing to remove: this index has no 'no'"):
        store.remove(["item 1", "no"])
    with pytest.raises(StoreError, match="Nothing to read: this index has no 'no'"):
        store.get(["item 1", "no"])
    assert everything(store) == before


def test_all_can_be_removed_and_put_in_again(store):
    for _ in range(3):
        store.add(some(5))
        store.remove(some(5).ids)
        assert len(store) == 0
        assert store.search(np.zeros((1, 4))) == [[]]
    store.add(some(5))
    assert everything(store) == listed(some(5))


def test_nothing_to_do_is_done(store):
    store.add(Items([], np.zeros((0, 4))))
    store.remove([])
    assert len(store) == 0
    assert store.search(np.zeros((0, 4))) == []


def test_the_version_is_another_one_after_each_change(store, url):
    with open_store(url) as other:
        seen = [store.version()]
        for change in (
            lambda: store.add(some(3)),
            lambda: other.add(some(2, prefix="other")),
            lambda: store.remove(["item 0"]),
            lambda: other.add(some(2), replace=True),
            lambda: store.update_metadata(["item 1"], [{}]),
            lambda: store.remove([row[0] for row in everything(store)]),
        ):
            change()
            assert store.version() == other.version()
            seen.append(store.version())
            store.record("decisions", [{"a": 1}])
            other.record("decisions", [{"a": 1}])
            assert store.version() == seen[-1]  # the items are as they were
        assert seen == [""] * 7 or len(set(seen)) == 7


def test_what_became_of_the_items_since_a_version(store, url):
    def follow(version, held):
        since = again.since(version)
        if since.changed is None:
            held = {}
        else:
            gone = set(since.changed)
            held = {at: own for at, own in held.items() if at < since.first and at not in gone}
        for places, items in since.batches:
            held |= dict(zip(places, listed(items), strict=True))
        assert [held[at] for at in sorted(held)] == everything(again)
        return since.version, held

    with open_store(url) as again:
        version, held = "", {}
        for change in (
            lambda: store.add(some(5)),
            lambda: (store.remove(["item 1"]), store.add(some(2, prefix="other"))),
            lambda: store.add(some(1, seed=1), replace=True),
            lambda: store.update_metadata(["item 2", "other 0"], [{}, {"label": "x"}]),
            lambda: None,
            lambda: store.remove([row[0] for row in everything(store)]),
            lambda: store.add(some(2, seed=2)),
        ):
            change()
            version, held = follow(version, held)


def test_a_reader_sees_what_a_writer_has_done(store, url):
    with open_store(url) as reader:
        assert len(reader) == 0
        for n in (3, 4):
            store.add(some(n, prefix=f"part {n}"))
            assert len(reader) == len(store)
            assert everything(reader) == everything(store)
            query = np.zeros((1, 4))
            assert reader.search(query, k=9) == store.search(query, k=9)
        store.remove(["part 3 0"])
        assert everything(reader) == everything(store)
        assert "part 3 0" not in ids(reader.search(np.zeros((1, 4)), k=9))[0]


def test_threads_share_a_store(store):
    """They read side by side, while one of them writes."""
    store.add(some(30))
    queries = np.zeros((2, 4))
    expected = store.search(queries, k=5), everything(store)

    def read(_):
        near = store.search(queries, k=5)
        return near, [row for row in everything(store) if row[0].startswith("item")]

    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(read, turn) for turn in range(12)]
        for turn in range(3):
            store.add(Items([f"far {turn}"], np.full((1, 4), 99.0)))
        assert [answer.result() for answer in answers] == [expected] * 12
    assert len(store) == 33


# --- records


def test_records_come_back_in_order(store, url):
    assert store.records("decisions") == []
    first = [{"left": text, "same": i % 2 == 0, "at": i} for i, text in enumerate(WILD)]
    store.record("decisions", first)
    store.record("model", [{"digest": "abc"}])
    store.record("decisions", [])
    second = [{f"name {i}": value for i, value in enumerate(VALUES)}, {}]
    store.record("decisions", second)
    store.add(some(3))
    store.remove(["item 0", "item 1"])  # most of all, so that a store may tidy up
    for _ in range(2):
        back = store.records("decisions")
        assert back == first + second
        assert [type(v) for v in back[-2].values()] == [type(v) for v in VALUES]
        assert store.records("model") == [{"digest": "abc"}]
        store.close()
        store = open_store(url)
    assert len(store) == 1
    store.close()


def test_many_records_at_once(store):
    many = [{"left": f"item {i}", "note": "n" * (i % 300)} for i in range(2000)]
    store.record("decisions", many)
    assert store.records("decisions") == many


def test_records_that_make_no_sense(store):
    store.record("decisions", [{"a": 1}])
    for kind, entries, words in (
        ("a'b", [{}], "Expected a kind of records as up to 60 letters"),
        ("decisions", [{"b": 2}, {"c": [1]}], "Expected metadata 'c' of a record 'decisions'"),
        ("decisions", [{"b": float("nan")}], "a finite number of 64 bits"),
    ):
        with pytest.raises(StoreError, match=words):
            store.record(kind, entries)
    assert store.records("decisions") == [{"a": 1}]


def test_another_store_in_its_place_has_no_records(store, url):
    store.record("decisions", [{"a": 1}])
    store.close()
    with create_store(url, SIGNATURE, overwrite=True) as new:
        assert new.records("decisions") == []
        new.record("decisions", [{"b": 2}])
        assert new.records("decisions") == [{"b": 2}]


# --- search


@pytest.mark.parametrize("k", [1, 7, 200, None])
@pytest.mark.parametrize("within", [None, 0.0, 1.0, 2.5])
def test_search_agrees_with_the_oracle(store, k, within):
    if k is None and within is None:
        return  # refused, see below
    rng = np.random.default_rng(1)
    store.add(some(60, seed=2))
    store.add(some(60, seed=3, prefix="more"))
    gone = ["item 5", "more 7", "item 59"]
    store.remove(gone)
    rows = everything(store)
    vectors = np.array([row[1] for row in rows])
    queries = np.concatenate([grid(rng, 5, 4), vectors[:2]])
    found = store.search(queries, k=k, within=within)
    assert len(found) == 7
    for query, hits in zip(queries, found, strict=True):
        expected = nearest(vectors, query, k=k, within=within)
        assert [hit.id for hit in hits] == [rows[position][0] for _, position in expected]
        np.testing.assert_allclose(
            [hit.distance for hit in hits], [far for far, _ in expected], rtol=1e-6
        )
        assert [dict(hit.metadata) for hit in hits] == [rows[at][2] for _, at in expected]


def test_distances_are_those_of_the_formula(store):
    rng = np.random.default_rng(4)
    vectors = rng.normal(size=(40, 4)).astype(np.float32)
    queries = np.concatenate([rng.normal(size=(5, 4)).astype(np.float32), vectors[:5]])
    store.add(Items([str(i) for i in range(40)], vectors))
    for query, hits in zip(queries, store.search(queries, k=40), strict=True):
        for hit in hits:
            assert hit.distance == float(distance.euclidean(query, vectors[int(hit.id)]))
    assert [hits[0].distance for hits in store.search(vectors, k=1)] == [0.0] * 40


def test_nothing_similar_enough(store):
    store.add(some(6))
    assert store.search(np.full((2, 4), 50.0), within=1.0) == [[], []]


def test_the_limit_itself_is_within(store):
    store.add(Items(["at 3", "at 5"], [[3, 0, 0, 0], [3, 4, 0, 0]]))
    assert ids(store.search(np.zeros((1, 4)), within=5.0)) == [["at 3", "at 5"]]
    assert ids(store.search(np.zeros((1, 4)), within=np.nextafter(5.0, 0))) == [["at 3"]]


CONDITIONS = [
    Condition("value", operator, value)
    for value in VALUES
    for operator in ("=", "!=", "<", "<=", ">", ">=")
    if operator in ("=", "!=") or (isinstance(value, str | int | float) and value not in (True,))
    if operator in ("=", "!=") or not isinstance(value, bool)
]


def test_conditions_hold_as_the_oracle_says(store):
    n = len(VALUES)
    metadata = [{"value": value, "even": i % 2 == 0} for i, value in enumerate(VALUES)]
    metadata += [{}, {"other": 1}]
    vectors = grid(np.random.default_rng(5), n + 2, 4)
    names = [str(i) for i in range(n + 2)]
    store.add(Items(names, vectors, metadata))
    query = np.zeros(4)
    answers = set()
    for condition in CONDITIONS:
        for where in ([condition], [condition, Condition("even", "=", True)]):
            (hits,) = store.search(query[None], k=100, where=where)
            expected = nearest(vectors, query, metadata=metadata, where=where)
            assert [hit.id for hit in hits] == [names[at] for _, at in expected], where
            answers.add(len(hits))
    assert len(answers) > 10  # of all sizes


def test_pages_of_what_is_left(store):
    store.add(some(9))
    store.remove(["item 2"])
    assert [(own, dict(known)) for own, known in store.listed()] == [
        (own, known) for own, _, known in everything(store)
    ]
    for where, held in (
        ((), [0, 1, 3, 4, 5, 6, 7, 8]),
        (["label!=shoe"], [1, 3, 5, 7]),
        (["label=shoe", "row>3"], [4, 6, 8]),
    ):
        page = store.page(1, 2, where=where)
        assert page.ids == tuple(f"item {i}" for i in held[1:3])
        assert [known["row"] for known in page.metadata] == held[1:3]
        assert page.total == len(held)
    assert store.page(99, 5).ids == store.page(0, 0).ids == ()
    store.update_metadata(["item 0"], [{"label": None, "größe": True}])
    assert [(c.name, c.kinds, sorted(map(str, c.values))) for c in store.columns()] == [
        ("größe", ("boolean",), ["True"]),
        ("label", ("text",), ["shirt", "shoe"]),
        ("row", ("number",), ["1", "3", "4", "5", "6", "7", "8"]),
    ]


def test_a_condition_with_k_and_within(store):
    store.add(some(50))
    rows = everything(store)
    where = [Condition("label", "=", "shoe"), Condition("row", ">", 9)]
    for k, within in ((3, None), (3, 2.0), (None, 2.0)):
        (hits,) = store.search(np.ones((1, 4)), k=k, within=within, where=where)
        expected = nearest(
            np.array([row[1] for row in rows]),
            np.ones(4),
            k=k,
            within=within,
            metadata=[row[2] for row in rows],
            where=where,
        )
        assert [hit.id for hit in hits] == [rows[at][0] for _, at in expected]
        assert len(hits) > 1


@pytest.mark.parametrize(
    ("queries", "asked", "words"),
    [
        (np.zeros((1, 3)), {}, "Expected queries of size 4, as in this index. Received 3"),
        (np.zeros(4), {}, r"Expected queries as numbers of shape \(n, d\). Received float64"),
        (np.full((1, 4), np.nan), {}, "NaN, infinity or more in row 0"),
        ([[1, 2, 3, 4], [1, 2]], {}, "Expected queries of one size"),
        ([["a"] * 4], {}, "Expected queries as numbers"),
        (np.zeros((1, 4)), {"k": 0}, "Expected k as 1 or more, or None for all within. Received 0"),
        (np.zeros((1, 4)), {"k": 2.5}, "Expected k as 1 or more"),
        (np.zeros((1, 4)), {"k": True}, "Expected k as 1 or more"),
        (np.zeros((1, 4)), {"within": -1}, "Expected `within` as a distance of 0 or more"),
        (np.zeros((1, 4)), {"within": np.nan}, "Expected `within` as a distance of 0 or more"),
        (np.zeros((1, 4)), {"k": None}, "Expected k, or `within`, or both. Received neither"),
        (np.zeros((1, 4)), {"where": 1}, "Expected conditions as a text, a mapping or a list"),
    ],
)
def test_questions_that_make_no_sense(store, queries, asked, words):
    store.add(some(3))
    with pytest.raises(StoreError, match=words):
        store.search(queries, **asked)


def test_vectors_of_another_size(store):
    with pytest.raises(StoreError, match="Expected vectors of size 4, as in this index. Rec"):
        store.add(Items(["a"], np.zeros((1, 5))))
    assert len(store) == 0


@pytest.mark.parametrize("verb", ["get", "remove"])
def test_ids_that_make_no_sense(store, verb):
    store.add(some(3))
    for wrong, words in (
        ("item 1", "Received the text 'item 1': write"),
        (["item 1", "item 1"], "Expected each id once. Received 'item 1' more often"),
        ([""], "Expected an id to be a text of 1 character or more. Received ''"),
        ([1], "Expected an id to be a text"),
    ):
        with pytest.raises(StoreError, match=words):
            getattr(store, verb)(wrong)
    assert len(store) == 3


# --- making, opening, closing


def test_one_that_is_there_already(store, url):
    store.add(some(3))
    with pytest.raises(StoreError, match="There is an index at"):
        create_store(url, SIGNATURE)
    assert len(store) == 3
    store.close()
    with create_store(url, Signature("another", 2), overwrite=True) as new:
        assert len(new) == 0
        assert new.signature == Signature("another", 2)
        new.add(Items(["a"], np.eye(1, 2)))
    with open_store(url) as new:
        assert new.signature == Signature("another", 2)
        assert everything(new) == [("a", [1.0, 0.0], {})]


def test_one_that_is_not_there(url):
    with pytest.raises(StoreError, match="There is no index at"):
        open_store(url)


def test_overwriting_nothing_makes_a_new_one(url):
    with create_store(url, SIGNATURE, overwrite=True) as new:
        assert len(new) == 0


def test_closed_twice(store):
    store.add(some(3))
    store.close()
    store.close()
    with pytest.raises(StoreError, match="This index is closed"):
        len(store)
