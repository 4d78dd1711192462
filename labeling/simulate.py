"""Programmatic annotators: they rank through the JSON API like anybody else.

Each one opens a session of kind "program" (so its rankings are marked as a program's, in the database and
on the page), asks for a task, scores every response with the scorer, and sends the order of the scores;
equal scores are a tie. When there is no task it waits, politely. No model code, no database: only HTTP.

**What noise means.** `noise` is the expected share of response pairs that come out the wrong way round in
the ranking that is sent, among the pairs the scorer tells apart. Flipping each pair by itself would
contradict itself (A > B > C > A), so the whole order is drawn at once: P(order) is proportional to
phi ** (pairs the wrong way), Mallows' model of rankings (Mallows 1957, Biometrika 44:114-130), with phi
solved so that the expected share is exactly `noise`. As with people, close calls flip more often than best
against worst. Responses the scorer finds equal stay tied. 0 copies the scorer, 0.5 is a random order.
"""

import itertools
import math
import random
import re
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import httpx

from data.scorers import load_scorer

Scorer = Callable[[str, str], float]

TRAINING = ("reward_model", "ppo", "dpo", "sft", "publishing")
FIRST_WAIT, LONGEST_WAIT = 0.1, 0.5  # seconds between two questions, of all together, while there is no task
RETRIES = 6  # of one request whose connection broke, about 6 s in all: the time a restart takes


class SimulationError(Exception):
    """One sentence on why the simulation cannot go on."""


def _help(default: object, text: str):
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class SimulateConfig:
    """Settings of `python app.py simulate`; the help texts are the command line's."""

    rankings: int = _help(200, "How many rankings to submit, all annotators together.")
    annotators: int = _help(4, "How many programmatic annotators rank at the same time.")
    scorer: str = _help(
        "helpful", "helpful, concise, verbose, package.module:function or path/file.py:function."
    )
    noise: float = _help(0.1, "Expected share of response pairs ranked the wrong way round, 0 to 0.5.")
    seed: int = _help(0, "Seed of the noise.")
    url: str = _help("http://127.0.0.1:7860", "Where Podium answers.")
    patience: float = _help(900.0, "Seconds to wait for a task before giving up.")
    wait_for_rounds: bool = _help(
        False, "Stop ranking while a round trains, so that the newest policy is ranked."
    )

    def __post_init__(self) -> None:
        """Refuse what cannot be meant, in one sentence."""
        if self.rankings < 1:
            raise ValueError(f"--rankings must be 1 or more, not {self.rankings}.")
        if not 1 <= self.annotators <= 64:
            raise ValueError(f"--annotators must be between 1 and 64, not {self.annotators}.")
        if not 0 <= self.noise <= 0.5:
            raise ValueError(f"--noise must be between 0 and 0.5 (a random order), not {self.noise}.")
        if not self.patience > 0:
            raise ValueError(f"--patience must be more than 0 seconds, not {self.patience}.")
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"--url must begin with http:// or https://, not '{self.url}'.")
        try:
            host = httpx.URL(self.url).host
        except httpx.InvalidURL:
            host = ""
        if not host:
            raise ValueError(f"--url must be an address like http://127.0.0.1:7860, not '{self.url}'.")


@dataclass(frozen=True)
class Summary:
    """What was done: counts, and the mean score of what was shown, by the policy a task is there to judge."""

    rankings: int
    wanted: int
    seconds: float
    pairs: int
    tied_pairs: int
    flipped_pairs: int
    by_annotator: dict[str, int]
    by_policy: dict[int, int]
    mean_score: dict[int, float]
    stopped: str | None = None

    def __str__(self) -> str:
        """A few lines for a terminal."""
        wrong = f"{self.flipped_pairs}/{self.pairs - self.tied_pairs} the wrong way round"
        lines = [
            f"{self.rankings} of {self.wanted} rankings by {len(self.by_annotator)} programmatic annotators"
            f" in {self.seconds:.1f} s"
            f" ({self.tied_pairs}/{self.pairs} pairs tied, {wrong})."
        ]
        lines += [
            f"  on policy {version}: {self.by_policy[version]} rankings, mean score of all shown {mean:+.3f}"
            for version, mean in sorted(self.mean_score.items())
        ]
        return "\n".join(lines + ([self.stopped] if self.stopped else []))


def ranks_of(scores: Sequence[float], noise: float, rng: random.Random) -> list[int]:
    """Ranks for these scores: 1 is best, equal scores share a rank: 1, 2, 2, 3."""
    levels = sorted(set(scores), reverse=True)
    groups = [[i for i, score in enumerate(scores) if score == level] for level in levels]
    if noise and len(groups) > 1:
        orders, weights = _noisy_orders(tuple(len(group) for group in groups), noise)
        groups = [groups[i] for i in rng.choices(orders, weights)[0]]
    ranks = [0] * len(scores)
    for rank, group in enumerate(groups, start=1):
        for i in group:
            ranks[i] = rank
    return ranks


@lru_cache(maxsize=256)
def _noisy_orders(sizes: tuple[int, ...], noise: float) -> tuple[list[tuple[int, ...]], list[float]]:
    """Every order of the tied groups and its weight, phi being solved by bisection (at most 4! orders)."""
    orders = list(itertools.permutations(range(len(sizes))))
    wrong = [
        sum(sizes[a] * sizes[b] for i, a in enumerate(order) for b in order[i + 1 :] if a > b)
        for order in orders
    ]
    pairs = sum(a * b for a, b in itertools.combinations(sizes, 2))
    low, high = 0.0, 1.0
    for _ in range(60):
        phi = (low + high) / 2
        weights = [phi**w for w in wrong]
        expected = sum(map(lambda weight, w: weight * w, weights, wrong)) / sum(weights) / pairs
        low, high = (phi, high) if expected < noise else (low, phi)
    return orders, [high**w for w in wrong]


def flipped(scores: Sequence[float], ranks: Sequence[int]) -> int:
    """How many pairs the ranking orders against the scores."""
    pairs = itertools.combinations(range(len(scores)), 2)
    return sum((scores[i] - scores[j]) * (ranks[i] - ranks[j]) > 0 for i, j in pairs)


def simulate(
    config: SimulateConfig,
    score: Scorer | None = None,
    echo: Callable[[str], None] = print,
    stop: threading.Event | None = None,
) -> Summary:
    """Run the annotators until `config.rankings` are stored; return what was done.

    `score` replaces the scorer named in the settings; it is called from several threads. Setting `stop` ends
    it early. Raises SimulationError when the server is not there, refuses, or has no task for
    `config.patience` seconds before the first ranking, and when the scorer fails. A long wait after some
    rankings ends with a summary that says so.
    """
    if score is None:
        try:
            score = load_scorer(config.scorer)
        except ValueError as error:
            raise SimulationError(str(error)) from error
    run = _Run(config, score, echo, stop or threading.Event())
    threads = [
        threading.Thread(target=run.annotate, args=(i + 1,), daemon=True) for i in range(config.annotators)
    ]
    for thread in threads:
        thread.start()
    interrupted = False
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        interrupted = True
        run.stop.set()
        for thread in threads:
            thread.join()
        run.stopped = "Interrupted."
    if run.error:
        raise SimulationError(run.error)
    summary = run.summary()
    echo(str(summary))
    if interrupted:
        raise KeyboardInterrupt
    return summary


class _Run:
    """What the annotators share: how many rankings are still wanted, and the tally."""

    def __init__(self, config: SimulateConfig, score: Scorer, echo: Callable, stop: threading.Event) -> None:
        self.config, self.score, self.echo, self.stop = config, score, echo, stop
        self.lock = threading.Lock()
        self.turns, self.ticket, self.serving = threading.Condition(), 0, 0  # who asks for a task next,
        self.wait = FIRST_WAIT  # and when
        self.last_task = time.monotonic()  # when anybody had one to rank
        self.begun = time.monotonic()
        self.promised = 0  # rankings that are stored, or that an annotator is about to send
        self.error: str | None = None
        self.stopped: str | None = None
        self.by_annotator: Counter[str] = Counter()
        self.by_policy: Counter[int] = Counter()
        self.scores: dict[int, list[float]] = {}
        self.pairs = self.tied = self.flipped = 0
        self.last_said: dict[str, float] = {}

    def annotate(self, number: int) -> None:
        """One annotator, in its own thread, with its own session and its own random numbers."""
        label = re.sub(r"[^A-Za-z0-9_-]", "-", _label(self.config.scorer))
        try:
            # A proxy from the environment must not come between two programs on one machine.
            local = httpx.URL(self.config.url).host in ("127.0.0.1", "localhost", "::1")
            with httpx.Client(base_url=self.config.url, timeout=30, trust_env=not local) as client:
                session = self.ask(
                    client, "/api/session", {"name": f"simulated-{label}-{number}", "kind": "program"}
                )
                self.work(client, session["name"], random.Random(f"{self.config.seed}/{number}"))
        except SimulationError as error:
            self.fail(str(error))
        except Exception as error:  # a thread's own end would look like the end of the work
            self.fail(f"The annotator {number} failed: {type(error).__name__}: {error}")

    def fail(self, why: str) -> None:
        """End it for all, with the first reason: what fails after the stop is only a consequence of it."""
        with self.lock:
            if not self.stop.is_set():
                self.error = self.error or why
        self.stop.set()

    def work(self, client: httpx.Client, name: str, rng: random.Random) -> None:
        """Ask, score, rank, until enough rankings are stored. A reply to a ranking brings the next task.

        An annotator stays until all rankings are stored, also when the others have promised the last ones:
        it may hold the very task that one of them is waiting for.
        """
        reply = self.ask(client, "/api/task")
        while not self.finished():
            ready = reply["task"] is not None and not (self.config.wait_for_rounds and _round_is_due(reply))
            if ready and self.promise():
                self.wait = FIRST_WAIT
                reply = self.rank(client, name, rng, reply["task"])
                self.last_task = time.monotonic()
            elif ready:  # the others have promised what is still wanted
                self.stop.wait(FIRST_WAIT)
            elif time.monotonic() - self.last_task > self.config.patience:
                self.give_up(reply)
            else:
                self.say(f"waiting for a task, worker: {_worker(reply, 'state')} {_worker(reply, 'detail')}")
                reply = self.in_turn(client, reply)

    def in_turn(self, client: httpx.Client, reply: dict) -> dict:
        """Wait, and ask again. One after the other: many annotators ask no more often than one alone."""
        with self.turns:
            mine, self.ticket = self.ticket, self.ticket + 1
            self.turns.wait_for(lambda: self.serving == mine)
        try:
            self.stop.wait(self.wait)
            self.wait = min(self.wait * 1.5, LONGEST_WAIT)
            return reply if self.finished() else self.ask(client, "/api/task")
        finally:
            with self.turns:
                self.serving += 1
                self.turns.notify_all()

    def rank(self, client: httpx.Client, name: str, rng: random.Random, task: dict) -> dict:
        """Score one task's responses and send the ranks; return the reply with the next task."""
        scores = [self.scored(task["prompt"], response["text"]) for response in task["responses"]]
        ranks = ranks_of(scores, self.config.noise, rng)
        # The nonce is not seeded: two runs with one seed are two sets of rankings, not a retry.
        body = {"task_id": task["id"], "nonce": uuid.uuid4().hex, "ranks": ranks}
        reply = self.ask(client, "/api/rankings", body, may_be_closed=True)
        if reply is None:  # ranked by somebody else meanwhile, or the lease ran out: take another
            with self.lock:
                self.promised -= 1
            return self.ask(client, "/api/task")
        self.count(name, task["policy_version"], scores, ranks, reply)
        return reply

    def promise(self) -> bool:
        """Take one of the rankings still wanted, so that annotators together never submit too many."""
        with self.lock:
            if self.promised >= self.config.rankings:
                return False
            self.promised += 1
            return True

    def finished(self) -> bool:
        """All is stored, or it was stopped."""
        with self.lock:
            return self.stop.is_set() or sum(self.by_annotator.values()) >= self.config.rankings

    def give_up(self, reply: dict) -> None:
        """No task for too long: an error before the first ranking, a sentence in the summary later."""
        says = ", ".join(filter(None, [_worker(reply, "state"), _worker(reply, "error")])) or "nothing"
        why = f"There was no task for {self.config.patience:g} s (the worker says: {says})."
        with self.lock:
            if self.by_annotator:
                self.stopped = why
            else:
                self.error = self.error or why
        self.stop.set()

    def scored(self, prompt: str, response: str) -> float:
        """The scorer's number. Whatever it raises becomes one sentence: it is somebody's own file."""
        try:
            value = float(self.score(prompt, response))
        except (Exception, SystemExit) as error:
            raise SimulationError(
                f"The scorer '{self.config.scorer}' failed on the prompt {prompt[:80]!r}:"
                f" {type(error).__name__}: {error}"
            ) from error
        if value != value:
            raise SimulationError(
                f"The scorer '{self.config.scorer}' gave NaN on the prompt {prompt[:80]!r}."
            )
        return value

    def ask(
        self, client: httpx.Client, path: str, body: dict | None = None, may_be_closed: bool = False
    ) -> dict | None:
        """One request. A broken connection and a 503 (the database was locked, the server starts) are tried
        again: the nonce makes a second POST harmless."""
        for attempt in range(RETRIES + 1):
            answer = None
            try:
                answer = client.post(path, json=body) if body is not None else client.get(path)
                if answer.status_code != 503:
                    break
            except httpx.ConnectError as error:
                reason, started = error, bool(self.by_annotator)
                if not started:
                    raise SimulationError(
                        f"Nothing answers at {self.config.url}; start Podium with `python app.py`."
                    ) from error
            except httpx.HTTPError as error:
                reason = error
            if attempt == RETRIES or self.stop.wait(0.1 * 2**attempt):
                if answer is not None:
                    break
                raise SimulationError(f"{self.config.url}{path} does not answer: {reason}.")
        if may_be_closed and answer.status_code in (404, 409):
            return None
        try:
            reply = answer.json()
        except ValueError as error:
            raise SimulationError(
                f"{self.config.url}{path} answered {answer.status_code} without JSON; is that Podium?"
            ) from error
        if answer.status_code >= 400 or not isinstance(reply, dict):
            said = reply.get("error", reply) if isinstance(reply, dict) else reply
            raise SimulationError(f"{self.config.url}{path} answered {answer.status_code}: {said}")
        return reply

    def count(self, name: str, version: int, scores: list[float], ranks: list[int], reply: dict) -> None:
        """Add one stored ranking to the tally and say how far it is."""
        pairs = list(itertools.combinations(scores, 2))
        with self.lock:
            self.by_annotator[name] += 1
            self.by_policy[version] += 1
            self.scores.setdefault(version, []).extend(scores)
            self.pairs += len(pairs)
            self.tied += sum(a == b for a, b in pairs)
            self.flipped += flipped(scores, ranks)
        self.say(f"policy {version} ranked, {(reply.get('status') or {}).get('open_tasks', '?')} tasks open")

    def say(self, what: str) -> None:
        """At most one line in two seconds about ranking, and one about waiting."""
        kind = what.split()[0]
        with self.lock:
            now = time.monotonic()
            if now - self.last_said.get(kind, -math.inf) < 2:
                return
            self.last_said[kind] = now
            done = sum(self.by_annotator.values())
        self.echo(f"{done:>5}/{self.config.rankings} rankings, {now - self.begun:5.0f} s: {what}")

    def summary(self) -> Summary:
        """The tally so far."""
        return Summary(
            rankings=sum(self.by_annotator.values()),
            wanted=self.config.rankings,
            seconds=time.monotonic() - self.begun,
            pairs=self.pairs,
            tied_pairs=self.tied,
            flipped_pairs=self.flipped,
            by_annotator=dict(sorted(self.by_annotator.items())),
            by_policy=dict(sorted(self.by_policy.items())),
            mean_score={v: sum(s) / len(s) for v, s in sorted(self.scores.items())},
            stopped=self.stopped,
        )


def _round_is_due(reply: dict) -> bool:
    """A round trains, or has enough rankings to begin: more now would be about an old policy."""
    due = (reply.get("progress") or {}).get("until_next_round") == 0
    return due or _worker(reply, "state") in TRAINING


def _worker(reply: dict, name: str) -> str:
    """What the reply says of the worker: its state, detail or error; empty when it says nothing."""
    worker = (reply.get("status") or {}).get("worker") or {}
    return str(worker.get(name) or "")


def _label(spec: str) -> str:
    """The scorer's short name: 'helpful', or the function of 'path/file.py:function'."""
    return spec.rpartition(":")[2] or Path(spec).stem
