"""The OpenAPI's examples are asked for as they stand, and work."""

from __future__ import annotations

import twinset
from serving import running

# What one makes comes before what takes it away.
ORDER = ("get", "post", "delete")


def asked(path, operation):
    """What the examples of an operation ask; None where one is wanted and not there."""
    values = {"path": {}, "query": {}}
    for each in operation.get("parameters", ()):
        if "example" in each:
            values[each["in"]][each["name"]] = each["example"]
        elif each.get("required"):
            return None
    content = operation.get("requestBody", {}).get("content", {})
    sent = {"params": values["query"], "url": path.format(**values["path"])}
    if "application/json" in content:
        sent["json"] = content["application/json"]["example"]
    elif content:
        if "example" not in content["multipart/form-data"]:
            return None
        sent["data"] = content["multipart/form-data"]["example"]
    return sent


def examples(http):
    paths = http.get("/openapi.json").json()["paths"]
    for method in ORDER:
        for path, operations in paths.items():
            if method in operations:
                yield method, path, asked(path, operations[method])


def test_examples_work(writable):
    with_images_alone = set()
    for method, path, sent in examples(writable.http):
        if sent is None:
            with_images_alone.add(path.removeprefix("/api/v1"))
            continue
        got = writable.http.request(method, **sent)
        assert got.status_code in (200, 201, 204), (method, path, sent, got.text)
    assert with_images_alone == {"/embed", "/identify", "/items", "/map/place"}


def test_examples_name_what_there_is(own):
    with twinset.Index.open(own / "photos.index") as index:
        index.remove(["items/00", "items/04"])
    with running(own) as one:
        found = {path: sent for _, path, sent in examples(one.http)}
    assert found["/api/v1/search"]["data"] == {"item": "items/01", "k": 5}
    assert found["/api/v1/compare"]["data"]["right_item"] == "items/02"
