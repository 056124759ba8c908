"""``edgegen serve``."""

from __future__ import annotations

import re
from pathlib import Path

import click

from edgegen.cli.output import Output, output_options
from edgegen.errors import ErrorCode, UsageError

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def _bytes(_: click.Context, __: click.Parameter, size: str) -> int:
    """Number of bytes in a size such as ``500kB`` or ``1MB``."""
    match = re.fullmatch(r"(\d{1,12}) ?([a-z]*)", size.strip().lower())
    if not match or match[2] not in _UNITS:
        raise click.BadParameter(f"{size!r} is no size; write it like 500kB or 1MB")
    return int(match[1]) * _UNITS[match[2]]


@click.command()
@click.argument("model", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: one that is free.")
@click.option(
    "--api-key", envvar="EDGEGEN_API_KEY", help="Key that requests must have; better set EDGEGEN_API_KEY, as others "
    "can read a command line.  [needed for any --host but loopback]",
)  # fmt: skip
@click.option("--queue", type=click.IntRange(min=0), default=16, show_default=True, help="Requests that may wait.")
@click.option(
    "--timeout", type=click.IntRange(min=1), default=120, show_default=True,
    help="Seconds for one request: being sent, waiting, being answered.",
)  # fmt: skip
@click.option("--max-body", callback=_bytes, metavar="SIZE", default="1MB", show_default=True, help="Largest request.")
@click.option(
    "--grace", type=click.IntRange(min=0), default=10, show_default=True, help="Seconds to finish at the end."
)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: all cores]")
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
    """Serve an exported model over HTTP, as OpenAI's clients ask for it, with a chat page.

    DIR is a folder that `edgegen export` wrote. Ends with Ctrl-C or SIGTERM, after the answer under way.
    """
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
    with bind(host, port, guarded=api_key is not None) as listener:
        with output.stage("load"):
            loaded = LanguageModel.load(model, threads=threads)
        app = create_app(loaded, Settings(api_key=api_key, queue=queue, timeout=timeout, max_body=max_body))
        url = url_of(listener)

        def ready() -> None:
            output.result({"url": url, "model": loaded.bundle.name}, f"{loaded.bundle.name} at {url}, API at {url}/v1")
            output.note("Ctrl-C ends it")

        Server(app, grace=grace, ready=ready).run_until_told(listener)
