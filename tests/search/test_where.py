import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinset.errors import StoreError
from twinset.search.where import Condition, conditions, holds, parse

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
SIGNS = ("=", "!=", "<", "<=", ">", ">=")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("price<10", ("price", "<", 10)),
        ("price <= 10.5", ("price", "<=", 10.5)),
        ("price>-3e2", ("price", ">", -300.0)),
        ("price>=+.5", ("price", ">=", 0.5)),
        ("label=shoe", ("label", "=", "shoe")),
        ("label==shoe", ("label", "=", "shoe")),
        ("label != ankle boot ", ("label", "!=", "ankle boot")),
        ("size='42'", ("size", "=", "42")),
        ('size="42"', ("size", "=", "42")),
        (r'note="say \"a\" \\ é"', ("note", "=", 'say "a" \\ é')),
        ("sold=true", ("sold", "=", True)),
        ("sold!=false", ("sold", "!=", False)),
        ("seller=null", ("seller", "=", None)),
        ("seller='null'", ("seller", "=", "null")),
        ("label=True", ("label", "=", "True")),
        ("x=nan", ("x", "=", "nan")),
        ("x=inf", ("x", "=", "inf")),
        ("x=1_0", ("x", "=", "1_0")),
        ("x=٣", ("x", "=", "٣")),
        ("x=", ("x", "=", "")),
        ("a b=c=d", ("a b", "=", "c=d")),
        ("a=<b", ("a", "=", "<b")),
        ('"a<b=c"<3', ("a<b=c", "<", 3)),
        ("'it''=3", None),
        ("'=3'=4", ("=3", "=", 4)),
        ("größe=字", ("größe", "=", "字")),
        ("x=9223372036854775807", ("x", "=", 2**63 - 1)),
    ],
)
def test_conditions_as_people_write_them(text, expected):
    if expected is None:
        with pytest.raises(StoreError, match="Expected conditions such as"):
            parse(text)
        return
    (condition,) = parse(text)
    assert (condition.name, condition.operator, condition.value) == expected
    assert type(condition.value) is type(expected[2])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Expected conditions such as price<10"),
        ("price", "Expected conditions such as price<10"),
        ("=3", "Expected conditions such as price<10"),
        (" <3", "Expected conditions such as price<10"),
        ("a!b=3", "Expected conditions such as price<10"),
        ("''=3", "Expected the name in a condition to be a text of 1 character or more"),
        (
            "label=shoe, price",
            "Expected conditions such as .* Received ' price': put names",
        ),
        ("label=shoe,", "Received '': put names"),
        ("label=shoe,,price<3", "Received ',price<3': put names"),
        ("label=Smith, John", "Received ' John': put names and values that hold commas"),
        (
            "label=shoe and price<20",
            "Expected a comma between two conditions. Received 'label",
        ),
        ("a=1, b=2 AND c>3", "Received ' b=2 AND c>3': if it is one, put its value in double"),
        ("a='b, c=1", "Expected a closing quote"),
        ("a='b', c='d' e", "Expected a closing quote"),
        ("a='b", 'Expected a closing quote, and nothing after it. Received "\'b"'),
        ('a="b" c', "Expected a closing quote"),
        (r'a="\q"', "Expected a closing quote"),
        ("sold<true", "Expected a text or a number after 'sold' <. Received True, which has no"),
        ("x=1e999", "Expected the value in a condition on 'x' to be a text, a finite number"),
        ("x=9223372036854775808", "a finite number of 64 bits"),
        ("x=" + "9" * 5000, "a finite number of 64 bits"),
        ("x=a\0b", "without a NUL character"),
    ],
)
def test_conditions_that_make_no_sense(text, words):
    with pytest.raises(StoreError, match=words):
        parse(text)


@given(TEXT)
def test_parsing_ends_in_a_condition_or_a_sentence(text):
    with suppress(StoreError):
        assert {each.operator for each in parse(text)} <= set(SIGNS)


@given(TEXT.filter(bool), st.sampled_from(SIGNS), TEXT)
def test_quotes_take_any_text(name, sign, value):
    text = f"{json.dumps(name)} {sign} {json.dumps(value, ensure_ascii=False)}"
    one = Condition(name, sign, value)
    assert parse(text) == parse(str(one)) == (one,)
    assert parse(f"{text}, a=1 ,{text}") == (one, Condition("a", "=", 1), one)


@pytest.mark.parametrize(
    ("condition", "known", "answer"),
    [
        (Condition("a", "=", 1), {"a": 1.0}, True),
        (Condition("a", "=", 1), {"a": True}, False),
        (Condition("a", "=", 1), {"a": "1"}, False),
        (Condition("a", "!=", 1), {"a": "1"}, True),
        (Condition("a", "=", True), {"a": 1}, False),
        (Condition("a", "=", None), {"a": None}, True),
        (Condition("a", "=", None), {}, False),
        (Condition("a", "!=", None), {}, True),
        (Condition("a", "!=", 3), {}, True),
        (Condition("a", "<", 3), {}, False),
        (Condition("a", "<", 3), {"a": "2"}, False),
        (Condition("a", ">", 3), {"a": "2"}, False),
        (Condition("a", "<", 3), {"a": None}, False),
        (Condition("a", "<", 3), {"a": False}, False),
        (Condition("a", "<=", 3), {"a": 3}, True),
        (Condition("a", ">", "Z"), {"a": "a"}, True),
        (Condition("a", "<", "é"), {"a": "z"}, True),
        (Condition("a", "<", 2**53 + 1), {"a": 2.0**53}, True),
    ],
)
def test_what_holds(condition, known, answer):
    assert holds(condition, known) is answer


def test_all_forms_are_one():
    expected = (Condition("label", "=", "shoe"), Condition("price", "<", 10))
    assert conditions({"label": "shoe", "price": {"<": 10}}) == expected
    assert conditions(["label=shoe", "price<10"]) == expected
    assert conditions("label=shoe, price<10") == expected
    assert conditions(["label='a, b', size=''", "x=,price<10"]) == (
        *(Condition("label", "=", "a, b"), Condition("size", "=", "")),
        *(Condition("x", "=", ""), expected[1]),
    )
    assert conditions(expected) == expected
    assert conditions(["label=shoe", expected[1]]) == expected
    assert conditions("price<10") == conditions(expected[1]) == expected[1:]
    assert conditions(()) == conditions({}) == ()
    with pytest.raises(
        StoreError, match="Expected conditions as a text, a mapping or a .* Rec.* 3"
    ):
        conditions(3)
    with pytest.raises(StoreError, match="Expected a condition, or a text such as 'price<10'"):
        conditions([3])
    with pytest.raises(StoreError, match="Expected one of = != < <= > >= in a condition on 'a'"):
        conditions({"a": {"~": 3}})
