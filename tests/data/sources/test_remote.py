"""Images behind addresses: as on a disk, through fsspec, and over HTTP."""

import functools
import http.server
import threading
from pathlib import Path

import fsspec
import fsspec.implementations.arrow
import fsspec.implementations.memory
import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest
from fsspec.registry import _registry

from halves import Halves, write
from twinset.data.sources import read_listing
from twinset.errors import DataError
from twinset.models.bulk import embed_images
from twinset.search.indexing import index_images

NAMES = ["cat/2.png", "cat/10.png", "dog/old/1.png", "dog/3.png", "loose.png"]


@pytest.fixture(autouse=True)
def photos():
    for i, name in enumerate(NAMES):
        write(f"photos/{name}", i / 5, 1 - i / 5)
    Path("photos/notes.txt").write_text("no image", encoding="utf-8")


@pytest.fixture
def store():
    """A store in memory, in which the photographs are."""
    files = fsspec.filesystem("memory")
    files.put("photos", "/bucket/photos", recursive=True)
    yield files
    files.rm("/bucket", recursive=True)


@pytest.fixture
def web():
    """A server of this folder."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=Path.cwd())
    handler.func.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def table(path="cells.parquet"):
    cells = [Path("photos", name).read_bytes() for name in NAMES]
    labels = [name.split("/")[0] for name in NAMES]
    parquet.write_table(pyarrow.table({"image": cells, "label": labels}), path)


def rows(file):
    found = parquet.read_table(file)
    return found.drop_columns([name for name in ("path", "_stamp") if name in found.column_names])


def test_a_folder_in_a_store_is_one_on_a_disk(store):
    here = read_listing("photos", labelled=False)
    there = read_listing("memory://bucket/photos", labelled=False)
    assert there.ids == here.ids
    assert there.class_names == here.class_names
    assert there.labels.tolist() == here.labels.tolist()
    assert [bad.name for bad in there.skipped] == ["memory:///bucket/photos/notes.txt"]
    assert there.place == "memory://bucket/photos"
    assert [each.probe() for each in there.sources] == [each.probe() for each in here.sources]
    embed_images(Halves(), "photos", "here.parquet")
    embed_images(Halves(), "memory://bucket/photos", "there.parquet")
    assert rows("there.parquet").equals(rows("here.parquet"))


def test_what_has_changed_in_a_store_is_embedded_again(store):
    model = Halves()
    with index_images(model, "memory://bucket/photos", "made.index") as made:
        assert dict(made.items())["loose.png"]["path"] == "memory:///bucket/photos/loose.png"
    write("new.png", 1, 1)
    store.put("new.png", "/bucket/photos/cat/2.png")
    with index_images(model, "memory://bucket/photos", "made.index") as made:
        assert (made.changes.changed, made.changes.unchanged) == (1, 4)
        np.testing.assert_allclose(made.get(["cat/2.png"]).vectors, [[1, 1]])


HADOOP = fsspec.implementations.arrow.HadoopFileSystem


class Served(fsspec.implementations.memory.MemoryFileSystem):
    """A store in memory with the addresses of HDFS, whose paths do not say who serves them."""

    protocol = "hdfs"
    _strip_protocol = HADOOP._strip_protocol
    _get_kwargs_from_urls = staticmethod(HADOOP._get_kwargs_from_urls)

    def __init__(self, host=None, port=None, **more):
        assert (host, port) == ("name.node", 9000)
        super().__init__(**more)


@pytest.mark.parametrize("place", ["hdfs://name.node:9000/bucket/photos", "{}/cat"])
def test_an_address_keeps_the_host_that_serves_it(place, store, monkeypatch):
    monkeypatch.setitem(_registry, "hdfs", Served)
    place = place.format("hdfs://name.node:9000/bucket/photos")
    here = read_listing(f"photos/{place.rpartition('photos')[2]}", labelled=False)
    there = read_listing(place, labelled=False)
    assert there.ids == here.ids
    assert there.class_names == here.class_names
    assert all(str(each.path).startswith(place.rstrip("/")) for each in there.sources)
    assert [each.probe() for each in there.sources] == [each.probe() for each in here.sources]


def test_a_file_address_and_what_is_not_there():
    address = Path("photos").absolute().as_uri()
    assert read_listing(address, labelled=False).ids == read_listing("photos", labelled=False).ids
    with pytest.raises(DataError, match=r"nothing: expected images\. Received an empty folder"):
        read_listing("memory://nothing", labelled=False)
    with pytest.raises(DataError, match="nothing.parquet: expected a file or folder"):
        read_listing("memory://nothing.parquet", labelled=False)
    with pytest.raises(DataError, match=r"Expected a source of data out of \[.*Received 'shop'"):
        read_listing("shop://shoes")


def test_tables_in_a_store(store):
    table("one.parquet")
    for name in ("1", "2"):
        store.put("one.parquet", f"/bucket/tables/{name}.parquet")
    found = read_listing("memory://bucket/tables", labelled=False)
    assert found.ids[4:6] == ("1.parquet[4]", "2.parquet[0]")
    assert len(found) == 10
    embed_images(Halves(), "memory://bucket/tables", "there.parquet", shard=3)
    vectors = np.stack(rows("there.parquet")["embedding"].to_numpy())
    expected = [(i / 5, 1 - i / 5) for i in range(5)] * 2
    np.testing.assert_allclose(vectors, expected, atol=0.002)


def test_a_table_that_has_changed_is_read_anew_by_the_same_process(store):
    table("one.parquet")
    store.put("one.parquet", "/bucket/one.parquet")
    with index_images(Halves(), "memory://bucket/one.parquet", "made.index") as made:
        assert made.changes.added == 5
    for name in NAMES:
        write(f"photos/{name}", 1, 1)
    table("one.parquet")
    store.put("one.parquet", "/bucket/one.parquet")
    with index_images(Halves(), "memory://bucket/one.parquet", "made.index") as made:
        assert (made.changes.changed, made.changes.unchanged) == (5, 0)
        found = made.get(["one.parquet[0]", "one.parquet[4]"]).vectors
    np.testing.assert_allclose(found, [[1, 1], [1, 1]])


def test_a_table_over_http_and_what_an_index_shows_of_it(web):
    table()
    embed_images(Halves(), "cells.parquet", "here.parquet")
    embed_images(Halves(), f"{web}/cells.parquet", "there.parquet")
    assert rows("there.parquet").equals(rows("here.parquet"))
    assert parquet.read_table("there.parquet")["path"][0].as_py() == f"{web}/cells.parquet"
    with pytest.raises(DataError, match="HTTP lists no folders"):
        read_listing(f"{web}/photos", labelled=False)
    with pytest.raises(DataError, match=r"no\.parquet: expected a file .*404"):
        read_listing(f"{web}/no.parquet", labelled=False)


def test_a_table_of_paths_is_refused(store):
    parquet.write_table(pyarrow.table({"image": ["a.png"], "label": ["a"]}), "paths.parquet")
    store.put("paths.parquet", "/bucket/paths.parquet")
    with pytest.raises(DataError, match="expected the images themselves in a table"):
        read_listing("memory://bucket/paths.parquet", labelled=False)
