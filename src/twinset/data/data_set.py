"""A data set by its place: listed, decoded, and in the parts that its publisher gave it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from twinset.data.cache import decode_all
from twinset.data.choose import Looked, choose_preprocessing
from twinset.data.decoding.decode import Preprocessing
from twinset.data.image_sources import Remark
from twinset.data.labelled import Labelled, LabelledFeatures, LabelledImages, VectorInput
from twinset.data.listing import Listing
from twinset.data.pair_listing import list_pairs
from twinset.data.pairs import Pairs
from twinset.data.sources import read_listing
from twinset.errors import DataError
from twinset.progress import Wanted
from twinset.settings import Section


def load_images(
    data: str | Path | None,
    images: Section | None = None,
    *,
    preprocessing: Preprocessing | VectorInput | None = None,
    pairs: str | Path | None = None,
    progress: Wanted = False,
) -> tuple[Labelled, Labelled | None]:
    """Load a data set: its training part and test part where these are published, or all of it.

    `data` is what a source of data takes: "fashion-mnist", or the path of a folder, a table, or a
    file of vectors. The section `images` of a recipe says what the user's own images become,
    unless a model's `preprocessing` does. `pairs` is a table of judged pairs, whose images may be
    those of the data, or with None those that it names itself.

    Raises:
        DataError: no such data, nothing that can be read, or not what the model takes.
        DownloadError: no source could provide the built-in set.
    """
    listing = listing_of(data, pairs, progress=progress)
    vectors = listing.rows is not None and listing.rows.dtype != np.uint8
    if isinstance(preprocessing, VectorInput) and not vectors:
        raise DataError(
            f"{data}: expected a file of features (.npy, .npz, .parquet), {preprocessing.size} "
            "numbers for each image, since this model was trained on such. Received images."
        )
    how = {} if images is None else images.model_dump()
    asked = None if isinstance(preprocessing, VectorInput) else preprocessing
    found = loaded(listing, how, asked, progress=progress)
    if isinstance(found, LabelledFeatures):
        _check_kind(data, found, preprocessing)
    if not listing.published:
        return found, None
    # the field's own split, which others compare with: it is neither drawn nor checked here
    return _published(found, "train"), _published(found, "test")


def listing_of(
    data: str | Path | None,
    pairs: str | Path | None = None,
    *,
    progress: Wanted = False,
    **asked: Any,
) -> Listing:
    """List the images of a data set, of judged pairs, or of both."""
    if pairs is not None:
        return list_pairs(pairs, data, progress=progress, **asked)
    if data is None:
        raise DataError(
            "Expected a data set (a folder, a table, or a name such as fashion-mnist), or judged "
            "pairs. Received neither: name one, or give --pairs TABLE."
        )
    return read_listing(data, progress=progress, **asked)


def _published(images: Labelled, part: str) -> Labelled:
    chosen: Any = images.subset(np.flatnonzero(images.parts == part), f"{images.name}/{part}")
    found: Labelled = replace(chosen, parts=None)
    return found


def _check_kind(
    data: str | Path | None,
    found: LabelledFeatures,
    preprocessing: Preprocessing | VectorInput | None,
) -> None:
    if preprocessing is not None and preprocessing != found.preprocessing:
        wanted = (
            f"features of {preprocessing.size} numbers"
            if isinstance(preprocessing, VectorInput)
            else "images"
        )
        raise DataError(
            f"{data}: expected {wanted}, which this model takes. Received features of "
            f"{found.dim} numbers."
        )


def loaded(
    listing: Listing,
    how: dict[str, Any] | None = None,
    preprocessing: Preprocessing | None = None,
    *,
    cache: str | Path | None = None,
    workers: int | None = None,
    progress: Wanted = False,
) -> LabelledImages | LabelledFeatures:
    """Read what a listing names; what is in memory already is taken as it is."""
    facts: dict[str, Any] = {"class_names": listing.class_names, "name": listing.name}
    names = np.array([source.name for source in listing.sources], np.str_)
    facts["names"] = names if names.any() else None
    if listing.rows is not None:
        facts["judged"] = listing.judged
        told = {each: getattr(listing, each) for each in ("labels", "groups", "parts", "skipped")}
        if listing.rows.dtype != np.uint8:
            return LabelledFeatures(listing.rows, **facts, **told)
        told["remarks"] = listing.remarks
        return LabelledImages(listing.rows, mirrors=listing.mirrors, **facts, **told)
    looked = Looked(listing.sources)
    chosen = preprocessing or choose_preprocessing(looked, **(how or {}))
    # what a model brings has been chosen, and told, where it was trained
    remarks = () if preprocessing else looked.remarks(chosen)
    found = decode_all(
        listing.sources,
        chosen,
        folder=None if cache is None else Path(cache),
        workers=workers,
        progress=progress,
    )
    if not len(found.positions):
        first = found.skipped[0]
        raise DataError(
            f"{listing.place}: expected images that can be read. All {len(found.skipped)} failed, "
            f"the first: {first.name}: {first.reason}"
        )
    # without what only an index asks for, as copying it takes time
    kept = replace(listing, columns={}).subset(found.positions)
    images = LabelledImages(
        found.pixels,
        kept.labels,
        groups=kept.groups,
        parts=kept.parts,
        preprocessing=chosen,
        skipped=(*listing.skipped, *found.skipped),
        mirrors=listing.mirrors,
        remarks=(*listing.remarks, *remarks, *_lost_pairs(listing.judged, kept.judged)),
        judged=kept.judged,
        **(facts | {"names": names[found.positions]}),
    )
    images.__dict__["fingerprints"] = found.fingerprints  # made while decoding
    return images


def _lost_pairs(before: Pairs | None, after: Pairs | None) -> Iterator[Remark]:
    lost = len(before or ()) - len(after or ())
    if lost:
        yield Remark("note", f"Pairs left out, as an image of theirs cannot be read: {lost:,}.")
