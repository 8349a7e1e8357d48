import hashlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import calibration_oracles as oracles
from twinset.data import split as split_module
from twinset.data.image_sources import fingerprints
from twinset.data.parts import prove_disjoint
from twinset.data.split import (
    PROTOCOL_SEED,
    PROTOCOL_SIZES,
    protocol_split,
    split,
)
from twinset.errors import DataError

NAMES = ("fit", "tune", "calibration", "test")


def owners(parts, count):
    """The part of each position, "" for none."""
    table = [""] * count
    for name, indices in parts.items():
        for i in indices:
            assert table[i] == ""
            table[i] = name
    return np.array(table)


def digest(parts):
    sha = hashlib.sha256()
    for name, indices in sorted(parts.items()):
        sha.update(repr((name, len(indices))).encode())
        sha.update(indices.astype("<i8").tobytes())
    return sha.hexdigest()


# --- by image


@given(
    st.lists(st.integers(-3, 3), min_size=1, max_size=80),
    st.lists(st.integers(1, 3), min_size=1, max_size=4),
    st.integers(0, 5),
)
def test_counts_hold_in_each_class(labels, counts, seed):
    sizes = dict(zip(NAMES, counts, strict=False))
    classes = Counter(labels)
    if min(classes.values()) < sum(counts):
        with pytest.raises(DataError, match=rf"images to be enough for .* a need of {sum(counts)}"):
            split(labels, sizes, seed=seed)
        return
    parts = split(labels, sizes, seed=seed)
    assert list(parts) == list(sizes)
    owner = owners(parts, len(labels))
    for label in classes:
        for name, size in sizes.items():
            assert ((np.array(labels) == label) & (owner == name)).sum() == size
    for indices in parts.values():
        assert indices.dtype == np.int64
        assert (np.diff(indices) > 0).all()


@given(
    st.lists(st.integers(12, 60), min_size=1, max_size=5),
    st.sampled_from(
        [(0.8, 0.1, 0.1), (0.1, 0.2, 0.7), (0.25, 0.25), (1.0,), (0.3, 0.3, 0.3), (0.1,) * 4]
    ),
    st.integers(0, 5),
)
def test_shares_are_cut_as_documented(class_sizes, shares, seed):
    labels = np.random.default_rng(seed).permutation(
        np.repeat(np.arange(len(class_sizes)), class_sizes)
    )
    sizes = dict(zip(NAMES, shares, strict=False))
    parts = split(labels, sizes, seed=seed)
    for label, count in enumerate(class_sizes):
        got = [int((labels[indices] == label).sum()) for indices in parts.values()]
        cuts = oracles.share_cuts(shares, count)
        assert np.cumsum(got).tolist() == cuts
        assert all(abs(n - share * count) < 1 for n, share in zip(got, shares, strict=True))
    used = sum(len(indices) for indices in parts.values())
    if sum(shares) > 0.999:
        assert used == len(labels)


def test_shares_round_by_hand():
    # 5 images: cuts at 0.5 · 5 = 2.5 → 3 and 1.0 · 5 = 5
    parts = split([4] * 5, {"a": 0.5, "b": 0.5}, seed=0)
    assert [len(part) for part in parts.values()] == [3, 2]
    # 10 images: 0.7 + 0.1 + 0.2 is 0.9999999999999999 in floats, and still all of them
    parts = split([4] * 10, {"a": 0.7, "b": 0.1, "c": 0.2}, seed=0)
    assert [len(part) for part in parts.values()] == [7, 1, 2]
    # 0.05 + 0.55 + 0.3 + 0.1 is 1.0000000000000002, and no more than all
    parts = split([4] * 20, {"a": 0.05, "b": 0.55, "c": 0.3, "d": 0.1}, seed=0)
    assert [len(part) for part in parts.values()] == [1, 11, 6, 2]
    # 5 images: 0.1 + 0.2 is 0.30000000000000004, and rounds as 0.3 does: 1.5 → 2
    assert len(split([4] * 5, {"a": 0.3}, seed=0)["a"]) == 2
    assert len(split([4] * 5, {"a": 0.2, "b": 0.1}, seed=0)["b"]) == 1


def test_the_seed_is_all_that_is_random():
    labels = np.arange(300) % 3
    first = split(labels, {"fit": 50, "test": 50}, seed=1)
    again = split(labels.tolist(), {"fit": 50, "test": 50}, seed=1)
    other = split(labels, {"fit": 50, "test": 50}, seed=2)
    assert digest(first) == digest(again) != digest(other)
    assert not np.array_equal(first["fit"] % 2, np.arange(150) % 2)


def test_every_image_has_its_chance():
    often = np.zeros(12, int)
    for seed in range(600):
        often[split([0] * 6 + [1] * 6, {"test": 2}, seed=seed)["test"]] += 1
    assert often.sum() == 600 * 4
    # a third each: 200 ± 5 standard deviations of √(600 · ⅓ · ⅔) = 11.5
    assert np.abs(often - 200).max() < 58


# --- by group and by class


@given(
    st.lists(st.integers(1, 12), min_size=8, max_size=30),
    st.sampled_from([(0.5, 0.5), (0.6, 0.2), (0.34, 0.33, 0.33)]),
    st.integers(0, 5),
)
def test_groups_stay_whole_and_sizes_are_near(group_sizes, shares, seed):
    families = np.repeat([f"g{k}" for k in range(len(group_sizes))], group_sizes)
    families = np.random.default_rng(seed).permutation(families)
    sizes = dict(zip(NAMES, shares, strict=False))
    # then every part is sure to get a group
    assume(min(shares) * len(families) - 1 > max(group_sizes))
    parts = split(np.zeros(len(families), int), sizes, by="group", groups=families, seed=seed)
    owner = owners(parts, len(families))
    for family in set(families):
        assert len(set(owner[families == family])) == 1
    for (name, indices), share in zip(parts.items(), shares, strict=True):
        # "no part gets over its size by as much as one group"; its size is rounded
        assert len(indices) < share * len(families) + 1 + max(group_sizes), name
    if sum(shares) > 0.999:
        assert "" not in owner


def test_groups_of_one_meet_the_sizes_exactly():
    groups = np.arange(100) + 1000
    parts = split([0] * 100, {"a": 61, "b": 29}, by="group", groups=groups, seed=3)
    assert [len(part) for part in parts.values()] == [61, 29]


def test_many_groups_meet_the_sizes_closely():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(400), rng.integers(1, 40, 400))
    sizes = {"fit": 0.7, "tune": 0.1, "calibration": 0.1, "test": 0.1}
    digests = set()
    for seed in range(5):
        made = split(np.zeros(len(groups), int), sizes, by="group", groups=groups, seed=seed)
        for name, share in sizes.items():
            assert abs(len(made[name]) - share * len(groups)) <= 2
        digests.add(digest(made))
    assert len(digests) == 5


def test_groups_are_dealt_by_class():
    """Three patients of eight images of each of ten classes: six of 30 are a fifth."""
    labels = np.repeat(np.arange(10), 24)
    patients = np.arange(240) // 8
    for seed in range(20):
        parts = split(labels, {"fit": 0.8, "test": 0.2}, by="group", groups=patients, seed=seed)
        assert np.bincount(labels[parts["test"]], minlength=10).max() == 8  # of six classes
        assert len(parts["test"]) == 48
        assert np.bincount(labels[parts["fit"]], minlength=10).min() == 16


def test_few_groups_reach_every_part():
    """A part takes a group that it has room for, whatever classes others lack."""
    rng = np.random.default_rng(0)
    sizes = {"fit": 0.7, "test": 0.15, "calibration": 0.15}
    for seed in range(50):
        groups = np.repeat(np.arange(12), rng.integers(10, 20, 12))
        largest = np.bincount(groups).max()
        parts = split(groups % 4, sizes, by="group", groups=groups, seed=seed)
        for name, share in sizes.items():
            assert 0 < len(parts[name]) < share * len(groups) + largest


def test_classes_stay_whole():
    labels = np.arange(40) % 8 * 3
    parts = split(labels, {"seen": 0.75, "unseen": 0.25}, by="class", seed=0)
    kinds = [set(labels[indices].tolist()) for indices in parts.values()]
    assert [len(kind) for kind in kinds] == [6, 2]
    assert not kinds[0] & kinds[1]
    assert [len(indices) for indices in parts.values()] == [30, 10]
    parts = split(labels, {"seen": 3, "unseen": 2}, by="class", seed=0)
    assert [len(set(labels[indices])) for indices in parts.values()] == [3, 2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"sizes": {"a": 2, "b": 2}}, r"class 8 of 3 images to be enough .* a need of 4"),
        ({"sizes": {"a": 0.9, "b": 0.1}}, r"class 7 of 4 images .* nothing for part 'b'"),
        (
            {"sizes": {"a": 0.5, "b": 0.5}, "by": "group", "groups": [0] * 7},
            "none for part 'b' from 1 groups of up to 7 images",
        ),
        ({"sizes": {"a": 8}, "by": "group", "groups": range(7)}, "the 7 images .* a need of 8"),
        ({"sizes": {"a": 2, "b": 1}, "by": "class"}, "the 2 classes to be enough .* a need of 3"),
        ({"sizes": {"a": 0.9, "b": 0.1}, "by": "class"}, "the 2 classes .* nothing for part 'b'"),
    ],
)
def test_what_cannot_be_split(arguments, words):
    arguments = {"labels": [7, 8, 7, 8, 7, 8, 7], "seed": 0, **arguments}
    with pytest.raises(DataError, match=words):
        split(arguments.pop("labels"), arguments.pop("sizes"), **arguments)


# --- the protocol


def test_protocol_split_of_fashion_mnist(fashion_mnist):
    train, test = fashion_mnist
    made = protocol_split(train.labels)
    assert {name: len(indices) for name, indices in made.items()} == {
        "fit": 50_000,
        "tune": 5_000,
        "calibration": 5_000,
    }
    for name, indices in made.items():
        assert (np.bincount(train.labels[indices]) == PROTOCOL_SIZES[name]).all()
    assert len(np.unique(np.concatenate([*made.values()]))) == 60_000
    assert digest(made) == "40b8725c5190a50842a076ae7084ebad91599310e35d22dbc7b19bafd1f50fee"
    images = np.concatenate([train.images, test.images])
    prints = fingerprints(images)
    assert len({row.tobytes() for row in prints}) == 70_000  # no image is there twice
    prove_disjoint(prints, {**made, "test": 60_000 + np.arange(10_000)})


def test_the_committed_positions_are_what_the_protocol_says(fashion_mnist):
    """If numpy changes its permutations this fails, and the file is right."""
    labels = fashion_mnist[0].labels
    made = protocol_split(labels)
    rng = np.random.default_rng(20060617)
    derived = {"fit": [], "tune": [], "calibration": []}
    for label in range(10):
        order = rng.permutation(np.flatnonzero(labels == label))
        derived["fit"] += order[:5000].tolist()
        derived["tune"] += order[5000:5500].tolist()
        derived["calibration"] += order[-500:].tolist()
    for name in derived:
        assert sorted(derived[name]) == made[name].tolist()
    again = split(labels, PROTOCOL_SIZES, seed=PROTOCOL_SEED)
    assert digest(again) == digest(made)
    assert split_module._PROTOCOL_FILE.stat().st_size < 25_000


def test_the_protocol_split_is_of_these_labels_only(fashion_mnist):
    train, test = fashion_mnist
    for labels in (test.labels, train.labels[::-1], train.labels[:-1], [0]):
        with pytest.raises(DataError, match=r"60,000 training labels of Fashion-MNIST"):
            protocol_split(labels)
