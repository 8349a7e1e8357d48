"""An archive of images (.zip, .tar, .tar.gz …): unpacked once, safely, into the cache folder."""

from __future__ import annotations

import errno
import hashlib
import json
import lzma
import os
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import unquote

from twinset.cache_folder import cache_folder, cache_limit, in_use, prune, tag, unwritten
from twinset.data.addresses import Arriving, absolute, arriving, is_address
from twinset.data.image_sources import FileSource, ImageSource, Skipped, TableSource
from twinset.data.listing import Listing
from twinset.data.names import shown
from twinset.data.sources import Asked, Source, source_for
from twinset.data.sources.folder import LITTER
from twinset.errors import DataError
from twinset.files import write_json
from twinset.progress import Progress, Wanted, reporting

_SUFFIX = re.compile(r"\.(zip|tar|tar\.(gz|bz2|xz)|tgz|tbz2|txz)$", re.IGNORECASE)
_DONE = "unpacked.json"  # what could not be unpacked; written last
# More than so many times the archive's own size, beyond what is small anyway, is no collection of
# images but a file that was made to fill disks.
RATIO, SMALL = 100, 100_000_000
_BLOCK = 512  # what an entry itself takes, however short its file
_LONGEST = 2**20  # of a name in a tar file: it is read into memory whole
_NAMING = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
_BROKEN: tuple[type[Exception], ...] = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError),
    NotImplementedError,  # compressed in a way that Python does not know
)
# Of a name that this disk cannot have, or has already.
_UNFIT = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)
_OUTSIDE = "it leads out of the archive"


class _Entry(NamedTuple):
    name: str
    size: int
    fault: str
    opened: Callable[[], Any]
    at: int  # bytes into the archive


class _Member(tarfile.TarInfo):
    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Member:
        found = super().frombuf(buf, encoding, errors)
        if found.size < 0 or found.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("an entry as no collection of images has")
        if found.type in _NAMING and found.size > _LONGEST:
            raise DataError(
                f"Expected names of at most {_LONGEST:,} bytes in an archive. Received one of "
                f"{found.size:,}: if you trust this archive, unpack it and pass the folder."
            )
        return found


def read_archive(place: str, asked: Asked) -> Listing:
    """List what a folder, or a file in it, would be that the archive was unpacked to.

    `photos.zip/train.csv` is a table in the archive. No link is followed, and nothing that an
    archive names leads out of it. What is unpacked lies in the cache folder, as long as there is
    room; an index knows the images again after the archive was moved or unpacked anew. One behind
    an address is fetched once, and anew when it has changed.
    """
    archive, inside = parted(place) or (place, Path())
    unpacked = _fetched_and_unpacked if is_address(archive) else _unpacked_here
    root, bad = unpacked(archive, asked.progress)
    target = root / inside if inside.parts else _entered(root)
    try:
        found = source_for(str(target)).read(str(target), asked)
    except DataError as error:
        told = str(error).replace(str(target), shown(place)).replace(str(root), shown(archive))
        raise DataError(told) from None
    faults = {at: _OUTSIDE for at, each in enumerate(found.sources) if _outside(each, root)}
    return replace(
        found,
        sources=[_marked(each) for each in found.sources],
        place=shown(absolute(place)),
        skipped=(*bad, *found.skipped),
        faults={**found.faults, **faults},
    )


def parted(place: str) -> tuple[str, Path] | None:
    """Part the place of an archive, if it is one, from the path in it."""
    if is_address(place):
        place, mark, asked = place.partition("?")  # as in addresses that are signed
        names = place.split("/")
        for at, name in enumerate(names[3:], 4):
            if _SUFFIX.search(name):
                return "/".join(names[:at]) + mark + asked, Path(*names[at:])
        return None
    path = Path(place)
    for each in (path, *path.parents):
        if _SUFFIX.search(each.name) and each.is_file():
            return str(each), path.relative_to(each)
    return None


def _entered(folder: Path) -> Path:
    # most archives hold one folder, which holds the classes: it is none itself
    while True:
        held = list(folder.iterdir())
        if [each.is_dir() for each in held] != [True]:
            return folder
        if not all(each.is_dir() for each in held[0].iterdir()):
            return folder
        folder = held[0]


def _outside(source: ImageSource, root: Path) -> bool:
    path = getattr(source, "path", None)
    # a table in an archive may name any file of this machine
    return path is not None and not _below(path, root)


def _below(path: str | os.PathLike[str], root: Path) -> bool:
    return os.path.normpath(path).startswith(f"{root}{os.sep}")


def _marked(source: ImageSource) -> ImageSource:
    if not isinstance(source, FileSource | TableSource):
        return source
    try:
        status = os.stat(source.path)  # noqa: PTH116 - there may be millions
    except OSError:
        return source  # which says so when it is read
    return replace(source, mark=f"{status.st_size}-{status.st_mtime_ns}")


def _unpacked_here(archive: str, progress: Wanted) -> tuple[Path, list[Skipped]]:
    status = os.stat(archive)  # noqa: PTH116 - bare text
    told = (1, os.path.realpath(archive), status.st_size, status.st_mtime_ns, status.st_ino)
    path = Path(archive)
    return _unpacked(told, archive, path.name, lambda: nullcontext(path), progress)


def _fetched_and_unpacked(address: str, progress: Wanted) -> tuple[Path, list[Skipped]]:
    source = arriving(address)
    name = unquote(address.partition("?")[0].rpartition("/")[2])
    name = re.sub(r'[\0-\x1f<>:"/\\|?*]', "_", name)[-100:]
    with source.content:
        fetched = partial(_fetched, source, name, progress)
        if source.mark:
            return _unpacked((address, source.mark), address, name, fetched, progress)
        with fetched() as file:  # nothing but the bytes tells whether they are known
            with file.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            return _unpacked((digest,), address, name, lambda: nullcontext(file), progress)


@contextmanager
def _fetched(source: Arriving, name: str, progress: Wanted) -> Iterator[Path]:
    base, total = cache_folder("archives"), 0
    try:
        tag(base)
        draft = tempfile.TemporaryDirectory(dir=base, ignore_cleanup_errors=True)
    except OSError as error:
        raise unwritten(base, error, source.size or 0, "archives") from None
    with draft:
        file = Path(draft.name, name)
        try:
            with file.open("wb") as content, reporting(progress) as tell:
                for chunk in source.chunks():
                    total += len(chunk)
                    if total > cache_limit():
                        raise DataError(
                            f"{shown(source.address)}: expected at most {cache_limit() / 1e9:g} "
                            "GB. Received more: set TWINSET_CACHE_GB."
                        )
                    content.write(chunk)
                    tell(Progress("download", total, source.size, "bytes"))
        except OSError as error:
            raise unwritten(base, error, source.size or total, "archives") from None
        yield file


def _unpacked(
    told: tuple[object, ...],
    place: str,
    name: str,
    given: Callable[[], AbstractContextManager[Path]],
    progress: Wanted,
) -> tuple[Path, list[Skipped]]:
    """Unpack an archive, unless what it is `told` by was before."""
    base, size = cache_folder("archives"), 0
    folder = base / hashlib.sha256(repr(told).encode(errors="surrogateescape")).hexdigest()[:32]
    root = folder / "files" / (_SUFFIX.sub("", name) or "images")
    try:
        with in_use(folder):
            fresh = not (folder / _DONE).exists()
            if fresh:
                tag(base)
                shutil.rmtree(folder / "files", ignore_errors=True)
                try:
                    with given() as archive, _whole(archive, place):
                        size = archive.stat().st_size
                        root.mkdir(parents=True)
                        with reporting(progress) as tell:
                            bad = list(_unpack(archive, place, root, tell))
                        write_json(folder / _DONE, bad)
                except BaseException:  # half of it would fill the disk for nothing
                    shutil.rmtree(folder / "files", ignore_errors=True)
                    raise
            known = json.loads((folder / _DONE).read_text("utf-8"))
        if fresh:  # to measure all that is there takes long
            prune(base, keep=folder)
    except OSError as error:
        raise unwritten(base, error, size, "unpacked images") from None
    return root, [Skipped(*each) for each in known]


@contextmanager
def _whole(archive: Path, place: str) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        why = str(error).partition("\n")[0].rstrip(".:")  # tarfile lists what it tried below
        with archive.open("rb") as file:
            if file.read(_BLOCK).lstrip().startswith(b"<"):
                why = "Received a page of HTML, as a browser shows it before the file itself"
        raise DataError(
            f"{shown(place)}: expected a whole archive. {why}: fetch it anew, or "
            "unpack it and pass the folder."
        ) from None
    except OSError as error:
        if error.filename != os.fspath(archive):
            raise
        raise DataError(
            f"{shown(place)}: expected an archive that can be read. {error.strerror}."
        ) from None


def _unpack(
    archive: Path, place: str, root: Path, tell: Callable[[Progress], None]
) -> Iterator[tuple[str, str]]:
    """Write the files of an archive below a folder, and give those that it cannot have."""
    size, total = archive.stat().st_size, 0
    zipped = archive.suffix.lower() == ".zip"
    for entry in _zip_entries(archive) if zipped else _tar_entries(archive):
        total += entry.size + _BLOCK
        if total > RATIO * size + SMALL:
            raise DataError(
                f"{shown(place)}: expected at most {RATIO} times the archive's "
                f"{size / 1e6:,.1f} MB. Received more, as in archives made to fill disks: if you "
                "trust this one, unpack it and pass the folder."
            )
        tell(Progress("unpack", entry.at, size, "bytes"))
        names = [name for name in entry.name.split("/") if name not in ("", ".")]
        fault = entry.fault
        target = root.joinpath(*names)
        # on Windows a name may hold a drive, or another slash, anywhere
        if ".." in names or re.match("/|[A-Za-z]:", entry.name) or not _below(target, root):
            fault = _OUTSIDE
        elif "\0" in entry.name:
            fault = "no name for a file"
        elif any(name.startswith(".") or name.casefold() in LITTER for name in names):
            continue
        try:
            if not fault:
                _write(entry, target)
        except _BROKEN as error:
            if not zipped:  # nothing behind it can be read
                raise
            target.unlink(missing_ok=True)
            fault = f"damaged: {error}"
        except OSError as error:
            if error.errno not in _UNFIT:
                raise
            fault = f"cannot be unpacked beside the others: {error.strerror}"
        if fault:
            yield shown(entry.name), fault


def _write(entry: _Entry, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    total = 0
    with entry.opened() as source, target.open("xb") as file:
        while chunk := source.read(2**20):
            total = zlib.crc32(chunk, total)
            file.write(chunk)
    # by size and this time an index knows whether it has the image already: a sum of the bytes
    # tells more than the archive's own times do; some disks count seconds in 31 bits
    time = total & 0x7FFF_FFFF
    os.utime(target, (time, time))


def _zip_entries(archive: Path) -> Iterator[_Entry]:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            if info.is_dir():
                continue
            link = stat.S_ISLNK(info.external_attr >> 16)
            fault = "a link" if link else "it is encrypted" if info.flag_bits & 1 else ""
            name = info.filename.replace("\\", "/")
            yield _Entry(name, info.file_size, fault, partial(file.open, info), info.header_offset)


def _tar_entries(archive: Path) -> Iterator[_Entry]:
    with archive.open("rb") as raw, tarfile.open(fileobj=raw, mode="r:*", tarinfo=_Member) as file:
        while info := file.next():
            if info.size < 0:  # which a header before it may say as well
                raise tarfile.ReadError("an entry of negative size")
            file.members.clear()  # type: ignore[attr-defined]  # all would be held in memory
            if not info.isdir():
                link = info.issym() or info.islnk()
                fault = "a link" if link else "" if info.isreg() else "no regular file"
                opened = partial(file.extractfile, info)
                yield _Entry(info.name, info.size, fault, opened, raw.tell())
        # it takes half a header for the end
        _check_end(file)


def _check_end(file: tarfile.TarFile) -> None:
    content: IO[bytes] = file.fileobj  # type: ignore[assignment]  # None only when closed
    content.seek(file.offset)
    if content.read(_BLOCK).strip(b"\0"):
        raise tarfile.ReadError("the archive breaks off")


SOURCE = Source(
    "an archive of images (.zip, .tar, .tar.gz)",
    lambda place: not is_address(place) and parted(place) is not None,
    read_archive,
)
