"""What is done on a GPU to batches that graphs are recorded of, tried here without one."""

import pytest
import torch

from rlhf.batching import plant
from rlhf.models import load_family
from rlhf.passes import look
from rlhf.recorded import LENGTH, RESPONSES, ROWS, TOKENS, WIDTH, Passes, in_even_shape, recording

ONE = ([5, 6, 7], [[9, 1], [10, 11, 12, 1]])
OTHER = ([8], [[13, 1]])
ROWS_OF = {
    "a row each": [[([5, 6, 7], [[9, 1]])], [OTHER]],
    "a shared row": [[ONE], [OTHER]],
    "trees side by side": [[ONE, OTHER]],
    "as wide as can be": [[([5] * (WIDTH - 2), [[9, 1]])]] * ROWS,
}


@pytest.fixture(scope="module", params=["full", "lora"])
def family(request, tiny_model):
    torch.manual_seed(0)
    family = load_family(tiny_model, tuning=request.param, device="cpu", lora_rank=3)
    with torch.no_grad():
        for p in family.parameters("policy"):
            p.add_(0.05 * torch.randn_like(p))
    return family


def read(seen, heeded):
    states = seen.written() * seen.batch.mask.unsqueeze(-1)
    return seen.logprobs(0.7), states.sum((1, 2)), heeded


def gone_through(family, batch, count):
    """What is read of the first `count` responses, and the gradient of its sum of squares."""
    with family.use("policy") as model:
        logprobs, states, _ = read(look(model, batch), torch.ones(len(batch.mask), dtype=torch.bool))
        (logprobs[:count].pow(2).sum() + states[:count].pow(2).mean()).backward()
    gradients = [p.grad.clone() for p in family.parameters("policy")]
    for p in family.parameters("policy"):
        p.grad = None
    return logprobs.detach(), states.detach(), gradients


@pytest.mark.parametrize("rows", ROWS_OF.values(), ids=ROWS_OF)
def test_a_batch_rounded_up_says_the_same(family, rows):
    batch = plant(rows, 0)
    even, (count, length) = in_even_shape(batch), batch.mask.shape
    shapes = [
        *zip(
            (*even.ids.shape, *even.mask.shape, *even.flat.shape),
            (ROWS, WIDTH, RESPONSES, LENGTH, TOKENS),
            strict=True,
        )
    ]
    assert all(size % unit == 0 and size > 0 for size, unit in shapes), shapes
    if even.ids.shape == batch.ids.shape:
        assert torch.equal(even.ids, batch.ids)
    (logprobs, states, gradients), (found, others, wanted) = (
        gone_through(family, b, count) for b in (even, batch)
    )
    assert torch.isfinite(logprobs).all()
    assert logprobs[count:].eq(0).all()
    assert logprobs[:, length:].eq(0).all()
    assert torch.allclose(logprobs[:count, :length], found, atol=1e-5)
    assert torch.allclose(states[:count], others, rtol=1e-4, atol=1e-5)
    assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-5) for a, b in zip(gradients, wanted, strict=True))


def test_which_logits_are_heeded(family):
    batch = plant(ROWS_OF["a shared row"], 0)
    with family.use("policy") as model, torch.no_grad():
        seen = look(model, batch)
        assert (
            seen.tokens_of(torch.tensor([False, True, False])).tolist()
            == [False] * 2 + [True] * 4 + [False] * 2
        )
        even = in_even_shape(batch)
        assert even.of(even.tensors).tensors[0] is even.ids
        heeded = look(model, even).tokens_of(torch.tensor([False, True, False, False]))
    assert heeded.nonzero().flatten().tolist() == [2, 3, 4, 5]


def test_without_a_gpu_passes_are_passes(family):
    parameters = family.parameters("policy")
    passes, batch = Passes(family, "policy", read, parameters), plant(ROWS_OF["a shared row"], 0)
    parameters[0].grad = torch.ones_like(parameters[0])
    passes.forget_gradients()
    assert parameters[0].grad is None
    with recording(family), family.use("policy"):
        logprobs, _, heeded = passes(batch)
        logprobs.sum().backward()
    assert heeded.tolist() == [True] * 3
    assert logprobs.shape == batch.mask.shape
    assert not passes.graphs
    assert any(p.grad.abs().sum() > 0 for p in parameters)
    for p in parameters:
        p.grad = None
