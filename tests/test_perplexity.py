"""Perplexity against a direct computation with transformers; forgetting against texts that were forgotten."""

import math

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlhf.asked import general_texts
from rlhf.contenders import Contender
from rlhf.generate import encode_prompt
from rlhf.good_prompt import few_shot, read_good_prompt
from rlhf.models import load_family
from rlhf.perplexity import Reading, change, read_demonstrations, read_texts, summary

PAIRS = [
    ("What is red?", "A colour, like blue."),
    ("And who are you then?", "Nobody."),
    ("Why?", "Because things are as they are, mostly, and here is a longer one."),
]


@pytest.fixture(scope="module", params=["full", "lora"])
def contender(request, tiny_model):
    return Contender("0", "SFT", load_family(tiny_model, tuning=request.param, device="cpu"), "reference")


def directly(folder, prompt_ids, ids):
    """Nats and tokens of `ids` behind `prompt_ids`, by the loss of the library's own forward pass."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    whole = torch.tensor([prompt_ids + ids])
    labels = whole.clone()
    labels[0, : len(prompt_ids)] = -100
    with torch.no_grad():
        return float(model(input_ids=whole, labels=labels).loss) * len(ids), len(ids)


def test_demonstrations_as_transformers_reads_them(contender, tiny_model):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    reading = read_demonstrations(contender, PAIRS)
    nats = tokens = 0
    for number, (prompt, text) in enumerate(PAIRS):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        cost, count = directly(tiny_model, encode_prompt(tokenizer, prompt), ids)
        assert reading.nats[number] == pytest.approx(cost, rel=1e-4)
        nats, tokens = nats + cost, tokens + count
    found = summary(reading, np.isfinite(reading.nats))
    assert found["perplexity"] == pytest.approx(math.exp(nats / tokens), rel=1e-4)
    size = sum(len(text.encode()) for _, text in PAIRS)
    assert found["bits_per_byte"] == pytest.approx(nats / math.log(2) / size, rel=1e-4)
    assert (found["tokens"], found["texts"]) == (tokens, 3)
    assert found["perplexity_low"] is None  # three texts say nothing about others


def test_texts_in_blocks_as_transformers_reads_them(contender, tiny_model):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    text = "This is a text that does not fit in one block. " * 15  # a token a byte; a block has 512
    reading = read_texts(contender, [text, "Short one."])
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(ids) == 705
    blocks = [ids[:512], ids[512:]]
    parts = [directly(tiny_model, block[:1], block[1:]) for block in blocks]
    assert reading.nats[0] == pytest.approx(sum(nats for nats, _ in parts), rel=1e-4)
    assert reading.tokens[0] == sum(count for _, count in parts) == 703
    assert reading.bytes[0] == 703


def test_a_good_prompt_is_read_around_the_demonstration(contender, tiny_model):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    prompt = few_shot([("Hi", "Hello.")])
    prompted = Contender("prompted", "Base", contender.family, "reference", prompt)
    whole = tokenizer(prompt.around("Why?"))["input_ids"]
    assert tokenizer.decode(whole).endswith("User: Hi\nAssistant: Hello.\n\nUser: Why?\nAssistant:")
    reading = read_demonstrations(prompted, [("Why?", "Because.")])
    cost, _ = directly(tiny_model, whole, tokenizer(" Because.", add_special_tokens=False)["input_ids"])
    assert reading.nats[0] == pytest.approx(cost, rel=1e-4)


def test_what_does_not_fit_is_left_out(contender):
    reading = read_demonstrations(contender, [*PAIRS, ("long", "x" * 600), ("empty", " ")])
    assert np.isfinite(reading.nats).tolist() == [True, True, True, False, False]


def test_the_change_is_of_the_same_texts():
    ones = np.ones(40)
    before = Reading(10 * ones, 10 * ones, 20 * ones)
    hard = np.where(np.arange(40) < 20, 10.0, 40.0)  # texts differ much, their changes do not
    after = Reading(1.1 * hard, 10 * ones, 20 * ones)
    found = change(after, Reading(hard, 10 * ones, 20 * ones), ones > 0)
    assert found["change"] == pytest.approx(0.1)
    assert found["change_low"] == pytest.approx(0.1)
    assert found["change_high"] == pytest.approx(0.1)
    assert change(before, before, ones > 0)["change"] == 0
    assert change(before, before, ones < 0) is None


def test_a_model_that_learned_other_things_has_forgotten(tiny_model):
    family = load_family(tiny_model, tuning="full", device="cpu")
    texts = ["the old text about boats and rivers"] * 6
    ids = torch.tensor(family.tokenizer(["zzzz qqqq zzzz qqqq zzzz"])["input_ids"])
    with family.use("policy") as model:
        optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
        for _ in range(20):
            optimizer.zero_grad()
            model(input_ids=ids, labels=ids).loss.backward()
            optimizer.step()
    before, after = (read_texts(Contender("", "", family, role), texts) for role in ("reference", "policy"))
    found = change(after, before, np.isfinite(after.nats))
    assert found["change"] > 0.05
    assert found["change_low"] > 0


def test_files_of_general_text(tmp_path):
    plain = tmp_path / "plain.txt"
    plain.write_text("One.\n\nTwo.\r\n\r\n" + "x" * 1600 + "\n\nlast", encoding="utf-8")
    assert general_texts(plain) == ["One.\n\nTwo.", "x" * 1600, "last"]
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "a"}\n\n{"text": "b"}\n{"text": " "}\n', encoding="utf-8")
    assert general_texts(rows) == ["a", "b"]
    rows.write_text('{"text": "a"}\n{"txt": 1}\n', encoding="utf-8")
    for path, says in ((rows, "line 2"), (tmp_path / "none", "cannot be read"), (tmp_path, "cannot be read")):
        with pytest.raises(ValueError, match=says) as refused:
            general_texts(path)
        assert str(refused.value).count("\n") == 0
    (tmp_path / "empty.txt").write_text("\n \n\n")
    with pytest.raises(ValueError, match="no text"):
        general_texts(tmp_path / "empty.txt")


def test_a_prompt_file(tmp_path):
    file = tmp_path / "prompt.txt"
    file.write_text("Be kind.\n\nQ: one?\nA: 1.\n\nQ: {prompt}\nA:\n", encoding="utf-8")
    prompt = read_good_prompt(file)
    assert prompt.around("two?") == "Be kind.\n\nQ: one?\nA: 1.\n\nQ: two?\nA:"
    assert prompt.cut(" 2.\n\nQ: three?\nA: 3.") == ("2.", True)
    assert prompt.cut(" 2 is a Q: yes") == ("2 is a Q: yes", False)
    for text, says in (("no place", "0 times"), ("{prompt} {prompt}", "2 times")):
        file.write_text(text)
        with pytest.raises(ValueError, match=says):
            read_good_prompt(file)
    with pytest.raises(ValueError, match="cannot be read"):
        read_good_prompt(tmp_path / "none")
    file.write_text("{prompt}")  # nothing tells where a response ends
    assert read_good_prompt(file).cut("a\nb") == ("a\nb", False)


def test_examples_that_do_not_fit_are_left_out():
    examples = [(f"question {i}", f"answer {i}") for i in range(9)]
    assert few_shot(examples).examples == 6
    assert few_shot(examples, lambda template: len(template) < 400).examples == 4
    assert few_shot(examples, lambda _: False).examples == 0
    conversation = '[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}, '
    conversation += '{"role": "user", "content": "Go on"}]'
    around = few_shot([]).around(conversation)
    assert around.endswith("User: Hi\n\nAssistant: Yes?\n\nUser: Go on\nAssistant:")
