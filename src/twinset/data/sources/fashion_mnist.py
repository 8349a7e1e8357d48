"""Fashion-MNIST, the built-in data set: 70,000 pictures of clothing in ten classes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from twinset.data.labelled import LabelledImages
from twinset.data.sources.download import Content, fetch, is_gzip, progress_bar, read_package
from twinset.errors import DownloadError
from twinset.files import cache_folder, tag, write_bytes

if TYPE_CHECKING:
    from rich.progress import Progress

_CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

# Small files first: a full disk or a dead mirror shows after 5 kB, not after 26 MB.
# The authors publish MD5 sums of the compressed files: those are met once the original gzip
# headers (name and date) are put before the streams of Debian's package. The sums below are of
# what these very streams hold, so they say as much and do not depend on the compression.
_FILES = (
    Content(
        "t10k-labels-idx1-ubyte",
        10_008,
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
    Content(
        "train-labels-idx1-ubyte",
        60_008,
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    Content(
        "t10k-images-idx3-ubyte",
        7_840_016,
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    Content(
        "train-images-idx3-ubyte",
        47_040_016,
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
)

_FOLDER = "fashion-mnist"
_PACKAGE = "dataset-fashion-mnist"
_PACKAGE_FOLDER = "usr/share/datasets/fashion-mnist"
_SYSTEM = Path("/") / _PACKAGE_FOLDER
_MIRRORS = (
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    # no TLS there, which is fine: what comes is believed for its SHA-256, not for its origin
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
)
_WAYS_OUT = (
    "Set TWINSET_DATA to a folder with the four files "
    "{train,t10k}-{images-idx3,labels-idx1}-ubyte.gz, "
    f"or run `apt-get install {_PACKAGE}`, "
    "or mend the network or the disk (XDG_CACHE_HOME moves the cache) and try again."
)


def load_fashion_mnist(*, progress: bool | None = None) -> tuple[LabelledImages, LabelledImages]:
    """Load Fashion-MNIST, from this machine where it is there, else from the network.

    Each of the four files comes from the first of these sources that has it, and its SHA-256 is
    checked each time, so that every source gives the same pixels:

    1. the folder `$TWINSET_DATA`, or `fashion-mnist` in it; gzip files or plain ones;
    2. the cache, `$XDG_CACHE_HOME/twinset/fashion-mnist`, by default below `~/.cache`;
    3. the Debian package `dataset-fashion-mnist`, where it is installed;
    4. two public mirrors, into the cache;
    5. the same Debian package through `apt-get`, into the cache, without root.

    A wrong file in `$TWINSET_DATA` is an error; one in the cache is replaced. What has been
    fetched and cannot be cached is an error too: else each run would fetch it again.

    Args:
        progress: whether to show a progress bar while fetching. Defaults to None: only in a
            terminal or a notebook.

    Returns:
        The training part, 60,000 images of shape (28, 28), and the test part, 10,000. Each has
        the same number of images of every class.

    Raises:
        DownloadError: a wrong file in `$TWINSET_DATA`, a cache that cannot be written, or no
            source that works; the message lists what was tried and the ways out.

    Reference:
        Xiao, Rasul and Vollgraf (2017), Fashion-MNIST: a novel image dataset for benchmarking
        machine learning algorithms, https://arxiv.org/abs/1708.07747
    """
    search = _Search()
    search.look()
    if search.missing:
        search.obtain(progress)
    if search.missing:
        tried = "\n".join(f"  {line}" for line in search.tried)
        raise DownloadError(
            f"Expected Fashion-MNIST from one of these sources. Received:\n{tried}\n{_WAYS_OUT}"
        )
    return _part("train", "train", search.found), _part("t10k", "test", search.found)


class _Search:
    """Goes from source to source until each file is found, and notes what went wrong."""

    def __init__(self) -> None:
        self.found: dict[str, bytes] = {}
        self.tried: list[str] = []
        self.cache = cache_folder(_FOLDER)

    @property
    def missing(self) -> list[Content]:
        return [content for content in _FILES if content.name not in self.found]

    def look(self) -> None:
        """Look on this machine."""
        if own := os.environ.get("TWINSET_DATA"):
            folder = Path(_expand(own))
            # `fashion-mnist` first: plain MNIST, beside it, has files of the same names
            self._read("TWINSET_DATA", folder / _FOLDER, folder, strict=True)
        else:
            self.tried.append("TWINSET_DATA is not set")
        self._read("cache", self.cache)
        self._read("Debian package", _SYSTEM)

    def obtain(self, progress: bool | None) -> None:
        """Fetch into the cache what is still missing."""
        # first, so that a cache that cannot be written shows before 31 MB have been fetched
        try:
            tag(self.cache)
        except OSError as error:
            raise _unwritten(self.cache, error) from error
        with progress_bar(progress) as bar:
            for mirror in _MIRRORS:
                self._download(mirror, bar)
            if self.missing:
                self._install(bar)

    def _read(self, source: str, *folders: Path, strict: bool = False) -> None:
        absent = []
        for content in self.missing:
            paths = list(_present(content.name, folders))
            if not paths:
                absent.append(f"{content.name}.gz")
            for path in paths:
                try:
                    self.found[content.name] = content.read(path)
                    break
                except DownloadError as error:
                    if strict:
                        raise DownloadError(
                            f"Expected {path}, which TWINSET_DATA points to, to be a file of "
                            f"Fashion-MNIST. Received {error}. {_WAYS_OUT}"
                        ) from error
                    self.tried.append(f"{path}: {error}")
        if absent:
            names = "none of the files" if len(absent) == len(_FILES) else f"no {', '.join(absent)}"
            self.tried.append(f"{source} {folders[-1]}: {names}")

    def _download(self, mirror: str, bar: Progress) -> None:
        for content in self.missing:
            url = f"{mirror}{content.name}.gz"
            try:
                raw = fetch(url, content.limit, bar)
                data = content.unpack(raw)
            except DownloadError as error:
                self.tried.append(f"{url}: {error}")
                return
            self._keep(content, raw, data)

    def _install(self, bar: Progress) -> None:
        task = bar.add_task(f"apt-get download {_PACKAGE}", total=None)
        wanted = self.missing
        paths = [f"{_PACKAGE_FOLDER}/{content.name}.gz" for content in wanted]
        try:
            raws = read_package(_PACKAGE, paths)
            datas = [content.unpack(raw) for content, raw in zip(wanted, raws, strict=True)]
        except DownloadError as error:
            self.tried.append(f"apt-get download {_PACKAGE}: {error}")
            return
        size = sum(len(raw) for raw in raws)
        bar.update(task, total=size, completed=size)
        for content, raw, data in zip(wanted, raws, datas, strict=True):
            self._keep(content, raw, data)

    def _keep(self, content: Content, raw: bytes, data: bytes) -> None:
        # some servers decompress on the way
        self._write(f"{content.name}.gz" if is_gzip(raw) else content.name, raw)
        self.found[content.name] = data

    def _write(self, name: str, raw: bytes) -> None:
        path = self.cache / name
        try:
            write_bytes(path, raw)
        except OSError as error:
            raise _unwritten(path, error) from error


def _unwritten(path: Path, error: OSError) -> DownloadError:
    return DownloadError(
        f"Expected to write to {path}. Received: {error.strerror or error}. {_WAYS_OUT}"
    )


def _expand(path: str) -> str:
    return os.path.expanduser(path)  # noqa: PTH111 - Path.expanduser raises where no home is known


def _present(name: str, folders: tuple[Path, ...]) -> Iterator[Path]:
    for folder in folders:
        for path in (folder / f"{name}.gz", folder / name):
            if os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises in a forbidden folder
                yield path


def _part(prefix: str, name: str, contents: dict[str, bytes]) -> LabelledImages:
    return LabelledImages(
        images=_array(contents[f"{prefix}-images-idx3-ubyte"]),
        labels=_array(contents[f"{prefix}-labels-idx1-ubyte"]).astype(np.int64),
        class_names=_CLASS_NAMES,
        name=f"{_FOLDER}/{name}",
        mirrors=True,
    )


def _array(data: bytes) -> NDArray[np.uint8]:
    """Read the IDX format: two zeros, the type (8: uint8), the rank, the sizes, the values."""
    rank = data[3]
    shape = np.frombuffer(data, dtype=">i4", count=rank, offset=4)
    values = np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * rank)
    # a copy, because arrays over `bytes` cannot be written and PyTorch warns of those
    return values.reshape(shape).copy()
