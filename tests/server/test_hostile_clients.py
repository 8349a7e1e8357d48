"""Clients that dawdle, that speak HTTP as nobody should, or that look for what is not theirs."""

from __future__ import annotations

import logging
import re
import socket
import time
from contextlib import suppress
from urllib.parse import urlsplit

import pytest

import twinset
from hostile_uploads import picture
from serving import running
from twinset.server.opening import open_service
from twinset.server.running import in_background
from wire import answers, ask, limited, opened, post

LIVE = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
EMBED = "/api/v1/embed"
# Ways out of a folder, and names that some system gives a meaning.
PATHS = (
    "..%2f..%2f..%2fetc%2fpasswd",
    "../../../../etc/passwd",
    "%2e%2e/%2e%2e/etc/passwd",
    "..%5c..%5cwindows%5cwin.ini",
    "..%252f..%252fetc%252fpasswd",
    "%c0%ae%c0%ae/etc/passwd",
    "....//....//etc/passwd",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "file:///etc/passwd",
    "C:%5cwindows%5cwin.ini",
    "%00",
    "items%2f00%00.png",
    "CON",
    "NUL.png",
    "aux",
    "%5c%5cserver%5cshare",
    "~root",
    "a" * 5000,
    "%ff%fe",
    "%e2%80%ae",
    ".git/config",
    "model.json",
    "__init__.py",
    "index.html/..%2f..%2fapp.py",
)
PLACES = (
    "/",
    "/vendor/",
    "/views/",
    "/api/v1/items/",
    "/api/v1/thumbnails/",
    "/api/v1/images/",
    "/api/v1/points/",
    "/api/v1/report/",
)
TELLING = re.compile(
    rb"root:|Traceback|/usr/|/root|/home/|site-packages|Linux|Windows|uvicorn|Python"
)


def get(path, *headers, host="127.0.0.1"):
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


@pytest.mark.parametrize("place", PLACES)
def test_no_path_leads_to_the_host(server, place):
    for path in PATHS:
        got = ask(server.url, get(place + path))
        # a hang-up is for what is no HTTP; pages of the views may answer under their own names
        if got is not None:
            assert got.status in {400, 404, 405, 414, 422, 431}, (path, got.status)
            assert not TELLING.search(got.body.replace(path.encode(), b"")), (path, got.body)


def test_a_link_gives_nothing_but_pictures(own, tmp_path):
    item = own / "photos" / "00.png"
    item.unlink()
    (tmp_path / "note.txt").write_text("a secret")
    with running(own) as one:
        twinset.Index.build(one.service.model, own / "items.csv", own / "linked.index").close()
    item.symlink_to(tmp_path / "note.txt")
    with in_background(open_service(own / "run", own / "linked.index")) as url:
        for place in ("images", "thumbnails"):
            got = ask(url, get(f"/api/v1/{place}/items/00"))
            assert got.status in {404, 410, 422}
            assert b"secret" not in got.body
            assert str(tmp_path).encode() not in got.body


def test_slow_clients_are_cut_off_and_hold_up_nobody(home):
    whole = post(EMBED, picture("PNG"), "image/png")
    head, body = LIVE[:20], whole[:-40]
    with limited(home, header_seconds=0.4, body_seconds=0.4, idle_seconds=1) as url:
        ask(url, LIVE)
        slow = [opened(url) for _ in range(40)]
        for each in slow:
            each.sendall(head if each.fileno() % 2 else body)
        started = time.monotonic()
        waits = []
        while time.monotonic() - started < 0.8:
            for each in slow[:8]:  # a byte at a time does not begin the time anew
                with suppress(OSError):
                    each.sendall(b"a")
            asked = time.monotonic()
            assert ask(url, whole).status == 200
            waits.append(time.monotonic() - asked)
            time.sleep(0.05)
        found = [answers(each) for each in slow]  # until it hangs up
        assert time.monotonic() - started < 5
        assert {got[0].status for got in found if got} <= {400, 408}
        assert sorted(waits)[len(waits) // 2] < 0.3
        for each in slow:
            each.close()


def test_a_client_that_asks_on_and_on(home):
    # the answers to requests that are sent ahead are in order; but not of thousands
    with limited(home) as url:
        with opened(url) as one:
            one.sendall(LIVE * 10 + get("/api/v1/model"))
            assert [len(each.body) < 30 for each in answers(one, 11)] == [True] * 10 + [False]
        with opened(url) as one, pytest.raises(ConnectionError, match=r"reset|abort|pipe"):
            one.sendall(LIVE * 400_000)
        assert ask(url, LIVE).status == 200


@pytest.mark.parametrize(
    "raw",
    [
        get("/health/live", "X-Long: " + "x" * 2_000_000),
        get("/health/live", *(f"X-{i}: {'y' * 100}" for i in range(5000))),
        get("/health/live?" + "q" * 2_000_000),
        get("/" + "p" * 2_000_000),
        b"GET" + b" " * 2_000_000,
        b"x" * 2_000_000,
    ],
    ids=["one header", "many headers", "query", "path", "spaces", "method"],
)
def test_heads_without_end(home, raw):
    with limited(home, header_seconds=0.5) as url:
        got = ask(url, raw)
        assert got is None or got.status in {400, 408, 414, 431}
        assert ask(url, LIVE).status == 200


SMUGGLED = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        f"Content-Length: 5\r\nContent-Length: {5 + len(SMUGGLED)}",
        f"Content-Length: {5 + len(SMUGGLED)}\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\nContent-Length: 5",
        "Transfer-Encoding: xchunked\r\nContent-Length: 5",
        "Content-Length: +5",
        "Content-Length: 5, 5",
        "Content-Length: 0x5",
        "Content-Length: -1",
        "Content-Length : 5",
        "Transfer-Encoding : chunked",
        "Content-Length: 99999999999999999999999",
    ],
)
def test_no_request_hides_in_another(server, headers):
    raw = (
        f"POST {EMBED} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n{headers}\r\n\r\n"
    ).encode()
    with opened(server.url, timeout=2) as one:
        one.sendall(raw + b"0\r\n\r\n" + SMUGGLED)
        found = answers(one, most=2)
    assert len(found) >= 1, headers
    assert found[0].status in {400, 413, 422, 501}, headers
    # what follows is never taken for a request of its own
    assert len(found) == 1, [each.body for each in found]


@pytest.mark.parametrize(
    "host",
    [
        "example.com",
        "localhost.example.com",
        "127.0.0.1.nip.io",
        "localhost@example.com",
        "example.com:80",
        "",
        "a" * 500,
        "[::1",
        "localhost, example.com",
        "\xff",
    ],
)
def test_other_hosts_are_refused(server, host):
    got = ask(server.url, get("/api/v1/model", host=host))
    assert got.status in {400, 421}
    assert b"threshold" not in got.body


def test_hosts_that_are_ours(server):
    for host in ("localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000", "192.168.1.5"):
        assert ask(server.url, get("/health/live", host=host)).status == 200


def test_a_host_that_is_told_twice(server):
    got = ask(server.url, get("/api/v1/model", "Host: example.com"))
    assert got.status in {400, 421}


OTHERS = (
    "",
    "Bearer",
    "Bearer ",
    "Bearer wrong",
    "Basic {}",
    "{}",
    "Bearer {}x",
    "Bearer \xe9",
    "Bearer x{}",
)


def test_other_tokens_are_refused(writable):
    token = writable.service.token
    for given in OTHERS:
        header = f"Authorization: {given.format(token)}"
        for method, path in (
            ("DELETE", "/api/v1/items/items/00"),
            ("POST", "/api/v1/items"),
            ("POST", "/api/v1/decisions"),
            ("POST", "/api/v1/decisions/undo"),
            ("POST", "/api/v1/points"),
            ("DELETE", "/api/v1/points/strict"),
        ):
            raw = get(path, header, "Content-Length: 2", "Content-Type: application/json") + b"[]"
            got = ask(writable.url, raw.replace(b"GET", method.encode(), 1))
            assert got.status == 401
            assert token.encode() not in got.body
    assert writable.http.get("/api/v1/items/items/00").status_code == 200
    assert writable.http.get("/api/v1/decisions").json()["total"] == 0


def test_answers_and_log_are_discreet(server, caplog):
    caplog.set_level(logging.INFO)  # below it Pillow names the parts of a file
    caplog.set_level(logging.DEBUG, "twinset.server")
    caplog.set_level(logging.DEBUG, "uvicorn.error")
    secret = picture("PNG", 5)
    for raw in (
        post(EMBED, secret, "image/png", "Authorization: Bearer my-own-token"),
        post(EMBED, secret[:60], "image/png"),
        get("/nothing/here?who=anna"),
        get(f"/{EMBED}"),
        b"POST /api/v1/compare HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n",
    ):
        got = ask(server.url, raw)
        assert not TELLING.search(got.body)
        assert "server" not in got.headers
        assert got.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in got.headers["content-security-policy"]
    assert "PNG" not in caplog.text
    assert "IHDR" not in caplog.text
    assert "my-own-token" not in caplog.text


def answered(url):
    """How many requests for files were answered, or are in the hands of the system."""
    told = ask(url, get("/metrics")).body.decode()
    found = re.search(
        r'^twinset_requests_total{route="other",status="200"} (\S+)', told, re.MULTILINE
    )
    return float(found[1]) if found else 0


@pytest.mark.parametrize(("seconds", "cut"), [(0.2, True), (20, False)])
def test_who_does_not_read_is_cut_off_after_a_while(home, seconds, cut):
    with limited(home, body_seconds=seconds) as url:
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.settimeout(10)
            deaf.connect((urlsplit(url).hostname, urlsplit(url).port))
            sent, held = 0, False
            while not held:  # until the system keeps no more for it
                assert sent < 400, "the answers went nowhere"
                deaf.sendall(get("/fonts/newsreader.woff2") * 24)
                sent += 24
                end = time.monotonic() + 1
                while answered(url) < sent and not (held := time.monotonic() > end):
                    time.sleep(0.02)
            found = answers(deaf, sent)
        assert ask(url, LIVE).status == 200
    assert (len(found) < sent) is cut
