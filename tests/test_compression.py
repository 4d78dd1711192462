"""What leaves packed and what does not, and for how long it may be kept."""

import gzip

import brotli
import pytest
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from labeling.compression import LONG, SMALLEST, Compression, accepted

TEXT = "many words, " * SMALLEST
PACKED = {"br": brotli.decompress, "gzip": gzip.decompress}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    script = tmp_path_factory.mktemp("files") / "script.js"
    script.write_text(TEXT)
    answers = {
        "/text": lambda _: PlainTextResponse(TEXT),
        "/long": lambda _: PlainTextResponse(TEXT * (LONG // len(TEXT) + 1)),
        "/api/data": lambda _: JSONResponse([TEXT]),
        "/file": lambda _: FileResponse(script),
        "/assets/index-DphvyggB.js": lambda _: FileResponse(script),
        "/assets/index.js": lambda _: FileResponse(script),
        "/theme.css": lambda _: Response(TEXT, media_type="text/css"),
        "/assets/missing-DphvyggB.js": lambda _: PlainTextResponse(TEXT, 404),
        "/small": lambda _: PlainTextResponse("x" * (SMALLEST - 1)),
        "/picture": lambda _: Response(TEXT, media_type="image/png"),
        "/stream": lambda _: StreamingResponse(iter([TEXT, TEXT]), media_type="text/plain"),
        "/events": lambda _: StreamingResponse(iter(["data: x\n\n"] * 900), media_type="text/event-stream"),
        "/packed": lambda _: Response(
            gzip.compress(TEXT.encode()), media_type="text/plain", headers={"Content-Encoding": "gzip"}
        ),
        "/says": lambda request: PlainTextResponse(request.headers.get("accept-encoding", "") + TEXT),
    }
    routes = [Route(path, answer, methods=["GET", "POST"]) for path, answer in answers.items()]
    routes.append(Mount("/static", StaticFiles(directory=script.parent)))
    with TestClient(Compression(Starlette(routes=routes))) as client:
        yield client


def fetch(client, path, encoding="gzip, deflate, br", method="GET", **headers):
    """The answer's headers, and its body as it came over the wire."""
    with client.stream(method, path, headers={"Accept-Encoding": encoding, **headers}) as answer:
        return answer.headers, b"".join(answer.iter_raw())


@pytest.mark.parametrize("path", ["/text", "/api/data", "/file", "/long"])
@pytest.mark.parametrize(
    ("offer", "encoding"), [("gzip, deflate, br, zstd", "br"), ("gzip, deflate", "gzip")]
)
def test_text_is_packed(client, path, offer, encoding):
    for method in ("GET", "POST", "GET"):
        headers, body = fetch(client, path, offer, method)
        assert headers["content-encoding"] == encoding
        assert headers["vary"] == "Accept-Encoding"
        assert int(headers["content-length"]) == len(body) < len(TEXT) / 5
        assert TEXT.encode() in PACKED[encoding](body)


@pytest.mark.parametrize("path", ["/small", "/picture", "/stream", "/events", "/assets/missing-DphvyggB.js"])
def test_what_is_small_no_text_a_stream_or_an_error_is_not(client, path):
    headers, body = fetch(client, path)
    assert "content-encoding" not in headers
    assert body == fetch(client, path, "identity")[1]


def test_what_is_packed_already_stays_as_it_is_and_parts_do_too(client):
    headers, body = fetch(client, "/packed")
    assert (headers["content-encoding"], gzip.decompress(body)) == ("gzip", TEXT.encode())
    headers, body = fetch(client, "/file", Range="bytes=0-3")
    assert ("content-encoding" in headers, body) == (False, b"many")
    headers, body = fetch(client, "/file", method="HEAD")
    assert ("content-encoding" in headers, body) == (False, b"")


def test_who_takes_nothing_gets_text(client):
    headers, body = fetch(client, "/text", "identity")
    assert ("content-encoding" in headers, body) == (False, TEXT.encode())
    offers = {"": None, "gzip;q=0, br; q=0.0": None, "br;q=0, gzip;q=0.5": "gzip", "GZIP": "gzip", "*": None}
    assert {offer: accepted(offer) for offer in offers} == offers


def test_what_is_further_in_does_not_pack_too(client):
    assert PACKED["br"](fetch(client, "/says")[1]) == TEXT.encode()
    assert fetch(client, "/says", "deflate")[1] == b"deflate" + TEXT.encode()


def test_a_name_with_a_hash_is_kept_for_good(client):
    for path in ("/assets/index-DphvyggB.js", f"/theme.css?v={'0f' * 32}"):
        for encoding in ("br", "identity"):
            assert fetch(client, path, encoding)[0]["cache-control"] == "public, max-age=31536000, immutable"
    for path in ("/assets/index.js", "/theme.css", "/text", "/assets/missing-DphvyggB.js"):
        assert "cache-control" not in fetch(client, path)[0]


def test_who_has_it_is_told_so(client):
    headers, _ = fetch(client, "/static/script.js")
    assert headers["etag"].startswith('W/"')
    again = client.get("/static/script.js", headers={"If-None-Match": headers["etag"]})
    assert again.status_code == 304
