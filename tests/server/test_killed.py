"""`kill -9` while others write over HTTP: what was acknowledged is there after; 100 kills in the
benchmark: ./task bench serve_attack kills
"""

import sys

import pytest

from server_writer import kill_many


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_what_was_acknowledged_survives_a_kill(own):
    counts = kill_many(own, 1)
    assert counts["kills"] == 1
    assert counts["items"] > 0
    assert counts["decisions"] > 0
