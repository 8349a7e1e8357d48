"""Files behind addresses, as in object stores: found and read through fsspec, pyarrow or HTTP."""

from __future__ import annotations

import importlib.util
import os
import re
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from twinset.data.decoding.image_file import MAX_FILE_BYTES, check_length
from twinset.errors import DataError, ImageFileError, require

_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")
# Told to need an extra, where that is missing; all others would seem misspelt.
_USUAL = {"abfs", "az", "gcs", "gs", "hdfs", "http", "https", "s3"}
_CHANGES = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created")
SECONDS = 60  # without a byte
_CHUNK = 2**20
_OF_ADDRESSES = "%/:?#[]@!$&'()*+,;=~"  # signs that mean something in one


@dataclass(frozen=True)
class Arriving:
    """A file behind an address that is read once, from its beginning."""

    address: str
    mark: str  # another one if the file has changed; empty where nothing tells
    size: int | None
    content: Any
    fault: type[DataError] = DataError

    def chunks(self) -> Iterator[bytes]:
        """Give the bytes as they come, and refuse fewer than were announced."""
        got = 0
        with _told(self.address, self.fault), self.content:
            while chunk := self.content.read(_CHUNK):
                got += len(chunk)
                yield chunk
            if self.size is not None and got < self.size:
                raise self.fault(
                    f"{self.address}: expected {self.size:,} bytes. Received {got:,}, then the "
                    "connection broke off: try again."
                )


def is_address(place: object) -> bool:
    """Tell an address from the path of a file."""
    return _ADDRESS.match(str(place)) is not None


def absolute(place: str | os.PathLike[str]) -> str:
    """Make a path absolute, leaving links as they are; an address is."""
    text = os.fspath(place)
    return text if is_address(text) else os.path.abspath(text)  # noqa: PTH100 - bare text


def is_known(scheme: str) -> bool:
    """Tell whether what begins with a scheme can be read, if need be with an extra."""
    if scheme in _USUAL or importlib.util.find_spec("fsspec") is None:
        return scheme in _USUAL
    import fsspec

    return scheme in fsspec.available_protocols()


def find(address: str) -> dict[str, str]:
    """List the files behind an address, each by its own: what tells whether it has changed."""
    with _told(address):
        files, path = _files(address)
        found = files.find(path, detail=True)
        root = _spelt(files, path, address)
        below = len(path.rstrip("/"))
        return {f"{root}{name[below:]}": _mark(info) for name, info in found.items()}


def root(address: str) -> str:
    """Spell an address as `find` spells what is below it."""
    return _spelt(*_files(address), address)


def _spelt(files: Any, path: str, address: str) -> str:
    # as fsspec does, but where its paths leave out who serves them, as of hdfs:// and sftp://
    plain: str = files.unstrip_protocol(path).rstrip("/")
    given = address.rstrip("/")
    same = plain.partition("://")[2].lstrip("/") == given.partition("://")[2].lstrip("/")
    return plain if same else given


def mark(address: str) -> str:
    """Tell whether a file has changed since: if so, this is another."""
    with _told(address):
        files, path = _files(address)
        return _mark(files.info(path))


def read(address: str) -> bytes:
    """Read a file whole; safe to call from several threads."""
    with _told(address, ImageFileError):
        files, path = _files(address)
        data: bytes = files.cat_file(path)
    check_length(len(data), address)
    return data


def arriving(address: str) -> Arriving:
    """Begin to read a file: its bytes come when they are asked for."""
    with _told(address):
        files, path = _files(address)
        if isinstance(files, _Http):
            return files.arriving(path)
        info = files.info(path)
        if info["type"] != "file":
            raise DataError(f"{address}: expected a file. Received a folder.")
        return Arriving(address, _changed(info), info["size"], files.open(path, "rb"))


def opened(address: str) -> Any:
    """Open a file to be read in parts."""
    with _told(address):
        files, path = _files(address)
        return files.open(path, "rb")


def _mark(info: dict[str, Any]) -> str:
    return f"{info.get('size')}-{_changed(info)}"


def _changed(info: dict[str, Any]) -> str:
    return next((str(info[name]) for name in _CHANGES if info.get(name)), "")


@contextmanager
def _told(address: str, kind: type[DataError] = DataError) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 - each service raises classes of its own
        words = " ".join(f"{type(error).__name__}: {error}".split())
        raise kind(f"{address}: expected a file or folder that can be read. {words}") from None


def _files(address: str) -> tuple[Any, str]:
    if address.startswith(("http://", "https://")):
        return _Http(), quote(address, safe=_OF_ADDRESSES)  # as people copy it
    for package in ("fsspec", "pyarrow"):
        require(package, "remote", "addresses", DataError, address)
    import fsspec
    from fsspec.implementations.arrow import ArrowFSWrapper
    from pyarrow.fs import FileSystem

    try:
        files, path = fsspec.url_to_fs(address)
    except ImportError:  # the package of a service, of which pyarrow knows some by itself
        native, path = FileSystem.from_uri(address)
        files = ArrowFSWrapper(native)
    return files, path


class _Http:
    # What fsspec has needs aiohttp, and lists what servers may show in any form: single files
    # do without. The whole file comes at once, onto the disk and not into memory.

    def arriving(self, address: str, fault: type[DataError] = DataError) -> Arriving:
        answer = urllib.request.urlopen(address, timeout=SECONDS)
        told, size = self._info(answer), answer.headers["Content-Length"]
        return Arriving(address, _changed(told), size and int(size), answer, fault)

    def cat_file(self, address: str) -> bytes:
        data = bytearray()
        for chunk in self.arriving(address, ImageFileError).chunks():
            data += chunk
            if len(data) > MAX_FILE_BYTES:
                break
        return bytes(data)

    def info(self, address: str) -> dict[str, Any]:
        asked = urllib.request.Request(address, method="HEAD")
        with urllib.request.urlopen(asked, timeout=SECONDS) as answer:
            return self._info(answer)

    def _info(self, answer: Any) -> dict[str, Any]:
        told = answer.headers
        changed = told["ETag"] or told["Last-Modified"]
        return {"size": told["Content-Length"], "etag": changed}

    def open(self, address: str, mode: str) -> Any:
        del mode
        coming = self.arriving(address)
        file = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the table is open
        try:
            for chunk in coming.chunks():
                file.write(chunk)
        except BaseException:
            file.close()
            raise
        file.seek(0)
        return file

    def find(self, address: str, detail: bool) -> Any:
        del detail
        raise DataError(
            f"{address}: expected the address of a .parquet file or an archive, as HTTP lists no "
            "folders."
        )
