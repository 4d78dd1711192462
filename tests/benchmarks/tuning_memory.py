"""Memory and time of full tuning, LoRA and QLoRA on one model, beside what was estimated before loading it.

    python -m tests.benchmarks.tuning_memory --shape tiny 6M --device cpu
    python -m tests.benchmarks.tuning_memory --shape 0.6B 1B --device cuda --out /tmp/tuning

Random weights, made on the spot, so that responses are as long as they may be. Each tuning is a process of
its own. It loads the family as a run does, with a published policy; samples 64 responses to prompts of 24 to
32 tokens; trains the reward model on 16 rankings of four; and makes three updates of PPO of 64 episodes,
with the defaults. Seconds are those of the second and third update (mean) and of all else. Memory is the most
that tensors took on CUDA (beside it, what was taken from the GPU), and the most that the process took on a
CPU. QLoRA is for CUDA; with `--device cpu --qlora-on-cpu` bitsandbytes' products for CPUs are tried.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.apart import run_apart
from tests.benchmarks.measured import now, peak_memory

TUNINGS = ("full", "lora", "qlora")
RESPONSE = 48  # tokens of a response
EPISODES = 64
PARTS = ("loaded", "sampling", "reward model", "PPO")


def make(ask: dict) -> dict:
    """Write a model of a shape with random weights, and prompts, into the folder."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from rlhf.config import STARTER
    from tests.benchmarks.workload import SHAPES, config_of, conversations

    folder, tokenizer = Path(ask["folder"]), AutoTokenizer.from_pretrained(STARTER / "sft")
    torch.manual_seed(0)
    with torch.device(ask["device"]):
        config = config_of(ask["shape"], tokenizer)
        model = AutoModelForCausalLM.from_config(config, dtype=SHAPES[ask["shape"]].dtype)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    found = conversations(tokenizer, seed=1)
    (folder / "prompts.json").write_text(json.dumps([next(found)[0] for _ in range(512)]))
    return {"parameters": model.num_parameters()}


def forget_peak(device: str) -> None:
    """Begin to look for the most memory anew."""
    if device == "cuda":
        import torch

        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")


def measure(ask: dict) -> dict:
    """What one tuning takes, part by part."""
    import torch

    from data.preferences import RankedResponses
    from rlhf import four_bit
    from rlhf.generate import SamplingConfig, sample_from
    from rlhf.models import load_family
    from rlhf.needs import Work, needs, sizes_of
    from rlhf.ppo import PPOConfig
    from rlhf.ppo_training import PPOTraining
    from rlhf.reward_model import RewardModel
    from rlhf.reward_training import RewardModelConfig, train_reward_model

    torch.set_num_threads(ask["threads"])
    torch.manual_seed(0)
    folder, device = Path(ask["folder"]), ask["device"]
    episodes, length = ask.get("episodes", EPISODES), ask.get("response_length", RESPONSE)
    if ask["qlora_on_cpu"]:
        four_bit.refusal = lambda _device: None
    found: dict[str, dict] = {}
    seconds: dict[str, float] = {}

    def part(name: str, begun: float) -> None:
        seconds[name] = now(device) - begun
        found[name] = peak_memory(device)
        forget_peak(device)

    begun = now(device)
    family = load_family(str(folder), tuning=ask["tuning"], device=device, precision=ask["precision"])
    family.copy("reference", "published")
    for role in ("policy", "reward"):
        family.weights(role)  # made when it is first asked for
    part("loaded", begun)

    prompts = json.loads((folder / "prompts.json").read_text())
    sampling = SamplingConfig(max_new_tokens=length)
    begun = now(device)
    drawn = sample_from(family, "published", prompts[:episodes], sampling)
    part("sampling", begun)

    model = RewardModel(family)
    model.reset(0)
    names = {}

    class Known(RewardModel):  # token lists as they are: texts would have to be read again
        def encode(self, prompt, response, finished=True):
            return names[prompt], names[response]

    def named(tokens: list[int]) -> str:
        name = " ".join(map(str, tokens))
        names[name] = tokens
        return name

    model.__class__ = Known
    four = [drawn[i : i + 4] for i in range(0, episodes, 4)]
    rankings = [
        RankedResponses(named(p), tuple(named(s.tokens) for s in own), (1, 2, 3, 4), (True,) * 4)
        for p, own in zip(prompts, four, strict=False)
    ]
    begun = now(device)
    losses = list(train_reward_model(model, rankings, RewardModelConfig(epochs=2), 0))
    part("reward model", begun)

    chosen = [(p, own[0].tokens) for p, own in zip(prompts, four, strict=False)]
    config = PPOConfig(
        updates=4,
        episodes=episodes,
        warmup_episodes=episodes,
        warmup_epochs=1,
        evaluate_every=10,
        learning_rate=1e-6,  # so that no update stops before its last step
        approx_kl_stop=1e9,
        sampling=sampling,
    )
    family.copy("reference", "policy")
    training = PPOTraining(family, model, prompts, prompts[:8], config, 0, chosen)
    times = [now(device)]
    for update in training:
        times.append(now(device))
        if update.stop or update.step == 3:
            break
    each = (times[-1] - times[2]) / (len(times) - 3)
    part("PPO", times[0])
    bf16 = ask["precision"] == "bf16"
    from transformers import AutoConfig

    work = Work(episodes=episodes, prompt=28, response=length)
    sizes = sizes_of(AutoConfig.from_pretrained(folder), rank=16)
    estimate = needs(sizes, ask["tuning"], device, bf16, work)
    return {
        "parts": found,
        "seconds": seconds | {"update": each},
        "estimate": estimate,
        "stop": update.stop,
        "steps": len(losses),
        "kind": family.kind,
        "graphs": sum(graph is not None for graph in training.learner.passes.graphs.values()),
        "device": torch.cuda.get_device_name() if device == "cuda" else "CPU",
        "tokens_per_second": sum(len(s.tokens) for s in drawn) / seconds["sampling"],
    }


def line(shape: str, tuning: str, found: dict) -> str:
    """A row of the table."""
    if "failed" in found:
        return f"| {shape} | {tuning} | {found['failed']} |"
    gb = {name: own["peak_mb"] * 2**20 / 1e9 for name, own in found["parts"].items()}
    most = max(gb.values())
    reserved = max(own.get("reserved_mb", 0) for own in found["parts"].values()) * 2**20 / 1e9
    taken = f" ({reserved:.1f})" if reserved else ""
    estimate, seconds = sum(found["estimate"].values()) / 1e9, found["seconds"]
    parts = " | ".join(f"{gb[name]:.2f}" for name in PARTS)
    return (
        f"| {shape} | {tuning} | {parts} | {most:.2f}{taken} | {estimate:.2f} ({estimate / most:.2f}) | "
        f"{seconds['sampling']:.2f} | {seconds['reward model']:.2f} | {seconds['update']:.2f} |"
    )


HEAD = """\
| model | tuning | loaded, GB | sampling | reward model | PPO | the most | estimate (of it) | sampling, s | \
reward model, s | PPO update, s |
|---|---|---|---|---|---|---|---|---|---|---|"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--shape", nargs="+", default=["0.6B"])
    parser.add_argument("--tuning", nargs="+", default=list(TUNINGS), choices=TUNINGS)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--precision", choices=["float32", "bf16"])
    parser.add_argument("--qlora-on-cpu", action="store_true")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--limit", type=float, default=150, help="seconds for one process")
    parser.add_argument("--out", type=Path, help="folder for results.json and table.md")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.one:
        ask = json.loads(a.one)
        print(json.dumps(make(ask) if "tuning" not in ask else measure(ask)))
        return
    precision = a.precision or ("bf16" if a.device == "cuda" else "float32")
    tunings = [t for t in a.tuning if t != "qlora" or a.device == "cuda" or a.qlora_on_cpu]
    common = {"device": a.device, "threads": a.threads, "precision": precision}
    common["qlora_on_cpu"] = a.qlora_on_cpu
    told: dict[str, dict] = {}
    lines = [HEAD]
    print(HEAD, flush=True)
    with tempfile.TemporaryDirectory() as place:
        for shape in a.shape:
            ask = common | {"folder": f"{place}/{shape}", "shape": shape}
            run_apart(sys.executable, "tuning_memory", ask, limit=a.limit)
            for tuning in tunings:
                try:
                    found = run_apart(
                        sys.executable, "tuning_memory", ask | {"tuning": tuning}, limit=a.limit
                    )
                except (Exception, SystemExit) as error:  # whatever it was, the next may do
                    found = {"failed": str(error).strip()[-1500:].replace("\n", " ")}
                told[f"{shape}, {tuning}"] = found
                lines.append(line(shape, tuning, found))
                print(lines[-1], flush=True)
                if a.out:
                    a.out.mkdir(parents=True, exist_ok=True)
                    (a.out / "results.json").write_text(json.dumps(told | {"asked": common}, indent=1))
                    (a.out / "table.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
