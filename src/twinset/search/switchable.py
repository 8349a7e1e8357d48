"""What a store does that can be switched to another model; others say that they cannot."""

from __future__ import annotations

from twinset.errors import StoreError


class Switchable:
    """The part of `Store` that is about the next model and the one before.

    What is beside is a store like this one, which others make and fill.
    """

    def beside(self) -> str:
        """Return the URL at which the items of the next model are gathered."""
        raise StoreError(
            f"{type(self).__name__} cannot be switched to another model in one step. Make a second "
            "index with `twinset index`, and let your program name that one."
        )

    def switch(self, version: str) -> bool:
        """Take what is in the place beside for one's own, at one moment for all readers.

        What was here is kept for `roll_back`, and what was kept before is let go. Records stay.
        Others who have the store open are told that it was replaced. False, and nothing done,
        where the items have changed since the version from which those beside were made.
        """
        raise NotImplementedError

    def roll_back(self) -> None:
        """Exchange the items, at one moment, for those that the last switch replaced."""
        self.beside()  # tells why there are none
        raise NotImplementedError


def none_before(place: object) -> StoreError:
    """Make the error for an index that has no model to go back to."""
    return StoreError(f"{place} has no model before: it was not switched, or was made anew.")
