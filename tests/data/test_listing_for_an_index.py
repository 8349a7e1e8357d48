"""Listings for an index: ids, metadata and sources of images with labels or without."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from twinset.data.image_sources import picture_of
from twinset.data.sources import list_files, read_listing
from twinset.errors import DataError


def listed(path):
    return read_listing(path, labelled=False)


def labels(listing):
    return [listing.metadata(at).get("label") for at in range(len(listing))]


def touch(*names):
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def test_a_folder_with_classes_and_without():
    touch("p/2.png", "p/10.png", "p/cat/a b.jpg", "p/cat/sub/c.jpg", "p/x.txt", "p/.hidden.png")
    listing = listed("p")
    assert listing.ids == ("2.png", "10.png", "cat/a b.jpg", "cat/sub/c.jpg")
    assert labels(listing) == [None, None, "cat", "cat/sub"]
    assert [bad.name for bad in listing.skipped] == ["x.txt"]
    root = str(Path("p").absolute())
    assert listing.metadata(2) == {
        "label": "cat",
        "path": f"{root}/cat/a b.jpg",
        "_source": root,
    }
    assert listing.metadata(0) == {"path": f"{root}/2.png", "_source": root}


def test_folders_of_parts_are_no_labels():
    touch("p/train/cat/a.png", "p/test/cat/b.png", "p/test/loose.png")
    listing = listed("p")
    assert dict(zip(listing.ids, labels(listing), strict=True)) == {
        "train/cat/a.png": "cat",
        "test/cat/b.png": "cat",
        "test/loose.png": None,
    }


def test_with_classes_only_both_readers_list_the_same():
    touch("p/a/1.png", "p/b/2.png", "p/b/3/4.png", "p/b/x.txt")
    listing, other = read_listing("p"), listed("p")
    assert other.sources == listing.sources
    assert other.labels.tolist() == listing.labels.tolist()
    assert other.class_names == listing.class_names
    assert other.skipped == listing.skipped


def test_a_name_that_is_no_text_is_shown_with_escapes():
    Path("p").mkdir()
    raw = os.fsencode("p") + b"/caf\xe9.png"
    os.close(os.open(raw, os.O_CREAT))
    listing = listed("p")
    assert listing.ids == ("caf\\xe9.png",)
    listing.metadata(0)["path"].encode()
    assert Path(listing.sources[0].path).exists()


def test_a_table_without_labels():
    touch("a.png", "b.png")
    Path("t.csv").write_text("path;price;path2\na.png;3;x\nb.png;4.5;y\n")
    listing = listed("t.csv")
    assert listing.ids == ("a.png", "b.png")
    assert listing.columns == {"price": [3, 4.5], "path2": ["x", "y"]}


def test_ids_of_a_table():
    touch("a.png", "b.png", "c.png", "d.png")
    Path("t.csv").write_text("ID,path,label\n7,a.png,x\n,b.png,y\n7,c.png,z\n8,d.png,\n9,e.png,x\n")
    listing = listed("t.csv")
    assert listing.ids == ("7", "8")
    assert listing.columns == {"label": ["x", None]}
    assert [(bad.name, bad.reason) for bad in listing.skipped] == [
        ("b.png", "line 3: no id"),
        ("c.png", "line 4: the id '7' is taken by line 2"),
        ("e.png", "line 6: no such file"),
    ]


def test_one_file_twice_needs_ids():
    touch("a.png")
    Path("t.csv").write_text("path,price\na.png,1\na.png,2\n")
    (bad,) = listed("t.csv").skipped
    assert bad.reason == "line 3: the id 'a.png' is taken by line 2"
    Path("t.csv").write_text("id,path,price\nx,a.png,1\ny,a.png,2\n")
    assert listed("t.csv").ids == ("x", "y")


def test_columns_of_our_own_names_give_way():
    touch("a.png")
    Path("t.csv").write_text("image,path2,_stamp,_source\na.png,x,1,2\n")
    assert listed("t.csv").metadata(0).keys() == {"path2", "path", "_source"}


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1", "-2", " 3 "], [1, -2, 3]),
        (["1", "2.5", "1e3"], [1, 2.5, 1000.0]),
        (["1", "", "2"], [1, None, 2]),
        (["007", "8"], ["007", "8"]),
        (["1", "x"], ["1", "x"]),
        (["1e999", "1"], ["1e999", "1"]),
        (["nan", "inf"], ["nan", "inf"]),
        (["True", "false", ""], [True, False, None]),
        (["true", "yes"], ["true", "yes"]),
        (["12345678901234567890", "1"], [12345678901234567890.0, 1]),
        (["", ""], [None, None]),
        (["1\u0661", "2"], ["1\u0661", "2"]),  # a digit, but of no table's numbers
    ],
)
def test_text_becomes_numbers_and_booleans_where_all_of_a_column_can(cells, expected):
    rows = [f"{i}.png,{cell}" for i, cell in enumerate(cells)]
    touch(*(f"{i}.png" for i in range(len(cells))))
    Path("t.csv").write_text("\n".join(["path,value", *rows]) + "\n")
    found = listed("t.csv").columns["value"]
    assert found == expected
    assert [type(value) for value in found] == [type(value) for value in expected]


def test_parquet_keeps_its_types():
    arrow = pytest.importorskip("pyarrow", reason="needs pyarrow, of the extra parquet")
    write = pytest.importorskip("pyarrow.parquet").write_table
    Image.new("L", (3, 3), 7).save("a.png")
    raw = Path("a.png").read_bytes()
    columns = {
        "image": [raw, raw],
        "code": ["007", "12"],
        "price": [1.5, float("nan")],
        "n": [1, None],
        "sold": [True, False],
        "tags": [["x"], []],
        "huge": arrow.array([2**63, 1], arrow.uint64()),
    }
    write(arrow.table(columns), "t.parquet")
    listing = listed("t.parquet")
    assert listing.ids == ("t.parquet[0]", "t.parquet[1]")
    assert listing.columns == {
        "code": ["007", "12"],
        "price": [1.5, None],
        "n": [1, None],
        "sold": [True, False],
        "huge": [float(2**63), 1],
    }
    source = picture_of(listing.metadata(1))
    assert source.encoded().data == raw


def test_the_picture_of_metadata():
    assert picture_of({}) is None
    assert picture_of({"path": 3}) is None
    assert picture_of({"path": "a.png", "_row": 1}).path == "a.png"


def test_paths_that_come_twice():
    listing = list_files(["a.png", Path("b.png"), "a.png"])
    assert listing.ids == ("a.png", "b.png")
    assert listing.skipped[0].reason == "the id 'a.png' is taken"
    assert "_source" not in listing.metadata(0)


@given(st.lists(st.text(min_size=1), min_size=1))
def test_ids_are_different_texts_that_can_be_written(paths):
    try:
        listing = list_files(paths)
    except DataError as error:
        assert not any(path.strip() for path in paths), error  # noqa: PT017
        return
    assert len(set(listing.ids)) == len(listing.ids)
    for own in listing.ids:
        own.encode()
        assert "\0" not in own
