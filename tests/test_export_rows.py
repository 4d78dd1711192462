"""Which rows a ranking gives, and which prompts are test prompts."""

import json

import pytest

from data.conversation import as_prompt
from data.export_rows import (
    DemonstrationRecord,
    RankingRecord,
    Split,
    demonstration_row,
    preferences,
    prompt_text,
    ranking_row,
)
from rlhf.chat import set_system_prompt
from rlhf.generate import encode_prompt
from tests.export_run import HISTORY


def record(responses, ranks, **said):
    return RankingRecord(7, "Why?", responses, ranks, "anna", "human", **said)


def pairs(ranking, **how):
    rows = preferences(ranking, "text", "train", **how)
    return [(row["chosen"], row["rejected"], row["rank_gap"]) for row in rows]


def test_every_pair_of_different_ranks_is_there_once_best_first():
    ranking = record(["c", "a", "b"], [3, 1, 2])
    assert pairs(ranking) == [("a", "b", 1), ("a", "c", 2), ("b", "c", 1)]


def test_ties_are_left_out_or_marked():
    ranking = record(["a", "b", "c"], [1, 1, 2])
    assert pairs(ranking) == [("a", "c", 1), ("b", "c", 1)]
    rows = list(preferences(ranking, "text", "train", ties=True))
    assert [(row["chosen"], row["rejected"], row["tie"]) for row in rows] == [
        ("a", "b", True),
        ("a", "c", False),
        ("b", "c", False),
    ]


def test_what_was_not_compared_makes_no_pair_not_even_a_tie():
    ranking = record(["a", "b", "c"], [1, 2, 2], partial=True)
    assert pairs(ranking) == pairs(ranking, ties=True) == [("a", "b", 1), ("a", "c", 1)]
    assert pairs(record(["a", "b"], [1, 1], partial=True, acceptable=False), ties=True) == []


def test_a_better_response_is_chosen_above_all_and_strength_is_of_the_two_shown():
    ranking = record(["a", "b"], [1, 2], better="written", strength=3, acceptable=False, policies=[0, 2])
    rows = list(preferences(ranking, "text", "train"))
    found = [(r["chosen"], r["rejected"], r["chosen_by"], r["strength"], r["chosen_policy"]) for r in rows]
    assert found == [
        ("written", "a", "annotator", 0, None),
        ("written", "b", "annotator", 0, None),
        ("a", "b", "policy", 3, 0),
    ]
    assert all(row["none_acceptable"] for row in rows)


def test_two_of_the_same_text_make_no_pair():
    assert pairs(record(["a", "a", "b"], [1, 2, 3])) == [("a", "b", 2), ("a", "b", 1)]


def test_a_skip_gives_no_pair():
    assert pairs(record(["a", "b"], None)) == []


def test_chat_form_has_the_messages_before_and_the_response_as_one():
    ranking = RankingRecord(1, HISTORY, ["The owl.", "No."], [1, 2], "anna", "human")
    [row] = preferences(ranking, "chat", "test")
    assert row["prompt"] == json.loads(HISTORY)
    assert row["chosen"] == [{"role": "assistant", "content": "The owl."}]
    assert row["split"] == "test"


@pytest.mark.parametrize("system", ["", "Be brief."])
@pytest.mark.parametrize("prompt", ["Why?", HISTORY])
def test_text_form_puts_before_the_response_what_the_model_read(prompt, system, tiny_model):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = None
    set_system_prompt(tokenizer, system)
    text = prompt_text(prompt, system)
    assert encode_prompt(tokenizer, prompt) == tokenizer(text)["input_ids"]
    ranking = RankingRecord(1, prompt, ["a", "b"], [1, 2], "anna", "human")
    [row] = preferences(ranking, "text", "train", system=system)
    assert row["prompt"] == text
    [row] = preferences(ranking, "chat", "train", system=system)
    assert (row["prompt"][0] == {"role": "system", "content": "Be brief."}) == bool(system)


def test_a_rankings_row_says_all_and_lists_go_by_position():
    marks = [{"flags": ["unsafe"], "ratings": {"tone": 2}}, {}]
    row = ranking_row(record(["a", "b"], [2, 1], marks=marks, comment="so"), "text", "train")
    assert (row["prompt"], row["responses"], row["ranks"]) == ("Why?", ["a", "b"], [2, 1])
    assert row["flags"] == [["unsafe"], []]
    assert row["ratings"] == [[{"scale": "tone", "rating": 2}], []]
    assert row["comment"] == "so"


def test_a_demonstration_in_its_three_forms():
    one = DemonstrationRecord("Why?", "So.", "import")
    text, chat, messages = (demonstration_row(one, form, "train") for form in ("text", "chat", "messages"))
    assert (text["prompt"], text["completion"]) == ("Why?\n", "So.")
    assert chat["prompt"] == [{"role": "user", "content": "Why?"}]
    assert chat["completion"] == [{"role": "assistant", "content": "So."}]
    assert messages["messages"] == [*chat["prompt"], *chat["completion"]]
    assert "prompt" not in messages


# the split


PROMPTS = [(f"What is {n}?", False) for n in range(1000)]


def test_a_tenth_of_the_prompts_are_test_prompts_and_stay_so():
    split = Split(PROMPTS, 0.1)
    test = {p for p, _ in PROMPTS if split(p) == "test"}
    assert 70 <= len(test) <= 130  # three standard deviations of a binomial are 28
    half = Split(PROMPTS[:500], 0.1)
    assert {p for p, _ in PROMPTS[:500] if half(p) == "test"} == test & {p for p, _ in PROMPTS[:500]}


def test_what_the_run_holds_out_is_test_and_nothing_that_begins_alike_is_train():
    prompts = [("What is 5?", True), *PROMPTS]
    split = Split(prompts, 0.0)
    follow_up = [
        {"role": "user", "content": "what is  5?"},
        {"role": "assistant", "content": "A number."},
        {"role": "user", "content": "Which?"},
    ]
    assert split("What is 5?") == split("WHAT is 5?\n") == split(as_prompt(follow_up)) == "test"
    assert {split(p) for p, _ in PROMPTS[6:]} == {"train"}


def test_a_small_set_has_one_test_prompt_whatever_chance_says():
    for start in range(0, 200, 5):
        few = PROMPTS[start : start + 5]
        split = Split(few, 0.02)
        assert sum(split(p) == "test" for p, _ in few) >= 1
    assert {Split(PROMPTS[:3], 1e-9)(p) for p, _ in PROMPTS[:3]} == {"train"}
