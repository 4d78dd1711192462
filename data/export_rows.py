"""What a run has learned from people, as rows that others train on: preferences, rankings, demonstrations.

The names and shapes of `prompt`, `chosen`, `rejected`, `completion` and `messages` are TRL's ("Dataset
formats and types" in its documentation), so its trainers take these rows as they are; what else is known of a
row stands in columns of its own. Pure text in and out: no store, no files.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from data.conversation import Message, as_messages, transcript_of

FORMS = ("text", "chat", "messages")
KINDS = ("human", "program", "judge", "import")
LEAST_PROMPTS = 5  # so many have one in the test set, whatever their hashes are

Row = dict[str, Any]


@dataclass(frozen=True)
class RankingRecord:
    """All that is known of one ranking (or skip). Lists are by position, as the responses were shown."""

    id: int
    prompt: str
    responses: list[str]
    ranks: list[int] | None  # dense, 1 is best, equal is a tie; None: skipped
    annotator: str
    annotator_kind: str  # human, program, judge or import
    source: str = "ranking"  # or import: it was made elsewhere
    policy_version: int | None = None  # whom the task judges
    policies: list[int | None] = field(default_factory=list)  # who wrote each response
    finished: list[bool] = field(default_factory=list)  # each ended by EOS, not cut
    tokens: list[int] = field(default_factory=list)
    marks: list[dict[str, Any]] = field(default_factory=list)  # flags, reasons_for, reasons_against, ratings
    partial: bool = False  # those ranked last were not compared with each other
    acceptable: bool | None = None  # False: none is; True: the best is; None: nobody was asked
    strength: int = 0  # of two: 1 slightly, 2 clearly, 3 much better; 0: nobody was asked
    comment: str = ""
    skip_reason: str = ""
    better: str | None = None  # written by the annotator: above all that were shown
    started_from: int | None = None  # the position of the response that it was made from
    seconds: float | None = None
    created_at: float | None = None  # Unix seconds
    guidelines: int | None = None  # version it was made under
    constitution: int | None = None  # the same, of a judge
    withdrawn_for: str | None = None  # change or good; None: it stands
    task_id: int | None = None
    sampling: list[str] = field(default_factory=list)  # JSON: temperature, seed ... of each response


@dataclass(frozen=True)
class DemonstrationRecord:
    """A response to learn from by imitation."""

    prompt: str
    text: str
    source: str  # annotator, import or judge
    annotator: str = ""
    ranking_id: int | None = None


class Split:
    """Which prompts are test prompts: those that the run holds out, and a share of the others by their hash.

    The same for every set of one run, so no prompt one trains on is in another's test set. Prompts count as
    one when they begin with the same message of the user's, whatever their case and spaces. A prompt stays on
    its side as others are added, but for a set that is so small that chance gave it no test prompt: then the
    first by hash is one.
    """

    def __init__(self, prompts: Sequence[tuple[str, bool]], share: float):
        """prompts: all that the run has something of, and whether it holds them out."""
        self.share = share
        self.heldout = {_root(prompt) for prompt, heldout in prompts if heldout}
        others = {_root(prompt) for prompt, _ in prompts} - self.heldout
        few = not self.heldout and len(others) >= LEAST_PROMPTS and share > 0
        if few and not any(_place(root) < share for root in others):
            self.heldout.add(min(others, key=_place))

    def __call__(self, prompt: str) -> str:
        """train or test."""
        root = _root(prompt)
        return "test" if root in self.heldout or _place(root) < self.share else "train"


def _root(prompt: str) -> str:
    first = next((m["content"] for m in as_messages(prompt) if m["role"] == "user"), prompt)
    return " ".join(first.split()).casefold()


def _place(root: str) -> float:
    """0 to 1. Salted: by the bare hash the run itself holds prompts out, and none below its share is left."""
    return int.from_bytes(hashlib.sha256(f"export {root}".encode()).digest()[:4], "big") / 2**32


def prompt_messages(prompt: str, system: str = "") -> list[Message]:
    """The messages of a prompt behind the run's system prompt, unless they begin with one of their own."""
    messages = as_messages(prompt)
    if not system or messages[0]["role"] == "system":
        return messages
    return [{"role": "system", "content": system}, *messages]


def prompt_text(prompt: str, system: str = "") -> str:
    """A prompt as a model without a chat template read it when it was sampled: the response follows at once.

    (`rlhf.generate.encode_prompt` for one that has none.)
    """
    messages = prompt_messages(prompt, system)
    return prompt + "\n" if len(messages) == 1 else transcript_of(messages) + "\n\nAssistant:"


def preferences(
    record: RankingRecord, form: str, split: str, ties: bool = False, system: str = ""
) -> Iterator[Row]:
    """All pairs of one ranking, best first. form: text, or chat (lists of messages). system: the run's.

    Responses that were not compared with each other make no pair, nor do two of the same text. What the
    annotator wrote is chosen above all that were shown. ties: those of the same rank too, marked.
    """
    if record.ranks is None:
        return
    written = [] if record.better is None else [record.better]
    texts = [*written, *record.responses]
    ranks = [*(1 for _ in written), *(rank + len(written) for rank in record.ranks)]
    policies = [None for _ in written] + (record.policies or [None] * len(record.responses))
    finished = [True for _ in written] + (record.finished or [True] * len(record.responses))
    order = sorted(range(len(texts)), key=lambda i: (ranks[i], i))
    for at, i in enumerate(order):
        for j in order[at + 1 :]:
            gap = ranks[j] - ranks[i]
            not_compared = gap == 0 and record.partial and ranks[i] == max(ranks)
            if texts[i] == texts[j] or not_compared or (gap == 0 and not ties):
                continue
            of_two = len(record.responses) == 2 and not (written and i == 0)
            yield {
                "prompt": _prompt(record.prompt, form, system),
                "chosen": _response(texts[i], form),
                "rejected": _response(texts[j], form),
                "rank_gap": gap,
                "tie": gap == 0,
                "strength": record.strength if of_two else 0,
                "none_acceptable": record.acceptable is False,
                "chosen_by": "annotator" if written and i == 0 else "policy" if record.policies else "import",
                "chosen_policy": policies[i],
                "rejected_policy": policies[j],
                "chosen_finished": finished[i],
                "rejected_finished": finished[j],
                "policy_version": record.policy_version,
                "annotator": record.annotator,
                "annotator_kind": record.annotator_kind,
                "source": record.source,
                "ranking_id": record.id,
                "split": split,
            }


def ranking_row(record: RankingRecord, form: str, split: str) -> Row:
    """A ranking with all that was said. form: text (the prompt as it was given), or chat."""
    shown = len(record.responses)
    marks = record.marks or [{}] * shown
    names = ("flags", "reasons_for", "reasons_against")
    return {
        "prompt": _prompt(record.prompt, form) if form == "chat" else record.prompt,
        "responses": record.responses,
        "ranks": record.ranks,
        "partial": record.partial,
        "acceptable": record.acceptable,
        "strength": record.strength,
        "better": record.better,
        "better_started_from": record.started_from,
        **{name: [list(mark.get(name, ())) for mark in marks] for name in names},
        "ratings": [
            [{"scale": scale, "rating": rating} for scale, rating in mark.get("ratings", {}).items()]
            for mark in marks
        ],
        "comment": record.comment,
        "skip_reason": record.skip_reason,
        "seconds": record.seconds,
        "created_at": record.created_at,
        "guidelines": record.guidelines,
        "constitution": record.constitution,
        "withdrawn_for": record.withdrawn_for,
        "annotator": record.annotator,
        "annotator_kind": record.annotator_kind,
        "source": record.source,
        "policy_version": record.policy_version,
        "response_policies": record.policies or [None] * shown,
        "finished": record.finished or [True] * shown,
        "tokens": record.tokens or [None] * shown,
        "sampling": record.sampling or ["{}"] * shown,
        "task_id": record.task_id,
        "ranking_id": record.id,
        "split": split,
    }


def demonstration_row(record: DemonstrationRecord, form: str, split: str, system: str = "") -> Row:
    """form: text or chat (prompt and completion), or messages (the whole conversation in one column)."""
    if form == "messages":
        messages = prompt_messages(record.prompt, system)
        said: Row = {"messages": [*messages, {"role": "assistant", "content": record.text}]}
    else:
        said = {"prompt": _prompt(record.prompt, form, system), "completion": _response(record.text, form)}
    return said | {
        "source": record.source,
        "annotator": record.annotator,
        "ranking_id": record.ranking_id,
        "split": split,
    }


def _prompt(prompt: str, form: str, system: str = "") -> str | list[Message]:
    return prompt_messages(prompt, system) if form == "chat" else prompt_text(prompt, system)


def _response(text: str, form: str) -> str | list[Message]:
    return [{"role": "assistant", "content": text}] if form == "chat" else text
