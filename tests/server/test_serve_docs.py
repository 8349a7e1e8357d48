"""What docs/serve.md says of HTTP, sent as it stands there to a real server."""

import asyncio
import re
import shlex
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

import twinset
from colours import picture, png
from serving import running

from .conftest import TOKEN

PAGE = (Path(__file__).parents[2] / "docs" / "serve.md").read_text("utf-8")
CURLS = re.findall(r"^\$ (curl .*)$", PAGE, re.MULTILINE)
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
HERE = "http://127.0.0.1:8000"


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder with all files that the page names, in which one is."""
    monkeypatch.chdir(tmp_path)
    for row, name in enumerate(re.findall(r"[\w./]+\.(?:png|jpg)", "".join([*CURLS, *PROGRAMS]))):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(png(picture(row)))


@pytest.fixture
def address(own):
    """A server that has identities, and takes changes."""
    with twinset.Index.open(own / "photos.index") as index:
        index.identify_by("label")
    with running(own, token=TOKEN) as one:
        yield one.url


def sent(line, address):
    """Do as curl does with the options that the page has."""
    form, headers, body, url = [], {}, None, ""
    words = iter(shlex.split(line.replace("$TWINSET_TOKEN", TOKEN))[1:])
    for word in words:
        if word == "-F":
            name, _, value = next(words).partition("=")
            file = value.startswith("@")
            form.append(
                (name, (value[1:], Path(value[1:]).read_bytes()) if file else (None, value))
            )
        elif word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word == "--data-binary":
            body = Path(next(words)[1:]).read_bytes()
        else:
            url = word
    url = url.replace(HERE, address)
    return httpx.post(url, files=form or None, headers=headers, content=body)


def test_each_request_is_answered(files, address):
    assert len(CURLS) == 5
    answers = [sent(line, address) for line in CURLS]
    assert [each.status_code for each in answers] == [200, 200, 200, 200, 201], [
        each.text for each in answers if each.is_error
    ]
    compared, found, known, embedded, added = (each.json() for each in answers)
    assert compared["sentence"].startswith(("same:", "different:"))
    assert len(found["answers"]) == 1
    assert len(known["answers"]) == 1
    assert len(embedded["embeddings"][0]) == 8
    assert added["id"] == "new"


def test_the_program_of_the_page(files, address):
    program, _ = PROGRAMS
    scope = {"twinset": twinset}
    exec(compile(program.replace(HERE, address), "serve.md", "exec"), scope)
    assert len(scope["found"]) == 5
    assert scope["verdict"].same == (scope["verdict"].distance <= scope["verdict"].threshold.value)


def test_mounting(own, tmp_path):
    (tmp_path / "runs").mkdir()
    (own / "run").rename(tmp_path / "runs" / "photos")
    (own / "photos.index").rename(tmp_path / "photos.index")
    _, program = PROGRAMS
    scope = {"app": FastAPI()}
    exec(compile(program, "serve.md", "exec"), scope)

    async def ask():
        transport = httpx.ASGITransport(scope["app"])
        url = "http://shop.example.org/twins"
        async with httpx.AsyncClient(transport=transport, base_url=url) as http:
            return (await http.get("/api/v1/index")).json()

    assert asyncio.run(ask())["items"] == 48
    scope["app"].routes[-1].app.state.current.service.close()
