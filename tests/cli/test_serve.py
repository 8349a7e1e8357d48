"""The command `serve`: what is a mistake is told before anything is loaded."""

from __future__ import annotations

import re
import socket
import sys
from dataclasses import fields

import pytest

from twinset.server.limits import Limits


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("short", "16 characters or more.*Received one of 5 characters"),
        ("with a space in the middle", "without spaces"),
        ("écrit en français, plus long", "of ASCII"),
    ],
)
def test_tokens_that_are_none(command, monkeypatch, tmp_path, token, words):
    (tmp_path / "token").write_text(token, encoding="utf-8")
    told = command("serve", "run", "--token-file", tmp_path / "token")
    assert told.code == 2
    assert re.search(words, told.err)
    monkeypatch.setenv("TWINSET_TOKEN", token)
    assert command("serve", "run").err == told.err


def test_a_token_that_is_not_there(command):
    told = command("serve", "run", "--token-file", "none")
    assert (told.code, told.err) == (2, "twinset: none: No such file or directory.\n")


def test_a_port_that_is_taken(command):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        told = command("serve", "run", "--port", taken.getsockname()[1])
    assert told.code == 2
    assert "choose another --port" in told.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none"], "none: expected a model folder"),
        (["none", "--queue-images", "0"], "Expected the limit queue_images above 0"),
        (["none", "--port", "70000"], "Expected a port from 0 to 65535. Received 70000."),
        (["none", "--host", "no.such.host.invalid"], "Expected to listen at no.such.host.invalid"),
    ],
)
def test_mistakes(command, arguments, words):
    told = command("serve", *arguments, *([] if "--port" in arguments else ["--port", "0"]))
    assert told.code == 2
    assert words in told.err
    assert told.err.count("\n") == 1


def test_without_its_packages(command, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("twinset.server")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    told = command("serve", "run")
    assert told.code == 2
    assert "`pip install 'twinset[serve]'`" in told.err


def test_each_limit_is_an_option(command):
    shown = " ".join(command("serve", "--help").out.split())
    for each in fields(Limits):
        assert f"--{each.name.replace('_', '-')} N" in shown
        assert f"Default: {each.default:,}." in shown
