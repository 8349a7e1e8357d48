"""Parameters of a URL that say how a database keeps an index."""

import pytest

from twinset.errors import StoreError
from twinset.search.layout import Layout, taken_from

KINDS = ("float32", "float16")


def test_what_is_asked_for_and_what_is_made_of_it():
    for given, asked, made in (
        ({}, Layout(), Layout(1, None, "float32")),
        ({"partitions": "8"}, Layout(8), Layout(8, None, "float32")),
        ({"partition_by": "label"}, Layout(None, "label"), Layout(16, "label", "float32")),
        (
            {"partitions": "4", "partition_by": "größe", "vectors": "float16"},
            Layout(4, "größe", "float16"),
            Layout(4, "größe", "float16"),
        ),
    ):
        options = given | {"other": "stays"}
        found = taken_from(options, KINDS, "here")
        assert (found, found.filled()) == (asked, made)
        assert options == {"other": "stays"}
        again = made.parameters()
        assert taken_from(again, KINDS, "here") == made
        assert not again


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"partitions": many}, "Expected partitions={1 to 1,024} for here. Received partitions=")
        for many in ("0", "-1", "1025", "8.0", "", "many", "٣", "9" * 5000)
    ]
    + [
        (
            {"vectors": "int8"},
            "Expected vectors=float32 or float16 for here. Received vectors=int8",
        ),
        ({"vectors": ""}, "Received vectors="),
        ({"partition_by": ""}, "Expected partition_by, a name of the metadata, to be a text"),
        ({"partition_by": "a\0b"}, "without a NUL"),
    ],
)
def test_what_is_refused(given, words):
    with pytest.raises(StoreError, match=words):
        taken_from(given, KINDS, "here")


def test_an_index_opened_as_it_was_made_or_without_a_word():
    kept = Layout(None, "label", "float16").filled()
    for asked in (Layout(), Layout(16), Layout(16, "label"), kept):
        asked.check_kept(kept, "here")
    for asked, said in (
        (Layout(8), "partitions=8"),
        (Layout(vectors="float32"), "vectors=float32"),
        (Layout(None, "colour"), "partition_by=colour"),
    ):
        with pytest.raises(StoreError, match=f"with partitions=16 .*vectors=float16. .* {said}"):
            asked.check_kept(kept, "here")
    with pytest.raises(
        StoreError, match="with partitions=1 vectors=float32. Received partition_by=a"
    ):
        Layout(None, "a").check_kept(Layout().filled(), "here")
