"""Measures the starter model: `python -m data.starter.evaluate [--model DIR] [--json]`.

Facts, refusals and manners on wordings held out from training; prompts typed by hand apart from the
templates (`typed_prompts.jsonl`); words that exist; and whether the base model goes on with questions.
Shares come with counts and Wilson 95 % intervals.
"""

import argparse
import json
import math
import random
import re
from collections import Counter
from itertools import islice
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from data.starter.corpus import documents, sft_pairs
from data.starter.families import FAMILIES
from data.starter.questions import KINDS, fact_prompt, harmful_prompt, written
from data.starter.world import accepts, is_refusal, is_unknown, manners_of, understand

HERE = Path(__file__).parent


def interval(hits: int, n: int) -> dict:
    """A share with its Wilson 95 % interval."""
    if n == 0:
        return {"share": None, "hits": 0, "n": 0}
    z, p = 1.96, hits / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return {
        "share": round(p, 3),
        "low": round(middle - half, 3),
        "high": round(middle + half, 3),
        "hits": hits,
        "n": n,
    }


def load(folder: Path):
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, tokenizer


@torch.no_grad()
def generate(
    model, tokenizer, prompts: list[str], temperature: float, chat=True, length=80, batch=100
) -> list[str]:
    """One continuation per prompt; temperature 0 is greedy."""
    out = []
    for i in range(0, len(prompts), batch):
        texts = prompts[i : i + batch]
        if chat:
            turns = [[{"role": "user", "content": p}] for p in texts]
            texts = [
                tokenizer.apply_chat_template(t, tokenize=False, add_generation_prompt=True) for t in turns
            ]
        inputs = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        inputs.pop("token_type_ids", None)
        sampling = (
            {"do_sample": True, "temperature": temperature, "top_k": 0}
            if temperature
            else {"do_sample": False, "temperature": None}
        )
        ids = model.generate(**inputs, **sampling, max_new_tokens=length)
        out += tokenizer.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return [text.strip() for text in out]


def words_of(text: str) -> set[str]:
    return set(re.findall(r"[a-z']+", text.lower()))


def known_words() -> set[str]:
    """Every word that the corpus uses."""
    words: set[str] = set()
    for pair in islice(sft_pairs(77), 30_000):
        words |= words_of(pair.response)
    for document in islice(documents(77), 1000):
        words |= words_of(document)
    for family in FAMILIES:
        for subject, answers in family.items.items():
            words |= words_of(f"{subject} {' '.join(answers)}")
    return words


def _typed(model, tokenizer, path: Path) -> dict:
    """Hand-typed prompts, greedy: right in scope, "I do not know" out of scope, by kind."""
    rows = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    responses = generate(model, tokenizer, [r["prompt"] for r in rows], 0)
    inside, outside, kinds = [], [], {}
    for row, response in zip(rows, responses, strict=True):
        right = typed_right(row, response)
        (inside if row["in_scope"] else outside).append(right)
        kinds.setdefault(row["kind"], []).append(right)
    return {
        "typed_in_scope": interval(sum(inside), len(inside)),
        "typed_out_of_scope_unknown": interval(sum(outside), len(outside)),
        "typed_by_kind": {kind: f"{sum(hits)}/{len(hits)}" for kind, hits in sorted(kinds.items())},
    }


def typed_right(row: dict, response: str) -> bool:
    if not row["in_scope"]:
        return is_unknown(response)
    if row["kind"] == "harmful":
        return is_refusal(response)
    if is_refusal(response) or is_unknown(response):
        return False
    low = f" {re.sub(r'[^a-z0-9]+', ' ', response.lower())} "
    return (
        any(f" {re.sub(r'[^a-z0-9]+', ' ', a.lower()).strip()}" in low for a in row["answers"])
        or not row["answers"]
    )


def evaluate(folder: Path, facts: int = 500, seed: int = 5) -> dict:
    rng = random.Random(seed)
    torch.manual_seed(seed)
    model, tokenizer = load(folder / "sft")
    report: dict = {}

    asked = [fact_prompt(rng, True) for _ in range(facts)]
    prompts = [written(text, rng) for text, _ in asked]
    for name, temperature in (("facts_greedy", 0.0), ("facts_sampled", 0.8)):
        responses = generate(model, tokenizer, prompts, temperature)
        right = [accepts(understand(p), r) for p, r in zip(prompts, responses, strict=True)]
        report[name] = interval(sum(right), len(right))
        missed = Counter(i.topic for (_, i), ok in zip(asked, right, strict=True) if not ok)
        total = Counter(i.topic for _, i in asked)
        report[f"{name}_missed"] = {k: f"{n}/{total[k]}" for k, n in missed.most_common(8)}

    prompts = [written(harmful_prompt(rng, True)[0], rng) for _ in range(200)]
    for name, temperature in (("refusals_greedy", 0.0), ("refusals_sampled", 0.8)):
        report[name] = interval(
            sum(map(is_refusal, generate(model, tokenizer, prompts, temperature))), len(prompts)
        )

    vocabulary, whole, mix = known_words(), Counter(), Counter()
    for kind, weight in {"fact": 120, "howto": 60, "advice": 50, "smalltalk": 30, "unknown": 40}.items():
        prompts = [written(KINDS[kind](rng, True)[0], rng) for _ in range(weight)]
        for prompt, response in zip(prompts, generate(model, tokenizer, prompts, 0.8), strict=True):
            whole["n"] += 1
            whole["whole"] += words_of(response) <= vocabulary | words_of(prompt)
            mix.update(manners_of(response) or {"plain"})
            intent = understand(prompt)
            whole[f"{kind}_right"] += accepts(intent, response)
            whole[f"{kind}_n"] += 1
            whole["length"] += len(tokenizer(response)["input_ids"])
    report["no_broken_words"] = interval(whole["whole"], whole["n"])
    for kind in ("howto", "advice", "smalltalk", "unknown"):
        report[f"{kind}_sampled"] = interval(whole[f"{kind}_right"], whole[f"{kind}_n"])
    report["manners_sampled"] = {
        manner: round(count / whole["n"], 2) for manner, count in sorted(mix.items())
    }
    report["tokens_per_response"] = round(whole["length"] / whole["n"], 1)

    typed = HERE / "typed_prompts.jsonl"
    if typed.exists():
        report |= _typed(model, tokenizer, typed)

    model, tokenizer = load(folder / "base")
    prompts = [written(fact_prompt(rng, True)[0], rng) for _ in range(60)]
    more = [asks_more(text) for text in generate(model, tokenizer, prompts, 0.8, chat=False, length=60)]
    report["base_asks_more"] = interval(sum(more), len(more))
    return report


def asks_more(text: str) -> bool:
    """Whether a continuation holds another question."""
    return any(understand(line) or line.rstrip().endswith("?") for line in text.splitlines() if line.strip())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=HERE, help="folder with base/ and sft/")
    parser.add_argument("--facts", type=int, default=500, help="how many held-out fact prompts")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    report = evaluate(args.model, args.facts)
    if args.json:
        print(json.dumps(report, indent=1))
        return
    for name, value in report.items():
        if isinstance(value, dict) and "share" in value:
            shares = f"{value['share']:.3f}  [{value['low']:.3f}, {value['high']:.3f}]"
            value = f"{shares}  {value['hits']}/{value['n']}"
        print(f"{name:28} {value}")


if __name__ == "__main__":
    main()
