"""A scripted endpoint for chat completions: what servers do wrong, and a judge whose taste is known.

It is a real HTTP server on this machine; `transformers serve` is tried in tests/test_judge_serve.py.
"""

import json
import re
import socket
import threading
from collections.abc import Callable
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SHOWN = re.compile(r"<response ([A-D]) (\w+)>\n(.*?)\n</response \1 \2>", re.DOTALL)


def shown(messages: list[dict[str, str]]) -> dict[str, str]:
    """Letter -> response, as a judge was asked."""
    return {letter: text for letter, _, text in SHOWN.findall(messages[0]["content"])}


def ranks_by(score: Callable[[str], float]) -> Callable[[dict], str]:
    """A judge that ranks by a score, best first, wherever a response stands."""

    def answer(body: dict[str, Any]) -> str:
        scores = {letter: score(text) for letter, text in shown(body["messages"]).items()}
        better = {letter: sum(other > own for other in scores.values()) for letter, own in scores.items()}
        ranks = {letter: 1 + count for letter, count in better.items()}
        return json.dumps({"reason": "By the score.", "ranks": ranks})

    return answer


def by_place(body: dict[str, Any]) -> str:
    """A judge that prefers what it sees first."""
    letters = shown(body["messages"])
    return json.dumps({"reason": "A is first.", "ranks": {x: at for at, x in enumerate(letters, start=1)}})


class Endpoint:
    """`answer(body)` gives the text of each reply. What is in `script` comes first, one item a call: a status
    (or a pair of status and headers), "hang", "drop" (the connection is lost), "half" (in the middle of the
    answer), or bytes that are sent as they are."""

    def __init__(self, answer: Callable[[dict], str], script=(), models=("taste",)):
        self.answer, self.script, self.models = answer, list(script), models
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.refuses: set[str] = set()  # fields it does not know
        self.let_go = threading.Event()
        self.counts = True  # says how many tokens it used
        self.url = ""

    def reply(self, handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        self.asked.append(body)
        self.keys.append(handler.headers.get("authorization"))
        step = self.script.pop(0) if self.script else None
        if step == "hang":
            self.let_go.wait(10)
        if step in ("hang", "drop"):
            handler.connection.shutdown(socket.SHUT_RDWR)
            handler.close_connection = True
            return
        unknown = sorted(self.refuses & body.keys())
        if unknown:
            step = 422
        if isinstance(step, (int, tuple)):
            status, headers = step if isinstance(step, tuple) else (step, {})
            words = f"Unexpected fields: {unknown}" if unknown else "try later"
            self.send(handler, status, json.dumps({"detail": words}).encode(), headers)
            return
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        message = {"role": "assistant", "content": None if step else self.answer(body)}
        whole = {"id": "1", "object": "chat.completion", "created": 1, "model": body["model"], "usage": usage}
        whole |= {} if self.counts else {"usage": None}
        whole |= {"choices": [{"index": 0, "finish_reason": "stop", "message": message}]}
        data = step if isinstance(step, bytes) else json.dumps(whole).encode()
        self.send(handler, 200, data, {}, half=step == "half")

    @staticmethod
    def send(handler, status: int, data: bytes, headers: dict[str, str], half: bool = False) -> None:
        handler.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[: len(data) // 2] if half else data)
        if half:
            handler.wfile.flush()
            handler.connection.shutdown(socket.SHUT_RDWR)
            handler.close_connection = True


@contextmanager
def serving(answer: Callable[[dict], str], script=(), models=("taste",)):
    """An endpoint on a free port."""
    endpoint = Endpoint(answer, script, models)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            listed = [
                {"id": name, "object": "model", "created": 1, "owned_by": "x"} for name in endpoint.models
            ]
            endpoint.send(self, 200, json.dumps({"object": "list", "data": listed}).encode(), {})

        def do_POST(self) -> None:
            endpoint.reply(self, json.loads(self.rfile.read(int(self.headers["content-length"]))))

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    endpoint.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield endpoint
    finally:
        endpoint.let_go.set()
        server.shutdown()
        server.server_close()
