"""The map: points, columns, mistakes, and where a new image goes."""

import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import twinset
from twinset.server.child import ChildError
from twinset.server.collection_map import CollectionMap, columns_of
from twinset.server.projection import (
    Tsne,
    between,
    find_mistakes,
    mistakes_of,
    principal_axes,
    spread,
)
from twinset.server.running import in_background, open_service


def clusters(n=120, dim=6, seed=0):
    rng = np.random.default_rng(seed)
    kinds = np.arange(n) % 3
    middles = 4 * np.eye(3, dim)
    return (middles[kinds] + 0.3 * rng.normal(size=(n, dim))).astype(np.float32), kinds


def until(ready, seconds=60):
    """Ask again until it says yes."""
    end = time.monotonic() + seconds
    while not (found := ready()):
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)
    return found


# --- PCA


def test_pca_is_the_singular_value_decomposition():
    vectors, _ = clusters()
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    left, worth, _ = np.linalg.svd(centred, full_matrices=False)
    expected = left[:, :2] * worth[:2]
    axes = principal_axes(vectors)
    points = axes.place(vectors)
    for c in range(2):  # up to sign, scale and middle
        assert abs(np.corrcoef(points[:, c], expected[:, c])[0, 1]) > 1 - 1e-9
    assert axes.share == pytest.approx((worth[:2] ** 2).sum() / (worth**2).sum())


def test_pca_keeps_distances_in_proportion_and_fills_the_square():
    vectors, _ = clusters(dim=2)  # nothing is lost of two dimensions
    points = principal_axes(vectors).place(vectors)
    before = np.linalg.norm(vectors[1:] - vectors[0], axis=1)
    after = np.linalg.norm(points[1:] - points[0], axis=1)
    np.testing.assert_allclose(after / before, (after / before)[0], rtol=1e-4)
    assert np.abs(points).max() == pytest.approx(1)
    assert (np.ptp(points, axis=0) <= 2 + 1e-6).all()


def test_pca_does_not_depend_on_order():
    vectors, _ = clusters()
    axes, turned = principal_axes(vectors), principal_axes(vectors[::-1])
    np.testing.assert_allclose(axes.place(vectors), turned.place(vectors), atol=1e-5)


@pytest.mark.parametrize(("n", "dim"), [(0, 4), (1, 4), (2, 4), (5, 1), (3, 2)])
def test_pca_of_hardly_anything(n, dim):
    vectors = np.arange(n * dim, dtype=np.float32).reshape(n, dim)
    points = principal_axes(vectors).place(vectors)
    assert points.shape == (n, 2)
    assert np.isfinite(points).all()


def test_equal_vectors_are_one_point():
    points = principal_axes(np.ones((5, 3), np.float32)).place(np.ones((2, 3), np.float32))
    assert points.tolist() == [[0, 0], [0, 0]]


@given(st.integers(0, 60), st.integers(1, 20))
def test_a_sample_is_spread_over_all(n, most):
    chosen = spread(n, most)
    assert len(chosen) == min(n, most)
    assert len(set(chosen.tolist())) == len(chosen)
    if n > most > 1:
        assert np.ptp(np.diff(chosen)) <= 1  # as even as whole numbers allow
        assert chosen[0] == 0


# --- t-SNE, and places among neighbours


def test_an_item_is_placed_among_its_nearest():
    points = np.float32([[[0, 0], [1, 0]], [[0, 0], [1, 0]], [[5, 5], [1, 0]]])
    # as far from both; three times as far from the second: weights 3 : 1; equal to the first
    placed = between(points, np.array([[1.0, 1.0], [1.0, 3.0], [0.0, 1.0]]))
    np.testing.assert_allclose(placed, [[0.5, 0], [0.25, 0], [5, 5]], atol=1e-6)


def test_tsne_keeps_kinds_together_and_places_the_others():
    vectors, kinds = clusters(n=90)
    points = Tsne(most=45).points(vectors)
    assert points.shape == (90, 2)
    assert np.abs(points).max() == pytest.approx(1, abs=1e-5)
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    assert (kinds[apart.argmin(axis=1)] == kinds).mean() > 0.95


def test_tsne_that_takes_too_long_is_stopped():
    with pytest.raises(ChildError, match=r"t-SNE of 90 items took longer than 0\.05 s"):
        Tsne(seconds=0.05).points(clusters(n=90)[0])


# --- mistakes


def test_mistakes_of_points_on_a_line():
    """a at 0 and 1, b at 1.1 and 9, c alone at 5, one unknown at 0.05; threshold 0.5."""
    vectors = np.float32([[0], [1], [1.1], [9], [5], [0.05]])
    found = find_mistakes(vectors, np.array([0, 0, 1, 1, 2, -1]), 0.5)
    # 1 and 2 are 0.1 apart and differ; what is unknown takes no part
    assert found.mistaken.tolist() == [[1, 2], [2, 1]]
    np.testing.assert_allclose(found.mistaken_distances, 0.1, atol=1e-6)
    # both of b are 7.9 apart, both of a 1; c has nobody to miss
    assert found.missed.tolist() == [[2, 3], [3, 2], [0, 1], [1, 0]]
    np.testing.assert_allclose(found.missed_distances, [7.9, 7.9, 1, 1], atol=1e-6)


@given(st.integers(0, 2**32 - 1), st.floats(0.125, 2, width=32))
def test_mistakes_are_those_of_a_slow_loop(seed, threshold):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(0, 12))
    vectors = rng.integers(0, 4, (n, 2)).astype(np.float32)
    kinds = rng.integers(-1, 3, n)
    found = find_mistakes(vectors, kinds, threshold)
    mistaken, missed = {}, {}
    for i in range(n):
        # as distances are: one within rounding of the threshold is on either side of it
        far = {j: np.linalg.norm(vectors[i] - vectors[j]).astype(np.float32) for j in range(n)}
        others = [j for j in range(n) if j != i and kinds[j] >= 0]
        if kinds[i] < 0 or not others:
            continue
        least = min(far[j] for j in others)
        tied = {kinds[j] for j in others if far[j] == least}
        if least <= threshold and kinds[i] not in tied:
            mistaken[i] = least
        own = [far[j] for j in others if kinds[j] == kinds[i]]
        if own and min(own) > threshold:
            missed[i] = min(own)
    # of ties either may be the nearest, so only what is beyond doubt is compared
    told = dict(zip(found.mistaken[:, 0].tolist(), found.mistaken_distances.tolist(), strict=True))
    assert mistaken.keys() <= told.keys()
    assert told == pytest.approx(told | mistaken)
    own = dict(zip(found.missed[:, 0].tolist(), found.missed_distances.tolist(), strict=True))
    assert own == pytest.approx(missed)


def test_mistakes_in_a_process_of_their_own_are_the_same():
    vectors, kinds = clusters(n=60)
    kinds = np.roll(kinds, 1) * (np.arange(60) % 2)
    here, there = (mistakes_of(vectors, kinds, 1.0, at_once=most) for most in (60, 59))
    assert len(here.mistaken)
    for name, value in vars(here).items():
        np.testing.assert_array_equal(vars(there)[name], value)


# --- columns


def test_columns_sort_into_kinds():
    known = [{"label": "a", "id": k, "size": k / 2, "side": k % 2, "one": 1} for k in range(6)]
    found = columns_of([*known, {"side": 1}])
    assert list(found) == ["label", "side"]  # not what differs everywhere, nor what never does
    assert found["side"].names == ("1", "0")
    assert found["side"].counts == (4, 3)
    assert found["side"].codes.tolist() == [1, 0, 1, 0, 1, 0, 0]
    assert found["label"].codes.tolist() == [0] * 6 + [-1]


# --- over HTTP


def test_the_map_over_http(server):
    told = server.http.get("/api/v1/map/info").json()
    assert (told["n"], told["items"]) == (48, 48)
    assert 0 < told["methods"]["pca"]["share"] <= 1
    assert {each["name"] for each in told["columns"]} == {"label"}
    ids = server.http.get("/api/v1/map/ids").json()
    assert sorted(ids) == [f"items/{row:02}" for row in range(48)]
    response = server.http.get("/api/v1/map")
    assert response.headers["content-type"] == "application/octet-stream"
    points = np.frombuffer(response.content, "<f4").reshape(-1, 2)
    vectors = server.service.index.get(ids).vectors
    np.testing.assert_allclose(points, principal_axes(vectors).place(vectors), atol=1e-6)
    label = server.http.get("/api/v1/map/column", params={"name": "label"}).json()
    assert label["counts"] == [12] * 4
    assert [label["names"][code] for code in label["codes"]] == [
        ("red", "green", "blue", "gray")[int(own[-2:]) % 4] for own in ids
    ]


class Standing:
    """In the place of t-SNE, whose process takes seconds to start: items stand in a row."""

    most = 1001  # so that what others computed of the same items is not found

    def points(self, vectors):
        return np.float32([[row / len(vectors), 0] for row in range(len(vectors))])


def test_what_is_computed_in_the_background_over_http(home):
    service = open_service(home / "run", home / "photos.index")
    service.caches["map"] = CollectionMap(service.index, tsne=Standing(), pause=0)
    with in_background(service) as url, httpx.Client(base_url=f"{url}/api/v1") as http:

        def ready():
            told = http.get("/map/info").json()["methods"]["tsne"]
            assert told["trouble"] == ""
            return told["state"] == "ready"

        until(ready)
        points = np.frombuffer(http.get("/map?method=tsne").content, "<f4").reshape(-1, 2)
        exact = np.frombuffer(http.get("/map").content, "<f4").reshape(-1, 2)
        photo = http.get("/map/ids").json()[5]
        (known,) = service.index.get([photo]).metadata
        files = {"image": Path(known["path"]).read_bytes()}
        found = http.post("/map/place", files=files).json()
    np.testing.assert_array_equal(points[5], np.float32([5 / 48, 0]))
    # the very image of an item goes where the item is
    np.testing.assert_allclose(found["tsne"], points[5], atol=1e-6)
    np.testing.assert_allclose(found["pca"], exact[5], atol=1e-3)
    first = found["neighbours"][0]
    assert (first["id"], first["row"], first["match"]) == (photo, 5, True)
    assert len(found["neighbours"]) == 8


def test_mistakes_over_http(server):
    def ready():
        told = server.http.get("/api/v1/map/mistakes", params={"name": "label"}).json()
        return told if told["state"] == "ready" else None

    told = until(ready)
    index = server.service.index
    assert told["threshold"] == index.threshold.value
    ids = server.http.get("/api/v1/map/ids").json()
    items = index.get(ids)
    kinds = np.unique([each["label"] for each in items.metadata], return_inverse=True)[1]
    found = find_mistakes(items.vectors, kinds, index.threshold.value)
    assert told["mistaken"]["rows"] == found.mistaken.tolist()
    assert told["missed"]["rows"] == found.missed.tolist()


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/map?method=umap", 422, "pca"),
        ("/map/column?name=nonsense", 404, "Expected a column of the map: label"),
        ("/map/mistakes?name=nonsense", 404, "nonsense"),
        ("/map/column", 422, "name"),
    ],
)
def test_what_is_not_there(server, path, status, words):
    response = server.http.get("/api/v1" + path)
    assert response.status_code == status
    assert words in response.text


def test_the_map_follows_the_index(own):
    with twinset.Index.open(own / "photos.index", own / "run") as index:
        made = CollectionMap(index)
        before = made.now()
        assert made.now() is before
        index.remove(["items/00"])
        after = made.now()
        assert len(after.ids) == 47
        assert after.content != before.content
        # what is begun on the old items when they are gone fails, and says why
        work = made.mistakes(before, "label")
        until(lambda: work.state != "computing")
        assert (work.state, work.trouble) == ("failed", "The index has changed meanwhile.")


def test_what_goes_wrong_in_the_background_is_told(home, caplog):
    class Broken(Standing):
        most = 1002

        def points(self, vectors):
            raise MemoryError

    with twinset.Index.open(home / "photos.index", home / "run") as index:
        made = CollectionMap(index, tsne=Broken(), pause=0)
        work = made.work(made.now())
        until(lambda: work.state != "computing")
    assert (work.state, work.trouble) == ("failed", "MemoryError: see the log.")
    assert "map: tsne" in caplog.text


def test_a_large_index_is_sampled(home):
    with twinset.Index.open(home / "photos.index", home / "run") as index:
        chart = CollectionMap(index, most=10).now()
        assert (len(chart.ids), chart.items) == (10, 48)
        ids = [own for own, _ in index.items()]
        assert chart.ids == [ids[row] for row in spread(48, 10)]
        assert len(chart.columns["label"].codes) == 10
