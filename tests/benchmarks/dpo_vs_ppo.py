"""PPO and DPO from one state: the same rankings, reward model, gate and judging; who makes the better policy?

    python -m tests.benchmarks.dpo_vs_ppo --seeds 3 --rankings 400 --scorer helpful

For each seed, in one process: the starter answers `--rankings` prompts four times, a program ranks them (10 %
of pairs the wrong way round), a reward model learns from them, and PPO and DPO begin from the reference with
it. Then the scorer that ranked, not the reward model, judges each policy against the reference on prompts
never ranked. Seconds are of training the policy alone; memory is the most that the process held meanwhile
(MiB).
"""

import argparse
import json
import random
import tempfile
from dataclasses import replace
from pathlib import Path

from data.preferences import RankedResponses
from data.prompts import starter_prompts
from data.scorers import load_scorer
from labeling.simulate import ranks_of
from rlhf.arena import compare_roles
from rlhf.dpo import DPOConfig
from rlhf.drafts import draw_drafts
from rlhf.generate import SamplingConfig
from rlhf.kept_round import KeptRound
from rlhf.models import Family, load_family
from rlhf.policy_round import RoundConfig
from rlhf.ppo import PPOConfig
from rlhf.reward_model import RewardModel
from rlhf.round import run_round
from rlhf.told import Outcome

SAMPLING = SamplingConfig()
UNITS = {"seconds": "s", "cpu_seconds": "s of a core", "memory_mb": "MiB"}


def ranked(family: Family, count: int, scorer: str, noise: float, seed: int) -> list[RankedResponses]:
    """So many rankings of four responses of the reference, as the programs rank them."""
    score, rng = load_scorer(scorer), random.Random(seed)
    prompts = rng.sample([p for p, split in starter_prompts() if split == "train"], 2 * count)
    found: list[RankedResponses] = []
    for start in range(0, len(prompts), 32):
        part = prompts[start : start + 32]
        drafts = draw_drafts(family, part, 4, 0, SAMPLING, seed + start, "reference")
        for prompt, drawn in zip(part, drafts, strict=True):
            if len(drawn) > 1 and len(found) < count:
                ranks = ranks_of([score(prompt, d.text) for d in drawn], noise, rng)
                texts, ended = tuple(d.text for d in drawn), tuple(d.finished for d in drawn)
                found.append(RankedResponses(prompt, texts, tuple(ranks), ended))
    return found


def run(arguments: argparse.Namespace, seed: int) -> list[dict]:
    """Both methods on one seed's rankings."""
    family = load_family("starter", tuning=arguments.tuning, device=arguments.device)
    rankings = ranked(family, arguments.rankings, arguments.scorer, arguments.noise, seed)
    split = starter_prompts()
    prompts = [p for p, s in split if s == "train"]
    random.Random(seed).shuffle(prompts)
    heldout = random.Random(seed).sample([p for p, s in split if s == "heldout"], arguments.prompts)
    dpo = DPOConfig(**json.loads(arguments.dpo))
    config = RoundConfig(ppo=PPOConfig(sampling=SAMPLING), dpo=dpo)
    reward_model, results = RewardModel(family), []
    with tempfile.TemporaryDirectory() as folder:
        for method in arguments.methods:
            family.copy("reference", "published")
            kept = KeptRound(Path(folder) / "round", seed)  # the second takes up the first's reward model
            *_, outcome = run_round(
                family, reward_model, rankings, prompts, replace(config, method=method), seed, kept
            )
            assert isinstance(outcome, Outcome)
            figures = outcome.summary
            judged = compare_roles(family, heldout, load_scorer(arguments.scorer), SAMPLING, seed=seed)
            results.append(
                {
                    "seed": seed,
                    "method": method,
                    "published": outcome.published,
                    "reason": outcome.reason,
                    "accuracy": outcome.summary.get("accuracy"),
                    **{f"reward_model_{k}": figures.get(k) for k in ("win_rate", "score_after", "kl")},
                    **{
                        k: figures.get(k)
                        for k in ("seconds", "cpu_seconds", "memory_mb", "updates", "best_update")
                    },
                    **{
                        k: v
                        for k, v in judged.to_dict().items()
                        if k.startswith(("win_rate", "self_win", "kl", "length"))
                    },
                }
            )
            print(line(results[-1]), flush=True)
    return results


def line(r: dict) -> str:
    """One method of one seed."""
    took = [f"{r[name]:.0f} {unit}" for name, unit in UNITS.items() if r[name] is not None]
    return (
        f"seed {r['seed']} {r['method']}: win rate {r['win_rate']:.3f} [{r['win_rate_low']:.3f}, "
        f"{r['win_rate_high']:.3f}], reference against itself {r['self_win_rate']:.3f}, KL {r['kl']:.1f}, "
        f"length {r['length_before']:.1f} to {r['length_after']:.1f} tokens, {', '.join(took)}, "
        f"step {r['best_update']:.0f} of {r['updates']:.0f}, "
        f"{'published' if r['published'] else 'rejected'}: {r['reason']}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--rankings", type=int, default=400)
    parser.add_argument("--scorer", default="helpful")
    parser.add_argument("--noise", type=float, default=0.1)
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--methods", nargs="+", default=["ppo", "dpo"])
    parser.add_argument("--dpo", default="{}", help="JSON object of DPOConfig fields")
    parser.add_argument("--tuning", default="auto")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    results = []
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        results += run(arguments, seed)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
