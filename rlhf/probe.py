"""What rankings say about the reference as it stands: a linear probe, fitted before a trunk is trained.

Training starts from there, since a random head first teaches the trunk to forget what it knows (Kumar 2022,
"Fine-Tuning can Distort Pretrained Features": linear probing, then fine-tuning). What it is worth:
`reward_training.learn_heldout`.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rlhf.pooled import PooledHead

RIDGE = 2e-3  # on all weights, which see features with a total variance of 1 whatever their width


class LikelihoodTerm:
    """How likely the reference finds a response, as a part of its score.

    Two features of the log-probabilities of its tokens, standardised, times one weight each (for each head):
    their sum (the log-likelihood of the whole) and the least of them (the one word that the reference would
    not have said, which in a wrong answer is often the wrong word).
    """

    def __init__(
        self, weights: Tensor | None = None, mean: Tensor | None = None, std: Tensor | None = None
    ) -> None:
        self.weights = torch.zeros(2, 1) if weights is None else weights  # (2, heads)
        self.mean = torch.zeros(2) if mean is None else mean
        self.std = torch.ones(2) if std is None else std

    def __call__(self, logprobs: Tensor) -> Tensor:
        """Of log-probabilities (N, R), 0 behind the end of a response -> (N, heads)."""
        return ((self.features(logprobs) - self.mean) / self.std) @ self.weights

    def by_token(self, logprobs: Tensor) -> Tensor:
        """What each token adds (N, R), in the mean of the heads; their sum is `self` but for a constant."""
        total, least = self.weights.mean(1) / self.std
        lowest = torch.zeros_like(logprobs).scatter(1, logprobs.argmin(1, keepdim=True), 1.0)
        return logprobs * (total + least * lowest)

    @staticmethod
    def features(logprobs: Tensor) -> Tensor:
        """(N, R) -> (N, 2)."""
        return torch.stack([logprobs.sum(1), logprobs.amin(1)], dim=1)


def fit_probe(
    head: PooledHead, logprobs: Sequence[Tensor], pooled: Tensor, losses: Callable[[Tensor], Tensor]
) -> LikelihoodTerm:
    """The weights that explain rankings best: those of the likelihood are returned, the rest are the head's.

    logprobs: (K + B, R) of each ranking's responses and those it borrows. pooled: (N, 3 hidden) of them all.
    losses: from scores (N, heads) the loss of each ranking, the mean of the heads'. A convex problem if they
    are, solved to its end. The weak ridge keeps the weights finite where the rankings can be explained
    without a fault, and near 0 where there is nothing to explain.
    """
    features = torch.cat([LikelihoodTerm.features(own) for own in logprobs])
    mean, std = features.mean(0), features.std(0).clamp(min=1e-6)
    constant = torch.ones(len(pooled), 1)  # where 0 lies, see `functional.acceptance_loss`
    known = torch.cat([(features - mean) / std, head.standardise_on(pooled), constant], dim=1)
    weights = torch.zeros(known.shape[1], head.linear.out_features, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = losses(known @ weights).mean() + RIDGE * (weights[:-1] ** 2).sum(0).mean()
        value.backward()
        return value

    optimizer.step(loss)
    with torch.no_grad():
        head.linear.weight.copy_(weights[2:-1].T)
        head.linear.bias.copy_(weights[-1])
    return LikelihoodTerm(weights.detach()[:2], mean, std)
