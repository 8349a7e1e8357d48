"""`Index`: images in, neighbours out; a model and the place that holds its embeddings."""

from __future__ import annotations

import itertools
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack, overload

from numpy.typing import NDArray

from twinset.data.listing import Listing
from twinset.errors import StoreError
from twinset.progress import Wanted
from twinset.search import index_model
from twinset.search.answer import Answer, Changes, joined
from twinset.search.checked import checked_k
from twinset.search.deciding import Deciding
from twinset.search.index_changes import carry_out, embedded, plan
from twinset.search.index_model import Model
from twinset.search.index_sources import Asked, Many, One, Source, Within, embed_queries, listing_of
from twinset.search.items import Items, Signature
from twinset.search.store import Store, create_store, open_store
from twinset.search.switching import Switching
from twinset.search.where import Where

if TYPE_CHECKING:
    from twinset.models.embedder import Embedder

Url = str | os.PathLike[str]


class Index(Deciding, Switching):
    """An index of images, by the embeddings of one model: finds what is most like an image.

    Made by `build`, `create` or `open`. Smaller is closer, and a match is a distance of at most
    the model's threshold. A folder keeps a copy of the model, so it can be moved and opened
    without naming one; a database does not. Threads may share one: who asks does so side by side,
    who changes something waits for the others that do.

    Args:
        store: holds the embeddings.
        model: made them: a model, or its folder, which is loaded when needed; None for the copy
            that a folder keeps, if it does.
        url: where the store is, for messages. Defaults to "index".

    Raises:
        StoreError: another model made what the store holds.

    Example:
        >>> import tempfile, numpy as np, twinset
        >>> rows = np.array([[1, 0.1], [1, 0.2], [0.1, 1], [0.2, 1]])
        >>> points = twinset.LabelledFeatures(rows, list("aabb"), name="points")
        >>> model = twinset.fit(points, "head", head={"kind": "plain"})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Index.create(model, f"{folder}/points").close()
        ...     with Index.open(f"{folder}/points", model) as index:
        ...         done = index.add(points.subset(np.arange(3))), index.update(points)
        ...         index.remove(["points/3"])
        ...         ids, first = [own for own, known in index.items()], index.get(["points/0"])
        ...         [answer] = index.search(rows[2:3], k=2)
        >>> [one.sentence() for one in done], ids, first.vectors.shape
        (['3 added', '1 added, 3 unchanged'], ['points/0', 'points/1', 'points/2'], (1, 2))
        >>> answer[0].id, round(answer[0].distance, 4), answer[0].metadata["label"]
        ('points/2', 0.0, 'b')
    """

    def __init__(self, store: Store, model: Model | None, url: Url = "index") -> None:
        self.store = store
        self.url = os.fspath(url)
        self.changes = Changes()
        self._given = model
        self._embedder = None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._turn, self._keeping = threading.RLock(), threading.RLock()
        if model is not None and not isinstance(model, str | os.PathLike):
            _ = self.model  # another model is refused at once

    @classmethod
    def build(
        cls,
        model: Model,
        source: Source,
        url: Url | None = None,
        *,
        overwrite: bool = False,
        progress: Wanted = False,
    ) -> Index:
        """Make an index, and put everything into it.

        Nothing is made, and nothing replaced, before the first images were read.

        Args:
            model: embeds: a model, or its folder.
            source: as for `update`.
            url: where to: the path of a folder, `postgresql://…`, `milvus://…`. Defaults to a
                folder that is removed when the index is closed.
            overwrite: replace an index that is there. Defaults to False.
            progress: True for a bar, or a function that is told; see `twinset.progress`. Defaults
                to False.

        Returns:
            The index; its `changes` tell what could not be used.

        Raises:
            StoreError: there is an index already.
            DataError: nothing there, or nothing that can be used.
        """
        embedder = index_model.loaded(model)
        put = listing_of(source)
        made = plan(put, None)
        batches = embedded(put, made, embedder, progress)
        first = next(batches, None)
        index = cls._create(embedder, url, overwrite)
        every = itertools.chain([] if first is None else [first], batches)
        try:
            index.changes = carry_out(put, made, every, index.store, remove=False)
        except BaseException:
            index.close()  # nobody else has it
            raise
        return index

    @classmethod
    def create(cls, model: Model, url: Url | None = None, *, overwrite: bool = False) -> Index:
        """Make an empty index.

        Args:
            model: that will embed: a model, or its folder.
            url: as for `build`.
            overwrite: likewise.

        Raises:
            StoreError: there is an index already, or the place cannot be written to.
        """
        return cls._create(index_model.loaded(model), url, overwrite)

    @classmethod
    def _create(cls, embedder: Embedder, url: Url | None, overwrite: bool) -> Index:
        with ExitStack() as undo:
            temporary = None
            if url is None:
                temporary = tempfile.TemporaryDirectory(prefix="twinset-")
                undo.callback(temporary.cleanup)
                url = Path(temporary.name) / "index"
            place = os.fspath(url)
            signature = Signature(embedder.digest, embedder.dim)
            store = create_store(place, signature, overwrite=overwrite)
            undo.callback(store.close)
            if temporary is None:
                index_model.forget(place, {embedder.digest})
                index_model.keep(embedder, place)
            index = cls(store, embedder, place)
            index._temporary = temporary
            undo.pop_all()
        return index

    @classmethod
    def open(cls, url: Url, model: Model | None = None) -> Index:
        """Open an index that is there.

        Args:
            url: as for `build`.
            model: that made it: a model, or its folder. Defaults to the copy that a folder keeps;
                of an index without one only the `store` answers.

        Raises:
            StoreError: there is none, it is damaged, or another model made it.
        """
        place = os.fspath(url)
        store = open_store(place)
        try:
            return cls(store, model, place)
        except BaseException:
            store.close()
            raise

    @property
    def model(self) -> Embedder:
        """The model, loaded on first use.

        Raises:
            StoreError: there is none, or it is another than that which made the index.
        """
        if self._embedder is not None:
            return self._embedder
        with self._keeping:
            given = self._given
            embedder = (
                index_model.kept(self.url, self.store.signature.model)
                if given is None
                else index_model.loaded(given)
            )
            if embedder is None:
                raise StoreError(
                    f"{self.url} keeps no model. Pass the folder of the one that made it, as "
                    "`model=` or --model."
                )
            self._embedder = index_model.check(embedder, self.store.signature, self.url)
            return self._embedder

    def __len__(self) -> int:
        return len(self.store)

    def __repr__(self) -> str:
        try:
            return f"Index({self.url!r}, {len(self):,} items)"
        except StoreError:  # closed, or its server is gone: a log is no place to fail
            return f"Index({self.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of files and connections; an index without a place of its own is gone then."""
        self.store.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def add(self, source: Source, *, progress: Wanted = False) -> Changes:
        """Put in what is new.

        Args:
            source: as for `update`.
            progress: likewise.

        Raises:
            StoreError: an id is there already; nothing is added then.
            DataError: nothing there, or nothing that can be used.
        """
        put = listing_of(source)
        with self._turn:
            made = plan(put, self.store)
            if len(made.new) < len(made.stamps):
                raise StoreError(
                    f"{self.url} has {len(made.stamps) - len(made.new):,} of these {len(put):,} "
                    "ids already. `update` replaces what has changed."
                )
            return self._change(put, progress, remove_missing=False)

    def update(
        self, source: Source, *, remove_missing: bool = False, progress: Wanted = False
    ) -> Changes:
        """Bring the index up to date: put in what is new, replace by id what has changed.

        What has changed is told by a file's size, time and inode, or by pixels or embeddings in
        memory. Each batch is on disk when the next is begun: after a kill, call it again.

        Args:
            source: a folder of images, where ids are paths and labels folders; a table (.csv,
                .tsv, .parquet) with a path and any other columns, which become metadata, and `id`
                the id; a file of embeddings (.npy, .npz, .parquet); paths of image files;
                `LabelledImages`, `LabelledFeatures`; or `Items`, embeddings of this model.
            remove_missing: take out what came from this source and is there no longer. Defaults
                to False.
            progress: as for `build`.

        Returns:
            What was done, and what could not be used, with the reasons.

        Raises:
            DataError: nothing there, or nothing that can be used.
            StoreError: the index cannot be written.
        """
        return self._change(listing_of(source), progress, remove_missing=remove_missing)

    def remove(self, ids: Sequence[str]) -> None:
        """Take items out.

        Args:
            ids: of items that are there.

        Raises:
            StoreError: an id is not there; nothing is removed then.
        """
        with self._turn:
            self.store.remove(ids)

    def get(self, ids: Sequence[str]) -> Items:
        """Read items: embeddings and metadata, in the order asked for.

        Args:
            ids: of items that are there.

        Raises:
            StoreError: an id is not there.
        """
        return self.store.get(ids)

    def items(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Go through ids and metadata, in the order in which they were put in."""
        return ((own, dict(known)) for own, known in self.store.listed())

    @overload  # a text is a path here, though also a sequence of texts
    def search(  # type: ignore[overload-overlap]
        self, images: One, **asked: Unpack[Asked]
    ) -> Answer: ...

    @overload
    def search(self, images: Many, **asked: Unpack[Asked]) -> list[Answer]: ...

    @overload  # one or many, by its shape
    def search(self, images: NDArray[Any], **asked: Unpack[Asked]) -> Any: ...

    @overload
    def search(
        self, images: Many | NDArray[Any], *, together: bool, **asked: Unpack[Asked]
    ) -> Any: ...

    def search(
        self,
        images: One | Many | NDArray[Any],
        *,
        k: int | None = 10,
        within: Within = None,
        where: Where = (),
        exact: bool = False,
        point: str | None = None,
        together: bool = False,
    ) -> Answer | list[Answer]:
        """Find what is most like an image, nearest first.

        Args:
            images: one image, or many, as `Embedder.embed` takes them: (h, w, 3) is one colour
                image. Or embeddings: floats of shape (d,) for one, (n, d) for many, whatever else
                such floats may be. A model that was trained on vectors takes those in their place.
            k: at most so many; None for all that are within. Defaults to 10.
            within: the largest distance that counts: a number, or "threshold" for the model's.
                Defaults to none: the k nearest, of which the answer tells the matches.
            where: conditions on the metadata, which must all hold: "label=shoe, price<10", or
                {"label": "shoe", "price": {"<": 10}}, or a list. Defaults to none.
            exact: leave an approximate index unused, if there is one. Defaults to False.
            point: name of an operating point, whose threshold takes the place of the index's.
                Defaults to none.
            together: all images show one and the same: they are one query, and an item is as far
                as it is from the nearest of them. Defaults to False.

        Returns:
            One answer for one image or query, else a list of them. An empty one says that nothing
            is similar enough, and how far the nearest is.

        Raises:
            ImageFileError: a file cannot be read.
            StoreError: embeddings of another size, k below 1, neither k nor within.
        """
        threshold = self.threshold_at(point)
        vectors, names, single = embed_queries(self.model, images)
        limit = threshold.value if within == "threshold" else within
        k, limit = checked_k(k, limit)
        # With a k, one look tells what is within and how far the nearest is, at one moment.
        asked: dict[str, Any] = {"where": where, "exact": exact}
        found = self.store.search(vectors, k=k, within=limit if k is None else None, **asked)
        nearest = [hits[0] if hits else None for hits in found]
        lonely = [row for row, hits in enumerate(found) if k is None and not hits]
        if lonely:
            closest = self.store.search(vectors[lonely], k=1, **asked)
            for row, hits in zip(lonely, closest, strict=True):
                nearest[row] = hits[0] if hits else None
        if limit is not None:
            found = [[one for one in hits if one.distance <= limit] for hits in found]
        answers = [
            Answer(name, tuple(hits), threshold, limit, first)
            for name, hits, first in zip(names, found, nearest, strict=True)
        ]
        if together:
            return joined(answers, k)
        return answers[0] if single else answers

    def _change(self, put: Listing, progress: Wanted, *, remove_missing: bool) -> Changes:
        if remove_missing and not put.place:
            raise StoreError(
                "remove_missing needs a folder or a table. Nobody can tell what is missing from a "
                "list."
            )
        with self._turn:
            made = plan(put, self.store)
            batches = embedded(put, made, self.model, progress)
            self.changes = carry_out(put, made, batches, self.store, remove=remove_missing)
            self._identities_after(self.changes)
            return self.changes
