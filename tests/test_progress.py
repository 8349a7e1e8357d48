"""Progress as text, as lines in a log, as a bar on a terminal, and as calls of a function."""

import io
import re
import sys
from contextlib import redirect_stderr

import pytest

from twinset.progress import Progress, reporting


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")


def plain(screen):
    """What was written, without the commands to the terminal."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())


def test_text():
    assert Progress("decode", 50).text == "decode 50"
    told = Progress("epoch 1/2", 1200, 1200, "steps", {"loss": 0.01234, "images/s": 123456.7})
    assert told.text == "epoch 1/2 1,200 of 1,200 steps  loss 0.0123  images/s 123,457"


def test_a_log_gets_the_end_of_each_task(capsys):
    with reporting(True) as tell:
        for done in (1, 2, 3):
            tell(Progress("encode", done, 3, "images"))
        tell(Progress("index", 1, 2))
    assert capsys.readouterr().err == "encode 3 of 3 images\n"
    with reporting(False) as tell:
        tell(Progress("encode", 3, 3, "images"))
    assert capsys.readouterr().err == ""


def test_inner_work_shares_the_outer_bar():
    seen = []
    with reporting(seen.append) as outer, reporting(outer) as inner:
        inner(Progress("encode", 1))
    assert seen == [Progress("encode", 1)]


def test_a_bar_with_numbers_below_and_messages_above():
    with redirect_stderr(Terminal()) as screen:
        with reporting(True) as tell:
            tell(Progress("epoch 1/2", 3, 3, "steps", {"loss": 0.25}))
            sys.stderr.write("twinset: the disk is full [red]\n")
            tell(Progress("epoch 2/2", 1, 3, "steps", {"loss": 0.125}))
            tell(Progress("epoch 1/2", 1, 3, "steps", {"loss": 0.125}))
        assert sys.stderr is screen, "the stream is handed back"
    shown = plain(screen)
    assert "epoch 1/2 1 of 3 steps" in shown
    assert "loss 0.125" in shown
    assert "twinset: the disk is full [red]\n" in shown


def test_a_finished_task_makes_room():
    with redirect_stderr(Terminal()) as screen, reporting(True) as tell:
        for epoch in range(40):
            tell(Progress(f"epoch {epoch + 1}/40", 5, 5, "steps"))
    last = plain(screen).rsplit("epoch 40/40", 1)[0][-400:]
    assert "epoch 1/40" not in last
