"""A judge behind a real server, `transformers serve`: a tiny model that has learned to answer, one that
writes random bytes, and a server that is killed in the middle. And a model in this process."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from labeling.store import open_store
from rlhf.config import ModelError
from rlhf.judge import EndpointJudge, JudgeConfig, open_judge
from rlhf.judge_client import Chat, EndpointError, Usage
from rlhf.judge_local import LocalJudge
from rlhf.judge_prompts import Unusable
from rlhf.judging import Judging
from tests.store.make import add_task, rank

ANSWER = '{"reason": "The first is shorter.", "ranks": {"A": 1, "B": 2}}'


@pytest.fixture(scope="module")
def one_answer(tiny_model, tmp_path_factory) -> str:
    """Folder of a Llama that has learned to answer whatever it is asked with ANSWER, which is one token."""
    import torch
    from tokenizers import AddedToken
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.add_tokens([AddedToken(ANSWER, normalized=False)])
    begin, end, answer = tokenizer("<|assistant|><|end|>" + ANSWER)["input_ids"]
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    ids = {"eos_token_id": end, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=16384, **sizes, **ids)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        asked = torch.randint(4, answer, (8, 64))
        row = torch.cat([asked, torch.tensor([[begin, answer, end]]).expand(8, 3)], 1)
        logits = model(row).logits[:, -3:-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), row[:, -2:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05
    folder = tmp_path_factory.mktemp("judge") / "one-answer"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """`transformers serve` on a free port; it loads what a question names."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "log"
    command = [Path(sys.executable).with_name("transformers"), "serve", "--host", "127.0.0.1"]
    with log.open("w") as out:
        process = subprocess.Popen(
            [*map(str, command), "--port", str(port), "--device", "cpu"],
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )
    end = time.monotonic() + 120
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        try:
            httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).raise_for_status()
            break
        except httpx.HTTPError:
            time.sleep(0.1)
    yield process, f"http://127.0.0.1:{port}/v1"
    process.send_signal(signal.SIGKILL)
    process.wait(20)


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path, create=True, migrate=True) as store:
        store.add_reference("models/sft", "starter")
        yield store


def run(store, url, model, on_task=lambda line: None, **settings):
    config = JudgeConfig(endpoint=url, model=model, leave=0, at_once=1, **settings)
    chat = Chat(url, model, timeout=60, retries=1, say=on_task, sleep=lambda _: None)
    return Judging(store, EndpointJudge(chat, config.attempts, 24), config, on_task).run()


@pytest.mark.slow
def test_a_model_behind_transformers_serve_judges(store, server, one_answer):
    _, url = server
    for number in range(3):
        add_task(store, f"prompt {number}", responses=2)
    summary = run(store, url, one_answer)
    assert (summary.ranked, summary.failed, summary.trouble) == (3, 0, "")
    # it says the same of both orders, which is to disagree with itself
    assert [(r.ranks, r.comment) for r in store.rankings()] == [([1, 1], "The first is shorter.")] * 3
    [judge] = store.judges()
    assert (judge["name"], judge["model"], judge["endpoint"]) == ("judge one-answer", one_answer, url)
    assert (judge["calls"], judge["response_tokens"]) == (6, 12)
    assert 1000 < judge["prompt_tokens"] / 6 < 2500  # of bytes
    assert judge["consistent"] == 0


def test_random_bytes_are_no_opinion(store, server, tiny_model):
    add_task(store, responses=2)
    said = []
    summary = run(store, server[1], tiny_model, said.append, attempts=2)
    assert (summary.ranked, summary.failed) == (0, 1)
    assert "not ranked: no JSON object with ranks in the answer" in said[0]
    assert store.judges()[0]["failed"] == 1
    assert store.open_tasks() == 1


def test_a_model_that_the_server_does_not_have_is_said(store, server, tmp_path):
    chat = Chat(server[1], str(tmp_path / "nowhere"), retries=0, say=lambda _: None)
    with pytest.raises(EndpointError, match="answers 500"):
        chat.ask([{"role": "user", "content": "Hi"}], Usage())


def test_a_server_that_is_killed_in_the_middle_leaves_what_was_judged(store, server, one_answer):
    """The last with the server."""
    for number in range(4):
        add_task(store, f"prompt {number}", responses=2)
    process, url = server

    def kill_after_two(line):
        if line.startswith("2: "):
            process.kill()
            process.wait(20)

    summary = run(store, url, one_answer, kill_after_two)
    assert summary.ranked == 2
    assert "cannot be reached" in summary.trouble
    assert len(store.rankings()) == 2
    anna = store.add_person("anna", "anna", "human").id
    assert len(store.claim_tasks(anna, ahead=9)) == 2


# -- a model in this process -----------------------------------------------------------------------------


def test_a_local_model_always_has_an_order_and_counts_what_it_reads(store):
    for number in range(4):
        add_task(store, f"prompt {number}", responses=2 + number % 3, seed=number)
    store.add_constitution("- Prefer the response that is right.")
    judge = LocalJudge("starter", "cpu", 40)
    summary = Judging(store, judge, JudgeConfig(model="starter", leave=0), lambda _: None).run()
    assert (summary.ranked, summary.failed) == (4, 0)
    [known] = store.judges()
    assert (known["name"], known["endpoint"]) == ("judge starter", "")
    assert known["calls"] == 2 * (2 * 1) + 3 * 2 + 4 * 3
    assert (known["response_tokens"], known["prompt_tokens"] > 100 * known["calls"]) == (0, True)
    for ranking, consistent in zip(store.rankings(), summary.consistent, strict=True):
        assert (len(set(ranking.ranks)) == len(ranking.ranks)) <= (consistent == 1)


def test_the_letter_is_read_and_swapped(tiny_model, monkeypatch):
    judge = LocalJudge(tiny_model, "cpu")
    used = Usage()
    # a taste: how sure it is of A is how much longer the first is; then one for the letter alone
    shown = []

    def leaning(question, used):
        first, second = (part.split("\n")[1] for part in question.split("<response ")[1:])
        shown.append((first, second))
        return len(first) - len(second)

    monkeypatch.setattr(judge, "_leaning", leaning)
    opinion = judge.rank("- Long.", "Hi", ["aa", "a", "aaa"], used)
    assert (opinion.ranks, opinion.consistent) == ([2, 3, 1], 1)
    assert sorted(shown) == sorted((a, b) for a in ("aa", "a", "aaa") for b in ("aa", "a", "aaa") if a != b)
    monkeypatch.setattr(judge, "_leaning", lambda question, used: 0.3)
    opinion = judge.rank("- Long.", "Hi", ["aa", "a", "aaa"], used)
    assert (opinion.ranks, opinion.consistent) == ([1, 1, 1], 0)


def test_the_letters_probabilities_are_the_models(tiny_model):
    import torch

    from rlhf.generate import encode_prompt

    judge, used = LocalJudge(tiny_model, "cpu"), Usage()
    found = judge._leaning("Which?", used)
    ids = encode_prompt(judge.tokenizer, "Which?")
    with torch.no_grad():
        logprobs = judge.network(input_ids=torch.tensor([ids])).logits[0, -1].log_softmax(-1)
    a, b = judge.tokenizer("A")["input_ids"][0], judge.tokenizer("B")["input_ids"][0]
    assert found == pytest.approx(float(logprobs[a] - logprobs[b]), abs=1e-5)
    assert used.prompt_tokens == len(ids)


def test_what_a_local_model_cannot_read_or_say_is_no_opinion(store, tiny_model):
    add_task(store, "much " * 200, responses=2)
    summary = Judging(store, LocalJudge(tiny_model, "cpu"), JudgeConfig(model="x", leave=0), print).run()
    assert (summary.ranked, summary.failed) == (0, 1)
    judge = LocalJudge(tiny_model, "cpu", 8)
    with pytest.raises(Unusable, match="not done after 8 tokens"):
        judge.write([{"role": "user", "content": "Hi"}], Usage())
    with pytest.raises(ModelError, match="does not exist"):
        open_judge(JudgeConfig(model="./nowhere"))


def test_a_local_model_revises(store, one_answer):
    """It says one thing, which is critique and revision both."""
    add_task(store, responses=2)
    config = JudgeConfig(model=one_answer, revise=3)
    summary = Judging(store, open_judge(config), config, lambda _: None).run()
    assert (summary.revised, summary.used.calls) == (1, 2)
    assert [d["text"] for d in store.demonstrations()] == [ANSWER]
    anna = store.add_person("anna", "anna", "human").id
    rank(store, anna, "a", [1, 2])
