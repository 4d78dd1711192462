"""The same on a CUDA GPU, where there is one: the starter decodes, learns and goes round the loop there."""

import random
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch

from data.preferences import RankedResponses
from data.scorers import load_scorer
from data.starter.prompts import heldout_prompts, train_prompts
from rlhf import four_bit
from rlhf.config import WorkerConfig
from rlhf.decoding import steps
from rlhf.drafts import draw_drafts
from rlhf.generate import SamplingConfig, encode_prompt, sample_from
from rlhf.graph_steps import GraphSteps
from rlhf.likelihood import token_logprobs_at
from rlhf.model_steps import ModelSteps
from rlhf.models import load_family
from rlhf.passes import alike
from rlhf.ppo import PPOConfig
from rlhf.ppo_training import PPOTraining
from rlhf.recorded import MOST, Passes, recording
from rlhf.reward_model import RewardModel
from rlhf.reward_training import RewardModelConfig, train_reward_model

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU here")
QLORA = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
KINDS = [
    ("full", "float32"),
    ("full", "bf16"),
    ("lora", "float32"),
    ("lora", "bf16"),
    pytest.param("qlora", "float32", marks=QLORA),
    pytest.param("qlora", "bf16", marks=QLORA),
]
SAMPLING = SamplingConfig(max_new_tokens=32)


def family_on(device, tuning, precision="float32"):
    """The starter; its roles 'policy' and 'published' have moved."""
    torch.manual_seed(0)
    family = load_family("starter", tuning=tuning, device=device, precision=precision, lora_rank=4)
    for seed, role in enumerate(("policy", "published")):
        draw = torch.Generator().manual_seed(seed)
        state = family.state(role).items()
        family.set_state(role, {n: t + 0.02 * torch.randn(t.shape, generator=draw).to(t) for n, t in state})
    return family


def prompts_of(family, count):
    return [encode_prompt(family.tokenizer, p) for p in train_prompts()[:count]]


def padded(prompts, device):
    width = max(map(len, prompts))
    ids, mask = (torch.zeros(len(prompts), width, dtype=torch.long) for _ in range(2))
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    return ids.to(device), mask.to(device)


@pytest.mark.parametrize(("tuning", "precision"), KINDS)
def test_a_recorded_graph_says_what_the_model_says(tuning, precision):
    family = family_on("cuda", tuning, precision)
    prompts = prompts_of(family, 80)
    ids, mask = padded(prompts, "cuda")
    plans = [["policy"] * 80, ["reference"] * 80]
    if tuning != "full":
        plans.append([("policy", "reference", "published")[row % 3] for row in range(80)])
    for roles in plans:
        with family.speaking(roles) as (model, voices):
            quick, slow = steps(model, ids, mask, 16, voices), ModelSteps(model, ids, mask, 16, voices)
            assert type(quick) is GraphSteps
            tokens = quick.logits.argmax(-1)
            for number in range(12):
                one, other = slow.step(tokens), quick.step(tokens)
                assert alike(one, other, within=1e-3), (roles[0], number)
                tokens = one.argmax(-1)
                if number == 5:
                    left = torch.arange(0, 80, 2, device="cuda")
                    assert quick.pays(len(left), 80)
                    slow.keep(left)
                    quick.keep(left)
                    tokens = tokens[left]
            assert quick.graph is not None


@pytest.mark.parametrize(("tuning", "precision"), KINDS)
def test_samples_come_with_the_log_probabilities_that_an_update_sees(tuning, precision):
    family = family_on("cuda", tuning, precision)
    prompts = prompts_of(family, 96)
    roles = ["policy"] * 96 if tuning == "full" else ["policy", "reference", "published"] * 32
    drawn = sample_from(family, roles, prompts, SAMPLING, torch.Generator("cuda").manual_seed(0))
    again = sample_from(family, roles, prompts, SAMPLING, torch.Generator("cuda").manual_seed(0))
    assert [s.tokens for s in drawn] == [s.tokens for s in again]
    assert any(s.finished for s in drawn)
    for role in set(roles):
        rows = [row for row, own in enumerate(roles) if own == role]
        asked = [prompts[row] for row in rows], [drawn[row].tokens for row in rows]
        (seen,) = token_logprobs_at((SAMPLING.temperature,), family, role, *asked)
        own = torch.zeros_like(seen)
        for place, row in enumerate(rows):
            own[place, : len(drawn[row].tokens)] = torch.tensor(drawn[row].logprobs)
        differ = (own - seen).abs()[own != 0]
        assert differ.mean() < (2e-2 if precision == "bf16" else 1e-4), role
        assert differ.max() < (0.7 if precision == "bf16" else 5e-3), role


@pytest.mark.parametrize(("tuning", "precision"), KINDS)
def test_a_replayed_pass_gives_what_the_model_gives_and_the_same_gradient(tuning, precision):
    """Batches of several shapes in turn, weights that move between them; several that wait for a gradient."""
    family = family_on("cuda", tuning, precision)
    prompts = prompts_of(family, 96)
    samples = sample_from(family, "reference", prompts, SAMPLING, torch.Generator("cuda").manual_seed(0))
    parameters = family.parameters("policy")

    def read(seen, heeded):
        return (seen.logprobs(0.8) * heeded.unsqueeze(1),)

    def batch_of(start, count):
        rows = range(start, start + count)
        asked = [prompts[i] for i in rows], [samples[i].tokens for i in rows]
        ((_, batch),) = family.batches(*asked)
        return batch

    def gone_through(passes, batch):
        with recording(family):
            passes.forget_gradients()
            (logprobs,) = passes(batch)
            logprobs = logprobs[:, : batch.mask.shape[1]]
            (-logprobs.sum() / 100).backward()
            found = [p.grad.clone() for p in parameters]
        return logprobs.detach(), found

    passes, plain = (Passes(family, "policy", read, parameters) for _ in range(2))
    plain.graphs = dict.fromkeys(range(MOST))  # no room: nothing is ever recorded
    order = [(0, 16), (16, 16), (32, 4), (0, 16), (16, 16), (32, 4), (0, 16), (76, 16)]
    for turn, (start, count) in enumerate(order):
        batch = batch_of(start, count)
        (logprobs, gradients), (wanted, others) = gone_through(passes, batch), gone_through(plain, batch)
        scale = max(float(g.abs().max()) for g in others)
        error = max(float((a - b).abs().max()) for a, b in zip(gradients, others, strict=True))
        assert torch.allclose(logprobs, wanted, atol=1e-4 if precision == "float32" else 0.2), turn
        assert error < (1e-3 if precision == "float32" else 0.05) * scale, (turn, error, scale)
        with torch.no_grad():
            for p in parameters:
                p.add_(0.002 * torch.randn_like(p))
    assert sum(graph is not None for graph in passes.graphs.values()) > 1

    with recording(family):  # two at once: the second goes through the model
        passes.forget_gradients()
        first, second = (passes(batch_of(start, 16))[0].sum() for start in (0, 36))
        (-(first + second) / 100).backward()
        together = [p.grad.clone() for p in parameters]
    apart = [gone_through(plain, batch_of(start, 16))[1] for start in (0, 36)]
    scale = max(float(g.abs().max()) for g in together)
    for own, one, other in zip(together, *apart, strict=True):
        assert (own - one - other).abs().max() < (1e-3 if precision == "float32" else 0.05) * scale


def rankings(count=48):
    """Of the starter's own responses, the shorter the better."""
    family = load_family("starter", device="cpu")
    prompts = train_prompts()[:count]
    drafts = draw_drafts(family, prompts, 4, 0, SAMPLING, 0, role="reference")
    found = []
    for prompt, own in zip(prompts, drafts, strict=True):
        ranks = tuple(1 + sum(other.tokens < d.tokens for other in own) for d in own)
        ended = tuple(d.finished for d in own)
        if len(own) > 1:
            found.append(RankedResponses(prompt, tuple(d.text for d in own), ranks, ended))
    return found


def learned(device, tuning, data):
    family = family_on(device, tuning)
    model = RewardModel(family)
    torch.manual_seed(1)
    model.reset(0)
    if tuning == "lora":  # drawn on the device: give both the same
        draw = torch.Generator().manual_seed(2)
        state = {n: torch.randn(t.shape, generator=draw) * 0.1 for n, t in family.state("reward").items()}
        family.set_state("reward", {n: t * ("lora_B" not in n) for n, t in state.items()})
    losses = [m["reward_model/loss"] for m in train_reward_model(model, data, RewardModelConfig(epochs=3), 0)]
    texts = [(r.prompt, text) for r in data for text in r.responses]
    return torch.tensor(losses), model.score_texts(*zip(*texts, strict=True))


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_a_reward_model_learns_there_what_it_learns_on_a_cpu(tuning):
    data = rankings()
    (losses, scores), (there, found) = (learned(device, tuning, data) for device in ("cpu", "cuda"))
    assert torch.allclose(losses, there, rtol=0.02, atol=0.01)
    assert torch.corrcoef(torch.stack([scores, found]))[0, 1] > 0.995


@pytest.mark.parametrize(("tuning", "precision"), KINDS)
def test_ppo_trains_and_goes_on_where_it_was_put_aside(tuning, precision):
    data = rankings()
    family = family_on("cuda", tuning, precision)
    model = RewardModel(family)
    model.reset(0)
    for _ in train_reward_model(model, data, RewardModelConfig(epochs=2), 0):
        pass
    pairs = [model.encode(r.prompt, text) for r in data for text in r.responses]
    model.normalise_on(*zip(*pairs, strict=True))
    chosen = [model.encode(r.prompt, r.responses[r.ranks.index(1)]) for r in data]
    config = PPOConfig(updates=6, evaluate_every=3, kl_limit=100.0, sampling=SAMPLING)
    prompts = prompts_of(family, 256)
    heldout = [encode_prompt(family.tokenizer, p) for p in heldout_prompts()[:64]]

    def begin():
        family.copy("reference", "policy")
        return PPOTraining(family, model, prompts, heldout, config, 0, chosen)

    training = begin()
    updates = iter(training)
    seen = [next(updates) for _ in range(4)]
    state = training.state()
    seen += updates
    assert [u.step for u in seen] == list(range(7))
    assert all(u.stop is None for u in seen)
    assert seen[1].metrics["policy/ratio"] == pytest.approx(1, abs=0.1)
    if tuning == "full":  # six updates of an adapter of rank 4 change little
        assert seen[-1].metrics["objective/score"] > seen[1].metrics["objective/score"] + 0.3
    again = begin()
    again.set_state(state)
    (following, *_) = again
    for name in ("objective/score", "response/length"):  # sums on a GPU are not always in one order
        assert following.metrics[name] == pytest.approx(seen[4].metrics[name], rel=0.1, abs=0.1)


@QLORA
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_base_in_four_bits_says_what_plain_layers_of_the_same_weights_say(precision):
    """And takes less memory; two products of the same numbers differ by rounding only."""
    family = family_on("cuda", "qlora", precision)
    plain = family_on("cuda", "lora", precision)
    assert (family.kind, plain.kind) == ("qlora", "lora")
    with family.use("reference") as model, plain.use("reference") as other:
        layers = {n: m for n, m in model.named_modules() if four_bit.is_quantised(m)}
        assert len(layers) == 4 * 7
        kept = sum(layer.weight.nbytes for layer in layers.values())
        assert kept * 8 == sum(layer.in_features * layer.out_features * 4 for layer in layers.values())
        for name, layer in layers.items():
            own = other.get_submodule(name).weight
            own.copy_(four_bit.weight_of(layer, own.dtype))
    for role in ("policy", "published", "reward"):
        plain.set_state(role, family.state(role))
    prompts = prompts_of(family, 24)
    samples = sample_from(family, "policy", prompts, SAMPLING, torch.Generator("cuda").manual_seed(0))
    responses = [s.tokens for s in samples]
    for role in ("reference", "policy"):
        found, wanted = (token_logprobs_at((1.0,), f, role, prompts, responses)[0] for f in (family, plain))
        assert (found - wanted).abs().mean() < (1e-4 if precision == "float32" else 2e-2), role


@pytest.mark.parametrize("tuning", ["full", "lora", pytest.param("qlora", marks=QLORA)])
def test_the_loop_goes_round(tuning, tmp_path):
    """Rankings by a program, a round, and the next tasks, as the worker does it."""
    pytest.importorskip("sqlite_utils")
    from labeling.store import open_store
    from rlhf.worker import Worker

    config = WorkerConfig(device="cuda", tuning=tuning, ppo_updates=6, max_new_tokens=48)
    scorer, draw = load_scorer("helpful"), random.Random(0)
    with open_store(tmp_path / "run", create=True, migrate=True) as store:
        worker = Worker(store, tmp_path / "run", replace(config, rankings_per_round=48))
        worker.load()
        assert worker.models.family.bf16
        person = store.add_person("token", "a program", "program").id
        ranked = 0
        while ranked < 48:
            if (task := store.claim_task(person)) is None:
                assert worker.step() == "fill"
                continue
            liked = [scorer(task.prompt, r) + 0.01 * draw.random() for r in task.responses]
            ranks = [1 + sum(other > own for other in liked) for own in liked]
            store.add_ranking(person, task.id, str(task.id), ranks)
            ranked += 1
        for _ in range(1000):
            worker.step()
            if store.rounds() and store.rounds()[-1].state in ("published", "rejected"):
                break
        (round_,) = store.rounds()
        assert round_.state in ("published", "rejected"), round_
        drafts = draw_drafts(worker.models.family, train_prompts()[:8], 4, 2, worker.models.sampling, 0)
        assert all({d.role for d in own} == {"published", "reference"} for own in drafts)
