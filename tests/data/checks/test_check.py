"""A check of data against troubles that were planted, one by one and all together."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinset.data.checks.check import check
from twinset.data.checks.findings import SEVERITIES, about_classes, about_leaks, about_skipped
from twinset.data.checks.near_duplicates import Duplicates, find_duplicates, judge_duplicates
from twinset.data.image_sources import Remark, Skipped, StoredPixels
from twinset.data.labelled import LabelledImages
from twinset.data.parts import divide
from twinset.data.purpose import left_out_by
from twinset.recipe import Recipe

RNG = np.random.default_rng(0)


def noise(count):
    return np.random.default_rng(5).integers(0, 256, (count, 16, 16), np.uint8)


def clean(count=40, **fields):
    """Two classes of 20 images that have nothing in common, with names of files."""
    names = [f"photos/{i:03}.png" for i in range(count)]
    fields = {"names": names, "name": "photos", **fields}
    return LabelledImages(noise(count), np.arange(count) % 2, ("cat", "dog"), **fields)


def with_pixels(data, **sources):
    """Copy images within the data: `i7=3` makes image 7 equal to image 3."""
    pixels = data.images.copy()
    for target, source in sources.items():
        pixels[int(target[1:])] = pixels[source]
    return replace(data, images=pixels)


def moved(data, target, source):
    pixels = data.images.copy()
    pixels[target, 1:] = pixels[source, :-1]
    return replace(data, images=pixels)


def codes(found):
    # but for what so few images make of a division
    return [finding.code for finding in found.findings if finding.code != "division"]


def finding(found, code):
    (one,) = [each for each in found.findings if each.code == code]
    return one


def look(data, *, parts=None, skipped=(), threshold=None):
    """Check data whose owner put positions into parts; near duplicates by a threshold."""
    if parts is not None:
        owners = np.full(len(data), "", "<U5")
        for name, positions in parts.items():
            owners[list(positions)] = name
        data = replace(data, parts=owners)
    data = replace(data, skipped=(*data.skipped, *skipped))
    return check(data, duplicates=find_duplicates(data.images, threshold=threshold))


PARTS = {"train": list(range(30)), "test": list(range(30, 40))}


def test_clean_data_has_nothing_to_say():
    found = look(clean(160), parts={"train": range(120), "test": range(120, 160)})
    assert found.ok
    assert found.findings == ()
    assert found.classes == (("cat", 80), ("dog", 80))
    assert found.parts == {"train": 120, "test": 40}
    assert found.summary().splitlines() == [
        "photos: 160 images of 16 × 16 in 2 classes",
        "",
        "  class  images",
        "  cat        80",
        "  dog        80",
        "",
        "  part   images",
        "  train     120",
        "  test       40",
        "",
        "Fit for training: no errors, no warnings, no notes.",
    ]


def test_what_has_no_room_is_told_before_a_training():
    """In the words of the training, by the recipe that one's own images are trained by."""
    assert not check(clean()).findings
    note = finding(check(clean(12)), "division")
    assert note.severity == "note"
    assert note.message == (
        "There are too few images for a part 'test': the report is cross-fitted over 12 images of "
        "2 classes, by 3 more trainings."
    )
    usual = Recipe.load("auto")
    by = left_out_by(usual, clean(12).labels)
    (told,) = divide(clean(12), holdout=usual.holdout, by=by).notes
    assert note.message == f"{told[:1].upper()}{told[1:]}."
    found = check(clean(6))
    assert not found.ok
    (error,) = [each for each in found.findings if each.severity == "error"]
    assert error.code == "division"
    assert "4 images of each of 2 classes, 3 of each of 3, or 2 of each of 4" in error.message
    # groups and copies are never parted
    groups = [f"shop {i % 2}" for i in range(40)]
    (error,) = check(clean(groups=groups)).findings
    assert "Groups and copies are never parted. Add images." in error.message


def test_many_classes_are_divided_whole_as_by_the_recipe_auto():
    data = LabelledImages(noise(200), np.arange(200) % 20, tuple(f"thing {i}" for i in range(20)))
    assert not [each for each in check(data).findings if each.code == "division"]
    parts = divide(data, by=left_out_by(Recipe.load("auto"), data.labels))
    assert not parts.notes
    fewer = data.subset(np.flatnonzero((data.labels < 19) & (np.arange(200) < 100)))
    assert "images of 19 classes" in finding(check(fewer), "division").message


# --- duplicates


def test_a_copy_within_a_class_is_told_once():
    found = check(with_pixels(clean(), i2=0, i4=0))
    assert found.ok
    assert codes(found) == ["copies"]
    assert finding(found, "copies").severity == "warning"  # 2 of 40 are more than 1%
    assert finding(found, "copies").count == 2
    assert finding(found, "copies").examples == (
        "photos/000.png = photos/002.png = photos/004.png",
    )
    assert found.judged.copies[0].positions == (0, 2, 4)


def test_one_image_under_two_labels_is_a_conflict():
    found = check(with_pixels(clean(), i1=0))
    assert found.ok
    assert codes(found) == ["label-conflicts"]
    assert finding(found, "label-conflicts").examples == (
        "photos/000.png [cat] = photos/001.png [dog]",
    )


def test_nearly_the_same_image_under_two_labels_is_a_conflict_too():
    found = check(moved(clean(), 1, 0))
    (line,) = finding(found, "label-conflicts").examples
    assert line.startswith("photos/000.png [cat] ≈ photos/001.png [dog] (0.0")
    assert found.judged.conflicts[0].distance <= found.threshold
    # where only equal pixels are sought, it is not found
    assert codes(look(moved(clean(), 1, 0), threshold=0)) == []


def test_equal_pixels_in_two_parts_are_an_error():
    data = with_pixels(clean(), i38=0)
    found = look(data, parts=PARTS)
    assert not found.ok
    assert codes(found) == ["exact-leaks"]
    assert finding(found, "exact-leaks").examples == (
        "photos/000.png [train] = photos/038.png [test]",
    )
    # nobody trains or tests on an image that is in no part
    assert look(data, parts={"train": PARTS["train"], "test": [39]}).ok
    # the data's own parts count where no others are given
    own = ["train"] * 30 + ["test"] * 10
    assert codes(check(replace(data, parts=own))) == ["exact-leaks"]


def test_a_conflict_across_parts_is_told_as_both():
    found = look(with_pixels(clean(), i39=0), parts=PARTS)
    assert codes(found) == ["exact-leaks", "label-conflicts"]


def test_a_few_near_leaks_are_a_warning_and_many_an_error():
    data = clean(400)
    parts = {"train": list(range(200)), "test": list(range(200, 400))}
    for target in range(200, 204):
        data = moved(data, target, target - 200)
    found = look(data, parts=parts)
    assert found.ok  # 4 of 200 are over 1%, yet fewer than 5
    near = finding(found, "near-leaks")
    assert (near.severity, near.count) == ("warning", 4)
    assert "with 2.0% of" in near.message
    found = look(moved(data, 204, 4), parts=parts)
    assert finding(found, "near-leaks").severity == "error"


def test_near_leaks_below_one_in_a_hundred_stay_a_warning():
    judged = judge_duplicates(
        clean(12),
        Duplicates(
            np.array([[i, 6 + i] for i in range(6)]),
            np.full(6, 0.01),
            np.zeros(6, bool),
            np.arange(12),
            np.zeros(12, bool),
            0.1,
            0,
        ),
        ["train"] * 6 + ["test"] * 6,
    )
    assert len(judged.leaks) == 6
    (one,) = about_leaks(judged, (), {"train": 600, "test": 600})
    assert one.severity == "warning"  # exactly 1%
    (one,) = about_leaks(judged, (), {"train": 9999, "test": 599})
    assert one.severity == "error"


def test_a_group_in_two_parts_is_an_error():
    groups = [f"person {i // 4}" for i in range(40)]
    found = look(clean(groups=groups), parts=PARTS)
    assert codes(found) == ["torn-groups"]  # images 28 to 31
    assert found.torn_groups[0].parts == {"train": 2, "test": 2}
    assert finding(found, "torn-groups").examples == ("person 7: 2 in train, 2 in test",)
    assert look(clean(groups=[""] * 40), parts=PARTS).ok  # no group is none


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 2), st.sampled_from(["train", "test", ""])),
        min_size=2,
        max_size=14,
    )
)
def test_exact_duplicates_are_judged_as_a_loop_judges_them(rows):
    data = LabelledImages(
        noise(4)[[kind for kind, _, _ in rows]], [label for _, label, _ in rows], ("x", "y", "z")
    )
    owners = [part for _, _, part in rows]
    parts = {
        name: [i for i, owner in enumerate(owners) if owner == name]
        for name in ("train", "test")
        if name in owners
    }
    found = look(data, parts=parts, threshold=0)
    copies, conflicts, leaks = [], [], []
    for kind in dict.fromkeys(kind for kind, _, _ in rows):
        own = tuple(i for i, row in enumerate(rows) if row[0] == kind)
        two_labels = len({rows[i][1] for i in own}) > 1
        two_parts = {"train", "test"} <= {rows[i][2] for i in own}
        if len(own) > 1:
            conflicts += [own] * two_labels
            leaks += [own] * two_parts
            copies += [own] * (not two_labels and not two_parts)
    judged = found.judged
    for ours, expected in (
        (judged.copies, copies),
        (judged.conflicts, conflicts),
        (judged.leaks, leaks),
    ):
        assert sorted(each.positions for each in ours) == sorted(expected)
        assert all(each.exact and each.distance == 0 for each in ours)
    if leaks:
        assert not found.ok


def test_copies_of_a_near_duplicate_carry_its_contradictions():
    # 0 and 1 have the same pixels; 2 is nearly equal to them and was compared with 0 alone
    found = Duplicates(
        np.array([[0, 1], [0, 2]]),
        np.array([0, 0.05]),
        np.array([True, False]),
        np.array([0, 0, 2]),
        np.zeros(3, bool),
        0.1,
        0,
    )
    data = LabelledImages(noise(3), [0, 0, 0], ("cat",))
    judged = judge_duplicates(data, found, ["", "train", "test"])
    assert [each.positions for each in judged.leaks] == [(1, 2)]
    assert [each.positions for each in judged.copies] == [(0, 1)]


# --- classes


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([30, 30], []),
        ([30], [("error", "too-few-classes")]),
        ([], [("error", "too-few-classes")]),
        ([30, 25, 0], [("note", "empty-classes")]),
        ([30, 30, 1], [("warning", "single-images"), ("note", "uneven-classes")]),
        ([30, 4], [("warning", "small-classes")]),
        ([30, 5], [("note", "wide-intervals")]),
        ([30, 19], [("note", "wide-intervals")]),
        ([200, 20], [("note", "uneven-classes")]),
        ([199, 20], []),
        ([2000, 20], [("warning", "uneven-classes")]),
        ([2, 2], [("warning", "small-classes")]),
        ([2] * 20, [("note", "small-classes")]),  # whole classes go to each part
        ([1, 1], [("error", "too-few-classes"), ("warning", "single-images")]),
    ],
)
def test_classes_by_their_numbers(counts, expected):
    found = about_classes([(f"class {k}", count) for k, count in enumerate(counts)])
    assert [(each.severity, each.code) for each in found] == expected


def test_the_smallest_classes_come_first():
    (one,) = about_classes([("a", 20), ("b", 20), ("c", 4), ("d", 3), ("e", 4)])
    assert one.examples == ("d: 3 images", "c: 4 images", "e: 4 images")
    assert one.message.startswith("3 classes of fewer than 5 images, too few for each part")


def test_names_that_may_mean_one_class():
    classes = [
        (name, 20) for name in ("cat", "Cat", "red shoe", "red_shoe ", "-10", "10", "a", "A")
    ]
    (one,) = about_classes(classes)
    assert (one.severity, one.code, one.count) == ("warning", "alike-names", 4)
    assert one.message.startswith("4 classes with names that differ in nothing but capitals")
    assert one.examples == ("'Cat', 'cat'", "'red shoe', 'red_shoe '")


# --- what cannot be read, and what it shows


def test_skipped_is_a_warning_up_to_its_share():
    some = [Skipped(f"{i}.png", "damaged") for i in range(10)]
    (one,) = about_skipped(some, 40)
    assert one.severity == "warning"
    (one,) = about_skipped(some, 39)
    assert one.severity == "error"
    assert one.message.startswith("10 files or rows (20.4%) unusable, where 20% are bearable")
    assert one.examples[0] == "0.png: damaged"
    assert not list(about_skipped([], 0))


def test_constant_images_are_named():
    data = clean()
    pixels = data.images.copy()
    pixels[3], pixels[5] = 7, 200
    found = check(replace(data, images=pixels))
    assert codes(found) == ["constant-images"]
    assert finding(found, "constant-images").examples == ("photos/003.png", "photos/005.png")


@pytest.mark.parametrize("levels", [[0], [255], [0, 0, 255, 255]])
def test_a_collection_of_empty_images_is_not_fit(levels):
    pixels = np.zeros((40, 16, 16), np.uint8) + np.resize(levels, 40)[:, None, None]
    found = check(replace(clean(), images=pixels.astype(np.uint8)))
    one = finding(found, "constant-images")
    assert (one.severity, one.count, found.ok) == ("error", 40, False)
    assert "where 50% are bearable: look at one as it is decoded" in one.message


def test_a_collection_of_one_picture_is_not_fit():
    pixels = np.repeat(noise(1), 40, axis=0)
    found = check(replace(clean(), images=pixels))
    one = finding(found, "too-few-contents")
    assert (one.severity, one.count) == ("error", 0)
    assert "as where one picture stands for those that could not be fetched" in one.message
    pixels[:4] = noise(5)[1:]  # two different ones of each class
    assert "too-few-contents" not in codes(check(replace(clean(), images=pixels)))
    # one of one class alone: the others are copies of it, which are no pair of images
    pixels[1] = pixels[3]
    assert finding(check(replace(clean(), images=pixels)), "too-few-contents").count == 1


def test_swatches_may_be_told_apart_by_their_colours():
    # 40 colours of two classes: an image of one colour all over is all there is to learn from
    pixels = np.repeat(np.arange(0, 240, 6, dtype=np.uint8), 256).reshape(40, 16, 16)
    found = check(replace(clean(), images=pixels))
    assert (finding(found, "constant-images").severity, found.ok) == ("warning", True)


@pytest.mark.parametrize("darkest", [0, 1])
def test_eight_bits_in_files_of_sixteen_are_no_swatches(darkest):
    """They come out as gray levels 0 and 1, by which chance tells two classes apart."""
    pixels = np.zeros((40, 16, 16), np.uint8) + (darkest + clean().labels[:, None, None])
    one = finding(check(replace(clean(), images=pixels.astype(np.uint8))), "constant-images")
    assert one.severity == "error"
    assert "if it has 8, 10 or 12 bits in 16, multiply its values by 257" in one.message


def test_half_of_the_images_may_be_empty():
    pixels = noise(40)
    pixels[:20] = 9
    assert finding(check(replace(clean(), images=pixels)), "constant-images").severity == "warning"
    pixels[20] = 9
    assert finding(check(replace(clean(), images=pixels)), "constant-images").severity == "error"


def test_twelve_bits_in_sixteen_are_told():
    deep = np.random.default_rng(5).integers(0, 4096, (40, 16, 16))  # of 65,536
    found = check(replace(clean(), images=(deep // 257).astype(np.uint8)))
    one = finding(found, "low-contrast")
    assert (one.severity, one.count) == ("warning", 40)
    assert one.message.startswith("Most images use 16 of 256 gray levels or fewer")
    assert "multiply the values by 64 or 16 before saving" in one.message
    # a few faint images are no reason, nor is any contrast that an eye can see
    mixed = np.where(np.arange(40)[:, None, None] < 19, deep // 257, noise(40))
    assert "low-contrast" not in codes(check(replace(clean(), images=mixed.astype(np.uint8))))


def test_what_the_reading_has_to_say_is_passed_on():
    remarks = (Remark("warning", "'train' may be a part."), Remark("note", "Taken as parts: …"))
    found = check(clean(remarks=remarks))
    told = [(each.severity, each.message) for each in found.findings if each.code == "reading"]
    assert told == [tuple(remark) for remark in remarks]


def test_near_copies_of_one_group_are_known_to_their_owner():
    data = moved(clean(), 7, 5)
    assert "near-copies" in codes(look(data))
    assert "near-copies" in codes(look(replace(data, groups=[str(i) for i in range(40)])))
    assert "near-copies" not in codes(look(replace(data, groups=[f"g{i // 4}" for i in range(40)])))


# --- written


def troubled():
    data = with_pixels(moved(clean(), 7, 5), i38=0, i3=2, i12=10)
    names = [f"ünï/写真 😀 {i}.png" for i in range(40)]
    names[0] = "broken\udce9\x1b[31m.png"
    groups = [f"g{i // 4}" if i != 7 else "" for i in range(40)]
    data = replace(data, names=names, groups=groups, class_names=("cat", "犬", "emu"))
    return data, look(data, parts=PARTS, skipped=[Skipped("x\udcff.png", "damaged")])


def test_findings_are_sorted_and_the_text_is_printable():
    _, found = troubled()
    ranks = [SEVERITIES.index(each.severity) for each in found.findings]
    assert ranks == sorted(ranks)
    assert {"exact-leaks", "torn-groups", "label-conflicts", "copies", "near-copies"} <= set(
        codes(found)
    )
    text = found.summary()
    assert all(line.isprintable() for line in text.splitlines())
    text.encode()  # nothing that UTF-8 cannot hold
    assert text.splitlines()[-1].startswith("Not fit for training: 2 errors, ")


def test_long_lists_are_cut_in_the_text():
    data = LabelledImages(noise(150), np.arange(150) % 50, tuple(f"class {k}" for k in range(50)))
    text = check(data).summary()
    assert "  class 11       3\n  and 38 more\n" in text
    assert text.count("and 47 more") == 1  # of the classes of 3 images
    assert len(text.splitlines()) < 30


def test_the_table_is_aligned_whatever_the_script():
    _, found = troubled()
    lines = found.summary().splitlines()
    assert lines[2:6] == [
        "  class  images",
        "  cat        20",
        "  犬         20",
        "  emu         0",
    ]


def test_json_has_what_the_schema_says():
    _, found = troubled()
    content = found.to_dict()
    again = json.loads(json.dumps(content, allow_nan=False))
    assert again == content  # plain types only
    assert set(content) == {
        *("schema", "ok", "name", "images", "image_shape", "classes", "parts", "pairs"),
        *("findings", "near_duplicate_threshold", "skipped", "constant", "torn_groups"),
        *("copies", "conflicts", "leaks", "totals"),
    }
    assert content["schema"] == 1
    assert content["ok"] is False
    assert content["image_shape"] == [16, 16]
    assert content["leaks"][0] == {
        "positions": [0, 38],
        "names": ["broken\\xe9\\x1b[31m.png", "ünï/写真 😀 38.png"],
        "classes": ["cat", "cat"],
        "parts": ["train", "test"],
        "exact": True,
        "distance": 0.0,
    }
    assert content["findings"][0]["severity"] == "error"


def test_lists_of_the_json_are_bounded_and_counted():
    aside = [Skipped(f"{i}.png", "damaged") for i in range(1500)]
    found = look(clean(160), skipped=aside)
    content = found.to_dict()
    assert len(content["skipped"]) == 1000
    assert content["totals"]["skipped"] == 1500
    (told,) = content["findings"]
    assert (len(told["examples"]), told["count"]) == (1000, 1500)


def test_the_worst_come_in_turn():
    _, found = troubled()
    assert [(why, each.positions) for why, each in found.worst(4)] == [
        ("equal, in two parts", (0, 38)),
        ("equal, two labels", (2, 3)),
        ("equal, in one class", (10, 12)),
        ("nearly equal, in one class", (5, 7)),
    ]
    assert len(found.worst(2)) == 2


def test_fashion_mnist_is_fit_and_its_parts_share_some_products(fashion_mnist):
    train, test = fashion_mnist
    # near duplicates across its parts, found by this module and seen by eye
    one, other = [13360, 11932, 6300], [4998, 2605, 6210]
    pixels = np.concatenate([train.images[:800], train.images[one], test.images[other]])
    labels = np.concatenate([train.labels[:800], train.labels[one], test.labels[other]])
    data = LabelledImages(pixels, labels, train.class_names, "fashion-mnist")
    found = look(data, parts={"train": range(803), "test": range(803, 806)})
    assert found.ok
    assert codes(found) == ["near-leaks"]
    assert {each.positions for each in found.judged.leaks} == {
        (800, 803),
        (801, 804),
        (802, 805),
    }
    assert found.judged.leaks[0].names == ("image 800", "image 803")


def test_stored_images_are_never_read_as_a_whole(tmp_path, monkeypatch):
    data = with_pixels(clean(), i38=0)
    (tmp_path / "pixels").write_bytes(data.images.tobytes())
    stored = replace(data, images=StoredPixels(tmp_path / "pixels", data.images.shape))

    def refuse(*arguments, **options):
        raise AssertionError("read as a whole")

    monkeypatch.setattr(StoredPixels, "__array__", refuse)
    assert look(stored, parts=PARTS).to_dict() == look(data, parts=PARTS).to_dict()


def test_no_images_at_all_are_an_error_and_no_crash():
    found = check(LabelledImages(np.empty((0, 16, 16), np.uint8), np.empty(0, int), ("cat",)))
    assert not found.ok
    assert codes(found) == ["too-few-classes", "empty-classes"]
    json.dumps(found.to_dict(), allow_nan=False)
    assert "0 images" in found.summary()
