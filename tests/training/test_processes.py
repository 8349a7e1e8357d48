"""Training in several processes: joining, agreeing, being lost. Real processes, two to a test."""

import pytest

from twinset.cli import processes as started
from twinset.training import processes


def test_one_process_asks_nobody():
    assert processes.count() == 1
    assert processes.index() == 0
    assert processes.from_first(lambda: (1, "a")) == (1, "a")
    assert processes.bytes_from_first(lambda: None) is None
    processes.agree({"data": "a"})


@pytest.mark.parametrize(
    ("cores", "count", "found"),
    [
        ([0, 1], 2, [{0}, {1}]),
        ([0, 2, 3, 5, 7], 2, [{0, 2}, {3, 5, 7}]),
        ([4], 3, [{4}, {4}, {4}]),
    ],
)
def test_cores_are_divided(cores, count, found):
    assert started.shares(cores, count) == found
