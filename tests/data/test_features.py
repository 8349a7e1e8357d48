"""Vectors with labels: what is accepted, what a model of vectors takes, and how files are read."""

from pathlib import Path

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from twinset.data.data_set import load_features
from twinset.data.labelled import LabelledFeatures, VectorInput
from twinset.data.parts import Shares, divide
from twinset.data.sources import vectors as source
from twinset.errors import DataError

VECTORS = np.arange(12, dtype=np.float64).reshape(6, 2)
LABELS = ["dog", "cat", "dog", "cat", "dog", "cat"]
GROUPS = ["a", "a", "b", "b", "c", "c"]
SPLITS = ["train", "train", "test", "test", "", ""]


def features(count=60, dim=3, classes=3, seed=0, **more):
    labels = np.arange(count) % classes
    vectors = np.random.default_rng(seed).normal(size=(count, dim)) + labels[:, None]
    names = tuple(f"class {i}" for i in range(classes))
    return LabelledFeatures(vectors, labels, names, **more)


def test_vectors_become_float32_and_are_told_apart():
    data = LabelledFeatures(VECTORS, [0, 1] * 3, ("a", "b"), groups=GROUPS)
    assert data.vectors.dtype == np.float32
    assert (len(data), data.dim, data.row_shape, data.mirrors) == (6, 2, (2,), False)
    assert data.rows is data.vectors
    assert data.preprocessing == VectorInput(2)
    assert len({bytes(each) for each in data.fingerprints}) == 6
    other = LabelledFeatures(VECTORS + 1, [0, 1] * 3, ("a", "b"))
    relabelled = LabelledFeatures(VECTORS, [1, 0] * 3, ("a", "b"))
    assert len({data.digest, other.digest, relabelled.digest}) == 3
    part = data.subset(np.array([4, 0]), "part")
    assert isinstance(part, LabelledFeatures)
    np.testing.assert_array_equal(part.vectors, VECTORS[[4, 0]])
    assert (part.name, part.labels.tolist(), part.groups.tolist()) == ("part", [0, 0], ["c", "a"])


@pytest.mark.parametrize(
    ("vectors", "labels", "words"),
    [
        (np.zeros(3), [0], r"numbers of shape \(n, d\). Received float64 of shape \(3,\)"),
        (np.array([["a"]]), [0], "Received <U1 of shape"),
        (np.array([[0.0], [np.nan]]), [0, 0], "Received others in 1 of 2 rows, the first is row 1"),
        (np.array([[1e300]]), [0], "finite numbers within float32"),
        (VECTORS, [0], r"one label per vector, shape \(6,\). Received labels of shape \(1,\)"),
        (VECTORS, [0, 1, 2] * 2, "Received 2 at position 2"),
        (VECTORS, [0.5] * 6, "Expected labels that name classes. Received 0.5"),
    ],
)
def test_what_does_not_fit_is_refused(vectors, labels, words):
    with pytest.raises(DataError, match=words):
        LabelledFeatures(vectors, labels, ("a", "b"))


def test_vectors_that_a_model_takes():
    takes = VectorInput(2)
    np.testing.assert_array_equal(takes.rows(features(dim=2)), features(dim=2).vectors)
    assert takes.rows([(1, 2), (3, 4)]).tolist() == [[1, 2], [3, 4]]
    assert takes.rows([]).shape == (0, 2)
    for given, words in (
        ([Path("a.png"), Path("b.png")], r"takes no images and no files. Received .*a.png"),
        (["a.png"], "Received 'a.png': make its vector"),
        (np.zeros((3, 4, 5), np.uint8), r"of shape \(n, 2\). Received shape \(3, 4, 5\)"),
        (features(dim=3), r"of shape \(n, 2\). Received shape \(60, 3\)"),
        ([[1.0, np.inf]], "Expected finite numbers"),
    ):
        with pytest.raises(DataError, match=words):
            takes.rows(given)
    with pytest.raises(DataError, match="Received PosixPath"):
        takes.pixels(Path("a.png"))
    with pytest.raises(DataError, match="one number or more. Received 0"):
        VectorInput(0)


@pytest.mark.parametrize("grouped", [False, True])
def test_features_are_divided_as_images_are(grouped):
    data = features(groups=np.repeat(np.arange(20), 3).astype(str) if grouped else None)
    parts = divide(data, shares=Shares(calibration=0.2), seed=3).named()
    assert set(parts) == {"fit", "test", "calibration"}
    assert sum(map(len, parts.values())) == 60
    prints = [{bytes(each) for each in part.fingerprints} for part in parts.values()]
    assert not prints[0] & prints[1] | prints[0] & prints[2] | prints[1] & prints[2]
    if grouped:
        of_parts = [set(part.groups) for part in parts.values()]
        assert not of_parts[0] & of_parts[1] | of_parts[0] & of_parts[2]


def test_an_owner_s_leak_is_found():
    twice = features(parts=["train", "test"] * 30)
    vectors = twice.vectors.copy()
    vectors[1] = vectors[0]
    leaking = LabelledFeatures(vectors, twice.labels, twice.class_names, parts=twice.parts)
    divide(twice, holdout="none")
    with pytest.raises(DataError, match="test"):
        divide(leaking, holdout="none")


# --- files


def write(kind, **columns):
    """Write the same rows as one kind of file."""
    path = Path(f"pets.{kind}")
    if kind == "npz":
        np.savez(path, embeddings=VECTORS, **{k: np.array(v) for k, v in columns.items()})
    elif kind == "npy":
        np.save(path, VECTORS)
        lines = [",".join(columns), *(",".join(row) for row in zip(*columns.values(), strict=True))]
        path.with_suffix(".csv").write_text("\n".join(lines) + "\n", "utf-8")
    else:
        parquet.write_table(arrow.table({"embedding": list(VECTORS), **columns}), path)
    return path


@pytest.mark.parametrize("kind", ["parquet", "npz", "npy"])
def test_a_file_says_it_all(kind):
    paths = [f"{i}.png" for i in range(6)]
    path = write(kind, path=paths, label=LABELS, group=GROUPS, split=SPLITS)
    assert source.SOURCE.claims(path)
    data = load_features(path)
    np.testing.assert_array_equal(data.vectors, VECTORS)
    assert data.class_names == ("cat", "dog")
    assert data.labels.tolist() == [1, 0, 1, 0, 1, 0]
    assert data.groups.tolist() == GROUPS
    assert data.parts.tolist() == SPLITS
    assert data.names.tolist() == paths
    assert (data.name, data.skipped) == (f"pets.{kind}", ())


@pytest.mark.parametrize("kind", ["parquet", "npz", "npy"])
def test_a_row_without_a_label_is_set_aside(kind):
    data = load_features(write(kind, label=["10", "", "9", "9", "10", "9"], group=GROUPS))
    np.testing.assert_array_equal(data.vectors, VECTORS[[0, 2, 3, 4, 5]])
    assert data.class_names == ("9", "10")
    assert data.labels.tolist() == [1, 0, 0, 1, 0]
    assert data.groups.tolist() == ["a", "b", "b", "c", "c"]
    assert (data.parts, data.names) == (None, None)
    assert [(q.name, q.reason) for q in data.skipped] == [(f"pets.{kind}[1]", "row 1: no label")]


@pytest.mark.parametrize("kind", ["parquet", "npz", "npy"])
def test_a_file_without_labels_is_told(kind):
    with pytest.raises(DataError, match="expected one column label or labels or class"):
        load_features(write(kind, group=GROUPS))


def test_a_table_beside_must_be_there_and_fit():
    np.save("pets.npy", VECTORS)
    with pytest.raises(DataError, match="no file 'pets.csv': write one with a column `label`"):
        load_features("pets.npy")
    Path("pets.csv").write_text("label\ncat\n", "utf-8")
    with pytest.raises(DataError, match=r"pets.csv: expected 6 rows, one per vector. Received 1"):
        load_features("pets.npy")
    Path("pets.csv").write_bytes(b"label\n\xff\xfe\n")
    with pytest.raises(DataError, match=r"pets.csv, line 2: expected text in UTF-8"):
        load_features("pets.npy")


def test_images_in_a_table_are_no_features():
    parquet.write_table(arrow.table({"path": ["a"], "label": ["b"]}), "images.parquet")
    parquet.write_table(arrow.table({"path": ["a"], "tags": [["x"]]}), "tags.parquet")
    assert not any(map(source.SOURCE.claims, ("images.parquet", "tags.parquet", "photos", "a.csv")))
