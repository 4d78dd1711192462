"""The request guard: every request passes it before anything else sees it, every answer on its way out.

- A page of another site may not write here: if a browser says where a request comes from (Origin), that must
  be this server. (Gradio alone reflects any Origin, with credentials.)
- A server bound to this machine answers only to this machine's names. Otherwise a site whose name is made to
  point at 127.0.0.1 would be the same origin as Podium and could read it (DNS rebinding).
- A body is read up to a limit before the app is called: nothing here needs a large one.
- Gradio's routes that Podium does not use (uploads and the like) do not exist.
- Answers carry a policy that keeps the browser at home: no request to another host, whatever a model writes.
  Gradio compiles its templates in the browser, hence 'unsafe-eval' and 'unsafe-inline' for scripts.

Pure ASGI: Starlette's `@app.middleware("http")` breaks streaming answers when a client leaves.
"""

import json
from collections.abc import Collection
from functools import lru_cache
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_LIMIT = 256 * 1024  # guidelines, or a better response, in any script
READING = {"GET", "HEAD", "OPTIONS"}
UNUSED = ("/gradio_api/upload", "/gradio_api/component_server", "/gradio_api/runs", "/gradio_api/proxy=")
SECURITY_HEADERS = {
    "Content-Security-Policy": "; ".join(
        [
            "default-src 'self'",
            "script-src 'self' 'unsafe-eval' 'unsafe-inline'",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "worker-src 'self' blob:",
            "object-src 'none'",
            "base-uri 'self'",
            "form-action 'self'",
            "frame-ancestors 'self'",
        ]
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
# As ASGI sends them.
_SECURITY = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
_NOT_KEPT = [*_SECURITY, (b"cache-control", b"no-store")]


class Guard:
    """Wrap an app. `hosts` are the names it answers to; None for any."""

    def __init__(self, app: ASGIApp, hosts: Collection[str] | None = None, body_limit: int = BODY_LIMIT):
        self.app, self.hosts, self.body_limit = app, hosts, body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # lifespan; there are no websockets, and no way in through one
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008})
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                said = list(message.get("headers", []))
                names = {name.lower() for name, _ in said}
                ours = _NOT_KEPT if scope["path"].startswith("/api/") else _SECURITY
                message["headers"] = said + [header for header in ours if header[0] not in names]
            await send(message)

        refused = self._refusal(scope)
        if refused is None and scope["method"] not in READING:
            body = await _read(receive, self.body_limit)
            if body is None:
                refused = 413, f"The body is larger than {self.body_limit // 1024} kB."
            else:
                receive = _again(body, receive)
        if refused is not None:
            await _refuse(*refused, send_guarded)
            return
        await self.app(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self.hosts is not None and _name(host) not in self.hosts:
            return 403, f"This server answers only to {' and '.join(sorted(self.hosts))}."
        # "null" (a sandboxed frame, a file) has no host and is refused like any other stranger.
        origin = headers.get("origin")
        if scope["method"] not in READING and origin and _url(origin).netloc != host:
            return 403, "A page of another site may not write here."
        if any(route in scope["path"] for route in UNUSED):
            return 404, "There is nothing here."
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self.body_limit:
            return 413, f"The body is larger than {self.body_limit // 1024} kB."
        return None


@lru_cache(maxsize=100)
def _name(host: str) -> str | None:
    """The name in a Host header, without the port."""
    return _url(f"//{host}").hostname


def _url(text: str) -> SplitResult:
    """A URL's parts; of a malformed one there are none, so it equals nothing of ours."""
    try:
        return urlsplit(text)
    except ValueError:
        return urlsplit("")


async def _read(receive: Receive, limit: int) -> bytes | None:
    """The whole body, or None when it passes the limit (a chunked body does not say its length)."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return bytes(body)
        body += message.get("body", b"")
        if len(body) > limit:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body once more, then whatever the server has to say (a disconnect)."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _refuse(status: int, sentence: str, send: Send) -> None:
    body = json.dumps({"error": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 413:
        headers.append((b"connection", b"close"))  # the rest of the body was not read
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
