"""PPO here against TRL 1.12.0, the last that had it: episodes a second, memory; side by side, in turn.

    python -m venv /tmp/peer && /tmp/peer/bin/pip install trl==1.12.0 peft torch
    python -m tests.benchmarks.ppo_vs_trl --peer-python /tmp/peer/bin/python

Both train the same model with the same prompts: 64 episodes an update, prompts of 24 to 32 tokens,
responses of 48 at most, 4 inner epochs of 4 minibatches; each in a process of its own. Two workloads
(`workload`): random weights, where nearly every response has 48 tokens, and a model that was taught to
answer and ends by itself. Learning from responses ranked first, which TRL has not, is a setting of its own.
The learning rates are 1e-6, so that responses stay what they are. The first update is not counted; the
figure of a run is the median of the others, that of a setting the median of its runs. Tokens a second are
response tokens over the seconds of the whole update.

    python -m tests.benchmarks.ppo_vs_trl --device cuda --shape 0.6B --peer-path /tmp/trl112

On CUDA all is bf16, and memory is what tensors took at most. `--profile 2` times two more updates, apart from
the others: sampling, scoring, and the inner epochs.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

from tests.benchmarks.apart import run_apart
from tests.benchmarks.measured import now, peak_memory

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
ON_CUDA = {"TRL, full, bf16 weights": ("trl", {"lora": False, "bf16": True, "pure": True})}
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
    folder, device = Path(ask["folder"]), ask.get("device", "cpu")
    family = load_family(
        str(folder / "policy"),
        tuning="lora" if ask["lora"] else "full",
        device=device,
        precision="bf16" if ask["bf16"] else "float32",
    )
    reward_model = RewardModel(family)
    reward_model.reset(ask["seed"])
    family.copy("reference", "policy")
    profiled = ask.get("profile", 0)
    config = PPOConfig(
        updates=ask["updates"] + profiled,  # the last is left out: it judges too
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
    ended, lengths, updates = [], [], iter(training)
    for update in islice(updates, ask["updates"]):
        ended.append(now(device))
        if update.step:
            lengths.append(update.metrics["response/length"])
    seconds = [later - earlier for earlier, later in pairwise(ended)]
    found = {"seconds": seconds, "tokens": statistics.mean(lengths), **peak_memory(device)}
    if profiled:
        found["parts"] = parts_of(updates, profiled, device)
    return found


def parts_of(updates: Iterator, count: int, device: str) -> dict[str, float]:
    """Mean seconds that each part of so many more updates takes, and the longest response of each."""
    from rlhf import ppo, ppo_training

    taken, longest = {"sampling": 0.0, "rollout": 0.0, "inner_epochs": 0.0}, []

    def timed(name: str, work: Callable) -> Callable:
        def again(*arguments, **options):
            begun = now(device)
            given = work(*arguments, **options)
            taken[name] += now(device) - begun
            if name == "rollout":
                longest.append(max(map(len, given.responses)))
            return given

        return again

    ppo.sample_from = timed("sampling", ppo.sample_from)
    ppo_training.rollout = timed("rollout", ppo_training.rollout)
    ppo_training.update = timed("inner_epochs", ppo_training.update)
    begun = now(device)
    for _ in islice(updates, count):
        pass
    whole = now(device) - begun
    parts = {
        "sampling": taken["sampling"],
        "scoring": taken["rollout"] - taken["sampling"],
        "inner_epochs": taken["inner_epochs"],
        "rest": whole - taken["rollout"] - taken["inner_epochs"],
    }
    return {name: seconds / count for name, seconds in parts.items()} | {"longest": statistics.mean(longest)}


def run(who: str, ask: dict, python: str | None = None, path: str = "", limit: float | None = None) -> dict:
    """One run in a process of its own."""
    python = sys.executable if who == "podium" or not python else python
    module, path = ("ppo_vs_trl", "") if who == "podium" else ("trl_ppo", path)
    found = run_apart(python, module, ask, path, limit)
    found["seconds_per_update"] = statistics.median(found["seconds"][1:])
    found["rate"] = ask["episodes"] / found["seconds_per_update"]
    found["tokens_rate"] = found["rate"] * found["tokens"]
    return found


def settings_on(device: str) -> dict[str, tuple[str, dict]]:
    """What is worth running there: on a GPU nobody trains in float32."""
    if device == "cpu":
        return SETTINGS
    return {name: kind for name, kind in (SETTINGS | ON_CUDA).items() if kind[1]["bf16"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--peer-python", help="Python of an environment with trl==1.12.0 and peft")
    parser.add_argument("--peer-path", default="", help="or a folder with that release, for this Python")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--updates", type=int, default=5)
    parser.add_argument("--profile", type=int, default=0, help="further updates, timed part by part")
    parser.add_argument("--response-length", type=int, default=COMMON["response_length"])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--shape", default="6M", help="a name in `workload.SHAPES`")
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

    device, shape = arguments.device, arguments.shape
    settings = {name: kind for name, kind in settings_on(device).items() if arguments.only in name}
    if not (arguments.peer_python or arguments.peer_path):
        settings = {name: kind for name, kind in settings.items() if kind[0] == "podium"}
    folder = (arguments.folder or Path(tempfile.mkdtemp())).resolve()
    for workload in ("random", "trained") if arguments.workload == "both" else (arguments.workload,):
        place = folder / f"{shape}-{workload}"
        made = make(place, trained=workload == "trained", prompts=2048, shape=shape, device=device)
        ask = COMMON | {"folder": str(made), "updates": arguments.updates, "threads": arguments.threads}
        ask |= {"device": device, "response_length": arguments.response_length, "profile": arguments.profile}
        found: dict[str, list[dict]] = {name: [] for name in settings}
        for _ in range(arguments.runs):
            for name, (who, own) in settings.items():
                asked = ask | {"imitate": False} | own
                found[name].append(run(who, asked, arguments.peer_python, arguments.peer_path))
        for line in table(found):
            print(f"{shape:5} {workload:8} {line}")


def table(found: dict[str, list[dict]]) -> Iterator[str]:
    """A line for each setting: medians of its runs, and what they are to TRL's best of the same kind."""
    best: dict[str, float] = {}
    for name, runs in found.items():
        if not runs:
            continue
        rate, tokens, taken, memory = (
            statistics.median(r[key] for r in runs)
            for key in ("rate", "tokens_rate", "seconds_per_update", "peak_mb")
        )
        kind = "LoRA" if "LoRA" in name else "full"
        if name.startswith("TRL"):
            best[kind] = max(best.get(kind, 0.0), rate)
        ratio = f"  {rate / best[kind]:.2f} x TRL's best" if kind in best else ""
        rates = " ".join(f"{r['rate']:.1f}" for r in runs)
        reserved = f" ({runs[-1]['reserved_mb']} reserved)" if "reserved_mb" in runs[-1] else ""
        yield (
            f"{name:29} {rate:7.1f} episodes/s ({rates}) {tokens:8.0f} tokens/s {taken:7.3f} s an update "
            f"{memory:6.0f} MB{reserved}{ratio}"
        )
        if "parts" in runs[-1]:
            parts = ", ".join(f"{part} {number:.3f}" for part, number in runs[-1]["parts"].items())
            yield f"{'':29} {parts}"


if __name__ == "__main__":
    main()
