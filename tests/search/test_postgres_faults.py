"""A network that is slow or cut, a server that ends in mid-write: nothing lost, nothing twice."""

import random
import signal
import socket
import threading
import time

import numpy as np
import pytest

from tcp_proxy import Proxy
from twinset.errors import StoreError
from twinset.search.store import Items, Signature, create_store, open_store

SIGNATURE = Signature("digest-of-a-model", 4)


@pytest.fixture
def proxy(postgres_server):
    def connect():
        end = socket.socket(socket.AF_UNIX)
        try:
            end.connect(str(postgres_server.folder / ".s.PGSQL.5432"))
        except OSError:
            end.close()
            raise
        return end

    made = Proxy(connect)
    yield made
    made.close()


@pytest.fixture
def direct(postgres_server, request):
    """An index, and the way to it that nobody cuts."""
    url = postgres_server.url(request.node.name)
    with create_store(url, SIGNATURE) as store:
        yield store


@pytest.fixture
def url(proxy, direct, request):
    name = request.node.name.replace("[", "%5B").replace("]", "%5D")
    return f"postgresql://owner@127.0.0.1:{proxy.port}/postgres?index={name}&timeout=20"


def batch(turn, n=50):
    vectors = np.full((n, 4), turn, np.float32)
    return Items([f"{turn}/{i}" for i in range(n)], vectors, [{"turn": turn}] * n)


def held(store):
    return [own for items in store.batches() for own in items.ids]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_commit_that_is_cut(proxy, direct, url, when):
    """Whether the server heard it decides; either way it is done once, without a word."""
    with open_store(url) as store:
        expected = []
        for write, changed in (
            (lambda: store.add(batch(0)), [*batch(0).ids]),
            (lambda: store.add(batch(0), replace=True), [*batch(0).ids]),
            (lambda: store.remove(batch(0).ids[:20]), [*batch(0).ids[20:]]),
            (lambda: store.record("notes", [{"a": 1}]), [*batch(0).ids[20:]]),
            (lambda: store.update_metadata(["0/30"], [{"b": 2}]), [*batch(0).ids[20:]]),
        ):
            setattr(proxy, when, b"COMMIT")
            write()
            expected = changed
            assert held(direct) == expected
        assert direct.records("notes") == [{"a": 1}]
        assert direct.get(["0/30"]).metadata == ({"b": 2},)
        assert proxy.cuts == 5


def test_what_is_refused_is_refused_after_a_cut(proxy, direct, url):
    direct.add(batch(0))
    with open_store(url) as store:
        proxy.budget = 300
        with pytest.raises(StoreError, match="This index has '0/0', '0/1', '0/2' and 47 more alr"):
            store.add(batch(0))
        proxy.budget = 300
        with pytest.raises(StoreError, match="Nothing to remove: this index has no 'no'"):
            store.remove(["0/1", "no"])
    assert held(direct) == [*batch(0).ids]
    assert proxy.cuts == 2


def test_cuts_anywhere(proxy, direct, url):
    rng = random.Random(0)
    with open_store(url) as store:
        for turn in range(25):
            proxy.budget = rng.randrange(1, 6000)  # a batch is some 4,000 bytes
            store.add(batch(turn))
            (hits,) = store.search(np.full((1, 4), turn), k=1, where={"turn": turn})
            assert hits[0].distance == 0
    assert held(direct) == [own for turn in range(25) for own in batch(turn).ids]
    assert proxy.cuts > 10


def test_a_slow_network(proxy, direct, url):
    with open_store(url) as store:
        proxy.delay = 0.02
        store.add(batch(0))
        assert len(store) == 50
        assert len(store.search(np.zeros((1, 4)))[0]) == 10


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["stopped", "crashed"])
def test_the_server_begins_anew_while_it_is_written_to(postgres_server, direct, how):
    acknowledged, stop, failed = [], threading.Event(), []

    def write():
        turn = 0
        while not stop.is_set():
            try:
                direct.add(batch(turn))
            except StoreError as error:
                failed.append(error)
                return
            acknowledged.append(turn)
            turn += 1

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(2):
        before = len(acknowledged)
        while len(acknowledged) < before + 5 and not failed:
            time.sleep(0.01)
        postgres_server.stop(how)
        postgres_server.start()
    stop.set()
    writer.join()
    assert not failed
    assert held(direct) == [own for turn in acknowledged for own in batch(turn).ids]


def test_a_server_that_stays_away(postgres_server, direct, url):
    with open_store(url.replace("timeout=20", "timeout=0.3")) as store:
        store.add(batch(0))
        postgres_server.stop()
        try:
            for call in (lambda: len(store), lambda: store.add(batch(1))):
                with pytest.raises(
                    StoreError, match="Cannot connect to .*Is the server running"
                ) as e:
                    call()
                assert "\n" not in str(e.value)
        finally:
            postgres_server.start()
        assert len(store) == 50
