import socket
import time

import pytest

from twinset.data.sources import download
from twinset.data.sources.download import fetch, progress_bar
from twinset.errors import DownloadError

BODY = bytes(range(256)) * 4000


@pytest.fixture
def get(mirror):
    mirror.files["file.gz"] = BODY

    def get(name="file.gz", limit=1_024_000, fault=None):
        mirror.faults[name] = fault
        with progress_bar(False) as bar:
            return fetch(mirror.url + name, limit, bar)

    return get


def test_a_good_mirror(get, mirror):
    assert get() == BODY
    assert mirror.requests == ["file.gz"]


@pytest.mark.parametrize("fault", ["500", "404"])
def test_an_http_error_is_told_and_not_repeated(get, mirror, fault):
    if fault == "404":
        mirror.files.clear()
    with pytest.raises(DownloadError, match=f"HTTP {fault} (Not Found|Internal Server Error)"):
        get(fault=fault if fault == "500" else None)
    assert len(mirror.requests) == 1


@pytest.mark.parametrize("cuts", [1, 2])
def test_a_cut_connection_is_tried_again(get, mirror, cuts):
    mirror.cuts = cuts
    assert get(fault="cut") == BODY
    assert len(mirror.requests) == cuts + 1


def test_a_connection_that_is_always_cut(get, mirror):
    with pytest.raises(DownloadError, match=r"cut after 512000 of 1024000 bytes, each time"):
        get(fault="cut")
    assert len(mirror.requests) == 3


def test_a_cut_chunked_body(get, mirror):
    with pytest.raises(DownloadError, match=r"cut after \d+ bytes, each time \(IncompleteRead"):
        get(fault="chunked")
    assert len(mirror.requests) == 3


@pytest.mark.parametrize(("fault", "count"), [("stall", 512000), ("silent", 0)])
def test_a_stall_times_out(get, mirror, fault, count):
    start = time.monotonic()
    with pytest.raises(DownloadError, match=rf"stalled: nothing for 0.3 s after {count} bytes"):
        get(fault=fault)
    assert time.monotonic() - start < 5
    assert len(mirror.requests) == 1


def test_an_endless_file_is_not_read_to_its_end(get):
    with pytest.raises(DownloadError, match="more than 1000 bytes"):
        get(limit=1000)


def test_nobody_listens():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/file"
        with progress_bar(False) as bar, pytest.raises(DownloadError, match="Connection refused"):
            fetch(url, 10, bar)


def test_an_unknown_host(monkeypatch):
    def unknown(*args, **kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with progress_bar(False) as bar, pytest.raises(DownloadError, match=r"^Name or service not"):
        fetch("https://host.invalid/file", 10, bar)


def test_twenty_dead_addresses_cost_one_timeout(mirror, monkeypatch):
    address = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 1))
    waits = []

    def drop(address, timeout):
        waits.append(timeout)
        time.sleep(timeout)
        raise TimeoutError("timed out")

    monkeypatch.setattr(download, "_CONNECT_SECONDS", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: 20 * [address])
    monkeypatch.setattr(socket, "create_connection", drop)
    with progress_bar(False) as bar, pytest.raises(DownloadError, match=r"^timed out$"):
        fetch("https://host.invalid/file", 10, bar)
    assert len(waits) >= 2, "the second address must get its chance"
    assert sum(waits) <= 0.2


def test_with_a_proxy_the_host_itself_is_not_knocked_at(mirror, monkeypatch):
    mirror.files["http://host.invalid/file"] = b"data"
    monkeypatch.setenv("http_proxy", mirror.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with progress_bar(False) as bar:
        assert fetch("http://host.invalid/file", 10, bar) == b"data"


@pytest.mark.parametrize(("show", "shown"), [(True, True), (False, False), (None, False)])
def test_the_bar_goes_to_standard_error_if_wanted(mirror, capsys, show, shown):
    mirror.files["file.gz"] = BODY
    with progress_bar(show) as bar:
        fetch(f"{mirror.url}file.gz", len(BODY), bar)
    streams = capsys.readouterr()
    assert streams.out == ""
    assert ("file.gz" in streams.err and "1.0/1.0 MB" in streams.err) == shown
