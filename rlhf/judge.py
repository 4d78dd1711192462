"""AI feedback: a model ranks tasks by a written constitution.

RLAIF, as in Bai et al. 2022 (arXiv:2212.08073) and Lee et al. 2023 (arXiv:2309.00267).

Every task is judged in two orders, as stored and the reverse, since judges prefer places (Zheng et al.
2023, arXiv:2306.05685, section 3.1). Two responses are ranked apart only where both orders rank them so,
and ties where the judge disagrees with itself: a judge that always prefers what it sees first ties
everything. `consistent` is the share of pairs that both orders ranked alike.

Who judges is one of two (both are a `Judge`):

EndpointJudge  ranks all responses of a task in one call per order: 2 calls a task, and at most `attempts`
               times as many where answers cannot be used.
LocalJudge     (judge_local.py) a model in this process, by the probabilities of the letters A and B: each
               pair in both orders, k(k - 1) passes for k responses. It always has an answer, and reads any
               model.

What can go wrong costs a task at most: an answer that stays unusable is recorded as such, and when the
endpoint is lost, all that was judged before is stored and the task that was held is free at once.
"""

import os
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Protocol

from rlhf.config import setting
from rlhf.critique import revised
from rlhf.judge_client import Chat, EndpointError, Usage
from rlhf.judge_orders import Opinion, both_orders, merge
from rlhf.judge_prompts import LETTERS, Unusable, comparison, ranks_schema, read_ranks, repair

LONGEST_NAME = 50
IN_VAIN = 5  # tasks in a row without a usable answer: it will not get better
WORKER_ALIVE = 300.0  # seconds since its last beat: it is silent while it loads a large model
LEASE_BEYOND = 120.0  # seconds that a task is held beyond one call: for waiting and asking again


@dataclass(frozen=True)
class JudgeConfig:
    """Settings of `python app.py judge`."""

    endpoint: str = setting("", "URL of an OpenAI-compatible endpoint, with its /v1; empty: a model in here.")
    model: str = setting(
        "", "Its name at the endpoint (empty: the only one there), or a local folder or hub id."
    )
    name: str = setting("", "What the judge is called in the lab; empty: as the model.")
    api_key_env: str = setting("", "Environment variable that holds the endpoint's key.")
    tasks: int = setting(0, "Open tasks to judge; 0: until interrupted, or none with --compare or --revise.")
    compare: int = setting(0, "Tasks that people have ranked to judge too, so that both can be compared.")
    revise: int = setting(0, "Responses to criticise and revise by the constitution, as demonstrations.")
    leave: int = setting(4, "Open tasks that are always left to people.")
    most_tokens: int = setting(0, "Stop when so many tokens were used, prompts and responses; 0: no limit.")
    price_in: float = setting(0.0, "Price of a million prompt tokens, to say what it cost.")
    price_out: float = setting(0.0, "Price of a million response tokens.")
    attempts: int = setting(3, "How often one question is asked until its answer can be used.")
    retries: int = setting(6, "How often a call is tried again, after longer and longer waits.")
    timeout: float = setting(120.0, "Seconds to wait for one answer.")
    max_answer_tokens: int = setting(512, "Longest answer of the judge, in tokens.")
    device: str = setting("auto", "For a model in here: auto, cuda, mps or cpu.")

    def __post_init__(self) -> None:
        checks = [
            (bool(self.endpoint or self.model), "model", "a model, or --endpoint"),
            *((getattr(self, n) >= 0, n, "0 or more") for n in ("tasks", "compare", "revise", "leave")),
            *((getattr(self, n) >= 0, n, "0 or more") for n in ("most_tokens", "price_in", "price_out")),
            (self.attempts >= 1, "attempts", "at least 1"),
            (self.retries >= 0, "retries", "0 or more"),
            (0 < self.timeout <= 3600, "timeout", "above 0, at most 3600"),
            (self.max_answer_tokens >= 1, "max_answer_tokens", "at least 1"),
            (not self.api_key_env or self.api_key_env in os.environ, "api_key_env", "a variable that is set"),
        ]
        for fine, name, wanted in checks:
            if not fine:
                value = getattr(self, name)
                raise ValueError(f"--{name.replace('_', '-')} is {value!r}; wanted: {wanted}.")


class Judge(Protocol):
    model: str
    endpoint: str  # '': in this process

    def rank(
        self, constitution: str, prompt: str, responses: Sequence[str], used: Usage, before: Callable
    ) -> Opinion:
        """Rank 2 to 4 responses; what it costs is added to `used`, `before` is called before each step.
        Raises Unusable, EndpointError."""

    def write(self, messages: Sequence[dict[str, str]], used: Usage) -> str:
        """Go on with a conversation, for critique and revision. Raises Unusable, EndpointError."""

    def close(self) -> None: ...


class EndpointJudge:
    """Ranks through chat completions, and answers in JSON that is checked."""

    def __init__(self, chat: Chat, attempts: int = 3, most_tokens: int = 512):
        self.chat, self.attempts, self.most_tokens = chat, attempts, most_tokens
        self.model, self.endpoint = chat.model, chat.endpoint

    def rank(self, constitution, prompt, responses, used, before=lambda: None) -> Opinion:
        found, reason = [], ""
        for order in both_orders(len(responses)):
            shown = [responses[at] for at in order]
            ranks, why = self._ask(comparison(constitution, prompt, shown), len(shown), used, before)
            found.append([ranks[order.index(at)] for at in range(len(order))])
            reason = reason or why  # of the stored order: its letters are those on the page
        ranks, consistent = merge(found)
        return Opinion(ranks, consistent, reason)

    def _ask(self, messages, responses: int, used: Usage, before) -> tuple[list[int], str]:
        for attempt in range(1, self.attempts + 1):
            answer = self.chat.ask(
                messages,
                used,
                most_tokens=self.most_tokens,
                schema=ranks_schema(responses),
                before=before,
            )
            try:
                return read_ranks(answer, responses)
            except Unusable as wrong:
                if attempt == self.attempts:
                    raise
                messages = [*messages[:1], *repair(answer, wrong)]  # of the last answer alone: it is shorter
        raise AssertionError("attempts is at least 1")

    def write(self, messages, used) -> str:
        return self.chat.ask(messages, used, most_tokens=self.most_tokens)

    def close(self) -> None:
        self.chat.close()


def open_judge(config: JudgeConfig, say: Callable[[str], None] = print) -> Judge:
    """The judge that the settings name. Raises EndpointError, ModelError."""
    if config.endpoint:
        key = os.environ.get(config.api_key_env, "") if config.api_key_env else ""
        options = {"api_key": key, "timeout": config.timeout, "retries": config.retries, "say": say}
        chat = Chat(config.endpoint, config.model, **options)
        return EndpointJudge(chat, config.attempts, config.max_answer_tokens)
    from rlhf.judge_local import LocalJudge

    return LocalJudge(config.model, config.device, config.max_answer_tokens)


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


class _Enough(Exception):
    """The budget is spent, or there is nothing left to do. The message says which."""


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
        self.in_vain = 0

    def run(self) -> Summary:
        """Judge until all is done, the budget is spent, the endpoint is lost, or somebody presses Ctrl-C;
        what was judged is stored, and nothing is held any more."""
        began = time.monotonic()
        try:
            self._compare()
            self._revise()
            self._open_tasks()
        except KeyboardInterrupt:
            self.say("interrupted")
        except _Enough as why:
            self.say(str(why))
        except EndpointError as error:
            self.summary.trouble = str(error)
        finally:
            self.store.leave(self.person.id, 0.0)
            self.summary.seconds = time.monotonic() - began
        return self.summary

    def _compare(self) -> None:
        if not self.config.compare:
            return
        tasks = self.store.to_compare(self.person.id, self.config.compare)
        self.say(f"{len(tasks)} tasks that people have ranked")
        for task in tasks:
            self._judge(task, compare=True)

    def _revise(self) -> None:
        if not self.config.revise:
            return
        found = self.store.to_revise(self.config.revise)
        self.say(f"{len(found)} responses to revise")
        constitution = self.store.constitution()
        for response in found:
            self._in_budget()
            used = Usage()
            try:
                text = revised(self.judge, constitution.text, response, used)
            except Unusable as why:
                self.summary.not_revised += 1
                self._vain(f"response {response['response_id']} not revised: {why}")
            else:
                self.in_vain = 0
                new = text is not None and self.store.add_revision(response["response_id"], text)
                self.summary.revised += new
                self.summary.as_they_were += not new
                done = "revised" if new else "left as it was"
                self.say(f"response {response['response_id']} {done}, {used.calls} calls")
            finally:
                self.summary.used.add(used)

    def _open_tasks(self) -> None:
        wanted = self.config.tasks
        if not wanted and (self.config.compare or self.config.revise):
            return
        while not wanted or self.summary.ranked + self.summary.failed < wanted:
            self._judge(self._next_task())

    def _next_task(self):
        """A task for the judge; waits for the worker to write one. Raises _Enough."""
        lease, waiting = self.config.timeout + LEASE_BEYOND, False
        while (task := self.store.claim_to_judge(self.person.id, self.config.leave, lease)) is None:
            seen = self.store.worker_status()["seen"]
            if seen is None or time.time() - seen > WORKER_ALIVE:
                raise _Enough("no task is left for the judge, and no worker is running that would write more")
            if not waiting:
                self.say(f"waiting for tasks ({self.config.leave} are left to people)")
            waiting = True
            self.sleep(1.0)
        return task

    def _judge(self, task, compare: bool = False) -> None:
        self._in_budget()
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
            self.summary.used.add(used)
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
            seconds=time.monotonic() - began,
        )
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
        done = self.summary.compared + self.summary.ranked
        self.say(
            f"{done}: task {task.id}, {in_letters(opinion.ranks)}, consistent {opinion.consistent:.0%}, "
            f"{used.calls} calls, {time.monotonic() - began:.1f} s"
        )

    def _in_budget(self) -> None:
        """Raises _Enough."""
        spent, most = self.summary.used.tokens, self.config.most_tokens
        if most and spent >= most:
            raise _Enough(f"{spent} tokens were used, of {most} at most")

    def _vain(self, sentence: str) -> None:
        self.say(sentence)
        self.in_vain += 1
        if self.in_vain >= IN_VAIN:
            raise EndpointError(
                f"{self.judge.model} had no usable answer {IN_VAIN} times in a row ({sentence}); try another "
                "model, a larger --max-answer-tokens, or a shorter constitution."
            )


def in_letters(ranks: Sequence[int]) -> str:
    """[2, 1, 2] -> 'B > A = C'."""
    places = [[LETTERS[at] for at, rank in enumerate(ranks) if rank == place] for place in sorted(set(ranks))]
    return " > ".join(" = ".join(group) for group in places)
