"""The command that serves a model and an index over HTTP: `serve`."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from argparse import Namespace
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

from twinset.cli.arguments import A_MODEL, INDEX_PLACE, Arguments, note
from twinset.errors import DataError, require

TOKEN = "TWINSET_TOKEN"
_ARENAS = -8  # M_ARENA_MAX in malloc.h
# Seconds after which a thread that decodes lets the one go on that answers. By Python's own 0.005
# each packet waits so long: of 64 who ask at once the slowest waited twice as long.
_TURN = 0.001
_SHORTEST = 16  # characters: what a machine cannot guess at the rate that the server allows


def serve(args: Namespace) -> int:
    """Serve a model and an index over HTTP: an API, and a page.

    One process, offline, without Keras. Nobody may write unless a token is given. Ctrl-C or
    SIGTERM finishes what was accepted; SIGHUP takes up what has changed in RUN and the index.

        twinset serve runs/first --index photos.index
        TWINSET_TOKEN=… twinset serve runs/first --index photos.index --host 0.0.0.0
    """
    import pydantic  # here, as it takes a while

    token = _token(args.token_file)
    _share_memory()
    # What is imported and opened stays, so looking for garbage in it takes a tenth of the start.
    gc.disable()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_TURN)
    # FastAPI has forty models for its description of the API, and we as many: built when it is
    # asked for, and not before the first answer, which takes a tenth of the start.
    how = pydantic.BaseModel.model_config
    how["defer_build"] = True
    try:
        _run(args, token)
    finally:
        del how["defer_build"]
        sys.setswitchinterval(interval)
        gc.enable()
    return 0


def _run(args: Namespace, token: str | None) -> None:
    try:
        from twinset.server.limits import Limits
        from twinset.server.running import serve as run
    except ModuleNotFoundError as error:
        require((error.name or "twinset").partition(".")[0], "serve", "the server", DataError)
        raise

    def ready(url: str) -> None:
        gc.freeze()
        gc.enable()
        note(f"serve: {url}")

    given = {each.name: getattr(args, each.name) for each in fields(Limits)}
    run(
        args.run,
        args.index,
        host=args.host,
        port=args.port,
        token=token,
        hosts=("localhost", *args.allow_host),
        limits=Limits(**{name: value for name, value in given.items() if value is not None}),
        uploads=args.uploads,
        ready=ready,
    )


def _share_memory() -> None:
    # glibc keeps free memory apart for each thread, and a server has a dozen: it would grow for
    # minutes under load, and give nothing back. Other systems have no such function.
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(_ARENAS, 2)


def _token(path: Path | None) -> str | None:
    # never as an argument, which everybody on the machine can read
    if path is None:
        token = os.environ.get(TOKEN)
    else:
        token = path.read_bytes().decode("utf-8", "replace").strip()
    if token is not None and not (len(token) >= _SHORTEST and token.isascii() and " " not in token):
        raise DataError(
            f"Expected a token of {_SHORTEST} characters or more, of ASCII and without spaces. "
            f"Received one of {len(token)} characters: make one with "
            "`python -c 'import secrets; print(secrets.token_urlsafe())'`."
        )
    return token


def _serve(takes: Arguments) -> None:
    takes.option("run", A_MODEL, type=Path)
    takes.option("--index", f"Serve this index as well: {INDEX_PLACE}.", metavar="INDEX")
    takes.option("--host", "Address to listen at.", default="127.0.0.1")
    takes.option("--port", "Port to listen at; 0 takes a free one.", type=int, default=8000)
    takes.option(
        "--token-file",
        f"A file with the token that writes must bring. Default: ${TOKEN}, else nobody may write.",
        type=Path,
        metavar="FILE",
    )
    takes.option(
        "--uploads",
        "Keep the images of added items in this folder. Default: one in the folder of the index.",
        type=Path,
        metavar="FOLDER",
    )
    takes.option(
        "--allow-host",
        "A further name by which the server is reached, such as twins.example.org. Repeatable.",
        action="append",
        default=[],
        metavar="NAME",
    )
    # the limits are declared in one place; reading them must cost no FastAPI
    from twinset.server.limits import Limits

    for each in fields(Limits):
        takes.option(
            f"--{each.name.replace('_', '-')}",
            f"{each.metadata['about']} Default: {each.default:,}.",
            type=type(each.default),
            metavar="N",
        )


COMMANDS = {serve: _serve}
