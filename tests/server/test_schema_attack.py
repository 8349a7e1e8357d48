"""The OpenAPI against the server: what it promises holds for what a generator makes of it."""

from __future__ import annotations

import httpx

from hostile_uploads import picture


def test_whatever_the_schema_lets_one_ask(writable):
    from schema_attack import attack  # schemathesis alone is a second of each process's imports

    # more of them: ./task bench serve_attack schema
    assert attack(writable.url, 1, writable.service.token) > 40


def test_no_answer_names_a_place_of_the_host(server):
    schema = server.http.get("/openapi.json").json()
    values = {"item": "items/00", "name": "label", "column": "label", "method": "pca"}
    seen = 0
    for path, operations in schema["paths"].items():
        for method in operations:
            where = path.replace("{item}", "items/00").replace("{name}", "strict")
            sent = {"params": values}
            if method == "post":
                names = ("left", "right") if where.endswith(("compare", "explain")) else ()
                name = "image" if where.endswith(("place", "items")) else "images"
                sent["files"] = {each: picture("PNG") for each in names or (name,)}
            got: httpx.Response = server.http.request(method, where, **sent)
            assert got.status_code < 500 or got.status_code == 503, (method, path)
            seen += got.status_code == 200
            told = got.content + str(got.headers).encode()
            assert str(server.home).encode() not in told, (method, path)
            assert b"photos/" not in told, (method, path)
    assert seen > 12
