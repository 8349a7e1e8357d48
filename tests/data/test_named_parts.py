"""Parts by one's own names and shares: disjoint, of the sizes asked for, nothing torn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import twinset
from twinset.data.labelled import LabelledFeatures, LabelledImages
from twinset.errors import DataError

THREE = {"train": 0.7, "calibration": 0.1, "test": 0.2}


def images(labels, **fields):
    labels = np.asarray(labels)
    rows = np.arange(len(labels))[:, None] // [1, 256] % 256
    names = tuple(f"class {i}" for i in range(labels.max() + 1))
    return LabelledImages(rows[:, :, None].astype(np.uint8), labels, names, "mine", **fields)


def prints(part):
    return set(map(bytes, part.fingerprints))


@given(st.lists(st.integers(1, 40), min_size=3, max_size=8), st.integers(0, 9))
def test_each_class_is_divided_by_the_shares(sizes, seed):
    data = images(np.repeat(np.arange(len(sizes)), sizes))
    shares = {"a": 0.5, "b": 0.3}
    try:
        parts = twinset.split(data, shares, seed=seed)
    except DataError:  # so few that one part has none
        assert max(sizes) < 4
        return
    assert list(parts) == ["a", "b"]
    assert not prints(parts["a"]) & prints(parts["b"])
    for name, part in parts.items():
        assert part.name == f"mine[{name}]"
        assert (np.abs(part.class_counts - shares[name] * np.array(sizes)) < 1).all()
        place = part.rows[:, :, 0].astype(int) @ [1, 256]
        assert (np.diff(place) > 0).all()  # in their order
    again = twinset.split(data, shares, seed=seed)
    assert [part.digest for part in again.values()] == [part.digest for part in parts.values()]


def test_shares_hold_on_average_where_classes_are_too_small():
    parts = twinset.split(images(np.repeat(np.arange(500), 2)), THREE)
    counts = {name: len(part) for name, part in parts.items()}
    assert sum(counts.values()) == 1000
    assert 670 < counts["train"] < 730
    assert 70 < counts["calibration"] < 130
    single = twinset.split(images(np.arange(1000)), THREE, seed=1)
    assert 650 < len(single["train"]) < 750


def test_groups_are_whole_where_there_are_some():
    groups = np.array([f"shop {i // 5}" for i in range(100)])
    parts = twinset.split(images(np.arange(100) % 4, groups=groups), THREE)
    assert {name: len(part) for name, part in parts.items()} == {
        "train": 70,
        "calibration": 10,
        "test": 20,
    }
    homes = [set(part.groups) for part in parts.values()]
    assert sum(map(len, homes)) == len(set.union(*homes)) == 20
    torn = twinset.split(images(np.arange(100) % 4, groups=groups), THREE, by="image")
    assert set(torn["train"].groups) & set(torn["test"].groups)


def test_classes_are_whole_for_a_test_on_unseen_ones():
    parts = twinset.split(images(np.repeat(np.arange(10), 7)), THREE, by="class", seed=2)
    homes = [set(part.labels.tolist()) for part in parts.values()]
    assert list(map(len, homes)) == [7, 1, 2]
    assert len(set.union(*homes)) == 10
    assert parts["test"].class_names == parts["train"].class_names


def test_equal_images_stay_together_and_nearly_equal_ones_where_asked():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 16, 16), np.uint8)
    pixels[20:30] = pixels[:10]
    pixels[30:40, 1:] = pixels[10:20, :-1]  # moved by a pixel
    data = LabelledImages(pixels, np.arange(40) % 2, ("a", "b"))
    place = {}
    for near in (False, True):
        parts = twinset.split(data, {"a": 0.5, "b": 0.5}, near_duplicates=near, seed=1)
        homes = {bytes(each): n for n, part in parts.items() for each in part.fingerprints}
        place[near] = [homes[bytes(each)] for each in data.fingerprints]
        assert place[near][:10] == place[near][20:30]
    assert place[True][10:20] == place[True][30:40]
    assert place[False][10:20] != place[False][30:40]


def test_vectors_are_divided_as_images_are():
    data = LabelledFeatures(np.arange(80.0).reshape(40, 2), np.arange(40) % 2, ("a", "b"))
    parts = twinset.split(data, {"train": 0.75, "test": 0.25})
    assert isinstance(parts["test"], LabelledFeatures)
    assert parts["test"].class_counts.tolist() == [5, 5]
    with pytest.raises(DataError, match="Expected images to find near duplicates of"):
        twinset.split(data, {"train": 0.5}, near_duplicates=True)


@pytest.mark.parametrize(
    ("shares", "options", "message"),
    [
        ({}, {}, "Expected shares above 0 that add up to 1 at most"),
        ({"a": 0.6, "b": 0.6}, {}, "add up to 1 at most"),
        ({"a": 0, "b": 0.6}, {}, "Expected shares above 0"),
        ({"a": 0.5}, {"by": "group"}, "mine: expected groups to split by. It has none"),
        ({"a": 0.5}, {"by": "luck"}, "Expected by 'image', 'group' or 'class'. Received 'luck'"),
        ({"a": 0.9, "b": 0.02}, {}, "images for every part. Received none for 'b' from 8 images"),
        ({"a": 0.9, "b": 0.02}, {"by": "class"}, "nothing for part 'b'"),
    ],
)
def test_what_cannot_be_split(shares, options, message):
    with pytest.raises(DataError, match=message):
        twinset.split(images([0, 1] * 4), shares, **options)


def test_arrays_are_to_be_wrapped():
    with pytest.raises(DataError, match="Expected LabelledImages to split. Received ndarray"):
        twinset.split(np.zeros((4, 2, 2), np.uint8), {"a": 0.5})
