"""Bulk embedding: every image of a source into one Parquet file, a shard at a time."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from twinset.data.arrow import need_arrow
from twinset.data.cache import decode_batches
from twinset.data.image_sources import HeldSource, Skipped
from twinset.data.labelled import VectorInput
from twinset.data.listing import Listing
from twinset.data.sources import read_listing
from twinset.data.sources.vectors import embedding_writer
from twinset.errors import DataError, ModelError, StoreError
from twinset.files import naming, write_bytes
from twinset.models.embedder import Embedder
from twinset.progress import Progress, Wanted, reporting

BATCH = 1024
SHARD = 2048  # images: what a kill loses at most, and what one task of Ray does

BulkEngine: TypeAlias = Literal["local", "ray"]
Shard: TypeAlias = tuple[Path, range]  # the file of its embeddings, and its images by position


@dataclass(frozen=True, eq=False)
class Embedded:
    """Embeddings of some images of a listing, and what could not be embedded."""

    positions: NDArray[np.int64]  # of the images, (m,)
    vectors: NDArray[np.float32]  # their embeddings, (m, d)
    skipped: tuple[Skipped, ...] = ()  # what failed, with the reasons


@dataclass(frozen=True)
class Written:
    """A file of embeddings, and what became of the images."""

    path: Path
    rows: int  # one for each image that could be read
    resumed: int  # images that an earlier call had embedded or skipped
    skipped: tuple[Skipped, ...]  # what could not be read, with the reasons


def embed(listing: Listing, positions: NDArray[np.int64], model: Embedder) -> Iterator[Embedded]:
    """Embed images of a listing, a batch at a time; the next is decoded meanwhile."""
    rows: Any = listing.rows
    if rows is None:
        chosen = [listing.sources[position] for position in positions.tolist()]
        for batch in decode_batches(chosen, model.preprocessing):
            vectors = model.embed(batch.pixels)
            yield Embedded(positions[batch.positions], vectors, tuple(batch.skipped.values()))
        return
    # vectors are embeddings already, unless the model was trained on such as a file holds
    made = rows.dtype != np.uint8 and (
        listing.model == model.digest
        or not (listing.place and isinstance(model.preprocessing, VectorInput))
    )
    if made and listing.model not in ("", model.digest):
        raise StoreError(
            f"{listing.place}: expected embeddings of the model {model.digest[:12]}. Received "
            f"those of {listing.model[:12]}, and distances between the two mean nothing: make them "
            "anew with `twinset embed`, or take the model that made them."
        )
    if made and rows.shape[1] != model.dim:
        raise StoreError(
            f"Expected embeddings of size {model.dim}, as the index's model makes them. "
            f"Received {rows.shape[1]}: they come from another model."
        )
    for start in range(0, len(positions), BATCH):
        part = positions[start : start + BATCH]
        yield Embedded(part, rows[part] if made else model.embed(rows[part]))


def embed_images(
    model: str | os.PathLike[str] | Embedder,
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    columns: Mapping[str, str] | None = None,
    engine: BulkEngine = "local",
    address: str | None = None,
    overwrite: bool = False,
    shard: int = SHARD,
    progress: Wanted = False,
) -> Written:
    """Embed all images of a source into a Parquet file, on all cores or on a Ray cluster.

    The file has a row for each image that can be read, in the order of the source: `id`,
    `embedding` (d numbers, float32), and what an index keeps of an image: label, group, split,
    path, and a table's other columns. `twinset index` takes it in place of the images, and
    `load_features` trains on it. Its metadata says which model made it; an index of another
    refuses it.

    Embeddings are kept a shard at a time in a folder beside the file, which is written at the
    end in one step: what was interrupted goes on when called again, and shards in which no image
    has changed since are not embedded again. Memory: a few batches, and the names of all images.

    Args:
        model: a model, or its folder.
        source: what `twinset index` takes: a folder of images, a table (.csv, .tsv, .parquet) of
            images, the address of either, or vectors for a model that was trained on such.
        out: the file, which ends in .parquet.
        columns: of a table of images, as for `train`. Defaults to the usual names.
        engine: "local" for all cores of this machine, or "ray" for those of a cluster, whose
            machines must find images and twinset where this one does. Defaults to "local".
        address: of the Ray cluster: "auto" or HOST:PORT. Defaults to one on this machine, started
            and ended.
        overwrite: replace a file that is there. Defaults to False.
        shard: images that are kept together, 1 or more. Defaults to 2,048.
        progress: True for a bar, or a function that is told. Defaults to False.

    Raises:
        DataError: there is a file, or nothing that can be read, or another process writes.
        ModelError: there is no such model, engine, cluster or package.

    Example:
        >>> import tempfile, numpy as np, twinset
        >>> from PIL import Image
        >>> pixels = np.stack([np.full((4, 4), 85 * i, np.uint8) for i in range(4)])
        >>> data = twinset.LabelledImages(pixels, [0, 0, 1, 1], ("dark", "bright"))
        >>> model = twinset.fit(data, epochs=1, encoder={"units": [8]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for k, gray in enumerate(pixels):
        ...         Image.fromarray(gray).save(f"{folder}/{k}.png")
        ...     embed_images(model, folder, f"{folder}/vectors.parquet").rows
        4
    """
    target = Path(out)
    _check(target, engine, address, overwrite, shard)
    if not isinstance(model, Embedder):
        from twinset.models.onnx_model import load_model

        model = load_model(Path(model))
    listing = read_listing(source, labelled=False, **dict[str, Any](columns or {}))
    drafts = target.with_name(f".{target.name}.parts")
    with _alone(drafts, target):
        shards = _shards(listing, model, shard, drafts)
        left = [each for each in shards if not each[0].exists()]
        resumed = len(listing) - sum(len(positions) for _, positions in left)
        count = resumed
        with reporting(progress) as tell:

            def done(more: int) -> None:
                nonlocal count
                count += more
                tell(Progress("embed", count, len(listing), "images"))

            works = ((file, _work(listing, positions)) for file, positions in left)
            for file, found in _engine(engine, address)(model, works, done):
                write_bytes(file, _bytes(found))
        rows, skipped = _write(listing, shards, model, drafts / "whole", target)
    shutil.rmtree(drafts, ignore_errors=True)
    return Written(target, rows, resumed, (*listing.skipped, *skipped))


Works: TypeAlias = Iterable[tuple[Path, Listing]]
Done: TypeAlias = Callable[[int], None]


def _engine(
    name: BulkEngine, address: str | None
) -> Callable[[Embedder, Works, Done], Iterator[tuple[Path, Embedded]]]:
    if name == "local":
        return _locally
    from twinset.models.on_ray import on_ray  # here, as it is an extra

    return partial(on_ray, embed_shard, address=address)


def _locally(model: Embedder, works: Works, done: Done) -> Iterator[tuple[Path, Embedded]]:
    for file, work in works:
        yield file, embed_shard(model, work, done)


def embed_shard(model: Embedder, work: Listing, done: Done | None = None) -> Embedded:
    """Embed a small listing whole."""
    found = [Embedded(np.empty(0, np.int64), np.empty((0, model.dim), np.float32))]
    for each in embed(work, np.arange(len(work)), model):
        found.append(each)
        if done is not None:
            done(len(each.positions) + len(each.skipped))
    return Embedded(
        np.concatenate([each.positions for each in found]),
        np.concatenate([each.vectors for each in found]),
        tuple(bad for each in found for bad in each.skipped),
    )


def _check(target: Path, engine: str, address: str | None, overwrite: bool, shard: int) -> None:
    if target.suffix.lower() != ".parquet":
        raise DataError(f"{target}: expected the name of a .parquet file to write.")
    if target.exists() and not overwrite:
        raise DataError(
            f"{target}: expected a new file. There is one: choose another --out, or allow "
            "--overwrite."
        )
    if engine not in get_args(BulkEngine):
        raise ModelError(f"Expected an engine out of {get_args(BulkEngine)}. Received {engine!r}.")
    if address is not None and engine != "ray":
        raise ModelError("Expected the engine ray beside an address. Received the address alone.")
    if shard < 1:
        raise DataError(f"Expected 1 image or more for each shard. Received {shard}.")
    need_arrow()  # told before the first image is read


@contextmanager
def _alone(drafts: Path, target: Path) -> Iterator[None]:
    try:
        with naming(target):
            drafts.mkdir(parents=True, exist_ok=True)
        with FileLock(drafts / ".lock", timeout=0):
            yield
    except Timeout:
        raise DataError(f"{target}: another process is writing it. Wait for its end.") from None
    except OSError as error:
        raise DataError(
            f"{target}: expected room and permission to write it, and a folder beside it. "
            f"{error.strerror or error}: mend this, and the same command goes on."
        ) from error


def _shards(listing: Listing, model: Embedder, size: int, drafts: Path) -> list[Shard]:
    # Named by all that its embeddings depend on, so that what is there can be taken as it is.
    shards = []
    for start in range(0, len(listing), size):
        positions = range(start, min(start + size, len(listing)))
        sha = hashlib.sha256(model.digest.encode())
        for at in positions:
            sha.update(f"{len(listing.ids[at])}:{listing.ids[at]}".encode(errors="replace"))
            sha.update(_stamp(listing, at).encode(errors="replace"))
        shards.append((drafts / f"{sha.hexdigest()[:32]}.npz", positions))
    return shards


def _stamp(listing: Listing, position: int) -> str:
    try:
        return listing.stamp(position)
    except DataError:
        return ""  # gone since it was listed: reading it will tell why


def _work(listing: Listing, positions: range) -> Listing:
    # no more than embedding needs, as it may travel to another machine
    sources: Sequence[Any] = listing.sources[positions.start : positions.stop]
    rows = listing.rows
    if rows is not None:
        rows = np.asarray(rows[positions.start : positions.stop])
        sources = [HeldSource(rows, row) for row in range(len(rows))]
    return Listing(sources, listing.name, place=listing.place, rows=rows, model=listing.model)


def _bytes(found: Embedded) -> bytes:
    stream = io.BytesIO()
    bad = json.dumps([[each.name, each.reason] for each in found.skipped])
    np.savez(stream, positions=found.positions, vectors=found.vectors, skipped=np.array(bad))
    return stream.getvalue()


def _write(
    listing: Listing, shards: Sequence[Shard], model: Embedder, draft: Path, target: Path
) -> tuple[int, list[Skipped]]:
    """Put the shards together, in the order of the listing."""
    bad: list[Skipped] = []
    note = {"model": model.digest, "dim": model.dim}
    with embedding_writer(draft, listing, note) as write:
        rows = 0
        for file, positions in shards:
            with np.load(file, allow_pickle=False) as part:
                places = part["positions"] + positions.start
                vectors = part["vectors"]
                bad += (Skipped(*each) for each in json.loads(str(part["skipped"])))
            rows += len(places)
            if len(places):
                write(vectors, places.tolist(), [_stamp(listing, at) for at in places])
    if not rows:
        shutil.rmtree(draft.parent, ignore_errors=True)  # as all may be back the next time
        raise listing.all_failed(bad[-1], len(bad))
    draft.replace(target)
    return rows, bad
