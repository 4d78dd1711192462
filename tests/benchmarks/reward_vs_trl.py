"""The reward model here against TRL's RewardTrainer: rankings a second, held-out accuracy; in turn.

    python -m tests.benchmarks.reward_vs_trl [--peer-python /tmp/peer/bin/python]

Both learn the same rankings of four responses: the taught model of `workload` wrote them, a program that
likes short responses, not quite surely, ranked them. TRL gets the six pairs of each, 48 in a step; here
eight rankings are a step. A figure is rankings times passes over the seconds of training, with what comes
before the first step (here: passes of the reference, the probe) but not the loading of models. Both make
`--passes` passes; TRL with two learning rates.

    python -m tests.benchmarks.reward_vs_trl --device cuda --shape 0.6B --peer-path /tmp/trl116

On CUDA all is bf16, full tuning and LoRA.
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.apart import run_apart
from tests.benchmarks.measured import now, peak_memory

RATES = {  # TRL's, by what is trained; its default is 1e-4
    "full": {"6M": (1e-4, 3e-4), "tiny": (3e-4, 1e-3), "0.6B": (2e-5, 1e-4), "1B": (2e-5, 1e-4)},
    "LoRA": {"6M": (3e-4, 1e-3), "tiny": (1e-3, 3e-3), "0.6B": (1e-4, 5e-4), "1B": (1e-4, 5e-4)},
}


def rankings_of(folder: Path, count: int, response_length: int, device: str = "cpu") -> list[dict]:
    """Four sampled responses to each of `count` prompts, and their ranks; kept in the folder."""
    file = rankings_file(folder, count, response_length)
    if file.is_file():
        return json.loads(file.read_text())
    import torch

    from rlhf.generate import SamplingConfig, sample_from
    from rlhf.models import load_family

    precision = "float32" if device == "cpu" else "bf16"
    family = load_family(str(folder / "policy"), tuning="full", device=device, precision=precision)
    prompts = json.loads((folder / "prompts.json").read_text())[:count]
    sampling = SamplingConfig(temperature=1.0, max_new_tokens=response_length)
    found, draw = [], random.Random(0)
    for start in range(0, count, 64):
        asked = [p for p in prompts[start : start + 64] for _ in range(4)]
        generator = torch.Generator(device=device).manual_seed(start)
        samples = sample_from(family, "reference", asked, sampling, generator)
        for number in range(len(asked) // 4):
            responses = [s.tokens for s in samples[4 * number : 4 * number + 4]]
            liked = [-len(r) * (1 + 0.3 * draw.gauss(0, 1)) for r in responses]
            ranks = [1 + sum(other > own for other in liked) for own in liked]
            found.append({"prompt": asked[4 * number], "responses": responses, "ranks": ranks})
    file.write_text(json.dumps(found))
    return found


def rankings_file(folder: Path, count: int, response_length: int) -> Path:
    return folder / f"rankings-{count}-{response_length}.json"


def podium(ask: dict) -> dict:
    """Train here; the seconds, and the share of held-out pairs that come out right."""
    import torch

    from data.preferences import RankedResponses
    from rlhf.models import load_family
    from rlhf.reward_model import RewardModel
    from rlhf.reward_training import RewardModelConfig, train_reward_model

    torch.set_num_threads(ask["threads"])
    folder, data = Path(ask["folder"]), json.loads(Path(ask["rankings"]).read_text())
    device = ask.get("device", "cpu")
    family = load_family(
        str(folder / "policy"),
        tuning="lora" if ask.get("lora") else "full",
        device=device,
        precision="bf16" if ask["bf16"] else "float32",
    )
    model = RewardModel(family)
    model.reset(ask["seed"])
    names: dict[str, list[int]] = {}

    class Known(RewardModel):  # token lists as they are: texts would have to be read again
        def encode(self, prompt, response, finished=True):
            return names[prompt], names[response]

    model.__class__ = Known

    def named(tokens: list[int]) -> str:
        name = " ".join(map(str, tokens))
        names[name] = tokens
        return name

    rankings = [
        RankedResponses(named(d["prompt"]), tuple(map(named, d["responses"])), tuple(d["ranks"]))
        for d in data
    ]
    config = RewardModelConfig(epochs=ask["passes"], borrowed_weight=0.5 if ask["borrow"] else 0.0)
    train, heldout = rankings[: ask["train"]], data[ask["train"] :]
    begun, worked = now(device), time.process_time()
    for _ in train_reward_model(model, train, config, ask["seed"]):
        pass
    seconds, memory = now(device) - begun, peak_memory(device)
    memory["cpu_seconds"] = time.process_time() - worked
    scores = model.score(
        [d["prompt"] for d in heldout for _ in d["responses"]], [r for d in heldout for r in d["responses"]]
    )
    return {"seconds": seconds, **memory, **accuracy(heldout, scores.tolist())}


def accuracy(heldout: list[dict], scores: list[float]) -> dict:
    """Pairs ordered right, and a 95 % bootstrap interval over rankings."""
    sums, place = [], 0
    for data in heldout:
        ranks = data["ranks"]
        own, place = scores[place : place + len(ranks)], place + len(ranks)
        pairs = pairs_of(ranks)
        sums.append((sum(own[i] > own[j] for i, j in pairs), len(pairs)))
    draw = random.Random(0)
    again = sorted(
        sum(r for r, _ in picked) / max(1, sum(n for _, n in picked))
        for picked in (draw.choices(sums, k=len(sums)) for _ in range(1000))
    )
    right = sum(r for r, _ in sums) / sum(n for _, n in sums)
    each = [r / max(1, n) for r, n in sums]
    return {"accuracy": right, "low": again[24], "high": again[974], "each": each}


def pairs_of(ranks: list[int]) -> list[tuple[int, int]]:
    """(better, worse), as places in the ranking."""
    return [(i, j) for i, better in enumerate(ranks) for j, worse in enumerate(ranks) if better < worse]


def trl(ask: dict) -> dict:
    """TRL's RewardTrainer on the six pairs of each ranking."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
    from trl import RewardConfig, RewardTrainer

    torch.set_num_threads(ask["threads"])
    folder, data = Path(ask["folder"]), json.loads(Path(ask["rankings"]).read_text())
    device, lora = ask.get("device", "cpu"), None
    tokenizer = AutoTokenizer.from_pretrained(folder / "policy")
    dtype = torch.bfloat16 if ask.get("lora") and device == "cuda" else torch.float32
    model = AutoModelForSequenceClassification.from_pretrained(folder / "reward", num_labels=1, dtype=dtype)
    if ask.get("lora"):
        from peft import LoraConfig

        lora = LoraConfig(
            r=16, lora_alpha=32, target_modules="all-linear", task_type="SEQ_CLS", lora_dropout=0.0
        )
    pairs = [
        {"chosen_ids": d["prompt"] + d["responses"][i], "rejected_ids": d["prompt"] + d["responses"][j]}
        for d in data[: ask["train"]]
        for i, j in pairs_of(d["ranks"])
    ]
    begun: list[float] = []

    class Begin(TrainerCallback):
        def on_train_begin(self, *_args, **_more):
            begun.extend((now(device), time.process_time()))

    with tempfile.TemporaryDirectory() as scratch:
        config = RewardConfig(
            output_dir=scratch,
            per_device_train_batch_size=ask.get("batch", 48),
            num_train_epochs=ask["passes"],
            learning_rate=ask["learning_rate"],
            report_to=[],
            save_strategy="no",
            use_cpu=device == "cpu",
            bf16=ask["bf16"],
            tf32=True if device == "cuda" else None,
            disable_tqdm=True,
            seed=ask["seed"],
            gradient_checkpointing=False,
        )
        trainer = RewardTrainer(
            model=model,
            args=config,
            train_dataset=Dataset.from_list(pairs),
            processing_class=tokenizer,
            callbacks=[Begin()],
            peft_config=lora,
        )
        trainer.train()
        seconds, memory = now(device) - begun[0], peak_memory(device)
        memory["cpu_seconds"] = time.process_time() - begun[1]
    heldout, scores = data[ask["train"] :], []
    trained = trainer.model.eval()
    with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=ask["bf16"]):
        for d in heldout:
            rows = [d["prompt"] + response for response in d["responses"]]
            batch = tokenizer.pad({"input_ids": rows}, padding_side="right", return_tensors="pt").to(device)
            scores += trained(**batch).logits.squeeze(-1).tolist()
    return {"seconds": seconds, **memory, **accuracy(heldout, scores)}


def settings_on(device: str, shape: str) -> dict[str, dict]:
    """What is worth running there: on a GPU nobody trains in float32, and many train adapters."""
    kinds, precisions = ("full",), ("float32", "bf16")
    if device == "cuda":
        kinds, precisions = ("full", "LoRA"), ("bf16",)
    found = {}
    for kind in kinds:
        for precision in precisions:
            own = {"lora": kind == "LoRA", "bf16": precision == "bf16"}
            for rate in RATES[kind][shape]:
                found[f"TRL, {kind}, {precision}, rate {rate:g}"] = own | {
                    "who": "trl",
                    "learning_rate": rate,
                }
            for borrow in (True, False):
                name = f"Podium, {kind}, {precision}{'' if borrow else ', nothing borrowed'}"
                found[name] = own | {"who": "podium", "borrow": borrow}
    return dict(sorted(found.items(), key=lambda item: item[1]["who"] == "podium"))


def run(ask: dict, python: str | None = None, path: str = "", limit: float | None = None) -> dict:
    """One run in a process of its own."""
    if ask["who"] == "podium" or not python:
        python = sys.executable
    found = run_apart(python, "reward_vs_trl", ask, "" if ask["who"] == "podium" else path, limit)
    found["rate"] = ask["train"] * ask["passes"] / found["seconds"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--peer-python", help="Python of an environment with trl; this one if not given")
    parser.add_argument("--peer-path", default="", help="or a folder with trl, for this Python")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--train", type=int, default=192)
    parser.add_argument("--heldout", type=int, default=128)
    parser.add_argument("--passes", type=int, default=1)
    parser.add_argument("--response-length", type=int, default=48)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--shape", default="6M", help="a name in `workload.SHAPES`")
    parser.add_argument("--folder", type=Path, help="where the workload is, or shall be kept")
    parser.add_argument("--only", default="", help="settings whose names hold this")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        ask = json.loads(arguments.one)
        print(json.dumps({"podium": podium, "trl": trl, "rankings": write_rankings}[ask["who"]](ask)))
        return
    from tests.benchmarks.workload import make

    device, shape = arguments.device, arguments.shape
    place = (arguments.folder or Path(tempfile.mkdtemp())).resolve() / f"{shape}-trained"
    folder = make(place, trained=True, prompts=2048, shape=shape, device=device)
    count = arguments.train + arguments.heldout
    rankings_of(folder, count, arguments.response_length, device)
    common = {
        "folder": str(folder),
        "rankings": str(rankings_file(folder, count, arguments.response_length)),
        "train": arguments.train,
        "passes": arguments.passes,
        "threads": arguments.threads,
        "device": device,
    }
    settings = {n: own for n, own in settings_on(device, shape).items() if arguments.only in n}
    found: dict[str, list[dict]] = {name: [] for name in settings}
    for seed in range(arguments.runs):
        for name, own in settings.items():
            asked = common | own | {"seed": seed}
            found[name].append(run(asked, arguments.peer_python, arguments.peer_path))
    for line in table(found):
        print(line)


def write_rankings(ask: dict) -> dict:
    """`rankings_of` in a process of its own."""
    asked = Path(ask["folder"]), ask["count"], ask["response_length"], ask["device"]
    data = rankings_of(*asked)
    tokens = statistics.mean(len(r) for d in data for r in d["responses"])
    return {"rankings": str(rankings_file(*asked[:3])), "tokens": tokens}


def table(found: dict[str, list[dict]]) -> Iterator[str]:
    """A line for each setting: medians of its runs, and what they are to TRL's best of the same kind."""
    best: dict[str, float] = {}
    for name, runs in found.items():
        if not runs:
            continue
        rates = [r["rate"] for r in runs]
        rate = statistics.median(rates)
        kind = "LoRA" if "LoRA" in name else "full"
        if name.startswith("TRL"):
            best[kind] = max(best.get(kind, 0.0), rate)
        ratio = f"  {rate / best[kind]:5.2f} x TRL's best" if kind in best else ""
        middle = sorted(runs, key=lambda r: r["accuracy"])[len(runs) // 2]
        yield (
            f"{name:40} {rate:7.2f} rankings/s ({' '.join(f'{r:.2f}' for r in rates)}) "
            f"{statistics.median(r['peak_mb'] for r in runs):6.0f} MB{ratio}  "
            f"held out {middle['accuracy']:.1%} [{middle['low']:.1%}, {middle['high']:.1%}]"
        )


if __name__ == "__main__":
    main()
