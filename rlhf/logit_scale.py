"""How sharply the policy speaks, as one number that PPO learns beside the weights.

What PPO looks for, the policy of the highest score minus beta x KL, is the reference times exp(score / beta)
(Rafailov 2023, section 4). Where a part of the score is w x the reference's own log-likelihood, as in
`reward_model`, that optimum holds the reference raised to the power 1 + w / beta: the same words, said more
surely. All weights together would have to move far for it, and a short round at a small rate does not take
them there; a factor on the logits gets there at once. Whether the rankings ask for it, and how much, PPO's
gradient says: where people like the unlikely, the factor falls.

It costs nothing to carry: logits are linear in what the last norm puts out, so the factor is multiplied
into that norm's weights, and the policy stays a plain model that anything can load. Where the logits are not
linear in them (a cap on the logits, a norm that adds 1 to its weights), and with LoRA, whose base is frozen,
there is no factor.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


class LogitScale:
    """Multiplies a model's logits through its last norm's weights: `hear`, `backward`, `step`.

    gains: those weights, `reference`: the same of the reference. limit: how many times as large they may
    become. A policy that is sure of everything has nothing left to try, and people nothing to choose from.
    """

    def __init__(
        self,
        gains: Sequence[nn.Parameter],
        reference: Sequence[Tensor],
        learning_rate: float,
        limit: float = float("inf"),
    ):
        self.gains, self.reference, self.limit = gains, _size(reference), limit
        self.log = nn.Parameter(torch.zeros((), device=gains[0].device))
        self.optimizer = torch.optim.Adam([self.log], lr=learning_rate, eps=1e-5)
        self._heard = torch.zeros_like(self.log)

    @property
    def value(self) -> float:
        """The factor against the reference."""
        return float(_size(self.gains) / self.reference)

    def forget(self) -> None:
        """What was heard so far."""
        self._heard.zero_()  # where it is: a recorded pass adds to it there

    def hear(self, logits: Tensor, counted: Tensor | None = None) -> None:
        """What the gradient of logits (M, V) says of the factor, in the backward pass to come.

        counted: (M,) which of them; None: all. The others' gradient reaches the weights alone.
        """
        values = logits.detach()  # not the tensor that holds the hook: neither would ever be let go

        def take(gradient: Tensor) -> None:
            found = (gradient * values).sum(-1)
            self._heard += (found if counted is None else found.where(counted, 0.0)).sum()

        logits.register_hook(take)

    @torch.no_grad()
    def step(self) -> None:
        """Move the factor by what was heard."""
        self.log.grad = self._heard.clone()
        self.forget()
        before = self.log.clone()
        self.optimizer.step()
        room = (self.limit * self.reference / _size(self.gains)).log()
        self.log.copy_(torch.minimum(self.log, before + room))
        factor = (self.log - before).exp()
        for p in self.gains:
            p.mul_(factor)


def _size(gains: Sequence[Tensor]) -> Tensor:
    """Euclidean norm of all of them together."""
    return torch.stack([g.detach().float().norm() for g in gains]).norm()


@torch.no_grad()
def logit_gains(model: PreTrainedModel) -> list[nn.Parameter]:
    """The weights that multiply the logits when they are multiplied, found by trying; [] when there are none.

    Candidates are those of the trunk's last vector-sized module: the norm before the LM head.
    """
    width = model.get_input_embeddings().embedding_dim
    norms = [
        own
        for module in model.get_decoder().modules()
        if (own := list(module.parameters(recurse=False))) and all(p.shape == (width,) for p in own)
    ]
    if not norms:
        return []
    tokens = torch.tensor([[0, 1, 2]], device=norms[-1][0].device)
    before = model(input_ids=tokens, use_cache=False).logits
    for p in norms[-1]:
        p.mul_(2)
    after = model(input_ids=tokens, use_cache=False).logits
    for p in norms[-1]:
        p.div_(2)
    return norms[-1] if torch.allclose(after, 2 * before, rtol=1e-3, atol=1e-3) else []
