"""Stored pixels answer as an array does."""

import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinset.data.image_sources import StoredPixels
from twinset.data.labelled import LabelledImages
from twinset.errors import DataError

WHOLE = np.arange(7 * 3 * 2 * 3, dtype=np.uint8).reshape(7, 3, 2, 3)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    path = tmp_path_factory.mktemp("stored") / "pixels"
    path.write_bytes(WHOLE.tobytes())
    return StoredPixels(path, WHOLE.shape)


keys = st.one_of(
    st.slices(7),
    st.integers(-7, 6),
    st.lists(st.integers(-7, 6)).map(lambda chosen: np.array(chosen, np.int64)),
    st.lists(st.booleans(), min_size=7, max_size=7).map(np.array),
)


@given(keys)
def test_reading_is_that_of_an_array(stored, key):
    np.testing.assert_array_equal(stored[key], WHOLE[key])
    assert stored[key].dtype == np.uint8


@given(keys, keys)
def test_a_choice_of_a_choice(stored, first, second):
    if np.ndim(np.arange(7)[first]) == 0:
        return
    array, lazy = WHOLE[first], stored.at(first)
    assert lazy.shape == array.shape
    assert len(lazy) == len(array)
    assert lazy.nbytes == array.nbytes
    try:
        wanted = array[second]
    except IndexError:
        with pytest.raises(IndexError):
            lazy[second]
    else:
        np.testing.assert_array_equal(lazy[second], wanted)


def test_it_travels(stored):
    part = stored.at([4, 1])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(part))[:], WHOLE[[4, 1]])
    np.testing.assert_array_equal(np.asarray(part), WHOLE[[4, 1]])
    assert (stored.ndim, stored.dtype) == (4, np.uint8)
    assert "(2, 3, 2, 3)" in repr(part)


def test_labelled_images_take_it(stored):
    labels, names = np.arange(7) % 2, ("a", "b")
    lazy, plain = LabelledImages(stored, labels, names), LabelledImages(WHOLE, labels, names)
    assert lazy.digest == plain.digest
    part, same = (each.subset(np.array([5, 0])) for each in (lazy, plain))
    assert isinstance(part.images, StoredPixels)
    assert part.digest == same.digest
    np.testing.assert_array_equal(part.fingerprints, same.fingerprints)


def test_files_that_are_not_there_or_too_short(stored, tmp_path):
    with pytest.raises(DataError, match="expected a file of pixels. No such file"):
        StoredPixels(tmp_path / "none", (1, 2, 2))
    (tmp_path / "short").write_bytes(bytes(7))
    with pytest.raises(DataError, match="expected 8 bytes of pixels. Received 7"):
        StoredPixels(tmp_path / "short", (2, 2, 2))
    (tmp_path / "cut").write_bytes(bytes(8))
    cut = StoredPixels(tmp_path / "cut", (2, 2, 2))
    (tmp_path / "cut").write_bytes(bytes(3))
    with pytest.raises(DataError, match="cut short while in use"):
        cut[1]
    with pytest.raises(IndexError, match="out of range for 7 images"):
        stored[7]
    with pytest.raises(IndexError, match="integers, a slice or a mask"):
        stored[[0.5]]


def test_threads_do_not_get_each_others_images(stored):
    rows = [np.roll(np.arange(7), shift)[: 1 + shift % 4] for shift in range(200)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(stored.__getitem__, rows))
    for row, pixels in zip(rows, found, strict=True):
        np.testing.assert_array_equal(pixels, WHOLE[row])


def test_a_process_that_was_forked_opens_the_file_anew(stored, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: -1)
    before = stored._file
    np.testing.assert_array_equal(stored[2], WHOLE[2])
    assert stored._file is not before
