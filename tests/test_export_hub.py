"""`--push-to-hub`, against a server that speaks the part of the hub's API that is needed."""

import base64
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.export_run import fill, open_run

ROOT = Path(__file__).resolve().parent.parent


class Hub(BaseHTTPRequestHandler):
    """Takes what is committed. `server.refuse`: a status to answer with instead."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Authorization") != "Bearer hf_mine":
            return self._answer(401, {"error": "who?"})
        if self.server.refuse:
            return self._answer(self.server.refuse, {"error": "no"})
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            self.server.created = asked
            name = f"{asked['organization']}/{asked['name']}"
            return self._answer(200, {"url": f"http://{self.headers['Host']}/datasets/{name}", "name": name})
        if "/preupload/" in self.path:
            modes = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                for f in json.loads(body)["files"]
            ]
            return self._answer(200, {"files": modes})
        if "/commit/" in self.path:
            for line in body.decode().splitlines():
                said = json.loads(line)
                if said["key"] == "file":
                    value = said["value"]
                    self.server.files[value["path"]] = base64.b64decode(value["content"])
            url = f"http://{self.headers['Host']}/datasets/some/prefs/commit/1"
            return self._answer(200, {"success": True, "commitUrl": url, "commitOid": "1"})
        return self._answer(200, {})

    def do_GET(self):
        self._answer(404, {"error": "not here"})

    def _answer(self, status, said):
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.refuse, server.created, server.files = None, None, {}
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory, tiny_model):
    folder = tmp_path_factory.mktemp("hub") / "run"
    run = open_run(folder, tiny_model)
    fill(run)
    run.store.close()
    return folder


def push(run_dir, out, port, *words, **env):
    command = [sys.executable, str(ROOT / "app.py"), "export", "--what", "preferences", "--out", str(out)]
    command += ["--run-dir", str(run_dir), "--push-to-hub", "some/prefs", *words]
    settings = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": f"http://127.0.0.1:{port}", "HF_TOKEN": "hf_mine"}
    settings |= {"HF_HUB_DISABLE_XET": "1", "HF_HOME": str(out.parent / "home"), "NO_PROXY": "127.0.0.1"}
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | settings | env,
    )


def test_a_folder_is_pushed_as_it_is_and_is_private(run_dir, hub, tmp_path):
    call = push(run_dir, tmp_path / "out", hub.server_port)
    said, error = call.communicate(timeout=120)
    assert call.returncode == 0, error
    assert f"http://127.0.0.1:{hub.server_port}/datasets/some/prefs" in said
    assert hub.created["type"] == "dataset"
    assert hub.created.get("private") is True or hub.created["visibility"] == "private"
    written = {
        str(p.relative_to(tmp_path / "out")): p.read_bytes()
        for p in (tmp_path / "out").rglob("*")
        if p.is_file()
    }
    assert hub.files == written
    assert "README.md" in hub.files


@pytest.mark.slow
def test_what_cannot_be_pushed_is_one_sentence_and_stays_written(run_dir, hub, tmp_path):
    hub.refuse = 403
    closed = ThreadingHTTPServer(("127.0.0.1", 0), Hub)  # listens, and is gone
    closed.server_close()
    calls = {
        "403": push(run_dir, tmp_path / "a", hub.server_port),
        "401": push(run_dir, tmp_path / "b", hub.server_port, HF_TOKEN="hf_other"),
        "gone": push(run_dir, tmp_path / "c", closed.server_port),
        "offline": push(run_dir, tmp_path / "d", hub.server_port, HF_HUB_OFFLINE="1"),
        "name": push(run_dir, tmp_path / "e", hub.server_port, "--push-to-hub", "no name/at all"),
    }
    words = {
        "403": "may not write there",
        "401": "does not know this token",
        "gone": "could not be reached",
        "offline": "HF_HUB_OFFLINE",
        "name": "no name/at all",
    }
    for name, call in calls.items():
        said, error = call.communicate(timeout=120)
        assert call.returncode == 2, (name, error)
        assert error.count("\n") == 1, error
        assert "is written, but it was not pushed" in error
        assert words[name] in error
        assert "31 preferences" in said
    assert all((tmp_path / name / "README.md").is_file() for name in "abcde")
