"""Data sets as `datasets` 5.2 writes them, made here with pyarrow alone."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from twinset.data.decoding.decode import Preprocessing
from twinset.data.sources import hugging_face, read_listing
from twinset.errors import DataError, ImageFileError

pa = pytest.importorskip("pyarrow", reason="needs pyarrow, of the extra parquet")
pq = pytest.importorskip("pyarrow.parquet")

CELL = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
NAMES = ["dog", "cat"]


def encoded(level):
    file = io.BytesIO()
    Image.new("L", (3, 2), level).save(file, "PNG")
    return file.getvalue()


def rows(levels, labels=None, *, image="image", label="label", names=NAMES, **others):
    """A table with the note that `datasets` leaves in its schema."""
    labels = [k % 2 for k in range(len(levels))] if labels is None else labels
    cells = [{"bytes": encoded(v), "path": None} if isinstance(v, int) else v for v in levels]
    columns = {image: pa.array(cells, CELL), label: pa.array(labels), **others}
    features = {image: {"_type": "Image"}, label: {"names": names, "_type": "ClassLabel"}}
    note = json.dumps({"info": {"features": features if names else {}}})
    return pa.table(columns).replace_schema_metadata({"huggingface": note})


def saved(folder, *tables, split=None, batch=2):
    """What `Dataset.save_to_disk` writes, one file for each table."""
    folder = Path(folder)
    folder.mkdir(parents=True)
    names = [f"data-{k:05}-of-{len(tables):05}.arrow" for k in range(len(tables))]
    for name, table in zip(names, tables, strict=True):
        with pa.ipc.new_stream(folder / name, table.schema) as stream:
            stream.write_table(table, max_chunksize=batch)
    state = {"_data_files": [{"filename": name} for name in names], "_split": split}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": {}}))
    return folder


def hub(name, table, group=2):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, name, row_group_size=group)


def levels(listing):
    one = Preprocessing((1, 1))
    return [one.pixels(source.encoded()).item() for source in listing.sources]


def names(listing):
    return [source.name for source in listing.sources]


def aside(listing):
    return [(bad.name, bad.reason) for bad in listing.skipped]


# --- layouts


def test_a_data_set_in_several_files():
    saved("set", rows([1, 2, 3]), rows([4, 5]))
    Path("set/cache-0123456789abcdef.arrow").write_bytes(b"left by map()")
    listing = read_listing("set")
    assert repr(listing) == "Listing('set', 5 images, 2 classes)"
    assert levels(listing) == [1, 2, 3, 4, 5]
    assert names(listing)[2:4] == ["data-00000-of-00002.arrow[2]", "data-00001-of-00002.arrow[0]"]
    # the data set's own order and numbers, not the alphabet's
    assert listing.class_names == ("dog", "cat")
    assert listing.labels.tolist() == [0, 1, 0, 0, 1]
    assert (listing.parts, listing.groups) == (None, None)
    assert listing.sources[0].probe() == (3, 2, "L")
    assert listing.sources[0].stamp() != listing.sources[1].stamp()


def test_a_dictionary_of_splits():
    for split, values in {"train": [1, 2], "validation": [3], "extra": [4, 5]}.items():
        saved(f"set/{split}", rows(values))
    splits = ["train", "validation", "extra"]
    Path("set/dataset_dict.json").write_text(json.dumps({"splits": splits}))
    listing = read_listing("set")
    assert names(listing)[-1] == "validation/data-00000-of-00001.arrow[0]"
    assert listing.parts.tolist() == ["train", "train", "tune"]
    assert levels(listing) == [1, 2, 3]
    name = "extra/data-00000-of-00001.arrow"
    assert aside(listing) == [(name, "2 rows of the split 'extra', which is none of the parts")]
    Path("set/dataset_dict.json").write_text('{"splits": ["extra"]}')
    with pytest.raises(DataError, match=r"set: expected a split named after a part.*'extra'"):
        read_listing("set")


@pytest.mark.parametrize(("split", "parts"), [("test", ["test"] * 2), ("train+test", None)])
def test_the_split_of_a_single_data_set(split, parts):
    saved("set", rows([1, 2]), split=split)
    found = read_listing("set").parts
    assert (None if found is None else found.tolist()) == parts


def test_the_cache():
    Path("set").mkdir()
    Path("set/dataset_info.json").write_text("{}")
    for name in ("my-beans-train-00000-of-00001", "my-beans-test"):
        with pa.ipc.new_stream(f"set/{name}.arrow", rows([1]).schema) as stream:
            stream.write_table(rows([1]))
    listing = read_listing("set")
    assert (names(listing), listing.parts.tolist()) == (
        ["my-beans-test.arrow[0]", "my-beans-train-00000-of-00001.arrow[0]"],
        ["test", "train"],
    )


@pytest.mark.parametrize(
    ("files", "parts"),
    [
        (("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"), 2),
        (("train-00000-of-00002-0a1b.parquet", "train-00001-of-00002-0a1b.parquet"), 1),
        (("train.parquet", "validation.parquet"), 2),
        (("train/0000.parquet", "train/0001.parquet", "test/0000.parquet"), 2),
        (("plain_text/train-00000-of-00001.parquet",), 1),
    ],
)
def test_the_hubs_layouts(files, parts):
    for level, name in enumerate(files):
        hub(f"set/{name}", rows([level]))
    assert hugging_face.SOURCE.claims("set")
    listing = read_listing("set")
    assert names(listing) == [f"{name}[0]" for name in sorted(files)]
    assert len(set(listing.parts.tolist())) == parts
    assert sorted(levels(listing)) == list(range(len(files)))


def test_several_configurations():
    for name in ("small", "large"):
        hub(f"set/{name}/train-00000-of-00001.parquet", rows([1]))
    with pytest.raises(DataError, match="one configuration .*'large', 'small': pass one"):
        read_listing("set")
    assert len(read_listing("set/small")) == 1


def test_folders_that_are_no_data_sets():
    hub("set/index.parquet", rows([1]))  # a table beside photographs
    Path("set/cat").mkdir()
    Path("set/cat/1.png").touch()
    assert not hugging_face.SOURCE.claims("set")
    assert names(read_listing("set")) == ["cat/1.png"]
    saved("other", rows([1]))
    with pytest.raises(DataError, match="no `classes` for a Hugging Face data set"):
        read_listing("other", classes="top")


def test_one_file_of_the_hub_is_a_table():
    hub("train-00000-of-00001.parquet", rows([1, 2, 3]))
    listing = read_listing("train-00000-of-00001.parquet")
    assert (levels(listing), listing.class_names) == ([1, 2, 3], ("dog", "cat"))
    assert listing.parts is None


# --- columns


def test_columns_by_their_notes():
    table = rows([1, 2], image="img", label="fine_label", note=pa.array(["x", "y"]))
    saved("set", table)
    assert read_listing("set").class_names == ("dog", "cat")


def test_columns_by_name():
    more = {"who": pa.array(["Ann", "Ann", "Bo"]), "use": pa.array(["train", "test", None])}
    saved("set", rows([1, 2, 3], [7, 8, 7], names=None, **more), split="train")
    listing = read_listing("set", label="label", group="who", split="use")
    assert (listing.class_names, listing.labels.tolist()) == (("7", "8"), [0, 1, 0])
    assert listing.groups.tolist() == ["Ann", "Ann", "Bo"]
    assert listing.parts.tolist() == ["train", "test", ""]
    by_who = read_listing("set", label="who")
    assert by_who.class_names == ("Ann", "Bo")


def test_bytes_without_a_struct():
    table = pa.table({"png": pa.array([encoded(4), None], pa.binary()), "label": ["a", "a"]})
    hub("t.parquet", table)
    listing = read_listing("t.parquet")
    assert levels(listing) == [4]
    assert aside(listing) == [("t.parquet[1]", "row 1: no image")]


def test_columns_that_could_be_meant_twice():
    table = rows([1]).append_column("scan", pa.array([None], CELL))
    hub("t.parquet", table)
    assert levels(read_listing("t.parquet")) == [1]  # `image` has a usual name
    hub("t.parquet", table.rename_columns(["left", "label", "right"]))
    with pytest.raises(DataError, match="one column path or .*'left', 'label', 'right'"):
        read_listing("t.parquet")
    assert levels(read_listing("t.parquet", image="left")) == [1]


def test_classes_that_differ_between_files_are_joined_by_name():
    saved("set", rows([1, 2]), rows([3, 4], names=["cat", "fox"]))
    listing = read_listing("set")
    assert listing.class_names == ("cat", "dog", "fox")
    assert listing.labels.tolist() == [1, 0, 0, 2]


def test_a_column_that_only_some_files_have():
    saved("set", rows([1], group=pa.array(["g"])), rows([2]))
    listing = read_listing("set")
    assert listing.groups.tolist() == ["g", "data-00001-of-00002.arrow[0]"]


# --- what cannot be used


@pytest.mark.parametrize("layout", ["arrow", "parquet"])
def test_rows_that_cannot_be_used(layout):
    Image.new("L", (3, 2), 77).save("beside.png")
    cells = [
        *(1, None, {"bytes": None, "path": "gone.png"}, {"bytes": None, "path": "../beside.png"}),
        *(5, 6, {"bytes": None, "path": None}),
    ]
    table = rows(cells, [0, 0, 0, 1, -1, 2, 0])
    if layout == "arrow":
        name = "data-00000-of-00001.arrow"
        saved("set", table)
    else:
        name = "train-00000-of-00001.parquet"
        hub(f"set/{name}", table, group=3)
    listing = read_listing("set")
    assert levels(listing) == [1, 77]
    assert names(listing) == [f"{name}[0]", "../beside.png"]
    assert aside(listing) == [
        (f"{name}[1]", "row 1: no image"),
        (f"{name}[2]", "row 2: no image, and for its path 'gone.png' no such file"),
        (f"{name}[4]", "row 4: no label"),
        (f"{name}[5]", "row 5: no label"),
        (f"{name}[6]", "row 6: no image"),
    ]


def test_images_that_are_damaged_are_told_when_they_are_decoded():
    saved("set", rows([1, {"bytes": b"not an image", "path": None}]))
    _, bad = read_listing("set").sources
    with pytest.raises(ImageFileError, match=r"arrow\[1\]: expected an image"):
        Preprocessing((1, 1)).pixels(bad.encoded())


def test_damaged_folders():
    folder = saved("set", rows([1, 2, 3]))
    whole = (folder / "data-00000-of-00001.arrow").read_bytes()
    for damaged in (b"", b"not arrow at all", whole[: len(whole) // 2]):
        (folder / "data-00000-of-00001.arrow").write_bytes(damaged)
        with pytest.raises(DataError, match=r"arrow: expected a whole Parquet or Arrow file"):
            read_listing("set")
    (folder / "data-00000-of-00001.arrow").unlink()
    with pytest.raises(DataError, match=r"arrow: expected a whole Parquet or Arrow file.*No such"):
        read_listing("set")
    for state, words in {
        "{}": 'state.json: expected "_data_files"',
        "[": "state.json: expected a file of JSON",
        "[]": r"state.json: expected an object. Received \[\]",
        '{"_indices_data_files": ["i.arrow"]}': r"call `flatten_indices\(\)`",
    }.items():
        (folder / "state.json").write_text(state)
        with pytest.raises(DataError, match=words):
            read_listing("set")
    (folder / "dataset_dict.json").write_text("{}")
    with pytest.raises(DataError, match='expected "splits"'):
        read_listing("set")


def test_a_note_cannot_lead_out_of_the_folder():
    saved("other", rows([1]))
    saved("set", rows([2]))
    state = {"_data_files": [{"filename": "../other/data-00000-of-00001.arrow"}]}
    Path("set/state.json").write_text(json.dumps(state))
    assert levels(read_listing("set")) == [2]


def test_a_damaged_note_is_none():
    table = rows([1, 2]).replace_schema_metadata({"huggingface": "{"})
    hub("t.parquet", table)
    assert read_listing("t.parquet").class_names == ("0", "1")


def test_the_file_format_of_arrow():
    folder = saved("set", rows([1]))
    table = rows([7, 8, 9])
    with pa.ipc.new_file(folder / "data-00000-of-00001.arrow", table.schema) as file:
        file.write_table(table, max_chunksize=2)
    assert levels(read_listing("set")) == [7, 8, 9]


def test_a_listing_of_rows_is_a_listing_of_numpy():
    saved("set", rows([1, 2]))
    listing = read_listing("set").subset(np.array([1]))
    assert (levels(listing), listing.labels.dtype) == ([2], np.int64)


def test_folders_that_cannot_be_read_are_no_data_sets(monkeypatch):
    def refused(path):
        raise PermissionError(13, "Permission denied")

    Path("set").mkdir()
    monkeypatch.setattr(os, "listdir", refused)
    assert not hugging_face.SOURCE.claims("set")
