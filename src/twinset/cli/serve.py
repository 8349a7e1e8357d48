"""The command that serves a model and an index over HTTP: `serve`."""

from __future__ import annotations

import os
from argparse import Namespace
from dataclasses import fields
from pathlib import Path

from twinset.cli.arguments import A_MODEL, INDEX_PLACE, Arguments, note
from twinset.errors import DataError

TOKEN = "TWINSET_TOKEN"


def serve(args: Namespace) -> int:
    """Serve a model and an index over HTTP: an API, and a page.

    One process, offline, without Keras. Nobody may write unless a token is given. Ctrl-C or
    SIGTERM finishes what was accepted; SIGHUP takes up what has changed in RUN and the index.

        twinset serve runs/first --index photos.index
        TWINSET_TOKEN=… twinset serve runs/first --index photos.index --host 0.0.0.0
    """
    token = _token(args.token_file)
    try:
        from twinset.server.limits import Limits
        from twinset.server.running import serve as run
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("twinset"):
            raise
        raise DataError(
            f"Expected the packages of the server. {error.name} is not installed: "
            "`pip install 'twinset[serve]'`."
        ) from None
    limits = Limits(
        **{
            each.name: value
            for each in fields(Limits)
            if (value := getattr(args, each.name)) is not None
        }
    )
    run(
        args.run,
        args.index,
        host=args.host,
        port=args.port,
        token=token,
        hosts=("localhost", *args.allow_host),
        limits=limits,
        ready=lambda url: note(f"serve: {url}"),
    )
    return 0


def _token(path: Path | None) -> str | None:
    # never as an argument, which everybody on the machine can read
    token = os.environ.get(TOKEN) if path is None else path.read_text("utf-8").strip()
    if token is not None and len(token) < 16:
        raise DataError(
            f"Expected a token of 16 characters or more. Received {len(token)}: make one with "
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
