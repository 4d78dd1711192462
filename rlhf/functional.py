"""Pure tensor functions of the loop: tensors in, tensors out, no model, no state.

Shapes: B sequences, R response positions, V vocabulary, K responses of one ranking. A mask is True where
the token counts, everywhere. Sources: LHP = openai/lm-human-preferences (Ziegler 2019); N+ = Huang 2024,
"The N+ Implementation Details of RLHF with PPO"; PPO = Schulman 2017; GAE = Schulman 2016.

`tests/test_trl_parity.py` holds them against TRL 1.12.0, the last that had PPO: the same numbers, but for
what is said below. Where nothing counts TRL has NaN, this 0; and TRL counts the place behind the end in its
value loss.
"""

from itertools import permutations

import torch
import torch.nn.functional as F
from torch import Tensor


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of `values` where `mask` is True; 0 when nothing counts. Any shape -> scalar."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


def masked_whiten(values: Tensor, mask: Tensor) -> Tensor:
    """Shift and scale so that the counted values have mean 0 and variance 1; the others become 0.

    LHP; N+, section 7. The variance is the biased one, as in LHP: with one token 0, not NaN. TRL's is the
    unbiased one, so that its advantages are smaller by sqrt((n - 1) / n), n tokens.
    """
    mean = masked_mean(values, mask)
    variance = masked_mean((values - mean) ** 2, mask)
    return (values - mean) * torch.rsqrt(variance + 1e-8) * mask


def logprobs_of(logits: Tensor, tokens: Tensor, temperature: float) -> Tensor:
    """Log-probabilities of `tokens` (any shape) under `logits` (the same, V) at the sampling temperature.

    The temperature divides the logits here as in sampling: otherwise the first PPO ratio is not 1.
    Computed in float32 whatever the model's dtype: TRL's are rounded to the logits' own, and its temperature
    is larger by 1e-7 (here sampling at 0 is greedy, and PPO's is above 0).
    """
    logits = logits.float() / temperature
    return -F.cross_entropy(logits.flatten(0, -2), tokens.flatten(), reduction="none").view_as(tokens)


def kl_k1(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Per-token estimate log p - log q of KL(p || q), for tokens sampled from p. Unbiased, may be negative.

    Schulman 2020, "Approximating KL divergence". It is what the reward is charged (LHP), and what is
    reported and stopped on: once p has moved far, a token that q likes e^6 times as much as p costs k3
    hundreds of nats and takes six off k1, so one response in 64 can triple the batch's k3 and hardly moves
    its k1.
    """
    return logprobs - ref_logprobs


def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Per-token estimate r - 1 - log r with r = q / p: unbiased, never negative, and precise only while p and
    q are close (Schulman 2020). For approx_kl, which compares a policy with itself a few steps ago. TRL
    writes exp(x) - 1 - x, of which rounding leaves nothing near 0.
    """
    log_ratio = ref_logprobs - logprobs
    return torch.expm1(log_ratio) - log_ratio


def token_rewards(scores: Tensor, kl: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
    """-kl_coef * kl on every response token, plus the score (B,) on the last one -> (B, R). LHP, equation 2.

    TRL pays it one place later where the batch is wide enough: its advantages differ by
    lam^(n-1-t) (1 - lam) (V - score) at token t of n, V being the value behind the end (gamma 1).
    """
    rewards = -kl_coef * kl * mask
    last = mask.sum(1).long() - 1  # (B,)
    return rewards.scatter_add(1, last.unsqueeze(1), scores.unsqueeze(1).to(rewards.dtype))


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (GAE, eq. 16): (B, R) each -> advantages, returns, both (B, R).

    `values[:, t]` is the estimate before token t is written. After the last counted token the episode is
    over: the value there is 0, not a bootstrap.
    """
    mask = mask.to(values.dtype)
    values, rewards = values * mask, rewards * mask
    advantages = torch.zeros_like(values)
    running = torch.zeros_like(values[:, 0])
    for t in reversed(range(values.shape[1])):
        next_value = values[:, t + 1] if t + 1 < values.shape[1] else torch.zeros_like(running)
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        running = (delta + gamma * lam * running) * mask[:, t]
        advantages[:, t] = running
    return advantages, advantages + values


def policy_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """PPO's clipped surrogate (PPO, eq. 7), averaged over counted tokens; with what to watch about it.

    approx_kl is k3 over the tokens; TRL's is half the mean square (k2), and counts padding as 0.
    """
    log_ratio = (logprobs - old_logprobs) * mask
    ratio = log_ratio.exp()
    unclipped = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - clip, 1 + clip)
    with torch.no_grad():
        watch = {
            "policy/ratio": masked_mean(ratio, mask),
            "policy/approx_kl": masked_mean(kl_k3(old_logprobs, logprobs), mask),
            "policy/clipfrac": masked_mean((clipped > unclipped).float(), mask),
        }
    return masked_mean(torch.maximum(unclipped, clipped), mask), watch


def imitation_loss(logprobs: Tensor, returns: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Negative log-likelihood of responses from elsewhere, each as much as it beats the policy -> scalar.

    logprobs, mask: (B, R). returns: (B,), what the responses earn. values: (B,), what the policy is expected
    to earn with the same prompts. Averaged over counted tokens; a response that earns no more than expected
    counts as 0, and no gradient reaches returns or values. Self-imitation learning (Oh 2018, eq. 2), for
    whole responses.
    """
    better = (returns - values).clamp(min=0).detach()
    return -masked_mean(logprobs * better.unsqueeze(1), mask)


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, clip: float) -> Tensor:
    """Half the squared error, the worse of clipped and unclipped (LHP's code; N+, section 7) -> scalar."""
    clipped = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * masked_mean(torch.maximum((values - returns) ** 2, (clipped - returns) ** 2), mask)


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """1 - Var(returns - values) / Var(returns): 1 is perfect, 0 is no better than a constant -> scalar."""
    errors = returns - values
    error_variance = masked_mean((errors - masked_mean(errors, mask)) ** 2, mask)
    variance = masked_mean((returns - masked_mean(returns, mask)) ** 2, mask)
    return 1 - error_variance / variance.clamp(min=1e-8)


def pairwise_loss(scores: Tensor, ranks: Tensor, mask: Tensor, partial: Tensor | None = None) -> Tensor:
    """Negative log-likelihood of rankings, over all pairs of the K scores of each -> (B,).

    scores: (B, K). ranks: (B, K), 1 is best, equal is a tie. mask: (B, K), True where there is a response.
    partial: (B,), True where those ranked last were not compared with each other. A pair with different ranks
    is a Bradley-Terry comparison; a tied pair counts half each way, which pulls the two scores together.
    Averaged over the pairs of a ranking, so that a ranking of 4 weighs like a ranking of 2. Every response
    was scored once: K forwards, not K(K-1) (InstructGPT, section 3.5).
    """
    difference = scores.unsqueeze(2) - scores.unsqueeze(1)  # (B, K, K): s_i - s_j
    target = 0.5 * (1 + torch.sign(ranks.unsqueeze(1) - ranks.unsqueeze(2)))  # 1 where i is ranked above j
    pairs = mask.unsqueeze(1) & mask.unsqueeze(2)
    pairs = pairs & torch.ones_like(pairs[0]).triu(1)  # each pair once
    if partial is not None:
        last = _last(ranks, mask) & partial.unsqueeze(1)
        pairs = pairs & ~(last.unsqueeze(1) & last.unsqueeze(2))
    losses = F.binary_cross_entropy_with_logits(difference, target.to(difference.dtype), reduction="none")
    return (losses * pairs).sum((1, 2)) / pairs.sum((1, 2)).clamp(min=1)


def plackett_luce_loss(scores: Tensor, ranks: Tensor, mask: Tensor, partial: Tensor | None = None) -> Tensor:
    """Negative log-likelihood of rankings as choices in turn (Plackett 1975; Zhu 2023, eq. 6) -> (B,).

    Arguments as `pairwise_loss` has them. The best is chosen from all, the next from those left, and so on,
    each with the probability exp(s_i) / sum of exp(s_j). A tie says nothing about the order within: the mean
    over all orders that agree with the ranks, which is least where tied scores are equal. In a partial
    ranking the choices among those ranked last were not made: what is left is the probability of all their
    orders together. Averaged over the choices, so that a ranking of 4 weighs like a ranking of 2.
    """
    count = scores.shape[1]
    orders = torch.tensor(list(permutations(range(count))), device=scores.device)  # (P, K)
    chosen = mask if partial is None else mask & ~(_last(ranks, mask) & partial.unsqueeze(1))
    ordered = ranks.masked_fill(~mask, int(ranks.max()) + 1)[:, orders]  # (B, P, K), padding last
    agrees = (ordered.diff(dim=2) >= 0).all(2)  # (B, P)
    own = scores.masked_fill(~mask, torch.finfo(scores.dtype).min / 2)[:, orders]
    left = own.flip(2).logcumsumexp(2).flip(2)  # of those not chosen yet
    losses = (left - own).masked_fill(~chosen[:, orders], 0.0).sum(2)
    choices = torch.minimum(chosen.sum(1), mask.sum(1) - 1).clamp(min=1)  # the last one left is no choice
    return (losses * agrees).sum(1) / agrees.sum(1) / choices


def acceptance_loss(scores: Tensor, first: Tensor, mask: Tensor, acceptable: Tensor) -> Tensor:
    """Negative log-likelihood of "the best is acceptable", or of "none is", 0 being the border -> (B,).

    scores, mask: (B, K). first: (B, K), True for those ranked first. acceptable: (B,). Logistic, for those
    ranked first, or for all, on average. Rankings alone say nothing of where 0 lies.
    """
    meant = torch.where(acceptable.unsqueeze(1), first, mask)
    sign = torch.where(acceptable, -1.0, 1.0).unsqueeze(1)
    return (F.softplus(sign * scores) * meant).sum(1) / meant.sum(1).clamp(min=1)


def borrowed_loss(scores: Tensor, first: Tensor, borrowed: Tensor, borrowed_mask: Tensor) -> Tensor:
    """How much borrowed responses rival those ranked first (`borrowed`) -> (B,); 0 where none was borrowed.

    scores, first: (B, K). borrowed, borrowed_mask: (B, M). The mean of the Bradley-Terry losses of each
    borrowed one against each ranked first.
    """
    pairs = first.unsqueeze(1) & borrowed_mask.unsqueeze(2)  # (B, M, K)
    losses = F.softplus(borrowed.unsqueeze(2) - scores.unsqueeze(1)) * pairs
    return losses.sum((1, 2)) / pairs.sum((1, 2)).clamp(min=1)


def _last(ranks: Tensor, mask: Tensor) -> Tensor:
    """Which responses are ranked last (B, K)."""
    return mask & (ranks == ranks.masked_fill(~mask, 0).amax(1, keepdim=True))
