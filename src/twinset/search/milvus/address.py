"""How a Milvus server, or a file of Milvus Lite, is reached."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from twinset.errors import StoreError, require
from twinset.search.layout import FLOAT32, INT8, Layout, taken_from, timeout_from
from twinset.search.store import missing

FORM = "milvus://host:19530?index=NAME or milvus:///path/of/file.db?index=NAME"
# Seconds until a server, or another writer of the index, counts as gone.
PATIENCE = 30.0
# How embeddings may be held in memory. Milvus' own type float16 is not among them: a server of 2.3
# takes it, and then finds none of the true neighbours.
LAYOUTS = FLOAT32, INT8
_WHOLE = "What was being written is there whole or not at all."

# How many stores of this process have a file open: the last one lets go of it.
_files: Counter[str] = Counter()
_lock = threading.Lock()
# What is said of a server that starts: by itself, whose codes differ by version, or by the client.
_STARTING = re.compile(
    "not (fully )?loaded|not (fully )?available|not ready|not healthy|no available|offline|"
    "node not match|lack of replica|channel not found|not serving|leader|Fail connecting",
    re.IGNORECASE,
)
# Behind the name of an index: what is filled for the next model, before a switch.
_NEXT = " (next)"


@dataclass(frozen=True)
class Address:
    """Where an index is."""

    server: str  # what pymilvus takes: a server's URL, or a file's path
    index: str  # the index's name
    url: str  # the whole address, never to be shown
    shown: str  # the address without its password
    consistency: str  # which state a read may see, in Milvus' terms
    layout: Layout  # how its items are to be kept, where it is made
    timeout: float = PATIENCE  # seconds that a request may take, or another writer be silent
    token: str = ""  # user and password, never to be shown; "" for none
    database: str = ""  # the server's database; "" for its default

    @property
    def local(self) -> bool:
        """Whether it is a file of Milvus Lite."""
        return "://" not in self.server

    @property
    def main(self) -> Address:
        """The index itself, if this is the one beside it."""
        return self._named(self.index.removesuffix(_NEXT))

    @property
    def beside(self) -> Address:
        """The index that the next model fills."""
        return self._named(self.main.index + _NEXT)

    @property
    def prefix(self) -> str:
        """How the names of its collections begin, those of the one beside as well."""
        return f"twinset_{self.main.index}_"

    def made_as(self, layout: Layout) -> Address:
        """The address with a layout, so that what is made there is kept alike."""
        place, _, query = self.url.partition("?")
        options = dict(parse_qsl(query)) | layout.parameters()
        return replace(self, layout=layout, url=f"{place}?{urlencode(options)}")

    def _named(self, index: str) -> Address:
        place, _, query = self.url.partition("?")
        options = dict(parse_qsl(query)) | {"index": index}
        return replace(self, index=index, url=f"{place}?{urlencode(options)}")


def address(url: str) -> Address:
    """Read the URL of an index."""
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        port = parts.port or 19530
    except ValueError as error:
        raise StoreError(f"Expected {FORM}. Received an address that is none: {error}.") from None
    name = options.pop("index", "")
    user, at, host = parts.netloc.rpartition("@")
    shown = f"milvus://{user.partition(':')[0]}{at}{host}{parts.path}?index={name}"
    # Milvus' own rule for names; and none of these can end a text in its expressions
    if not re.fullmatch(rf"[A-Za-z_][A-Za-z0-9_]{{0,99}}({re.escape(_NEXT)})?", name):
        raise StoreError(
            f"Expected {FORM}, the name of at most 100 letters, digits and underscores, not "
            f"beginning with a digit. Received {shown}."
        )
    layout = taken_from(options, LAYOUTS, shown)
    consistency = options.pop("consistency", "bounded").capitalize()
    secure = options.pop("secure", "false")
    timeout = timeout_from(options, PATIENCE, shown)
    if options or consistency not in ("Bounded", "Strong") or secure not in ("true", "false"):
        raise StoreError(
            "Expected consistency=bounded or strong, secure=true or false, timeout={seconds}, and "
            "partitions, partition_by or vectors where an index is made, beside the index of "
            f"{shown}. Received {parts.query!r}."
        )
    if not parts.hostname:
        # a drive of Windows follows the slash: milvus:///C:/photos.db
        path = re.sub(r"^/(?=[A-Za-z]:)", "", unquote(parts.path))
        if not path.endswith(".db") or parts.netloc:
            raise StoreError(f"Expected {FORM}, where .db marks a file. Received {shown}.")
        return Address(path, name, url, shown, consistency, layout)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    server = f"{'https' if secure == 'true' else 'http'}://{host}:{port}"
    known = unquote(user), parts.path.strip("/")
    return Address(server, name, url, shown, consistency, layout, timeout, *known)


class Patient:
    """A client whose requests end in time, repeated while a server starts.

    All may be repeated. What is put in has a key, and is read once however often it is there.
    """

    def __init__(self, client: Any, timeout: float) -> None:
        self._client, self._timeout = client, timeout

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if name not in ("query", "search", "insert", "delete"):
            return method

        def ask(*given: Any, **named: Any) -> Any:
            from pymilvus.exceptions import MilvusException

            until = time.monotonic() + self._timeout
            while True:
                try:
                    return method(*given, timeout=self._timeout, **named)
                except MilvusException as error:
                    if time.monotonic() > until or not _STARTING.search(str(error)):
                        raise
                time.sleep(0.2)

        return ask


def connect(place: Address, *, create: bool) -> Any:
    """Reach a server, or start Milvus Lite on a file, in this process."""
    for package in ("pymilvus", "milvus_lite")[: 1 + place.local]:  # before anything is done
        require(package, "milvus", "indexes in Milvus", StoreError, place.shown)
    from pymilvus import MilvusClient

    if not place.local:
        with told(place, "Is the server running, and are user, password and database right?"):
            client = MilvusClient(
                place.server, token=place.token, db_name=place.database, timeout=place.timeout
            )
            return Patient(client, place.timeout)
    path = Path(place.server)
    if not path.exists() and not create:
        raise missing(place.shown, f"no file {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with _lock, told(place):
        client = MilvusClient(place.server)
        _files[place.server] += 1
    return client


def disconnect(place: Address, client: Any) -> None:
    """Let go of a server; of a file, when no store of this process needs it any more."""
    with told(place):
        client.close()
        if not place.local:
            return
        from milvus_lite.server_manager import server_manager_instance

        with _lock:
            _files[place.server] -= 1
            if not _files[place.server]:
                server_manager_instance.release_server(place.server)


@contextmanager
def told(place: Address, advice: str = _WHOLE) -> Iterator[None]:
    """Turn what Milvus refuses into errors that say what to do."""
    import grpc  # type: ignore[import-untyped]
    from pymilvus.exceptions import MilvusException

    # They log each error with its traceback, which this turns into one line.
    loggers = map(logging.getLogger, ("pymilvus", "milvus_lite"))
    levels = {logger: logger.level for logger in loggers}
    for logger in levels:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    except (MilvusException, grpc.RpcError) as error:
        said = " ".join(str(getattr(error, "message", error)).split()).rstrip(".")
        if place.local and "Open local milvus failed" in said:
            raise StoreError(
                f"Milvus Lite cannot open {place.shown}. Another process has the file open, as it "
                "serves one at a time, or the file is damaged."
            ) from None
        raise StoreError(f"No answer from {place.shown}: {said}. {advice}") from None
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
