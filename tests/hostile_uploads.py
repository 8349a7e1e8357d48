"""Uploads as an enemy or a broken client sends them: (what, content type, body), by a seed.

Shared by the tests and the benchmark. Nothing here is dangerous to write: bombs are small files
that claim, or unfold to, gigabytes.
"""

from __future__ import annotations

import io
import random
import struct
import zlib

import numpy as np
from PIL import Image

EDGE = "an-edge"
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP")
TYPES = (
    "image/png",
    "image/jpeg",
    "image/webp",
    "image/svg+xml",
    "image/*",
    "image/" + "x" * 300,
    "application/octet-stream",
    "application/json",
    "text/html; charset=utf-7",
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "application/x-www-form-urlencoded",
    "",
    "\x01",
)


def picture(kind, seed=0, size=(16, 12)):
    """A whole image file of a format."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (size[1], size[0], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def form(parts, edge=EDGE, end=True):
    """A form of parts (headers, content)."""
    body = b"".join(b"--%s\r\n%s\r\n\r\n%s\r\n" % (edge.encode(), h, c) for h, c in parts)
    return body + (f"--{edge}--\r\n".encode() if end else b"")


def part(content, name="images", filename="a.png"):
    """A file of a form, as browsers send it."""
    about = f'Content-Disposition: form-data; name="{name}"; filename="{filename}"'
    return about.encode() + b"\r\nContent-Type: image/png", content


def _chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width, height, rows=b"", *more):
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = [_chunk(b"IHDR", head), *more, _chunk(b"IDAT", zlib.compress(rows, 9))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + _chunk(b"IEND", b"")


def bombs():
    """Small files that claim much, or become much."""
    zeros = zlib.compress(bytes(30_000_000), 9)
    jpeg = bytearray(picture("JPEG"))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = b"\xff\xff\xff\xff"
    gif = bytearray(picture("GIF"))
    gif[6:10] = b"\xff\xff\xff\xff"
    bmp = bytearray(picture("BMP"))
    bmp[18:26] = struct.pack("<ii", 60_000, 60_000)
    webp = bytearray(picture("WEBP"))
    webp[-30:] = b"\xff" * 30
    tiff = bytearray(picture("TIFF"))
    return {
        "a PNG that claims 4 gigapixels": _png(65_535, 65_535),
        "a PNG that claims the largest size": _png(2**31 - 1, 2**31 - 1),
        "a PNG of no size": _png(0, 0),
        "a PNG of 400 megapixels": _png(20_000, 20_000, bytes(2501 * 20_000)),
        "a PNG of 30 million rows": _png(1, 30_000_000),
        "a PNG with a text of 30 MB": _png(8, 8, bytes(16), _chunk(b"zTXt", b"a\0\0" + zeros)),
        "a PNG with a profile of 30 MB": _png(8, 8, bytes(16), _chunk(b"iCCP", b"a\0\0" + zeros)),
        "a PNG with far more rows than it says": _png(8, 8, bytes(30_000_000)),
        "a JPEG that claims 4 gigapixels": bytes(jpeg),
        "a GIF that claims 4 gigapixels": bytes(gif),
        "a BMP that claims 3 gigapixels": bytes(bmp),
        "a WebP full of ones": bytes(webp),
        "a TIFF whose directory is its own next": bytes(tiff[:4]) + struct.pack("<I", 8) + bytes(6),
        "a pixmap of 10 gigapixels": b"P6 99999 99999 255 abc",
    }


def polyglots():
    """Files that are two things, and files that start a program in some decoders."""
    png, gif = picture("PNG"), picture("GIF")
    return {
        "a page behind a PNG": png + b"<html><script>alert(1)</script>",
        "a script that begins as GIF": b"GIF89a/*" + gif[8:] + b"*/=1;alert(1)",
        "an archive behind a JPEG": picture("JPEG") + b"PK\x03\x04" + bytes(60),
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n",
        "SVG with an entity": b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><svg>&b;</svg>',
        "ImageMagick's language": b"push graphic-context\nfill 'url(https://example.com/)'\n",
        "a playlist": b"#EXTM3U\nfile:///etc/passwd\n",
        "a pickle": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
        "PDF": b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj",
        "an array of numpy": b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'shape': (1,)}\n",
        "zeros": bytes(5000),
        "nothing": b"",
        "one byte": b"\x89",
        "a JPEG of markers alone": b"\xff\xd8" + b"\xff\xe1\x00\x02" * 3000,
        "a TIFF within the mark": b"II*\0\x08\0\0\0\xff\xff" + b"\xff" * 400,
    }


def forms():
    """Forms as no browser writes them: (content type, body)."""
    png = picture("PNG")
    kind = f"multipart/form-data; boundary={EDGE}"
    whole = form([part(png)])
    named = [
        "../../etc/passwd",
        "..\\\\..\\\\boot.ini",
        "/etc/passwd",
        "CON.png",
        "a\0b.png",
        "\u202egnp.a",
        "x" * 9000,
        "",
    ]
    return {
        **{f"named {name[:20]!r}": (kind, form([part(png, filename=name)])) for name in named},
        "no edge": ("multipart/form-data", whole),
        "an empty edge": ("multipart/form-data; boundary=", whole),
        "another edge": ("multipart/form-data; boundary=other", whole),
        "an edge of 5,000": (f"multipart/form-data; boundary={'e' * 5000}", whole),
        "an edge with quotes": ('multipart/form-data; boundary="\\"', whole),
        "no end": (kind, form([part(png)], end=False)),
        "half": (kind, whole[: len(whole) // 2]),
        "only the end": (kind, f"--{EDGE}--\r\n".encode()),
        "nothing": (kind, b""),
        "words before and behind": (kind, b"words\r\n" + whole + b"more words"),
        "line feeds alone": (kind, whole.replace(b"\r\n", b"\n")),
        "no name": (kind, form([(b"Content-Disposition: form-data", png)])),
        "no headers": (kind, form([(b"", png)])),
        "a header of 100,000": (kind, form([(b"X-Long: " + b"x" * 100_000, png)])),
        "2,000 headers": (kind, form([(b"\r\n".join([b"X: y"] * 2000), png)])),
        "a header without a colon": (kind, form([(b"Content-Disposition", png)])),
        "bytes in the name": (kind, form([part(png, name="\udcff".encode("utf-8", "replace"))])),
        "base64 that is said to be": (
            kind,
            form([(part(b"")[0] + b"\r\nContent-Transfer-Encoding: base64", b"iVBORw0KGgo=")]),
        ),
        "a form in a form": (kind, form([part(form([part(png)], "inner"))])),
        "1,000 empty files": (kind, form([part(b"")] * 1000)),
        "20,000 fields": (
            kind,
            form([(b'Content-Disposition: form-data; name="k"', b"1")] * 20_000),
        ),
        "a field of 1 MB": (
            kind,
            form([(b'Content-Disposition: form-data; name="k"', b"1" * 10**6)]),
        ),
        "a file where an option is": (kind, form([part(png), part(png, name="k")])),
        "an option where a file is": (
            kind,
            form([(b'Content-Disposition: form-data; name="images"', png)]),
        ),
        "both sides in one": (kind, form([part(png, name="left")] * 2)),
        "JSON": ("application/json", b'{"images": ["iVBORw0KGgo="]}'),
        "deep JSON": ("application/json", b"[" * 100_000),
        "urlencoded": ("application/x-www-form-urlencoded", b"images=" + b"%ff" * 5000),
        "100,000 urlencoded": ("application/x-www-form-urlencoded", b"a=1&" * 100_000),
    }


def mutated(content, rng):
    """Damage a file as a line, a disk, or an enemy does."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 5, 30))):
        at = rng.randrange(len(data) or 1)
        match rng.randrange(6):
            case 0:
                data = data[:at]
            case 1 if data:
                data[at] ^= 1 << rng.randrange(8)
            case 2 if data:
                data[at : at + 4] = rng.choice((bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff"))
            case 3:
                data[at:at] = rng.randbytes(rng.randrange(1, 40))
            case 4:
                del data[at : at + rng.randrange(1, 40)]
            case 5:
                data += data[at : at + rng.randrange(1, 400)]
    return bytes(data)


def uploads(count, seed=0):
    """Give so many, first each of the known tricks, then damaged and spliced files."""
    rng = random.Random(seed)
    given = [(what, "image/png", body) for what, body in (bombs() | polyglots()).items()]
    given += [(what, *both) for what, both in forms().items()]
    rng.shuffle(given)
    whole = {kind: picture(kind, seed) for kind in FORMATS}
    while len(given) < count:
        kind, other = rng.choice(FORMATS), rng.choice(FORMATS)
        match rng.randrange(8):
            case 0:
                body = rng.randbytes(rng.randrange(300))
            case 1:  # the head of one, the rest of another
                cut = rng.randrange(60)
                body = whole[kind][:cut] + whole[other][cut:]
            case _:
                body = mutated(whole[kind], rng)
        sent = f"image/{kind.lower()}" if rng.random() < 0.7 else rng.choice(TYPES)
        if rng.random() < 0.4:
            sent = f"multipart/form-data; boundary={EDGE}"
            body = form([part(body)] * rng.choice((1, 1, 1, 3)))
            if rng.random() < 0.2:
                body = mutated(body, rng)
        given.append((f"damaged {kind}", sent, body))
    yield from given[:count]
