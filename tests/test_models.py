"""Other models than the starter: which EOS closes a response, and where the trunk is."""

import random

import pytest
import torch
from peft import PeftConfig
from transformers import (
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MptConfig,
    MptForCausalLM,
    OPTConfig,
    OPTForCausalLM,
)

from rlhf import models
from rlhf.batching import EVEN, pad, plant
from rlhf.likelihood import logprobs_and_pools, token_logprobs
from rlhf.loading import count_parameters
from rlhf.models import ModelError, closing_eos_of, load_family, pick_bf16
from rlhf.passes import look, reads_trees
from rlhf.reward_model import RewardModel
from rlhf.value_function import ValueFunction

END, TURN = 1, 3  # the tokenizer's own EOS, and a token that ends turns in some chat models


@pytest.mark.parametrize(
    ("closes", "eos_ids", "wanted"),
    [
        ("<|assistant|>", {END, TURN}, TURN),  # as Gemma and Phi do: not the tokenizer's own
        ("<|end|>", {END, TURN}, END),
        ("<|end|><|assistant|>", {END, TURN}, END),  # the first behind the response
        ("", {END, TURN}, END),  # the template does not say
        ("<|user|>", {END, TURN}, END),  # it says what does not end a response
    ],
)
def test_a_response_is_closed_as_the_chat_template_closes_it(tiny_model, closes, eos_ids, wanted):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = (
        "{% for m in messages %}<|user|>{{ m.content }}"
        "{% if m.role == 'assistant' %}" + closes + "{% endif %}{% endfor %}"
    )
    assert closing_eos_of(tokenizer, eos_ids) == wanted


def test_without_a_chat_template_it_is_the_tokenizers_own_eos(tiny_model):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = None
    assert closing_eos_of(tokenizer, {END, TURN}) == END
    tokenizer.eos_token = None
    assert closing_eos_of(tokenizer, {TURN}) == TURN


SIZES = {"vocab_size": 300, "max_position_embeddings": 64, "eos_token_id": END, "pad_token_id": 0}
MODELS = {
    "llama": lambda: LlamaForCausalLM(
        LlamaConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, **SIZES)
    ),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, **SIZES)),
    "opt": lambda: OPTForCausalLM(
        OPTConfig(hidden_size=16, ffn_dim=32, num_hidden_layers=1, num_attention_heads=2, **SIZES)
    ),
    "opt that embeds in fewer dimensions": lambda: OPTForCausalLM(  # as OPT-350M
        OPTConfig(
            hidden_size=16,
            word_embed_proj_dim=8,
            ffn_dim=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            **SIZES,
        )
    ),
}


@pytest.mark.parametrize("tuning", ["full", "lora"])
@pytest.mark.parametrize("kind", MODELS)
def test_one_pass_gives_the_trunks_states_and_the_logits(tiny_model, tmp_path, kind, tuning):
    MODELS[kind]().save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path)
    family = load_family(str(tmp_path), tuning=tuning, device="cpu", lora_rank=2)
    batch = pad([[5, 6, 7], [8]], [[9, 1], [10, 11, 1]], family.pad_id)
    model = RewardModel(family)
    states = model.assess([[5, 6, 7], [8]], [[9, 1], [10, 11, 1]], with_states=True).states
    value_function = ValueFunction(model)
    assert value_function(value_function.read(states)).shape == batch.tokens.shape
    with family.use("reward") as model, torch.no_grad():
        seen = look(model, batch)
        whole = model(input_ids=batch.ids).logits
        from_last = model.get_output_embeddings()(seen.last)
    assert torch.equal(seen.written()[1], seen.middle[1, 1:4])
    assert torch.allclose(seen.before()[1, :, family.hidden_size :], seen.last[1, :3])
    assert torch.allclose(states[1], seen.before()[1], atol=1e-5)
    assert torch.allclose(from_last, whole, atol=1e-5)
    # token by token: of the first prompt's two and the second's three
    assert torch.allclose(seen.logits, torch.cat([whole[0, 2:4], whole[1, :3]]), atol=1e-5)


@pytest.mark.parametrize("kind", MODELS)
def test_responses_to_one_prompt_share_a_row_and_nothing_else(kind):
    model = MODELS[kind]().eval()
    assert reads_trees(model)
    prompts, responses = [[5, 6, 7], [8]], [[[9, 1], [10, 11, 12, 1], [1]], [[13, 14, 1]]]
    pairs = [(p, r) for p, own in zip(prompts, responses, strict=True) for r in own]
    trees = list(zip(prompts, responses, strict=True))
    with torch.no_grad():
        alone = [look(model, pad([p], [r], 0)) for p, r in pairs]
        for rows, shape in (([[tree] for tree in trees], (2, 10)), ([trees], (1, 14))):
            shared = look(model, plant(rows, 0))
            assert shared.batch.ids.shape == shape
            for row, own in enumerate(alone):
                length = len(pairs[row][1])
                assert torch.allclose(shared.logprobs(0.7)[row, :length], own.logprobs(0.7)[0], atol=1e-5)
                assert torch.allclose(shared.written()[row, :length], own.written()[0], atol=1e-5)
                assert torch.allclose(shared.before()[row, :length], own.before()[0], atol=1e-5)
                assert not shared.logprobs(0.7)[row, length:].any()


def lfm2():
    """A convolution that remembers two tokens, then attention."""
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, **SIZES}
    heads, kinds = {"num_attention_heads": 2, "num_key_value_heads": 2}, ["conv", "full_attention"]
    return Lfm2ForCausalLM(Lfm2Config(**sizes, **heads, layer_types=kinds))


def mpt():
    """ALiBi: how far a token sees is counted in places of the row."""
    sizes = {name: size for name, size in SIZES.items() if name != "max_position_embeddings"}
    return MptForCausalLM(MptConfig(d_model=32, n_heads=4, n_layers=2, max_seq_len=256, **sizes))


@pytest.mark.parametrize("kind", ["opt", "lfm2", "mpt"])
def test_a_model_that_cannot_read_such_a_row_gets_one_response_a_row(tiny_model, tmp_path, monkeypatch, kind):
    torch.manual_seed(0)
    if kind == "opt":  # with positions of its own
        forward = OPTForCausalLM.forward
        monkeypatch.setattr(
            OPTForCausalLM, "forward", lambda *own, position_ids=None, **rest: forward(*own, **rest)
        )
        model = MODELS["opt"]()
    else:
        model = {"lfm2": lfm2, "mpt": mpt}[kind]()
    assert not reads_trees(model.eval())
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path)
    family = load_family(str(tmp_path), tuning="full", device="cpu")
    together = token_logprobs(family, "reference", [[5, 6]] * 2, [[9, 1], [10, 11, 1]])
    alone = token_logprobs(family, "reference", [[5, 6]], [[10, 11, 1]])
    assert torch.allclose(together[1], alone[0], atol=1e-5)


def mistral_with_a_window():
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    return MistralForCausalLM(MistralConfig(num_key_value_heads=2, sliding_window=12, **sizes, **SIZES))


def neo_with_a_window():
    sizes = {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "attention_types": [[["local"], 2]]}
    return GPTNeoForCausalLM(GPTNeoConfig(window_size=12, **sizes, **SIZES))


@pytest.mark.parametrize("make", [mistral_with_a_window, neo_with_a_window])
def test_a_tree_is_no_longer_than_a_token_can_see_and_longer_rows_are_apart(tiny_model, tmp_path, make):
    make().save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path)
    family = load_family(str(tmp_path), tuning="full", device="cpu")
    ((_, batch),) = family.batches([[5, 6]] * 4, [[9] * 4 + [1]] * 4)
    assert batch.ids.shape == (2, 12)
    prompts, responses = [[5, 6]] * 3 + [[7] * 9], [[9, 10, 1], [11, 1], [12, 1], [13, 14, 15, 16, 17, 1]]
    together = token_logprobs(family, "reference", prompts, responses)
    for row, pair in enumerate(zip(prompts, responses, strict=True)):
        alone = token_logprobs(family, "reference", *([part] for part in pair))
        assert torch.allclose(together[row, : len(pair[1])], alone[0], atol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_padding_needs_no_position_that_a_model_does_not_have(tiny_model, tmp_path, precision):
    sizes = SIZES | {"max_position_embeddings": 20}
    GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, **sizes)).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path)
    family = load_family(str(tmp_path), tuning="full", device="cpu", precision=precision)
    prompts = [[5, 6]] * 8 + [[7]]
    responses = [[9, 10, 11, 1]] * 8 + [[12] * 18 + [1]]
    found = token_logprobs(family, "reference", prompts, responses)
    assert torch.isfinite(found).all()
    assert (found[:8, :4] < 0).all()


@pytest.mark.parametrize("kind", MODELS)
def test_parameters_are_counted_without_loading_them(tmp_path, kind):
    model = MODELS[kind]()
    model.save_pretrained(tmp_path)
    assert count_parameters(str(tmp_path)) == model.num_parameters()


def test_an_adapter_says_what_it_belongs_to(tiny_model, tmp_path):
    load_family(tiny_model, tuning="lora", device="cpu", lora_rank=2).save("policy", tmp_path)
    assert PeftConfig.from_pretrained(tmp_path).base_model_name_or_path == tiny_model


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_a_damaged_policy_is_one_sentence(tiny_model, tmp_path, tuning):
    family = load_family(tiny_model, tuning=tuning, device="cpu", lora_rank=2)
    family.save("policy", tmp_path)
    (weights,) = tmp_path.glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"could not be loaded \(.*\); restore it from a copy") as refusal:
        family.load("published", tmp_path)
    assert "\n" not in str(refusal.value)


def test_a_model_whose_lm_head_takes_no_part_in_its_pass_is_refused(tiny_model, monkeypatch):
    family = load_family(tiny_model, tuning="full", device="cpu")
    with family.use("reference") as model:
        monkeypatch.setattr(model, "get_output_embeddings", lambda: torch.nn.Linear(1, 1))
    with pytest.raises(ModelError, match="LlamaForCausalLM does not show its hidden states"):
        logprobs_and_pools(family, "reference", [[5, 6]], [[9, 1]])


def test_bf16_products_leave_the_weights_in_float32_and_the_numbers_close(tiny_model):
    for tuning in ("full", "lora"):
        exact, rough = (
            load_family(tiny_model, tuning=tuning, device="cpu", lora_rank=2, precision=precision)
            for precision in ("float32", "bf16")
        )
        assert all(p.dtype == torch.float32 for p in rough.parameters("policy"))
        found = [token_logprobs(family, "reference", [[5, 6]], [[9, 1]]) for family in (exact, rough)]
        assert not torch.equal(*found)
        assert torch.allclose(*found, atol=0.05)


def test_auto_takes_bf16_where_the_processor_multiplies_it(monkeypatch):
    cpu = torch.device("cpu")
    for known, wanted in ({"amx_bf16": True}, True), ({"avx2": True}, False), ({}, False):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda known=known: known, raising=False)
        assert pick_bf16("auto", cpu, 256) is wanted
        assert pick_bf16("auto", cpu, 160) is wanted  # the starter
        assert not pick_bf16("auto", cpu, 64)  # too small to gain by it
        assert pick_bf16("bf16", cpu, 160)
        assert not pick_bf16("float32", cpu, 256)
    assert pick_bf16("auto", torch.device("cuda"), 160)
    assert not pick_bf16("auto", torch.device("mps"), 4096)


def test_drawn_half_back_a_role_is_half_as_far_from_the_reference(tiny_model):
    full = load_family(tiny_model, tuning="full", device="cpu")
    full.copy("reference", "policy")
    before = full.state("policy")
    with torch.no_grad():
        for p in full.parameters("policy"):
            p.add_(1.0)
    full.draw_back("policy", 0.5)
    assert all(torch.allclose(now, before[k] + 0.5) for k, now in full.state("policy").items())

    lora = load_family(tiny_model, tuning="lora", device="cpu", lora_rank=2)
    with torch.no_grad():
        for p in lora.parameters("policy"):
            p.fill_(0.1)
    with lora.use("policy") as model:
        layer = model.model.layers[0].mlp.up_proj
    added = layer.get_delta_weight("policy")
    lora.draw_back("policy", 0.25)
    assert torch.allclose(layer.get_delta_weight("policy"), 0.75 * added)
    assert added.abs().max() > 0


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_packed_rows_of_even_shapes_say_what_each_response_alone_does(tiny_model, tuning):
    """As on a CPU with AMX: bf16, eager attention, several prompts in a row, rows and batches of them."""
    draw = random.Random(0)

    def some(least, most):
        return [draw.randrange(4, 250) for _ in range(draw.randint(least, most))]

    prompts = [some(3, 40) for _ in range(40)]
    responses = [some(1, 40) for _ in prompts]
    family = load_family(tiny_model, tuning=tuning, device="cpu", lora_rank=2, precision="bf16")
    family.token_budget = 1024
    batches = [batch for _, batch in family.batches(prompts, responses)]
    assert len(batches) > 1
    for batch in batches:
        rows, width = batch.ids.shape
        assert rows & (rows - 1) == 0
        assert width % EVEN == 0
        assert rows * width <= 1.25 * family.token_budget
    assert sum(batch.ids.shape[0] for batch in batches) < len(prompts)
    exact = load_family(tiny_model, tuning=tuning, device="cpu", lora_rank=2)
    exact.longest_tree = 0  # a row for each
    wanted = token_logprobs(exact, "reference", prompts, responses)
    for one in (family, load_family(tiny_model, tuning=tuning, device="cpu", lora_rank=2)):
        found = token_logprobs(one, "reference", prompts, responses)
        assert torch.allclose(found, wanted, atol=0.1 if one.bf16 else 1e-4)


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_rows_are_shared_in_bf16_too(tiny_model, monkeypatch, tuning):
    """A frozen base in bf16, as on CUDA: a mask of another type would be refused by attention."""
    monkeypatch.setattr(models, "frozen_dtype", lambda *_: torch.bfloat16)
    monkeypatch.setattr(models.PreTrainedModel, "set_attn_implementation", lambda *_: None)  # nor another
    family = load_family(tiny_model, tuning=tuning, device="cpu", lora_rank=2, precision="bf16")
    ((rows, batch),) = family.batches([[5, 6]] * 3, [[9, 1], [10, 11, 1], [12, 1]])
    assert rows == [0, 1, 2]
    assert batch.attention is not None
    together = token_logprobs(family, "reference", [[5, 6]] * 2, [[9, 1], [10, 11, 1]])
    alone = token_logprobs(family, "reference", [[5, 6]], [[10, 11, 1]])
    assert torch.allclose(together[1], alone[0], atol=0.05)
