"""Answers leave packed, and files whose names change with their contents are asked for once.

Gradio packs its scripts and styles, anew for each visitor, and nothing else: a page is 150 kB of text, 40
when packed. Here everything worth it is, files and pages once for all who come. Streams pass as they are:
only an answer that says how long it is is waited for.

Pure ASGI, as the guard is.
"""

import gzip
import re
from functools import lru_cache

import brotli
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SMALLEST = 1_000  # bytes; what fits one packet gains nothing
LONG = 300_000  # packed beside the loop that answers everybody: it takes more than 10 ms
LARGEST = 4_000_000
_TEXT = re.compile(
    r"text/(html|css|plain|javascript)|application/(json|javascript|manifest\+json)|image/svg\+xml"
)
# Gradio's names of built files: index-DphvyggB.js. The style sheet of the theme has its hash as ?v=.
_HASHED = re.compile(r"/assets/[\w.-]+-[\w-]{8,}\.\w+|/theme\.css\?v=\w{32,}")
_REFUSED = re.compile(r";\s*q=0(\.0*)?\s*$")


class Compression:
    """Wrap an app."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        encoding = accepted(Headers(scope=scope).get("accept-encoding", ""))
        if encoding:  # what is further in would pack by itself
            headers = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
            scope = scope | {"headers": headers}
        started: Message | None = None  # held back until its body is whole
        body = bytearray()

        async def send_packed(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                _keep(scope, message)
                if encoding and _worth_it(scope, message):
                    started = message
                    return
            elif started is not None and message["type"] == "http.response.body":
                body.extend(message.get("body", b""))
                if message.get("more_body", False):
                    return
                start, started = started, None
                shared = not scope["path"].startswith("/api/")  # the same for everybody
                pack = _pack_once if shared else _pack_soon
                if len(body) < LONG:
                    packed = pack(bytes(body), encoding)
                else:
                    packed = await run_in_threadpool(pack, bytes(body), encoding)
                headers = MutableHeaders(scope=start)
                headers["Content-Encoding"] = encoding
                headers["Content-Length"] = str(len(packed))
                headers.add_vary_header("Accept-Encoding")
                if headers.get("etag", "").startswith('"'):  # of the same meaning, not of the same bytes
                    headers["etag"] = "W/" + headers["etag"]
                await send(start)
                message = {"type": "http.response.body", "body": packed}
            await send(message)

        await self.app(scope, receive, send_packed)


@lru_cache(maxsize=100)
def accepted(header: str) -> str | None:
    """The best of what a client takes; browsers take Brotli over https and from their own machine only."""
    taken = {part.split(";")[0].strip().lower() for part in header.split(",") if not _REFUSED.search(part)}
    return next((name for name in ("br", "gzip") if name in taken), None)


def _keep(scope: Scope, message: Message) -> None:
    """A name with a hash always means the same: the browser need never ask again."""
    target = scope["path"] + ("?" + scope["query_string"].decode("latin-1") if scope["query_string"] else "")
    if message["status"] == 200 and _HASHED.search(target):
        MutableHeaders(scope=message)["Cache-Control"] = "public, max-age=31536000, immutable"


def _worth_it(scope: Scope, message: Message) -> bool:
    headers = Headers(scope=message)
    length = headers.get("content-length", "")
    return (
        scope["method"] != "HEAD"
        and message["status"] == 200
        and length.isdecimal()
        and SMALLEST <= int(length) <= LARGEST
        and "content-encoding" not in headers
        and _TEXT.match(headers.get("content-type", "")) is not None
    )


@lru_cache(maxsize=200)
def _pack_once(body: bytes, encoding: str) -> bytes:
    # 3 ms for 100 kB; Brotli's level 9 takes 15 times as long for 1 % less
    return brotli.compress(body, quality=5) if encoding == "br" else gzip.compress(body, 6, mtime=0)


def _pack_soon(body: bytes, encoding: str) -> bytes:
    """What one asks for and waits for: of a task, a third of the time for a tenth more."""
    return brotli.compress(body, quality=2) if encoding == "br" else gzip.compress(body, 1, mtime=0)
