import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from twinset.data.decoding.decode import Preprocessing
from twinset.data.image_sources import FileSource, Skipped
from twinset.data.listing import Listing
from twinset.data.sources import read_listing
from twinset.errors import DataError, ImageFileError

SOURCES = tuple(FileSource(f"{name}.png", f"{name}.png") for name in "abc")


def picture(name, level=0, size=(3, 2)):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, level).save(name)


# --- a file


def test_a_file_is_read_when_it_is_asked_for():
    source = FileSource("photos/a.png", "a.png")
    picture("photos/a.png", 9)
    assert source.probe() == (3, 2, "L")
    assert Preprocessing((2, 3)).pixels(source.encoded()).tolist() == [[9] * 3] * 2


def test_a_file_that_is_gone():
    source = FileSource("a.png", "photos/a.png")
    for call in (source.stamp, source.probe):
        with pytest.raises(ImageFileError, match=r"a.png: expected an image file. No such file"):
            call()
    with pytest.raises(ImageFileError, match="null"):
        FileSource("a\0.png", "a.png").stamp()


def test_a_stamp_tells_any_change():
    picture("a.png", 1)
    source = FileSource("a.png", "a.png")
    stamps = {source.stamp()}
    assert source.stamp() in stamps
    status = Path("a.png").stat()
    os.utime("a.png", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    stamps.add(source.stamp())
    os.truncate("a.png", status.st_size - 1)
    os.utime("a.png", ns=(status.st_atime_ns, status.st_mtime_ns))
    stamps.add(source.stamp())
    # another file of the same size and time takes its place
    picture("b.png", 2)
    os.truncate("b.png", status.st_size - 1)
    os.utime("b.png", ns=(status.st_atime_ns, status.st_mtime_ns))
    Path("b.png").replace("a.png")
    stamps.add(source.stamp())
    assert len(stamps) == 4


# --- Listing


def test_a_subset_keeps_classes_and_leaves_the_skipped():
    bad = (Skipped("d.png", "no such file"),)
    groups, parts = ["g", "h", "h"], ["train", "", "test"]
    whole = Listing(SOURCES, "w", [0, 1, 1], ("x", "y"), groups, parts, skipped=bad)
    assert repr(whole) == "Listing('w', 3 images, 2 classes, 1 skipped)"
    for part in (whole.subset([2, 0], "p"), whole.subset(np.array([2, 0]), "p")):
        assert [source.name for source in part.sources] == ["c.png", "a.png"]
        assert (part.labels.tolist(), part.class_names, part.name) == ([1, 0], ("x", "y"), "p")
        assert (part.groups.tolist(), part.parts.tolist()) == (["h", "g"], ["test", "train"])
        assert part.skipped == ()
    masked = whole.subset(whole.labels == 1)
    assert ([s.name for s in masked.sources], masked.name) == (["b.png", "c.png"], "w")
    assert masked.class_counts.tolist() == [0, 2]
    assert len(whole.subset([])) == 0
    plain = Listing(SOURCES, "w", [0, 0, 0], ("x",)).subset([1])
    assert (plain.groups, plain.parts) == (None, None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": [0, 1]}, r"one label per image, shape \(3,\). Received labels of shape \(2,\)"),
        ({"labels": [0.0, 1.0, 1.0]}, "integer labels. Received dtype float64"),
        (
            {"labels": [0, 1, 2]},
            "labels from 0 to 1, one per class name, or -1. Received 2 at position 2",
        ),
        ({"labels": [-2, 1, 1]}, "labels from 0 to 1.*Received -2 at position 0"),
        ({"groups": ["a"]}, r"one of `groups` per image, shape \(3,\). Received shape \(1,\)"),
        ({"parts": ["train", "dev", ""]}, r"part out of .*Received 'dev' at position 1"),
    ],
)
def test_what_does_not_fit_together(change, words):
    fitting = {"sources": SOURCES, "labels": [0, 1, 1], "class_names": ("x", "y"), "name": "w"}
    with pytest.raises(DataError, match=words):
        Listing(**fitting | change)


# --- read_listing


def test_each_kind_of_source_finds_its_reader():
    picture("photos/cat/a.png")
    Path("pets.CSV").write_text("file,species,split\nphotos/cat/a.png,cat,train\n")
    assert repr(read_listing("photos")) == "Listing('photos', 1 images, 1 classes)"
    assert read_listing(Path("photos/"), classes="top").class_names == ("cat",)
    table = read_listing("pets.CSV", label="species")
    assert (table.name, table.parts.tolist()) == ("pets.CSV", ["train"])


def test_the_working_folder_may_change_after_listing(monkeypatch):
    picture("photos/cat/a.png", 7)
    Path("pets.csv").write_text("path,label\nphotos/cat/a.png,cat\n")
    listings = [read_listing("photos"), read_listing("pets.csv")]
    monkeypatch.chdir("photos")
    one = Preprocessing((1, 1))
    assert [one.pixels(each.sources[0].encoded()).item() for each in listings] == [7, 7]
    assert read_listing(".").name == "photos"


@pytest.mark.parametrize(
    ("path", "arguments", "words"),
    [
        ("nowhere", {}, "nowhere: expected .*, a folder of images, .*a table.*Received nothing"),
        ("photos.zip", {}, r"photos.zip: expected a whole archive. File is not a zip file: fetch"),
        ("photos.rar", {}, r"Received a file .rar: it is no .zip or .tar; unpack it"),
        ("book.XLSX", {}, r"Received a file .XLSX: it is a spreadsheet; save it as CSV"),
        ("labels.txt", {}, r"Received a file .txt: write what it says as a table"),
        ("one.jpg", {}, r"Received a file .jpg: it is one image; pass the folder"),
        (
            "https://example.org/photos",
            {},
            "a .parquet file or an archive, as HTTP lists no folders",
        ),
        ("shop://shoes", {}, "source of data out of .*Received 'shop'"),
        ("bare", {}, "Received a file without suffix"),
        ("pets.csv", {"classes": "top"}, "no `classes` for a table of images .*Received 'top'"),
        ("photos", {"label": "species"}, "no `label` for a folder of images. Received 'species'"),
        ("photos", {"classes": "deep"}, "classes='path' or classes='top'. Received 'deep'"),
    ],
)
def test_what_cannot_be_listed(path, arguments, words):
    picture("photos/cat/a.png")
    for name in (
        "photos.zip",
        "photos.rar",
        "bare",
        "pets.csv",
        "book.XLSX",
        "labels.txt",
        "one.jpg",
    ):
        Path(name).touch()
    with pytest.raises(DataError, match=words):
        read_listing(path, **arguments)


def test_one_file_of_a_data_set_leads_to_its_folder():
    arrow = pytest.importorskip("pyarrow", reason="needs pyarrow, of the extra parquet")
    table = arrow.table({"image": ["a.png"], "label": [0]})
    with arrow.OSFile("x.arrow", "wb") as file, arrow.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(DataError, match=r"Received a file .arrow: pass the folder it is in"):
        read_listing("x.arrow")
