"""Models on the Hugging Face Hub: fetched by `hf://user/name`, and pushed; never with code."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from twinset import tables
from twinset.data.decoding.decode import Preprocessing
from twinset.errors import ModelError, require
from twinset.files import MEMBERS, write_bytes
from twinset.models.card import CARD, ENCODER, GRAPH, HISTORY, RECIPE, Essentials, read_card

_NAME = re.compile(r"(?P<repo>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>[^@\s]+))?", re.ASCII)
# All that a run's folder and its model are: nothing else is fetched, whatever a repository holds.
FILES = (CARD, ENCODER, GRAPH, RECIPE, HISTORY, MEMBERS)
# Who takes this line out keeps a README of his own.
_OURS = "<!-- Written anew by each push, as long as this line is here. -->"


class _Address(NamedTuple):
    text: str
    repo: str
    revision: str | None


def _address(place: str | os.PathLike[str]) -> _Address | None:
    # a `Path` has made one slash, or a backslash, of the two
    text = Path(place).as_posix()
    if not text.startswith("hf:/") or Path(place).exists():
        return None
    text = f"hf://{text.removeprefix('hf:').lstrip('/')}"
    found = _NAME.fullmatch(text.removeprefix("hf://"))
    if found is None:
        raise ModelError(
            f"{text}: expected hf://USER/NAME, or hf://USER/NAME@REVISION for a branch, tag or "
            "commit. Received another form."
        )
    return _Address(text, found["repo"], found["revision"])


def is_on_hub(place: str | os.PathLike[str]) -> bool:
    """Tell the address of a model on the hub from a path."""
    return _address(place) is not None


def local_folder(place: str | os.PathLike[str], *, token: str | None = None) -> Path:
    """Fetch the folder of a model on the hub, unless it was before; a path is returned as it is."""
    asked = _address(place)
    if asked is None:
        return Path(place)
    with _told(asked.text):
        from huggingface_hub import snapshot_download

        # given anew, as huggingface_hub reads its environment once, when it is imported
        folder = Path(
            snapshot_download(
                asked.repo,
                revision=asked.revision,
                allow_patterns=list(FILES),
                token=token,
                endpoint=os.environ.get("HF_ENDPOINT"),
                cache_dir=os.environ.get("HF_HUB_CACHE"),
                library_name="twinset",
            )
        )
    if not any((folder / name).is_file() for name in (CARD, GRAPH)):
        raise ModelError(
            f"{asked.text}: expected a model of twinset, with {CARD} or {GRAPH}. Received a "
            "repository without: push one with `twinset push`."
        )
    return folder


def own_folder(place: str | os.PathLike[str]) -> Path:
    """Return a folder that results can be written to beside the model: of the hub's, a copy."""
    asked, folder = _address(place), local_folder(place)
    if asked is None:
        return folder
    own = Path("runs", asked.repo.replace("/", "--"))
    for name in FILES:
        if (folder / name).is_file():
            write_bytes(own / name, (folder / name).read_bytes())
        else:  # of another revision
            (own / name).unlink(missing_ok=True)
    return own


def push(
    model: Any,
    name: str,
    *,
    private: bool = True,
    token: str | None = None,
    revision: str | None = None,
) -> str:
    """Upload an `Embedder`; see its `push_to_hub`."""
    asked = _NAME.fullmatch(name.removeprefix("hf://"))
    if asked is None or asked["revision"]:
        raise ModelError(f"Expected a name such as 'user/name' to push to. Received {name!r}.")
    repo = asked["repo"]
    if not callable(getattr(model, "save", None)):  # a class of the user's own
        raise ModelError(
            f"Expected a model that can be saved. Received {type(model).__name__}: give it `save`."
        )
    address = f"hf://{repo}"
    with _told(address), tempfile.TemporaryDirectory() as draft:
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

        hub = HfApi(os.environ.get("HF_ENDPOINT"), token=token, library_name="twinset")
        # before the model is written: a wrong name or token costs no time
        hub.create_repo(repo, private=private, exist_ok=True)
        if revision is not None:
            hub.create_branch(repo, branch=revision, exist_ok=True)
        model.save(draft)
        _forget_places(Path(draft, RECIPE))
        if not Path(draft, GRAPH).is_file():
            read_card(draft)  # or nobody could load it
        scores = "" if model.home is None else _beside(model, model.home, Path(draft))
        sent = [path for path in sorted(Path(draft).iterdir()) if path.name in FILES]
        content: dict[str, Any] = {path.name: path for path in sent}
        there = hub.list_repo_files(repo, revision=revision)
        if "README.md" not in there or _is_ours(hub, repo, revision):
            content["README.md"] = _readme(model, repo, scores).encode(errors="backslashreplace")
        # an earlier model's graph or parts would be taken for this one's
        gone = [name for name in there if name in FILES and name not in content]
        done = hub.create_commit(
            repo,
            [
                *(CommitOperationAdd(where, what) for where, what in content.items()),
                *(CommitOperationDelete(name) for name in gone),
            ],
            commit_message=f"Model {model.digest[:12]} of twinset",
            revision=revision,
        )
    return f"{address}@{done.oid}"


def _beside(model: Any, run: Path, draft: Path) -> str:
    """Copy which images a run has used, as fingerprints alone; return its scores."""
    from twinset.data.load import WHERE  # here, as it takes longer to import than a model to load

    if (run / MEMBERS).is_file():
        content = io.BytesIO()
        with np.load(run / MEMBERS) as members:
            kept: dict[str, Any] = {n: members[n] for n in members.files if n not in WHERE}
        np.savez(content, **kept)
        write_bytes(draft / MEMBERS, content.getvalue())
    scores = run / "evaluation.md"
    # those of another threshold are not this model's
    if scores.is_file() and read_card(run).threshold == model.threshold:
        return scores.read_text("utf-8", "replace")
    return ""


def _forget_places(recipe: Path) -> None:
    # where a file of weights lay is nobody's business, and the model has them
    if recipe.is_file():
        named = re.compile(r'^((?:file|weights) = ").*[/\\]', re.MULTILINE)
        write_bytes(recipe, named.sub(r"\1", recipe.read_text("utf-8")).encode())


def _is_ours(hub: Any, repo: str, revision: str | None) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        found = hub.hf_hub_download(repo, "README.md", revision=revision, local_dir=folder)
        return _OURS in Path(found).read_text("utf-8", "replace")


def _readme(model: Any, repo: str, scores: str) -> str:
    about, threshold = Essentials.of(model), model.threshold
    facts = {
        "Takes": f"images of {' × '.join(map(str, about.preprocessing.shape))}"
        if isinstance(about.preprocessing, Preprocessing)
        else f"vectors of {about.preprocessing.size} numbers",
        "Gives": f"embeddings of {model.dim} numbers, compared by the Euclidean distance",
        "Threshold": f"same up to {threshold.value:.4g} ({threshold.origin})",
        "Errors": threshold.promise,
        "Trained on": f"{about.trained_on.name}: {about.trained_on.images:,} images, "
        f"{len(model.class_names):,} classes",
        "Began with": "; ".join(
            f"{each.name} ({each.licence or 'licence not known'})" for each in model.provenance
        ),
        "Digest": f"`{model.digest[:12]}`",
    }
    rows = [[what, told] for what, told in facts.items() if told]
    head = json.dumps(["twinset", "siamese", "metric-learning", "image-similarity"])
    evaluation = re.sub(r"^#", "##", scores, flags=re.MULTILINE)
    return f"""\
---
library_name: twinset
pipeline_tag: image-feature-extraction
tags: {head}
---
{_OURS}

# {repo}

A siamese network of [twinset](https://pypi.org/project/twinset/): it says whether two images show
the same, and finds the nearest of many.

```sh
pip install 'twinset[hub]'
twinset compare hf://{repo} a.jpg b.jpg
```

```python
import twinset

model = twinset.load_model("hf://{repo}")
print(model.compare("a.jpg", "b.jpg"))
```

{tables.markdown(["", "this model"], rows)}

{evaluation}"""


@contextmanager
def _told(address: str) -> Iterator[None]:
    require("huggingface_hub", "hub", "models on the hub", ModelError, address)
    try:
        with _bars():
            yield
    except ModelError:
        raise
    except Exception as error:
        # each of its ways through the network raises classes of its own
        known = type(error).__module__.startswith(("huggingface_hub", "httpx", "requests"))
        if not (known or isinstance(error, ConnectionError)):
            raise
        raise ModelError(f"{address}: {_words(error)}") from None


@contextmanager
def _bars() -> Iterator[None]:
    # a log wants none of the bars that huggingface_hub draws
    import huggingface_hub.utils as bars

    if sys.stderr.isatty() or bars.are_progress_bars_disabled():  # type: ignore[attr-defined]
        yield
        return
    bars.disable_progress_bars()  # type: ignore[attr-defined]
    try:
        yield
    finally:
        bars.enable_progress_bars()  # type: ignore[attr-defined]


def _words(error: Exception) -> str:
    from huggingface_hub import errors

    status = getattr(getattr(error, "response", None), "status_code", 0)
    login = "set HF_TOKEN, or call `hf auth login`, with a token that may {}"
    if isinstance(error, errors.GatedRepoError):
        return "expected a repository open to you. It asks for consent: give it on its page there."
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            "expected a repository that you may read. There is none of this name, or it is "
            f"private: check the name, or {login.format('read it')}."
        )
    if isinstance(error, errors.HFValidationError):
        return f"expected a name that the hub knows. {' '.join(str(error).split())}"
    if isinstance(error, errors.RevisionNotFoundError):
        return "expected a branch, tag or commit of the repository. It has none of this name."
    if isinstance(error, errors.LocalEntryNotFoundError) or not status:
        where = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
        return (
            f"expected {where} to answer, or a whole copy fetched before. It does not, and there "
            "is none: check the network (HF_ENDPOINT, HF_HUB_OFFLINE)."
        )
    if status in (401, 403):
        return f"expected the right to do this. The hub says no: {login.format('write there')}."
    told = " ".join(str(getattr(error, "server_message", None) or error).split())[:300]
    return f"expected the hub to do it. It answered {status}: {told}."
