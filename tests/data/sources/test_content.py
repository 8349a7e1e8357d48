import gzip
import hashlib
import os
import tracemalloc
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinset.data.sources.download import Content, is_gzip
from twinset.errors import DownloadError

PLAIN = bytes(range(256)) * 20
CONTENT = Content("numbers", len(PLAIN), hashlib.sha256(PLAIN).hexdigest())


@pytest.mark.parametrize("raw", [PLAIN, gzip.compress(PLAIN), gzip.compress(PLAIN, 1, mtime=0)])
def test_plain_and_compressed_bytes_hold_the_same(raw):
    assert CONTENT.unpack(raw) == PLAIN


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "0 of 5120 bytes: truncated, or another file"),
        (PLAIN[:-1], "5119 of 5120 bytes: truncated, or another file"),
        (gzip.compress(PLAIN)[:-20], "truncated, or another file"),
        (PLAIN + b"\0", "more than 5120 bytes"),
        (gzip.compress(PLAIN + b"\0"), "more than 5120 bytes"),
        (PLAIN[::-1], "SHA-256 [0-9a-f]{64}, not " + CONTENT.sha256),
        (gzip.compress(PLAIN[::-1]), "SHA-256 [0-9a-f]{64}, not " + CONTENT.sha256),
        (b"\x1f\x8b<html>", "a damaged gzip stream"),
    ],
)
def test_unpack_says_what_is_wrong(raw, words):
    with pytest.raises(DownloadError, match=words):
        CONTENT.unpack(raw)


@given(st.data())
def test_damage_is_found_or_harmless(data):
    raw = bytearray(gzip.compress(PLAIN, mtime=0))
    position = data.draw(st.integers(0, len(raw) - 1))
    raw[position] ^= data.draw(st.integers(1, 255))
    with suppress(DownloadError):
        assert CONTENT.unpack(bytes(raw)) == PLAIN  # it hit the date in the header, say


def test_a_gzip_bomb_is_not_inflated():
    bomb = gzip.compress(bytes(50_000_000), 1)
    tracemalloc.start()
    try:
        with pytest.raises(DownloadError, match="more than 5120 bytes"):
            CONTENT.unpack(bomb)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_the_limit_leaves_room_for_what_gzip_cannot_shrink():
    noise = os.urandom(300_000)
    assert len(gzip.compress(noise)) > len(noise)
    assert len(gzip.compress(noise)) <= Content("noise", len(noise), "").limit
    assert is_gzip(gzip.compress(noise))
    assert not is_gzip(PLAIN)


def test_read_checks_and_does_not_read_far_past_the_size(tmp_path):
    path = tmp_path / "numbers"
    path.write_bytes(PLAIN)
    assert CONTENT.read(path) == PLAIN
    with path.open("r+b") as file:
        file.truncate(1 << 40)  # sparse: reading it whole would need a terabyte
    with pytest.raises(DownloadError, match="more than 5120 bytes"):
        CONTENT.read(path)


def test_read_gives_the_reason_of_the_system(tmp_path):
    with pytest.raises(DownloadError, match="No such file or directory"):
        CONTENT.read(tmp_path / "absent")
    with pytest.raises(DownloadError, match="Is a directory"):
        CONTENT.read(tmp_path)
