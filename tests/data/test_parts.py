"""The parts of a data set: disjoint, as large as asked, and nothing torn that belongs together."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from twinset.data.labelled import LabelledImages
from twinset.data.parts import Shares, divide
from twinset.data.split import PROTOCOL_SIZES, comparable, trainable
from twinset.errors import DataError


def images(labels, pixels=None, **fields):
    labels = np.asarray(labels)
    if pixels is None:
        pixels = np.arange(len(labels))
    rows = np.asarray(pixels)[:, None] // [1, 256] % 256
    names = tuple(f"class {i}" for i in range(labels.max() + 1))
    return LabelledImages(rows[:, :, None].astype(np.uint8), labels, names, "mine", **fields)


def members(parts):
    return {name: set(map(bytes, part.fingerprints)) for name, part in parts.named().items()}


def sizes(parts):
    return {name: len(part) for name, part in parts.named().items()}


def test_shares_of_each_class():
    data = images(np.repeat([0, 1, 2], [100, 50, 5]))
    parts = divide(data, shares=Shares(tune=0.1), seed=3)
    assert {name: part.class_counts.tolist() for name, part in parts.named().items()} == {
        "fit": [60, 30, 5],  # five images are too few to be divided
        "test": [20, 10, 0],
        "tune": [10, 5, 0],
        "calibration": [10, 5, 0],
    }
    assert [part.name for part in parts.named().values()] == [
        "mine[fit]",
        "mine[test]",
        "mine[tune]",
        "mine[calibration]",
    ]
    again, other = divide(data, shares=Shares(tune=0.1), seed=3), divide(data, seed=4)
    assert members(again) == members(parts)
    assert members(other)["test"] != members(parts)["test"]


def test_without_a_holdout_nothing_is_kept_for_thresholds():
    parts = divide(images([0] * 20 + [1] * 20), holdout="none")
    assert {name: len(part) for name, part in parts.named().items()} == {"fit": 32, "test": 8}


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 40), st.integers(0, 12)),
        min_size=40,
        max_size=120,
    ),
    st.integers(0, 5),
    st.booleans(),
)
def test_nothing_that_belongs_together_is_torn(rows, seed, grouped):
    """Equal pixels, `together`, and groups, through any chain of these."""
    labels, pixels, ties = (np.array(column) for column in zip(*rows, strict=True))
    labels = np.searchsorted(np.unique(labels), labels)
    groups = np.array([f"g{k}" for k in ties]) if grouped else None
    data = images(labels, pixels, groups=groups)
    try:
        parts = divide(data, together=None if grouped else ties, seed=seed)
    except DataError:  # everything may hang together
        return
    found = members(parts)
    names = list(found)
    for i, one in enumerate(names):
        for two in names[i + 1 :]:
            assert not found[one] & found[two]
    assert sum(len(part) for part in parts.named().values()) == len(rows)
    owner = {key: name for name, keys in found.items() for key in keys}
    for tie in np.unique(ties):
        assert len({owner[bytes(key)] for key in data.fingerprints[ties == tie]}) == 1


def test_the_owners_parts_are_kept():
    own = np.array(["train"] * 20 + ["test"] * 8 + ["calibration"] * 6 + ["tune"] * 4)
    data = images(np.arange(38) % 2, parts=own)
    assert sizes(divide(data)) == {"fit": 20, "test": 8, "tune": 4, "calibration": 6}
    # the owner's calibration images are not fitted on either
    assert sizes(divide(data, holdout="none")) == {"fit": 20, "test": 8, "tune": 4}
    some = np.array(["train"] * 30 + ["test"] * 8)
    drawn = divide(images(np.arange(38) % 2, parts=some), shares=Shares(calibration=0.3))
    assert {n: len(p) for n, p in drawn.named().items()} == {"fit": 22, "test": 8, "calibration": 8}


def test_validation_images_calibrate_where_the_owner_has_none_for_that():
    # 3 images of a class: a tenth of them is none, and any calibration would cost the fit a third
    own = np.array(["train"] * 6 + ["tune"] * 4 + ["test"] * 4)
    parts = divide(images(np.arange(14) % 2, parts=own))
    assert sizes(parts) == {"fit": 6, "test": 4, "tune": 4, "calibration": 4}
    assert members(parts)["tune"] == members(parts)["calibration"]
    assert not members(parts)["fit"] & members(parts)["tune"]
    # without test images of the owner these alone are drawn
    drawn = divide(images(np.arange(70) % 2, parts=["train"] * 60 + ["tune"] * 10))
    assert sizes(drawn) == {"fit": 48, "test": 12, "tune": 10, "calibration": 10}


def test_validation_images_without_both_kinds_of_pairs_only_validate():
    for validation in ([0, 1], [0, 0]):  # no same pair, no different one
        labels = [0, 1] * 40 + validation + [0, 1] * 4
        own = ["train"] * 80 + ["tune"] * 2 + ["test"] * 8
        parts = divide(images(labels, parts=own))
        assert sizes(parts) == {"fit": 72, "test": 8, "tune": 2, "calibration": 8}


def test_a_leak_into_validation_images_is_refused_though_they_serve_twice():
    own, pixels = np.array(["train"] * 8 + ["tune"] * 4 + ["test"] * 4), np.arange(16)
    pixels[9] = pixels[2]
    with pytest.raises(DataError, match="position 2 in 'fit' and position 9 in 'calibration'"):
        divide(images(np.arange(16) % 2, pixels, parts=own))


def test_a_leak_of_the_owner_is_refused_unless_allowed():
    own = np.array(["train"] * 20 + ["test"] * 20)
    pixels = np.arange(40)
    pixels[30] = pixels[2]
    data = images(np.arange(40) % 2, pixels, parts=own)
    with pytest.raises(DataError, match="position 2 in 'fit' and position 30 in 'test'"):
        divide(data, holdout="none")
    assert len(divide(data, holdout="none", allow_leaks=True).test) == 20


def test_many_small_classes_are_tested_on_classes_never_seen():
    parts = divide(images(np.repeat(np.arange(60), 3)))
    classes = {name: set(part.labels.tolist()) for name, part in parts.named().items()}
    assert {name: len(found) for name, found in classes.items()} == {
        "fit": 42,
        "test": 12,
        "calibration": 6,
    }
    assert not classes["fit"] & classes["test"]


def test_fashion_mnist_has_the_protocols_parts(fashion_mnist):
    train, test = fashion_mnist
    parts = divide(train, test)
    for name, count in PROTOCOL_SIZES.items():
        assert (getattr(parts, name).class_counts == count).all()
    assert parts.test is test
    assert divide(train, test, holdout="none").fit is train


def test_what_cannot_be_divided():
    with pytest.raises(DataError, match="Fashion-MNIST's training part .* Received mine"):
        divide(images([0, 1] * 20), holdout="protocol")
    with pytest.raises(DataError, match="shares that leave images for the fit"):
        divide(images([0, 1] * 20), shares=Shares(test=0.9))
    with pytest.raises(DataError, match=r"Expected .*: "):
        divide(images([0, 1] * 20), together=np.zeros(40, int))


def test_what_has_no_room_is_left_out_in_turn():
    parts = divide(images(np.repeat(np.arange(6), 8)))
    assert {name: len(part) for name, part in parts.named().items()} == {"fit": 48}
    assert (parts.turns.by, parts.turns.across) == ("image", "48 images of 6 classes")
    assert parts.notes == (
        "there are too few images for a part 'test' and a part 'calibration': the report and the "
        "threshold are cross-fitted over 48 images of 6 classes, by 4 more trainings",
    )
    # a test part has room, a smaller one for the threshold has not
    parts = divide(images(np.repeat(np.arange(10), 10)), seed=1)
    assert {name: len(part) for name, part in parts.named().items()} == {"fit": 80, "test": 20}
    assert "a part 'calibration': the threshold is cross-fitted" in parts.notes[0]
    # which a recipe of a fixed threshold does not ask for
    parts = divide(images(np.repeat(np.arange(10), 10)), holdout="none", seed=1)
    assert (parts.turns, parts.notes) == (None, ())


def test_groups_that_cover_whole_classes_are_left_out_whole():
    labels = np.repeat(np.arange(12), 6)
    parts = divide(images(labels, groups=labels.astype(str)))
    for part in parts.named().values():
        assert (part.class_counts[part.class_counts > 0] == 6).all()
    assert parts.turns.by == "class"
    # two classes in each group: what is left out has both, and neither is in the fit then
    parts = divide(images(labels, groups=(labels // 2).astype(str)), holdout="cross")
    for turn in parts.turns.all:
        assert not set(parts.fit.groups[turn.held]) & set(parts.fit.groups[turn.kept])


@pytest.mark.parametrize("frames", [1, 8])
def test_a_test_of_single_groups_is_told(frames):
    """Frames of ten films, where the test gets one or two films of each class."""
    labels = np.repeat([0, 1, 2, 3], 5 * 8)
    told = divide(images(labels, groups=(np.arange(160) // frames).astype(str))).notes
    assert any("of two images of one group" in note for note in told) == (frames == 8)
    whole = divide(images(labels, groups=labels.astype(str)))
    assert not any("of two images of one group" in note for note in whole.notes)


def test_all_images_are_fitted_on_where_turns_are_asked_for():
    parts = divide(images([0] * 40 + [1] * 40), holdout="cross")
    assert {name: len(part) for name, part in parts.named().items()} == {"fit": 64, "test": 16}
    assert (parts.turns.across, parts.notes) == ("64 images of 2 classes", ())


def test_a_part_of_the_owner_without_pairs_is_not_used():
    own = np.array(["train"] * 20 + ["test"] * 2)
    parts = divide(images(np.arange(22) % 2, parts=own))
    assert {name: len(part) for name, part in parts.named().items()} == {"fit": 20}
    assert parts.notes[0] == "the part 'test' is not used: it has no pairs of both kinds"
    # as much as two pairs is what the owner wants
    own = np.array(["train"] * 20 + ["test"] * 4)
    assert len(divide(images(np.arange(24) % 2, parts=own)).test) == 4


@given(
    st.lists(st.integers(1, 30), min_size=2, max_size=12),
    st.sampled_from(["auto", "none", "cross"]),
    st.integers(0, 3),
)
@example([1, 2, 4], "auto", 0)
def test_what_can_be_judged_at_all_is_divided(sizes, holdout, seed):
    """Whatever the recipe wishes: there is something to learn from and something to judge by."""
    data = images(np.repeat(np.arange(len(sizes)), sizes))
    pairable = sorted((size for size in sizes if size > 1), reverse=True)
    # by hand: 4 and 3 images of two classes, 3, 2 and 2 of three, two of each of four
    possible = (
        len(pairable) > 3
        or (len(pairable) == 3 and (pairable[0] > 2 or 1 in sizes))
        or (len(pairable) == 2 and pairable[0] > 3 and (pairable[1] > 2 or 1 in sizes))
    )
    try:
        parts = divide(data, holdout=holdout, seed=seed)
    except DataError:
        assert not possible, sizes
        return
    assert sum(size > 1 for size in parts.fit.class_counts) > 1
    for part in (parts.test, parts.calibration):
        if part is not None:
            assert min(comparable(part.labels)) >= 10
    assert (parts.turns is None) or all(
        trainable(parts.fit.labels[turn.kept]) for turn in parts.turns.all
    )
    assert parts.test is not None or parts.turns is not None
