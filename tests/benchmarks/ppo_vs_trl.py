"""PPO here against TRL 1.12.0, the last that had it: episodes a second, memory; side by side, in turn.

    python -m venv /tmp/peer && /tmp/peer/bin/pip install trl==1.12.0 peft torch
    python -m tests.benchmarks.ppo_vs_trl --peer-python /tmp/peer/bin/python

Both train the same model with the same prompts: 64 episodes an update, prompts of 24 to 32 tokens,
responses of 48 at most, 4 inner epochs of 4 minibatches; each in a process of its own. Two workloads
(`workload`): random weights, where nearly every response has 48 tokens, and a model that was taught to
answer and ends by itself. Learning from responses ranked first, which TRL has not, is a setting of its own.
The learning rates are 1e-6, so that responses stay what they are. The first update is not counted; the
figure of a run is the median of the others, that of a setting the median of its runs.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from tests.benchmarks.apart import run_apart

SETTINGS = {  # name -> who, and what is different
    "TRL, full, float32": ("trl", {"lora": False, "bf16": False}),
    "TRL, full, bf16": ("trl", {"lora": False, "bf16": True}),
    "TRL, LoRA r16, float32": ("trl", {"lora": True, "bf16": False}),
    "TRL, LoRA r16, bf16": ("trl", {"lora": True, "bf16": True}),
    "Podium, full, float32": ("podium", {"lora": False, "bf16": False}),
    "Podium, full, bf16": ("podium", {"lora": False, "bf16": True}),
    "Podium, LoRA r16, float32": ("podium", {"lora": True, "bf16": False}),
    "Podium, LoRA r16, bf16": ("podium", {"lora": True, "bf16": True}),
    "Podium, full, bf16, imitating": ("podium", {"lora": False, "bf16": True, "imitate": True}),
}
COMMON = {
    "episodes": 64,
    "minibatches": 4,
    "inner_epochs": 4,
    "response_length": 48,
    "temperature": 0.8,
    "learning_rate": 1e-6,
    "seed": 0,
}


def podium(ask: dict) -> dict:
    """What `trl_ppo.py` does, with this project's PPO and its defaults in all that is not asked."""
    import torch

    from rlhf.generate import SamplingConfig
    from rlhf.models import load_family
    from rlhf.ppo import PPOConfig
    from rlhf.ppo_training import PPOTraining
    from rlhf.reward_model import RewardModel

    torch.set_num_threads(ask["threads"])
    folder = Path(ask["folder"])
    family = load_family(
        str(folder / "policy"),
        tuning="lora" if ask["lora"] else "full",
        device="cpu",
        precision="bf16" if ask["bf16"] else "float32",
    )
    reward_model = RewardModel(family)
    reward_model.reset(ask["seed"])
    family.copy("reference", "policy")
    config = PPOConfig(
        updates=ask["updates"],
        episodes=ask["episodes"],
        minibatch=ask["episodes"] // ask["minibatches"],
        inner_epochs=ask["inner_epochs"],
        evaluate_every=10_000,
        approx_kl_stop=1e9,
        sampling=SamplingConfig(temperature=ask["temperature"], max_new_tokens=ask["response_length"]),
    )
    config = replace(config, learning_rate=1e-6, value_learning_rate=1e-6, logit_scale_learning_rate=1e-6)
    prompts = json.loads((folder / "prompts.json").read_text())
    chosen = []
    if ask["imitate"]:  # responses ranked first, as in a round: the reference's own will do for the time
        from rlhf.generate import sample_from

        drawn = sample_from(family, "reference", prompts[:128], config.sampling)
        chosen = [(p, s.tokens) for p, s in zip(prompts, drawn, strict=False)]
    training = PPOTraining(family, reward_model, prompts, prompts[:8], config, ask["seed"], chosen)
    ended, lengths = [], []
    for update in training:
        ended.append(time.perf_counter())
        if update.step:
            lengths.append(update.metrics["response/length"])
        if update.step == ask["updates"] - 1:  # the last one judges too
            break
    status = Path("/proc/self/status").read_text()
    peak = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    seconds = [later - earlier for earlier, later in pairwise(ended)]
    return {"seconds": seconds, "peak_mb": round(int(peak) / 1024), "tokens": statistics.mean(lengths)}


def run(python: str, who: str, ask: dict) -> dict:
    """One run in a process of its own."""
    of_its_own = (sys.executable, "ppo_vs_trl") if who == "podium" else (python, "trl_ppo")
    found = run_apart(*of_its_own, ask)
    found["rate"] = ask["episodes"] / statistics.median(found["seconds"][1:])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--peer-python", help="Python of an environment with trl==1.12.0 and peft")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--updates", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--workload", choices=["random", "trained", "both"], default="both")
    parser.add_argument("--folder", type=Path, help="where the workloads are, or shall be kept")
    parser.add_argument("--only", default="", help="settings whose names hold this")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(podium(json.loads(arguments.one))))
        return
    if arguments.updates < 3:
        parser.error(f"--updates is {arguments.updates}; wanted: 3 or more, the first does not count")
    from tests.benchmarks.workload import make

    settings = {name: kind for name, kind in SETTINGS.items() if arguments.only in name}
    if not arguments.peer_python:
        settings = {name: kind for name, kind in settings.items() if kind[0] == "podium"}
    folder = arguments.folder or Path(tempfile.mkdtemp())
    for workload in ("random", "trained") if arguments.workload == "both" else (arguments.workload,):
        made = make(folder / workload, trained=workload == "trained", prompts=2048)
        ask = COMMON | {"folder": str(made), "updates": arguments.updates, "threads": arguments.threads}
        found: dict[str, list[dict]] = {name: [] for name in settings}
        for _ in range(arguments.runs):
            for name, (who, own) in settings.items():
                found[name].append(run(arguments.peer_python, who, ask | {"imitate": False} | own))
        best = {}
        for name, runs in found.items():
            rate = statistics.median(r["rate"] for r in runs)
            memory = statistics.median(r["peak_mb"] for r in runs)
            kind = "LoRA" if "LoRA" in name else "full"
            if name.startswith("TRL"):
                best[kind] = max(best.get(kind, 0.0), rate)
            ratio = f"{rate / best[kind]:.2f} x TRL's best" if kind in best else ""
            rates = " ".join(f"{r['rate']:.1f}" for r in runs)
            print(f"{workload:8} {name:26} {rate:6.1f} episodes/s ({rates}) {memory:6.0f} MB  {ratio}")


if __name__ == "__main__":
    main()
