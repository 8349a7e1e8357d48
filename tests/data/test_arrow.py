import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinset.data import arrow
from twinset.data.arrow import open_table, read_cell
from twinset.data.image_sources import TableSource
from twinset.errors import ImageFileError

pa = pytest.importorskip("pyarrow", reason="needs pyarrow, of the extra parquet")
pq = pytest.importorskip("pyarrow.parquet")

CELL = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
DATA = [np.random.default_rng(k).bytes(k % 7 * 100) for k in range(60)]


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(arrow, "BLOCK_BYTES", 1000)  # three or four rows
    arrow._opened.cache_clear()
    yield
    arrow._opened.cache_clear()


def table(data):
    cells = [{"bytes": one, "path": None} for one in data]
    flat = pa.array([one[::-1] for one in data], pa.binary())
    return pa.table({"image": pa.array(cells, CELL), "flat": flat})


def written(path, data, group=25):
    if path.suffix == ".parquet":
        pq.write_table(table(data), path, row_group_size=group)
    else:
        with pa.ipc.new_stream(path, table(data).schema) as stream:
            stream.write_table(table(data), max_chunksize=7)
    return path


@pytest.fixture(params=["t.parquet", "t.arrow"])
def path(request):
    return written(Path(request.param), DATA)


def test_cells_in_any_order(path):
    for order in (range(60), range(59, -1, -1), np.random.default_rng(0).permutation(60).tolist()):
        for row in order:
            assert read_cell(path, "image", row) == DATA[row]


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 59), st.booleans()), max_size=30))
def test_any_way_through_a_file(tmp_path_factory, steps):
    file = open_table(written(tmp_path_factory.mktemp("tables") / "t.parquet", DATA))
    for row, flat in steps:
        found = file.cell("flat" if flat else "image", row)
        assert found == (DATA[row][::-1] if flat else DATA[row])


def test_threads_share_a_file(path):
    rows = [row for row in range(60) for _ in range(5)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda row: read_cell(path, "image", row), rows))
    assert found == [DATA[row] for row in rows]


def test_going_through_in_order_reads_each_block_once():
    path = written(Path("t.parquet"), DATA)
    file = open_table(path)
    read = []
    group = file._group
    file._group = lambda column, k: (read.append((k, b.start)) or b for b in group(column, k))
    for row in range(60):
        file.cell("image", row)
    assert len(read) == len(set(read)) > 10
    assert sorted(read) == read
    assert max(len(block.cells) for block in file._blocks) < 10
    assert len(file._blocks) <= arrow.KEPT_BLOCKS


def test_large_groups_are_not_read_whole():
    data = [bytes([k]) * 50_000 for k in range(200)]
    plain = {"use_dictionary": False, "compression": "none"}
    pq.write_table(table(data), "t.parquet", row_group_size=200, write_batch_size=5, **plain)
    file = open_table(Path("t.parquet"))
    before = pa.total_allocated_bytes()
    most = 0
    for row, expected in enumerate(data):
        assert file.cell("image", row) == expected
        most = max(most, pa.total_allocated_bytes() - before)
    assert 0 < most < 4_000_000 < sum(map(len, data))  # buffers of 1 MiB are the most of it


def test_a_file_that_is_written_anew_is_read_anew(path):
    assert read_cell(path, "image", 8) == DATA[8]
    written(path.with_name("new" + path.suffix), DATA[::-1]).replace(path)
    assert read_cell(path, "image", 8) == DATA[51]


def test_sources_travel_to_other_processes(path):
    source = TableSource(str(path), 3, "image", "t[3]")
    assert pickle.loads(pickle.dumps(source)) == source
    assert source.encoded().data == DATA[3]
    os.utime(path, ns=(0, 0))
    assert source.stamp().endswith("-3")


@pytest.mark.parametrize(
    ("column", "row", "words"),
    [
        ("image", 60, r"\[60\]: expected an encoded image. no row 60 of a column 'image'"),
        ("image", -1, "no row -1 of a column 'image'"),
        ("picture", 0, "no row 0 of a column 'picture', the file has changed"),
    ],
)
def test_cells_that_are_not_there(path, column, row, words):
    with pytest.raises(ImageFileError, match=words):
        read_cell(path, column, row)


def test_empty_cells_and_files_that_are_gone():
    cells = pa.array([None, {"bytes": None, "path": "x"}, {"bytes": b"y", "path": None}], CELL)
    pq.write_table(pa.table({"image": cells}), "e.parquet")
    for row in (0, 1):
        with pytest.raises(ImageFileError, match=r"expected an encoded image. Received nothing"):
            read_cell(Path("e.parquet"), "image", row)
    assert open_table(Path("e.parquet")).empty("image").tolist() == [True, True, False]
    assert open_table(Path("e.parquet")).paths("image") == [None, "x", None]
    Path("e.parquet").write_bytes(b"PAR1")
    with pytest.raises(ImageFileError, match="expected a whole Parquet or Arrow file"):
        read_cell(Path("e.parquet"), "image", 2)
    Path("e.parquet").unlink()
    with pytest.raises(ImageFileError, match="No such file"):
        read_cell(Path("e.parquet"), "image", 2)


def test_what_can_hold_images():
    kinds = [pa.binary(), pa.large_binary(), CELL, pa.struct([("bytes", pa.large_binary())])]
    assert all(map(arrow.is_encoded, kinds))
    others = [pa.string(), pa.int64(), pa.list_(pa.binary()), pa.struct([("path", pa.string())])]
    assert not any(map(arrow.is_encoded, others))
