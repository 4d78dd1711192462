"""What people chose, learned beside what the policy samples."""

import itertools
import random
from dataclasses import replace

import pytest
import torch

from rlhf.imitation import Chosen, Imitation
from rlhf.likelihood import token_logprobs, token_logprobs_at
from rlhf.ppo import Learner, update
from rlhf.ppo_training import PPOTraining
from rlhf.value_function import ValueFunction
from tests.planted import SHORT, draw, setup


def closed(family, text: str) -> list[int]:
    return [*family.tokenizer(text)["input_ids"], family.closing_eos]


def likelihood(family, pairs) -> float:
    """Mean log-probability per response under the policy."""
    prompts, responses = zip(*pairs, strict=True)
    return float(token_logprobs(family, "policy", prompts, responses).sum(1).mean())


@pytest.mark.slow
def test_what_people_chose_is_learned_from_while_it_beats_what_the_policy_writes(tiny_model):
    family, model, prompts = setup(tiny_model)  # the shorter, the better
    model.normalise_on(prompts, draw(family, model, prompts).responses)
    short, long = ([(p, closed(family, text)) for p in prompts] for text in ("ab", "qxjvkw" * 8))
    config = replace(SHORT, updates=8, episodes=32, learning_rate=1e-3, chosen_coef=0.5, evaluate_every=8)

    def train(pairs):
        """-> loss on the chosen responses in each update, everything else of the last, their likelihood."""
        family.copy("reference", "policy")
        metrics = [
            done.metrics for done in PPOTraining(family, model, prompts, prompts[:16], config, 0, pairs)
        ]
        losses = [numbers.pop("policy/chosen_loss", 0) for numbers in metrics]
        return losses, metrics[-1], likelihood(family, short)

    _, plain, unlikely = train([])
    losses, _, likely = train(short)
    assert max(losses) > 0.1
    assert likely > unlikely + 1
    losses, *same = train(long)  # somebody chose it, but what the policy writes is better
    assert (losses, same) == ([0] * 9, [plain, unlikely])


def test_a_chosen_response_earns_its_score_less_its_kl(tiny_model):
    family, model, prompts = setup(tiny_model)
    value_function = ValueFunction(model)
    pairs = [(p, closed(family, "ab")) for p in prompts[:4]]
    states = model.assess(*zip(*pairs, strict=True), with_states=True).states[:, :1]
    with torch.no_grad():
        expected = value_function(value_function.read(states))[:, 0].tolist()
    own = token_logprobs_at((1.0,), family, "policy", *zip(*pairs, strict=True))[0].sum(1).tolist()

    def loss(kl, kl_coef):
        """Of responses one point of score above what is expected, at this KL of each."""
        chosen = [
            Chosen(*pair, score=value + 1, ref_logprob=logprob - kl, state=state)
            for pair, value, logprob, state in zip(pairs, expected, own, states, strict=True)
        ]
        imitation = Imitation.of(chosen, value_function)
        logprobs = token_logprobs_at((1.0,), family, "policy", *zip(*pairs, strict=True))[0]
        mask = torch.ones(logprobs.shape, dtype=torch.bool)
        return float(imitation.loss(range(len(pairs)), logprobs, mask, kl_coef))

    assert loss(kl=4.0, kl_coef=0.1) == pytest.approx(0.6 * loss(kl=0.0, kl_coef=0.1), rel=1e-3)
    assert loss(kl=4.0, kl_coef=0.4) == 0
    assert loss(kl=-20.0, kl_coef=0.4) == pytest.approx(loss(kl=0.0, kl_coef=0.0), rel=1e-3)  # no bonus


def test_chosen_responses_may_be_longer_than_all_that_was_sampled(tiny_model):
    family, model, prompts = setup(tiny_model)
    config = replace(SHORT, chosen_coef=1.0)

    def after(text):
        family.copy("reference", "policy")
        learner = Learner.start(family, model, config)
        state = torch.zeros(1, family.hidden_size + family.output_size)
        pair = prompts[0], closed(family, text)
        learner.chosen = itertools.cycle([Chosen(*pair, score=9.0, ref_logprob=-9.0, state=state)])
        told = update(learner, draw(family, model, prompts), 0.05, config, random.Random(0))
        return told["policy/chosen_loss"], likelihood(family, [pair])

    longest = config.sampling.max_new_tokens
    loss, likely = after("q" * (longest + 10))
    assert loss > 0
    unlikely = token_logprobs(family, "reference", prompts[:1], [closed(family, "q" * (longest + 10))]).sum()
    assert likely > float(unlikely) + 1


def test_chosen_responses_leave_the_factor_on_the_logits_alone(tiny_model):
    family, model, prompts = setup(tiny_model)
    config = replace(SHORT, inner_epochs=1, minibatch=64, chosen_coef=1.0, logit_scale_learning_rate=0.02)

    def factor(chosen):
        family.copy("reference", "policy")
        learner = Learner.start(family, model, config)
        learner.chosen = itertools.cycle(chosen) if chosen else None
        update(learner, draw(family, model, prompts), 0.05, config, random.Random(0))
        return learner.logit_scale.log.item()

    state = torch.zeros(1, family.hidden_size + family.output_size)
    chosen = [Chosen(p, closed(family, "q"), score=9.0, ref_logprob=-9.0, state=state) for p in prompts]
    assert factor(chosen) == factor([]) != 0
