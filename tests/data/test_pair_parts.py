"""Judged pairs in parts: what hangs together stays together."""

import numpy as np
import pytest

from twinset import LabelledFeatures, Pairs, tutorial_pairs
from twinset.data.pair_parts import kinds_of, pairs_to_score, turns_of_pairs
from twinset.data.parts import divide
from twinset.errors import DataError


def collection(things=80, of_each=3, groups=False, dense=False):
    """Things of some images; each is judged against the next of its family of two, or any."""
    rng = np.random.default_rng(0)
    count = things * of_each
    thing = np.arange(count) // of_each
    rows = [(i, i + 1, 1) for i in range(count - 1) if thing[i] == thing[i + 1]]
    for i in range(count):
        family = np.flatnonzero((thing // 2 == thing[i] // 2) & (thing != thing[i]))
        rows.append((i, int(rng.choice(np.flatnonzero(thing != thing[i]) if dense else family)), 0))
    names = np.array([f"g{t // 4}" for t in thing]) if groups else None
    left, right, same = zip(*rows, strict=True)
    return LabelledFeatures(
        rng.normal(size=(count, 3)), groups=names, judged=Pairs(left, right, same)
    )


def home_of(parts, images):
    keys = {each.tobytes(): name for name, part in parts.items() for each in part.rows}
    return np.array([keys.get(row.tobytes(), "") for row in images.rows])


def images_of(sizes, **fields):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return LabelledFeatures(
        np.random.default_rng(0).normal(size=(len(labels), 3)), labels, **fields
    )


def test_pairs_to_score_say_enough():
    """The tutorial's, unless they leave out most images or are of neighbouring frames."""
    even = images_of([9, 8, 8])
    for part in (even, images_of([9, 8, 8, 3]).subset(np.arange(25))):  # without its last class
        assert pairs_to_score(part).left.tolist() == tutorial_pairs(part.labels).left.tolist()
    for counts in ([150] * 9 + [2], [40] * 9 + [5], [6, 6], [9, 9, 1]):
        found = pairs_to_score(images_of(counts))
        assert len(found.same) > sum(counts) * 0.7, counts
        assert found.same.mean() == 0.5
    films = np.repeat(np.arange(30), 6).astype(str)
    grouped = images_of([36] * 5, groups=films)
    found = pairs_to_score(grouped)
    inside = films[found.left] == films[found.right]
    # of 35 partners in the class, 5 are of the same film
    assert inside[found.same].mean() == pytest.approx(5 / 35, abs=0.08)


@pytest.mark.parametrize("groups", [False, True])
def test_no_pair_joins_two_parts(groups):
    images = collection(groups=groups)
    parts = divide(images, seed=1)
    home = home_of(parts.named(), images)
    assert {*home.tolist()} == {"fit", "test", "calibration"}
    judged = images.judged
    assert (home[judged.left] == home[judged.right]).all()
    assert sum(len(part.judged) for part in parts.named().values()) == len(judged)
    if groups:
        assert all(len({*home[images.groups == group]}) == 1 for group in images.groups)
    assert (parts.turns, parts.notes) == (None, ())
    assert 0.1 < len(parts.test) / len(images) < 0.3


def test_what_hangs_together_as_one_is_cut_between_things():
    images = collection(dense=True)
    parts = divide(images, seed=1)
    home = home_of(parts.named(), images)
    same = images.judged.same
    assert (home[images.judged.left[same]] == home[images.judged.right[same]]).all()
    lost = (home[images.judged.left] != home[images.judged.right]).sum()
    assert f"{lost} pairs join two parts and are not used" in parts.notes[0]
    assert min(kinds_of(parts.test)) >= 10


def test_a_part_without_room_is_left_out_in_turn():
    images = collection(things=16)
    parts = divide(images, seed=1)
    assert parts.test is None
    assert "too few pairs for a part 'test'" in parts.notes[-1]
    judged = parts.fit.judged
    for turn in parts.turns.all:
        assert not {*turn.held.tolist()} & {*turn.kept.tolist()}
        side = np.isin(np.arange(len(images)), turn.held)
        assert (side[judged.left] == side[judged.right]).all()
    assert np.unique(np.concatenate([turn.held for turn in parts.turns.all])).size == len(images)
    assert parts.turns.across == f"{len(judged)} judged pairs of {len(images)} images"


def test_too_few_pairs():
    with pytest.raises(DataError, match="about 20 of each kind.* Received 4 same and 5 different"):
        divide(collection(things=2))
    assert turns_of_pairs(collection(things=2), seed=0) is None


def test_parts_of_the_owner_stay():
    images = collection()
    thing = images.labels // 2
    place = np.where(thing % 4 == 0, "test", np.where(thing % 4 == 1, "val", "")).astype("U11")
    place[place == "val"] = "tune"
    owned = LabelledFeatures(images.vectors, parts=place, judged=images.judged)
    parts = divide(owned, seed=0)
    assert len(parts.test) == (place == "test").sum()
    assert len(parts.calibration) == (place == "tune").sum()
    assert parts.tune is None
