"""A Milvus server that is far away, cut off or killed: nothing acknowledged is lost, none twice."""

import socket
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tcp_proxy import Proxy
from twinset.errors import StoreError
from twinset.search.store import Items, Signature, create_store, open_store

pytestmark = pytest.mark.clusters


def batch(number):
    names = [f"{number} {i}" for i in range(20)]
    return Items(names, np.full((20, 4), number), [{"batch": number}] * 20)


def whole_batches(url):
    """Name the batches that are there, having seen that each is there whole and once."""
    with open_store(f"{url}&consistency=strong") as store:
        count = -1
        while count != len(store):  # a call that was given up may still be done meanwhile
            count = len(store)
            every = [own for items in store.batches() for own in items.ids]
        assert len(every) == len(set(every)) == count
        numbers = {int(own.split()[0]) for own in every}
        assert sorted(every) == sorted(own for number in numbers for own in batch(number).ids)
        (hits,) = store.search(np.zeros((1, 4)), k=len(every) + 1)
        assert sorted(hit.id for hit in hits) == sorted(every)
        return numbers


@pytest.fixture
def proxy(milvus_server):
    proxy = Proxy(lambda: socket.create_connection(("127.0.0.1", milvus_server.port)))
    yield proxy
    proxy.close()


def test_a_network_that_delays_and_cuts(milvus_server, proxy):
    near = milvus_server.url("cut")
    create_store(near, Signature("m", 4), overwrite=True).close()
    done, failed, told = set(), set(), ""
    with open_store(f"milvus://127.0.0.1:{proxy.port}?index=cut&timeout=5") as store:
        proxy.delay = 0.005
        for number, budget in enumerate((None, 100, 700, 1500, 2500, 3500, 5000)):
            proxy.budget = budget
            try:
                store.add(batch(number))
                done.add(number)
            except StoreError as error:
                failed.add(number)
                told = str(error)
        proxy.budget = None
    assert proxy.cuts > 3
    assert 0 in done
    assert not failed or "No answer from milvus://127.0.0.1" in told
    assert done <= whole_batches(near) <= done | failed


def test_a_server_that_is_killed_and_started_again(milvus_server):
    """A call waits for it, or ends with an error; the next one goes on."""
    url = milvus_server.url("restart")
    done, failed = set(), set()

    def put(number):
        try:
            store.add(batch(number))
            done.add(number)
        except StoreError:
            failed.add(number)
        return number in done

    def restart():
        milvus_server.kill()
        milvus_server.start()

    with (
        create_store(url, Signature("m", 4), overwrite=True) as store,
        ThreadPoolExecutor(1) as pool,
    ):
        put(0)
        restarted, after, number = pool.submit(restart), 0, 1
        while after < 2 and number < 10:
            if there := restarted.done():
                restarted.result()
            after += put(number) and there
            number += 1
        assert len(failed) < 3
        assert done <= whole_batches(url) <= done | failed
