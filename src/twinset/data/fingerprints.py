"""Fingerprints of images or vectors: equal where every pixel or number is."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIZE = 16
CHUNK = 1024


def fingerprint(pixels: NDArray[np.uint8]) -> bytes:
    """Hash the pixels of one image: BLAKE2b of 128 bits over the bytes in row order.

    The shape is not part of it; compare images of one shape only.
    """
    return hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=SIZE).digest()


def fingerprints(images: Any) -> NDArray[np.uint8]:
    """Hash every image of a set, a thousand at a time."""
    found = bytearray()
    for start in range(0, len(images), CHUNK):
        for pixels in np.ascontiguousarray(images[start : start + CHUNK]):
            found += hashlib.blake2b(pixels.data, digest_size=SIZE).digest()
    return np.frombuffer(bytes(found), np.uint8).reshape(-1, SIZE)


def as_keys(prints: NDArray[np.uint8]) -> NDArray[np.void]:
    """Make one item of each fingerprint, which numpy compares and sorts whole."""
    rows = np.ascontiguousarray(prints).reshape(-1, SIZE)
    return rows.view(f"V{SIZE}").ravel()
