"""`Content`: what a file must hold, checked whenever it is read.

A file is known by the size and the SHA-256 of what it holds once decompressed, so that one table
serves every source: who compressed the file, and how, does not matter.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path

from twinset.errors import DownloadError

_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class Content:
    """Describes what a file holds once decompressed.

    Args:
        name: the name of the file without ".gz".
        size: the number of bytes.
        sha256: the digest of the bytes, in hexadecimal.
    """

    name: str
    size: int
    sha256: str

    @property
    def limit(self) -> int:
        """The largest file worth reading: gzip adds under 0.1% to what it cannot shrink."""
        return self.size + self.size // 1000 + 1024

    def unpack(self, raw: bytes) -> bytes:
        """Decompress the bytes of a file, unless they are plain, and check them.

        Args:
            raw: what the file holds, compressed with gzip or not.

        Returns:
            The decompressed bytes, `size` of them.

        Raises:
            DownloadError: the bytes are truncated, damaged, or those of another file.
        """
        data = _inflate(raw, self.size + 1) if is_gzip(raw) else raw
        if len(data) < self.size:
            raise DownloadError(f"{len(data)} of {self.size} bytes: truncated, or another file")
        if len(data) > self.size:
            raise DownloadError(f"more than {self.size} bytes: another file")
        digest = hashlib.sha256(data).hexdigest()
        if digest != self.sha256:
            raise DownloadError(f"SHA-256 {digest}, not {self.sha256}: another file, or damaged")
        return data

    def read(self, path: Path) -> bytes:
        """Read a file, decompress it unless it is plain, and check it.

        Args:
            path: the file.

        Returns:
            The decompressed bytes, `size` of them.

        Raises:
            DownloadError: the file cannot be read, or holds something else.
        """
        try:
            with path.open("rb") as file:
                raw = file.read(self.limit + 1)
        except OSError as error:
            raise DownloadError(error.strerror or str(error)) from error
        return self.unpack(raw)


def is_gzip(raw: bytes) -> bool:
    """Tell compressed bytes from plain ones."""
    return raw.startswith(_GZIP_MAGIC)


def _inflate(raw: bytes, most: int) -> bytes:
    try:
        # the bound stops a gzip bomb: it inflates no further than "too long" can be told
        return zlib.decompressobj(wbits=31).decompress(raw, most)
    except zlib.error as error:
        raise DownloadError(f"a damaged gzip stream ({error})") from error
