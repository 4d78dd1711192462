"""Real human preferences: the reward model here against TRL's RewardTrainer on 1,000 pairs of HH-RLHF.

    python -m tests.benchmarks.hh_vs_trl --data hh_harmless_1000.jsonl.gz

Both learn the same 800 pairs, drawn by a seed, in the same passes from the same model, eight pairs a step,
and are judged by the other 200. The pairs are read as `python app.py import` reads them, and cut for both in
the same way: of a response its first 160 tokens, of what was said before as many of the last as have room.

The model is the starter, which has read of a small world and never of this one: what it can learn from 800
pairs is little, and the interval is what it is on 200.
"""

import argparse
import json
import os
import random
import statistics
import tempfile
from pathlib import Path

from tests.benchmarks.reward_vs_trl import run

RESPONSE = 160  # tokens of a response, at most
RATES = (1e-4, 1e-3)  # TRL's: its default, and what suits a model of this size (`reward_vs_trl.RATES`)


def write_pairs(data: Path, model: Path, folder: Path, train: int, heldout: int) -> dict:
    """Models and pairs for both, in the folder; how many pairs had to be cut."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from data.formats import read_items
    from data.reading import read_rows
    from rlhf.generate import encode_prompt

    tokenizer = AutoTokenizer.from_pretrained(model)
    torch.manual_seed(0)
    reward = AutoModelForSequenceClassification.from_pretrained(model, num_labels=1)
    reward.config.pad_token_id = tokenizer.pad_token_id
    context = reward.config.max_position_embeddings
    for name, own in (("reward", reward), ("policy", None)):
        if own is None:
            (folder / name).symlink_to(model.resolve(), target_is_directory=True)
        else:
            own.save_pretrained(folder / name)
            tokenizer.save_pretrained(folder / name)
    items = [item for read in read_items(read_rows(str(data)), as_="preferences") for item in read.items]
    random.Random(0).shuffle(items)
    found, cut = [], {"prompts": 0, "responses": 0}
    for item in items[: train + heldout]:
        prompt = encode_prompt(tokenizer, item.prompt)
        whole = [
            [*tokenizer(r, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
            for r in item.responses
        ]
        responses = [tokens[:RESPONSE] for tokens in whole]
        room = context - max(map(len, responses))
        cut["prompts"] += len(prompt) > room
        cut["responses"] += responses != whole
        found.append({"prompt": prompt[-room:], "responses": responses, "ranks": list(item.ranks)})
    (folder / "pairs.json").write_text(json.dumps(found))
    tokens = [len(d["prompt"]) + len(r) for d in found for r in d["responses"]]
    return {"pairs": len(found), "cut": cut, "tokens": statistics.mean(tokens)}


def difference(ours: list[float], theirs: list[float]) -> tuple[float, float, float]:
    """Of two accuracies on the same pairs: the mean difference, and its 95 % bootstrap interval."""
    each = [a - b for a, b in zip(ours, theirs, strict=True)]
    draw = random.Random(0)
    again = sorted(statistics.fmean(draw.choices(each, k=len(each))) for _ in range(2000))
    return statistics.fmean(each), again[50], again[1949]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="HH-RLHF pairs, or any preferences")
    parser.add_argument("--model", type=Path, help="folder of a small model; the starter if not given")
    parser.add_argument("--train", type=int, default=800)
    parser.add_argument("--heldout", type=int, default=200)
    parser.add_argument("--passes", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    from rlhf.config import STARTER

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        made = write_pairs(
            arguments.data, arguments.model or STARTER / "sft", folder, arguments.train, arguments.heldout
        )
        print(
            f"{made['pairs']} pairs, {made['tokens']:.0f} tokens each on average; cut: the beginning of "
            f"{made['cut']['prompts']}, responses of {made['cut']['responses']}",
            flush=True,
        )
        common = {
            "folder": str(folder),
            "rankings": str(folder / "pairs.json"),
            "train": arguments.train,
            "passes": arguments.passes,
            "threads": arguments.threads,
            "bf16": False,
            "batch": 8,
        }
        settings = {f"TRL, rate {rate:g}": {"who": "trl", "learning_rate": rate} for rate in RATES}
        settings |= {
            "Podium": {"who": "podium", "borrow": True},
            "Podium, nothing borrowed": {"who": "podium", "borrow": False},
        }
        found: dict[str, list[dict]] = {name: [] for name in settings}
        for seed in range(arguments.seeds):
            for name, own in settings.items():
                one = run(common | own | {"seed": seed})
                found[name].append(one)
                print(
                    f"{name:26} seed {seed}: {one['rate']:6.2f} pairs/s, {one['seconds']:5.1f} s "
                    f"({one['cpu_seconds']:.1f} s of processor time), held out "
                    f"{one['accuracy']:.1%} [{one['low']:.1%}, {one['high']:.1%}], {one['peak_mb']} MB",
                    flush=True,
                )
        best = max((n for n in settings if n.startswith("TRL")), key=lambda n: _mean(found[n], "accuracy"))
        for name in settings:
            if not name.startswith("TRL"):
                pairs = zip(found[name], found[best], strict=True)
                ours, theirs = zip(*((a["each"], b["each"]) for a, b in pairs), strict=True)
                mean, low, high = difference(_averaged(ours), _averaged(theirs))
                wall, worked = (
                    _mean(found[best], unit) / _mean(found[name], unit) for unit in ("seconds", "cpu_seconds")
                )
                print(
                    f"{name} less {best}: {mean:+.1%} [{low:+.1%}, {high:+.1%}] of the pairs, "
                    f"{wall:.2f} times as fast, by processor time {worked:.2f}"
                )


def _mean(runs: list[dict], name: str) -> float:
    return statistics.fmean(run[name] for run in runs)


def _averaged(runs: tuple[list[float], ...]) -> list[float]:
    """Of each pair, the mean over seeds."""
    return [statistics.fmean(values) for values in zip(*runs, strict=True)]


if __name__ == "__main__":
    main()
