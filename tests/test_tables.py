"""Tables of text: what is set where, and that no name can break them."""

import sys

import pytest

from twinset import tables


def test_numbers_are_set_to_the_right_and_lines_end_where_their_words_do():
    assert tables.text(["", ">count", "name"], [["a", "5", "x"], ["long", "1,000", ""]]) == (
        "      count  name\na         5  x\nlong  1,000"
    )


def test_a_table_without_rows_is_its_head():
    assert tables.text(["label", ">items"], []) == "label  items"
    assert tables.markdown(["label", ">items"], []) == "| label | items |\n| --- | ---: |"


@pytest.mark.parametrize("columns", [["[b]", ">[/]"], ["id", ">n"]])
def test_brackets_are_no_markup(columns):
    lines = tables.text(columns, [["[red]", "[/red]"], [":smile:", "[link=x]"]]).splitlines()
    assert [line.split() for line in lines[1:]] == [["[red]", "[/red]"], [":smile:", "[link=x]"]]
    assert lines[0].split() == [name.removeprefix(">") for name in columns]


def test_half_characters_are_written_out():
    assert r"half\udcff" in tables.text(["id"], [["half\udcff"]])
    assert tables.text(["id\udcff"], []) == r"id\udcff"


def test_wide_characters_take_two_columns():
    lines = tables.text(["class", ">images"], [["猫", "7"], ["cats", "12"]]).splitlines()
    assert lines == ["class  images", "猫          7", "cats       12"]


def test_a_narrow_terminal_folds_and_loses_nothing(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "30")
    name = "a/very/long/path/of/an/image/that/fits/no/line.png"
    shown = tables.text([">distance", "id"], [["0.1234", name]])
    assert max(map(len, shown.splitlines())) <= 30
    assert "".join(line[8:].strip() for line in shown.splitlines()[1:]) == name
    assert "\x1b" not in shown


def test_a_bar_or_a_new_line_breaks_no_markdown():
    assert tables.markdown(["a|b"], [["c\nd"]]).splitlines() == [r"| a\|b |", "| --- |", "| c d |"]
