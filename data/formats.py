"""Which format a row has, and what it becomes. One entry of FORMATS for each; the first that fits reads it.

Columns that a format does not know are left alone. `python app.py import` uses this; so can a notebook:

    for read in read_items(read_rows("pairs.jsonl")):
        print(read.line, read.items or read.why)
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from data.exports import is_argilla, is_label_studio, read_argilla, read_label_studio
from data.incoming import (
    ImportedDemonstration,
    ImportedPrompt,
    ImportedRanking,
    Item,
    Refused,
    clean,
    number,
    prompt_from,
    ranking,
    records,
    response_from,
    structure,
    turns,
)
from data.lines import Row
from data.transcripts import (
    asks_as_transcript,
    conversation_end,
    is_transcript,
    split_messages,
    split_texts,
    split_transcripts,
    transcript_prompt,
)
from data.trees import Flat, Tree, read_tree

AS = ("prompts", "demonstrations", "preferences")
ASKS = ("prompt", "instruction", "question")
ANSWERS = ("response", "completion", "output", "answer")
YES = (True, 1, "true", "True")  # also as a CSV cell has it
_ANSWERED = ("chosen", "rejected", "responses", "completions")  # a row with these is no prompt only


@dataclass(frozen=True)
class Format:
    wanted: str  # the columns, for people
    fits: Callable[[dict[str, Any]], bool]
    read: Callable[[dict[str, Any]], list[Item]]  # raises Refused


@dataclass(frozen=True)
class Read:
    """What came of a row, or of the rows of one tree."""

    line: int
    format: str  # '' when none fits
    items: tuple[Item, ...] = ()
    why: str = ""  # nothing, as a clause
    file: str = ""


def _has(*names: str) -> Callable[[dict[str, Any]], bool]:
    """Whether the columns are there: an empty cell is then what is wrong with the row, not its format."""
    return lambda row: all(name in row for name in names)


def _first(row: dict[str, Any], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if row.get(name) is not None), None)


def _is_hh(row: dict[str, Any]) -> bool:
    return row.get("prompt") is None and all(is_transcript(row.get(n)) for n in ("chosen", "rejected"))


def _read_hh(row: dict[str, Any]) -> list[Item]:
    return [_pair(row, *split_transcripts(row["chosen"], row["rejected"]))]


def _read_trl(row: dict[str, Any]) -> list[Item]:
    """TRL's preference: a prompt and two responses, or two that begin with the prompt; texts or messages."""
    prompt, chosen, rejected = (structure(row.get(name)) for name in ("prompt", "chosen", "rejected"))
    if all(isinstance(side, (list, dict)) for side in (chosen, rejected)):
        if prompt is None or len(records(chosen)) > 1:  # as in UltraFeedback's pairs the prompt is told twice
            return [_pair(row, *split_messages(chosen, rejected))]
    elif prompt is None:
        return [_pair(row, *split_texts(clean(chosen, "a response"), clean(rejected, "a response")))]
    text = transcript_prompt(prompt) if asks_as_transcript(prompt) else prompt_from(prompt)
    return [_pair(row, text, response_from(chosen), response_from(rejected))]


def _pair(row: dict[str, Any], prompt: str, chosen: str, rejected: str) -> ImportedRanking:
    ranks = [1, 1] if row.get("tie") in YES else [1, 2]
    if chosen == rejected:
        raise Refused("chosen and rejected are the same")
    return ranking(prompt, [chosen, rejected], ranks, row.get("strength"), row.get("annotator"))


def _read_ultrafeedback(row: dict[str, Any]) -> list[Item]:
    """Scores are the means of the ratings. Not `overall_score`, where those are there: Argilla found answers
    that the critique tears apart with an overall score of 10 (the data set's card)."""
    prompt = prompt_from(row.get("instruction") or row.get("prompt"))
    texts, scores = [], []
    for completion in records(row["completions"]):
        if not isinstance(completion, dict):
            raise Refused("a completion is not an object")
        score = _score(completion)
        if score is not None and isinstance(completion.get("response"), str):
            texts.append(response_from(completion["response"]))
            scores.append(-score)
    if len(texts) < 2:
        raise Refused("fewer than two of its completions have a score")
    return [ranking(prompt, texts, scores)]


def _score(completion: dict[str, Any]) -> float | None:
    ratings = []
    for said in (structure(completion.get("annotations")) or {}).values():
        said = said[0] if isinstance(said, list) and said else said
        ratings.append(number(said.get("Rating")) if isinstance(said, dict) else None)
    ratings = [rating for rating in ratings if rating is not None]
    if ratings:
        return sum(ratings) / len(ratings)
    return next(
        (
            s
            for name in ("fine-grained_score", "overall_score")
            if (s := number(completion.get(name))) is not None
        ),
        None,
    )


def _read_shp(row: dict[str, Any]) -> list[Item]:
    """`score_ratio` compares votes of strangers, who were not asked by how much: strength stays 0."""
    label = number(row["labels"])
    if label not in (0, 1):
        raise Refused("labels is neither 0 nor 1")
    texts = [response_from(row[f"human_ref_{side}"]) for side in "AB"]
    return [ranking(prompt_from(row["history"]), texts, [1, 2] if label == 1 else [2, 1])]


def _listed(value: Any) -> Any:
    """A list that a CSV cell holds as JSON: here it can be nothing else, whatever is in it."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _read_rankings(row: dict[str, Any]) -> list[Item]:
    """Also Podium's own: with a better response that the annotator wrote, and those ranked last perhaps not
    compared with each other, which then each stand in a ranking without the others."""
    responses, ranks = _listed(row["responses"]), _listed(row["ranks"])
    if not isinstance(responses, list) or not isinstance(ranks, list) or len(responses) != len(ranks):
        raise Refused("it does not have a rank for each response")
    if row.get("withdrawn_for"):
        raise Refused("it was withdrawn")
    numbers = [number(rank) for rank in ranks]
    worst = max((n for n in numbers if n is not None), default=0) + 1  # null: not compared, behind all others
    placed = [worst if n is None else n for n in numbers]
    texts = [response_from(text) for text in responses]
    if row.get("better"):
        texts, placed = [response_from(row["better"]), *texts], [min(placed) - 1, *placed]
    said = row.get("strength"), row.get("annotator")
    prompt, last = prompt_from(row["prompt"]), max(placed)
    rest = [at for at, rank in enumerate(placed) if rank == last]
    partial = row.get("partial") in YES
    if (not partial and None not in numbers) or len(rest) < 2 or len(rest) == len(placed):
        return [ranking(prompt, texts, placed, *said)]
    compared = [at for at, rank in enumerate(placed) if rank != last]
    return [
        ranking(prompt, [texts[at] for at in own], [placed[at] for at in own], *said)
        for own in ([*compared, behind] for behind in rest)
    ]


def _read_alpaca(row: dict[str, Any]) -> list[Item]:
    """Alpaca, and Dolly, which calls the input context."""
    prompt = clean(row["instruction"], "a prompt")
    more = row.get("input") or row.get("context")
    if isinstance(more, str) and more.strip():
        prompt = clean(f"{prompt}\n\n{more.strip()}", "a prompt")
    return [ImportedDemonstration(prompt, response_from(_answer(row)))]


def _read_conversation(row: dict[str, Any]) -> list[Item]:
    spoken = turns(row[_first(row, ("messages", "conversations", "conversation"))])
    if isinstance(row.get("system"), str) and row["system"].strip() and spoken[0][0] != "system":
        spoken = [("system", row["system"]), *spoken]
    prompt, response = conversation_end(spoken)
    return [ImportedPrompt(prompt) if response is None else ImportedDemonstration(prompt, response)]


def _read_demonstration(row: dict[str, Any]) -> list[Item]:
    if isinstance(row.get("label"), bool):
        raise Refused("it says whether one response is good, not which of two is better")
    prompt = row.get(_first(row, ASKS) or "prompt")
    text = transcript_prompt(prompt) if asks_as_transcript(prompt) else prompt_from(prompt)
    return [ImportedDemonstration(text, response_from(_answer(row)))]


def _read_prompt(row: dict[str, Any]) -> list[Item]:
    return [ImportedPrompt(prompt_from(row.get(_first(row, ASKS) or "prompt")))]


def _answer(row: dict[str, Any]) -> Any:
    name = _first(row, ANSWERS)
    return row[name] if name else None


def _answers(*asks: str) -> Callable[[dict[str, Any]], bool]:
    return lambda row: any(name in row for name in asks) and any(name in row for name in ANSWERS)


def _only_asks(row: dict[str, Any]) -> bool:
    return any(name in row for name in ASKS) and not any(name in row for name in _ANSWERED)


def _is_chat(name: str, role: str) -> Callable[[dict[str, Any]], bool]:
    def fits(row: dict[str, Any]) -> bool:
        value = structure(row.get(name))
        if isinstance(value, dict):
            return role in value
        return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and role in value[0]

    return fits


FORMATS = {
    "argilla": Format("Argilla's export (fields, responses)", is_argilla, read_argilla),
    "label-studio": Format("Label Studio's export (data, annotations)", is_label_studio, read_label_studio),
    "oasst-trees": Format(
        "prompt with replies",
        lambda row: isinstance(tree := structure(row.get("prompt")), dict) and "replies" in tree,
        read_tree,
    ),
    "oasst": Format(
        "message_id, parent_id, text, role, rank",
        lambda row: {"message_id", "parent_id", "text", "role"} <= set(row),
        read_tree,
    ),
    "ultrafeedback": Format(
        "instruction, completions",
        lambda row: (
            isinstance(structure(row.get("completions")), (list, dict))
            and (row.get("instruction") or row.get("prompt")) is not None
        ),
        _read_ultrafeedback,
    ),
    "shp": Format(
        "history, human_ref_A, human_ref_B, labels",
        _has("history", "human_ref_A", "human_ref_B", "labels"),
        _read_shp,
    ),
    "hh": Format("chosen, rejected (transcripts)", _is_hh, _read_hh),
    "trl": Format("chosen, rejected, with or without prompt", _has("chosen", "rejected"), _read_trl),
    "rankings": Format("prompt, responses, ranks", _has("prompt", "responses", "ranks"), _read_rankings),
    "sharegpt": Format("conversations (from, value)", _is_chat("conversations", "from"), _read_conversation),
    "chat": Format(
        "messages (role, content)",
        lambda row: any(_is_chat(n, "role")(row) for n in ("messages", "conversations", "conversation")),
        _read_conversation,
    ),
    "alpaca": Format("instruction, input, output", _answers("instruction"), _read_alpaca),
    "demonstrations": Format("prompt, response", _answers(*ASKS), _read_demonstration),
    "prompts": Format("prompt", _only_asks, _read_prompt),
}
SHORT = (
    "chosen and rejected; prompt, responses and ranks; messages; instruction and output; prompt and "
    "response; or prompt"
)


def read_items(rows: Iterator[Row], format: str = "auto", as_: str = "") -> Iterator[Read]:
    """What rows become, in order: one `Read` for each, and for the messages of a tree one together.

    format: a name in FORMATS, or auto: of each row the first that fits.
    as_: one of AS; '': what each row is best for, its preference, else its demonstration, else its prompt.
    """
    flat = Flat()
    for row in rows:
        if row.values is None:
            yield Read(row.line, "", (), row.why, row.file)
            continue
        names = FORMATS if format == "auto" else (format,)
        name = next((n for n in names if FORMATS[n].fits(row.values)), None)
        if name is None:
            yield Read(row.line, "", (), _unknown(row.values, format), row.file)
        elif name == "oasst":
            yield from _message(flat, row, as_)
        else:
            yield _read(name, row.line, row.values, as_, row.file)
    yield from _trees(flat.end(), as_, "")


def _message(flat: Flat, row: Row, as_: str) -> Iterator[Read]:
    try:
        yield from _trees(flat.add(row.line, row.values), as_, row.file)
    except Refused as refusal:
        yield Read(row.line, "oasst", (), str(refusal), row.file)


def _trees(tree: Tree | None, as_: str, file: str) -> Iterator[Read]:
    if tree:
        yield _read("oasst", tree.line, {"prompt": tree.root}, as_, file)
        for line, why in tree.left_out:
            yield Read(line, "oasst", (), why, file)


def _read(name: str, line: int, values: dict[str, Any], as_: str, file: str = "") -> Read:
    try:
        items = FORMATS[name].read(values)
        return Read(line, name, tuple(turned(items, as_)), "", file)
    except Refused as refusal:
        return Read(line, name, (), str(refusal), file)
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RecursionError,
    ):  # nested where nothing should be
        return Read(line, name, (), f"it is not as {name} rows are ({FORMATS[name].wanted})", file)


def turned(items: list[Item], as_: str) -> list[Item]:
    """The items as something else: of a ranking the best response alone, of anything the prompt alone."""
    if as_ == "prompts":
        return [ImportedPrompt(prompt) for prompt in dict.fromkeys(item.prompt for item in items)]
    if as_ == "demonstrations":
        found = [item for item in items if isinstance(item, ImportedDemonstration)]
        for item in items:
            if isinstance(item, ImportedRanking):
                found += [ImportedDemonstration(item.prompt, text) for text in item.chosen()]
        if not found:
            raise Refused(
                "it has no response that is better than others" if _ranked(items) else "it has no response"
            )
        return found
    if as_ == "preferences":
        found = [item for item in items if isinstance(item, ImportedRanking)]
        if not found:
            raise Refused("it has no two responses of which one is better")
        return found
    return items


def _ranked(items: list[Item]) -> bool:
    return any(isinstance(item, ImportedRanking) for item in items)


def _unknown(values: dict[str, Any], format: str) -> str:
    """Which columns there are and which were wanted."""
    names = [str(name)[:40] for name in values]
    found = ", ".join(names[:12]) + (" ..." if len(names) > 12 else "") if names else "none"
    wanted = SHORT if format == "auto" else FORMATS[format].wanted
    return f"its columns are {found}; wanted: {wanted}"
