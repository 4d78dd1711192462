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

`rlhf.judging` has it judge the tasks of a run.

What can go wrong costs a task at most: an answer that stays unusable is recorded as such, and when the
endpoint is lost, all that was judged before is stored and the task that was held is free at once.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from rlhf.config import setting
from rlhf.judge_client import Chat, Usage
from rlhf.judge_orders import Opinion, both_orders, merge
from rlhf.judge_prompts import Unusable, comparison, ranks_schema, read_ranks, repair


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
    at_once: int = setting(4, "Tasks that an endpoint is asked about at the same time.")
    leave: int = setting(4, "Open tasks that are always left to people.")
    most_tokens: int = setting(0, "Stop when so many tokens were used, prompts and responses; 0: no limit.")
    price_in: float = setting(0.0, "Price of a million prompt tokens, to say what it cost.")
    price_out: float = setting(0.0, "Price of a million response tokens.")
    attempts: int = setting(3, "How often one question is asked until its answer can be used.")
    retries: int = setting(6, "How often a call is tried again, after longer and longer waits.")
    timeout: float = setting(120.0, "Seconds to wait for one answer.")
    max_answer_tokens: int = setting(
        1024, "Longest answer of the judge, in tokens, with what it thinks aloud."
    )
    device: str = setting("auto", "For a model in here: auto, cuda, mps or cpu.")

    def __post_init__(self) -> None:
        if not (self.endpoint or self.model):
            raise ValueError("There is no judge; wanted: --endpoint URL, or --model with a folder or hub id.")
        checks = [
            *((getattr(self, n) >= 0, n, "0 or more") for n in ("tasks", "compare", "revise", "leave")),
            *((getattr(self, n) >= 0, n, "0 or more") for n in ("most_tokens", "price_in", "price_out")),
            (1 <= self.at_once <= 64, "at_once", "1 to 64"),
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
