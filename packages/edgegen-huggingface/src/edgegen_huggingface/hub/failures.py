"""The client's exceptions as errors with a remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from edgegen.errors import EdgegenError, ErrorCode, ResourceError, UsageError
from edgegen_huggingface.hub.reference import Reference
from edgegen_huggingface.hub.settings import Settings

# Which HTTP library the client uses depends on its version; its errors derive from that library's.
_EXPECTED: tuple[type[BaseException], ...] = (OSError, ValueError, RuntimeError, *HfHubHTTPError.__bases__)

_NETWORK = (ConnectionError, TimeoutError)
"""Those errors with a number that are not the disk's."""

_LOGIN = "set HF_TOKEN to a token that may read it, or store one with: hf auth login"


class UnreachableError(ResourceError):
    """The hub did not answer, or broke off: the files in the cache may do instead."""

    default_code = ErrorCode.HUB_UNREACHABLE


@contextmanager
def explained(reference: Reference, settings: Settings) -> Iterator[None]:
    """Turn the client's exceptions in the block into errors with a remedy.

    Raises:
        UsageError: no such repository, no such revision.
        UnreachableError: nobody answers, or not as a hub does.
        ResourceError: it may not be read, or the cache cannot be written.
    """
    try:
        yield
    except _EXPECTED as error:
        raise _explain(_root(error), reference, settings) from error


def _root(error: BaseException) -> BaseException:
    """The client says "not in the cache either" above what happened."""
    while isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _explain(error: BaseException, reference: Reference, settings: Settings) -> EdgegenError:
    if isinstance(error, GatedRepoError):
        page = f"{settings.endpoint}/{reference.repository}"
        return ResourceError(
            f"{reference} is gated: its licence has to be accepted first",
            code=ErrorCode.ACCESS_DENIED,
            hint=f"accept it at {page}, then {_LOGIN}",
        )
    if isinstance(error, RevisionNotFoundError):
        return UsageError(
            f"{reference.repository} has no revision {reference.revision or 'main'}",
            code=ErrorCode.CHECKPOINT_NOT_FOUND,
            hint="name a branch, a tag or a whole commit hash",
        )
    if isinstance(error, RepositoryNotFoundError):
        return UsageError(
            f"no local file or folder {reference}, and no such repository on the hub",
            code=ErrorCode.CHECKPOINT_NOT_FOUND,
            hint=f"check the spelling; if it is private, {_LOGIN}",
        )
    if isinstance(error, HfHubHTTPError):
        return _refusal(error.response.status_code, reference, settings)
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, _NETWORK):
        return ResourceError(
            f"cannot keep {reference} in {settings.cache}: {error.strerror}",
            code=ErrorCode.FILE_SYSTEM,
            hint="make room or choose another folder: HF_HUB_CACHE=/path",
        )
    return UnreachableError(
        f"cannot get {reference} from {settings.endpoint}",
        details=[f"{type(error).__name__}: {_first_line(error)}"],
        hint="check the network, a proxy's settings and HF_ENDPOINT",
    )


def _refusal(status: int, reference: Reference, settings: Settings) -> EdgegenError:
    if status in (401, 403):
        return ResourceError(
            f"{settings.endpoint} refuses access to {reference} ({status})", code=ErrorCode.ACCESS_DENIED, hint=_LOGIN
        )
    if status == 429:
        return ResourceError(
            f"{settings.endpoint} takes no more requests for now ({status})",
            code=ErrorCode.RATE_LIMITED,
            hint="try again later",
        )
    return UnreachableError(f"{settings.endpoint} answers {status} for {reference}", hint="try again later")


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no further explanation")


def no_hub(settings: Settings) -> UnreachableError:
    """The error for an answer that no hub gives."""
    return UnreachableError(
        f"{settings.endpoint} does not answer like a hub",
        hint="check HF_ENDPOINT and the network",
    )
