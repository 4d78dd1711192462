"""The reward model here against TRL's RewardTrainer: rankings a second, held-out accuracy; in turn.

    python -m tests.benchmarks.reward_vs_trl [--peer-python /tmp/peer/bin/python]

Both learn the same rankings of four responses: the taught model of `workload` wrote them, a program that
likes short responses, not quite surely, ranked them. TRL gets the six pairs of each, 48 in a step; here
eight rankings are a step. A figure is rankings times passes over the seconds of training, with what comes
before the first step (here: passes of the reference, the probe) but not the loading of models. Both make
`--passes` passes; TRL with two learning rates.
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.apart import run_apart

RATES = (1e-4, 3e-4)  # TRL's


def rankings_of(folder: Path, count: int, response_length: int) -> list[dict]:
    """Four sampled responses to each of `count` prompts, and their ranks; kept in the folder."""
    file = folder / f"rankings-{count}-{response_length}.json"
    if file.is_file():
        return json.loads(file.read_text())
    import torch

    from rlhf.generate import SamplingConfig, sample_from
    from rlhf.models import load_family

    family = load_family(str(folder / "policy"), tuning="full", device="cpu")
    prompts = json.loads((folder / "prompts.json").read_text())[:count]
    sampling = SamplingConfig(temperature=1.0, max_new_tokens=response_length)
    found, draw = [], random.Random(0)
    for start in range(0, count, 64):
        asked = [p for p in prompts[start : start + 64] for _ in range(4)]
        generator = torch.Generator().manual_seed(start)
        samples = sample_from(family, "reference", asked, sampling, generator)
        for number in range(len(asked) // 4):
            responses = [s.tokens for s in samples[4 * number : 4 * number + 4]]
            liked = [-len(r) * (1 + 0.3 * draw.gauss(0, 1)) for r in responses]
            ranks = [1 + sum(other > own for other in liked) for own in liked]
            found.append({"prompt": asked[4 * number], "responses": responses, "ranks": ranks})
    file.write_text(json.dumps(found))
    return found


def podium(ask: dict) -> dict:
    """Train here; the seconds, and the share of held-out pairs that come out right."""
    import torch

    from data.preferences import RankedResponses
    from rlhf.models import load_family
    from rlhf.reward_model import RewardModel
    from rlhf.reward_training import RewardModelConfig, train_reward_model

    torch.set_num_threads(ask["threads"])
    folder, data = Path(ask["folder"]), json.loads(Path(ask["rankings"]).read_text())
    family = load_family(
        str(folder / "policy"),
        tuning="full",
        device="cpu",
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
        RankedResponses(named(d["prompt"]), tuple(map(named, d["responses"])), tuple(d["ranks"]), (True,) * 4)
        for d in data
    ]
    config = RewardModelConfig(epochs=ask["passes"], borrowed_weight=0.5 if ask["borrow"] else 0.0)
    train, heldout = rankings[: ask["train"]], data[ask["train"] :]
    begun = time.perf_counter()
    for _ in train_reward_model(model, train, config, ask["seed"]):
        pass
    seconds = time.perf_counter() - begun
    scores = model.score(
        [d["prompt"] for d in heldout for _ in range(4)], [r for d in heldout for r in d["responses"]]
    )
    return {"seconds": seconds, **accuracy(heldout, scores.tolist())}


def accuracy(heldout: list[dict], scores: list[float]) -> dict:
    """Pairs ordered right, and a 95 % bootstrap interval over rankings."""
    sums = []
    for number, data in enumerate(heldout):
        own, ranks = scores[4 * number : 4 * number + 4], data["ranks"]
        pairs = [(i, j) for i in range(4) for j in range(4) if ranks[i] < ranks[j]]
        sums.append((sum(own[i] > own[j] for i, j in pairs), len(pairs)))
    draw = random.Random(0)
    again = sorted(
        sum(r for r, _ in picked) / max(1, sum(n for _, n in picked))
        for picked in (draw.choices(sums, k=len(sums)) for _ in range(1000))
    )
    right = sum(r for r, _ in sums) / sum(n for _, n in sums)
    return {"accuracy": right, "low": again[24], "high": again[974]}


def trl(ask: dict) -> dict:
    """TRL's RewardTrainer on the six pairs of each ranking."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
    from trl import RewardConfig, RewardTrainer

    torch.set_num_threads(ask["threads"])
    folder, data = Path(ask["folder"]), json.loads(Path(ask["rankings"]).read_text())
    tokenizer = AutoTokenizer.from_pretrained(folder / "policy")
    model = AutoModelForSequenceClassification.from_pretrained(
        folder / "reward", num_labels=1, dtype=torch.float32
    )
    pairs = [
        {"chosen_ids": d["prompt"] + d["responses"][i], "rejected_ids": d["prompt"] + d["responses"][j]}
        for d in data[: ask["train"]]
        for i in range(4)
        for j in range(4)
        if d["ranks"][i] < d["ranks"][j]
    ]
    begun: list[float] = []

    class Begin(TrainerCallback):
        def on_train_begin(self, *_args, **_more):
            begun.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as scratch:
        config = RewardConfig(
            output_dir=scratch,
            per_device_train_batch_size=48,
            num_train_epochs=ask["passes"],
            learning_rate=ask["learning_rate"],
            report_to=[],
            save_strategy="no",
            use_cpu=True,
            bf16=ask["bf16"],
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
        )
        trainer.train()
        seconds = time.perf_counter() - begun[0]
    heldout, scores = data[ask["train"] :], []
    model.eval()
    with torch.no_grad():
        for d in heldout:
            for response in d["responses"]:
                scores.append(model(torch.tensor([d["prompt"] + response])).logits.item())
    return {"seconds": seconds, **accuracy(heldout, scores)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--peer-python", default=sys.executable, help="Python of an environment with trl")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--train", type=int, default=192)
    parser.add_argument("--heldout", type=int, default=128)
    parser.add_argument("--passes", type=int, default=1)
    parser.add_argument("--response-length", type=int, default=48)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--folder", type=Path, help="where the workload is, or shall be kept")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        ask = json.loads(arguments.one)
        print(json.dumps((podium if ask["who"] == "podium" else trl)(ask)))
        return
    from tests.benchmarks.workload import make

    folder = make((arguments.folder or Path(tempfile.mkdtemp())) / "trained", trained=True, prompts=2048)
    count = arguments.train + arguments.heldout
    rankings_of(folder, count, arguments.response_length)
    common = {
        "folder": str(folder),
        "rankings": str(folder / f"rankings-{count}-{arguments.response_length}.json"),
        "train": arguments.train,
        "passes": arguments.passes,
        "threads": arguments.threads,
    }
    settings = {
        f"TRL, {precision}, rate {rate:g}": {"who": "trl", "bf16": precision == "bf16", "learning_rate": rate}
        for precision in ("float32", "bf16")
        for rate in RATES
    }
    settings |= {
        f"Podium, {precision}{'' if borrow else ', nothing borrowed'}": {
            "who": "podium",
            "bf16": precision == "bf16",
            "borrow": borrow,
        }
        for precision in ("float32", "bf16")
        for borrow in (True, False)
    }
    found: dict[str, list[dict]] = {name: [] for name in settings}
    for seed in range(arguments.runs):
        for name, own in settings.items():
            python = arguments.peer_python if own["who"] == "trl" else sys.executable
            found[name].append(run_apart(python, "reward_vs_trl", common | own | {"seed": seed}))
    best = 0.0
    for name, runs in found.items():
        rates = [arguments.train * arguments.passes / r["seconds"] for r in runs]
        rate = statistics.median(rates)
        best = max(best, rate) if name.startswith("TRL") else best
        middle = sorted(runs, key=lambda r: r["accuracy"])[len(runs) // 2]
        print(
            f"{name:36} {rate:6.2f} rankings/s ({' '.join(f'{r:.2f}' for r in rates)})  {rate / best:5.2f} x "
            f"TRL's best  held out {middle['accuracy']:.1%} [{middle['low']:.1%}, {middle['high']:.1%}]"
        )


if __name__ == "__main__":
    main()
