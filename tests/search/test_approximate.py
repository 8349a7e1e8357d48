"""The approximate index: how much it finds, and that what it finds is right and of today."""

import numpy as np
import pytest

from twinset.errors import StoreError
from twinset.nearest import Matrix
from twinset.search import approximate
from twinset.search.sqlite import SqliteStore
from twinset.search.store import Items, Signature, open_store

faiss = pytest.importorskip("faiss", reason="needs faiss: pip install -e '.[dev]'")

N = 3000


def clustered(n=N, seed=0):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(30, 8))
    return (centres[rng.integers(0, 30, n)] + 0.3 * rng.normal(size=(n, 8))).astype(np.float32)


def items(vectors, first=0):
    names = [str(i) for i in range(first, first + len(vectors))]
    return Items(names, vectors, [{"even": i % 2 == 0} for i in range(len(names))])


@pytest.fixture
def store(tmp_path):
    with SqliteStore.create(str(tmp_path / "a.index"), Signature("digest", 8)) as made:
        made.add(items(clustered()))
        yield made


def share(found, exact):
    pairs = list(zip(found, exact, strict=True))
    same = sum(len({h.id for h in a} & {h.id for h in b}) for a, b in pairs)
    return same / sum(len(b) for _, b in pairs)


@pytest.mark.parametrize("recall", [0.5, 0.95, 0.999])
def test_the_recall_is_as_promised_and_measured(recall):
    matrix = Matrix(clustered())
    made = approximate.build(matrix, recall)
    assert made.recall >= recall
    queries = clustered(500, seed=7)
    exact, found = matrix.search(queries, k=10), made.search(matrix, queries, 10, None)
    same = np.mean([len(set(exact.of(i)[0]) & set(found.of(i)[0])) / 10 for i in range(500)])
    assert same >= recall - 0.05
    assert same == pytest.approx(made.recall, abs=0.05)
    if recall == 0.5:
        assert made.probes < made.lists  # or it would be exact, and these tests tell nothing


def test_what_is_found_is_measured_by_the_formula(store):
    store.build_approximate(recall=0.9)
    queries = clustered(50, seed=1)
    exact = store.search(queries, exact=True)
    found = store.search(queries)
    assert found != exact
    assert 0.8 < share(found, exact) < 1
    far = {(i, hit.id): hit.distance for i, row in enumerate(exact) for hit in row}
    both = [
        (hit.distance, far[i, hit.id])
        for i, row in enumerate(found)
        for hit in row
        if (i, hit.id) in far
    ]
    assert len(both) > 300
    assert all(one == other for one, other in both)
    assert all(row == sorted(row, key=lambda hit: hit.distance) for row in found)
    assert all(len(row) == 10 for row in found)
    assert [row[0].distance for row in store.search(clustered()[:50], k=1)] == [0.0] * 50


def test_it_is_told(store, tmp_path):
    assert store.approximation is None
    built = store.build_approximate(recall=0.9)
    assert built == store.approximation
    assert built.items == N
    assert 0.9 <= built.recall <= 1
    assert built.queries == 256
    assert built.kind.startswith("faiss IVF")
    with open_store(str(tmp_path / "a.index")) as again:
        assert again.approximation == built
        queries = clustered(30, seed=1)
        assert again.search(queries) == store.search(queries) != store.search(queries, exact=True)


def test_conditions_and_all_within_are_answered_exactly(store):
    before = [
        store.search(clustered(30, seed=2), where={"even": True}),
        store.search(clustered(30, seed=2), k=None, within=0.7),
    ]
    store.build_approximate(recall=0.3)
    after = [
        store.search(clustered(30, seed=2), where={"even": True}),
        store.search(clustered(30, seed=2), k=None, within=0.7),
    ]
    assert before == after


def test_new_items_are_found_and_removed_ones_are_not(store):
    store.build_approximate(recall=0.9)
    new = clustered(200, seed=3)
    store.add(items(new, first=N))
    hits = store.search(new, k=1)
    assert [row[0].id for row in hits] == [str(i) for i in range(N, N + 200)]
    gone = [str(i) for i in range(0, N, 3)]
    store.remove(gone)
    found = store.search(clustered()[::3], k=10)
    assert not {hit.id for row in found for hit in row} & set(gone)
    assert all(len(row) == 10 for row in found)
    assert store.approximation is not None
    assert share(found, store.search(clustered()[::3], k=10, exact=True)) > 0.8


def test_a_limit_cuts_off(store):
    store.build_approximate(recall=0.9)
    found = store.search(clustered(20, seed=4), k=10, within=0.5)
    assert all(hit.distance <= 0.5 for row in found for hit in row)
    assert 0 < sum(map(len, found)) < 200


def test_never_fewer_than_there_are(store):
    """More than the lists hold that are looked through: the rest is searched exactly."""
    store.build_approximate(recall=0.3)
    assert [len(row) for row in store.search(clustered(3), k=N)] == [N] * 3
    assert store.search(clustered(3), k=2900) == store.search(clustered(3), k=2900, exact=True)


def test_after_a_compaction_search_is_exact_again(store):
    store.build_approximate(recall=0.3)
    store.remove([str(i) for i in range(N // 2 + 1)])
    assert store.approximation is None
    queries = clustered(20, seed=5)
    assert store.search(queries) == store.search(queries, exact=True)
    store.build_approximate(recall=0.3)
    assert store.approximation.items == N - N // 2 - 1


def damage(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "change",
    [
        damage,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        lambda path: path.unlink(),
    ],
)
def test_without_a_whole_file_search_is_exact(store, tmp_path, change):
    store.build_approximate(recall=0.3)
    queries = clustered(20, seed=5)
    exact = store.search(queries, exact=True)
    assert store.search(queries) != exact
    change(tmp_path / "a.index" / "approximate.faiss")
    assert store.approximation is None
    assert store.search(queries) == exact


def test_another_stores_file_is_not_used(store, tmp_path):
    store.build_approximate(recall=0.3)
    path = tmp_path / "a.index" / "approximate.faiss"
    with SqliteStore.create(str(tmp_path / "b.index"), Signature("digest", 8)) as other:
        other.add(items(clustered(seed=9)))
        (tmp_path / "b.index" / path.name).write_bytes(path.read_bytes())
        assert other.approximation is None


def test_without_the_package(store, monkeypatch):
    store.build_approximate(recall=0.3)
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(StoreError, match=r"without it: `pip install 'twinset\[ann\]'`"):
        store.build_approximate()
    with open_store(str(store._folder)) as again:
        assert again.approximation is None
        assert len(again.search(clustered(1))[0]) == 10


@pytest.mark.parametrize("recall", [0, 1, 1.5, np.nan])
def test_recalls_that_make_no_sense(store, recall):
    with pytest.raises(StoreError, match="Expected a recall between 0 and 1. Received"):
        store.build_approximate(recall=recall)


def test_nothing_to_build_over(tmp_path):
    with SqliteStore.create(str(tmp_path / "b.index"), Signature("digest", 8)) as empty:
        with pytest.raises(StoreError, match="there are none"):
            empty.build_approximate()
        empty.add(items(clustered(1)))
        assert empty.build_approximate().recall == 1
        assert [hit.id for hit in empty.search(clustered(1))[0]] == ["0"]
