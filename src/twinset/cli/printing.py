"""What commands print: answers to stdout, all else to stderr, so that a pipe gets the answers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from twinset.progress import Progress, Wanted, reporting


def say(text: str) -> None:
    """Print an answer."""
    print(text)  # noqa: T201


def note(text: str) -> None:
    """Print what is no answer."""
    print(text, file=sys.stderr)  # noqa: T201


def plural(count: int, noun: str) -> str:
    """Count things in words: "1 item", "2,000 items"."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


@contextmanager
def counting(task: str, progress: Wanted) -> Iterator[Callable[[int, int], None]]:
    """Report the progress of a library function that tells (done, total)."""
    with reporting(progress) as tell:
        yield lambda done, total: tell(Progress(task, done, total))
