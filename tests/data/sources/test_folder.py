import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from twinset.data.decoding.image_file import FORMATS, SUFFIXES
from twinset.data.sources import read_listing
from twinset.errors import DataError


def tree(root, *names):
    """Make empty files: a listing does not look into them."""
    for name in names:
        path = Path(root, os.fsdecode(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return Path(root)


def names(listing):
    return [source.name for source in listing.sources]


def labelled(listing):
    return {
        source.name: listing.class_names[label]
        for source, label in zip(listing.sources, listing.labels, strict=True)
    }


def aside(listing):
    return {bad.name: bad.reason for bad in listing.skipped}


# --- classes


def test_folders_are_classes_in_natural_order():
    listing = read_listing(tree("set", "10/a10.png", "10/a9.png", "2/b.png", "2/A.png", "1/x.png"))
    assert listing.class_names == ("1", "2", "10")
    assert names(listing) == ["1/x.png", "2/A.png", "2/b.png", "10/a9.png", "10/a10.png"]
    assert listing.labels.tolist() == [0, 1, 1, 2, 2]
    assert (listing.groups, listing.parts, listing.skipped) == (None, None, ())


def test_the_order_of_the_disk_does_not_matter(monkeypatch):
    root = tree("set", *(f"{c}/{i}.png" for c in "abc" for i in range(12)), "b/deep/1.png")
    (root / "again").symlink_to("a")
    expected = read_listing(root)
    scandir = os.scandir

    class Backwards(list):
        __enter__ = lambda self: self  # noqa: E731
        __exit__ = lambda *_: None  # noqa: E731

    def backwards(path):
        with scandir(path) as scan:
            return Backwards(sorted(scan, key=lambda entry: entry.name, reverse=True))

    monkeypatch.setattr(os, "scandir", backwards)
    found = read_listing(root)
    assert names(found) == names(expected)
    assert found.labels.tolist() == expected.labels.tolist()
    assert found.skipped == expected.skipped


def test_nested_folders():
    root = tree("set", "animal/cat/1.png", "animal/dog/s1/1.png", "animal/2.png", "plant/1.png")
    by_path = read_listing(root)
    assert labelled(by_path) == {
        "animal/2.png": "animal",
        "animal/cat/1.png": "animal/cat",
        "animal/dog/s1/1.png": "animal/dog/s1",
        "plant/1.png": "plant",
    }
    assert by_path.groups is None
    by_top = read_listing(root, classes="top")
    assert by_top.class_names == ("animal", "plant")
    assert dict(zip(names(by_top), by_top.groups.tolist(), strict=True)) == {
        "animal/2.png": "animal/2.png",
        "animal/cat/1.png": "animal/cat",
        "animal/dog/s1/1.png": "animal/dog/s1",
        "plant/1.png": "plant/1.png",
    }
    assert read_listing(tree("flat", "a/1.png", "b/1.png"), classes="top").groups is None


def test_one_class_is_listed():
    assert read_listing(tree("set", "cat/1.png")).class_counts.tolist() == [1]


# --- parts


@pytest.mark.parametrize("classes", ["path", "top"])
def test_parts_are_told_by_the_top_folders(classes):
    root = tree(
        "set",
        *("Train/cat/1.png", "Train/dog/1.png", "val/cat/2.png", "calibration/dog/2.png"),
        *("test/cat/3.png", "test/4.png", "5.png", "notes/readme.txt"),
    )
    listing = read_listing(root, classes=classes)
    assert listing.class_names == ("cat", "dog")
    assert dict(zip(names(listing), listing.parts.tolist(), strict=True)) == {
        "calibration/dog/2.png": "calibration",
        "test/cat/3.png": "test",
        "Train/cat/1.png": "train",
        "Train/dog/1.png": "train",
        "val/cat/2.png": "tune",
    }
    assert list(aside(listing)) == ["5.png", "notes/readme.txt", "test/4.png"]
    assert aside(listing)["test/4.png"].startswith("directly in the part, in no class")
    assert aside(listing)["5.png"].startswith("directly in the root, in no class")


def test_a_third_folder_beside_parts_is_set_aside_as_a_whole():
    root = tree(
        "set",
        *("training_set/training_set/cat/1.png", "training_set/training_set/dog/1.png"),
        *("test_set/test_set/cat/2.png", "docs/a.png", "docs/b/c.png"),
    )
    listing = read_listing(root)
    assert listing.class_names == ("cat", "dog")
    assert listing.parts.tolist() == ["test", "train", "train"]
    assert aside(listing) == {}
    told, warning = listing.remarks
    assert told.text == "Taken as parts: 'test_set' as test, 'training_set' as train."
    assert warning.severity == "warning"
    assert warning.text.startswith("'docs' is left out with its 2 images, as it is beside the part")
    # an index takes all there is
    every = read_listing(root, labelled=False)
    assert labelled(every) == {
        "docs/a.png": "docs",
        "docs/b/c.png": "docs/b",
        "test_set/test_set/cat/2.png": "cat",
        "training_set/training_set/cat/1.png": "cat",
        "training_set/training_set/dog/1.png": "dog",
    }


def test_a_part_without_classes_is_set_aside_as_a_whole():
    listing = read_listing(tree("set", "train/cat/1.png", "train/dog/1.png", "test/1.png"))
    assert listing.parts.tolist() == ["train", "train"]
    assert [remark.text[:39] for remark in listing.remarks] == [
        "'test' is left out with its 1 image, as"
    ]
    with pytest.raises(DataError, match="Received 2 images directly in the root or in a part"):
        read_listing(tree("bare", "train/1.png", "test/1.png"))


def test_deep_parts():
    root = tree("set", "train/cat/a/1.png", "test/cat/b/1.png", "test/cat/2.png")
    assert read_listing(root).class_names == ("cat", "cat/a", "cat/b")
    top = read_listing(root, classes="top")
    assert top.class_names == ("cat",)
    assert top.groups.tolist() == ["test/cat/2.png", "test/cat/b", "train/cat/a"]


@pytest.mark.parametrize("tops", [("train", "car", "test"), ("test", "val"), ("trains",)])
def test_folders_that_are_no_parts(tops):
    listing = read_listing(tree("set", *(f"{top}/1.png" for top in tops)))
    assert listing.parts is None
    assert set(listing.class_names) == set(tops)


# --- names


@settings(max_examples=60)
@given(
    st.lists(
        st.binary(min_size=1, max_size=40)
        .map(lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"_"))
        .filter(lambda raw: raw[:1] != b"."),
        min_size=1,
        max_size=6,
        unique=True,
    )
)
def test_any_bytes_are_a_name(tmp_path_factory, raws):
    root = tree(
        tmp_path_factory.mktemp("tree"),
        *(b"class " + raw + b"/" + raw + b".png" for raw in raws),
    )
    listing = read_listing(root)
    assert len(listing) == len(raws)
    for source in listing.sources:
        assert source.stamp()
        assert source.name.encode("utf-8")
        assert "\n" not in source.name
    assert {os.fsencode(Path(s.path).name) for s in listing.sources} == {
        raw + b".png" for raw in raws
    }
    assert all(name.encode("utf-8").startswith(b"class ") for name in listing.class_names)


@settings(max_examples=60)
@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1))
def test_any_text_is_a_name(tmp_path_factory, text):
    text = text.encode()[:60].decode(errors="ignore") or "x"
    root = tree(tmp_path_factory.mktemp("tree"), f"c{text}/n{text}.jpg")
    listing = read_listing(root)
    assert Path(listing.sources[0].path).samefile(root / f"c{text}" / f"n{text}.jpg")
    if text.isprintable():
        assert listing.sources[0].name == f"c{text}/n{text}.jpg"


def test_both_spellings_of_an_accent_are_one_class():
    composed, apart = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    listing = read_listing(tree("set", f"{apart}/1.png", f"{composed}/1.png", "thé/1.png"))
    if len(listing) < 3:
        pytest.skip("this file system takes both spellings for one name")
    assert listing.class_names == (composed, "thé")
    assert listing.class_counts.tolist() == [2, 1]
    assert len({source.path for source in listing.sources}) == 3


def test_hidden_files_and_litter_are_passed_over():
    litter = [
        "Thumbs.db",
        ".DS_Store",
        "desktop.ini",
        "._1.png",
        ".git/a.png",
        "__MACOSX/cat/1.png",
    ]
    listing = read_listing(tree("set", "cat/1.png", *(f"cat/{name}" for name in litter), *litter))
    assert names(listing) == ["cat/1.png"]
    assert listing.skipped == ()


def test_suffixes_in_any_case_and_others():
    root = tree("set", "c/1.PNG", "c/2.JpEg", "c/3.txt", "c/4", "c/5.heic", "c/6.png.gz", "c/7.mp4")
    listing = read_listing(root)
    assert names(listing) == ["c/1.PNG", "c/2.JpEg"]
    assert aside(listing) == {
        "c/3.txt": "not an image by its name: .txt is none of the suffixes",
        "c/4": "not an image by its name: it has no suffix",
        "c/5.heic": "not an image by its name: .heic is not read here, convert it to JPEG or PNG",
        "c/6.png.gz": "not an image by its name: .gz is none of the suffixes",
        "c/7.mp4": "not an image by its name: .mp4 is none of the suffixes",
    }


def test_the_suffixes_are_those_of_what_can_be_decoded():
    Image.init()
    known = Image.registered_extensions()
    assert {suffix for suffix, kind in known.items() if kind in FORMATS} <= SUFFIXES
    later = {"TIFF", "WEBP", "AVIF"}  # whose plugins load when such a file comes
    wrong = {known[suffix] for suffix in SUFFIXES if suffix in known} - {*FORMATS, "MPO", *later}
    assert not wrong


# --- links, and what cannot be read


def test_links_are_followed_once():
    root = tree("set", "cat/1.png", "dog/deep/1.png")
    elsewhere = tree("elsewhere", "2.png", "more/3.png")
    (root / "bird").symlink_to(elsewhere.resolve())
    (root / "dog/linked.png").symlink_to("../cat/1.png")  # a file: fine
    (root / "a").symlink_to("cat")  # sorts before what it means
    (root / "dog/up").symlink_to("..")  # a loop
    (root / "dog/deep/here").symlink_to(".")
    (root / "zoo").symlink_to(elsewhere.resolve() / "more")
    (root / "cat/broken.png").symlink_to("nothing")
    (root / "cat/self").symlink_to("self")
    listing = read_listing(root)
    assert names(listing) == [
        "bird/2.png",
        "bird/more/3.png",
        "cat/1.png",
        "dog/linked.png",
        "dog/deep/1.png",
    ]
    assert aside(listing) == {
        "a": "the same folder as 'cat', which is listed",
        "cat/broken.png": "a link that leads nowhere",
        "cat/self": "a link that leads nowhere",
        "dog/deep/here": "the same folder as 'dog/deep', which is listed",
        "dog/up": "the same folder as the root, which is listed",
        "zoo": "the same folder as 'bird/more', which is listed",
    }


def test_the_root_may_be_a_link():
    tree("set", "cat/1.png")
    Path("link").symlink_to("set")
    assert names(read_listing("link")) == ["cat/1.png"]


def test_what_is_neither_file_nor_folder():
    root = tree("set", "cat/1.png")
    os.mkfifo(root / "cat/2.png")  # reading it would wait for ever
    assert aside(read_listing(root)) == {"cat/2.png": "no regular file"}


def test_a_folder_without_permission():
    root = tree("set", "cat/1.png", "dog/1.png")
    (root / "dog").chmod(0)
    try:
        if os.access(root / "dog", os.R_OK):
            pytest.skip("this user may read every folder")
        assert aside(read_listing(root)) == {"dog": "cannot be read: Permission denied"}
    finally:
        (root / "dog").chmod(0o755)


def test_a_folder_that_fails(monkeypatch):
    root = tree("set", "cat/1.png", "dog/1.png")
    scandir = os.scandir

    def failing(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", failing)
    listing = read_listing(root)
    assert listing.class_names == ("cat",)
    assert aside(listing) == {"dog": "cannot be read: Permission denied"}
    with pytest.raises(DataError, match=r"dog: expected a folder of images. Permission denied"):
        read_listing(root / "dog")


# --- nothing there


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ((), "\n\n    set/\n    ├── cat/\n(.|\n)*Received an empty folder"),
        (("1.png", "2.png"), "Received 2 images directly in the root or in a part"),
        (("train/1.png", "test/1.png"), "Received 2 images directly in the root or in a part"),
        (("cat/a.txt",), r"Received no image, but cat/a.txt \(not an image by its name"),
        (("1.png", "labels.csv"), "read the table that is there, pass set/labels.csv"),
    ],
)
def test_a_folder_without_images_in_classes(files, words):
    Path("set").mkdir()
    with pytest.raises(DataError, match=f"^set: expected images in folders(.|\n)*{words}"):
        read_listing(tree("set", *files))
