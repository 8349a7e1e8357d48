"""An object store on this machine: what a client of S3 needs to list and to read a folder."""

import contextlib
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        asked = urlsplit(self.path)
        bucket, _, key = unquote(asked.path).strip("/").partition("/")
        folder, query = self.server.folder, parse_qs(asked.query)
        self.server.asked.append(f"{self.command} {self.path}")
        if key:
            if not (folder / key).is_file():
                return self._answer(404)
            data = (folder / key).read_bytes()
            tag = f'"{hashlib.md5(data).hexdigest()}"'
            about = {"ETag": tag, "Last_Modified": "Sun, 01 Nov 2026 00:00:00 GMT"}
            if span := self.headers.get("Range"):
                first, last = span.removeprefix("bytes=").split("-")
                part = data[int(first) : int(last) + 1]
                about["Content_Range"] = f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}"
                return self._answer(206, part, **about)
            return self._answer(200, data, **about)
        prefix, delimiter = (query.get(name, [""])[0] for name in ("prefix", "delimiter"))
        names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
        names = [name for name in names if name.startswith(prefix)]
        below = set()
        if delimiter:
            below = {
                prefix + n[len(prefix) :].split("/")[0] + "/"
                for n in names
                if "/" in n[len(prefix) :]
            }
            names = [name for name in names if "/" not in name[len(prefix) :]]
        rows = [
            f"<Contents><Key>{escape(name)}</Key><Size>{(folder / name).stat().st_size}</Size>"
            "<LastModified>2026-11-01T00:00:00.000Z</LastModified></Contents>"
            for name in names
        ]
        rows += [
            f"<CommonPrefixes><Prefix>{escape(p)}</Prefix></CommonPrefixes>" for p in sorted(below)
        ]
        body = (
            '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(rows)}</KeyCount>"
            f"<MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>{''.join(rows)}"
            "</ListBucketResult>"
        )
        return self._answer(200, body.encode(), Content_Type="application/xml")

    do_HEAD = do_GET  # noqa: N815


@contextlib.contextmanager
def bucket(folder):
    """Serve a folder as s3://ANY, and over HTTP; gives the address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.folder, server.asked = Path(folder), []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
