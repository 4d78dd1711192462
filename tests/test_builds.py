"""Models of unusual builds: used as they can be, or refused; none gives numbers that are not its own."""

import pytest
import torch
from transformers import MambaConfig, MambaForCausalLM, MixtralConfig, MixtralForCausalLM

from rlhf.config import ModelError
from rlhf.generate import SamplingConfig, sample_from
from rlhf.likelihood import token_logprobs_at
from tests.test_models import MODELS, SIZES, lfm2
from tests.traps import family_of, saved_with_tokenizer


def test_a_model_that_keeps_more_than_keys_and_values_is_sampled_as_it_speaks(tiny_model, tmp_path):
    family = family_of(saved_with_tokenizer(lfm2(), tiny_model, tmp_path))
    family.eos_ids = set(range(1, 40))  # rows end at once, and leave the batch
    prompts = [[50], [60 + i for i in range(20)], [90, 91, 92], [100] * 9] * 4
    sampling = SamplingConfig(temperature=0.7, max_new_tokens=16)
    samples = sample_from(family, "policy", prompts, sampling, torch.Generator().manual_seed(0))
    assert len({len(s.tokens) for s in samples}) > 2
    for prompt, drawn in zip(prompts, samples, strict=True):
        (alone,) = token_logprobs_at((0.7,), family, "policy", [prompt], [drawn.tokens])
        assert drawn.logprobs == pytest.approx(alone[0].tolist(), abs=1e-3)


def test_a_model_whose_state_is_not_in_the_cache_is_refused_in_one_sentence(tiny_model, tmp_path):
    model = MambaForCausalLM(MambaConfig(hidden_size=16, num_hidden_layers=1, state_size=4, **SIZES))
    with pytest.raises(ModelError, match="MambaForCausalLM cannot be sampled from token by token") as refused:
        family_of(saved_with_tokenizer(model, tiny_model, tmp_path))
    assert str(refused.value).endswith("; use another model.")
    assert "\n" not in str(refused.value)


def mixtral():
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2}
    return MixtralForCausalLM(
        MixtralConfig(hidden_size=16, intermediate_size=32, num_local_experts=4, **sizes, **SIZES)
    )


@pytest.mark.parametrize(
    ("build", "mixes"), [(MODELS["opt"], False), (mixtral, True)], ids=["opt", "mixtral"]
)
def test_where_rows_cannot_have_adapters_of_their_own_roles_take_turns(tiny_model, tmp_path, build, mixes):
    """OPT's layers see the tokens of all rows one behind the other; experts do too, but have no adapters."""
    family = family_of(saved_with_tokenizer(build(), tiny_model, tmp_path), "lora", ("policy", "published"))
    assert family.mixes is mixes
    prompts, roles = [[50 + i, 60, 70 + i] for i in range(4)], ["policy", "reference", "published", "policy"]
    greedy = SamplingConfig(temperature=0, max_new_tokens=6)
    drawn = sample_from(family, roles, prompts, greedy)
    for prompt, role, own in zip(prompts, roles, drawn, strict=True):
        assert own.tokens == sample_from(family, role, [prompt], greedy)[0].tokens
