"""Memory that training frees in each step and needs again in the next: kept, where it would go."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

# Of glibc's mallopt.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_NEVER = 2**31 - 1
# What glibc comes to by itself in a process that frees large blocks, and TensorFlow's own choice.
_USUAL_MMAP, _USUAL_TRIM = 32 * 2**20, 128 * 2**10


class FreedMemory:
    """Has the C library keep freed memory, instead of handing it back to the system.

    TensorFlow sets glibc's M_TRIM_THRESHOLD to 128 kB when its first data set begins. From then on
    each step's activations are handed back when it ends, and come again as fresh pages in the next,
    one fault for each 4 kB: half of the time of a step of the encoder `conv`. Does nothing where
    there is no glibc, or where the environment says how it is to be (MALLOC_TRIM_THRESHOLD_,
    GLIBC_TUNABLES).

    Example:
        >>> memory = FreedMemory()
        >>> with memory.kept():
        ...     memory.keep()  # once more, after TensorFlow's own setting
    """

    def __init__(self) -> None:
        told = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
        self._libc = None if told or not _has_glibc() else ctypes.CDLL(None)

    def keep(self) -> None:
        """Keep what is freed from now on."""
        self._set(_NEVER, _NEVER)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep what is freed within, and hand it back at the end."""
        self.keep()
        try:
            yield
        finally:
            self._set(_USUAL_TRIM, _USUAL_MMAP)
            if self._libc is not None:
                self._libc.malloc_trim(0)

    def _set(self, trim: int, mmap: int) -> None:
        if self._libc is not None:
            self._libc.mallopt(_TRIM_THRESHOLD, trim)
            self._libc.mallopt(_MMAP_THRESHOLD, mmap)


def _has_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, ValueError, OSError):  # Windows, macOS, musl
        return False
