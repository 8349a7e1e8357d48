"""Exact search against loops: where products cancel, distances tie, buffers overflow."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from search_oracles import grid, nearest
from twinset import distance
from twinset import nearest as scan
from twinset.nearest import Matrix, one_blas_thread


def by_the_formula(vectors, query, k, within, rows):
    """What a loop over `distance.euclidean` finds: float32 distances, ties by position."""
    far = np.array([distance.euclidean(query, vector) for vector in vectors], np.float32)
    found = [(float(far[at]), int(at)) for at in sorted(rows, key=lambda at: (far[at], at))]
    if within is not None:
        found = [pair for pair in found if pair[0] <= within]
    return found if k is None else found[:k]


def listed(hits, query):
    positions, far = hits.of(query)
    return list(zip(far.tolist(), positions.tolist(), strict=True))


def normal(rng, n, d):
    return rng.normal(size=(n, d))


def apart(rng, n, d):
    """Two tight clusters far apart: no centring helps, and the products say nothing."""
    return 1e4 * rng.choice([-1, 1], size=(n, 1)) + 0.01 * rng.normal(size=(n, d))


@st.composite
def questions(draw):
    """Few values far from zero, so that there are duplicates, ties and cancellation."""
    n, d, q = draw(st.integers(1, 40)), draw(st.integers(1, 6)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    offset = draw(st.sampled_from([0.0, 1.0, 1e3, -1e6, 1e9]))
    scale = draw(st.sampled_from([1e-20, 1e-3, 1.0, 1e6]))
    make = draw(st.sampled_from([grid, normal, apart]))
    vectors = (offset + scale * make(rng, n, d)).astype(np.float32)
    queries = (offset + scale * make(rng, q, d)).astype(np.float32)
    own = rng.random(q) < 0.5
    queries[own] = vectors[rng.integers(0, n, own.sum())]
    dead = np.flatnonzero(rng.random(n) < draw(st.sampled_from([0, 0, 0.3, 1])))
    rows = np.flatnonzero(rng.random(n) < 0.6) if draw(st.booleans()) else None
    k = draw(st.one_of(st.none(), st.integers(1, n + 2)))
    # one of the distances themselves: the limit counts as within, to the last bit
    some = float(distance.euclidean(queries[0], vectors[rng.integers(n)]))
    within = draw(st.sampled_from([None, 0.0, some, float(np.nextafter(some, 0)), 2 * some]))
    if k is None and within is None:
        k = 1
    return vectors, queries, dead, rows, k, within


@given(questions())
def test_the_answer_is_the_loops(question):
    vectors, queries, dead, rows, k, within = question
    hits = Matrix(vectors, dead).search(queries, k=k, within=within, rows=rows)
    assert len(hits) == len(queries)
    alive = set(range(len(vectors))) - set(dead.tolist())
    among = alive if rows is None else alive & set(rows.tolist())
    for i, query in enumerate(queries):
        assert listed(hits, i) == by_the_formula(vectors, query, k, within, among)


@pytest.mark.parametrize("q", [1, 2, 700])
@pytest.mark.parametrize("k", [1, 10, 300])
def test_many_tiles_blocks_and_bounds(monkeypatch, q, k):
    """Small tiles: the bound falls, candidates are merged and settled, again and again."""
    monkeypatch.setattr(scan, "TILE_KEYS", 64)
    monkeypatch.setattr(scan, "TILE_ROWS", 64)
    monkeypatch.setattr(scan, "PENDING", 500)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(3000, 8)).astype(np.float32)
    vectors[1000:1500] = vectors[:500]
    # the nearest come last, so that every tile has better ones than all before
    vectors = vectors[np.argsort(-np.square(vectors).sum(axis=1), kind="stable")]
    queries = (0.01 * rng.normal(size=(q, 8))).astype(np.float32)
    hits = Matrix(vectors).search(queries, k=k)
    for i in range(0, q, 150):
        far = distance.euclidean(vectors, queries[i])
        order = np.lexsort((np.arange(3000), far))[:k]
        positions, distances = hits.of(i)
        np.testing.assert_array_equal(positions, order)
        np.testing.assert_array_equal(distances, far[order])


def test_all_vectors_equal(monkeypatch):
    monkeypatch.setattr(scan, "PENDING", 2000)
    vectors = np.full((5000, 3), 7.1, np.float32)
    hits = Matrix(vectors).search(np.concatenate([vectors[:2], vectors[:1] + 1]), k=4)
    for i in range(3):
        assert hits.of(i)[0].tolist() == [0, 1, 2, 3]
    assert hits.of(1)[1].tolist() == [0.0] * 4


def test_float64_agrees(fashion_mnist):
    """Real vectors: 784 pixels, far from zero."""
    images = fashion_mnist[1].images.reshape(10_000, -1)[:1500].astype(np.float32)
    hits = Matrix(images).search(images[:20] + 0.25, k=5)
    for i in range(20):
        expected = np.sqrt(np.square(images.astype(float) - (images[i] + 0.25)).sum(axis=1))
        positions, far = hits.of(i)
        assert positions.tolist() == np.argsort(expected, kind="stable")[:5].tolist()
        np.testing.assert_allclose(far, np.sort(expected)[:5], rtol=1e-6)


def test_hand_checked():
    matrix = Matrix(np.float32([[0, 0], [3, 4], [6, 8]]))
    assert listed(matrix.search(np.float32([[3, 0]]), k=2), 0) == [(3.0, 0), (4.0, 1)]
    assert nearest(matrix.vectors, np.float32([3, 0]), k=2) == [(3.0, 0), (4.0, 1)]


def test_follow_measures_the_new_only():
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(50, 4)).astype(np.float32)
    vectors[40:] += 100  # longer than all that were measured first
    first = Matrix(vectors[:30], [3])
    # so far away, and so close together, that products say nothing of their order
    vectors[45:] = 1e5 + 0.02 * rng.normal(size=(5, 4))
    second = first.follow(vectors, np.array([3, 5, 44]))
    assert listed(first.search(vectors[5:6], k=1), 0) == [(0.0, 5)]  # it stays as it was
    fresh = Matrix(vectors, [3, 5, 44])
    for k in (1, 3, 43, 44, 45, 50):
        hits, other = second.search(vectors, k=k), fresh.search(vectors, k=k)
        np.testing.assert_array_equal(hits.positions, other.positions)
        np.testing.assert_array_equal(hits.distances, other.distances)
    assert len(second.search(vectors[:1], k=50).positions) == 47


def test_centring_is_for_what_is_far_from_zero():
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(50, 4)).astype(np.float32)
    assert Matrix(vectors).centre is None
    assert Matrix(vectors + 1000).centre is not None
    assert Matrix(vectors + 1000).longest < 100


@pytest.mark.parametrize("make", [normal, apart])
def test_each_distance_is_a_limit_that_counts(make):
    rng = np.random.default_rng(3)
    vectors, query = make(rng, 200, 6).astype(np.float32), make(rng, 1, 6).astype(np.float32)
    matrix, far = Matrix(vectors), distance.euclidean(vectors, query)
    for limit in far.tolist():
        for within in (limit, float(np.nextafter(limit, 0))):
            found = matrix.search(query, k=None, within=within)
            assert set(found.positions.tolist()) == set(
                np.flatnonzero(far.astype(float) <= within).tolist()
            )


@pytest.mark.parametrize("within", [1e200, np.inf])
def test_limits_beyond_all_numbers(within):
    matrix = Matrix(np.float32([[0, 0], [1e15, 0], [0, -1e15]]), [1])
    assert matrix.search(np.float32([[0, 1]]), k=None, within=within).positions.tolist() == [0, 2]


def test_memory_does_not_grow_with_the_queries():
    """All distances at once would take 800 MB."""
    script = (
        "import numpy as np\n"
        "from memory import peak_megabytes\n"
        "from twinset.nearest import Matrix\n"
        "rng = np.random.default_rng(0)\n"
        "matrix = Matrix(rng.normal(size=(20_000, 32)).astype(np.float32))\n"
        "matrix.search(matrix.vectors[:2000])\n"
        "before = peak_megabytes()\n"
        "matrix.search(matrix.vectors[:10_000])\n"
        "print(peak_megabytes() - before)\n"
    )
    tests = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([tests, *sys.path])},
    )
    assert float(done.stdout) < 60


def blas_threads():
    return {each["filepath"]: each["num_threads"] for each in threadpool_info()}


@threadpool_limits.wrap(limits=2, user_api="blas")  # of one, as tests have, this would show nothing
def test_searches_that_overlap_leave_blas_as_it_was():
    """The limit on BLAS' threads belongs to the process: the last search lifts it."""
    before = blas_threads()
    assert max(before.values()) == 2
    entered, leave = threading.Event(), threading.Event()

    def other():
        with one_blas_thread():
            entered.set()
            assert leave.wait(10)

    with ThreadPoolExecutor(1) as pool:
        with one_blas_thread():
            running = pool.submit(other)
            assert entered.wait(10)
            assert blas_threads() != before
        leave.set()
        running.result(10)
    assert blas_threads() == before


@given(st.integers(0, 2**32), st.integers(1, 9))
def test_precise_distances_are_exact_where_rows_are_whole_numbers(seed, k):
    """On a grid of 24 bits float64 measures without rounding: as integers of Python say."""
    rng = np.random.default_rng(seed)
    # of three close values, large ones: float32 could not tell these distances apart
    rows = (2**22 + rng.integers(-1, 2, (30, 3)) + rng.integers(0, 2, (30, 1)) * 2**21).astype(int)
    hits = Matrix(rows.astype(np.float32), precise=True).search(rows[:4].astype(np.float32), k=k)
    for query in range(4):
        squares = [sum(int(x) ** 2 for x in row - rows[query]) for row in rows]
        order = sorted(range(30), key=lambda at: (squares[at], at))[:k]
        positions, far = hits.of(query)
        assert positions.tolist() == order
        assert far.tolist() == [squares[at] ** 0.5 for at in order]


def test_nothing_to_search_in_or_for():
    empty = Matrix(np.empty((0, 3), np.float32))
    assert empty.search(np.zeros((2, 3), np.float32)).starts.tolist() == [0, 0, 0]
    some = Matrix(np.eye(3, dtype=np.float32))
    assert some.search(np.zeros((0, 3), np.float32)).starts.tolist() == [0]
    nobody = some.search(np.zeros((1, 3), np.float32), rows=np.empty(0, np.int64))
    assert nobody.starts.tolist() == [0, 0]
    assert Matrix(np.eye(3, dtype=np.float32), [0, 1, 2]).search(
        np.zeros((2, 3), np.float32), k=1
    ).starts.tolist() == [0, 0, 0]
