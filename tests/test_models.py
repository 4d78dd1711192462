"""Other models than the starter: which EOS closes a response, and where the trunk is."""

import pytest
import torch
from peft import PeftConfig
from transformers import (
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
)

from rlhf.batching import pad
from rlhf.likelihood import logprobs_and_pools, response_states
from rlhf.models import ModelError, closing_eos_of, count_parameters, hidden_states, load_family
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
    logprobs_and_pools(family, "reference", [[5, 6]], [[9, 1]])
    assert ValueFunction(RewardModel(family))(batch).shape == batch.tokens.shape
    with family.use("reward") as model, torch.no_grad():
        states, logits = response_states(model, batch)
        middle, last = hidden_states(model, batch.ids)
        whole = model(input_ids=batch.ids).logits
        from_last = model.get_output_embeddings()(last)
    assert torch.allclose(states[1], middle[1, 1:4], atol=1e-5)
    assert torch.allclose(from_last, whole, atol=1e-5)
    assert torch.allclose(logits[0, :2], whole[0, 2:4], atol=1e-5)


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


def test_a_model_that_cannot_leave_out_a_prompts_logits_is_refused(tiny_model, monkeypatch):
    family = load_family(tiny_model, tuning="full", device="cpu")
    with family.use("reference") as model:
        forward = model.forward
        monkeypatch.setattr(model, "forward", lambda logits_to_keep=0, **rest: forward(**rest))
    with pytest.raises(ModelError, match="LlamaForCausalLM cannot leave out"):
        logprobs_and_pools(family, "reference", [[5, 6]], [[9, 1]])
