"""The engine of folds: what a unit is, what is held out, and that what is stopped goes on."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

import twinset
from twinset.errors import DataError
from twinset.evaluation.folds import Fold, Unit, deal, run_units


def _data(count=40, classes=4, groups=None):
    pixels = np.arange(count * 4, dtype=np.uint8).reshape(count, 2, 2)
    labels = np.arange(count) % classes
    names = tuple(f"class {k}" for k in range(classes))
    return twinset.LabelledImages(pixels, labels, names, "some", groups=groups)


RECIPE = twinset.Recipe.load(epochs=1)


def _train(kept, recipe):
    return SimpleNamespace(seed=recipe.seed, images=len(kept))


def _judge(model, unit, kept, held):
    return {
        "seed": model.seed,
        "kept": np.unique(kept.labels),
        "held": None if held is None else np.unique(held.labels),
        "images": (model.images, len(kept), 0 if held is None else len(held)),
    }


@pytest.mark.parametrize("classes", [4, 7, 12, 30])
def test_classes_are_dealt_once_each(classes):
    folds = deal(_data(classes * 2, classes), by="class", seed=1)
    assert len(folds) == min(5, classes // 2)
    assert sorted(label for fold in folds for label in fold.held_out) == list(range(classes))
    assert all(1 < len(fold.held_out) < classes - 1 for fold in folds)
    assert [fold.number for fold in folds] == list(range(1, len(folds) + 1))


def test_three_classes_are_too_few_for_folds():
    assert deal(_data(9, 3)) == ()


def test_groups_and_images_are_held_out_once_each():
    data = _data(groups=[f"shop {k // 4}" for k in range(40)])
    for by in ("group", "image"):
        folds = deal(data, by=by, folds=3, seed=2)
        held = np.array([fold.holds(data) for fold in folds])
        assert (held.sum(axis=0) == 1).all()
    for fold in deal(data, by="image", folds=2):
        assert np.bincount(data.labels[fold.holds(data)]).tolist() == [5, 5, 5, 5]
    assert not set(deal(data, by="group", folds=3)[0].held_out) - set(data.groups)


def test_what_cannot_be_dealt():
    with pytest.raises(DataError, match="some: expected groups to deal into folds. It has none"):
        deal(_data(), by="group")
    with pytest.raises(DataError, match="Expected 2 folds or more, by one of"):
        deal(_data(), folds=1)
    with pytest.raises(DataError, match="enough for 50 folds by image: ask for fewer"):
        deal(_data(), by="image", folds=50)
    with pytest.raises(DataError, match="expected groups, as a fold holds some out"):
        Fold("group", ("shop 1",)).holds(_data())


def test_units_are_trained_on_what_is_not_held_out(tmp_path):
    data = _data()
    units = [Unit(3), Unit(1, Fold("class", (1, 2), "near", 2)), Unit(0, Fold("image", (0, 5)))]
    found = run_units(data, units, RECIPE, _judge, tmp_path, train=_train, progress=False)
    assert [each["images"] for each in found] == [[40, 40, 0], [20, 20, 20], [38, 38, 2]]
    assert [each["seed"] for each in found] == [3, 1, 0]
    assert (found[1]["kept"], found[1]["held"]) == ([0, 3], [1, 2])


def test_a_file_says_in_fields_what_its_unit_is(tmp_path):
    units = [Unit(3), Unit(1, Fold("class", (1, 2), "near", 2))]
    run_units(_data(), units, RECIPE, _judge, tmp_path, train=_train, progress=False)
    told = [json.loads((tmp_path / unit.file).read_text("utf-8"))["unit"] for unit in units]
    assert told[0] == {"kind": "seed", "seed": 3}
    assert told[1] == {
        "kind": "fold",
        "seed": 1,
        "by": "class",
        "block": "near",
        "number": 2,
        "title": "near, fold 2",
        "averaged": True,
        "held_out": [1, 2],
        "names": ["class 1", "class 2"],
    }


def test_what_is_stopped_goes_on(tmp_path):
    trained = []

    def train(kept, recipe):
        trained.append(recipe.seed)
        if recipe.seed == 2 and trained.count(2) == 1:
            raise KeyboardInterrupt
        return _train(kept, recipe)

    units = [Unit(seed) for seed in range(4)]
    with pytest.raises(KeyboardInterrupt):
        run_units(_data(), units, RECIPE, _judge, tmp_path, train=train, progress=False)
    told = []
    found = run_units(_data(), units, RECIPE, _judge, tmp_path, train=train, progress=told.append)
    assert trained == [0, 1, 2, 2, 3]
    assert [each["seed"] for each in found] == [0, 1, 2, 3]
    assert [(each.done, each.total) for each in told] == [(k, 4) for k in range(5)]


def test_units_of_something_else_are_refused(tmp_path):
    def run(data=None, recipe=RECIPE, **options):
        run_units(
            data or _data(),
            [Unit()],
            recipe,
            _judge,
            tmp_path,
            train=_train,
            progress=False,
            **options,
        )

    run()
    run(recipe=twinset.Recipe.load(epochs=1, seed=5))  # the unit sets the seed
    other = {
        "recipe": {"recipe": twinset.Recipe.load(epochs=2)},
        "data": {"data": _data(36)},
        "key": {"key": {"test": "abc"}},
    }
    for options in other.values():
        with pytest.raises(DataError, match=r"seed-0.json: .* It is of another one"):
            run(**options)
    for broken in ("{", "[]", "{}", '{"schema": 1, "key": {}, "unit": {}}'):
        (tmp_path / "seed-0.json").write_text(broken, "utf-8")
        with pytest.raises(DataError, match=r"seed-0.json: expected a unit of schema 3. It is dam"):
            run()
