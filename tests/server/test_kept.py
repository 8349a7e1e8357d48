"""What takes long: computed once however many ask, and told when it is not there yet."""

import asyncio
import threading

import pytest

from twinset.errors import StoreError
from twinset.progress import Progress
from twinset.server.kept import AT_ONCE, MOST, Kept
from twinset.server.problems import Computing


def test_of_many_that_ask_one_computes():
    made = []

    async def ask(kept):
        return await kept.get(("a", 1), lambda _: made.append(1) or 7, "it")

    async def all_at_once():
        kept = Kept()
        return await asyncio.gather(*(ask(kept) for _ in range(20))), kept.latest("a")

    assert asyncio.run(all_at_once()) == ([7] * 20, 7)
    assert made == [1]


def test_who_waits_too_long_is_told_to_ask_again_and_gets_it_then():
    go_on = threading.Event()

    async def impatient():
        kept = Kept(patience=0.05)
        with pytest.raises(Computing, match="The groups are being computed") as caught:
            await kept.get(("a", 1), lambda _: go_on.wait(), "The groups")
        assert (caught.value.status, caught.value.headers) == (202, {"Retry-After": "1"})
        assert kept.busy("a")
        assert kept.latest("a") is None
        go_on.set()
        while kept.busy("a"):
            await asyncio.sleep(0.01)
        return await kept.get(("a", 1), lambda _: "never called", "the groups")

    assert asyncio.run(impatient()) is True


def test_what_failed_is_tried_again():
    def fail(_):
        raise StoreError("no disk")

    async def again():
        kept = Kept()
        with pytest.raises(StoreError, match="no disk"):
            await kept.get(("a", 1), fail, "it")
        return await kept.get(("a", 1), lambda _: 3, "it")

    assert asyncio.run(again()) == 3


def test_what_nobody_can_wait_for_any_more_is_not_begun():
    go_on, begun = threading.Event(), []

    async def many():
        kept = Kept(patience=5)
        for number in range(AT_ONCE):
            kept.start(("busy", number), lambda _: go_on.wait())
        old = [kept.start(("old", each), lambda _: begun.append(1)) for each in range(3)]
        new = [kept.start(("new", each), lambda _: 1) for each in range(MOST)]
        go_on.set()
        assert [each.result(5) for each in new] == [1] * MOST
        while not all(each.done() for each in old):
            await asyncio.sleep(0.01)
        return [each.cancelled() for each in old]

    assert asyncio.run(many()) == [True] * 3
    assert begun == []


def test_how_far_it_is_and_that_nobody_waits_at_the_end():
    held, go = Kept(patience=30), threading.Event()

    def make(tell):
        tell(Progress("compare", 25, 100, "pairs"))
        go.wait(10)
        return "made"

    async def ask():
        waiting = asyncio.ensure_future(held.get("key", make, "The groups"))
        await asyncio.sleep(0.01)
        held.stopping = True
        with pytest.raises(Computing, match="compare 25 of 100 pairs") as caught:
            await waiting
        assert caught.value.content["share"] == 0.25
        go.set()
        held.stopping = False
        return await held.get("key", make, "The groups")

    assert asyncio.run(ask()) == "made"
