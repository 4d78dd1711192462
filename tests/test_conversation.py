"""Prompts that are the end of a conversation: read, kept, given to models, shown."""

import json

import pytest

from data.conversation import as_messages, as_prompt, as_transcript
from data.prompts import read_prompts
from tests.annotate import FOUR, annotate, press, saved

pytest_plugins = ["tests.browser"]
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is the capital of **France**?"},
    {"role": "assistant", "content": "Paris. <script>window.pwned = 1</script>"},
    {"role": "user", "content": "And of Spain?"},
]


def test_messages_come_back_and_one_is_its_own_text():
    assert as_messages(as_prompt(TALK)) == TALK
    assert as_prompt(TALK[1:2]) == "What is the capital of **France**?"
    assert as_prompt(as_messages("Just a text")) == "Just a text"
    assert as_transcript(as_prompt(TALK[1:])).startswith(
        "User: What is the capital of **France**?\n\nAssistant: Paris."
    )


@pytest.mark.parametrize(
    "text",
    [
        '[{"role": "user", "content": "half a',
        '[{"role": "user"}]',
        '[{"role": "wizard", "content": "x"}, {"role": "user", "content": "y"}]',
        '[{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]',
        '[{"role": "user", "content": "spaced "}, {"role": "user", "content": "y"}]',
        '[{"role": "user", "content": 3}, {"role": "user", "content": "y"}]',
        "[1, 2]",
    ],
)
def test_what_only_looks_like_messages_is_a_text(text):
    assert as_messages(text) == [{"role": "user", "content": text}]
    assert as_transcript(text) == text


def test_a_prompts_file_may_have_conversations(tmp_path):
    path = tmp_path / "prompts.jsonl"
    lines = [{"prompt": f"prompt {i}"} for i in range(20)] + [{"prompt": TALK}]
    path.write_text("\n".join(map(json.dumps, lines)))
    assert as_messages(read_prompts(path)[-1]) == TALK
    path.write_text("\n".join(map(json.dumps, [*lines, {"prompt": TALK[:3]}])))
    with pytest.raises(ValueError, match=r'line 22: in "prompt", the last message is not'):
        read_prompts(path)


def test_a_model_reads_the_whole_conversation(tiny_model):
    from transformers import AutoTokenizer

    from rlhf.generate import encode_prompt

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    seen = tokenizer.decode(encode_prompt(tokenizer, as_prompt(TALK[1:])))
    assert seen == (
        "<|user|>What is the capital of **France**?<|assistant|>Paris. <script>window.pwned = 1</script>"
        "<|end|><|user|>And of Spain?<|assistant|>"
    )
    tokenizer.chat_template = None
    assert tokenizer.decode(encode_prompt(tokenizer, as_prompt(TALK[1:]))).endswith(
        "User: And of Spain?\n\nAssistant:"
    )
    assert tokenizer.decode(encode_prompt(tokenizer, "Just a text")) == "Just a text\n"


def test_an_annotator_sees_what_was_said_before(site, visit):
    from playwright.sync_api import expect

    task = site.add_task(FOUR, as_prompt(TALK))
    page = annotate(visit)
    turns = page.locator(".pr-turn")
    expect(turns).to_have_count(3)
    expect(turns.nth(1)).to_contain_text("User")
    expect(turns.nth(1).locator("strong")).to_have_text("France")
    expect(turns.nth(2)).to_contain_text("<script>window.pwned = 1</script>")
    expect(page.locator(".pr-prompt-text")).to_have_text("And of Spain?")
    assert page.evaluate("window.pwned") is None
    press(page, "1 2 3 4 Enter")
    saved(page)
    assert len(site.stored(task)) == 1
    page.get_by_role("button", name="Latest").click()
    expect(page.locator(".pr-recent-prompt").first).to_have_text("And of Spain?")
