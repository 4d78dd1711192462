"""Every format that is recognised, by rows as its own library or its documentation writes them."""

import json

import pytest

from data.conversation import as_messages, as_prompt, as_transcript
from data.formats import FORMATS, read_items
from data.incoming import LONGEST, ImportedDemonstration, ImportedPrompt, ImportedRanking
from data.lines import Row


def read(*rows, **how):
    return list(read_items((Row(n, row) for n, row in enumerate(rows, start=1)), **how))


def only(row, name, **how):
    """The one item of a row that has the format."""
    [found] = read(row, **how)
    assert (found.format, found.why) == (name, "")
    [item] = found.items
    return item


def refusal(row, **how):
    [found] = read(row, **how)
    assert not found.items
    return found.why


CHAT = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi."}]
ASKED = {"role": "user", "content": "What is 2 + 2?"}


def said(text):
    return [{"role": "assistant", "content": text}]


# preferences


def test_hh_is_a_prompt_with_its_history_and_the_last_replies():
    before = "\n\nHuman: Hi\n\nAssistant: Hello. What is it?\n\nHuman: A riddle\nplease"
    row = {"chosen": f"{before}\n\nAssistant: No.", "rejected": f"{before}\n\nAssistant: Yes.\n\nOr no."}
    item = only(row, "hh")
    assert as_messages(item.prompt) == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello. What is it?"},
        {"role": "user", "content": "A riddle\nplease"},
    ]
    assert (item.responses, item.ranks) == (("No.", "Yes.\n\nOr no."), (1, 2))


def test_in_hh_two_turns_in_a_row_are_one_and_empty_ones_none():
    before = "\n\nHuman: Hi\n\nAssistant: One.\n\nAssistant: Two.\n\nHuman: \n\nAssistant: \n\nHuman: Well?"
    row = {"chosen": f"{before}\n\nAssistant: A", "rejected": f"{before}\n\nAssistant: B"}
    assert [m["content"] for m in as_messages(only(row, "hh").prompt)] == ["Hi", "One.\n\nTwo.", "Well?"]


def test_hh_that_cannot_be_used():
    start = "\n\nHuman: Hi\n\nAssistant: "
    assert "a response is empty" in refusal({"chosen": start + "Yes", "rejected": start})
    other = "\n\nHuman: Ho\n\nAssistant: Yes"
    assert "part before their last reply" in refusal({"chosen": start + "Yes", "rejected": other})
    assert "the same" in refusal({"chosen": start + "Yes", "rejected": start + "Yes"})
    asks = "\n\nHuman: a"
    assert "do not end with a reply" in refusal({"chosen": asks, "rejected": "\n\nHuman: b"})


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "What is 2 + 2?", "chosen": "4", "rejected": "5"},
        {"prompt": [ASKED], "chosen": said("4"), "rejected": said("5")},
        {"chosen": [ASKED, *said("4")], "rejected": [ASKED, *said("5")]},
        {"chosen": "What is 2 + 2? 4", "rejected": "What is 2 + 2? 5"},
        # UltraFeedback binarized: the prompt is told twice
        {
            "prompt": "What is 2 + 2?",
            "prompt_id": "a",
            "chosen": [ASKED, *said("4")],
            "rejected": [ASKED, *said("5")],
            "messages": [ASKED, *said("4")],
            "score_chosen": 8.0,
            "score_rejected": 2.0,
        },
        {"prompt": "\n\nHuman: What is 2 + 2?\n\nAssistant:", "chosen": " 4", "rejected": " 5"},
        {"prompt": "What is 2 + 2?\n", "chosen": "4", "rejected": "5"},
        {"prompt": json.dumps([ASKED]), "chosen": json.dumps(said("4")), "rejected": json.dumps(said("5"))},
    ],
)
def test_trls_preferences_explicit_implicit_and_conversational(row):
    assert only(row, "trl") == ImportedRanking("What is 2 + 2?", ("4", "5"), (1, 2))


def test_an_implicit_prompt_ends_between_words():
    row = {"chosen": "The sky is blue.", "rejected": "The sky is black."}
    assert only(row, "trl") == ImportedRanking("The sky is", ("blue.", "black."), (1, 2))
    assert "no prompt" in refusal({"chosen": "Yes", "rejected": "No"})


def test_podiums_own_pairs_keep_what_was_said_of_them():
    row = {"prompt": "p", "chosen": "a", "rejected": "b", "strength": 3, "annotator": "anna", "gap": 2}
    assert only(row, "trl") == ImportedRanking("p", ("a", "b"), (1, 2), 3, "anna")
    assert only(row | {"tie": True}, "trl").ranks == (1, 1)
    assert only(row | {"tie": True}, "trl").strength == 0


def test_a_prompt_with_a_history_comes_back_from_podiums_own_text():
    prompt = as_prompt([*CHAT, ASKED])
    row = {"prompt": as_transcript(prompt) + "\n\nAssistant:", "chosen": "4", "rejected": "5"}
    assert only(row, "trl").prompt == prompt
    asked = {"prompt": "User: is a word\n\nThat is all.", "chosen": "a", "rejected": "b"}
    assert only(asked, "trl").prompt == asked["prompt"]


def test_podiums_own_rankings_with_all_that_was_said():
    row = {"prompt": as_prompt([*CHAT, ASKED]), "responses": ["a", "b", "c"], "ranks": [2, 1, 2]}
    row |= {"partial": True, "better": None, "strength": 0, "annotator": "anna", "withdrawn_for": None}
    [found] = read(row)
    assert [(i.responses, i.ranks) for i in found.items] == [(("b", "a"), (1, 2)), (("b", "c"), (1, 2))]
    assert found.items[0].prompt == row["prompt"]
    better = only(row | {"partial": False, "better": "d"}, "rankings")
    assert (better.responses, better.ranks) == (("d", "a", "b", "c"), (1, 3, 2, 3))
    assert "withdrawn" in refusal(row | {"withdrawn_for": "good"})
    assert "rank for each" in refusal(row | {"ranks": None})


def test_full_rankings():
    row = {"prompt": "p", "responses": ["a", "b", "c", "d"], "ranks": [3, 1, None, 1.0], "annotator": "ben"}
    assert only(row, "rankings") == ImportedRanking("p", ("a", "b", "c", "d"), (2, 1, 3, 1), 0, "ben")
    assert "a rank for each" in refusal({"prompt": "p", "responses": ["a"], "ranks": [1, 2]})
    assert "all the same" in refusal({"prompt": "p", "responses": ["a", "a "], "ranks": [1, 2]})


def completion(response, *ratings, **more):
    aspects = ("helpfulness", "honesty", "instruction_following", "truthfulness")
    said = {a: {"Rating": r, "Rationale": "..."} for a, r in zip(aspects, ratings, strict=False)}
    return {"model": "m", "response": response, "annotations": said, "critique": "...", **more}


def test_ultrafeedback_is_ranked_by_its_ratings():
    row = {
        "source": "evol_instruct",
        "instruction": "Say a colour.",
        "models": ["a", "b", "c"],
        "completions": [
            completion("Blue.", "4", "5", "4", "N/A", overall_score=1.0),
            completion("No.", "1", "2", "1", "1", overall_score=10.0),
            completion("Red.", "4", "5", "4", "N/A"),
        ],
    }
    assert only(row, "ultrafeedback") == ImportedRanking("Say a colour.", ("Blue.", "No.", "Red."), (1, 2, 1))
    plain = [{"response": "a", "overall_score": 3}, {"response": "b", "overall_score": 7.5}]
    assert only(row | {"completions": plain}, "ultrafeedback").ranks == (2, 1)
    columns = {"response": ["a", "b"], "overall_score": [3, 7.5]}  # an object of lists
    assert only(row | {"completions": columns}, "ultrafeedback").ranks == (2, 1)
    assert "have a score" in refusal(row | {"completions": plain[:1]})


def test_shp():
    row = {
        "post_id": "x", "domain": "askculinary_train", "history": "Salt?", "human_ref_A": "No.",
        "human_ref_B": "Yes.", "labels": 0, "score_A": 2, "score_B": 20, "score_ratio": 10.0,
    }  # fmt: skip
    assert only(row, "shp") == ImportedRanking("Salt?", ("No.", "Yes."), (2, 1))
    assert only(row | {"labels": 1}, "shp").ranks == (1, 2)
    assert "labels" in refusal(row | {"labels": None})


def message(name, role, text, parent=None, rank=None, **more):
    tree = {"message_id": name, "parent_id": parent, "message_tree_id": "t", "role": role, "text": text}
    return tree | {"rank": rank, "lang": "en", "deleted": False} | more


FLAT = [
    message("t", "prompter", "Why?"),
    message("a", "assistant", "Because.", "t", 1),
    message("b", "assistant", "So that.", "t", 0),
    message("c", "assistant", "Hm.", "t", 2),
    message("d", "prompter", "Really?", "b"),
    message("e", "assistant", "Yes.", "d"),
]


def nested(rows, name="t"):
    found = next(r for r in rows if r["message_id"] == name)
    return found | {"replies": [nested(rows, r["message_id"]) for r in rows if r["parent_id"] == name]}


def test_openassistants_trees_nested_and_flat_are_the_same():
    tree = {"message_tree_id": "t", "tree_state": "ready_for_export", "prompt": nested(FLAT)}
    [found] = read(tree)
    ranking, reply = found.items
    assert ranking == ImportedRanking("Why?", ("Because.", "So that.", "Hm."), (2, 1, 3))
    assert as_messages(reply.prompt)[1:] == [
        {"role": "assistant", "content": "So that."},
        {"role": "user", "content": "Really?"},
    ]
    assert reply.response == "Yes."
    other = [m | {"message_tree_id": "u", "message_id": m["message_id"] + "2"} for m in FLAT[:1]]
    flat = read(*FLAT, *other)
    assert flat[0].items == found.items
    assert (flat[1].line, flat[1].why) == (7, "the tree has no replies of the assistant's")


def test_messages_that_belong_to_no_tree_are_named_by_their_lines():
    orphan = message("x", "assistant", "Eh?", "nobody")
    found = read(*FLAT[:3], orphan, FLAT[1])
    assert len(found[0].items) == 1
    assert [(r.line, r.why) for r in found[1:]] == [
        (5, "its message_id was there before"),
        (4, "its parent message is not in the same tree"),
    ]
    assert [r.why for r in read(*FLAT[1:3])] == [
        "the first message of its tree is missing",
        *["its parent message is not in the same tree"] * 2,
    ]


FIELDS = {"prompt": "Which?", "response-1": "This.", "response-2": "That."}
ORDER = [{"value": "response-2", "rank": 1}, {"value": "response-1", "rank": 2}]
ARGILLA = {"id": "1", "status": "completed", "_server_id": "x", "metadata": {}, "vectors": {}}


@pytest.mark.parametrize(
    "row",
    [
        # argilla 2, records.to_json
        ARGILLA
        | {
            "fields": FIELDS,
            "suggestions": {},
            "responses": {"preference": [{"value": ["response-2", "response-1"], "user_id": "anna"}]},
        },
        # argilla 2, records.to_datasets
        {"id": "1", "status": "completed", "_server_id": "x", **FIELDS}
        | {
            "preference.responses": [["response-2", "response-1"], ["response-1", "response-2"]],
            "preference.responses.users": ["anna", "ben"],
            "preference.responses.status": ["submitted", "draft"],
        },
        # argilla 1, a FeedbackDataset on the hub
        FIELDS
        | {
            "preference": [{"user_id": "anna", "value": ORDER, "status": "submitted"}],
            "preference-suggestion": None,
            "external_id": None,
            "metadata": "{}",
        },
        FIELDS
        | {
            "preference": {
                "user_id": ["anna"],
                "value": [{"rank": [1, 2], "value": ["response-2", "response-1"]}],
                "status": ["submitted"],
            }
        },
        # a choice of the better one; ratings, one question each
        ARGILLA | {"fields": FIELDS, "responses": {"better": [{"value": "Response 2", "user_id": "anna"}]}},
        ARGILLA
        | {
            "fields": FIELDS,
            "responses": {
                "rating-1": [{"value": 2, "user_id": "anna"}],
                "rating-2": [{"value": 5, "user_id": "anna"}],
            },
        },
    ],
)
def test_argillas_exports(row):
    item = only(row, "argilla")
    order = dict(zip(item.responses, item.ranks, strict=True))
    assert (item.prompt, order, item.annotator) == ("Which?", {"That.": 1, "This.": 2}, "anna")


def test_of_several_annotators_in_argilla_each_has_a_ranking():
    given = [{"value": ORDER, "user_id": name} for name in ("anna", "ben")]
    [found] = read(ARGILLA | {"fields": FIELDS, "responses": {"preference": given}})
    assert [item.annotator for item in found.items] == ["anna", "ben"]
    assert "nobody submitted" in refusal(ARGILLA | {"fields": FIELDS, "responses": {}})
    unnamed = {"text": "a", "response-1": "b", "response-2": "c"}
    assert "called as prompts are" in refusal(ARGILLA | {"fields": unnamed, "responses": {}})


def task(data, value, **more):
    result = {"id": "r", "from_name": "x", "to_name": "x", "type": "pairwise", "value": value}
    annotation = {"id": 1, "completed_by": {"id": 3, "email": "anna@example.org"}, "result": [result]} | more
    return {"id": 1, "data": data, "annotations": [annotation], "predictions": [], "project": 1}


PAIR = {"prompt": "Which?", "answer1": "This.", "answer2": "That."}
ITEMS = [{"id": name, "title": "Answer", "body": name.upper()} for name in "abc"]


def test_label_studios_pairs_and_rankers():
    expected = ImportedRanking("Which?", ("This.", "That."), (2, 1), 0, "anna@example.org")
    assert only(task(PAIR, {"selected": "right"}), "label-studio") == expected
    ranked = task({"prompt": "Which?", "items": ITEMS}, {"ranker": {"rank": ["c", "a", "b"]}})
    item = only(ranked, "label-studio")
    assert (item.responses, item.ranks) == (("C", "A", "B"), (1, 2, 3))
    short = {"id": 1, "annotator": 2, "annotation_id": 5, "lead_time": 3.5, "comparison": "left", **PAIR}
    assert only(short, "label-studio") == ImportedRanking("Which?", ("This.", "That."), (1, 2), 0, "2")


def test_label_studios_tasks_that_say_no_order():
    buckets = task({"prompt": "Which?", "items": ITEMS}, {"ranker": {"good": ["a"], "bad": ["b", "c"]}})
    assert "buckets" in refusal(buckets)
    assert "no pairwise or ranker" in refusal(task(PAIR, {"choices": ["x"]}))
    assert "no pairwise or ranker" in refusal(task(PAIR, {"selected": "left"}, was_cancelled=True))


# demonstrations and prompts


def test_alpaca_and_dolly():
    row = {"instruction": "Add.", "input": "1, 2", "output": "3", "text": "Below is an instruction ..."}
    assert only(row, "alpaca") == ImportedDemonstration("Add.\n\n1, 2", "3")
    assert only(row | {"input": ""}, "alpaca").prompt == "Add."
    dolly = {"instruction": "Add.", "context": "1, 2", "response": "3", "category": "closed_qa"}
    assert only(dolly, "alpaca") == ImportedDemonstration("Add.\n\n1, 2", "3")


def test_sharegpt_and_chat_messages():
    turns = [
        {"from": "system", "value": "Be brief."},
        {"from": "human", "value": "Hello"},
        {"from": "gpt", "value": "Hi."},
        {"from": "human", "value": "Thanks!"},
    ]
    item = only({"id": "x", "conversations": turns}, "sharegpt")
    assert [m["role"] for m in as_messages(item.prompt)] == ["system", "user"]
    assert item.response == "Hi."
    columns = {key: [t[key] for t in turns] for key in ("from", "value")}
    assert only({"conversations": columns}, "sharegpt") == item
    assert only({"messages": CHAT}, "chat") == ImportedDemonstration("Hello", "Hi.")
    assert only({"messages": CHAT[:1]}, "chat") == ImportedPrompt("Hello")
    assert "role" in refusal({"messages": [{"role": "tool", "content": "x"}]})


def test_demonstrations_and_prompts():
    assert only({"prompt": "p", "response": "r"}, "demonstrations") == ImportedDemonstration("p", "r")
    assert only({"prompt": [ASKED], "completion": said("4")}, "demonstrations").response == "4"
    assert only({"question": "q", "answer": "a"}, "demonstrations") == ImportedDemonstration("q", "a")
    assert only({"prompt": "p", "id": 3}, "prompts") == ImportedPrompt("p")
    assert only({"prompt": [*CHAT, ASKED]}, "prompts").prompt.startswith('[{"role": "user"')
    unpaired = {"prompt": "p", "completion": "c", "label": True}
    assert "which of two is better" in refusal(unpaired)


def test_a_row_that_lacks_something_is_not_taken_for_less():
    assert "a response" in refusal({"prompt": "p", "chosen": "a", "rejected": None})
    assert "a response" in refusal({"prompt": "p", "response": None})
    assert "a prompt" in refusal({"prompt": " \n", "response": "a"})


def test_as_something_else():
    row = {"prompt": "p", "chosen": "a", "rejected": "b"}
    assert only(row, "trl", as_="prompts") == ImportedPrompt("p")
    assert only(row, "trl", as_="demonstrations") == ImportedDemonstration("p", "a")
    assert "better than others" in refusal(row | {"tie": True}, as_="demonstrations")
    assert "no response" in refusal({"prompt": "p"}, as_="demonstrations")
    assert "two responses" in refusal({"prompt": "p", "response": "r"}, as_="preferences")


def test_what_is_not_recognised_says_its_columns_and_the_wanted_ones():
    why = refusal({"text": "x", "label": 1})
    assert why.startswith("its columns are text, label; wanted: chosen and rejected;")
    asked = refusal({"prompt": "x", "response": "y"}, format="shp")
    assert asked.endswith("wanted: history, human_ref_A, human_ref_B, labels")
    assert len(refusal({f"column {i}" * 9: i for i in range(99)})) < 900


def test_large_and_odd_texts():
    assert "longer than 100,000" in refusal({"prompt": "x" * 1_000_000})
    long = [{"role": "user", "content": "x" * LONGEST}, *said("y"), ASKED]
    assert "longer than" in refusal({"prompt": long})
    odd = only({"prompt": "a\0b\ud800c \ud83d\ude00", "response": "\udfff"}, "demonstrations")
    assert odd == ImportedDemonstration("a\ufffdb\ufffdc \U0001f600", "\ufffd")
    many = {"prompt": "p", "responses": [str(i) for i in range(40)], "ranks": list(range(40))}
    assert "more than 32" in refusal(many)


def test_rows_that_look_like_a_format_and_are_none_end_nothing():
    broken = [
        {"prompt": {"replies": 3, "role": "prompter", "text": "x"}},
        {"instruction": "a", "completions": [1, 2]},
        {"conversations": [{"from": 1, "value": 2}]},
        {"data": {}, "annotations": [None, {"result": [None]}]},
        {"fields": {"prompt": "a", "b": "c", "d": "e"}, "responses": {"q": 7}},
        {"prompt": "p", "responses": ["a", {}], "ranks": [1, 2]},
        {"x.responses": [1], "prompt": "a"},
        {"message_id": None, "parent_id": 1, "text": 2, "role": 3},
        {"history": [], "human_ref_A": {}, "human_ref_B": 1, "labels": "x"},
        {"chosen": [], "rejected": {}},
        {"messages": {"role": ["user"], "content": [None]}},
        {"prompt": [[["deep"]]], "chosen": 1, "rejected": 2},
    ]
    found = read(*broken)
    assert [r.line for r in found] == list(range(1, len(broken) + 1))
    assert all(r.why and not r.items for r in found)
    for name in set(FORMATS) - {"prompts"}:
        assert not any(r.items for r in read(*broken, format=name))
