"""SFT through TRL's trainer: what it reads, what its loss is, whom it changes, and whom it lets in
between."""

import math
import threading
from dataclasses import replace
from itertools import islice

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer

from data.demonstrations import Demonstration
from data.starter.corpus import sft_pairs
from rlhf import sft_training
from rlhf.config import ModelError
from rlhf.generate import SamplingConfig, encode_prompt, sample_from
from rlhf.models import load_family
from rlhf.prompting import pick_examples, with_examples
from rlhf.sft import SFTConfig, encode_demonstration, mean_loss, split_demonstrations
from rlhf.sft_round import SFTRoundConfig, judge_sft, losses_of_base, run_sft_round, sft_round_config
from rlhf.sft_training import reads_packed, train_sft
from rlhf.told import Outcome
from rlhf.trainer_steps import common_arguments, lent, steps

SHOUTS = [Demonstration(f"say {n} again", f"{n * 7}!") for n in range(24)]
QUICK = SFTConfig(epochs=1, batch=4, evaluations=1, learning_rate=2e-3)


@pytest.fixture(params=["full", "lora"])
def family(request, tiny_model):
    torch.manual_seed(0)
    family = load_family(tiny_model, tuning=request.param, device="cpu", lora_rank=2)
    family.copy("reference", "published")
    family.copy("reference", "policy")
    return family


@pytest.fixture
def parts(family):
    return split_demonstrations(family, SHOUTS, 0.2)


def test_a_demonstration_is_read_as_it_would_be_sampled(family):
    prompt, response = encode_demonstration(
        family.tokenizer, family.closing_eos, Demonstration("hello", "you")
    )
    assert prompt == encode_prompt(family.tokenizer, "hello")
    assert response == [*family.tokenizer("you")["input_ids"], family.closing_eos]
    assert family.tokenizer.decode(prompt + response) == "<|user|>hello<|assistant|>you<|end|>"


def test_no_prompt_is_learned_from_and_judged_by(family):
    twice = [*SHOUTS, *(Demonstration(d.prompt, d.response + "!") for d in SHOUTS), SHOUTS[0]]
    parts = split_demonstrations(family, twice, 0.25)
    assert [len(parts.train), len(parts.stop), len(parts.judge)] == [36, 6, 6]
    prompts = [{tuple(p) for p, _ in part} for part in (parts.train, parts.stop, parts.judge)]
    assert len(set.union(*prompts)) == sum(map(len, prompts)) == 24
    assert parts == split_demonstrations(family, twice[::-1], 0.25) or parts.left_out == 0
    long = Demonstration("long", "x" * 600)  # the model reads 512 tokens
    assert split_demonstrations(family, [*SHOUTS, long], 0.2).left_out == 1


def test_a_conversation_that_the_template_refuses_is_left_out(family):
    def encode(demonstration):
        if demonstration == SHOUTS[3]:
            raise ModelError("the template refuses it")
        return encode_demonstration(family.tokenizer, family.closing_eos, demonstration)

    parts = split_demonstrations(family, SHOUTS, 0.2, encode)
    assert parts.left_out == 1
    assert sum(map(len, (parts.train, parts.stop, parts.judge))) == len(SHOUTS) - 1


def first_batch(family, pairs, config):
    """What TRL's trainer gives the model, and the loss it logs for that."""
    with common_arguments(family) as common, lent(family, "policy") as model:
        trainer = sft_training.sft_trainer(family, "policy", model, pairs, config, 0, common)
        batch = next(iter(trainer.get_train_dataloader()))
        training = steps(trainer)
        loss = next(training).logs["loss"]
        training.close()
    return batch, loss


@pytest.mark.parametrize("packed", [True, False])
def test_the_loss_is_on_responses_alone_with_their_eos(family, parts, packed, monkeypatch):
    if packed:
        assert reads_packed(family, "policy")
    else:
        monkeypatch.setattr(sft_training, "reads_packed", lambda *_: False)
    pairs = parts.train
    before = family.state("policy")
    batch, loss = first_batch(family, pairs, replace(QUICK, batch=2 * len(pairs)))  # all in one
    assert ("position_ids" in batch) == packed
    # by hand: every row alone, cross-entropy of what follows the prompt
    family.set_state("policy", before)
    total, count = 0.0, 0
    with torch.no_grad(), family.use("policy") as model:
        for prompt, response in pairs:
            logits = model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
            total += float(F.cross_entropy(logits, torch.tensor(response), reduction="sum"))
            count += len(response)
    assert loss == pytest.approx(total / count, rel=1e-4)
    assert mean_loss(family, "policy", pairs) == pytest.approx(total / count, rel=1e-4)

    labels = batch["labels"][batch["labels"] != -100].tolist()
    assert sorted(labels) == sorted(t for _, response in pairs for t in response)
    if not packed:
        rows = {
            tuple(ids[keep])
            for ids, keep in zip(batch["input_ids"], batch["attention_mask"].bool(), strict=True)
        }
        assert {tuple(map(int, row)) for row in rows} == {(*p, *r) for p, r in pairs}


def test_only_the_role_learns_and_the_others_answer_in_between(family, parts):
    prompts = [encode_prompt(family.tokenizer, "hello")] * 3
    sampling = SamplingConfig(max_new_tokens=8)

    def said(role):
        return [
            s.tokens for s in sample_from(family, role, prompts, sampling, torch.Generator().manual_seed(1))
        ]

    others = ("published", "reward", "viewer", "reference")
    before = {role: said(role) for role in others}
    states = {role: family.state(role) for role in ("published", "reward", "viewer")}
    with family.use("policy") as model:
        attributes, patched = set(vars(model)), "forward" in vars(model)
        base = {n: p.clone() for n, p in model.named_parameters() if "lora_" not in n}
    config = replace(QUICK, learning_rate=2e-2)
    told, moved = [], []
    for done in train_sft(family, parts.train, parts.stop, config, 0):
        told.append(done)
        assert [t.name for t in threading.enumerate()].count("trainer") == 1
        moved.append(said("policy") != before["published"])
        assert {role: said(role) for role in others} == before  # asked while the trainer waits
        assert not torch.is_autocast_enabled("cpu")
        assert torch.is_grad_enabled()
    assert [t.step for t in told] == list(range(1, told[-1].of + 1))
    assert len(told) > 2
    assert any(moved)
    assert "trainer" not in [t.name for t in threading.enumerate()]
    for role, state in states.items():
        assert all(torch.equal(value, state[name]) for name, value in family.state(role).items()), role
    with family.use("policy") as model:
        assert (set(vars(model)), "forward" in vars(model)) == (attributes, patched)
        assert not model.training
        if family.kind == "lora":
            assert all(torch.equal(p, base[n]) for n, p in model.named_parameters() if "lora_" not in n)


def test_adapters_on_a_base_in_four_bits_stay_float32(family, parts):
    """TRL asks the model whether it is, and would make all of them bf16."""
    if family.kind == "full":
        return
    with family.use("policy") as model:
        model.is_quantized = model.is_loaded_in_4bit = True
    try:
        assert len(list(train_sft(family, parts.train, parts.stop, QUICK, 0))) > 2
        assert model.is_quantized
        assert model.is_loaded_in_4bit
        types = {p.dtype for role in ("policy", "reward") for p in family.parameters(role)}
        assert types == {torch.float32}
    finally:
        del model.is_quantized, model.is_loaded_in_4bit


def test_the_best_weights_are_kept_and_patience_ends_it(family, parts):
    wild = SFTConfig(epochs=40, batch=4, evaluations=1, patience=2, learning_rate=0.05)
    told = list(train_sft(family, parts.train, parts.stop, wild, 0))
    looks = [t.heldout for t in told if t.heldout is not None]
    best = min(looks)
    assert told[-1].step < told[-1].of
    assert looks[-2:] != sorted(looks)[:2] or len(looks) <= 2
    start = split_demonstrations(family, SHOUTS, 0.2)
    lowest = min(best, mean_loss(family, "published", start.stop))
    assert mean_loss(family, "policy", parts.stop) == pytest.approx(lowest, rel=1e-4)


def test_closed_half_way_it_ends_and_keeps_the_best(family, parts):
    training = train_sft(family, parts.train, parts.stop, replace(QUICK, epochs=20), 0)
    best = min(next(training).heldout or math.inf for _ in range(12))
    training.close()
    assert "trainer" not in [t.name for t in threading.enumerate()]
    assert mean_loss(family, "policy", parts.stop) == pytest.approx(best, rel=1e-4)


def test_a_loss_that_is_no_number_comes_through_and_harms_nothing(family, parts):
    before = family.state("policy")
    with pytest.raises(FloatingPointError, match="the loss became nan"):
        list(train_sft(family, parts.train, parts.stop, replace(QUICK, learning_rate=1e30, epochs=9), 0))
    assert all(torch.equal(value, before[name]) for name, value in family.state("policy").items())


def test_nothing_is_written_where_it_runs(family, parts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    list(islice(train_sft(family, parts.train, parts.stop, QUICK, 0), 1))
    assert list(tmp_path.iterdir()) == []


def test_settings_out_of_range_are_one_sentence():
    with pytest.raises(ValueError, match="--epochs is 0; wanted: at least 1"):
        sft_round_config({"epochs": 0})
    config = sft_round_config({"epochs": 2, "learning_rate": None, "from_base": True, "data": "x"})
    assert config == SFTRoundConfig(SFTConfig(epochs=2), from_base=True)


def test_examples_stand_before_the_prompt_as_far_as_there_is_room():
    pairs = [([1, 2], [3]), ([1, 4], [5]), ([1, 2], [6])]
    assert with_examples([9, 9], pairs[:2], None) == [1, 2, 3, 1, 4, 5, 9, 9]
    assert with_examples([9, 9], pairs[:2], 7) == [1, 2, 3, 9, 9]
    assert {tuple(p) for p, _ in pick_examples(pairs, 0)} == {(1, 2), (1, 4)}


def test_too_few_demonstrations_are_said(family):
    *_, outcome = run_sft_round(family, SHOUTS[:11], "", SFTRoundConfig(), 0)
    assert not outcome.published
    assert "demonstrations for 11 different prompts; wanted: 12" in outcome.reason


def test_only_what_is_better_is_published():
    summary = {"loss_before": 1.0, "loss_after": 0.5, "heldout_demonstrations": 8.0}
    good = judge_sft(summary, [None, "a remark"])
    assert good == Outcome(True, "loss 1.000 to 0.500 on 8 held-out demonstrations; a remark", summary)
    assert "is not better" in judge_sft(summary | {"loss_after": 1.0}, []).reason
    assert "not a finite number" in judge_sft(summary | {"loss_after": math.nan}, []).reason


def test_a_loss_that_is_no_number_ends_the_round_with_the_best_weights_and_a_reason(family):
    config = SFTRoundConfig(replace(QUICK, learning_rate=1e30, epochs=9))
    *_, outcome = run_sft_round(family, SHOUTS, "", config, 0)
    assert not outcome.published
    assert "is not better on held-out demonstrations" in outcome.reason
    assert "ended early: the loss became nan" in outcome.reason
    assert outcome.summary["loss_after"] == pytest.approx(outcome.summary["loss_before"])


@pytest.fixture(scope="module")
def starter_round():
    """One round on demonstrations of one manner, as the starter's own generator writes them."""
    family = load_family("starter", device="cpu")
    family.copy("reference", "published")
    pairs = islice(sft_pairs(5, plain=1.0), 160)
    demonstrations = [Demonstration(p.prompt, p.response) for p in pairs]
    config = SFTRoundConfig(SFTConfig(epochs=1, evaluations=2))
    *events, outcome = run_sft_round(family, demonstrations, "", config, 1)
    return family, events, outcome, demonstrations, config


def test_sft_says_held_out_demonstrations_better_than_policy_and_prompt(starter_round):
    family, events, outcome, demonstrations, config = starter_round
    assert outcome.published, outcome.reason
    assert {e.state for e in events} == {"sft"}
    assert {"sft/loss", "sft/heldout_loss"} == {name for e in events for name in e.metrics}
    figures = outcome.summary
    judge = split_demonstrations(family, demonstrations, config.sft.heldout_share).judge
    assert figures["loss_after"] == pytest.approx(mean_loss(family, "policy", judge), rel=1e-4)
    assert figures["loss_before"] == pytest.approx(mean_loss(family, "published", judge), rel=1e-4)
    assert figures["loss_after"] < 0.9 * figures["loss_before"]
    assert figures["loss_base"] == pytest.approx(figures["loss_before"])  # the reference stands in
    assert figures["perplexity_after"] == pytest.approx(math.exp(figures["loss_after"]))
    assert figures["loss_after"] < figures["loss_prompted_base"]
    assert figures["sft/seconds"] > 0


def test_the_model_before_sft_is_compared_with_where_it_has_the_same_tokens(starter_round, tiny_model):
    from rlhf.models import resolve

    family, *_, demonstrations, config = starter_round
    base = resolve("starter", "base")  # it has no chat template
    figures, remark = losses_of_base(family, base, demonstrations[:40], config.sft.heldout_share, 0)
    assert remark is None

    # by transformers' own loss, in the base's own way
    model, tokenizer = AutoModelForCausalLM.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    judge = split_demonstrations(family, demonstrations[:40], config.sft.heldout_share).judge
    total, count = 0.0, 0
    for prompt, response in judge:
        asked = family.tokenizer.decode(prompt, skip_special_tokens=True)
        before = tokenizer(asked + "\n")["input_ids"]
        labels = torch.tensor([[-100] * len(before) + response[:-1] + [tokenizer.eos_token_id]])
        ids = torch.tensor([before + response[:-1] + [tokenizer.eos_token_id]])
        with torch.no_grad():
            total += float(model(ids, labels=labels).loss) * len(response)
        count += len(response)
    assert figures["loss_base"] == pytest.approx(total / count, rel=1e-4)
    assert figures["loss_prompted_base"] != pytest.approx(figures["loss_base"], rel=1e-3)
    assert losses_of_base(family, tiny_model, demonstrations[:40], 0.2, 0) == (
        {},
        "the base model has other tokens, so their losses cannot be compared",
    )


def test_a_base_model_of_no_numbers_costs_the_comparison_alone(tiny_model, tmp_path):
    family = load_family(tiny_model, device="cpu")
    broken = AutoModelForCausalLM.from_pretrained(tiny_model)
    broken.get_input_embeddings().weight.data.fill_(math.nan)
    broken.save_pretrained(tmp_path)
    family.tokenizer.save_pretrained(tmp_path)
    assert losses_of_base(family, str(tmp_path), SHOUTS, 0.2, 0) == (
        {},
        "the base model's loss is not a finite number",
    )
