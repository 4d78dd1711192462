"""Pools of hidden states: padding does not count, prefixes agree, the layer is the one that was meant."""

import torch

from rlhf.batching import pad
from rlhf.models import load_family
from rlhf.passes import look
from rlhf.pooled import PooledHead, pool, pool_so_far


def test_padding_does_not_count():
    states = torch.tensor([[[1.0, -5.0], [3.0, -6.0], [99.0, -99.0]]])
    mask = torch.tensor([[True, True, False]])
    assert pool(states, mask).tolist() == [[3, -5, 1, -6, 4, -11]]


def test_what_is_pooled_so_far_is_what_the_prefix_alone_pools_to():
    states = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    so_far = pool_so_far(states)
    for length in range(1, 6):
        alone = pool(states[:, :length], torch.ones(2, length, dtype=torch.bool))
        assert torch.allclose(so_far[:, length - 1], alone, atol=1e-6)


def test_the_head_sees_each_dimension_alike_and_all_of_them_with_a_variance_of_one():
    scales = 10.0 ** torch.arange(12).sub(6)
    pooled = scales * torch.randn(200, 12, generator=torch.Generator().manual_seed(0))
    seen = PooledHead(4).standardise_on(pooled)
    assert seen.mean(0).abs().max() < 1e-3
    large = seen[:, 6:].var(0, unbiased=False)
    assert torch.allclose(large[-3:], torch.full((3,), 1 / 12), atol=1e-4)
    assert seen.var(0, unbiased=False).max() < 1 / 12 + 1e-4


def test_a_dimension_that_never_changed_does_not_shout_when_it_does():
    pooled = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    pooled[:, 2] = 1.0
    head = PooledHead(2)
    head.standardise_on(pooled)
    torch.nn.init.ones_(head.linear.weight)
    changed = torch.stack([pooled[0], pooled[0]])
    changed[1, 2] = 1.01
    first, second = head(changed).squeeze(1).tolist()
    assert abs(second - first) < 1


def test_the_states_are_those_at_three_quarters_of_the_depth():
    family = load_family("starter", tuning="full", device="cpu")
    batch = pad([[5, 6, 7], [8]], [[9, 1], [10, 11, 1]], family.pad_id)
    with family.use("reference") as model, torch.no_grad():
        layers = model(input_ids=batch.ids, output_hidden_states=True).hidden_states
        assert len(layers) == 5  # the embeddings and four layers
        seen = look(model, batch)
    assert torch.allclose(seen.middle, layers[3], atol=1e-5)
    assert torch.allclose(seen.last, layers[4], atol=1e-5)  # normed, as the LM head reads it
    before, states = seen.before(), seen.written()
    assert torch.allclose(before[0, :2, :160], layers[3][0, 2:4], atol=1e-5)
    assert torch.allclose(before[1, :, 160:], layers[4][1, :3], atol=1e-5)
    assert torch.allclose(states[0, :2], layers[3][0, 3:5], atol=1e-5)
    assert torch.allclose(states[1], layers[3][1, 1:4], atol=1e-5)
