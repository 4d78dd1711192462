"""Models of unusual builds: used as they can be, or refused; none gives numbers that are not its own."""

import pytest
import torch
from transformers import MambaConfig, MambaForCausalLM

from rlhf.config import ModelError
from rlhf.generate import SamplingConfig, sample_from
from rlhf.likelihood import token_logprobs_at
from tests.test_models import SIZES, lfm2
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
