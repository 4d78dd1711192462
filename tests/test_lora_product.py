"""The quick LoRA product gives PEFT's outputs and gradients, for whichever adapter is on."""

import pytest
import torch
from peft.tuners.lora.layer import Linear

from rlhf.batching import pad
from rlhf.models import load_family
from rlhf.passes import look

BATCH = pad([[5, 6, 7], [8]], [[9, 1], [10, 11, 12, 1]], 0)


def layers_of(family):
    return [m for m in family._peft.modules() if type(m) is Linear]


@pytest.fixture(params=["float32", "bf16"])
def family(request, tiny_model):
    torch.manual_seed(0)
    family = load_family(tiny_model, tuning="lora", device="cpu", lora_rank=3, precision=request.param)
    with torch.no_grad():
        for role in ("policy", "reward"):
            for p in family.parameters(role):
                p.normal_(std=0.1)
    return family


def seen(family, role):
    """Logits of a role, and the gradients of their squares."""
    with family.use(role) as model:
        logits = look(model, BATCH).logits.float()
        logits.pow(2).mean().backward()
    found = [p.grad.clone() for p in family.parameters(role)]
    for p in family.parameters(role):
        p.grad = None
    return logits.detach(), found


def test_outputs_and_gradients_are_pefts(family):
    close = {"rtol": 1e-4, "atol": 1e-6} if not family.bf16 else {"rtol": 0.1, "atol": 0.02}
    quick = {role: seen(family, role) for role in ("policy", "reward")}
    layers = layers_of(family)
    assert layers
    assert all("forward" in vars(layer) for layer in layers)
    for layer in layers:
        del layer.forward  # PEFT's own again
    for role, (logits, gradients) in quick.items():
        right, wanted = seen(family, role)
        assert torch.allclose(logits, right, **close)
        for own, other in zip(gradients, wanted, strict=True):
            assert (own - other).abs().max() < (1e-4 if not family.bf16 else 0.1) * other.abs().max() + 1e-8
    assert not torch.allclose(quick["policy"][0], quick["reward"][0], atol=0.05)


def test_without_an_adapter_it_is_the_base_exactly(family):
    with family.use("reference") as model, torch.no_grad():
        quick = look(model, BATCH).logits
        for layer in layers_of(family):
            del layer.forward
        assert torch.equal(look(model, BATCH).logits, quick)


def test_the_gradient_is_the_numerical_one():
    from rlhf.lora_product import _Product

    torch.manual_seed(0)
    x, down, up = (torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in ((4, 5), (2, 5), (3, 2)))
    weight, bias = torch.randn(3, 5, dtype=torch.float64), torch.randn(3, dtype=torch.float64)

    def product(x, down, up):
        return _Product.apply(x, weight, bias, down, up, 0.7)

    assert torch.autograd.gradcheck(product, (x, down, up))
