"""The browser, for every page that the stage writes."""

from browsing import browser

__all__ = ["browser"]
