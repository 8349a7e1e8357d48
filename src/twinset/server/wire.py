"""How a server is asked: images as bytes, a busy one again, and what it refuses as an error."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeAlias, TypeVar
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from twinset.data.decoding.image_file import EncodedImage
from twinset.decision import Threshold, Verdict
from twinset.errors import DataError, ServerError
from twinset.search.answer import Answer
from twinset.search.identification import Identification, Identity, IdentitySettings
from twinset.search.items import Neighbour

PREFIX = "/api/v1"
PATIENCE = 10.0  # seconds that a busy server may have us wait before we ask again

# a text or path is a file on this machine
ClientImage: TypeAlias = (
    "str | os.PathLike[str] | bytes | EncodedImage | Image.Image | NDArray[np.uint8]"
)


class Sender:
    """Connections to a server."""

    def __init__(self, url: str, token: str | None, timeout: float) -> None:
        import httpx  # a server itself needs none

        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.url = url.rstrip("/")
        self._timeout = timeout
        self.http = httpx.Client(base_url=self.url, headers=headers, timeout=timeout)

    def form(
        self, path: str, files: Mapping[str, Sequence[Any]], about: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Post a form of files and fields."""
        sent = [(name, one) for name, each in files.items() for one in each]
        found: dict[str, Any] = self.send(
            "POST", path, files=sent or None, data=plain(about)
        ).json()
        return found

    def get(self, path: str, **about: Any) -> Any:
        """Ask for JSON."""
        return self.send("GET", path, params=plain(about)).json()

    def send(self, method: str, path: str, **what: Any) -> Any:
        """Ask, and again where the server is busy."""
        import httpx

        end = time.monotonic() + self._timeout
        while True:
            try:
                response = self.http.request(method, PREFIX + path, **what)
            except httpx.HTTPError as error:
                raise ServerError(
                    f"{self.url}: expected a server of twinset. {error or type(error).__name__}: "
                    "start one with `twinset serve`, or raise the timeout."
                ) from None
            wait = float(response.headers.get("retry-after", 0) or 0)
            # 202: what takes long is being computed
            busy = response.status_code in (202, 429, 503) and wait <= PATIENCE
            if not busy or time.monotonic() + wait > end:
                break
            time.sleep(max(wait, 0.1))
        if response.is_success and response.status_code != 202:
            return response
        raise refused(response)


def refused(response: Any) -> ServerError:
    """Make the error that a refusal is."""
    try:
        told = response.json()
        detail, kind = str(told["detail"]), str(told["type"])
    except (ValueError, KeyError, TypeError):  # a proxy in between
        detail, kind = f"HTTP {response.status_code} {response.reason_phrase}", "about:blank"
    return ServerError(detail, status=response.status_code, type=kind)


def single(images: Any) -> bool:
    """Tell whether it is one image."""
    if isinstance(images, np.ndarray):
        return images.ndim == 2 or (images.ndim == 3 and images.shape[-1] == 3)
    return isinstance(images, str | bytes | os.PathLike | EncodedImage | Image.Image)


def encoded(image: Any) -> tuple[str, bytes, str]:
    """Return an image as a part of a form: name, bytes, type."""
    kind = "application/octet-stream"  # the server looks at the bytes
    if isinstance(image, bytes):
        return "image", image, kind
    if isinstance(image, EncodedImage):
        return image.name, image.data, kind
    if isinstance(image, str | os.PathLike):
        try:
            return Path(image).name, Path(image).read_bytes(), kind
        except OSError as error:
            raise DataError(f"{image}: expected an image file. {error.strerror}.") from None
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim in (2, 3):
        image = Image.fromarray(image)
    if not isinstance(image, Image.Image):
        raise DataError(
            "Expected an image: the path of a file, its bytes, a PIL image, or a uint8 array of "
            f"shape (h, w) or (h, w, 3). Received {type(image).__name__}."
        )
    file = io.BytesIO()
    image.save(file, "PNG")
    return "image", file.getvalue(), kind


def plain(about: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is not asked for."""
    told = {True: "true", False: "false"}
    return {
        name: told[value] if isinstance(value, bool) else value
        for name, value in about.items()
        if value is not None and value != []
    }


def quoted(id_: str) -> str:
    """Write an id as a part of a path."""
    # dots, too: one or two alone would be taken for this folder or the one above
    parts = (quote(each, safe="") for each in id_.split("/"))
    return "/".join("%2E" * len(each) if each in (".", "..") else each for each in parts)


Made = TypeVar("Made")


def made(kind: type[Made], values: Mapping[str, Any]) -> Made:
    """Make a dataclass of what it has in common with an answer; lists become tuples."""
    # a newer server may tell more than this version knows
    known = {each.name for each in fields(kind)}  # type: ignore[arg-type]
    return kind(
        **{
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
            if name in known
        }
    )


def threshold(values: Mapping[str, Any]) -> Threshold:
    """Make a threshold."""
    return made(Threshold, values)


def verdict(values: Mapping[str, Any]) -> Verdict:
    """Make a verdict."""
    return made(Verdict, {**values, "threshold": threshold(values["threshold"])})


def answer(values: Mapping[str, Any]) -> Answer:
    """Make the answer to a search."""
    # match and probability are told for programs in other languages: an `Answer` knows the rule
    nearest = values["nearest"]
    return Answer(
        values["query"],
        tuple(made(Neighbour, one) for one in values["neighbours"]),
        threshold(values["threshold"]),
        values["within"],
        None if nearest is None else made(Neighbour, nearest),
        frozenset(values["decided"]),
    )


def identification(values: Mapping[str, Any]) -> Identification:
    """Make an identification."""
    identities = tuple(
        made(Identity, {**one, "nearest": made(Neighbour, one["nearest"])})
        for one in values["identities"]
    )
    settings = IdentitySettings.of(values["settings"])
    told = (values["images"], values["nobody"], values["prior"])
    return Identification(values["query"], identities, settings, *told)
