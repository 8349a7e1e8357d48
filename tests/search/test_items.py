import numpy as np
import pytest

from twinset.errors import StoreError
from twinset.search.store import Items, Signature


def test_vectors_become_read_only_float32_without_a_copy_where_they_are_that():
    vectors = np.eye(3, dtype=np.float32)
    items = Items(["a", "b", "c"], vectors)
    assert np.shares_memory(items.vectors, vectors)
    assert vectors.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        items.vectors[0] = 1
    turned = Items(["a", "b", "c"], np.eye(3, 4).T[:3].astype(">f8"))
    assert turned.vectors.dtype == np.float32
    assert turned.vectors.flags.c_contiguous


def test_nothing_known_is_an_empty_mapping_each():
    assert Items(["a", "b"], np.zeros((2, 1))).metadata == ({}, {})


def test_numbers_of_numpy_become_those_of_python():
    known = {"a": np.int64(3), "b": np.float32(0.5), "c": np.bool_(True), "d": np.str_("x")}
    (plain,) = Items([np.str_("id")], np.zeros((1, 1)), [known]).metadata
    assert plain == {"a": 3, "b": 0.5, "c": True, "d": "x"}
    assert [type(value) for value in plain.values()] == [int, float, bool, str]


def test_later_changes_of_metadata_do_not_reach_it():
    known = {"a": 1}
    items = Items(["a"], np.zeros((1, 1)), [known])
    known["a"] = 2
    assert items.metadata[0] == {"a": 1}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((["a"], np.zeros((2, 3))), "Expected as many vectors as ids. Received 2 and 1 ids"),
        ((["a", "b"], np.zeros((2, 3)), [{}]), "Expected as many metadata as ids. Received 1 and"),
        ((["a", "a"], np.zeros((2, 3))), "Expected each id once. Received 'a' more often"),
        (([""], np.zeros((1, 3))), "Expected an id to be a text of 1 character or more"),
        (([3], np.zeros((1, 3))), "Expected an id to be a text"),
        (("ab", np.zeros((2, 3))), "Expected a list of ids. Received the text 'ab'"),
        ((["\udc80"], np.zeros((1, 3))), "Expected an id to be Unicode text"),
        ((["a\0"], np.zeros((1, 3))), "Expected an id without a NUL character"),
        ((["a"], np.zeros(3)), r"Expected vectors as numbers of shape \(n, d\)"),
        ((["a"], np.zeros((1, 0))), r"Expected vectors as numbers of shape \(n, d\)"),
        ((["a"], np.zeros((1, 3), complex)), "Received complex128"),
        ((["a"], [[1, np.nan]]), "Received NaN, infinity or more in row 0"),
        ((["a", "b"], [[1, 2], [1, -np.inf]]), "Received NaN, infinity or more in row 1"),
        ((["a"], [[1e300, 2]]), "Expected vectors of finite numbers within ±1e.15"),
        ((["a"], [[1.1e15, 2]]), "Received NaN, infinity or more in row 0"),
        ((["a"], np.zeros((1, 3)), [3]), "Expected metadata of 'a' as a mapping"),
        ((["a"], np.zeros((1, 3)), [{"": 1}]), "Expected a metadata name of 'a' to be a text"),
        ((["a"], np.zeros((1, 3)), [{1: 1}]), "Expected a metadata name of 'a' to be a text"),
        ((["a"], np.zeros((1, 3)), [{"x": [1]}]), "Expected metadata 'x' of 'a' to be a text"),
        ((["a"], np.zeros((1, 3)), [{"x": np.nan}]), "Expected metadata 'x' of 'a' to be"),
        ((["a"], np.zeros((1, 3)), [{"x": 2**63}]), "a finite number of 64 bits"),
        ((["a"], np.zeros((1, 3)), [{"x": "\ud800"}]), "Expected metadata 'x' of 'a' to be Unic"),
    ],
)
def test_items_that_make_no_sense(arguments, words):
    with pytest.raises(StoreError, match=words):
        Items(*arguments)


def test_a_bad_row_far_down_is_named():
    vectors = np.zeros((20_000, 2))
    vectors[17_123, 1] = np.nan
    with pytest.raises(StoreError, match="in row 17123"):
        Items([str(i) for i in range(20_000)], vectors)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("", 3), "Expected the digest of an index's model to be a text"),
        (("m", 0), "Expected the size of an embedding as 1 or more. Received 0"),
        (("m", 2.0), "Expected the size of an embedding as 1 or more. Received 2.0"),
    ],
)
def test_signatures_that_make_no_sense(arguments, words):
    with pytest.raises(StoreError, match=words):
        Signature(*arguments)
