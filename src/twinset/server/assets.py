"""`Assets`: the page and its files, held in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketClose

# By the ends of their names; what a system says of them differs.
_KINDS = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".woff2": "font/woff2",
}
_PAGE = "index.html"


class Assets:
    """An ASGI application of a folder's files; a browser asks whether they have changed.

    Read once: to load the page is to ask for 60 files, and Starlette's own way hands each to a
    thread five times, a second of a core. It also stays that of its server while another version
    is installed.

    Args:
        folder: holds the files, and the page as `index.html`.
        views: paths at which the page is.
    """

    def __init__(self, folder: Path, views: Iterable[str]) -> None:
        files = {
            f"/{path.relative_to(folder).as_posix()}": _held(path.read_bytes(), path.suffix)
            for path in folder.rglob("*")
            if path.suffix in _KINDS
        }
        # all at once: a browser that finds them by their imports asks for one after the other
        scripts = sorted(path for path in files if path.endswith(".js"))
        links = "".join(f'<link rel="modulepreload" href=".{path}">\n' for path in scripts)
        page = files[f"/{_PAGE}"][0].replace(b"</head>", links.encode() + b"</head>")
        files[f"/{_PAGE}"] = _held(page, ".html")
        self._files = dict.fromkeys(views, files[f"/{_PAGE}"]) | files

    def __contains__(self, path: str) -> bool:
        return path in self._files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a file."""
        if scope["type"] == "http":
            await self._response(scope)(scope, receive, send)
        else:
            await WebSocketClose()(scope, receive, send)

    def _response(self, scope: Scope) -> Response:
        if scope["method"] not in ("GET", "HEAD"):
            raise HTTPException(405, headers={"Allow": "GET, HEAD"})
        path = scope["path"].removeprefix(scope.get("root_path", ""))  # where it is mounted
        asked, status = Headers(scope=scope), 200
        if path not in self._files:
            # People who mistype a path get the page, which says so; programs get a problem, as does
            # who asks deeper down, where the page would not find its own files.
            if "text/html" not in asked.get("accept", "") or "/" in path[1:]:
                raise HTTPException(404)
            path, status = f"/{_PAGE}", 404
        body, kind, tag = self._files[path]
        headers = {"Cache-Control": "no-cache", "ETag": tag}
        if status == 200 and tag in asked.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(body, status, headers, kind)


def _held(body: bytes, suffix: str) -> tuple[bytes, str, str]:
    # with its type, and what a browser tells by whether it has changed
    return body, _KINDS[suffix], f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'
