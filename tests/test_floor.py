"""The least times are what one counts by hand on small numbers."""

import pytest
from transformers import LlamaConfig

from tests.benchmarks import floor

RATES = floor.Rates(operations=1000.0, bytes=100.0)
SIZES = floor.Sizes(trunk=50, head=10, cache=4, trained=60)
WORK = floor.Work(rows=2, prompt_tokens=6, response_tokens=8, steps=5)


def test_sizes():
    config = LlamaConfig(
        vocab_size=11,
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    attention = 8 * 8 + 2 * 8 * 4 + 8 * 8  # heads of 2
    layer = attention + 3 * 8 * 12 + 2 * 8  # and two norms
    sizes = floor.sizes_of(config)
    assert (sizes.trunk, sizes.head) == (2 * layer + 8, 8 * 11)
    assert sizes.trained == sizes.trunk + sizes.head  # the head is the embeddings
    assert sizes.cache == 2 * 2 * 2 * 2 * 2  # key and value, two bytes, layers, groups, size
    adapters = floor.sizes_of(config, lora_rank=3)
    each = 2 * (8 + 8) + 2 * (8 + 4) + 3 * (8 + 12)
    assert adapters.trained == 3 * 2 * each
    assert adapters.trunk == sizes.trunk


def test_a_pass():
    assert floor.pass_seconds(SIZES, WORK, RATES) == pytest.approx((2 * 50 * 14 + 2 * 10 * 8) / 1000)


def test_decoding_reads_the_weights_at_each_step():
    found = floor.decode_seconds(SIZES, WORK, RATES)
    assert found["weights"] == pytest.approx(5 * 2 * 60 / 100)  # 6 s; the products take less: .96 s
    read = (2 * 50 * 6 + 2 * 10 * 2) / 1000
    again = 4 * (6 + 8 / 2) * 4 / 100  # four tokens a row, ten tokens are there in the mean, four bytes each
    assert found["all"] == pytest.approx(read + 6 + again)


def test_decoding_many_rows_is_arithmetic():
    work = floor.Work(rows=200, prompt_tokens=0, response_tokens=1000, steps=5)
    found = floor.decode_seconds(floor.Sizes(trunk=50, head=10, cache=0, trained=0), work, RATES)
    assert found["all"] == pytest.approx(2 * 10 * 200 / 1000 + 2 * 60 * 1000 / 1000)


def test_an_update_and_reward_training():
    once = floor.pass_seconds(SIZES, WORK, RATES)
    step = 28 * 60 / 100
    full, lora = (
        floor.ppo_seconds(SIZES, WORK, RATES, inner_epochs=4, minibatches=2, frozen=frozen)
        for frozen in (False, True)
    )
    assert full["scoring"] == pytest.approx(2 * once)
    assert full["inner_epochs"] == pytest.approx(4 * (3 * once + 2 * step))
    assert lora["inner_epochs"] == pytest.approx(4 * (2 * once + 2 * step))
    assert full["all"] == pytest.approx(sum(full[part] for part in ("sampling", "scoring", "inner_epochs")))
    learned = floor.reward_seconds(SIZES, WORK, RATES, passes=2, steps=3, frozen=False)
    assert learned == pytest.approx(once + 2 * 3 * once + 3 * step)


def test_work_of_an_update():
    assert floor.ppo_work([[1, 2], [1, 2, 3, 4]], 10, 5.0, 7) == floor.Work(10, 30, 50, 7)
