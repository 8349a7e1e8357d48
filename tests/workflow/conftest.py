"""The command line, called within the test's own process."""

import sys
from types import SimpleNamespace

import pytest

from twinset import cli


@pytest.fixture
def command(monkeypatch, capsys):
    """Run a command; tell its exit code and what it said."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["twinset", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        out, err = capsys.readouterr()
        return SimpleNamespace(code=code, out=out, err=err)

    return call
