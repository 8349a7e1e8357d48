"""Images as arrays in one .npz file."""

import numpy as np
import pytest

import twinset
from twinset.data.sources import read_listing
from twinset.errors import DataError

PIXELS = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
LABELS = np.array([0, 10, 2, 2, 0])


def saved(tmp_path, **arrays):
    np.savez(tmp_path / "set.npz", **arrays)
    return tmp_path / "set.npz"


def test_images_and_labels(tmp_path):
    data = twinset.load_images(saved(tmp_path, images=PIXELS, labels=LABELS))
    assert np.array_equal(data.rows, PIXELS)
    assert data.class_names == ("0", "2", "10")  # in the order that people count
    assert data.labels.tolist() == [0, 2, 1, 1, 0]
    assert data.parts is None


@pytest.mark.parametrize("names", ["x_{part}", "{part}_images"])
def test_parts_as_keras_and_medmnist_name_them(tmp_path, names):
    labels = "y_{part}" if names.startswith("x") else "{part}_labels"
    arrays = {}
    for part, rows in (("train", slice(0, 3)), ("val", slice(3, 4)), ("test", slice(4, 5))):
        arrays[names.format(part=part)] = PIXELS[rows]
        arrays[labels.format(part=part)] = LABELS[rows, None].astype(np.uint8)
    data = twinset.load_images(saved(tmp_path, **arrays))
    assert data.parts.tolist() == ["train", "train", "train", "tune", "test"]
    assert [data.class_names[label] for label in data.labels] == ["0", "10", "2", "2", "0"]


def test_texts_as_labels_and_one_channel(tmp_path):
    file = saved(tmp_path, x=PIXELS[..., None], y=np.array(["cat", "dog", "cat", "cat", "dog"]))
    data = twinset.load_images(file)
    assert data.rows.shape == (5, 4, 3)
    assert data.class_names == ("cat", "dog")


def test_an_index_needs_no_labels(tmp_path):
    listing = read_listing(saved(tmp_path, images=PIXELS), labelled=False)
    assert listing.ids[4] == "set.npz[4]"
    assert listing.rows is not None


def test_an_array_of_vectors_is_still_vectors(tmp_path):
    file = saved(tmp_path, x=np.eye(4, dtype=np.float32), label=np.array(["a", "a", "b", "b"]))
    assert twinset.load_features(file).rows.shape == (4, 4)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": PIXELS / 255.0, "labels": LABELS}, "type uint8.*Received float64"),
        ({"images": PIXELS, "labels": LABELS[:4]}, "expected 5 labels"),
        ({"images": PIXELS, "labels": LABELS / 2}, "whole numbers or texts"),
        ({"images": PIXELS}, "expected labels in 'labels' beside 'images'"),
        (
            {"x_train": PIXELS, "y_train": LABELS, "x_test": PIXELS[:, 1:], "y_test": LABELS},
            "images of one size",
        ),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, arrays, words):
    with pytest.raises(DataError, match=words):
        twinset.load_images(saved(tmp_path, **arrays))
