"""The app as people start it: a real server with its real worker, what it refuses, and how it ends."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import httpx
import psutil
import pytest
from sqlite_utils import Database

from labeling.protocol import LONGEST_HEAD
from labeling.report import report
from labeling.serve import ServeConfig, ServeError, is_loopback, listen, lock_run, no_login, serve
from labeling.session import COOKIE
from labeling.store import FILE_NAME, open_store
from rlhf.config import WorkerConfig

ROOT = Path(__file__).resolve().parent.parent
HTML = {"Accept": "text/html"}
STARTER = asdict(WorkerConfig())


def until(wanted, seconds=120.0):
    """Wait until `wanted()` is true and return what it gave."""
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(httpx.TransportError):
            if found := wanted():
                return found
        assert time.monotonic() < end, f"waited {seconds} s in vain"
        time.sleep(0.02)


def alive(pid) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def command(*words) -> list[str]:
    return [sys.executable, str(ROOT / "app.py"), *map(str, words)]


class App:
    """`python app.py` on a free port."""

    def __init__(self, run_dir, *options):
        self.run_dir = run_dir
        self.process = subprocess.Popen(
            command("--port", 0, "--run-dir", run_dir, *options),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.line = self.process.stdout.readline()
        assert self.line, self.process.stderr.read()
        self.url = self.line.split()[3]
        self.http = httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    def worker_pid(self):
        with open_store(self.run_dir) as store:
            return store.worker_status()["pid"]

    def end(self, how=signal.SIGTERM) -> int:
        self.process.send_signal(how)
        code = self.process.wait(20)
        self.process.stdout.close()
        self.process.stderr.close()
        self.http.close()
        return code


@pytest.fixture(scope="module")
def model_options(tiny_model, tmp_path_factory):
    """A model of random bytes and prompts for it: real, and quick."""
    prompts = tmp_path_factory.mktemp("prompts") / "prompts.txt"
    prompts.write_text("".join(f"This is prompt number {i}.\n" for i in range(40)), encoding="utf-8")
    return [
        *("--model", tiny_model, "--prompts", prompts, "--max-new-tokens", 8),
        *("--open-tasks", 4, "--threads", 1, "--device", "cpu"),
    ]


@pytest.fixture(scope="module")
def app(model_options, tmp_path_factory):
    app = App(tmp_path_factory.mktemp("app") / "run", *model_options)
    yield app
    if app.process.poll() is None:
        app.end()


@pytest.mark.slow
def test_the_programs_of_a_simulation_are_ours_and_their_scorer_stays_out_of_the_web_process(
    model_options, tmp_path, monkeypatch
):
    (tmp_path / "app.py").write_text("open('ran', 'w')")  # many folders have one
    for name in ("rlhf", "labeling", "data"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('not ours')")
    (tmp_path / "taste.py").write_text("import os, torch\n\ndef score(p, r):\n    return len(r)\n")
    monkeypatch.chdir(tmp_path)
    app = App(tmp_path / "run", *model_options, "--simulate", 2, "--scorer", "taste.py:score")
    until(lambda: app.http.get("/api/status").json()["rankings"] == 2)
    mapped = {Path(m.path).name for m in psutil.Process(app.process.pid).memory_maps()}
    assert not any("torch" in name for name in mapped)
    assert app.end() == 0
    assert not (tmp_path / "ran").exists()


def next_task(app):
    return until(lambda: app.http.get("/api/task").json()["task"])


def test_it_says_where_it_is_and_is_there(app):
    assert app.line.startswith("Podium is at http://127.0.0.1:")
    assert app.http.get("/api/health").json()["ok"] is True
    home = app.http.get("/")
    assert home.is_redirect
    assert home.headers["location"] == "/annotate/"


def test_the_pages_answer_with_our_cookie_and_our_policy(app):
    for path in ("/annotate/", "/lab/"):
        with httpx.Client(base_url=app.url, trust_env=False, timeout=30) as browser:
            page = browser.get(path, headers=HTML)
            assert page.status_code == 200
            assert COOKIE in browser.cookies
            assert "default-src 'self'" in page.headers["content-security-policy"]
            evil = browser.get(f"{path}config", headers={"Origin": "https://evil.example"})
            assert "access-control-allow-origin" not in evil.headers
    assert app.http.post("/annotate/gradio_api/upload").status_code == 404
    assert app.http.post("/annotate/gradio_api/run/x", headers={"Origin": "https://evil"}).status_code == 403
    assert app.http.get("/api/health", headers={"Host": "evil.example"}).status_code == 403
    assert app.http.get("/favicon.ico").headers["content-type"] == "image/svg+xml"
    assert "POST /api/rankings" in app.http.get("/docs", headers=HTML).text


def test_a_head_without_an_end_is_refused_and_takes_no_memory(app):
    address = ("127.0.0.1", int(app.url.rsplit(":", 1)[1]))
    start = b"GET /api/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Long: "
    for size, end, says in (
        (LONGEST_HEAD - 4, b"\r\n\r\n", b"HTTP/1.1 200 "),
        (LONGEST_HEAD + 1, b"", b"HTTP/1.1 400 "),
    ):
        with socket.create_connection(address, timeout=60) as client:
            client.sendall(start.ljust(size, b"a") + end)
            assert client.recv(100).startswith(says)
    long = b"POST /api/health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n"
    with socket.create_connection(address, timeout=60) as client:  # a body is another matter
        client.sendall(long + 200_000 * b"a")
        assert client.recv(100).startswith(b"HTTP/1.1 405 ")


@pytest.mark.slow
def test_the_worker_writes_tasks_and_a_ranking_is_on_the_disk(app):
    task = next_task(app)
    count = len(task["responses"])
    body = {"task_id": task["id"], "nonce": "app", "ranks": list(range(count, 0, -1))}
    answer = app.http.post("/api/rankings", json=body)
    assert answer.status_code == 200
    with open_store(app.run_dir) as store:
        [ranking] = store.rankings()
        assert (ranking.id, ranking.ranks) == (answer.json()["ranking_id"], body["ranks"])
        assert ranking.responses == [response["text"] for response in task["responses"]]


def test_the_web_process_is_small_and_has_no_torch(app):
    for path in ("/annotate/", "/lab/", "/docs"):
        assert app.http.get(path, headers=HTML).status_code == 200
    process = psutil.Process(app.process.pid)
    assert process.memory_info().rss < 300e6
    assert not [file.path for file in process.memory_maps() if "torch" in file.path]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts as the Linux kernel does")
def test_the_web_process_sleeps_while_nobody_asks(app):
    """Gradio by itself wakes 2,000 times a second for its two pages, and the worker pays for it."""

    def wakes() -> int:
        status = Path(f"/proc/{app.process.pid}/status").read_text()
        return int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])

    before = wakes()
    time.sleep(1.0)
    assert wakes() - before < 200


@pytest.mark.slow
def test_status_reads_the_run_without_the_server(app):
    next_task(app)
    said = subprocess.run(command("status", "--run-dir", app.run_dir), capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert "policy      version 0" in said.stdout
    as_json = subprocess.run(
        command("status", "--run-dir", app.run_dir, "--json"), capture_output=True, text=True
    )
    served = app.http.get("/api/status").json()
    assert json.loads(as_json.stdout).keys() == served.keys() | {"imported"}


def test_a_second_server_on_the_run_is_refused_and_the_first_goes_on(app, capsys):
    assert serve(ServeConfig(run_dir=app.run_dir, port=0), STARTER) == 2
    assert f"already served by process {app.process.pid}" in capsys.readouterr().err
    assert app.http.get("/api/health").json()["ok"] is True


@pytest.mark.slow
def test_a_killed_worker_is_started_again_and_nothing_is_lost(app):
    next_task(app)
    before = app.http.get("/api/status").json()
    pid = app.worker_pid()
    os.kill(pid, signal.SIGKILL)
    until(lambda: "SIGKILL" in (app.http.get("/api/status").json()["worker"]["error"] or ""))
    assert next_task(app)  # people go on ranking meanwhile
    until(lambda: app.http.get("/api/status").json()["worker"]["state"] in ("idle", "generating"))
    assert app.worker_pid() not in (pid, None)
    after = app.http.get("/api/status").json()
    assert after["rankings"] == before["rankings"]
    assert after["policy_version"] == before["policy_version"]


@pytest.mark.slow
def test_kill_9_takes_the_worker_along_and_the_run_can_be_served_again(app, model_options):
    """Last of the shared server's tests: it ends it, and starts another on the same run by Ctrl-C's side."""
    next_task(app)
    with open_store(app.run_dir) as store:
        rankings = store.rankings()
    worker = app.worker_pid()
    assert alive(worker)
    assert app.end(signal.SIGKILL) == -signal.SIGKILL
    until(lambda: not alive(worker))
    again = App(app.run_dir, *model_options)
    assert again.http.get("/api/status").json()["rankings"] == len(rankings)
    worker = until(again.worker_pid)
    begun = time.monotonic()
    assert again.end(signal.SIGINT) == 130
    assert time.monotonic() - begun < 10
    until(lambda: not alive(worker))


@pytest.mark.slow
def test_a_model_only_the_worker_can_refuse_ends_it_with_the_workers_sentence(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "llama"}')  # and no weights
    said = subprocess.run(
        command("--port", 0, "--run-dir", tmp_path / "run", "--model", tmp_path / "model"),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert said.returncode == 2, said.stderr
    assert str(tmp_path / "model") in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize("earlier", [None, {"rankings_per_round": 4}])
def test_a_refused_start_leaves_the_runs_settings(tmp_path, capsys, monkeypatch, earlier):
    with open_store(tmp_path, create=True, migrate=True) as store:
        if earlier:
            store.put_setting("config", earlier)
    refuses = [sys.executable, "-S", "-c", "import sys; sys.stdin.read(1); print('No.'); sys.exit(2)"]
    during = []

    def run_server(app, listener, supervisor, answering):
        during.append(supervisor.store.status()["rankings_per_round"])
        until(lambda: supervisor.process)
        supervisor.process.stdin.write(b"!")
        supervisor.process.stdin.flush()
        until(lambda: supervisor.refusal)

    monkeypatch.setattr("labeling.serve.worker_command", lambda *_: refuses)
    monkeypatch.setattr("labeling.serve.run_server", run_server)
    assert serve(ServeConfig(run_dir=tmp_path, port=0), STARTER | {"rankings_per_round": 7}) == 2
    assert during == [7]
    with open_store(tmp_path) as store:
        assert store.get_setting("config") == (earlier or {})
    said = report(tmp_path, as_json=False)
    assert "failed: The start was refused. (seen" in said
    assert "last error  No.\n" in f"{said}\n"


@pytest.mark.parametrize(
    ("module", "words"),
    [("typer", ["status"]), ("torch", ["sft", "--out", "new", "--model", "starter", "--data", "data.jsonl"])],
)
def test_ctrl_c_while_modules_are_imported_says_nothing(tmp_path, module, words):
    waits = "import time\nprint('importing', flush=True)\ntime.sleep(600)\n"
    (tmp_path / f"{module}.py").write_text(waits)
    (tmp_path / "data.jsonl").write_text('{"prompt": "a", "response": "b"}')
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    with subprocess.Popen(
        command(*words),
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while process.stdout.readline() != "importing\n":
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=120) == ("", "")
    assert process.returncode == 130


# what is refused before anything is started


def refusal(capsys, config: ServeConfig, **worker) -> str:
    assert serve(config, STARTER | worker) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.endswith(".\n")
    return said.err


@pytest.mark.parametrize("name", ["model", "base_model", "prompts"])
@pytest.mark.parametrize("path", ["./nowhere", "~/no/where", "/no/where", "a/b/c", "../nowhere"])
def test_a_path_that_is_not_there(capsys, tmp_path, name, path):
    said = refusal(capsys, ServeConfig(run_dir=tmp_path / "run", port=0), **{name: path})
    assert f"{path} does not exist" in said
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_no_model(capsys, tmp_path):
    assert "no config.json" in refusal(
        capsys, ServeConfig(run_dir=tmp_path / "run", port=0), model=str(tmp_path)
    )


def test_a_taken_port(capsys, tmp_path):
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        said = refusal(capsys, ServeConfig(run_dir=tmp_path / "run", port=port))
    assert f"Port {port} is taken" in said


@pytest.mark.parametrize(
    ("host", "port", "words"),
    [
        ("not a host", 7860, "not an address"),
        ("127.0.0.1", 99999, "not a port"),
        ("127.0.0.1", -1, "not a port"),
        ("203.0.113.1", 0, "--host"),
    ],
)
def test_an_address_that_cannot_be(capsys, tmp_path, host, port, words):
    assert words in refusal(capsys, ServeConfig(run_dir=tmp_path / "run", host=host, port=port))


def test_a_run_directory_that_cannot_be(capsys, tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert "cannot be written" in refusal(capsys, ServeConfig(run_dir=tmp_path / "file" / "run", port=0))
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / FILE_NAME).write_bytes(b"no database " * 500)
    assert "damaged" in refusal(capsys, ServeConfig(run_dir=damaged, port=0))
    with open_store(tmp_path / "newer", create=True, migrate=True):
        table = Database(tmp_path / "newer" / FILE_NAME)["_sqlite_migrations"]
        table.insert({"migration_set": "podium", "name": "m999_later", "applied_at": "2030"})
    assert "newer Podium" in refusal(capsys, ServeConfig(run_dir=tmp_path / "newer", port=0))
    (tmp_path / "lost" / "policies" / "1").mkdir(parents=True)
    assert "trained policies" in refusal(capsys, ServeConfig(run_dir=tmp_path / "lost", port=0))


def test_a_simulation_that_cannot_be(capsys, tmp_path):
    assert "--noise" in refusal(capsys, ServeConfig(run_dir=tmp_path, port=0, simulate=10, noise=0.9))


def test_the_command_line_refuses_in_one_sentence(tmp_path):
    (tmp_path / FILE_NAME).touch()
    wrong = (
        ["--responses", 7],
        ["status", "--run-dir", tmp_path / "none"],
        ["status", "--run-dir", tmp_path],
        ["simulate", "--noise", 3],
    )
    runs = [subprocess.Popen(command(*words), stderr=subprocess.PIPE, text=True) for words in wrong]
    for run in runs:
        _, said = run.communicate(timeout=120)
        assert run.returncode == 2
        assert said.count("\n") == 1, said
    assert [(path.name, path.stat().st_size) for path in tmp_path.iterdir()] == [(FILE_NAME, 0)]


def test_the_lock_of_a_killed_server_does_not_stay(tmp_path):
    code = "import sys, labeling.serve as s, pathlib; lock = s.lock_run(pathlib.Path(sys.argv[1])); "
    code += "lock.__enter__(); print('locked', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    with holder:
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(ServeError, match=str(holder.pid)), lock_run(tmp_path):
            pass
        holder.kill()
    with lock_run(tmp_path):
        pass


def test_the_warning_names_every_address_it_is_about():
    assert "reach http://192.168.1.5:80 can" in no_login("192.168.1.5", 80)
    for host in ("0.0.0.0", "::"):
        assert "port 80 at any address of this machine" in no_login(host, 80)


def test_which_addresses_only_this_machine_reaches():
    assert all(is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "127.8.8.8"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "192.168.1.5", "example.com"))
