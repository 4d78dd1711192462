"""Before/after: what one sample dies of ends that sample and no other."""

import shutil
from pathlib import Path

import pytest
import torch

from labeling.store import StoreError
from rlhf import checkpoint, viewer
from rlhf.generate import SamplingConfig
from rlhf.models import load_family
from rlhf.reward_model import RewardModel
from rlhf.viewer import BASE, UNPUBLISHED, Viewer
from tests.local_models import with_own_code


class Page:
    """Collects what the viewer writes, as the store would."""

    def __init__(self):
        self.samples: dict[int, dict] = {}
        self.states: dict[int, list[str]] = {}

    def write(self, id, **columns):
        self.samples.setdefault(id, {}).update(columns)
        self.states.setdefault(id, []).append(columns["state"])


@pytest.fixture(scope="module")
def family(tiny_model):
    return load_family(tiny_model, tuning="full", device="cpu")


@pytest.fixture
def answer(family, tiny_model, tmp_path):
    """Answer (prompt, version) pairs; the samples by their index, and the page."""
    torch.manual_seed(0)
    made = Viewer(
        family,
        RewardModel(family),
        tiny_model,
        SamplingConfig(max_new_tokens=8),
        tmp_path,
        max_prompt_tokens=60,
    )
    made.scores_ready = True
    made._draws = 10  # the third draw of all begins with EOS, and what says nothing has no score

    def start(*asked):
        page = Page()
        waiting = [{"id": i, "prompt": p, "policy_version": v} for i, (p, v) in enumerate(asked)]
        made.answer(waiting, 1, {0, 1, 2, 3}, page.write)
        return page

    start.viewer, start.run_dir = made, tmp_path
    return start


def test_the_base_may_bring_code_of_its_own_where_that_is_trusted(answer, family, tmp_path, monkeypatch):
    folder, ran = Path(shutil.copytree(answer.viewer.base, tmp_path / "own")), tmp_path / "ran"
    with_own_code(folder, ran)
    answer.viewer.base = str(folder)
    refused = answer(("hello", BASE)).samples[0]
    assert refused["state"] == "failed"
    assert "is run only with --trust-remote-code" in refused["error"]
    assert not ran.exists()
    monkeypatch.setattr(family, "trusts_code", True)
    assert answer(("hello", BASE)).samples[0]["state"] == "done"
    assert ran.exists()


def test_every_kind_of_policy_answers_and_is_scored(answer, family):
    for version in (2, 3):
        checkpoint.write_policy(
            answer.run_dir, version, lambda folder: family.save("reference", folder / "policy")
        )
    page = answer(("hello", BASE), ("hello", 0), ("hello", 1), ("hello", 2), ("hello", 3))
    assert [s["state"] for s in page.samples.values()] == ["done"] * 5
    assert all(s["text"] and isinstance(s["score"], float) for s in page.samples.values())
    assert all(states[0] == "running" for states in page.states.values())


def test_those_of_one_policy_are_written_together_and_each_as_it_is(answer, monkeypatch):
    together, scored = [], []
    real, score = viewer.decode, answer.viewer.reward_model.score_texts

    def decode(model, prompts, *arguments, **options):
        together.append(len(prompts))
        yield from real(model, prompts, *arguments, **options)

    def score_texts(prompts, responses, finished):
        scored.append(list(zip(prompts, responses, finished, strict=True)))
        return score(prompts, responses, finished)

    monkeypatch.setattr(viewer, "decode", decode)
    monkeypatch.setattr(answer.viewer.reward_model, "score_texts", score_texts)
    asked = [("hello", 0), ("good day to you", 0), ("hello", 1), ("hi", 0)]
    page = answer(*asked)
    assert together == [3, 1]
    assert len({page.samples[i]["text"] for i in range(4)}) == 4
    for i, (prompt, _) in enumerate(asked):
        assert page.samples[i]["state"] == "done"
        (found,) = [s for part in scored for s in part if s[:2] == (prompt, page.samples[i]["text"])]
        wanted = float(score(*([value] for value in found))[0])
        assert page.samples[i]["score"] == pytest.approx(wanted, abs=1e-5)


def test_adapters_of_one_base_answer_in_one_batch(tiny_model, tmp_path, monkeypatch):
    """Each as it would alone: what the page shows side by side costs one pass a token."""
    family = load_family(tiny_model, tuning="lora", device="cpu", lora_rank=2)
    torch.manual_seed(0)
    with torch.no_grad():
        for role in ("published", "viewer", "policy"):
            for p in family.parameters(role):
                p.normal_(std=0.3)
    checkpoint.write_policy(tmp_path, 2, lambda folder: family.save("viewer", folder / "policy"))
    sampling = SamplingConfig(max_new_tokens=8, temperature=0)
    made = Viewer(family, RewardModel(family), tiny_model, sampling, tmp_path, 60)
    made.unpublished_ready = True
    real, together = viewer.decode, []

    def decode(model, prompts, *arguments, **options):
        together.append(len(prompts))
        return real(model, prompts, *arguments, **options)

    monkeypatch.setattr(viewer, "decode", decode)

    def answer(*versions):
        page = Page()
        waiting = [{"id": v, "prompt": "hello", "policy_version": v} for v in versions]
        made.answer(waiting, 1, {0, 1, 2}, page.write)
        return {v: page.samples[v]["text"] for v in versions}

    versions = [BASE, 0, 1, 2, UNPUBLISHED]
    texts = answer(*versions)
    assert sorted(together) == [1, 4]  # the base model is another model
    assert len({texts[v] for v in versions[1:]}) == 4
    assert texts == {v: answer(v)[v] for v in versions}


def test_what_a_sample_dies_of_while_it_is_written_ends_that_sample_only(answer, monkeypatch):
    real = viewer.decode

    def decode(model, prompts, *arguments, **options):
        if len(prompts[0]) > 20:
            raise IndexError("index out of range in self")
        yield from real(model, prompts, *arguments, **options)

    monkeypatch.setattr(viewer, "decode", decode)
    page = answer(("a poisoned prompt, of more tokens", 0), ("hello", 0), ("one more poisoned prompt", BASE))
    assert [page.samples[i]["state"] for i in range(3)] == ["failed", "done", "failed"]
    assert "IndexError: index out of range" in page.samples[0]["error"]


def test_a_score_that_cannot_be_had_is_a_failed_sample(answer, monkeypatch):
    def score_texts(prompts, responses, finished):
        raise RuntimeError("CUDA error\nand a page of advice")

    monkeypatch.setattr(answer.viewer.reward_model, "score_texts", score_texts)
    page = answer(("hello", 0))
    assert page.samples[0]["state"] == "failed"
    assert page.samples[0]["text"]
    assert "\n" not in page.samples[0]["error"]


def test_a_score_that_cannot_be_had_leaves_the_others_of_its_policy_as_they_are(answer, monkeypatch):
    real = answer.viewer.reward_model.score_texts
    written = []

    def score_texts(prompts, responses, finished):
        if "bad" in prompts:
            raise RuntimeError("CUDA error")
        return real(prompts, responses, finished)

    def decode(model, prompts, *arguments, **options):
        written.append(len(prompts))
        yield from drawn(model, prompts, *arguments, **options)

    drawn = viewer.decode
    monkeypatch.setattr(viewer, "decode", decode)
    monkeypatch.setattr(answer.viewer.reward_model, "score_texts", score_texts)
    page = answer(("hello", 0), ("bad", 0), ("good day", 0))
    assert [page.samples[i]["state"] for i in range(3)] == ["done", "failed", "done"]
    assert all(page.samples[i]["text"] for i in range(3))
    assert isinstance(page.samples[2]["score"], float)
    assert written == [3]  # nothing is written a second time


def test_a_text_that_cannot_be_decoded_ends_that_sample_only(answer, monkeypatch):
    real, draws = viewer.decode_text, []

    def decode_text(tokenizer, tokens):
        draws.append(len(tokens))
        if len(draws) == 2:  # the first token of the second sample
            raise IndexError("piece id is out of range")
        return real(tokenizer, tokens)

    monkeypatch.setattr(viewer, "decode_text", decode_text)
    page = answer(("hello", 0), ("good day", 0))
    assert [page.samples[i]["state"] for i in range(2)] == ["done", "done"]  # each again, alone
    draws.clear()
    page = answer(("hello", 0))
    assert page.samples[0]["state"] == "failed"
    assert "piece id" in page.samples[0]["error"]


def test_a_full_disk_is_no_samples_fault(answer):
    def write(id, **columns):
        if columns["state"] == "done":
            raise StoreError("the disk is full")

    with pytest.raises(StoreError, match="disk is full"):
        answer.viewer.answer([{"id": 1, "prompt": "hello", "policy_version": 0}], 1, {0}, write)


def test_no_more_are_written_at_once_than_there_is_room_for(answer, family, monkeypatch):
    real, together = viewer.decode, []

    def decode(model, prompts, *arguments, **options):
        together.append(len(prompts) * max(map(len, prompts)))
        yield from real(model, prompts, *arguments, **options)

    monkeypatch.setattr(viewer, "decode", decode)
    monkeypatch.setattr(family, "token_budget", 64)
    page = answer(*[("x" * (20 + number), 0) for number in range(6)])
    assert [s["state"] for s in page.samples.values()] == ["done"] * 6
    assert len(together) == 3
    assert max(together) <= 64


@pytest.mark.parametrize("ends", [True, False])
def test_a_response_that_was_cut_is_scored_as_one(answer, family, monkeypatch, ends):
    scored = []

    def score_texts(prompts, responses, finished):
        scored.append((responses, finished))
        return torch.zeros(1)

    monkeypatch.setattr(answer.viewer.reward_model, "score_texts", score_texts)
    every_token = set(range(len(family.tokenizer)))
    monkeypatch.setattr(family, "eos_ids", every_token if ends else {-1})
    monkeypatch.setattr(viewer, "eos_ids_of", lambda *_: family.eos_ids)
    page = answer(("hello", 0), ("hello", BASE))
    assert scored == [([page.samples[i]["text"]], [ends]) for i in (0, 1)]


def test_a_prompt_the_model_has_no_room_for_is_refused(answer):
    page = answer(("x" * 100, 0), ("x" * 100, BASE), ("x" * 50, 0))
    assert [page.samples[i]["state"] for i in range(3)] == ["failed", "failed", "done"]
    for i in (0, 1):
        assert page.samples[i]["error"] == "The prompt has 102 tokens; the limit is 60."
    answer.viewer.max_prompt_tokens = 10_000  # then it is the model's context, 512, less response and EOS
    page = answer(("x" * 501, 0), ("x" * 502, 0))
    assert page.samples[0]["state"] == "done"
    assert page.samples[1]["error"] == "The prompt has 504 tokens; the limit is 503."


def test_a_rejected_policy_answers_while_it_is_in_memory(answer):
    page = answer(("hello", UNPUBLISHED))
    assert page.samples[0]["error"] == "This policy was not published, and is gone."
    answer.viewer.unpublished_ready = True
    page = answer(("hello", UNPUBLISHED), ("hello", 0))
    assert [page.samples[i]["state"] for i in range(2)] == ["done", "done"]


def test_a_policy_that_is_not_there_or_is_broken_is_a_failed_sample(answer):
    (answer.run_dir / "policies" / "2" / "policy").mkdir(parents=True)
    page = answer(("hello", 7), ("hello", 2), ("hello", 0))
    assert page.samples[0]["error"] == "There is no policy 7."
    assert [page.samples[i]["state"] for i in range(3)] == ["failed", "failed", "done"]
