"""A real server in a thread of the tests, and a client of it."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import httpx

from twinset.server.opening import open_service
from twinset.server.running import in_background


@contextmanager
def running(folder, **settings):
    """A server of the run and the index of a folder, and a client of it."""
    index = folder / "photos.index" if settings.pop("index", True) else None
    service = open_service(folder / "run", index, **settings)
    with in_background(service) as url, httpx.Client(base_url=url, timeout=20) as http:
        yield SimpleNamespace(url=url, http=http, service=service, home=folder)
