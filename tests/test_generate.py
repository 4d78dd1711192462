import random

import pytest
import torch

from rlhf import generate
from rlhf.batching import EVEN, by_length, in_powers_of_two, pack, pack_evenly, pad, plant, trees_of
from rlhf.generate import SamplingConfig, _pick, decode_text, encode_prompt, sample, sample_from
from rlhf.models import load_family

GREEDY = SamplingConfig(temperature=0, max_new_tokens=12)


@pytest.fixture(scope="module")
def family(tiny_model):
    return load_family(tiny_model, tuning="full", device="cpu")


def draw(family, prompts, config=GREEDY, seed=0):
    generator = torch.Generator().manual_seed(seed)
    ids = [encode_prompt(family.tokenizer, p) for p in prompts]
    with family.use("reference") as model:
        return sample(model, ids, config, pad_id=family.pad_id, eos_ids=family.eos_ids, generator=generator)


def test_a_prompt_goes_through_the_chat_template(family):
    ids = encode_prompt(family.tokenizer, "hi")
    assert family.tokenizer.decode(ids) == "<|user|>hi<|assistant|>"


def test_a_row_gets_the_same_response_alone_and_in_a_padded_batch(family):
    prompts = ["a", "a much longer prompt than the others", "three"]
    together = draw(family, prompts)
    assert together == [draw(family, [p])[0] for p in prompts]


def test_same_seed_repeats_and_another_differs(family):
    config = SamplingConfig(temperature=1.0, max_new_tokens=12)
    first = draw(family, ["a"] * 8, config, seed=1)
    assert first == draw(family, ["a"] * 8, config, seed=1)
    assert first != draw(family, ["a"] * 8, config, seed=2)


def test_rows_end_at_eos_and_leave_the_batch_without_changing_the_others(family):
    """With half the vocabulary as EOS nearly every row ends early: the batch is compacted again and again."""
    eos = set(range(130))
    ids = [encode_prompt(family.tokenizer, f"prompt {i}") for i in range(24)]
    with family.use("reference") as model:
        together = sample(model, ids, GREEDY, pad_id=0, eos_ids=eos)
        alone = [sample(model, [i], GREEDY, pad_id=0, eos_ids=eos)[0] for i in ids]
    assert together == alone
    assert any(s.finished for s in together)
    for s in together:
        assert all(t not in eos for t in s.tokens[:-1])
        assert s.finished == (s.tokens[-1] in eos)
        assert s.finished or len(s.tokens) == GREEDY.max_new_tokens


def test_top_p_keeps_the_most_likely_token_only_when_it_is_tiny(family):
    config = SamplingConfig(temperature=1.0, top_p=1e-6, max_new_tokens=12)
    assert draw(family, ["a", "bb"], config) == draw(family, ["a", "bb"])


def test_text_has_no_special_tokens(family):
    assert decode_text(family.tokenizer, [4, 5, 1]) == family.tokenizer.decode([4, 5])


def test_pad_lines_up_tokens_and_the_states_that_predict_them():
    batch = pad([[5, 6, 7], [8]], [[1, 2], [3, 4, 9]], pad_id=0)
    assert batch.ids.tolist() == [[5, 6, 7, 1, 2], [8, 3, 4, 9, 0]]
    assert batch.tokens[batch.mask].tolist() == [1, 2, 3, 4, 9]
    assert batch.before[0, :2].tolist() == [2, 3]  # token 1 is predicted where 7 stands
    assert batch.before[1].tolist() == [5, 6, 7]  # of the second row
    assert batch.own[batch.mask].tolist() == [3, 4, 6, 7, 8]
    assert list(batch.inputs) == ["input_ids"]


def test_responses_to_one_prompt_share_a_row_while_there_is_room():
    prompts, responses = [[1, 2], [3], [1, 2], [1, 2]], [[5, 6], [7], [8, 9], [10]]
    assert trees_of(prompts, responses, 100) == [[0, 2, 3], [1]]
    assert trees_of(prompts, responses, 6) == [[0, 2], [1], [3]]
    assert trees_of(prompts, responses, 0) == [[0], [1], [2], [3]]
    first, second = ([1, 2], [[5, 6], [8, 9], [10]]), ([3], [[7]])
    batch = plant([[first], [second]], pad_id=0)
    assert batch.ids.tolist() == [[1, 2, 5, 6, 8, 9, 10], [3, 7, 0, 0, 0, 0, 0]]
    assert batch.position_ids[0].tolist() == [0, 1, 2, 3, 2, 3, 2]
    assert batch.tokens[batch.mask].tolist() == [5, 6, 8, 9, 10, 7]
    assert batch.before[batch.mask].tolist() == [1, 2, 1, 4, 1, 7]
    sees = [row.nonzero().flatten().tolist() for row in batch.attention[0, 0]]
    assert sees == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 4], [0, 1, 4, 5], [0, 1, 6]]

    batch = plant([[second, first]], pad_id=0)
    assert batch.ids.tolist() == [[3, 7, 1, 2, 5, 6, 8, 9, 10]]
    assert batch.position_ids[0].tolist() == [0, 1, 0, 1, 2, 3, 2, 3, 2]
    assert batch.tokens.tolist() == [[7, 0], [5, 6], [8, 9], [10, 0]]
    assert batch.before[batch.mask].tolist() == [0, 3, 4, 3, 6, 3]
    assert batch.own[batch.mask].tolist() == [1, 4, 5, 6, 7, 8]
    sees = [row.nonzero().flatten().tolist() for row in batch.attention[0, 0]]
    assert sees[:4] == [[0], [0, 1], [2], [2, 3]]
    assert sees[4:] == [[2, 3, 4], [2, 3, 4, 5], [2, 3, 6], [2, 3, 6, 7], [2, 3, 8]]


def test_rows_are_packed_without_a_token_too_many():
    lengths = [5, 40, 17, 33, 12, 128, 60, 61, 200, 1]
    rows = pack(lengths, 128)
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    assert [8] in rows  # longer than a row, by itself
    assert all(sum(lengths[i] for i in row) <= 128 for row in rows if row != [8])
    assert len(rows) == 4  # 200, 128, and 229 in two
    assert pack([], 128) == []


def test_rows_packed_evenly_are_a_power_of_two_and_little_padding():
    draw = random.Random(0)
    for count in (1, 2, 3, 7, 16, 20, 40):
        lengths = [draw.randint(25, 70) for _ in range(count)]
        rows = pack_evenly(lengths, 128, 256)
        if rows is None:  # few cannot always be cut well
            assert count < 4
            continue
        assert sorted(i for row in rows for i in row) == list(range(count))
        width = -(-max(sum(lengths[i] for i in row) for row in rows) // EVEN) * EVEN
        padded = (1 << (len(rows) - 1).bit_length()) * width
        assert padded <= 1.25 * sum(lengths) + EVEN * len(rows)
        assert width <= 256
    assert pack_evenly([160] * 11, 128, 256) is None  # neither 8 rows nor 16
    assert pack_evenly([40] * 4, 128, 256) is not None
    assert pack_evenly([40] * 4, 128, 39) is None  # a model may have no more positions


@pytest.mark.parametrize(
    ("rows", "sizes"), [(1, [1]), (3, [2, 1]), (7, [7]), (12, [8, 4]), (13, [13]), (24, [16, 8]), (27, [27])]
)
def test_parts_of_a_batch_are_nearly_powers_of_two(rows, sizes):
    parts = list(in_powers_of_two(list(range(rows))))
    assert [len(part) for part in parts] == sizes
    assert [i for part in parts for i in part] == list(range(rows))


def test_by_length_keeps_the_budget_and_every_index():
    lengths = [3, 50, 7, 7, 20, 1]
    batches = list(by_length(lengths, 40))
    assert sorted(i for b in batches for i in b) == list(range(6))
    for b in batches:
        assert len(b) == 1 or max(lengths[i] for i in b) * len(b) <= 40


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_the_log_probabilities_come_with_the_samples(tiny_model, precision):
    """They are those of the model at the sampling temperature, whatever batch a row was drawn in."""
    family = load_family(tiny_model, tuning="full", device="cpu", precision=precision)
    ids = [encode_prompt(family.tokenizer, "x" * (1 + 3 * i)) for i in range(12)]
    config = SamplingConfig(temperature=0.7, max_new_tokens=20)
    with family.use("reference") as model:
        drawn = sample(
            model,
            ids,
            config,
            pad_id=family.pad_id,
            eos_ids=set(range(30)),
            generator=torch.Generator().manual_seed(0),
        )
        logits = [
            model(torch.tensor([p + s.tokens])).logits[0].float() for p, s in zip(ids, drawn, strict=True)
        ]
    close = 2e-5 if precision == "float32" else 0.05
    for prompt, one, own in zip(ids, drawn, logits, strict=True):
        right = (own[len(prompt) - 1 : -1] / 0.7).log_softmax(-1)
        assert one.logprobs == pytest.approx(right[range(len(one.tokens)), one.tokens].tolist(), abs=close)
        assert one.entropy == pytest.approx((-right.exp() * right).sum(-1).tolist(), abs=close)


def test_tokens_are_drawn_as_often_as_they_are_likely():
    logits = torch.tensor([0.5, 0.0, 0.3, 0.2]).log().expand(20_000, 4)
    config, generator = SamplingConfig(temperature=1.0), torch.Generator().manual_seed(0)
    tokens, logprobs, _ = _pick(logits, config, generator)
    shares = tokens.bincount(minlength=4) / len(tokens)
    assert shares.tolist() == pytest.approx([0.5, 0.0, 0.3, 0.2], abs=0.015)  # four standard errors
    assert shares[1] == 0
    assert logprobs[tokens == 2].exp().tolist() == pytest.approx([0.3] * int((tokens == 2).sum()))
    tokens, logprobs, _ = _pick(logits, SamplingConfig(temperature=1.0, top_p=0.7), generator)
    assert set(tokens.tolist()) == {0, 2}
    assert logprobs[tokens == 0].exp()[0] == pytest.approx(0.625)  # of what was left


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_probabilities_that_are_not_finite_are_told(family, wrong, top_p):
    config = SamplingConfig(temperature=1.0, top_p=top_p, max_new_tokens=4)
    with family.use("reference") as model:
        head = model.get_output_embeddings()
        told = head.register_forward_hook(lambda _layer, _inputs, logits: logits.fill_(wrong))
        try:
            with pytest.raises(FloatingPointError, match="not finite"):
                sample(model, [[5, 6]], config, pad_id=0, eos_ids={1})
        finally:
            told.remove()


@pytest.mark.parametrize("every", [2, 3, 8, 100])
def test_looking_at_what_was_written_now_and_then_changes_nothing(tiny_model, every, monkeypatch):
    """As on a GPU; rows that end in between write on, and nobody hears of it."""
    family = load_family(tiny_model, tuning="full", device="cpu")
    ids, eos = [encode_prompt(family.tokenizer, f"prompt {i}") for i in range(12)], set(range(40))
    torch.manual_seed(0)
    with family.use("policy") as model, torch.no_grad():
        for p in model.parameters():  # else each row says one token again and again
            p.add_(0.3 * torch.randn_like(p))
        each = sample(model, ids, GREEDY, pad_id=0, eos_ids=eos)
        monkeypatch.setitem(generate.READ_EVERY, "cpu", every)
        assert sample(model, ids, GREEDY, pad_id=0, eos_ids=eos) == each
    assert 0 < sum(s.finished for s in each) < len(each)
    assert len({len(s.tokens) for s in each}) > 2


def test_each_prompt_is_answered_by_a_role_of_its_own(tiny_model):
    for tuning in ("full", "lora"):
        family = load_family(tiny_model, tuning=tuning, device="cpu", lora_rank=2)
        with torch.no_grad():
            for role in ("policy", "published"):
                for p in family.parameters(role) if tuning == "lora" else family._model(role).parameters():
                    p.add_(0.1 * torch.randn_like(p))
        ids = [encode_prompt(family.tokenizer, f"prompt {i}") for i in range(6)]
        roles = ["policy", "reference", "published", "reference", "policy", "policy"]
        together = sample_from(family, roles, ids, GREEDY)
        alone = [sample_from(family, role, [own], GREEDY)[0] for role, own in zip(roles, ids, strict=True)]
        assert [s.tokens for s in together] == [s.tokens for s in alone]
        assert family.together(roles) == ([[0, 4, 5], [1, 3], [2]] if tuning == "full" else [[*range(6)]])
        assert sample_from(family, ["reference"] * 2, ids[:2], GREEDY)[1] == alone[1]
        assert sample_from(family, [], [], GREEDY) == []
