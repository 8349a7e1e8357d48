"""Searches of several requests go together, and each gets its own answer."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest

from twinset.server.batching import Searches


class Slow:
    """An index that waits to be let, and answers with its queries; it fails at a 7."""

    def __init__(self):
        self.open = threading.Event()
        self.seen = []

    def search(self, vectors, **asked):
        assert self.open.wait(10)
        self.seen.append((len(vectors), asked))
        if (vectors == 7).any():
            raise ValueError("seven")
        return [float(each[0]) for each in vectors]


def rows(*values):
    return np.array(values, np.float32)[:, None]


def asked(*searches, most=64):
    """What each search came to, and what the index saw; the first begins before the others."""

    async def run():
        index = Slow()
        together = Searches(asyncio.to_thread, most)
        sent = [together.put(index, rows(0), {"k": 1})]
        await asyncio.sleep(0)
        sent += [together.put(index, vectors, how) for vectors, how in searches]
        index.open.set()
        told = await asyncio.gather(*(one.answer for one in sent), return_exceptions=True)
        return told[1:], index.seen[1:]

    return asyncio.run(run())


def test_what_comes_meanwhile_goes_together():
    told, seen = asked((rows(1), {"k": 3}), (rows(2, 3), {"k": 3}), (rows(4), {"k": 3}))
    assert told == [[1], [2, 3], [4]]
    assert seen == [(4, {"k": 3})]


def test_other_questions_go_apart_and_in_order():
    same, other = {"where": (1,)}, {"where": (True,)}
    told, seen = asked((rows(1), same), (rows(2), other), (rows(3), same))
    assert told == [[1], [2], [3]]
    assert seen == [(2, same), (1, other)]


def test_what_fails_fails_alone():
    told, seen = asked((rows(1), {}), (rows(7), {}), (rows(3), {}))
    assert told[0::2] == [[1], [3]]
    with pytest.raises(ValueError, match="seven"):
        raise told[1]
    assert [count for count, _ in seen] == [3, 1, 1, 1]


def test_no_more_than_so_many_at_once():
    told, seen = asked(*((rows(i, i), {}) for i in range(5)), (rows(*range(6)), {}), most=4)
    assert [len(each) for each in told] == [2] * 5 + [6]
    assert [count for count, _ in seen] == [4, 4, 2, 6]


def test_who_leaves_costs_no_search():
    async def run():
        index = Slow()
        together = Searches(asyncio.to_thread, 64)
        first = together.put(index, rows(0), {})
        await asyncio.sleep(0)
        second = together.put(index, rows(1), {})
        second.answer.cancel()
        index.open.set()
        await first.answer
        third = together.put(index, rows(2), {})
        return await third.answer, index.seen

    assert asyncio.run(run()) == ([2], [(1, {}), (1, {})])
