"""Pages for people: the chat page, one file, and the policy that lets a browser run just what is in a page."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response


async def chat_page(_: Request) -> Response:
    """``/``: needs no key, as it holds nothing but itself; it asks for the key when the API does."""
    return html_response(_chat_html())


def html_response(html: str) -> HTMLResponse:
    """A page whose browser may run the scripts and styles that are in it, and no others."""
    return HTMLResponse(html, headers=_headers(html))


@functools.cache
def _chat_html() -> str:
    return files("edgegen_serve").joinpath("page.html").read_text(encoding="utf-8")


@functools.lru_cache(maxsize=4)
def _headers(html: str) -> dict[str, str]:
    policy = (
        f"default-src 'none'; script-src {_hashes('script', html)}; style-src {_hashes('style', html)}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }


def _hashes(tag: str, html: str) -> str:
    contents = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in contents)
    return " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
