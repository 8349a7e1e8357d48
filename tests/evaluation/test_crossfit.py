"""Calibration without a part of its own: what is left out, fitted without, compared, promised."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import twinset
from twinset.data.split import take_turns
from twinset.distance import of_pairs
from twinset.errors import DataError
from twinset.evaluation.crossfit import CrossFitted, cross_calibrated, crossfit
from twinset.metrics.pairs import choose_threshold, curve_of_pairs
from twinset.metrics.promised import promise


def _data(sizes, groups=None):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(len(labels), 4)) + 3 * rng.normal(size=(len(sizes), 4))[labels]
    names = tuple(f"class {k}" for k in range(len(sizes)))
    return twinset.LabelledFeatures(vectors, labels, names, groups=groups)


class Scaled:
    """A model whose space depends on what it was fitted on."""

    def __init__(self, kept):
        self.seen = set(kept.fingerprints.view("V16").ravel().tolist())
        self.classes = set(kept.labels.tolist())

    def embed(self, rows):
        new = set(rows.fingerprints.view("V16").ravel().tolist())
        assert not new & self.seen, "embedded what it was fitted on"
        return rows.rows / 10 + 1000 * len(self.seen)


def _pairs(found):
    """All comparable pairs, by the double loop: same, distance."""
    for i in range(len(found.labels)):
        for j in range(i):
            if found.turns[i] == found.turns[j]:
                apart = of_pairs(found.embeddings, np.array([i]), np.array([j]))[0]
                yield found.labels[i] == found.labels[j], apart


@pytest.mark.parametrize("by", ["class", "image"])
def test_thresholds_are_those_of_all_pairs_left_out_together(by):
    data = _data([6, 5, 7, 4, 8, 6])
    models = []

    def train(kept):
        models.append(Scaled(kept))
        return models[-1]

    found = crossfit(data, train, by=by, seed=3)
    assert found.by == by
    assert sorted(found.positions.tolist()) == list(range(len(data)))  # each was left out once
    for turn, model in enumerate(models):
        held = set(found.labels[found.turns == turn].tolist())
        assert not held & model.classes if by == "class" else held <= model.classes
    same, apart = map(np.array, zip(*_pairs(found), strict=True))
    curve = curve_of_pairs(apart, same)
    chosen = found.calibration(["EER", "balanced accuracy"])
    for threshold in chosen.thresholds:
        slow = choose_threshold(curve, threshold.rule)
        # between the same two distances
        assert ((apart <= threshold.value) == (apart <= slow.value)).all()
        (promised,) = promise(
            found.part, [threshold.rule], over="class" if by == "class" else "image"
        )
        assert promised == threshold
    assert chosen.calibrator.slope < 0


@pytest.mark.parametrize(
    ("sizes", "by", "how", "count", "note"),
    [
        ([3] * 50, "class", "class", 5, ""),
        ([2] * 4, "class", "class", 2, ""),
        ([12, 12], "class", "image", 5, "too few classes to leave any out"),
        ([4, 4], "image", "image", 2, ""),
        ([3, 3, 3], "image", "class", 3, "one class at a time was left out, and an image of anoth"),
        ([2] * 9, "image", "class", 4, "too few images of each class"),
        ([90, 2, 2, 2, 2], "class", "class", 2, "largest class .* was never left out"),
        ([90, 5, 5], "class", "image", 5, "new images of these classes"),
        ([1] * 10 + [2] * 4, "class", "class", 2, ""),
    ],
)
def test_small_and_odd_collections(sizes, by, how, count, note):
    found = crossfit(_data(sizes), Scaled, by=by, seed=0)
    assert (found.by, found.turns.max() + 1) == (how, count)
    assert re.search(note, found.note)
    found.calibration(["EER"])


@pytest.mark.parametrize(
    "sizes", [[2, 2], [2, 3], [3, 3], [2, 2, 2], [2, 2, 1, 1], [99, 1, 1], [9]]
)
def test_too_few_to_leave_any_out(sizes):
    with pytest.raises(DataError, match=r"4 images of each of 2 classes.* Received .*: add images"):
        crossfit(_data(sizes), Scaled, seed=0)


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 12)), min_size=12, max_size=60),
    st.sampled_from(["class", "image", "group"]),
    st.integers(0, 5),
)
def test_every_turn_leaves_a_training_and_no_group_is_torn(rows, by, seed):
    labels, groups = map(np.array, zip(*rows, strict=True))
    try:
        found = take_turns(labels, by=by, units=groups, seed=seed)
    except DataError:  # everything may hang together
        return
    for turn in found.all:
        assert not set(groups[turn.held]) & set(groups[turn.kept])
        assert (np.unique(labels[turn.kept], return_counts=True)[1] > 1).sum() > 1
    held = np.concatenate([turn.held for turn in found.all])
    assert found.images == len(set(held.tolist()))
    again = take_turns(labels, by=by, units=groups, seed=seed)
    assert [a.held.tolist() for a in again.all] == [b.held.tolist() for b in found.all]


def test_groups_are_left_out_whole():
    data = _data([8] * 4, groups=np.tile(np.repeat(["a", "b", "c", "d"], 2), 4))
    found = crossfit(data, Scaled, by="group", seed=0)
    assert found.across == "32 images of 4 classes by group"
    for turn in range(found.turns.max() + 1):
        held = found.positions[found.turns == turn]
        outside = np.setdiff1d(np.arange(32), held)
        assert not set(data.groups[held]) & set(data.groups[outside])
    with pytest.raises(DataError, match="expected groups to leave out. It has none"):
        crossfit(_data([8] * 4), Scaled, by="group", seed=0)


def test_a_model_says_that_its_threshold_is_cross_fitted(stripes, tmp_path):
    quick = {"epochs": 2, "encoder": {"units": [8]}, "progress": False}
    told = []
    found = crossfit(
        stripes,
        lambda kept: twinset.fit(kept, **quick),
        by="image",
        folds=2,
        seed=0,
        progress=told.append,
    )
    assert [(each.done, each.total, each.unit) for each in told] == [
        (k, 2, "trainings") for k in range(3)
    ]
    model = cross_calibrated(twinset.fit(stripes, **quick), found)
    words = "balanced accuracy, cross-fitted over 60 images of 3 classes"
    assert model.threshold.origin == words
    assert (model.threshold.data, model.threshold.images) == (stripes.digest, 60)
    assert words in model.compare(stripes.images[0], stripes.images[3]).sentence()
    model.save(tmp_path)
    again = twinset.SiameseModel.load(tmp_path)
    assert (again.threshold, again.alternatives) == (model.threshold, model.alternatives)
    found.write(tmp_path / "crossfit.npz")
    read = CrossFitted.read(tmp_path / "crossfit.npz")
    assert (read.across, read.note, read.by) == (found.across, found.note, found.by)
    np.testing.assert_array_equal(read.part.embeddings, found.part.embeddings)
    (tmp_path / "crossfit.npz").write_bytes(b"no archive")
    with pytest.raises(DataError, match="expected the distances of images that were left out"):
        CrossFitted.read(tmp_path / "crossfit.npz")


def test_a_turn_in_which_nothing_is_learned_is_left_out():
    data = _data([6] * 6)
    whole = crossfit(data, Scaled, seed=0)
    answers = iter([True, False, True])
    found = crossfit(data, lambda kept: Scaled(kept) if next(answers) else None, seed=0)
    assert (whole.across, found.across) == ("6 classes (36 images)", "4 classes (24 images)")
    kept = whole.turns != 1
    np.testing.assert_array_equal(found.positions, whole.positions[kept])
    assert np.unique(found.turns).tolist() == [0, 1]
    with pytest.raises(DataError, match="Of 3, 0 ended in a model: add images"):
        crossfit(data, lambda kept: None, seed=0)


def test_spaces_of_different_width_are_joined():
    data = _data([6] * 6)
    widths = iter([4, 2, 3])

    def train(kept):
        width = next(widths)
        return SimpleNamespace(embed=lambda rows: rows.rows[:, :width])

    found = crossfit(data, train, seed=0)
    assert found.embeddings.shape == (36, 4)
