"""Archives behind addresses: fetched once, and read as those on a disk are."""

import hashlib
import http.server
import shutil
import threading
from pathlib import Path

import fsspec
import pytest

from halves import Halves, write
from twinset.cache_folder import cache_folder
from twinset.data.sources import archive, read_listing
from twinset.errors import DataError, ImageFileError
from twinset.models.given import pixels_of
from twinset.search.indexing import index_images

NAMES = ["cat/2.png", "cat/10.png", "dog/1.png", "dog/3.png"]


@pytest.fixture(autouse=True)
def photos(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for i, name in enumerate(NAMES):
        write(f"photos/{name}", i / 5, 1 - i / 5)
    for kind in ("zip", "gztar"):
        shutil.make_archive("photos", kind, "photos")


def left_behind():
    """What is in the cache beside what was unpacked."""
    base = cache_folder("archives")
    known = [path.parent for path in base.glob("*/unpacked.json")]
    return [
        each
        for each in (base.iterdir() if base.is_dir() else ())
        if each not in known and each.name not in ("CACHEDIR.TAG", "locks") and list(each.iterdir())
    ]


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves files whole: no ranges, and HEAD is refused, as where an address is signed for GET."""

    def do_GET(self):
        kind, _, name = self.path.partition("?")[0].strip("/").partition("/")
        file = Path(name)
        if kind == "moved":
            self.send_response(302)
            self.send_header("Location", f"/tagged/{name}")
            self.end_headers()
            return
        if not file.is_file():
            self.send_error(404)
            return
        data = file.read_bytes()
        self.send_response(200)
        if kind != "unsized":
            self.send_header("Content-Length", str(len(data)))
        if kind == "tagged":
            self.send_header("ETag", hashlib.sha256(data).hexdigest())
        self.end_headers()
        self.server.sent.append(name)
        self.wfile.write(data[: len(data) // 2] if kind in ("cut", "unsized") else data)
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def web():
    """A server of this folder; `sent` names the files that it has begun to send."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.url, server.sent = f"http://127.0.0.1:{server.server_port}", []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def facts(listing):
    return listing.ids, listing.class_names, listing.labels.tolist(), listing.name


@pytest.mark.parametrize(
    "place",
    [
        "tagged/photos.zip",
        "tagged/photos.tar.gz?X-Amz-Signature=a/b.zip",
        "moved/photos.zip?as=été 1",
        "plain/photos.tar.gz",
    ],
)
def test_an_archive_over_http_is_the_folder_in_it(web, place, monkeypatch):
    address, seen = f"{web.url}/{place}", []
    found = read_listing(address, progress=seen.append)
    assert facts(found) == facts(read_listing("photos"))
    assert found.place == address
    assert {each.task for each in seen} == {"download", "unpack"}
    assert [each.probe() for each in found.sources] == [(4, 4, "L")] * 4
    # what is known by a tag is not even sent again; else the bytes tell
    monkeypatch.setattr(archive, "_unpack", None)
    assert read_listing(address).sources[0].path == found.sources[0].path
    assert not left_behind()


def test_what_has_changed_is_fetched_anew_and_embedded_once(web):
    model = Halves()
    address = f"{web.url}/tagged/photos.zip"
    with index_images(model, address, "made.index") as made:
        assert dict(made.items())["cat/2.png"]["_source"] == address
    write("photos/cat/11.png", 1, 1)
    shutil.make_archive("photos", "zip", "photos")
    with index_images(model, address, "made.index") as made:
        assert (made.changes.added, len(made)) == (1, 5)
    assert model.embedded == 5


def test_in_a_store_and_a_table_in_it():
    Path("photos/pets.csv").write_text("path,label\ncat/2.png,tom\n")
    shutil.make_archive("photos", "zip", "photos")
    store = fsspec.filesystem("memory")
    try:
        store.put("photos.zip", "/bucket/photos.zip")
        found = read_listing("memory://bucket/photos.zip/pets.csv")
        assert (found.ids, found.class_names) == (("cat/2.png",), ("tom",))
        assert read_listing("memory://bucket/photos.zip/dog", labelled=False).ids == (
            *("1.png", "3.png"),
        )
        with pytest.raises(DataError, match=r"^memory://bucket/photos.zip/no: .* nothing"):
            read_listing("memory://bucket/photos.zip/no")
    finally:
        store.rm("/bucket", recursive=True)
    with pytest.raises(DataError, match=r"bucket/photos.zip: expected a file or folder that can"):
        read_listing("memory://bucket/photos.zip")


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("tagged/none.zip", "none.zip: expected a file or folder that can be read. HTTPError.*404"),
        (
            "cut/photos.zip",
            r"expected [\d,]+ bytes. Received [\d,]+, then the connection broke off",
        ),
        ("unsized/photos.zip", "photos.zip: expected a whole archive. File is not a zip file"),
        ("tagged/page.zip", "page.zip: expected a whole archive. Received a page of HTML, as a br"),
        ("plain/page.tar.gz", "page.tar.gz: expected a whole archive. Received a page of HTML"),
        ("tagged/photos.zip/none", "photos.zip/none: expected .* Received nothing"),
    ],
)
def test_what_does_not_come_whole_leaves_nothing_behind(web, place, words):
    for name in ("page.zip", "page.tar.gz"):
        Path(name).write_text("<!DOCTYPE html><title>Sign in</title>" + " " * 1000)
    with pytest.raises(DataError, match=words):
        read_listing(f"{web.url}/{place}")
    assert not left_behind()


def test_the_limits_are_those_of_archives_on_a_disk(web, monkeypatch):
    with monkeypatch.context() as small:
        small.setattr(archive, "SMALL", -(10**9))
        with pytest.raises(
            DataError, match=r"photos.zip: expected at most 100 times the archive's"
        ):
            read_listing(f"{web.url}/tagged/photos.zip")
    monkeypatch.setenv("TWINSET_CACHE_GB", "1e-7")
    with pytest.raises(DataError, match="expected at most 1e-07 GB. Received more: set TWINSET_C"):
        read_listing(f"{web.url}/tagged/photos.zip")
    assert not left_behind()
    with pytest.raises(
        DataError, match="photos.zip: expected a file or folder that can be read. URLError"
    ):
        read_listing("http://127.0.0.1:1/photos.zip")


def test_an_image_that_breaks_off_is_no_image(web):
    with pytest.raises(ImageFileError, match="then the connection broke off: try again"):
        list(pixels_of([f"{web.url}/cut/photos/cat/2.png"], Halves.preprocessing))
