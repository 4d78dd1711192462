"""What other tools export: Argilla's records, Label Studio's tasks.

Both leave it to their users what fields are called, and say nowhere which one is the prompt. Here it is the
one with a name that prompts have; the other texts are the responses.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from data.incoming import (
    ImportedRanking,
    Item,
    Refused,
    number,
    prompt_from,
    ranking,
    records,
    response_from,
    structure,
)

PROMPTS = (
    "prompt",
    "instruction",
    "question",
    "query",
    "input",
    "context",
    "conversation",
    "messages",
    "chat",
)
_FLAT = ".responses"


def _prompt_field(fields: dict[str, Any]) -> str:
    for name in PROMPTS:
        if fields.get(name):
            return name
    raise Refused(f"no field of it is called as prompts are ({', '.join(PROMPTS)})")


def _response_fields(fields: dict[str, Any], prompt: str) -> dict[str, Any]:
    """The other texts: of many, those with names that differ in their ends only (answer1, answer2)."""
    others = {name: v for name, v in fields.items() if name != prompt and isinstance(v, (str, list)) and v}
    if len(others) <= 2:
        return others
    stems: dict[str, list[str]] = {}
    for name in others:
        stems.setdefault(re.sub(r"[-_ ]?([0-9]+|[a-h])$", "", name, flags=re.I), []).append(name)
    most = max(stems.values(), key=len)
    return {name: others[name] for name in most} if len(most) > 1 else others


# Argilla


def is_argilla(row: dict[str, Any]) -> bool:
    """A record of Argilla 2 (nested, or flattened as `to_datasets` does it) or of a FeedbackDataset (1.x)."""
    if isinstance(structure(row.get("fields")), dict) and "responses" in row:
        return True
    return any(name.endswith(_FLAT) for name in row) or any(_is_answers(value) for value in row.values())


def _is_answers(value: Any) -> bool:
    """Argilla 1's column of a question: who answered what."""
    wanted = {"user_id", "value", "status"}
    if isinstance(value, dict):
        return set(value) == wanted
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and set(value[0]) == wanted


def read_argilla(row: dict[str, Any]) -> list[Item]:
    """A ranking for everybody who submitted one: of a ranking question, of a choice of the better response,
    or of ratings, one question for each response."""
    fields, answers = _record(row)
    prompt_name = _prompt_field(fields)
    shown = _response_fields(fields, prompt_name)
    if len(shown) < 2:
        raise Refused("it has fewer than two responses")
    prompt = prompt_from(fields[prompt_name])
    texts = {name: response_from(value) for name, value in shown.items()}
    found: list[Item] = []
    for person, said in answers.items():
        ranks = _ranks(said, list(texts))
        if ranks:
            found.append(ranking(prompt, [texts[n] for n in ranks], list(ranks.values()), 0, person))
    if not found:
        raise Refused("nobody submitted an order of its responses")
    return found


def _record(row: dict[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The fields, and of every person {question: value}, of what was submitted."""
    answers: dict[str, dict[str, Any]] = {}

    def add(question: str, person: Any, value: Any, status: Any) -> None:
        if value is not None and status in (None, "submitted"):
            answers.setdefault(str(person or ""), {})[question] = structure(value)

    nested = structure(row.get("fields"))
    if isinstance(nested, dict):
        for question, given in (structure(row.get("responses")) or {}).items():
            for answer in records(given or []):
                add(question, answer.get("user_id"), answer.get("value"), answer.get("status"))
        return nested, answers
    questions = {name for name in row if _is_answers(row[name])}
    for question in questions:
        for answer in records(row[question]):
            add(question, answer["user_id"], answer["value"], answer["status"])
    for name in [name for name in row if name.endswith(_FLAT)]:
        values = row[name] or []
        users, states = (row.get(f"{name}.{what}") or [None] * len(values) for what in ("users", "status"))
        for person, value, status in zip(users, values, states, strict=False):
            add(name.removesuffix(_FLAT), person, value, status)
    own = ("id", "_server_id", "status", "external_id", "metadata", "vectors")
    fields = {n: v for n, v in row.items() if "." not in n and n not in questions and n not in own}
    return {
        n: v for n, v in fields.items() if not n.endswith(("-suggestion", "-suggestion-metadata"))
    }, answers


def _ranks(said: dict[str, Any], fields: Sequence[str]) -> dict[str, float]:
    """Field -> rank, of what one person answered; {} when that is no order."""
    rated: dict[str, float] = {}
    for question, value in said.items():
        order = _order(value)
        if order:
            named = {_field(name, fields): rank for name, rank in order.items()}
            if None not in named and len(named) >= 2:
                return named
        elif isinstance(value, str) and (best := _field(value, fields)):
            return {name: 1 if name == best else 2 for name in fields}
        elif number(value) is not None and (name := _field(question, fields)):
            rated[name] = -number(value)
    return rated if len(rated) == len(fields) else {}


def _order(value: Any) -> dict[str, float]:
    """Of a ranking question: names in order, or each with its rank."""
    if isinstance(value, list) and value and all(isinstance(v, str) for v in value):
        return {name: place for place, name in enumerate(value, start=1)}
    if isinstance(value, (list, dict)):
        try:
            rows = records(value)
        except Refused:
            return {}
        if rows and all(isinstance(r, dict) and {"rank", "value"} <= set(r) for r in rows):
            ranks = {str(r["value"]): number(r["rank"]) for r in rows}
            return ranks if None not in ranks.values() else {}
    return {}


def _field(name: str, fields: Sequence[str]) -> str | None:
    """Which field a question's name or an answer means: the same name, part of it, or the same end."""

    def plain(text: str) -> str:
        return re.sub(r"[^a-z0-9]", "", text.lower())

    for fits in (
        lambda field: plain(field) == plain(name),
        lambda field: plain(field) in plain(name),
        lambda field: _end(field) is not None and _end(field) == _end(name),
    ):
        found = [field for field in fields if fits(field)]
        if len(found) == 1:
            return found[0]
    return None


def _end(name: str) -> str | None:
    """The number or letter that tells it from others."""
    found = re.search(r"(?:^|[^a-z0-9]|(?<=[a-z])(?=[0-9]))([0-9]+|[a-h])[^a-z0-9]*$", name.lower())
    return found.group(1) if found else None


# Label Studio


def is_label_studio(row: dict[str, Any]) -> bool:
    """A task of a JSON export, or of the short one (JSON-MIN)."""
    if isinstance(row.get("data"), dict) and isinstance(row.get("annotations"), list):
        return True
    return {"annotator", "annotation_id", "lead_time"} <= set(row)


def read_label_studio(row: dict[str, Any]) -> list[Item]:
    """A ranking for every annotation with a Pairwise or a Ranker result. In a pair the left response is the
    one whose field comes first."""
    if not isinstance(row.get("data"), dict):
        return _short_task(row)
    found = []
    for annotation in row["annotations"]:
        if not isinstance(annotation, dict) or annotation.get("was_cancelled"):
            continue
        for result in annotation.get("result") or ():
            value = result.get("value") if isinstance(result, dict) else None
            if isinstance(value, dict) and ("selected" in value or "ranker" in value):
                said = value.get("selected", value.get("ranker"))
                found += _answered(row["data"], said, annotation.get("completed_by"))
    if not found:
        raise Refused("it has no pairwise or ranker annotation")
    return found


def _short_task(row: dict[str, Any]) -> list[Item]:
    own = {"id", "annotator", "annotation_id", "lead_time", "created_at", "updated_at"}
    data = {name: value for name, value in row.items() if name not in own}
    for name, value in row.items():
        pair = value["selected"] if isinstance(value, dict) and "selected" in value else value
        ranked = value.get("ranker") if isinstance(value, dict) else None
        if pair in ("left", "right") or isinstance(ranked, dict):
            data.pop(name)
            said = pair if pair in ("left", "right") else ranked
            return list(_answered(data, said, row.get("annotator")))
    raise Refused("it has no pairwise or ranker annotation")


def _answered(data: dict[str, Any], said: Any, person: Any) -> Iterator[ImportedRanking]:
    prompt_name = _prompt_field(data)
    prompt = prompt_from(data[prompt_name])
    if isinstance(said, dict):
        orders = [order for order in said.values() if isinstance(order, list)]
        if len(said) != 1 or not orders:
            raise Refused("its responses were put into buckets, which is no order")
        shown = {str(item.get("id")): item for item in _items(data)}
        if not set(map(str, orders[0])) <= set(shown):
            raise Refused("it ranks items that are not in its data")
        texts = [_item_text(shown[str(name)]) for name in orders[0]]
        yield ranking(prompt, texts, list(range(len(texts))), 0, person)
        return
    if isinstance(said, list):
        said = said[0] if said else None
    texts = [response_from(value) for value in _response_fields(data, prompt_name).values()]
    if len(texts) != 2:
        raise Refused("it does not have two responses to choose from")
    if said not in ("left", "right"):
        raise Refused("neither the left nor the right response was chosen")
    yield ranking(prompt, texts, [1, 2] if said == "left" else [2, 1], 0, person)


def _items(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The list that was ranked."""
    for value in data.values():
        value = structure(value)
        if isinstance(value, list) and value and all(isinstance(v, dict) and "id" in v for v in value):
            return value
    raise Refused("it has no list of items to rank")


def _item_text(item: dict[str, Any]) -> str:
    for name in ("body", "html", "text", "title"):
        if isinstance(item.get(name), str) and item[name].strip():
            return response_from(item[name])
    raise Refused("an item to rank has no text")
