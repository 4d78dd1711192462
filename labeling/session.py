"""Who is asking: one cookie with a random token, of which the database keeps only the hash.

There is no login yet: whoever can reach the server may rank. A visit to a page makes a person; programs name
themselves through `POST /api/session`, or share the person "api" when they send no cookie at all.
"""

import logging
import re
import secrets
from http.cookies import SimpleCookie

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from labeling.store import Person, Store, StoreError

COOKIE = "podium"
YEAR = 365 * 24 * 3600
PAGES = ("/annotate", "/annotate/", "/lab", "/lab/", "/docs")
# Browsers send one of these with what a page asks for (over plain http only the second), programs neither.
OF_BROWSERS = ("sec-fetch-site", "referer")
log = logging.getLogger(__name__)
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


class SessionUnknown(Exception):
    """The cookie is not one of this database's (another run directory, or somebody else's Podium), or a page
    asks without one."""


def new_token() -> str:
    """A fresh secret for a cookie: 32 random bytes."""
    return secrets.token_urlsafe(32)


def cookie_header(token: str, secure: bool) -> str:
    """The Set-Cookie value: not readable by scripts, not sent along from other sites' forms."""
    cookie = SimpleCookie({COOKIE: token})[COOKIE]
    cookie.update({"path": "/", "max-age": YEAR, "httponly": True, "samesite": "Lax", "secure": secure})
    return cookie.OutputString()


def read_token(scope: Scope) -> str | None:
    """The token in a request's cookie, if it looks like one of ours."""
    token = cookie_parser(Headers(scope=scope).get("cookie", "")).get(COOKIE, "")
    return token if _TOKEN.fullmatch(token) else None


def person_asking(store: Store, scope: Scope) -> Person:
    """Whose request this is. Without a cookie: the shared program, so that curl and scripts just work.

    An unknown cookie is somebody's browser after the run directory was changed, and a page without one has
    lost it. Counting them as a program would mislabel their rankings: they are asked to reload, which makes
    them a person here.
    """
    token = read_token(scope)
    if token is None:
        if any(name in Headers(scope=scope) for name in OF_BROWSERS):
            raise SessionUnknown
        return store.shared_program()
    person = store.session(token)
    if person is None:
        raise SessionUnknown
    return person


class Visits:
    """Give everybody who opens a page a person and the cookie for it.

    A well-formed cookie that this database does not know is kept and registered here: cookies do not know
    ports, so a second Podium on the same machine would otherwise take the first one's visitors away.
    """

    def __init__(self, app: ASGIApp, store: Store) -> None:
        self.app, self.store = app, store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Only a browser opening a page: a health check on /annotate does not become an annotator.
        visit = (
            scope["type"] == "http"
            and scope["method"] == "GET"
            and scope["path"] in PAGES
            and "text/html" in Headers(scope=scope).get("accept", "")
        )
        if not visit:
            await self.app(scope, receive, send)
            return
        token = read_token(scope) or new_token()
        try:
            await run_in_threadpool(self._meet, token)
        except Exception as error:  # the database's; the app's error handlers are further in
            log.error("a visit: %s", error)
            why = str(error) if isinstance(error, StoreError) else f"The database cannot be used: {error}."
            await PlainTextResponse(why, 503)(scope, receive, send)
            return

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                secure = scope.get("scheme") == "https"
                MutableHeaders(scope=message).append("Set-Cookie", cookie_header(token, secure))
            await send(message)

        await self.app(scope, receive, send_with_cookie)

    def _meet(self, token: str) -> None:
        if self.store.session(token) is None:
            self.store.add_person(token, f"annotator-{secrets.token_hex(2)}", "human")
