import numpy as np
import pytest

from twinset.data.sources import Asked
from twinset.data.sources import vectors as source
from twinset.errors import DataError


def load_features(path):
    found = source.SOURCE.read(str(path), Asked(labelled=False))
    return found.usable(labelled=False)


VECTORS = np.random.default_rng(0).standard_normal((4, 3))
NAMES = ["d", "a", "c", "ä b"]


@pytest.fixture
def parquet(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    def write(**columns):
        parquet.write_table(arrow.table(columns), tmp_path / "rows.parquet")
        return tmp_path / "rows.parquet"

    return write


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint8"])
def test_npy(tmp_path, dtype):
    values = (10 * VECTORS).astype(np.int8).astype(dtype)
    np.save(tmp_path / "a.npy", values)
    found = load_features(tmp_path / "a.npy")
    np.testing.assert_array_equal(found.rows, values)
    assert found.rows.dtype == np.float32
    assert found.ids == ("a.npy[0]", "a.npy[1]", "a.npy[2]", "a.npy[3]")
    assert found.rows.shape == (4, 3)


@pytest.mark.parametrize("name", ["embeddings", "features", "whatever"])
@pytest.mark.parametrize("ids", ["ids", "names", "path", None])
def test_npz(tmp_path, name, ids):
    more = {} if ids is None else {ids: NAMES}
    np.savez(tmp_path / "a.npz", **{name: VECTORS}, labels=np.arange(4), **more)
    found = load_features(str(tmp_path / "a.npz"))
    np.testing.assert_array_equal(found.rows, VECTORS.astype(np.float32))
    assert list(found.ids) == (NAMES if ids else [f"a.npz[{row}]" for row in range(4)])


def test_parquet_of_lists(parquet):
    found = load_features(parquet(embedding=VECTORS.tolist(), id=NAMES, label=[0, 1, 0, 1]))
    np.testing.assert_array_equal(found.rows, VECTORS.astype(np.float32))
    assert list(found.ids) == NAMES


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_parquet_of_lists_of_fixed_size(parquet, kind):
    import pyarrow as arrow

    flat = arrow.array(VECTORS.astype(kind).ravel())
    found = load_features(parquet(z=arrow.FixedSizeListArray.from_arrays(flat, 3), id=range(4)))
    np.testing.assert_array_equal(found.rows, VECTORS.astype(kind).astype(np.float32))
    assert list(found.ids) == ["0", "1", "2", "3"]


def test_parquet_in_several_groups(tmp_path):
    """Arrow hands a column over in chunks, and not as one array."""
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = arrow.table({"vector": VECTORS.tolist(), "name": NAMES})
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=1)
    found = load_features(tmp_path / "a.parquet")
    np.testing.assert_array_equal(found.rows, VECTORS.astype(np.float32))
    assert list(found.ids) == NAMES


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"embedding": [[1.0, 2.0], [3.0]]}, "one length in 'embedding'. Received 1 to 2 numbers"),
        ({"embedding": [[1.0, 2.0], None]}, "a list in each row of 'embedding'. Received none"),
        ({"embedding": [1.0, 2.0]}, "expected lists of numbers in 'embedding'. Received double"),
        ({"a": [[1.0]], "b": [[2.0]]}, r"Received \['a', 'b'\]: rename one"),
        ({"label": [1, 2]}, r"Received \['label'\]: rename one"),
        ({"embedding": [["x"], ["y"]]}, "expected numbers of shape"),
        ({"embedding": [[1.0, None], [1.0, 2.0]]}, "finite numbers within float32"),
    ],
)
def test_parquet_that_does_not_fit(parquet, columns, words):
    with pytest.raises(DataError, match=words):
        load_features(parquet(**columns))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"embeddings": np.zeros(3)}, r"numbers of shape \(n, d\). Received float64 of shape \(3,"),
        ({"embeddings": np.zeros((0, 3))}, r"of shape \(0, 3\)"),
        ({"embeddings": np.zeros((3, 1), complex)}, "Received complex128"),
        ({"a": np.zeros((2, 2)), "b": np.zeros((2, 2))}, r"Received \['a', 'b'\]: rename one"),
        ({"embeddings": [[1.0], [np.nan], [np.inf]]}, "in 2 of 3 rows, the first is row 1"),
        ({"embeddings": [[1e39], [1.0]]}, "finite numbers within float32"),
        ({"embeddings": np.zeros((2, 1)), "ids": ["a"]}, "2 ids, one per row. Received 1"),
        ({"embeddings": np.zeros((3, 1)), "ids": ["a", "b", "a"]}, "Received 'a' 2 times"),
        ({"embeddings": np.array([[{}]], object)}, "expected arrays of numbers or text"),
    ],
)
def test_npz_that_does_not_fit(tmp_path, arrays, words):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=words):
        load_features(tmp_path / "a.npz")


def test_nothing_is_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(DataError, match="expected arrays of numbers or text. Object arrays"):
        load_features(tmp_path / "a.npy")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".parquet"])
@pytest.mark.parametrize("content", [b"", b"nonsense that is no file of this kind"])
def test_damaged_files(tmp_path, suffix, content):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    (tmp_path / f"a{suffix}").write_bytes(content)
    with pytest.raises(DataError, match=f"a{suffix}: expected"):
        load_features(tmp_path / f"a{suffix}")
