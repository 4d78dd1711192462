"""How many people can rank at once: the real server, asked by a client of its own process.

    python -m tests.benchmarks.load --annotators 50 --think 2 --seconds 30
    python -m tests.benchmarks.load --annotators 32 --think 0
    python -m tests.benchmarks.load --annotators 200 --think 2 --history 100000 --people 200
    python -m tests.benchmarks.load --annotators 50 --think 2 --worker --burn 2

Every annotator has a session and a connection, asks for a task once, and then ranks, `think` seconds apart
(half to one and a half times that, at random); each reply brings the next three tasks. No model: the tasks
are in the file before, no two of their texts alike, so no cache is flattered: a few sentences, as the starter
model's, or with `--lists 0.2` each fifth with a list. The milliseconds are the client's, from the first byte
sent to the last one read.

At the end the server is killed (SIGKILL) in the middle of it all, and the file read with plain sqlite3: what
was acknowledged must be there, as it was ranked and once, and nothing that was refused.
"""

import argparse
import asyncio
import itertools
import json
import os
import random
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import psutil

from labeling.store import FILE_NAME, NewResponse, Store, open_store
from labeling.supervisor import WORKER_NICENESS

ROOT = Path(__file__).resolve().parents[2]
AHEAD = 2
WITHOUT_THINKING = 1500  # tasks per second that are enough then
WORDS = """
    the a an it is was you we they can may should water bread paper garden summer city answer question number
    people music small green early often because while under between and or but not very quite seven eleven
"""


@dataclass(frozen=True)
class Load:
    annotators: int = 50
    think: float = 2.0
    seconds: float = 30.0
    tasks: int = 0  # open ones at the start; 0: as many as will be needed
    history: int = 0  # rankings that are there already
    people: int = 200  # who made them
    worker: bool = False
    burn: int = 0
    lists: float = 0.0
    seed: int = 0

    def wanted_tasks(self) -> int:
        a_second = 1.5 * self.annotators / self.think if self.think else WITHOUT_THINKING
        return self.tasks or round(a_second * self.seconds) + (AHEAD + 2) * self.annotators


@dataclass
class Heard:
    """What the client was told."""

    milliseconds: list[float] = field(default_factory=list)
    ranked: dict[str, tuple[int, list[int]]] = field(default_factory=dict)  # nonce -> task, ranks
    errors: Counter = field(default_factory=Counter)
    refused: set[str] = field(default_factory=set)  # nonces
    over: bool = False  # what fails now, fails because the server is being killed


# what is in the file before


def prepare(run_dir: Path, load: Load) -> None:
    """A run with open tasks, and maybe with a history."""
    rng = random.Random(load.seed)
    with open_store(run_dir, create=True, migrate=True) as store:
        store.add_reference("models/sft", "starter")
        store.put_setting("config", {"rankings_per_round": 64, "model": "starter"})
        store.add_prompts([(f"{text(rng, load.lists)} {i}", "train") for i in range(500)], "load")
        store.beat("idle", "waiting for rankings")
        if load.history:
            add_history(store, load, rng)
        with store.write():
            for i in range(load.wanted_tasks()):
                said = [text(rng, load.lists) for _ in range(4)]
                store.add_task(1 + i % 500, 0, [NewResponse(one, 20, True) for one in said], seed=i)


def add_history(store: Store, load: Load, rng: random.Random) -> None:
    """Rankings of the last weeks, in rounds of 64. Row by row through the store they would take minutes."""
    people = [store.add_person(f"earlier {i}", f"earlier {i}", "human").id for i in range(load.people)]
    begun = time.time() - 30 * 86400
    texts = [text(rng) for _ in range(1000)]
    with store.write() as db:
        many, first = db.conn.executemany, 1
        numbers = range(first, load.history + 1)
        at = [begun + 29 * 86400 * i / load.history for i in numbers]
        prompts = [1 + i % 500 for i in numbers]
        many(
            "insert into tasks (id, prompt_id, policy_version, state, created_at, closed_at) "
            "values (?, ?, 0, 'ranked', ?, ?)",
            zip(numbers, prompts, at, at, strict=True),
        )
        shown = [
            (4 * (i - 1) + k + 1, i, k, prompts[i - 1], texts[(i + k) % 1000], at[i - 1])
            for i in numbers
            for k in range(4)
        ]
        many(
            "insert into responses "
            "(id, prompt_id, policy_version, text, tokens, finished, sampling, created_at) "
            "values (?, ?, 0, ?, 20, 1, '{}', ?)",
            [(response, prompt, said, when) for response, _, _, prompt, said, when in shown],
        )
        many(
            "insert into task_responses (task_id, position, response_id) values (?, ?, ?)",
            [(task, position, response) for response, task, position, *_ in shown],
        )
        many(
            "insert into rankings (id, nonce, task_id, person_id, kind, seconds, created_at) "
            "values (?, ?, ?, ?, 'ranked', 9.5, ?)",
            [(i, f"earlier {i}", i, rng.choice(people), at[i - 1]) for i in numbers],
        )
        many(
            "insert into ranks (ranking_id, response_id, position, rank) values (?, ?, ?, ?)",
            [(task, response, position, position + 1) for response, task, position, *_ in shown],
        )
        rounds = [(64 * (k - 1), 64 * k, 64 * k, at[64 * k - 1]) for k in range(1, load.history // 64)]
        many(
            "insert into rounds (state, reason, trained_from, trained_through, rankings, parent_version, "
            "config, summary, started_at, ended_at) values ('rejected', 'no better', ?, ?, ?, 0, ?, ?, ?, ?)",
            [
                (before, through, count, json.dumps(CONFIG), json.dumps(SUMMARY), when, when)
                for before, through, count, when in rounds
            ],
        )


CONFIG = {f"setting_{i}": i / 7 for i in range(60)}  # as long as the worker's
SUMMARY = {f"figure_{i}": i / 7 for i in range(30)}


def text(rng: random.Random, lists: float = 0.0) -> str:
    """A response."""
    if rng.random() < lists:
        return f"Here is **{sentence(rng)}**\n\n" + "\n".join(f"- {sentence(rng)}" for _ in range(4))
    return " ".join(sentence(rng) for _ in range(rng.randint(1, 4)))


def sentence(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS.split(), k=rng.randint(5, 14))).capitalize() + "."


# the other processes


def serve(run_dir: Path) -> None:
    """`labeling.serve` without a worker."""
    from labeling.serve import listen, run_server
    from labeling.web import create_app

    with listen("127.0.0.1", 0) as listener, open_store(run_dir) as store:
        port = listener.getsockname()[1]
        app = create_app(store, hosts={"127.0.0.1"}, port=port)
        run_server(app, listener, SimpleNamespace(refusal=None), lambda: print(port, flush=True))


def work(run_dir: Path) -> None:
    """Write as the worker does, faster: ten times a second a heartbeat, a step's metrics and a task."""
    rng = random.Random(1)
    with open_store(run_dir) as store:
        store.begin_round({})
        print("writes", flush=True)
        for step in itertools.count():
            store.beat("ppo", f"update {step}")
            store.add_metrics(1, 1, step, {f"objective/{i}": rng.random() for i in range(20)})
            store.add_task(1 + step % 500, 0, [NewResponse(text(rng), 20, True) for _ in range(4)])
            time.sleep(0.1)


def burn(_run_dir: Path) -> None:
    """What a round leaves of a core."""
    os.nice(WORKER_NICENESS)
    print("burns", flush=True)
    while True:
        pass


ROLES = {"serve": serve, "work": work, "burn": burn}


def start(role: str, run_dir: Path, stack: ExitStack) -> tuple[subprocess.Popen, str]:
    """Another process, and the line it says when it is ready. It is killed in the end."""
    command = [sys.executable, "-m", "tests.benchmarks.load", "--role", role, "--run-dir", str(run_dir)]
    process = stack.enter_context(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True))
    stack.callback(process.kill)
    if not (line := process.stdout.readline()):
        raise SystemExit(f"The process that was to {role} has ended.")
    return process, line


# the client


class Connection:
    """HTTP/1.1 with one kept connection: an ordinary client takes more of a core than the server has."""

    def __init__(self, port: int) -> None:
        self.port, self.cookie = port, ""

    async def ask(self, method: str, path: str, body: dict | None = None) -> tuple[int, dict]:
        if not hasattr(self, "writer"):
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**20)
        sent = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n{self.cookie}"
            f"Content-Type: application/json\r\nContent-Length: {len(sent)}\r\n\r\n"
        )
        self.writer.write(head.encode() + sent)
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        if cookie := re.search(rb"(?i)\r\nset-cookie: ([^;]+)", head):
            self.cookie = f"Cookie: {cookie[1].decode()}\r\n"
        return int(head.split()[1]), json.loads(await self.reader.readexactly(int(length[1])))


async def annotate(port: int, number: int, load: Load, heard: Heard) -> None:
    """One annotator, until told that it is over."""
    rng, connection = random.Random(f"{load.seed}/{number}"), Connection(port)
    while not connection.cookie:
        status, reply = await connection.ask("POST", "/api/session", {"name": f"load-{number}"})
        heard.errors[f"{status} {reply}"] += status != 200
    await asyncio.sleep(rng.random() * load.think)
    path, body = f"/api/task?ahead={AHEAD}", None
    while not heard.over:
        begun = time.perf_counter()
        status, reply = await connection.ask("GET" if body is None else "POST", path, body)
        took = 1000 * (time.perf_counter() - begun)
        if status != 200:
            heard.errors[f"{status} {reply}"] += 1
            heard.refused |= {body["nonce"]} if body else set()
        elif body is not None:
            heard.milliseconds.append(took)
            heard.ranked[body["nonce"]] = body["task_id"], body["ranks"]
        if status != 200 or reply["task"] is None:
            heard.errors["no task"] += status == 200
            path, body = f"/api/task?ahead={AHEAD}", None
            await asyncio.sleep(load.think or 0.1)
            continue
        await asyncio.sleep(load.think * rng.uniform(0.5, 1.5))
        ranks = dense([rng.randint(1, 4) for _ in reply["task"]["responses"]])
        path, body = "/api/rankings", {
            "task_id": reply["task"]["id"], "nonce": uuid.uuid4().hex, "ranks": ranks, "seconds": 3.25,
            "guidelines": 0, "ahead": AHEAD, "run": reply["status"]["run"],
        }  # fmt: skip


def dense(ranks: list[int]) -> list[int]:
    """As they are stored."""
    place = {rank: i for i, rank in enumerate(sorted(set(ranks)), start=1)}
    return [place[rank] for rank in ranks]


async def ask_all(port: int, load: Load, heard: Heard, kill) -> None:
    """All annotators at once for so long, then `kill`."""
    all_of_them = [asyncio.create_task(annotate(port, n, load, heard)) for n in range(load.annotators)]
    done, _ = await asyncio.wait(all_of_them, timeout=load.seconds, return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()
    heard.over = True
    kill()
    for task in all_of_them:
        task.cancel()
    await asyncio.gather(*all_of_them, return_exceptions=True)


# what comes of it


def in_the_file(run_dir: Path) -> dict[str, tuple[int, list[int]]]:
    """Nonce -> task, ranks, of what stands, read by nobody's code but SQLite's own."""
    found: dict[str, tuple[int, list[int]]] = {}
    connection = sqlite3.connect(run_dir / FILE_NAME)
    rows = connection.execute(
        "select nonce, task_id, rank from rankings join ranks on ranking_id = id "
        "where withdrawn_at is null and nonce not like 'earlier %' order by id, position"
    )
    for nonce, task, rank in rows:
        found.setdefault(nonce, (task, []))[1].append(rank)
    assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
    connection.close()
    return found


def measure(load: Load, run_dir: Path) -> dict:
    """One run: everything started, asked and killed, and the figures."""
    prepare(run_dir, load)
    heard = Heard()
    with ExitStack() as stack:
        server, line = start("serve", run_dir, stack)
        for role in ["work"] * load.worker + ["burn"] * load.burn:
            start(role, run_dir, stack)
        watched, client = psutil.Process(server.pid), psutil.Process()
        before = [cpu_seconds(watched), cpu_seconds(client)]
        busy, begun = machine_seconds(), time.perf_counter()
        after = []

        def kill() -> None:
            took = time.perf_counter() - begun
            after.extend([took, cpu_seconds(watched), cpu_seconds(client), machine_seconds() - busy])
            server.kill()

        asyncio.run(ask_all(int(line), load, heard, kill))
    seconds, *used, machine = after
    used = [now - then for now, then in zip(used, before, strict=True)]
    kept, told = in_the_file(run_dir), heard.ranked
    ranked_twice = Counter(task for task, _ in kept.values())
    cuts = statistics.quantiles(heard.milliseconds, n=100, method="inclusive")
    return {
        "p50": cuts[49],
        "p95": cuts[94],
        "p99": cuts[98],
        "longest": max(heard.milliseconds),
        "errors": sum(heard.errors.values()),
        "per_second": len(told) / seconds,
        "acknowledged": len(told),
        "in_file": len(kept),
        "lost": sum(kept.get(nonce) != what for nonce, what in told.items()),
        "twice": sum(count > 1 for count in ranked_twice.values()),
        "denied": len(heard.refused & kept.keys()),
        "each": 1000 * used[0] / max(1, len(told)),
        "server": used[0] / seconds,
        "client": used[1] / seconds,
        "others": (machine - sum(used)) / seconds,
        "said": dict((+heard.errors).most_common(3)),
    }


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def machine_seconds() -> float:
    """What all processes have used of all cores, with what the host of a virtual machine has withheld."""
    times = psutil.cpu_times()
    return times.user + times.system + times.nice + getattr(times, "steal", 0.0)


COLUMNS = (
    "run", "p50 ms", "p95 ms", "p99 ms", "longest", "errors", "rankings/s", "acknowledged", "in the file",
    "lost", "twice", "denied", "CPU ms each", "server", "client", "others",
)  # fmt: skip


def row(name: object, found: dict) -> str:
    """One line of the table. CPU ms each: of the server, per ranking; it depends less on who else is there.
    Cores: how many seconds of one core each took per second."""
    shown = [name, *(f"{found[key]:.1f}" for key in ("p50", "p95", "p99", "longest")), found["errors"]]
    shown += [f"{found['per_second']:.0f}", *(found[key] for key in ("acknowledged", "in_file"))]
    shown += [found[key] for key in ("lost", "twice", "denied")]
    shown += [f"{found[key]:.2f}" for key in ("each", "server", "client", "others")]
    return "| " + " | ".join(map(str, shown)) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--annotators", type=int, default=50)
    parser.add_argument("--think", type=float, default=2.0, help="seconds between two rankings of a person")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--tasks", type=int, default=0, help="open at the start; 0: as many as are needed")
    parser.add_argument("--history", type=int, default=0, help="rankings that are in the file already")
    parser.add_argument("--people", type=int, default=200, help="who made those")
    parser.add_argument("--worker", action="store_true", help="another process writes as the worker does")
    parser.add_argument("--burn", type=int, default=0, help="processes that compute, at the worker's nice")
    parser.add_argument("--lists", type=float, default=0.0, help="share of texts that have a list")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--role", choices=ROLES, help=argparse.SUPPRESS)
    parser.add_argument("--run-dir", type=Path, help=argparse.SUPPRESS)
    options = vars(parser.parse_args())
    role, run_dir, runs = (options.pop(name) for name in ("role", "run_dir", "runs"))
    if role:
        ROLES[role](run_dir)
        return
    load = Load(**options)
    print(f"{load}, {os.cpu_count()} cores, load average before {os.getloadavg()[0]:.1f}\n")
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    found = []
    for number in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            found.append(measure(load, Path(folder)))
        print(row(number + 1, found[-1]), flush=True)
        if found[-1]["said"]:
            print(found[-1]["said"])
    figures = {key: statistics.median(run[key] for run in found) for key in found[0] if key != "said"}
    print(row("median", figures))
    if any(run["lost"] or run["twice"] or run["denied"] for run in found):
        raise SystemExit("A ranking was lost, is there twice, or was refused and is there.")


if __name__ == "__main__":
    main()
