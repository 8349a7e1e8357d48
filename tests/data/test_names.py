import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinset.data.names import (
    PART_SPELLINGS,
    PARTS,
    class_name,
    in_order,
    natural_key,
    part_of,
    shown,
)


def test_the_natural_order():
    names = ["a10", "a9", "A1", "b", "a", "", "10", "9", "a9b2", "a9b10", "09", "é"]
    expected = ["", "09", "9", "10", "a", "A1", "a9", "a9b2", "a9b10", "a10", "b", "é"]
    assert sorted(names, key=natural_key) == expected
    assert in_order(["c2", "c10", "c2"]) == ("c2", "c10")


@given(st.lists(st.integers(0, 10**30)))
def test_numbers_sort_as_numbers(numbers):
    assert sorted(map(str, numbers), key=natural_key) == [str(n) for n in sorted(numbers)]


@given(st.lists(st.text()), st.randoms())
def test_the_order_does_not_depend_on_chance(names, random):
    shuffled = random.sample(names, len(names))
    assert sorted(shuffled, key=natural_key) == sorted(names, key=natural_key)


def test_a_number_of_any_length_is_a_name():
    assert in_order(["9" * 5000, "1" + "0" * 5000]) == ("9" * 5000, "1" + "0" * 5000)


@given(st.text(st.characters() | st.characters(categories=["Cs"])))
def test_what_is_shown_can_be_printed(text):
    told = shown(text)
    assert told.encode("utf-8").decode("utf-8") == told
    assert not any(unicodedata.category(sign) in ("Cc", "Zl", "Zp") for sign in told)
    assert shown(told) == told
    if text.isprintable():
        assert told == text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a b.png", "a b.png"),
        ("👩‍🔬.png", "👩‍🔬.png"),  # held together by a joiner, which is not printable
        ("a\nb\x1b[31m", r"a\x0ab\x1b[31m"),
        (b"caf\xe9".decode("utf-8", "surrogateescape"), r"caf\xe9"),
        ("\ud800", r"\ud800"),
        ("a\u2028b", r"a\u2028b"),
    ],
)
def test_names_that_are_shown(text, told):
    assert shown(text) == told


@given(st.text())
def test_both_forms_of_a_name_are_one_class(text):
    assert class_name(unicodedata.normalize("NFD", text)) == class_name(
        unicodedata.normalize("NFC", text)
    )


def test_spellings_of_parts():
    assert set(PART_SPELLINGS.values()) == set(PARTS)
    assert {part: part_of(part) for part in PARTS} == {part: part for part in PARTS}
    assert (part_of(" Validation "), part_of("TRAIN"), part_of("trains"), part_of("")) == (
        "tune",
        "train",
        None,
        None,
    )
