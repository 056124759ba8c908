"""``edgegen serve``: an OpenAI-compatible server of an exported model."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import click

from edgegen.cli.options import GroupedCommand, option
from edgegen.cli.output import Output, output_options
from edgegen.errors import ErrorCode, UsageError

_REQUIRED = ("pydantic", "starlette", "uvicorn")
_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def _bytes(_: click.Context, __: click.Parameter, size: str) -> int:
    """Number of bytes in a size such as ``500kB`` or ``1MB``."""
    match = re.fullmatch(r"(\d{1,12}) ?([a-z]*)", size.strip().lower())
    if not match or match[2] not in _UNITS:
        raise click.BadParameter(f"{size!r} is no size; write it like 500kB or 1MB")
    return int(match[1]) * _UNITS[match[2]]


@contextlib.contextmanager
def required_packages() -> Iterator[None]:
    """Turn the failed import of a package that serving needs into an error that says how to install it.

    Raises:
        UsageError: one is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name not in _REQUIRED:
            raise
        raise UsageError(
            f"edgegen serve needs the package {name}",
            code=ErrorCode.DEPENDENCY_MISSING,
            hint="pip install edgegen-serve",
        ) from error


EXAMPLES = (
    ("edgegen serve smollm2", "Chat page at http://127.0.0.1:8000, API at http://127.0.0.1:8000/v1"),
    ("edgegen serve smollm2 --port 0 --json", "Any free port; its URL is printed as JSON"),
    ("edgegen serve smollm2 --host 0.0.0.0", "Serve other machines; EDGEGEN_API_KEY holds the key"),
)


@click.command(cls=GroupedCommand, examples=EXAMPLES)
@click.argument("model", metavar="DIR", type=click.Path(path_type=Path))
@option("--host", default="127.0.0.1", show_default=True, group="Network", help="Address or host name to listen on.")
@option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, group="Network",
    help="TCP port to listen on; 0 takes a free one.",
)  # fmt: skip
@option(
    "--api-key", envvar="EDGEGEN_API_KEY", group="Network",
    help="API key that requests have to carry as bearer token; better set EDGEGEN_API_KEY, as others can read a "
    "command line. Required for any host but loopback.  [default: none]",
)  # fmt: skip
@option(
    "--queue", type=click.IntRange(min=0), default=16, show_default=True, group="Limits",
    help="Queue length: requests that may wait while one is answered; further ones get 503.",
)  # fmt: skip
@option(
    "--timeout", type=click.IntRange(min=1), default=120, show_default=True, group="Limits",
    help="Time limit of one request in seconds: sending, waiting and being answered.",
)  # fmt: skip
@option(
    "--max-body", callback=_bytes, metavar="SIZE", default="1MB", show_default=True, group="Limits",
    help="Largest request body, such as 500kB or 1MB.",
)  # fmt: skip
@option(
    "--grace", type=click.IntRange(min=0), default=10, show_default=True, group="Limits",
    help="Shutdown time limit in seconds for the answer under way, after SIGINT or SIGTERM.",
)  # fmt: skip
@option("--threads", type=click.IntRange(1, 1024), group="Model and memory", help="CPU threads.  [default: all cores]")
@output_options
def serve(
    model: Path,
    *,
    host: str,
    port: int,
    api_key: str | None,
    queue: int,
    timeout: int,
    max_body: int,
    grace: int,
    threads: int | None,
    output: Output,
) -> None:
    """Serve an exported model over HTTP: OpenAI-compatible API, chat page, OpenAPI description.

    DIR is a folder that `edgegen export` wrote. Ends with Ctrl-C or SIGTERM, after the answer under way.
    """
    with required_packages():
        from edgegen_runtime import LanguageModel
        from edgegen_serve.http.app import create_app
        from edgegen_serve.http.server import Server, bind, url_of
    from edgegen_serve.settings import Settings

    if api_key is not None and not (
        api_key.strip() == api_key and api_key.isascii() and api_key.isprintable() and api_key
    ):
        raise UsageError(
            "the API key is empty, or cannot stand in a header",
            code=ErrorCode.INVALID_API_KEY,
            hint="use ASCII letters and digits, e.g. what `openssl rand -hex 24` prints",
        )
    with bind(host, port, has_key=api_key is not None) as listener:
        with output.stage("load"):
            loaded = LanguageModel.load(model, threads=threads)
        app = create_app(loaded, Settings(api_key=api_key, queue=queue, timeout=timeout, max_body=max_body))
        url = url_of(listener)

        def ready() -> None:
            output.result(
                {"url": url, "model": loaded.exported.name}, f"{loaded.exported.name} at {url}, API at {url}/v1"
            )
            output.note("Ctrl-C ends it")

        Server(app, grace=grace, ready=ready).run_until_told(listener)
