"""What one server takes: all limits with their defaults, from which the command's options come."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from twinset.errors import DataError

MIB = 2**20


def _limit(default: Any, about: str) -> Any:
    return field(default=default, metadata={"about": about})


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is taken from clients, and how much at once."""

    # What a phone takes is taken: 50 million pixels, of which a JPEG is not decoded whole.
    image_bytes: int = _limit(20 * MIB, "Bytes of one image.")
    image_pixels: int = _limit(50_000_000, "Pixels of one image, told before it is decoded.")
    request_bytes: int = _limit(64 * MIB, "Bytes of one request.")
    # Browsers send 2 KiB, proxies that sign people in some more.
    header_bytes: int = _limit(32 * 1024, "Bytes of the headers of one request.")
    # A body is in memory before it is decoded, so what many send at once is what counts.
    held_bytes: int = _limit(512 * MIB, "Bytes of all requests that are held at once.")
    requests: int = _limit(512, "Requests that are answered at once; further ones get a 503.")
    connections: int = _limit(2048, "Open connections; further ones are closed.")
    # Longer queues only make everybody wait: a client that is refused knows at once.
    queue_images: int = _limit(1024, "Images that wait for the model; further ones get a 503.")
    queue_bytes: int = _limit(256 * MIB, "Bytes of pixels that wait for the model.")
    batch: int = _limit(64, "Images that go through the model at once; 1 turns batching off.")
    seconds: float = _limit(30.0, "Seconds that an answer may take; 503 after that.")
    body_seconds: float = _limit(30.0, "Seconds in which the body of a request must arrive.")
    header_seconds: float = _limit(10.0, "Seconds in which the headers of a request must arrive.")
    idle_seconds: float = _limit(10.0, "Seconds that a connection may stay open without a request.")
    # Of what is computed for: pages and pictures do not count.
    rate: float = _limit(
        200.0, "Requests per second of one client's address; further ones get a 429."
    )

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not value > 0:
                raise DataError(f"Expected the limit {each.name} above 0. Received {value!r}.")
