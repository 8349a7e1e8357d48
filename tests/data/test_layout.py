"""Which folders are parts: every spelling that people use, and none that are classes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinset.data.image_sources import Remark
from twinset.data.names import parts_of
from twinset.data.sources.folder import laid_out


def found(*folders):
    names = [tuple(folder.split("/")) if folder else () for folder in folders]
    layout = laid_out(names, [10] * len(names))
    told = {
        folder: None if place.aside else f"{place.part}:{'/'.join(place.names)}"
        for folder, place in zip(folders, layout.places, strict=True)
    }
    return told, layout


@pytest.mark.parametrize(
    ("train", "test", "more"),
    [
        ("train", "test", {}),
        ("Training", "Testing", {}),
        ("training_set", "test_set", {}),
        ("seg_train", "seg_test", {}),
        ("TrainImages", "TestImages", {}),
        ("trainset", "testset", {"valset": "tune"}),
        ("train2017", "test2017", {"val2017": "tune"}),
        ("images_train", "images_test", {"images-val": "tune", "calib": "calibration"}),
        ("train", "test", {"valid": "tune", "Validation": "tune", "val": "tune", "dev": "tune"}),
    ],
)
def test_parts_of_any_spelling(train, test, more):
    cats = {train: "train", test: "test"} | more
    told, layout = found(*(f"{name}/{kind}" for name in cats for kind in ("cat", "dog")))
    assert told == {
        f"{n}/{kind}": f"{p}:{kind}" for n, p in cats.items() for kind in ("cat", "dog")
    }
    assert layout.parted
    usual = {name.casefold() for name in cats} == {*cats.values()}
    assert [remark.severity for remark in layout.remarks] == ["note"] * (not usual)


@pytest.mark.parametrize("third", ["docs", "extra", "extra/cat", "unlabelled/deep/down"])
def test_what_stands_beside_parts_is_set_aside_and_told(third):
    told, layout = found("train/cat", "train/dog", "test/cat", "test/dog", third)
    assert told[third] is None
    assert told["test/dog"] == "test:dog"
    assert layout.remarks == (
        Remark(
            "warning",
            f"{third.split('/')[0]!r} is left out with its 10 images, as it is beside the parts "
            "'test', 'train', and none by its name: if it is one, call it train, val or test.",
        ),
    )


def test_the_prediction_images_of_a_known_set():
    told, layout = found("seg_train/seg_train/sea", "seg_test/seg_test/sea", "seg_pred/seg_pred")
    assert [*told.values()] == ["train:sea", "test:sea", None]
    assert layout.remarks[0].text == "Taken as parts: 'seg_test' as test, 'seg_train' as train."


@pytest.mark.parametrize("above", ["set/", "archive/set/"])
def test_parts_below_folders_that_are_alone(above):
    told, _ = found(f"{above}train/cat", f"{above}val/cat", f"{above}notes")
    assert [*told.values()] == ["train:cat", "tune:cat", None]


def test_parts_below_the_classes():
    told, layout = found("", "cat/train", "cat/test", "dog/train", "big/dog/val")
    assert told == {
        "": ":",
        "cat/train": "train:cat",
        "cat/test": "test:cat",
        "dog/train": "train:dog",
        "big/dog/val": "tune:big/dog",
    }
    assert (
        layout.remarks[0].text == "Taken as parts: 'test' as test, 'train' as train, 'val' as tune."
    )


def test_test_images_may_come_without_classes():
    told, layout = found("train/cat", "train/dog", "test1")
    assert [*told.values()] == ["train:cat", "train:dog", None]
    taken, aside = layout.remarks
    assert taken.text == "Taken as parts: 'test1' as test, 'train' as train."
    assert aside.text.startswith("'test1' is left out with its 10 images, as it is a part without")


def test_images_in_no_class():
    told, _ = found("", "train", "train/cat", "test/cat")
    assert [*told.values()] == [":", "train:", "train:cat", "test:cat"]


@pytest.mark.parametrize(
    "folders",
    [
        ("bus", "train", "tram"),  # pictures of trains
        ("bus", "train", "test tube"),
        ("bus/images", "car/images"),
        ("bus/front", "bus/back", "car/side"),
        ("vehicles/train", "vehicles/bus"),
        ("vehicles/train/steam",),
        ("test", "other"),
        ("valve/a", "training wheel/a", "constrain/b"),
        ("cat/train", "dog/house"),
    ],
)
def test_classes_stay_classes(folders):
    told, layout = found(*folders)
    assert told == {folder: f":{folder}" for folder in folders}
    assert (layout.parted, layout.remarks) == (False, ())


def test_one_part_beside_what_is_none_is_doubtful():
    told, layout = found("train/cat", "train/dog", "extra/cat")
    assert told["train/cat"] == ":train/cat"
    (remark,) = layout.remarks
    assert remark.severity == "warning"
    assert remark.text.startswith(
        "'train' may be a part, and is taken as classes because of 'extra'"
    )


def test_the_same_classes_below_names_that_say_nothing_are_told_of():
    told, layout = found("set1/cat", "set1/dog", "set2/cat", "set2/dog")
    assert told["set1/dog"] == ":set1/dog"
    (remark,) = layout.remarks
    assert remark.severity == "note"
    assert remark.text.startswith("'set1/dog' and 'set2/dog' are two classes, since a class is the")
    # sessions below people, not the same ones below each
    _, layout = found("Ann/1", "Ann/2", "Bob/2", "Bob/3", "Cy/3")
    (remark,) = layout.remarks
    assert remark.text.startswith("'Bob/3' and 'Cy/3' are two classes")
    assert "--classes top" in remark.text


NAMES = st.sampled_from(["train", "Test_Set", "val", "seg_train", "seg_test", "bus", "docs", "cat"])


@given(st.sets(st.lists(NAMES, max_size=4).map(tuple), min_size=1, max_size=12))
def test_every_folder_has_one_place(folders):
    ordered = sorted(folders)
    layout = laid_out(ordered, [1] * len(ordered))
    assert len(layout.places) == len(ordered)
    for names, place in zip(ordered, layout.places, strict=True):
        # its class is made of names below each other, of its own
        rest = "/".join(names)
        assert "/".join(place.names) in rest
        assert layout.parted or (place.part, place.names) == ("", names)
    # the order of the folders does not matter
    backwards = laid_out(ordered[::-1], [1] * len(ordered))
    assert backwards.places == layout.places[::-1]


def test_names_of_parts_by_hand():
    assert parts_of(["a train", "train station"]) == {}  # two families of one part each
    assert parts_of(["my train", "my test"]) == {"my train": "train", "my test": "test"}
    assert parts_of(["train_val", "trainval", "tests", ""]) == {}
