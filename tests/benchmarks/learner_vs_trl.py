"""What PPO here makes of a planted reward, and what TRL 1.12.0's makes of it in as many episodes.

    python -m tests.benchmarks.learner_vs_trl --peer-python /tmp/peer/bin/python [--scorer concise]

Both train the starter on its prompts and are paid the same number for a response (`planted`): `helpful` or
another scorer, scaled to mean 0 and standard deviation 1 on the starter's own responses. Both take 64
episodes an update, 2 inner epochs of 2 minibatches (as many steps as TRL's own 4 of 1), temperature 0.8,
responses of 96 tokens at most, KL coefficient 0.1, lambda 0.95, rates that fall to 0, and pay -2 for a
response that does not end. Each run is a process of its own; seeds draw prompts and responses.

Here all else is the default, but that nobody has ranked, so there is nothing to imitate (chosen_coef 0), and
that the policy is judged once, at the end, so no checkpoint is picked. The reward model is the starter's own
trunk, untrained, under a head that says 0: the value function starts knowing nothing. A second setting does
without what TRL has not, the average of weights and the factor on the logits.

TRL's value model starts as the starter's trunk under a new head, as in its examples, but for their trained
reward model, which nobody has here. It makes as many more updates as the value function's warm-up here takes
episodes. It is run at several rates, its default 3e-6 first, and its best is the one whose mean objective on
the very prompts that are reported is highest, which is a choice in its favour. Ours has its default rate.

Measured by the same code for both, on held-out prompts that no run has seen, `--each` responses to each with
one seed: score as paid; KL to the starter, k1, nats per response; objective = score - 0.1 KL; tokens. A
figure is the mean of the seeds' and, in brackets, the least and the most. Seconds are those of training, on
whatever else the machine does: `ppo_vs_trl` measures speed.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from tests.benchmarks.apart import run_apart

COMMON = {
    "episodes": 64,
    "minibatches": 2,
    "inner_epochs": 2,
    "response_length": 96,
    "temperature": 0.8,
    "lora": False,
    "bf16": False,
}
RATES = (3e-6, 3e-4, 1e-3, 3e-3)  # TRL's
PODIUM = {
    "Podium": {},
    "Podium, no average, no factor": {"average": 0.0, "logit_scale_learning_rate": 0.0},
}
MODULE = "learner_vs_trl"
JUDGED = 64  # held-out prompts on which Podium looks at its KL at the end; the others are measured


def prepare(folder: Path, scorer: str) -> dict:
    """Write what both sides are given into the folder, unless it is there; returns the planted reward."""
    file = folder / f"planted-{scorer}.json"
    if file.is_file():
        return json.loads(file.read_text())
    import torch
    from transformers import AutoModelForSequenceClassification

    from data.prompts import starter_prompts
    from rlhf.generate import encode_prompt
    from rlhf.models import load_family
    from tests.benchmarks.planted import Planted

    family = load_family("starter", device="cpu")
    family.save("reference", folder / "policy")
    torch.manual_seed(0)
    value = AutoModelForSequenceClassification.from_pretrained(
        folder / "policy", num_labels=1, dtype=torch.float32
    )
    value.save_pretrained(folder / "reward")
    for split, name in (("train", "prompts"), ("heldout", "heldout")):
        asked = [encode_prompt(family.tokenizer, p) for p, own in starter_prompts() if own == split]
        (folder / f"{name}.json").write_text(json.dumps(asked))
    planted = Planted(family.tokenizer, scorer)
    raw = [planted.raw(*pair) for pair in zip(*own_responses(family, folder), strict=True)]
    found = {"scorer": scorer, "mean": statistics.mean(raw), "std": statistics.pstdev(raw)}
    file.write_text(json.dumps(found))
    return found


def own_responses(family, folder: Path) -> tuple[list[list[int]], list[list[int]]]:
    """Training prompts, and what the starter says to them: scores and states are scaled on these."""
    import torch

    from rlhf.generate import SamplingConfig, sample_from

    prompts = json.loads((folder / "prompts.json").read_text())[:512]
    sampling = SamplingConfig(COMMON["temperature"], max_new_tokens=COMMON["response_length"])
    samples = sample_from(family, "reference", prompts, sampling, torch.Generator().manual_seed(0))
    return prompts, [s.tokens for s in samples]


def planted_reward_model(family, planted: dict):
    """A RewardModel that pays what is planted, all of it at the end; its states are the starter's."""
    import torch

    from rlhf.reward_model import RewardModel
    from tests.benchmarks.planted import Planted

    pay = Planted(family.tokenizer, **planted)

    class PlantedRewardModel(RewardModel):
        def assess(self, prompts, responses, ref_logprobs=None, *, with_states=False):
            found = super().assess(prompts, responses, ref_logprobs, with_states=with_states)
            paid = torch.tensor([pay(p, r) for p, r in zip(prompts, responses, strict=True)])
            return replace(found, scores=paid, early=torch.zeros_like(found.early))

    model = PlantedRewardModel(family)
    model.reset(0)
    return model


def ppo_config(ask: dict):
    """The defaults, but for what both sides share and what the docstring says."""
    from rlhf.generate import SamplingConfig
    from rlhf.ppo import PPOConfig
    from tests.benchmarks.planted import UNFINISHED

    return PPOConfig(
        updates=ask["updates"],
        episodes=ask["episodes"],
        minibatch=ask["episodes"] // ask["minibatches"],
        inner_epochs=ask["inner_epochs"],
        missing_eos_score=UNFINISHED,
        chosen_coef=0.0,
        evaluate_every=ask["updates"],
        sampling=SamplingConfig(ask["temperature"], max_new_tokens=ask["response_length"]),
        **ask.get("more", {}),
    )


def podium(ask: dict) -> dict:
    """What `trl_ppo.py` does with a planted reward, with this project's PPO."""
    import torch

    from rlhf.likelihood import logprobs_and_pools
    from rlhf.models import load_family
    from rlhf.ppo_training import PPOTraining

    torch.set_num_threads(ask["threads"])
    folder = Path(ask["folder"])
    family = load_family(str(folder / "policy"), device="cpu")
    reward_model = planted_reward_model(family, ask["planted"])
    _, pools = logprobs_and_pools(family, "reference", *own_responses(family, folder))
    reward_model.head.standardise_on(pools)  # as in a round, on responses to rank
    prompts, heldout = (json.loads((folder / f"{n}.json").read_text()) for n in ("prompts", "heldout"))
    training = PPOTraining(family, reward_model, prompts, heldout[:JUDGED], ppo_config(ask), ask["seed"])
    begun = time.perf_counter()
    updates = list(training)
    seconds = time.perf_counter() - begun
    family.save("policy", Path(ask["save"]))
    curve = [round(u.metrics["objective/score"], 3) for u in updates if "objective/score" in u.metrics]
    return {"seconds": [seconds], "curve": curve, "last": updates[-1].metrics, "stop": updates[-1].stop}


def measure(ask: dict) -> dict:
    """What a saved policy earns, and how far it is from the starter."""
    import torch

    from rlhf.models import load_family
    from rlhf.ppo_training import evaluate_policy

    torch.set_num_threads(ask["threads"])
    folder = Path(ask["folder"])
    family = load_family(str(folder / "policy"), device="cpu")
    family.load("policy", Path(ask["save"]))
    reward_model = planted_reward_model(family, ask["planted"])
    prompts = json.loads((folder / "heldout.json").read_text())[JUDGED:] * ask["each"]
    config = ppo_config(ask)
    found = evaluate_policy(family, reward_model, prompts, config, seed=0)
    found = {name.removeprefix("heldout/"): number for name, number in found.items()}
    return found | {"objective": found["score"] - config.kl_coef * found["kl"]}


def spread(numbers: list[float], digits: int = 2) -> str:
    return f"{statistics.mean(numbers):.{digits}f} [{min(numbers):.{digits}f}, {max(numbers):.{digits}f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--peer-python", help="Python of an environment with trl==1.12.0 and peft")
    parser.add_argument("--scorer", default="helpful", help="a name that `data.scorers.load_scorer` knows")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=24)
    parser.add_argument("--rates", type=float, nargs="+", default=RATES, help="TRL's learning rates")
    parser.add_argument("--each", type=int, default=2, help="responses to each measured prompt")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--folder", type=Path, help="keep the policies here; runs found here are not repeated"
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        ask = json.loads(arguments.one)
        print(json.dumps((measure if ask["who"] == "measure" else podium)(ask)))
        return
    folder = (arguments.folder or Path(tempfile.mkdtemp())).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    common = COMMON | {"folder": str(folder), "threads": arguments.threads, "each": arguments.each}
    common |= {"updates": arguments.updates, "planted": prepare(folder, arguments.scorer)}
    start = run_apart(sys.executable, MODULE, common | {"who": "measure", "save": str(folder / "policy")})
    print(f"{'the starter':32} objective {start['objective']:.2f}  tokens {start['length']:.1f}", flush=True)
    settings = {name: {"who": "podium", "more": more} for name, more in PODIUM.items()}
    if arguments.peer_python:
        settings |= {f"TRL, rate {rate:g}": trl(rate, arguments.updates) for rate in arguments.rates}
    found: dict[str, list[dict]] = {name: [] for name in settings}
    for seed in range(arguments.seeds):
        for name, own in settings.items():
            label = f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
            save = folder / f"{arguments.scorer}-{arguments.updates}" / label
            if not (save / "run.json").is_file():
                ask = common | own | {"seed": seed, "save": str(save)}
                peer = own["who"] == "trl"
                python, module = (arguments.peer_python, "trl_ppo") if peer else (sys.executable, MODULE)
                ran = run_apart(python, module, ask)
                ran |= run_apart(sys.executable, MODULE, ask | {"who": "measure"})
                (save / "run.json").write_text(json.dumps(ran))
            run = json.loads((save / "run.json").read_text())
            found[name].append(run)
            print(f"  seed {seed} {name:32} score {run['score']:.2f} KL {run['kl']:.1f}", flush=True)
    report(found)


def trl(rate: float, updates: int) -> dict:
    """TRL at a learning rate; it has no warm-up, so it learns from as many episodes more."""
    from rlhf.ppo import PPOConfig

    more = PPOConfig().warmup_episodes // COMMON["episodes"]
    return {"who": "trl", "learning_rate": rate, "updates": updates + more}


def report(found: dict[str, list[dict]]) -> None:
    """The table, and whether ours and TRL's best overlap."""
    for name, runs in found.items():
        objective, score, kl, length = (
            spread([r[key] for r in runs], digits)
            for key, digits in (("objective", 2), ("score", 2), ("kl", 1), ("length", 1))
        )
        seconds = statistics.mean(sum(r["seconds"]) for r in runs)
        figures = f"objective {objective:20} score {score:20} KL {kl:16} tokens {length:18}"
        print(f"{name:32} {figures} {seconds:4.0f} s")
    objectives = {name: [r["objective"] for r in runs] for name, runs in found.items()}
    peers = [name for name in found if name.startswith("TRL")]
    if not peers:
        return
    best = max(peers, key=lambda name: statistics.mean(objectives[name]))
    for name in PODIUM:
        ours, theirs = objectives[name], objectives[best]
        above, below = min(ours) > max(theirs), max(ours) < min(theirs)
        word = "every seed above" if above else "every seed below" if below else "the spreads overlap"
        print(f"{name} against TRL's best, {best.removeprefix('TRL, ')}: {word}")


if __name__ == "__main__":
    main()
