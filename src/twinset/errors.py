"""Every error that twinset raises on purpose.

::

    TwinsetError
    ├── DataError               images, labels or pairs that cannot be used
    │   ├── ImageFileError      one image file: missing, empty, huge, truncated, not an image
    │   └── DownloadError       a data set that no source could provide
    ├── RecipeError             an unknown key, a wrong type, a value out of range
    ├── ModelError              a folder that holds no model, or one of another version
    ├── StoreError              an index that cannot be opened, of another model, without such an id
    │   ├── UnknownItemError    an id that the index does not hold
    │   └── ReplacedError       the index was made anew, or switched to another model, while open
    ├── ServerError             a server of twinset says no, or does not answer
    ├── MissingError            a package that something needs is not installed
    ├── UnfinishedError         a model is trained and saved, but its report or the like failed
    └── TrainingError           training stopped for a reason that more epochs will not mend
        ├── NonFiniteLossError  the loss became NaN or infinite
        ├── DivergedError       the loss rose far above where it began
        ├── CollapseError       all embeddings became equal
        └── IdleError           the loss moves nothing any more

Each message says what was expected, what came, and what to do. The command line prints it as
one line and exits with code 2.
"""

import importlib.util


class TwinsetError(Exception):
    """The root: catching it catches every error that is the caller's to mend.

    Example:
        >>> import twinset
        >>> try:
        ...     twinset.load_model("nowhere")
        ... except TwinsetError as error:
        ...     print(str(error).partition(",")[0])
        nowhere: expected a model folder
    """


def reason(error: Exception) -> str:
    """Tell why the system refused, without its number and the path, or what else an error says."""
    return getattr(error, "strerror", None) or str(error)


class DataError(TwinsetError, ValueError):
    """Images, labels or pairs that cannot be used."""


class ImageFileError(DataError):
    """An image file that cannot be read."""


class DownloadError(DataError):
    """A data set that no source could provide."""


class RecipeError(TwinsetError, ValueError):
    """A recipe with an unknown key, a wrong type, or a value out of range."""


class ModelError(TwinsetError, ValueError):
    """A folder that holds no model, or one that this version cannot read."""


class StoreError(TwinsetError, ValueError):
    """An index that cannot be opened or written, is of another model, or lacks an id."""


class UnknownItemError(StoreError):
    """An id that an index does not hold."""


class ReplacedError(StoreError):
    """An index that was made anew, or switched to another model, since it was opened."""


class TakenError(StoreError):
    """A place for a new index that has one already."""


class MissingError(TwinsetError, ImportError):
    """An installation without the package that something needs."""


def without(package: str, extra: str, what: str) -> str | None:
    """Say that a package is not installed, and how to get it; None where it is there."""
    if importlib.util.find_spec(package) is not None:  # found, not imported, which may take seconds
        return None
    wanted = f"'twinset[{extra}]'" if extra else package.replace("_", "-")
    return (
        f"Expected {package} to be installed, for {what}. Received an installation without it: "
        f"`pip install {wanted}`."
    )


def require(package: str, extra: str, what: str, kind: type[Exception], place: str = "") -> None:
    """Raise where a package is not installed; `extra` of ours brings it, "" where none does."""
    if missing := without(package, extra, what):
        raise kind(f"{place}: {missing}" if place else missing)


def no_drawing() -> str | None:
    """Say why nothing can be drawn here; None where it can."""
    return without("matplotlib", "pictures", "pictures")


class ServerError(TwinsetError, RuntimeError):
    """A server of twinset that says no, or does not answer.

    Args:
        message: its reason.
        status: of HTTP; 0 where nobody answered.
        type: of the problem (RFC 9457), such as "urn:twinset:problem:no-item".
    """

    def __init__(self, message: str, *, status: int = 0, type: str = "about:blank") -> None:  # noqa: A002
        super().__init__(message)
        self.status = status
        self.type = type


class UnfinishedError(TwinsetError, RuntimeError):
    """The model is trained and saved, but a later step failed; its cause is the error itself."""


class TrainingError(TwinsetError, RuntimeError):
    """Training that stopped for a reason that more epochs will not mend."""


class NonFiniteLossError(TrainingError):
    """The loss became NaN or infinite."""


class DivergedError(TrainingError):
    """The loss rose far above where it began."""


class IdleError(TrainingError):
    """The loss has no gradient, batch after batch, and is not at its best either."""


class CollapseError(TrainingError):
    """All embeddings became equal, so every pair looks the same."""
