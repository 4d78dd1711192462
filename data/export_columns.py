"""The columns of exported rows and their types, said once: a set without a single comment, or without a
test prompt, has the same columns as any other."""

from typing import Any

from datasets import Features, List, Value

TEXT, WHOLE, REAL, YES_NO = Value("string"), Value("int64"), Value("float64"), Value("bool")
MESSAGES = List({"role": TEXT, "content": TEXT})

PREFERENCES = {
    "prompt": TEXT,
    "chosen": TEXT,
    "rejected": TEXT,
    "rank_gap": WHOLE,
    "tie": YES_NO,
    "strength": WHOLE,
    "none_acceptable": YES_NO,
    "chosen_by": TEXT,
    "chosen_policy": WHOLE,
    "rejected_policy": WHOLE,
    "chosen_finished": YES_NO,
    "rejected_finished": YES_NO,
    "policy_version": WHOLE,
    "annotator": TEXT,
    "annotator_kind": TEXT,
    "source": TEXT,
    "ranking_id": WHOLE,
    "split": TEXT,
}
RANKINGS = {
    "prompt": TEXT,
    "responses": List(TEXT),
    "ranks": List(WHOLE),
    "partial": YES_NO,
    "acceptable": YES_NO,
    "strength": WHOLE,
    "better": TEXT,
    "better_started_from": WHOLE,
    "flags": List(List(TEXT)),
    "reasons_for": List(List(TEXT)),
    "reasons_against": List(List(TEXT)),
    "ratings": List(List({"scale": TEXT, "rating": WHOLE})),
    "comment": TEXT,
    "skip_reason": TEXT,
    "seconds": REAL,
    "created_at": REAL,
    "guidelines": WHOLE,
    "constitution": WHOLE,
    "withdrawn_for": TEXT,
    "annotator": TEXT,
    "annotator_kind": TEXT,
    "source": TEXT,
    "policy_version": WHOLE,
    "response_policies": List(WHOLE),
    "finished": List(YES_NO),
    "tokens": List(WHOLE),
    "sampling": List(TEXT),
    "task_id": WHOLE,
    "ranking_id": WHOLE,
    "split": TEXT,
}
DEMONSTRATIONS = {
    "prompt": TEXT,
    "completion": TEXT,
    "source": TEXT,
    "annotator": TEXT,
    "ranking_id": WHOLE,
    "split": TEXT,
}


def columns(what: str, form: str) -> Features:
    """Of preferences, rankings or demonstrations, in the form text, chat or messages."""
    found: dict[str, Any] = {
        "preferences": PREFERENCES,
        "rankings": RANKINGS,
        "demonstrations": DEMONSTRATIONS,
    }[what]
    if form == "messages":
        found = {"messages": MESSAGES} | {k: v for k, v in found.items() if k not in ("prompt", "completion")}
    elif form == "chat":
        spoken = ("prompt", "chosen", "rejected", "completion")
        found = {name: MESSAGES if name in spoken else kind for name, kind in found.items()}
    return Features(found)
