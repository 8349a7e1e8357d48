"""Fashion-MNIST, the built-in data set: 70,000 pictures of clothing in ten classes."""

from __future__ import annotations

import hashlib
import os
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from twinset.cache_folder import cache_folder, tag
from twinset.data.image_sources import HeldSource
from twinset.data.labelled import LabelledImages
from twinset.data.listing import Listing
from twinset.data.sources import Asked, Source
from twinset.errors import DownloadError
from twinset.progress import Progress, Report, Wanted, reporting

NAME = "fashion-mnist"
CLASS_NAMES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)


class File(NamedTuple):
    """One of the four files: the sums of what mirrors have, and of what that holds.

    Debian compresses anew, so its copy is known by what it holds.
    """

    name: str
    md5: str
    sha256: str


# Small files first: a full disk or a dead mirror shows after 5 kB, not after 26 MB.
FILES = (
    File(
        "t10k-labels-idx1-ubyte",
        "bb300cfdad3c16e7a12a480ee83cd310",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
    File(
        "train-labels-idx1-ubyte",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    File(
        "t10k-images-idx3-ubyte",
        "bef4ecab320f06d8554ea6380940ec79",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    File(
        "train-images-idx3-ubyte",
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
)
MIRRORS = (
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    # no TLS there, which is fine: what comes is believed for its sum, not for its origin
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
)
# where Debian's package dataset-fashion-mnist puts them
SYSTEM = Path("/usr/share/datasets/fashion-mnist")
# to connect, and without a byte: quick to give up where there is no way
TIMEOUT = (4.0, 10.0)
LARGEST = 50_000_000  # bytes that a file may hold; no gzip bomb inflates further
WAYS_OUT = (
    "Set TWINSET_DATA to a folder with the four files "
    "{train,t10k}-{images-idx3,labels-idx1}-ubyte.gz, "
    "or run `apt-get install dataset-fashion-mnist`, "
    "or mend the network or the disk (XDG_CACHE_HOME moves the cache) and try again."
)


def load_fashion_mnist(*, progress: Wanted = True) -> tuple[LabelledImages, LabelledImages]:
    """Load Fashion-MNIST, from this machine where it is there, else from the network.

    Each of the four files comes from the first of these that has it, whole by its checksum:

    1. the folder `$TWINSET_DATA`, or `fashion-mnist` in it; gzip files or plain ones;
    2. the cache, `twinset/fashion-mnist` in the user's cache folder;
    3. the Debian package `dataset-fashion-mnist`, where it is installed;
    4. two public mirrors, into the cache.

    Args:
        progress: while fetching, True for a bar on stderr, False for nothing, or a function that
            is told. Defaults to True.

    Returns:
        The training part, 60,000 images of shape (28, 28), and the test part, 10,000. Each has
        the same number of images of every class.

    Raises:
        DownloadError: a wrong file in `$TWINSET_DATA`, a cache that cannot be written, or nothing
            that works; the message lists what was tried and the ways out.

    Reference:
        Xiao, Rasul and Vollgraf (2017), Fashion-MNIST: a novel image dataset for benchmarking
        machine learning algorithms, https://arxiv.org/abs/1708.07747

    Example:
        >>> train, test = load_fashion_mnist(progress=False)
        >>> train.images.shape, len(test), test.class_names[:2]
        ((60000, 28, 28), 10000, ('T-shirt/top', 'Trouser'))
    """
    pixels, labels, train = _read(progress)
    first, second = (
        LabelledImages(pixels[rows], labels[rows], CLASS_NAMES, f"{NAME}/{part}", mirrors=True)
        for part, rows in (("train", slice(train)), ("test", slice(train, None)))
    )
    return first, second


def _listed(place: str, asked: Asked) -> Listing:
    asked.refuse(place, NAME, "classes", "image", "label", "group", "split")
    pixels, labels, train = _read(asked.progress)
    count = len(labels)
    return Listing(
        [HeldSource(pixels, row) for row in range(count)],
        NAME,
        labels,
        CLASS_NAMES,
        parts=np.repeat(["train", "test"], [train, count - train]),
        place=NAME,
        rows=pixels,
        mirrors=True,
        published=True,
    )


def _read(progress: Wanted) -> tuple[NDArray[np.uint8], NDArray[np.int64], int]:
    """Read pixels, labels, and how many of them are the training part."""
    tried: list[str] = []
    found = {file.name: _on_this_machine(file, tried) for file in FILES}
    if missing := [file for file in FILES if found[file.name] is None]:
        with reporting(progress) as tell:
            found |= {file.name: _fetched(file, tried, tell) for file in missing}
    arrays: dict[str, Any] = {name: _array(data) for name, data in found.items() if data}
    del found  # 55 MB that are in the arrays now
    labels = [arrays[f"{part}-labels-idx1-ubyte"] for part in ("train", "t10k")]
    images = [arrays[f"{part}-images-idx3-ubyte"] for part in ("train", "t10k")]
    return np.concatenate(images), np.concatenate(labels).astype(np.int64), len(labels[0])


def _on_this_machine(file: File, tried: list[str]) -> bytes | None:
    own = os.environ.get("TWINSET_DATA")
    # `fashion-mnist` first: plain MNIST, beside it, has files of the same names
    folder = Path(os.path.expanduser(own)) if own else None  # noqa: PTH111 - never raises
    mine = [] if folder is None else [folder / NAME, folder]
    for place in (*mine, cache_folder(NAME), SYSTEM):
        for path in (place / f"{file.name}.gz", place / file.name):
            if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises where forbidden
                continue
            try:
                return _content(file, path)
            except (OSError, zlib.error, ValueError) as error:
                tried.append(f"{path}: {error}")
                if place in mine:
                    raise DownloadError(
                        f"Expected {path}, which TWINSET_DATA points to, to be a file of "
                        f"Fashion-MNIST. Received {error}. {WAYS_OUT}"
                    ) from error
    return None


def _content(file: File, path: Path) -> bytes:
    data = path.read_bytes()
    if data.startswith(b"\x1f\x8b"):
        # at once: `gzip` reads 8 KiB at a time, for twice the time
        data = zlib.decompressobj(wbits=31).decompress(data, LARGEST)
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise ValueError(f"{len(data):,} bytes of another SHA-256: another file, or damaged")
    return data


def _fetched(file: File, tried: list[str], tell: Report) -> bytes:
    # here, as most runs find the files on this machine
    import pooch  # type: ignore[import-untyped]
    from requests import RequestException

    cache = cache_folder(NAME)
    pooch.get_logger().setLevel("WARNING")
    bar = _Bar(file.name, tell)
    # else a server may unpack on the way, and the sum would be another
    plain = {"Accept-Encoding": "identity"}
    for mirror in MIRRORS:
        source = pooch.create(
            cache, mirror, registry={f"{file.name}.gz": f"md5:{file.md5}"}, retry_if_failed=1
        )
        download = pooch.HTTPDownloader(progressbar=bar, timeout=TIMEOUT, headers=plain)
        try:
            tag(cache)  # first: a cache that cannot be written shows before 31 MB have come
            path = Path(source.fetch(f"{file.name}.gz", downloader=download))
            return _content(file, path)
        except (RequestException, ValueError) as error:
            tried.append(f"{mirror}{file.name}.gz: {' '.join(str(error).split())}")
        except OSError as error:
            # what cannot be kept would be fetched again by each run
            raise DownloadError(
                f"Expected to write to {cache}. Received: {error.strerror or error}. {WAYS_OUT}"
            ) from error
    told = "\n".join(f"  {line}" for line in tried)
    raise DownloadError(
        f"Expected Fashion-MNIST on this machine or a mirror. Received:\n{told}\n{WAYS_OUT}"
    )


class _Bar:
    # What pooch tells its progress to.
    def __init__(self, name: str, tell: Report) -> None:
        self.name, self.tell, self.total, self.done = name, tell, 0, 0

    def update(self, size: int) -> None:
        self.done += size
        done = min(self.done, self.total)  # pooch counts whole chunks
        self.tell(Progress(f"download {self.name}", done, self.total or None, "bytes"))

    def reset(self) -> None:
        self.done = 0

    def close(self) -> None:
        pass


def _array(data: bytes) -> NDArray[np.uint8]:
    """Read the IDX format: two zeros, the type (8: uint8), the rank, the sizes, the values."""
    rank = data[3]
    shape = np.frombuffer(data, dtype=">i4", count=rank, offset=4)
    return np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * rank).reshape(shape)


SOURCE = Source(NAME, lambda place: place == NAME, _listed, is_path=False)
