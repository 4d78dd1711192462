"""The formulas of PPO against TRL's: the same where both agree, and where not, by exactly what they differ.

TRL's numbers were printed on 2026-11-22 by trl 1.12.0 (torch 2.13.0, CPU) from the inputs below. Functions of
trl/experimental/ppo/ppo_trainer.py were called (`masked_mean`, `masked_whiten`), and what is inline in its
`PPOTrainer.train` was run as it stands: its lines, taken by `inspect.getsource` and executed, with cliprange
and cliprange_value 0.2, vf_coef 1 and EOS for the stop token. float64, but for what reads logits.
"""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from rlhf import functional as f
from rlhf.generate import Sample, SamplingConfig, _pick, sample
from rlhf.ppo import PPOConfig, paid_scores


def wave(*shape, phase, scale=1.0):
    """Numbers that both sides can make without a random generator, in float64."""
    places = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return scale * torch.sin(1.3 * places + phase).view(shape)


def float64(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def same(ours, trls, atol=1e-8):
    """TRL's numbers are written with ten digits."""
    return torch.allclose(ours, trls, rtol=0, atol=atol)


# Three responses in five places: EOS alone; 3 tokens with EOS; 5 tokens, cut. Vocabulary 7, pad 0, EOS 1.
TOKENS = torch.tensor([[1, 0, 0, 0, 0], [4, 6, 1, 3, 2], [2, 5, 3, 6, 4]])
LENGTHS = torch.tensor([1, 3, 5])
MASK = torch.arange(5) < LENGTHS.unsqueeze(1)
# TRL's `~padding_mask_p1`: one place more behind every end, where the batch has one.
ONE_MORE = torch.arange(5) <= LENGTHS.unsqueeze(1)
END = ONE_MORE & ~MASK

LOGITS = wave(3, 5, 7, phase=0.3, scale=2.0).float()
OLD = -1.5 + wave(3, 5, phase=0.0, scale=0.9)  # log-probabilities when the responses were drawn
NEW = OLD + wave(3, 5, phase=0.0, scale=0.4)  # the first as it was: ratio 1, as in the first step
REF = OLD + wave(3, 5, phase=2.0, scale=0.7)
VALUES = wave(3, 5, phase=3.0)
NEW_VALUES = VALUES + wave(3, 5, phase=3.0, scale=0.4)
ADVANTAGES = wave(3, 5, phase=1.5)
RETURNS = wave(3, 5, phase=2.5, scale=1.5)
SCORES = float64(1.5, -0.5, 0.8).flatten()


class Script:
    """Stands for `decoding.steps`: the logits want TOKENS, whatever was drawn."""

    def __init__(self, *_):
        self.rows, self.place = torch.arange(3), 0

    @property
    def logits(self):
        return 99.0 * F.one_hot(TOKENS[self.rows, self.place], 7)

    def step(self, _):
        self.place += 1
        return self.logits

    def pays(self, left, rows):
        return left < rows

    def keep(self, rows):
        self.rows = self.rows[rows]


def test_a_response_ends_where_trl_ends_it(monkeypatch):
    """TRL cuts behind the first EOS (`truncate_response`) and takes the first pad for the end.

    It agrees while pad and EOS are two tokens. Where EOS is the pad, TRL's EOS does not count: its last index
    is -1 for the first response, which holds nothing then. We go by lengths, so EOS always counts.
    """
    monkeypatch.setattr("rlhf.generate.steps", Script)
    model = SimpleNamespace(get_input_embeddings=lambda: torch.nn.Embedding(7, 1))
    config = SamplingConfig(temperature=0, max_new_tokens=5)
    trls_cut = [[1, 0, 0, 0, 0], [4, 6, 1, 0, 0], [2, 5, 3, 6, 4]]
    trls_last, trls_last_with_eos_as_pad = torch.tensor([0, 2, 4]), torch.tensor([-1, 1, 4])
    for pad_id in (0, 1):
        drawn = sample(model, [[2], [2], [2]], config, pad_id=pad_id, eos_ids={1})
        lengths = torch.tensor([len(s.tokens) for s in drawn])
        assert [s.tokens for s in drawn] == [row[:n] for row, n in zip(trls_cut, lengths, strict=True)]
        assert torch.equal(lengths - 1, trls_last)
        assert [s.finished for s in drawn] == [True, True, False]  # TRL's `contain_eos_token`
    assert torch.equal(lengths - 1 - trls_last_with_eos_as_pad, torch.tensor([1, 1, 0]))


def test_a_cut_response_is_paid_a_fixed_score_where_trl_takes_a_penalty_off():
    """TRL leaves it what the reward model says, less `missing_eos_penalty` (here 1). Empty ones it pays."""
    trls = [1.5, -0.5, -0.2]
    samples = [Sample([1], True), Sample([4, 6, 1], True), Sample([2, 5, 3, 6, 4], False)]
    tokenizer = SimpleNamespace(decode=lambda ids, skip_special_tokens: "word" * sum(i != 1 for i in ids))
    ours = paid_scores(SCORES, samples, tokenizer, PPOConfig(missing_eos_score=-2.0))
    assert ours.tolist() == [-2.0, trls[1], -2.0]


TRLS_LOGPROBS = float64(  # `selective_log_softmax` of the logits / (0.7 + 1e-7), float32
    [-0.8815915585, -3.004532814, -4.526265144, -1.537499189, -5.665388107],
    [-1.710994363, -3.417963982, -1.941988826, -0.240806818, -3.650022745],
    [-4.010837078, -3.408368349, -2.387236118, -1.426643491, -1.186276436],
)


def test_logprobs_agree():
    assert same(f.logprobs_of(LOGITS, TOKENS, 0.7).double(), TRLS_LOGPROBS, 2e-6)


def test_trls_temperature_is_1e7th_more():
    """Nothing at 0.7. At 1e-6 a tenth. At 0 TRL has numbers and we have none: `config` asks for above 0."""
    trls = torch.tensor([-2100938.75, -1631275.875, -1275323.0, -541256.5, -142506.625])  # of the last row
    ours = [f.logprobs_of(LOGITS, TOKENS, t)[2] for t in (1e-6 + 1e-7, 1e-6, 0.0)]
    assert torch.allclose(ours[0], trls, rtol=1e-6)
    assert torch.allclose(ours[1], 1.1 * trls, rtol=1e-6)
    assert not ours[2].isfinite().any()


def test_bf16_logits_are_made_float32_first_where_trl_stays_in_bf16():
    """TRL divides and takes the softmax in the dtype of the logits: off by up to .025 nats here."""
    trls = float64(
        [-0.87890625, -3.0, -4.53125, -1.5390625, -5.6875],
        [-1.703125, -3.421875, -1.9375, -0.2421875, -3.65625],
        [-4.0, -3.40625, -2.390625, -1.421875, -1.1953125],
    )
    rounded = LOGITS.bfloat16()
    ours = f.logprobs_of(rounded, TOKENS, 0.7)
    assert ours.dtype == torch.float32
    assert torch.equal(ours, f.logprobs_of(rounded.float(), TOKENS, 0.7))
    assert (ours - trls).abs().max().item() == pytest.approx(0.0247, abs=1e-4)


def test_entropy_agrees_but_trl_averages_padding_too():
    """TRL's policy/entropy_avg is of all places of the update's pass; ours of the tokens, as drawn."""
    trls = float64(
        [1.294889927, 0.9973692894, 1.259328127, 1.113939762, 1.037750244],
        [1.246169329, 0.9922509193, 1.363102913, 0.7444810867, 1.391952038],
        [0.9789452553, 1.240205526, 1.014842272, 1.146648884, 1.259534597],
    )
    trls_mean = 1.13876069
    generator = torch.Generator().manual_seed(0)
    tokens, logprobs, entropy = _pick(LOGITS.flatten(0, 1), SamplingConfig(temperature=0.7), generator)
    entropy = entropy.view(3, 5)
    assert same(entropy.double(), trls, 2e-6)
    assert f.masked_mean(entropy, MASK).item() == pytest.approx(trls[MASK].mean().item(), abs=1e-6)
    assert f.masked_mean(entropy, torch.ones_like(MASK)).item() == pytest.approx(trls_mean, abs=1e-6)
    # and a token is drawn with the log-probability that the update gives it
    assert same(logprobs, f.logprobs_of(LOGITS.flatten(0, 1), tokens, 0.7), 2e-6)


TRLS_K1 = float64(
    [-0.6365081988, 0, 0, 0, 0],
    [-0.5589409788, 0.2565353905, 0.6961868117, 0, 0],
    [-0.4552014881, 0.3906365899, 0.6641911485, -0.03529588146, -0.6830743624],
)
TRLS_K3 = float64(
    [0.2533620944, 0, 0, 0, 0],
    [0.1898785036, 0.03026300196, 0.1946693037, 0, 0],
    [0.1212895071, 0.06726259399, 0.1788808154, 0.0006302933478, 0.2968811232],
)


def test_kl_estimators_agree():
    """TRL fills both log-probabilities behind the end with 1, so the KL there is 0; we mask it."""
    assert same(f.kl_k1(OLD, REF) * MASK, TRLS_K1)
    assert same(f.kl_k3(OLD, REF) * MASK, TRLS_K3)
    trls_mean = -0.120490322988  # objective/kl: nats per response
    assert (f.kl_k1(OLD, REF) * MASK).sum(1).mean().item() == pytest.approx(trls_mean, abs=1e-8)


def test_k3_of_close_policies_keeps_its_digits_where_trl_rounds_them_away():
    """TRL's exp(x) - 1 - x in float32 can be negative, which k3 never is; expm1 knows the small numbers."""
    logprobs = torch.full((4,), -0.01)
    ref_logprobs = torch.tensor([-0.01004, -0.0101, -0.01002, -0.00998])
    trls = torch.tensor([5.587935448e-09, -1.676380634e-08, -2.700835466e-08, 2.700835466e-08])
    exact = f.kl_k3(logprobs.double(), ref_logprobs.double())
    ours = f.kl_k3(logprobs, ref_logprobs)
    assert torch.allclose(ours.double(), exact, rtol=0.02)
    assert trls.min() < 0 < ours.min()
    assert ((trls - exact).abs() > 0.5 * exact).all()


TRLS_REWARDS = float64(  # `kl_coef` 0.05, `kl_estimator` k1; `whiten_rewards` is off unless asked for
    [0.03182540994, 1.5, 0, 0, 0],
    [0.02794704894, -0.01282676952, -0.03480934059, -0.5, 0],
    [0.02276007441, -0.0195318295, -0.03320955743, 0.001764794073, 0.8341537181],
)


def test_rewards_agree_but_trl_pays_the_score_one_place_behind_the_end():
    """Where the batch has no place behind the end, as in the longest row, TRL pays at the last token too."""
    ours = f.token_rewards(SCORES, f.kl_k1(OLD, REF), MASK, 0.05)
    paid_late = torch.where(END.any(1), SCORES, 0.0).unsqueeze(1)
    last = F.one_hot(LENGTHS - 1, 5)
    assert same(ours[2], TRLS_REWARDS[2])
    assert same(ours - paid_late * last + paid_late * END, TRLS_REWARDS)
    assert not same(ours[:2], TRLS_REWARDS[:2])


TRLS_GAE = {  # (gamma, lam): advantages before they are whitened, returns
    (1.0, 0.95): (
        float64(
            [1.269897105, 2.416165937, 0, 0, 0],
            [-0.4061857956, 0.4964760685, -0.02314308155, -1.24037589, 0],
            [0.9509920969, 1.726424355, 1.045426752, -0.03787521321, 0.1229924952],
        ),
        float64(
            [1.411017113, 1.5, 0, 0, 0],
            [-0.481336916, -0.4844601615, -0.4727905461, -0.5, 0],
            [0.6630887802, 0.7266499236, 0.7984530907, 0.8297688874, 0.8341537181],
        ),
    ),
    (0.9, 0.8): (
        float64(
            [0.8057955333, 2.416165937, 0, 0, 0],
            [-0.2765631446, 0.698862907, 0.1881057841, -1.24037589, 0],
            [0.4209861471, 1.402944089, 0.8958024761, -0.1372796094, 0.1229924952],
        ),
        float64(
            [0.9469155413, 1.5, 0, 0, 0],
            [-0.351714265, -0.282073323, -0.2615416804, -0.5, 0],
            [0.1330828304, 0.4031696577, 0.6488288144, 0.7303644912, 0.8341537181],
        ),
    ),
}


@pytest.mark.parametrize(("gamma", "lam"), TRLS_GAE)
def test_gae_agrees_on_the_same_rewards_and_places(gamma, lam):
    """TRL needs no mask in its loop: rewards and values behind the place after the end are 0."""
    trls_advantages, trls_returns = TRLS_GAE[gamma, lam]
    advantages, returns = f.gae(TRLS_REWARDS, VALUES, ONE_MORE, gamma, lam)
    assert same(advantages, trls_advantages)
    assert same(returns, trls_returns)


@pytest.mark.parametrize(("gamma", "lam"), TRLS_GAE)
def test_gae_differs_by_the_value_that_trl_has_behind_the_end(gamma, lam):
    """TRL's episode has one step more, from the state after EOS, with value V there, to the score S.

    The last token is owed gamma V + gamma lam (S - V) for it, and is owed S here; what is left is handed down
    as any temporal difference. Nothing is left where gamma = 1 and V = S, or gamma = lam = 1.
    """
    trls, _ = TRLS_GAE[gamma, lam]
    rewards = f.token_rewards(SCORES, f.kl_k1(OLD, REF), MASK, 0.05)
    ours, returns = f.gae(rewards, VALUES, MASK, gamma, lam)
    assert same(returns, ours + VALUES * MASK)
    for row, length in enumerate(LENGTHS.tolist()):
        left = 0.0
        if length < 5:
            left = gamma * (1 - lam) * VALUES[row, length] - (1 - gamma * lam) * SCORES[row]
        handed_down = (gamma * lam) ** torch.arange(length - 1, -1, -1, dtype=torch.float64)
        assert same(trls[row, :length] - ours[row, :length], left * handed_down)
    assert (ours[~MASK] == 0).all()


def test_whitening_divides_by_n_where_trl_divides_by_n_less_1():
    """So ours is larger by sqrt(n / (n - 1)), 1.06 for the 9 tokens here; behind the end both are 0."""
    trls = float64(
        [0.9779781347, 0, 0, 0, 0],
        [-1.369633178, -0.1053167157, -0.8331230758, 0, 0],
        [0.5313027318, 1.617414606, 0.6635729588, -0.853757687, -0.6284377747],
    )
    advantages, _ = TRLS_GAE[1.0, 0.95]
    ours = f.masked_whiten(advantages, MASK)
    assert same(ours * (8 / 9) ** 0.5, trls)
    assert not same(ours, trls, 0.01)


def test_trls_helpers_have_no_number_for_one_token_or_none():
    """`masked_whiten` of one counted token and `masked_mean` of none are NaN in TRL, and 0 here."""
    values, one = float64([5.0, 2.0]), torch.tensor([[True, False]])
    assert f.masked_whiten(values, one).tolist() == [[0.0, 0.0]]
    assert f.masked_mean(values, torch.zeros_like(one)) == 0.0
    assert f.masked_mean(VALUES, MASK).item() == pytest.approx(-0.146717877, abs=1e-8)  # TRL's too


def test_policy_loss_and_its_gradient_agree():
    """Both average over the tokens. Ratios within the clip and beyond, with either sign of advantage."""
    trls_gradient = float64(
        [-0.1108327763, 0, 0, 0, 0],
        [-0.1198067365, 0, 0.1164894439, 0, 0],
        [-0.122888387, 0.01515392804, 0.1141563318, 0, -0.06556297885],
    )
    new = NEW.clone().requires_grad_()
    loss, watch = f.policy_loss(new, OLD, ADVANTAGES, MASK, 0.2)
    loss.backward()
    assert loss.item() == pytest.approx(-0.15125704263, abs=1e-8)
    assert same(new.grad, trls_gradient)
    assert watch["policy/clipfrac"].item() == pytest.approx(2 / 9, abs=1e-6)


def test_ratio_and_approx_kl_are_of_tokens_where_trl_averages_padding_too():
    """Of 15 places 9 are tokens; on the other 6 TRL has ratio 1 and a difference of 0.

    TRL's approxkl is half the squared difference of the log-probabilities (Schulman's k2); ours is k3, the
    same to second order. So ours is larger by places / tokens: the same limit on TRL's would stop later.
    """
    trls_ratio, trls_approx_kl = 1.0601782325, 0.0188594851132
    _, watch = f.policy_loss(NEW, OLD, ADVANTAGES, MASK, 0.2)
    assert 9 * watch["policy/ratio"].item() + 6 == pytest.approx(15 * trls_ratio, abs=1e-8)
    step = (NEW - OLD).abs() * MASK
    third_order = (step**3 / 6 * step.exp()).sum().item()
    assert 9 * watch["policy/approx_kl"].item() == pytest.approx(15 * trls_approx_kl, abs=third_order)
    # k3 has its sign: of what was drawn from the old policy
    _, watch = f.policy_loss(REF, OLD, ADVANTAGES, MASK, 0.2)
    assert watch["policy/approx_kl"].item() == pytest.approx(TRLS_K3.sum().item() / 9, abs=1e-8)


def test_value_loss_agrees_but_trl_counts_one_place_behind_the_end():
    """The value that TRL has there is learned too; we have none, so our mean is over the tokens."""
    trls_loss = 0.150361682751
    trls_gradient = float64(
        [-0.06364910953, -0.03316777046, 0, 0, 0],
        [-0.06576266332, -0.02016200068, 0.05497604019, 0.04957405338, 0],
        [-0.06479689693, 0, 0.06147341108, 0.0391002812, 0],
    )
    new = NEW_VALUES.clone().requires_grad_()
    loss = f.value_loss(new, VALUES, RETURNS, ONE_MORE, 0.2)
    loss.backward()
    assert loss.item() == pytest.approx(trls_loss, abs=1e-8)
    assert same(new.grad, trls_gradient)
    tokens, ends = (f.value_loss(NEW_VALUES, VALUES, RETURNS, mask, 0.2).item() for mask in (MASK, END))
    assert 9 * tokens + 2 * ends == pytest.approx(11 * trls_loss, abs=1e-7)
    assert abs(tokens - trls_loss) > 1e-3


def test_ranking_loss_is_trls_for_pairs_and_weighs_rankings_alike():
    """TRL's reward trainer (trainer/reward_trainer.py) knows pairs, -logsigmoid(better - worse) on average.

    Three responses make three pairs, which weigh three times a pair's in TRL; here a ranking weighs 1.
    """
    trls_pair, trls_three, trls_all = 1.70141327798, 0.946848500135, 1.1354896946
    scores, ranks = float64([0.4, -1.1, 0.0], [0.9, 0.2, -0.3]), torch.tensor([[2, 1, 1], [2, 3, 1]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    pair, three = f.pairwise_loss(scores, ranks, mask).tolist()
    assert (pair, three) == pytest.approx((trls_pair, trls_three), abs=1e-8)
    assert (1 * pair + 3 * three) / 4 == pytest.approx(trls_all, abs=1e-8)
