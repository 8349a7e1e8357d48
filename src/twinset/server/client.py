"""`Client`: asks a server of twinset, and gives the same objects as the library does."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from twinset.decision import ErrorCurve, Verdict
from twinset.search.decisions import Decided, Decision
from twinset.search.items import Neighbour
from twinset.search.paging import Page
from twinset.search.review import Question, Review
from twinset.search.thresholds import Point
from twinset.search.where import Where, texts
from twinset.server import wire
from twinset.server.wire import ClientImage, Sender, encoded, quoted, single

if TYPE_CHECKING:
    from twinset.search.duplicates import Duplicates

Metadata: TypeAlias = Mapping[str, str | int | float | bool | None]


@dataclass(frozen=True)
class Item:
    """An item of the server's index, where an image could stand as well."""

    id: str


class Client:
    """Asks a server that `twinset serve` or `twinset.serve` runs, over HTTP.

    Threads may share one. A busy server is asked again, as soon as it says. Metadata comes without
    the paths of the server's files; distances, verdicts and probabilities are those of `Embedder`
    and `Index` there.

    Args:
        url: of the server. Defaults to http://127.0.0.1:8000.
        token: for what changes something. Defaults to none.
        timeout: seconds to wait for an answer. Defaults to 60.

    Raises:
        ServerError: by each method: the server says no, with its reason; or nobody answers.
        DataError: by each method that takes images: one that cannot be read.

    Example:
        >>> import numpy as np, twinset
        >>> from twinset.server.running import in_background, open_service
        >>> pixels = np.stack([np.full((4, 4), 85 * i, np.uint8) for i in range(4)])
        >>> grays = twinset.LabelledImages(pixels, [0, 0, 1, 1], ("dark", "light"), "grays")
        >>> model = twinset.fit(grays, epochs=1, encoder={"units": [8]})
        >>> import pathlib, tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> for at, image in enumerate(pixels):
        ...     kind = pathlib.Path(folder.name, "photos", "ab"[at // 2])
        ...     kind.mkdir(parents=True, exist_ok=True)
        ...     Image.fromarray(image).save(kind / f"{at}.png")
        >>> told = {}
        >>> with (
        ...     twinset.Index.build(model, f"{folder.name}/photos", f"{folder.name}/x") as index,
        ...     in_background(open_service(model, index, token="secret")) as url,
        ... ):
        ...     _ = index.identify_by("label")
        ...     client = twinset.Client(url, token="secret")
        ...     told["dim"], told["items"] = client.model()["dim"], client.index()["items"]
        ...     told["same"] = client.compare(pixels[0], pixels[0]).same
        ...     told["moved"] = client.explain(pixels[0], pixels[0])["largest"]
        ...     told["embedded"] = client.embed([pixels[0], pixels[1]]).shape
        ...     told["who"] = client.identify(pixels[3]).identities[0].references
        ...     told["ids"] = [own for own, known in client.items()]
        ...     told["page"] = client.page(0, 2).total
        ...     told["item"] = client.item("a/0.png")["metadata"]["label"]
        ...     told["size"] = client.picture("a/0.png").size
        ...     told["added"] = client.add(pixels[0] + 9, id="new", metadata={"label": "a"})
        ...     client.remove("new")
        ...     told["decided"] = client.decide([("a/0.png", "a/1.png", True)]).new
        ...     told["decisions"] = len(client.decisions())
        ...     told["asked"] = len(client.review(1))
        ...     told["groups"] = len(client.duplicates(within=0.0).groups)
        ...     told["curve"] = client.error_curve()
        ...     told["point"] = client.save_point("strict", 0.1).threshold
        ...     told["points"] = list(client.points())
        ...     client.remove_point("strict")
        ...     told["nearest"] = client.search(pixels[2], k=2)[0].id
        ...     client.close()
        >>> for name, value in told.items():
        ...     print(name, value)
        dim 8
        items 4
        same True
        moved 0.0
        embedded (2, 8)
        who 2
        ids ['a/0.png', 'a/1.png', 'b/2.png', 'b/3.png']
        page 4
        item a
        size (4, 4)
        added new
        decided 1
        decisions 1
        asked 1
        groups 1
        curve None
        point 0.1
        points ['strict']
        nearest b/2.png
        >>> folder.cleanup()
    """

    def __init__(
        self, url: str = "http://127.0.0.1:8000", *, token: str | None = None, timeout: float = 60.0
    ) -> None:
        self._sender = Sender(url, token, timeout)
        self.url = self._sender.url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._sender.http.close()

    # --- two images

    def model(self) -> dict[str, Any]:
        """Read the card of the model that answers."""
        found: dict[str, Any] = self._sender.get("/model")
        return found

    def compare(
        self,
        left: ClientImage | Item,
        right: ClientImage | Item,
        *,
        prior: float = 0.5,
        point: str | None = None,
    ) -> Verdict:
        """Say whether two images show the same; see `Embedder.compare`.

        Args:
            left: an image: the path of a file, its bytes, a PIL image, a uint8 array; or an
                `Item` of the index.
            right: likewise.
            prior: share of same pairs where the verdict will be used, in (0, 1). Defaults to 0.5.
            point: operating point whose threshold is used. Defaults to none.
        """
        return wire.verdict(self._pair("/compare", left, right, prior, point))

    def explain(
        self, left: ClientImage | Item, right: ClientImage | Item, *, prior: float = 0.5
    ) -> dict[str, Any]:
        """Find where two images agree and differ, as `Explanation.to_dict` tells it."""
        return self._pair("/explain", left, right, prior, None)

    def embed(self, images: ClientImage | Sequence[ClientImage]) -> NDArray[np.float32]:
        """Embed one image or many: embeddings of shape (n, d), float32."""
        told = self._ask("/embed", images, {})
        return np.asarray(told["embeddings"], np.float32)

    # --- the index

    def index(self) -> dict[str, Any]:
        """Read what is served: number of items, columns, identities, operating points."""
        found: dict[str, Any] = self._sender.get("/index")
        return found

    def search(
        self,
        images: ClientImage | Sequence[ClientImage] | Item,
        *,
        k: int = 10,
        within: Literal["threshold"] | float | None = None,
        where: Where = (),
        together: bool = False,
        point: str | None = None,
    ) -> Any:
        """Find what is most like images, or an item; see `Index.search` and `Index.similar`.

        Args:
            images: one image or many, as for `compare`; or an `Item`.
            k: at most so many neighbours, 1 to 1,000. Defaults to 10.
            within: the largest distance that counts: a number, or "threshold". Defaults to any.
            where: conditions on the metadata, as for `Index.search`. Defaults to none.
            together: all images show one and the same: they are one query. Defaults to False.
            point: operating point whose threshold is used. Defaults to none.

        Returns:
            An `Answer` to one image, an item, or several together; else a list of them.
        """
        asked = {"k": k, "within": within, "where": texts(where), "point": point}
        if isinstance(images, Item):
            return wire.answer(
                self._sender.form("/search", {}, asked | {"item": images.id})["answers"][0]
            )
        told = self._ask("/search", images, asked | {"together": together})
        return _one_or_all(
            [wire.answer(each) for each in told["answers"]], single(images) or together
        )

    def identify(
        self,
        images: ClientImage | Sequence[ClientImage],
        *,
        k: int = 5,
        together: bool = False,
        where: Where = (),
        prior: float = 0.5,
        point: str | None = None,
    ) -> Any:
        """Tell whom images show, or that it is nobody known; see `Index.identify`.

        Returns:
            An `Identification` of one image, or of several together; else a list of them.
        """
        asked = {"k": k, "together": together, "where": texts(where), "prior": prior}
        told = self._ask("/identify", images, asked | {"point": point})
        found = [wire.identification(each) for each in told["answers"]]
        return _one_or_all(found, single(images) or together)

    def page(self, offset: int = 0, limit: int = 100, *, where: Where = ()) -> Page:
        """List some items; see `Store.page`."""
        told = self._sender.get("/items", offset=offset, limit=limit, where=texts(where))
        items = told["items"]
        return Page(
            tuple(one["id"] for one in items),
            tuple(one["metadata"] for one in items),
            told["total"],
        )

    def items(self, *, where: Where = ()) -> Iterator[tuple[str, Metadata]]:
        """Go through ids and metadata, in the order in which they were put in."""
        # what is added or removed meanwhile may be seen or not, as on any list that is turned over
        at = 0
        while (page := self.page(at, 1000, where=where)).ids:
            yield from zip(page.ids, page.metadata, strict=True)
            at += len(page.ids)

    def item(self, id: str) -> dict[str, Any]:  # noqa: A002 - what it is called everywhere
        """Read what is known of an item, and what people decided about it."""
        found: dict[str, Any] = self._sender.get(f"/items/{quoted(id)}")
        return found

    def picture(self, id: str, *, size: int | None = None) -> Image.Image:  # noqa: A002
        """Read the picture of an item.

        Args:
            id: of the item.
            size: longest side in pixels: 64, 96, 160, 320, 640 or 1024. Defaults to the image, at
                most 1,600 pixels long.
        """
        kind = "images" if size is None else "thumbnails"
        asked = {} if size is None else {"size": size}
        response = self._sender.send("GET", f"/{kind}/{quoted(id)}", params=asked)
        return Image.open(io.BytesIO(response.content))

    def add(
        self,
        image: ClientImage,
        *,
        id: str | None = None,  # noqa: A002
        metadata: Metadata | None = None,
    ) -> str:
        """Make an image an item of the index; needs the token.

        Args:
            image: as for `compare`.
            id: of the item, a new one. Defaults to one of the image's content.
            metadata: what is known of it. Defaults to nothing.

        Returns:
            The id. Item and image are on the server's disk then.
        """
        about = {"id": id, "metadata": json.dumps(dict(metadata or {}))}
        told = self._sender.form("/items", {"image": [encoded(image)]}, about)
        return str(told["id"])

    def remove(self, id: str) -> None:  # noqa: A002
        """Take an item out; needs the token. No file is deleted."""
        self._sender.send("DELETE", f"/items/{quoted(id)}")

    # --- decisions

    def review(self, count: int = 50, *, column: str | None = None) -> Review:
        """Choose the pairs that are worth asking a person about; see `Index.review`."""
        told = self._sender.get("/review", count=count, column=column)
        questions = tuple(wire.made(Question, each) for each in told["questions"])
        return Review(questions, told["items"], told["claims"])

    def decisions(self, *, all: bool = False) -> list[Decision]:  # noqa: A002
        """List what people decided, in the order in which they did; see `Index.decisions`."""
        found: list[Decision] = []
        while True:
            told = self._sender.get("/decisions", all=all, offset=len(found), limit=1000)
            found += [wire.made(Decision, each) for each in told["decisions"]]
            if len(found) >= told["total"] or not told["decisions"]:
                return found[::-1]

    def decide(
        self, rows: Sequence[Sequence[Any]], *, who: str = "", undo: bool = False
    ) -> Decided:
        """Take decisions about pairs of items; needs the token; see `Index.decide`.

        Args:
            rows: (left, right, same), or with the `why` of the question as a fourth; ids.
            who: decided. Defaults to nobody named.
            undo: take the latest decisions on these pairs back. Defaults to False.
        """
        names = ("left", "right", "same", "why")
        body = [dict(zip(names, row, strict=False)) for row in rows]
        path = "/decisions/undo" if undo else "/decisions"
        told = self._sender.send("POST", path, json=body, params={"who": who}).json()
        return wire.made(Decided, told)

    def duplicates(self, *, within: float | None = None, point: str | None = None) -> Duplicates:
        """Find groups of duplicates; see `twinset.duplicates`. Waits while they are computed.

        Without `within` and `point`, within the strictest threshold that the model knows.
        """
        from twinset.search.duplicates import DuplicateGroup, Duplicates, Edge

        # in the order of the library: pictures, then things; of the links the server tells 200
        groups: list[DuplicateGroup] = []
        told: dict[str, Any] = {}
        for kind in ("picture", "thing"):
            at, total = 0, 1
            while at < total:
                about = {"within": within, "point": point, "offset": at, "limit": 200}
                told = self._sender.get("/duplicates", kind=kind, **about)
                for group in told["groups"]:
                    members = tuple(wire.made(Neighbour, one) for one in group["members"])
                    groups.append(DuplicateGroup(members, group["diameter"], group["kind"]))
                at, total = at + 200, told["total"]
        links = tuple(wire.made(Edge, each) for each in told["links"])
        return Duplicates(tuple(groups), wire.threshold(told["threshold"]), told["items"], links)

    # --- thresholds

    def error_curve(self) -> ErrorCurve | None:
        """Read both error rates over thresholds; None where the model keeps none."""
        # without counts, for which the server would look for the neighbours of all items
        curve = self._sender.get("/threshold", counts=False)["curve"]
        return None if curve is None else wire.made(ErrorCurve, curve)

    def points(self) -> dict[str, Point]:
        """List the operating points by name."""
        return {each["name"]: wire.made(Point, each) for each in self._sender.get("/points")}

    def save_point(self, name: str, threshold: float, *, who: str = "") -> Point:
        """Name a threshold; needs the token; see `Index.save_point`."""
        body = {"name": name, "threshold": threshold, "who": who}
        return wire.made(Point, self._sender.send("POST", "/points", json=body).json())

    def remove_point(self, name: str) -> None:
        """Take an operating point away; needs the token."""
        self._sender.send("DELETE", f"/points/{quoted(name)}")

    # --- how it is asked

    def _pair(
        self,
        path: str,
        left: ClientImage | Item,
        right: ClientImage | Item,
        prior: float,
        point: str | None,
    ) -> dict[str, Any]:
        # a text is a path, as everywhere in the library, so an id needs a class of its own
        files, about = {}, {"prior": prior, "point": point}
        for side, given in (("left", left), ("right", right)):
            if isinstance(given, Item):
                about[f"{side}_item"] = given.id
            else:
                files[side] = [encoded(given)]
        return self._sender.form(path, files, about)

    def _ask(self, path: str, images: Any, about: Mapping[str, Any]) -> dict[str, Any]:
        given = [images] if single(images) else list(images)
        return self._sender.form(path, {"images": [encoded(one) for one in given]}, about)


def _one_or_all(found: list[Any], single: bool) -> Any:
    return found[0] if single else found
