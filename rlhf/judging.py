"""A judge at work on a run: what it ranks and revises, in what order, and how that ends.

Endpoints are asked about several tasks at once, each in a thread of its own; a model in this process about
one.
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Protocol

from rlhf.critique import revised
from rlhf.judge import Judge, JudgeConfig
from rlhf.judge_client import EndpointError, Usage
from rlhf.judge_prompts import LETTERS, Unusable

LONGEST_NAME = 50
IN_VAIN = 5  # questions in a row without a usable answer: it will not get better
WORKER_ALIVE = 300.0  # seconds since its last beat: it is silent while it loads a large model
LEASE_BEYOND = 120.0  # seconds that a task is held beyond one call: for waiting and asking again


class JudgedStore(Protocol):
    """What is needed of the store."""

    def constitution(self): ...
    def judge(self, name: str, model: str, endpoint: str): ...
    def claim_to_judge(self, person_id: int, leave: int, lease_seconds: float): ...
    def hold_to_judge(self, person_id: int, task_id: int, lease_seconds: float) -> bool: ...
    def to_compare(self, person_id: int, limit: int) -> list: ...
    def add_judgement(self, person_id: int, task_id: int, nonce: str, ranks: list[int] | None, **known): ...
    def leave(self, person_id: int, seconds: float) -> None: ...
    def worker_status(self) -> dict[str, Any]: ...
    def to_revise(self, limit: int) -> list[dict[str, Any]]: ...
    def add_revision(self, response_id: int, text: str) -> bool: ...


@dataclass
class Summary:
    """What came of one run of a judge."""

    judge: str = ""
    person_id: int = 0
    ranked: int = 0  # open tasks
    compared: int = 0  # tasks that people had ranked
    failed: int = 0  # tasks without a usable answer
    taken: int = 0  # tasks that somebody else has ranked meanwhile
    revised: int = 0
    as_they_were: int = 0  # responses with which nothing was wrong, or that came back unchanged
    not_revised: int = 0
    consistent: list[float] = field(default_factory=list)  # of each ranking
    used: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    trouble: str = ""  # why it ended, if that was not as asked

    def cost(self, config: JudgeConfig) -> float:
        """In the currency of the prices."""
        prices = (self.used.prompt_tokens, config.price_in), (self.used.response_tokens, config.price_out)
        return sum(tokens * price for tokens, price in prices) / 1e6


class Judging:
    """One run of a judge over a store: first what is to be compared, then revisions, then open tasks."""

    def __init__(
        self,
        store: JudgedStore,
        judge: Judge,
        config: JudgeConfig,
        say: Callable[[str], None] = print,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self.store, self.judge, self.config, self.say, self.sleep = store, judge, config, say, sleep
        name = config.name or PurePath(judge.model).name or judge.model
        self.person = store.judge(name[:LONGEST_NAME], judge.model, judge.endpoint)
        self.summary = Summary(self.person.name, self.person.id)
        self.at_once = config.at_once if judge.endpoint else 1
        self.in_vain = 0
        self.counting = threading.Lock()  # over the summary, and what is said

    def run(self) -> Summary:
        """Judge until all is done, the budget is spent, the endpoint is lost, or somebody presses Ctrl-C;
        what was judged is stored, and nothing is held any more. Raises what the store raises."""
        config, began = self.config, time.monotonic()
        try:
            if config.compare:
                tasks = self.store.to_compare(self.person.id, config.compare)
                self.say(f"{len(tasks)} tasks that people have ranked")
                self._each(self._in_budget(tasks), lambda task: self._rank(task, compare=True))
            if config.revise:
                found = self.store.to_revise(config.revise)
                self.say(f"{len(found)} responses to revise")
                self._each(self._in_budget(found), self._revise)
            if config.tasks or not (config.compare or config.revise):
                self._each(self._in_budget(self._open_tasks(config.tasks)), self._rank)
        except KeyboardInterrupt:
            self.say("interrupted")
        except EndpointError as error:
            self.summary.trouble = str(error)
        finally:
            self.store.leave(self.person.id, 0.0)
            self.summary.seconds = time.monotonic() - began
        return self.summary

    def _each(self, things: Iterable[Any], do: Callable[[Any], None]) -> None:
        """`do` with each, several at once. What one of them raises ends it; what is under way is waited
        for, as it is paid for: a second Ctrl-C does not wait."""
        if self.at_once == 1:
            for thing in things:
                do(thing)
            return
        running: set[Future] = set()
        pool = ThreadPoolExecutor(self.at_once)
        try:
            for thing in things:
                running.add(pool.submit(do, thing))
                if len(running) == self.at_once:
                    running = _finished(running)
            while running:
                running = _finished(running)
        finally:
            pool.shutdown(cancel_futures=True)

    def _in_budget(self, things: Iterable[Any]) -> Iterator[Any]:
        """The same, as long as tokens may be used. Raises EndpointError where they are not counted."""
        for thing in things:
            spent, most = self.summary.used.tokens, self.config.most_tokens
            if most and not spent and self.summary.consistent:
                raise EndpointError(
                    f"{self.judge.endpoint} does not say how many tokens it used, so that --most-tokens "
                    "cannot be kept; limit --tasks instead."
                )
            if most and spent >= most:
                self.say(f"{spent} tokens were used, of {most} at most")
                return
            yield thing

    def _open_tasks(self, wanted: int) -> Iterator[Any]:
        """Tasks for the judge, `wanted` of them, or (0) without end; waits for the worker to write them."""
        lease, given, waiting = self.config.timeout + LEASE_BEYOND, 0, False
        while not wanted or given < wanted:
            task = self.store.claim_to_judge(self.person.id, self.config.leave, lease)
            if task is not None:
                given, waiting = given + 1, False
                yield task
                continue
            seen = self.store.worker_status()["seen"]
            if seen is None or time.time() - seen > WORKER_ALIVE:
                self.say("no task is left for the judge, and no worker is running that would write more")
                return
            if not waiting:
                self.say(f"waiting for tasks ({self.config.leave} are left to people)")
            waiting = True
            self.sleep(1.0)

    def _rank(self, task: Any, compare: bool = False) -> None:
        """Have one task judged, and store what is said. Raises EndpointError."""
        constitution, used, began = self.store.constitution(), Usage(), time.monotonic()
        lease = self.config.timeout + LEASE_BEYOND

        def hold() -> None:
            if not compare:
                self.store.hold_to_judge(self.person.id, task.id, lease)

        opinion, why = None, ""
        try:
            opinion = self.judge.rank(constitution.text, task.prompt, task.responses, used, hold)
        except Unusable as wrong:
            why = str(wrong)
        finally:
            self._count(used)
        seconds = time.monotonic() - began
        stored = self.store.add_judgement(
            self.person.id,
            task.id,
            uuid.uuid4().hex,
            opinion and opinion.ranks,
            why=opinion.reason if opinion else why,
            compare=compare,
            constitution=constitution.version,
            calls=used.calls,
            prompt_tokens=used.prompt_tokens,
            response_tokens=used.response_tokens,
            consistent=opinion and opinion.consistent,
            seconds=seconds,
        )
        with self.counting:
            if opinion is None:
                self.summary.failed += 1
                self._vain(f"task {task.id} not ranked: {why}")
                return
            self.in_vain = 0
            if stored is None:
                self.summary.taken += 1
                self.say(f"task {task.id} was ranked by somebody else meanwhile")
                return
            self.summary.compared += compare
            self.summary.ranked += not compare
            self.summary.consistent.append(opinion.consistent)
            self.say(
                f"{len(self.summary.consistent)}: task {task.id}, {in_letters(opinion.ranks)}, "
                f"consistent {opinion.consistent:.0%}, {used.calls} calls, {seconds:.1f} s"
            )

    def _revise(self, response: dict[str, Any]) -> None:
        """Have one response criticised and written again, and keep that. Raises EndpointError."""
        used, name = Usage(), f"response {response['response_id']}"
        try:
            text = revised(self.judge, self.store.constitution().text, response, used)
        except Unusable as why:
            with self.counting:
                self.summary.not_revised += 1
                self._vain(f"{name} not revised: {why}")
            return
        finally:
            self._count(used)
        new = text is not None and self.store.add_revision(response["response_id"], text)
        with self.counting:
            self.in_vain = 0
            self.summary.revised += new
            self.summary.as_they_were += not new
            self.say(f"{name} {'revised' if new else 'left as it was'}, {used.calls} calls")

    def _count(self, used: Usage) -> None:
        with self.counting:
            self.summary.used.add(used)

    def _vain(self, sentence: str) -> None:
        """Raises EndpointError when it is once too often."""
        self.say(sentence)
        self.in_vain += 1
        if self.in_vain >= IN_VAIN:
            raise EndpointError(
                f"{self.judge.model} had no usable answer {IN_VAIN} times in a row ({sentence}); try another "
                "model, a larger --max-answer-tokens, or a shorter constitution."
            )


def _finished(running: set[Future]) -> set[Future]:
    """Wait for one of them; those that are left. Raises what it raised."""
    done, left = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        future.result()
    return left


def in_letters(ranks: Sequence[int]) -> str:
    """[2, 1, 2] -> 'B > A = C'."""
    places = [[LETTERS[at] for at, rank in enumerate(ranks) if rank == place] for place in sorted(set(ranks))]
    return " > ".join(" = ".join(group) for group in places)
