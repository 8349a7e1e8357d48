"""What commands print: answers to stdout, all else to stderr, so that a pipe gets the answers."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """Print an answer."""
    print(text)  # noqa: T201


def note(text: str) -> None:
    """Print what is no answer."""
    print(text, file=sys.stderr)  # noqa: T201


def plural(count: int, noun: str) -> str:
    """Count things in words: "1 item", "2,000 items"."""
    return f"{count:,} {noun}{'s' * (count != 1)}"
